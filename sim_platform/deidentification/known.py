"""What is already known about the account holder, looked for in the text of the account's own
conversations: the surest detector there is, and a gate on what comes out.

Belongs here: how a known value is spelled in text, finding it. Does not: where the values come from
(orchestration), masking (deidentify).
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from sim_platform.deidentification import stoplist
from sim_platform.deidentification.spans import Span

# letters or digits of a value, or of a word of a name, that is looked for:
# shorter ones are found everywhere
LEAST = 3
PHONE_DIGITS = 7  # of a telephone number; of longer ones the country code may be missing


class Known(NamedTuple):
    """One value of an account: the type of identifier, and the text."""

    type: str
    value: str


@dataclass(frozen=True)
class KnownValues:
    """The known values of one account as one expression over folded text (lower case,
    no diacritics).
    """

    pattern: re.Pattern[str] | None
    types: tuple[str, ...]

    @classmethod
    def of(cls, known: Iterable[Known]) -> "KnownValues":
        """From an account's values. A name is looked for as a whole and by each word of it, a
        telephone number in any grouping, an address also by its first line.
        """
        spelled = dict.fromkeys(found for one in known for found in _spellings(one))
        ordered = sorted(spelled, key=lambda s: len(s[1]), reverse=True)
        alternatives = "|".join(f"({pattern})" for _, pattern in ordered)
        return cls(
            re.compile(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])") if ordered else None,
            tuple(type for type, _ in ordered),
        )

    def spans(self, text: str) -> list[Span]:
        """Where a known value stands in `text`, whatever its case, accents and punctuation."""
        if self.pattern is None:
            return []
        folded = searchable(text)
        if (
            self.pattern.search(folded) is None
        ):  # nearly every text; where the characters come from is worked out for the others alone
            return []
        places = origins(text)
        found = (m for m in self.pattern.finditer(folded) if m.end() > m.start())
        return [
            Span(
                places[m.start()][0],
                places[m.end() - 1][1],
                self.types[(m.lastindex or 1) - 1],
                1.0,
                "known",
            )
            for m in found
        ]


def searchable(text: str) -> str:
    """`text` in compatibility form, lower case, without diacritics and invisible characters."""
    return (
        text.lower()
        if text.isascii()
        else unicodedata.normalize("NFKD", text).casefold().translate(_folding())
    )


def origins(text: str) -> list[tuple[int, int]]:
    """Start and end in `text` of what each character of `searchable(text)` comes from."""
    return [(i, i + 1) for i, c in enumerate(text) for _ in searchable(c)]


@cache
def _folding() -> dict[int, str | None]:
    """Letters that Unicode does not take apart; marks and invisible characters are dropped."""
    letters = {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "æ": "ae",
        "œ": "oe",
        "ı": "i",
        "ħ": "h",
    }
    # between them are ideographs and nothing
    assigned = (*range(0x20000), *range(0xE0000, 0xE1000))
    dropped = (
        i for i in assigned if unicodedata.combining(chr(i)) or unicodedata.category(chr(i)) == "Cf"
    )
    return {**{ord(c): to for c, to in letters.items()}, **dict.fromkeys(dropped)}


def _spellings(one: Known) -> Iterator[tuple[str, str]]:
    """(type, expression) of every way in which the value is looked for."""
    folded = searchable(one.value)
    words = re.findall(r"[^\W_]+", folded)
    if sum(map(len, words)) < LEAST:
        return
    if one.type == "PHONE":
        digits = "".join(c for c in folded if c.isdecimal())
        for known in {digits, digits.lstrip("0"), digits[-10:]}:
            if len(known) >= PHONE_DIGITS:
                yield one.type, _apart(known, 3)
        return
    if one.type in ("SSN", "CARD", "IBAN", "ID") and any(c.isdecimal() for c in folded):
        if len(joined := "".join(words)) >= 4:
            yield one.type, _apart(joined, 2)
        return
    yield one.type, r"[\W_]{1,4}".join(map(re.escape, words))
    if one.type == "EMAIL" and len(local := folded.partition("@")[0]) >= 5:
        yield "USERNAME", re.escape(local)
    elif one.type == "PERSON":
        for word in words:
            if len(word) >= LEAST and word not in stoplist.NOT_A_NAME:
                yield one.type, re.escape(word)
        if len(words) > 1:
            for turned in ([words[-1], *words[:-1]], [*words[1:], words[0]]):
                yield one.type, r"[\W_]{1,4}".join(map(re.escape, turned))
            yield one.type, rf"{re.escape(words[0][0])}[\W_]{{0,2}}{re.escape(words[-1])}"
    elif one.type == "ADDRESS" and re.search(r"[,\n]", one.value):
        first = re.findall(r"[^\W_]+", searchable(re.split(r"[,\n]", one.value)[0]))
        if len(first) > 1:
            yield one.type, r"[\W_]{1,4}".join(map(re.escape, first))


def _apart(joined: str, most: int) -> str:
    """The characters with up to `most` that are neither letters nor digits between them."""
    return rf"[\W_]{{0,{most}}}".join(map(re.escape, joined))
