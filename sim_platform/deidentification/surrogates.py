"""Surrogates: what stands in the text instead of an identifier, coherent inside one conversation
and unlinkable between two.

Belongs here: keyed choice of surrogates, their formats and reserved ranges. Does not: finding
identifiers (detectors, rules), walking messages (deidentify).

A surrogate depends on the key, the type and the normalised value alone (and on what is already
taken), so equal values get equal surrogates; without the key nothing leads back. Structured
surrogates come only from ranges that belong to nobody (leaks).
"""

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable, Iterable

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.deidentification import leaks
from sim_platform.deidentification.names import FIRST, LAST
from sim_platform.deidentification.stoplist import PARTICLES, TITLES

POLICY_VERSION = "2"
TRIES = 2_000  # candidates before a value is given up; the smallest range (MAC) has 256 members
# O'Neill is one token; the s of a possessive is not part of it
NAME_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]{2,})?")
_AREA_CODES = tuple("201 212 303 312 404 415 503 512 602 617 702 713 804 914".split())
_MONTHS = tuple(
    "January February March April May June July August September October November December".split()
)
_STREETS = ("Street", "Avenue", "Road", "Lane")


class SurrogatesExhausted(SimPlatformError):
    """A conversation holds more identifiers of one type than its reserved range has members."""


def fold(text: str) -> str:
    """`text` without case and diacritics, so that two spellings of a name agree."""
    return "".join(
        c for c in unicodedata.normalize("NFKD", text).casefold() if not unicodedata.combining(c)
    )


class Surrogates:
    """The surrogates of one conversation.

    Args:
        key: secret of this conversation and run.
        original: all text of the conversation: a surrogate that occurs in it would point at the
            wrong thing and is skipped.
        surnames: folded name tokens that end a name of several words somewhere in the conversation;
            they get family names.
    """

    def __init__(self, key: bytes, original: str, surnames: Iterable[str] = ()) -> None:
        self._key = key
        self._original = fold(original)
        self._words = set(NAME_TOKEN.findall(self._original)) | {
            w for t in NAME_TOKEN.findall(self._original) for w in re.split("['’]", t)
        }
        self._surnames = frozenset(surnames)
        self._given: dict[tuple[str, str], str] = {}
        self._exact: dict[str, str] = {}
        self._taken: set[str] = set()

    def of(self, type: str, value: str) -> str:
        """The surrogate of `value`; never equal to it, equal for equal values (up to case, spacing
        and punctuation where these do not matter).

        Raises:
            SurrogatesExhausted: names the type.
        """
        if type == "PERSON" and any(len(t) > 1 for t in NAME_TOKEN.findall(value)):
            return self._name(value)
        exact = value.casefold()
        if exact not in self._exact:  # one value may be found under two types: the first decides
            make, normalise = _MAKERS.get(type, (_same_shape, str))
            self._exact[exact] = self._choose(type, normalise(value), value, make)
        return self._exact[exact]

    def _choose(
        self, type: str, normalised: str, value: str, make: Callable[[bytes, str], str]
    ) -> str:
        if (type, normalised) not in self._given:
            self._given[type, normalised] = self._new(type, normalised, value, make)
        given = self._given[type, normalised]
        return _formatted(given, value) if type in ("PHONE", "SSN", "CARD") else given

    def _new(
        self, type: str, normalised: str, value: str, make: Callable[[bytes, str], str]
    ) -> str:
        all_leaked = True
        for counter in range(2 * TRIES):
            if counter == TRIES:
                if make is not _same_shape or not all_leaked:
                    break
                make = _letters  # a secret of an address's shape keeps none
            seed = hmac.digest(
                self._key,
                f"{type}|{normalised}|{counter}".encode("utf-8", "surrogatepass"),
                "sha256",
            )
            candidate = make(seed, value)
            leaks_shape = bool(leaks.reserved_range_leaks([candidate]))
            all_leaked &= leaks_shape
            folded = fold(candidate)
            clear = (
                folded not in self._words
                if type == "name"
                else folded != fold(value) and (len(folded) < 4 or folded not in self._original)
            )
            if clear and folded not in self._taken and candidate != value and not leaks_shape:
                if len(folded) > 2:
                    self._taken.add(folded)
                return candidate
        raise SurrogatesExhausted(
            f"no {type} surrogate is left in this conversation after {TRIES} tries"
        )

    def _name(self, value: str) -> str:
        """Token by token: titles and particles stay unless nothing else is there; case and
        possessive stay.
        """
        tokens = [t for t in NAME_TOKEN.findall(value) if t.casefold() not in TITLES | PARTICLES]
        kept = TITLES | PARTICLES if tokens else frozenset()

        def replaced(match: re.Match[str]) -> str:
            token = match[0]
            if token.casefold() in kept:
                return token
            folded = fold(token)
            if len(folded) == 1:
                is_possessive = (
                    folded == "s" and match.start() > 0 and value[match.start() - 1] in "'’"
                )
                return token if is_possessive else _cased(self._initial(folded), token)
            pool = LAST if folded in self._surnames else FIRST
            return _cased(
                self._choose("name", folded, token, lambda seed, _: _from_pool(seed, pool)), token
            )

        return NAME_TOKEN.sub(replaced, value)

    def _initial(self, letter: str) -> str:
        seed = hmac.digest(self._key, f"initial|{letter}".encode(), "sha256")
        letters = [c for c in "ABCDEFGHJKLMNPRSTW" if c.lower() != letter]
        return letters[seed[0] % len(letters)]


