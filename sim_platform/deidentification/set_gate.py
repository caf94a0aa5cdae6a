"""Which of many regular expressions can match a text at all, asked of google-re2 in time linear in the text.

Belongs here: loosening Python's expressions to what re2 knows, the two passes. Does not: the expressions (rules).

One automaton of whole expressions would need a state for every combination of half-read matches, and would be building states all day. So the first pass, one
automaton for all expressions, looks for signs: a few adjacent characters that occur in whatever an expression matches ("card", four digits). The second asks each
expression whose signs are all there whether it matches in a loosened form. Both say yes wherever the original matches; look-arounds, anchors and back-references
are the original's business. re2 reads UTF-8 bytes, and what is not ASCII counts as one class.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import log2
from re import _constants as sre  # type: ignore[attr-defined]  # the parsed form of an expression has no public name
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_ASCII = [chr(code) for code in range(128)]
_NOT_ASCII = r"[\xc2-\xf4][\x80-\xbf]{1,3}"
_CATEGORIES = {
    sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_NOT_DIGIT: r"\D", sre.CATEGORY_SPACE: r"\s", sre.CATEGORY_NOT_SPACE: r"\S", sre.CATEGORY_WORD: r"\w",
    sre.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip
_GAVE_UP = (0,)
_SIGN = 5  # characters
_SIGNS = 2  # looked for per expression
_TELLING = 5.0  # bits: a digit, or a letter in either case
_FREQUENT = {" ": 15.0, ".": 1.0, ",": 1.0} | dict.fromkeys("abcdefghijklmnopqrstuvwxyz", 3.0)  # in a hundred characters of prose, roughly; of any other a tenth
_LONG = re.compile(r"\{\d\d\}")
_WIDE = re.compile(r"\[(?:\\x..){4}")
_COUNTED = 24  # a longer repetition is left open: re2 unrolls what is bounded
_OTHER_CASE_IS_NOT_ASCII = frozenset("iIkKsS")  # ı and İ, the Kelvin sign, the long s


@dataclass(frozen=True)
class _Part:
    """One class of characters `least` times; a loop or an option (0); or one of several branches of at least so many characters."""

    expression: str
    least: int
    bits: float = 0.0  # how telling one of its characters is
    branches: tuple["_Parts", ...] = ()

    def text(self) -> str:
        return f"{self.expression}{{{self.least}}}" if self.least > 1 and not self.branches else self.expression


_Parts = list[_Part | None]  # None: anything may stand here
_Run = list[tuple[float, str]]  # bits and expression of what stands side by side


def loosened(pattern: re.Pattern[str]) -> tuple[str, frozenset[str]]:
    """An re2 expression over UTF-8 bytes that matches in every text in which `pattern` does, and signs that are all in such a text."""
    parts = _parts(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE), bool(pattern.flags & re.I), {})
    found = sorted(_signs(parts), reverse=True)[:_SIGNS]
    return _text(parts), frozenset(sign for bits, sign in found if bits > min(_TELLING, found[0][0] - 1))


def _text(parts: _Parts) -> str:
    return "".join(".*" if part is None else part.text() for part in parts)


def _least(parts: _Parts) -> int:
    return sum(part.least for part in parts if part is not None)


def _signs(parts: _Parts) -> list[tuple[float, str]]:
    """The most telling few characters of every run."""
    best = [max((run[i : i + _SIGN] for i in range(max(1, len(run) - _SIGN + 1))), key=_bits) for run in _runs(parts) if run]
    return [(_bits(sign), _text_of(sign)) for sign in best]


def _bits(run: _Run) -> float:
    return sum(bits for bits, _ in run)


def _text_of(run: _Run) -> str:
    return "".join(text for _, text in run)


def _runs(parts: _Parts) -> Iterator[_Run]:
    """What stands side by side in every match: the first run at its start, the last at its end, either may be empty. One run: that is all there is."""
    run: _Run = []
    for part in parts:
        if part is None or not part.least:
            yield run
            run = []
        elif not part.branches:
            run = [*run, *([(part.bits * part.least, part.text())] if part.least > _SIGN else [(part.bits, part.expression)] * part.least)]
        else:
            runs = [list(_runs(branch)) for branch in part.branches]
            run = run + _either([first for first, *_ in runs])
            if any(len(of_branch) > 1 for of_branch in runs):
                yield run
                yield _either([[max(_signs(branch), default=(0.0, ""))] for branch in part.branches])
                run = _either([of_branch[-1] for of_branch in runs])
    yield run


def _either(runs: list[_Run]) -> _Run:
    """As one character; nothing when one of them is empty."""
    texts = [_text_of(run) for run in runs]
    return [(min(map(_bits, runs)) - log2(len(runs)), f"(?:{'|'.join(texts)})")] if all(texts) else []


def _parts(items: Any, ignore_case: bool, groups: dict[int, _Parts]) -> _Parts:
    out: _Parts = []
    for op, value in items:
        if (one := _one_of(op, value, ignore_case)) is not None:
            out.append(_Part(_class(one), 1, -log2(sum(_FREQUENT.get(c, 0.1) for c in one or "-") / 120)))
        elif op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            low, high, inner = value
            out += _repeated(low, high, _parts(inner, ignore_case, groups))
        elif op is sre.SUBPATTERN:
            number, added, removed, inner = value
            groups[number] = _parts(inner, (ignore_case or bool(added & re.I)) and not removed & re.I, groups)
            out += groups[number]
        elif op is sre.GROUPREF:
            out += groups.get(value, [None])  # what the group may hold, if not what it held
        elif op is sre.BRANCH:
            branches = tuple(_parts(branch, ignore_case, groups) for branch in value[1])
            out.append(_Part(f"(?:{'|'.join(map(_text, branches))})", min(map(_least, branches)), branches=branches))
        elif op not in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
            out.append(None)  # whatever a later Python adds
    return out


def _repeated(low: int, high: int, parts: _Parts) -> _Parts:
    copies = min(low, max(1, _COUNTED // max(1, _least(parts))))
    one = parts[0] if len(parts) == 1 else None
    start: _Parts = [_Part(one.expression, copies, one.bits)] if one and copies and one.least == 1 and not one.branches else parts * copies
    if low == high == copies:
        return start
    more = f"{{0,{high - copies}}}" if high - copies <= _COUNTED and one else "*"
    return [*start, _Part(f"(?:{_text(parts)}){more}", 0)]


def _one_of(op: Any, value: Any, ignore_case: bool) -> frozenset[str] | None:
    """The characters that an item of one character matches: those of ASCII, and "é" for any other; None for other items."""
    if op is sre.IN:
        negated, members = value[0][0] is sre.NEGATE, value[value[0][0] is sre.NEGATE :]
    elif op in (sre.LITERAL, sre.NOT_LITERAL):
        negated, members = op is sre.NOT_LITERAL, [(sre.LITERAL, value)]
    elif op is sre.ANY:
        return frozenset([*_ASCII, "é"])
    else:
        return None
    held: set[str] = set()
    beyond, written = negated, False  # whether it matches what is not ASCII, and names such a character itself
    for kind, what in members:
        if kind is sre.CATEGORY:
            held |= {c for c in _ASCII if re.match(_CATEGORIES[what], c)}
            beyond = True
        else:
            first, last = (what, what) if kind is sre.LITERAL else what
            held |= {chr(code) for code in range(first, min(last, 127) + 1)}
            written = written or last > 127
    beyond = beyond or written
    if ignore_case:
        if written and not negated:
            held |= _OTHER_CASE_IS_NOT_ASCII
        beyond = beyond or not held.isdisjoint(_OTHER_CASE_IS_NOT_ASCII)
        held |= {c.swapcase() for c in held}
    if negated:
        held = set(_ASCII) - held
    return frozenset(held | ({"é"} if beyond else set()))


def _class(one: frozenset[str]) -> str:
    inside = "".join(rf"\x{ord(c):02x}" for c in sorted(one - {"é"}))
    if "é" not in one:
        return f"[{inside}]"
    return f"(?:[{inside}]|{_NOT_ASCII})" if inside else f"(?:{_NOT_ASCII})"


def _set(expressions: Sequence[str]) -> Any:
    import re2  # noqa: PLC0415 - compiled code, loaded with the first text

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes
    options.dot_nl = True
    options.max_mem = 1 << 28
    options.log_errors = False
    automaton = re2.Set.SearchSet(options)
    for expression in (*expressions, ""):  # nothing matches everywhere: when it does not, re2 gave up (it outgrew its memory), which it reports like "no match"
        automaton.Add(expression.encode())
    automaton.Compile()
    return automaton


def _kind(sign: str) -> int:
    return 2 if _LONG.search(sign) else 1 if _WIDE.search(sign) else 0


class SetGate:
    """Built with the first text."""

    def __init__(self, patterns: Sequence[re.Pattern[str]]) -> None:
        self._loose, self._signs_of = zip(*map(loosened, patterns), strict=True)
        signs = sorted(frozenset[str]().union(*self._signs_of))
        # words, shapes and long runs apart: an automaton of all would combine every place in a word with every count of a run
        self._kinds = [[sign for sign in signs if _kind(sign) == kind] for kind in range(3)]
        self._with_signs = lru_cache(maxsize=1 << 14)(self._of_signs)

    @cached_property
    def _first(self) -> list[Any]:
        return [_set(signs) for signs in self._kinds]

    @cached_property
    def _second(self) -> list[Any]:
        return [_set([expression]) for expression in self._loose]

    def possible(self, text: str) -> list[int]:
        """Indices of the patterns that may match somewhere in `text`."""
        data = text.encode("utf-8", "surrogatepass")
        words, shapes, runs = self._first
        some = self._with_signs(tuple(words.Match(data) or ()), tuple(shapes.Match(data) or ()), tuple(runs.Match(data) or ()))
        return [i for i in some if 0 in (self._second[i].Match(data) or _GAVE_UP)]

    def _of_signs(self, *matched: tuple[int, ...]) -> list[int]:
        there = {sign for signs, found in zip(self._kinds, matched, strict=True) for i, sign in enumerate(signs) if i in found or len(signs) not in found}
        return [i for i, wanted in enumerate(self._signs_of) if wanted <= there]
