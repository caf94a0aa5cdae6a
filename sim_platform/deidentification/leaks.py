"""Shapes of structured identifiers, the ranges reserved for examples, and the count of identifiers
outside those ranges.

Belongs here: what e-mail addresses, phone numbers, IPv4 addresses and card numbers look like and
which of them belong to nobody. Does not: detection by context or by a model (rules, detectors),
making surrogates (surrogates). Pure and linear in the length of the text.

Reserved ranges: RFC 2606 (domains), RFC 5737 (IPv4), 555-0100 to 555-0199 (NANPA), the card numbers
that payment providers publish for testing.
"""

import re
from collections import Counter
from collections.abc import Iterable

EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%'-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])")
IPV4 = re.compile(
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
    r"(?!\.?\d)(?![^\W\d_])"
)
US_PHONE = re.compile(
    r"(?<![\w.])(?:\+?1[ .-]?)?(?:\(\d{3}\)[ .-]?|\d{3}[ .-])\d{3}[ .-]\d{4}(?!\w)"
)
E164_PHONE = re.compile(r"(?<![\w+])\+[1-9]\d{0,2}(?:[ ().-]{0,2}\d{1,14}){1,6}(?!\d)")
CARD = re.compile(
    r"(?<!\d)(?<!\d[.,])[3-6](?:\d{12,18}|\d{3}(?:[ -]\d{4}){2}[ -]\d{1,7}|\d{3}[ -]\d{6}"
    r"[ -]\d{4,5})(?!\d)"
)

TEST_CARDS = tuple(
    """
    4242424242424242 4111111111111111 4012888888881881 4000056655665556 5555555555554444
    5105105105105100 5200828282828210 2223003122003222 6011111111111117 6011000990139424
    3530111333300000 3566002020360505 6200000000000005 4917610000000000 378282246310005
    371449635398431 30569309025904 38520000023237
    """.split()
)
_RESERVED_DOMAINS = ("example.com", "example.org", "example.net")
# the last three name no machine of anybody
_RESERVED_IPV4 = ("192.0.2.", "198.51.100.", "203.0.113.", "127.", "255.255.", "0.0.0.0")


def digits_of(text: str) -> str:
    """The decimal digits of `text`, in ASCII whatever the script."""
    return "".join(str(int(c)) for c in text if c.isdecimal())


def passes_luhn(digits: str) -> bool:
    """Whether a string of ASCII digits satisfies the card checksum (Luhn, ISO/IEC 7812-1)."""
    doubled = [
        sum(divmod(2 * int(d), 10)) if i % 2 else int(d) for i, d in enumerate(reversed(digits))
    ]
    return sum(doubled) % 10 == 0


def is_reserved_email(text: str) -> bool:
    return text.rpartition("@")[2].casefold().endswith(_RESERVED_DOMAINS)


def is_reserved_ipv4(text: str) -> bool:
    return text.startswith(_RESERVED_IPV4)


def is_reserved_phone(text: str) -> bool:
    digits = digits_of(text)
    return digits[-7:-2] == "55501" and (
        len(digits) in (7, 10) or (len(digits) == 11 and digits[0] == "1")
    )


def is_phone_shape(text: str) -> bool:
    """E.164 allows 15 digits; fewer than 8 after a plus sign is arithmetic."""
    return not text.startswith("+") or 8 <= len(digits_of(text)) <= 15


def is_card(text: str) -> bool:
    return passes_luhn(digits_of(text))


def reserved_range_leaks(texts: Iterable[str]) -> dict[str, int]:
    """Identifiers in de-identified text that are not from a reserved range, by type; needs no
    detector's judgement, so it can gate a write.

    Args:
        texts: de-identified texts; JSON text may be given as it is.

    Returns:
        Counts per type, only types that occur: EMAIL, PHONE (US and E.164 shapes), IPV4, CARD (13
        to 19 digits that pass Luhn). Empty means none.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts["EMAIL"] += (
            sum(not is_reserved_email(m[0]) for m in EMAIL.finditer(text)) if "@" in text else 0
        )
        counts["IPV4"] += sum(not is_reserved_ipv4(m[0]) for m in IPV4.finditer(text))
        counts["CARD"] += sum(
            is_card(m[0]) and digits_of(m[0]) not in TEST_CARDS for m in CARD.finditer(text)
        )
        phones = {m.end(): m[0] for m in US_PHONE.finditer(text)} | {
            m.end(): m[0] for m in E164_PHONE.finditer(text)
        }
        counts["PHONE"] += sum(
            is_phone_shape(p) and not is_reserved_phone(p) for p in phones.values()
        )
    return {kind: n for kind, n in counts.items() if n}