def _number(seed: bytes, below: int) -> int:
    return int.from_bytes(seed[:8], "big") % below


def _cased(name: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return name.upper()
    return name.lower() if like.islower() else name


def _from_pool(seed: bytes, pool: tuple[str, ...]) -> str:
    """A name of the pool, and now and then a joined one, so that a long list of names does not
    exhaust the pool.
    """
    name = pool[_number(seed, len(pool))]
    return name + pool[_number(seed[8:], len(pool))].lower() if seed[16] < 4 else name


def _stream(seed: bytes, n: int) -> bytes:
    return hashlib.shake_256(seed).digest(n)


def _same_shape(seed: bytes, value: str) -> str:
    """Digits become digits and letters letters of the same case; everything else stays. A first
    digit stays non-zero.
    """
    out = []
    for i, (c, r) in enumerate(zip(value, _stream(seed, len(value)), strict=True)):
        if c.isdecimal():
            out.append(
                str(1 + r % 9 if c != "0" and not any(p.isdecimal() for p in value[:i]) else r % 10)
            )
        elif c.isalpha():
            out.append(chr(ord("A" if c.isupper() else "a") + r % 26))
        else:
            out.append(c)
    return "".join(out)


def _letters(seed: bytes, value: str) -> str:
    """As many letters as `value` has characters."""
    return "".join(chr(ord("a") + r % 26) for r in _stream(seed, len(value)))


def _fill(value: str, digits: str) -> str:
    """`value` with its digits replaced one by one."""
    left = iter(digits)
    return "".join(next(left) if c.isdecimal() else c for c in value)


def _formatted(given: str, value: str) -> str:
    """`given` in the format of `value`, for two spellings of one number; as given where the lengths
    do not allow it.
    """
    digits, n = leaks.digits_of(given), len(leaks.digits_of(value))
    digits = (
        digits[1:]
        if len(digits) == 11 and n == 10
        else "1" + digits
        if len(digits) == 10 and n == 11
        else digits
    )
    return _fill(value, digits) if n == len(digits) and "+" not in value else given


def _email(seed: bytes, _: str) -> str:
    first, last = FIRST[_number(seed, len(FIRST))], LAST[_number(seed[8:], len(LAST))]
    return f"{first}.{last}{seed[16] % 90 + 10}@example.{'com' if seed[17] % 2 else 'org'}".lower()


def _url(seed: bytes, _: str) -> str:
    return f"https://example.{'com' if seed[0] % 2 else 'org'}/{seed[1:6].hex()}"


def _phone(seed: bytes, value: str) -> str:
    n = len(leaks.digits_of(value))
    subscriber = f"55501{_number(seed[8:], 100):02d}"
    local = _AREA_CODES[_number(seed, len(_AREA_CODES))] + subscriber
    if n == 11 and leaks.digits_of(value)[0] == "1":
        return _fill(value, "1" + local)
    if n == 10 and "+" not in value:
        return _fill(value, local)
    return (
        _fill(value, subscriber)
        if n == 7 and "+" not in value
        else f"+1-{local[:3]}-{local[3:6]}-{local[6:]}"
    )


def _ip(seed: bytes, value: str) -> str:
    if ":" in value:
        return f"2001:db8::{seed[:2].hex().lstrip('0') or '1'}:{seed[2:4].hex().lstrip('0') or '1'}"
    return f"{('192.0.2', '198.51.100')[seed[0] % 2]}.{seed[1]}"


def _mac(seed: bytes, value: str) -> str:
    mac = f"00-00-5E-00-53-{seed[0]:02X}".replace("-", ":" if ":" in value else "-")
    return mac.lower() if re.search("[a-f]", value) else mac


def _ssn(seed: bytes, value: str) -> str:
    digits = f"{('000', '666')[seed[0] % 2]}{seed[1] % 99 + 1:02d}{_number(seed[2:], 9999) + 1:04d}"
    return (
        _fill(value, digits)
        if len(leaks.digits_of(value)) == 9
        else _fill(value, _same_shape(seed, leaks.digits_of(value)))
    )


def _card(seed: bytes, value: str) -> str:
    """A published test card of the same length, or (every other try: a conversation may hold many
    cards) digits that fail the checksum.
    """
    n = len(leaks.digits_of(value))
    cards = [c for c in leaks.TEST_CARDS if len(c) == n]
    return (
        _fill(value, cards[_number(seed, len(cards))])
        if cards and seed[16] % 2
        else _same_shape(seed, value)
    )


def _iban(seed: bytes, value: str) -> str:
    """Check digits 00, which ISO 13616 never gives out."""
    return (
        value[:2] + "00" + _same_shape(seed, value)[4:]
        if value[2:4].isdigit()
        else _same_shape(seed, value)
    )


def _address(seed: bytes, _: str) -> str:
    return (
        f"{_number(seed, 998) + 1} {LAST[_number(seed[8:], len(LAST))]}"
        f" {_STREETS[seed[16] % len(_STREETS)]}"
    )


def _birth_date(seed: bytes, value: str) -> str:
    """Day and month up to 12, so that any order of them is a date; the year in 1950 to 1999;
    the format stays.
    """

    def digits(match: re.Match[str]) -> str:
        r, n = seed[match.start() % 16], len(match[0])
        if n == 4:
            return str(1950 + r % 50)
        if match.end() == len(value) and not re.search(r"\d{4}", value):
            return str(50 + r % 50)  # a year of two digits
        return str(1 + r % 9) if n == 1 else f"{1 + r % 12:02d}"

    def month(match: re.Match[str]) -> str:
        name = _MONTHS[seed[20] % 12]
        return _cased(name if len(match[0].rstrip(".")) > 4 else name[:3], match[0])

    return re.sub(
        r"\d+",
        digits,
        re.sub(r"(?i)\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*", month, value),
    )


def _age(seed: bytes, _: str) -> str:
    return str(90 + seed[0] % 10)


def _handle(seed: bytes, value: str) -> str:
    first, last = FIRST[_number(seed, len(FIRST))], LAST[_number(seed[9:], len(LAST))]
    name = f"{first}{seed[8] % 90 + 10}{last[0]}".lower()
    return "@" + name if value.startswith("@") else name


def _alphanumeric(value: str) -> str:
    return "".join(c for c in value.casefold() if c.isalnum())


def _phone_digits(value: str) -> str:
    return leaks.digits_of(value)[-10:]


_MAKERS: dict[str, tuple[Callable[[bytes, str], str], Callable[[str], str]]] = {
    "EMAIL": (_email, str.casefold),
    "URL": (_url, str),
    "PHONE": (_phone, _phone_digits),
    "IP": (_ip, str.casefold),
    "MAC": (_mac, _alphanumeric),
    "SSN": (_ssn, leaks.digits_of),
    "CARD": (_card, leaks.digits_of),
    "IBAN": (_iban, _alphanumeric),
    "ADDRESS": (_address, _alphanumeric),
    "DATE": (_birth_date, _alphanumeric),
    "DATE_OF_BIRTH": (_birth_date, _alphanumeric),
    "AGE": (_age, str),
    "HANDLE": (_handle, _alphanumeric),
    "USERNAME": (_handle, _alphanumeric),
}
