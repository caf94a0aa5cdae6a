"""Where in a text each of many regular expressions can match, asked of Hyperscan (in its fork
Vectorscan) in one pass, in time linear in the text.

Belongs here: loosening Python's expressions to what an automaton knows, the pass. Does not: the
expressions (rules).

A loosened expression matches wherever the original does: look-arounds, anchors and back-references
are the original's business. What a match can do without at its start and its end is left off, so
that the automaton has little to count and little to tell. It reads a byte a character; all that is
not ASCII is read as one and the same.
"""

import codecs
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from re import _constants as sre  # type: ignore[attr-defined]  # the parsed form of an expression has no public name
from re import _parser as parser  # type: ignore[attr-defined]
from threading import Lock
from typing import Any

# the characters beyond ASCII (the Kelvin sign, say) that are another case of a letter in it
_OTHER_CASES = {"ſ": "s", "\u212a": "k", "ı": "i", "İ": "i"}
_TOLD_APART = [*map(chr, range(128)), *_OTHER_CASES]
_BEYOND = "\xff"  # stands for every other character
_CATEGORIES = {
    sre.CATEGORY_DIGIT: r"\d",
    sre.CATEGORY_NOT_DIGIT: r"\D",
    sre.CATEGORY_SPACE: r"\s",
    sre.CATEGORY_NOT_SPACE: r"\S",
    sre.CATEGORY_WORD: r"\w",
    sre.CATEGORY_NOT_WORD: r"\W",
}
_COUNTED = 200  # repetitions that must occur; of more no more are asked for
_BOUNDED = 8  # repetitions that may occur; more may occur without end
_ANYWHERE = 1 << 40  # characters: longer than any text
_ONE_BYTE = "one byte a character"
_HAS_OTHER_CASE = re.compile(f"[{''.join(_OTHER_CASES)}]")


def _as_bytes(error: Any) -> tuple[bytes, int]:
    beyond = error.object[error.start : error.end]
    if _HAS_OTHER_CASE.search(beyond):
        return "".join(_OTHER_CASES.get(c, _BEYOND) for c in beyond).encode("latin-1"), error.end
    return _BEYOND.encode("latin-1") * len(beyond), error.end


codecs.register_error(_ONE_BYTE, _as_bytes)


@dataclass(frozen=True)
class _Part:
    """A piece of an expression: a class of characters, a loop, or one of several branches; `least`
    and `most` characters long.
    """

    expression: str
    least: int
    most: float
    branches: tuple["_Parts", ...] = ()


_Parts = tuple[_Part, ...]
_ANYTHING = (_Part(".*", 0, inf),)


def loosened(pattern: re.Pattern[str]) -> tuple[str, int]:
    """An expression over bytes that matches in every match of `pattern`, and how many characters at
    most lie between that match's start and the end of its first such place.
    """
    parts = _trimmed(
        _parts(
            parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE),
            bool(pattern.flags & re.I),
            {},
        ),
        -1,
    )
    return _text(_trimmed(parts, 0)), int(min(_most(parts), _ANYWHERE))


def _trimmed(parts: _Parts, end: int) -> _Parts:
    """Without what may be missing there; `end`: 0 or -1."""
    kept = list(parts)
    while kept and not kept[end].least:
        del kept[end]
    if kept and kept[end].branches:
        kept[end] = _either([_trimmed(branch, end) for branch in kept[end].branches])
    return tuple(kept)


def _text(parts: _Parts) -> str:
    return "".join(part.expression for part in parts)


def _least(parts: _Parts) -> int:
    return sum(part.least for part in parts)


def _most(parts: _Parts) -> float:
    return sum(part.most for part in parts)


def _either(branches: Sequence[_Parts]) -> _Part:
    return _Part(
        f"(?:{'|'.join(map(_text, branches))})",
        min(map(_least, branches)),
        max(map(_most, branches)),
        tuple(branches),
    )


def _parts(items: Any, ignore_case: bool, groups: dict[int, _Parts]) -> _Parts:
    out: list[_Part] = []
    for op, value in items:
        if (one := _one_of(op, value, ignore_case)) is not None:
            out.append(_Part(_class(one), 1, 1))
        elif op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            low, high, inner = value
            out += _repeated(low, high, _parts(inner, ignore_case, groups))
        elif op is sre.SUBPATTERN:
            number, added, removed, inner = value
            groups[number] = _parts(
                inner, (ignore_case or bool(added & re.I)) and not removed & re.I, groups
            )
            out += groups[number]
        elif op is sre.GROUPREF:
            # what the group may hold, if not what it held; in another case, who knows
            out += _ANYTHING if ignore_case else groups.get(value, _ANYTHING)
        elif op is sre.BRANCH:
            out.append(_either([_parts(branch, ignore_case, groups) for branch in value[1]]))
        elif op not in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
            out += _ANYTHING  # whatever a later Python adds
    return tuple(out)


def _repeated(low: int, high: int, parts: _Parts) -> _Parts:
    one, least, most = f"(?:{_text(parts)})", _least(parts), _most(parts)
    copies = min(low, _COUNTED)
    start = (
        parts
        if copies == 1
        else (_Part(f"{one}{{{copies}}}", copies * least, copies * most),)
        if copies
        else ()
    )
    if high == copies or not most:
        return start
    more = inf if high == sre.MAXREPEAT else high - copies
    return (*start, _Part(f"{one}{{0,{more}}}" if more <= _BOUNDED else f"{one}*", 0, more * most))


def _one_of(op: Any, value: Any, ignore_case: bool) -> frozenset[str] | None:
    """What the characters that an item of one character matches are read as, or more; None
    for other items.
    """
    if op is sre.IN:
        negated, members = value[0][0] is sre.NEGATE, value[value[0][0] is sre.NEGATE :]
    elif op in (sre.LITERAL, sre.NOT_LITERAL):
        negated, members = op is sre.NOT_LITERAL, [(sre.LITERAL, value)]
    elif op is sre.ANY:
        negated, members = True, []
    else:
        return None
    held: set[str] = set()
    beyond = negated
    for kind, what in members:
        first, last = (what, what) if kind is sre.LITERAL else what if kind is sre.RANGE else (1, 0)
        held |= {
            c
            for c in _TOLD_APART
            if (re.match(_CATEGORIES[what], c) if kind is sre.CATEGORY else first <= ord(c) <= last)
        }
        beyond = beyond or kind is sre.CATEGORY or last > 127
    if negated:
        # in any case: a letter whose other case is excluded stays, which lets through too much
        held = set(_TOLD_APART) - held
    elif ignore_case:
        held |= {other for c in held for other in _cases(c)}
    return frozenset({_OTHER_CASES.get(c, c) for c in held} | ({_BEYOND} if beyond else set()))


def _cases(character: str) -> tuple[str, str]:
    letter = _OTHER_CASES.get(character, character)
    return letter.lower(), letter.upper()


def _class(one: frozenset[str]) -> str:
    return f"[{''.join(map(_byte, sorted(one)))}]"


def _byte(character: str) -> str:
    return rf"\x{ord(character):02x}"


class SetGate:
    """Built with the first text."""

    def __init__(self, patterns: Sequence[re.Pattern[str]]) -> None:
        self._patterns = patterns
        # the automaton works in memory of its own, and lets other threads run meanwhile
        self._one_at_a_time = Lock()

    def possible(self, text: str) -> list[tuple[int, int, int]]:
        """Where the patterns may match in `text`: index, a place from which on matches start (it
        may lie before the text), and one before which they start.

        Raises:
            hyperscan.error: the text could not be read.
        """
        scan, always = self._automaton
        ends: dict[int, list[int]] = {}
        if scan is not None:
            with self._one_at_a_time:
                scan(text.encode("ascii", _ONE_BYTE), _note, 0, ends)
        places = [(i, first - self._loosened[i][1], last) for i, (first, last) in ends.items()]
        return [*places, *((i, 0, len(text) + 1) for i in always)] if always else places

    @cached_property
    def _loosened(self) -> list[tuple[str, int]]:
        return [loosened(pattern) for pattern in self._patterns]

    @cached_property
    def _automaton(self) -> tuple[Callable[..., None] | None, list[int]]:
        """The pass over all expressions that an automaton can be built of, and the indices of the
        others, which may match anywhere.
        """
        told = {i: expression for i, (expression, _) in enumerate(self._loosened) if expression}
        try:
            scan = _scan(told)
        except ValueError:
            told = {i: expression for i, expression in told.items() if _can_be_built(expression)}
            scan = _scan(told)
        return scan, [i for i in range(len(self._patterns)) if i not in told]


def _note(i: int, _start: int, end: int, _flags: int, ends: dict[int, list[int]]) -> None:
    """Keeps the first and the last end of each expression's matches, in whatever order
    they are told.
    """
    if (seen := ends.get(i)) is None:
        ends[i] = [end, end]
    elif end > seen[1]:
        seen[1] = end
    elif end < seen[0]:
        seen[0] = end


def _can_be_built(expression: str) -> bool:
    try:
        _scan({0: expression})
    except ValueError:
        return False
    return True


def _scan(expressions: dict[int, str]) -> Callable[..., None] | None:
    """Raises ValueError where an expression is too large for an automaton."""
    import hyperscan  # noqa: PLC0415 - compiled code, loaded with the first text

    if not expressions:
        return None
    automaton = hyperscan.Database()
    try:
        automaton.compile(
            [e.encode() for e in expressions.values()],
            ids=list(expressions),
            flags=[hyperscan.HS_FLAG_DOTALL] * len(expressions),
        )
    except hyperscan.error as error:
        raise ValueError(str(error)) from None
    return automaton.scan
