"""Which of many regular expressions can match a text at all, answered in one linear pass of google-re2.

Belongs here: loosening Python's expressions to what re2 knows, the pass. Does not: the expressions (rules). The loosened form matches wherever the original
does, so a text that it passes over holds nothing; look-arounds, anchors and back-references are the original's business.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from re import _constants as sre  # type: ignore[attr-defined]  # the parsed form of an expression has no public name
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_CLASSES = {
    sre.CATEGORY_DIGIT: r"\p{Nd}", sre.CATEGORY_NOT_DIGIT: r"\P{Nd}", sre.CATEGORY_WORD: r"\pL\pN_", sre.CATEGORY_NOT_WORD: None,
    sre.CATEGORY_SPACE: r"\s\x{b}\x{1c}-\x{1f}\x{85}\pZ", sre.CATEGORY_NOT_SPACE: None,
}  # fmt: skip
_MOST = 24  # a repetition that may be longer is left open: re2 unrolls bounded ones


def loosened(pattern: re.Pattern[str]) -> str:
    """An re2 expression that matches in every text in which `pattern` does."""
    flags = "(?is)" if pattern.flags & re.I else "(?s)"
    return flags + _sequence(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE), {})


def _sequence(items: Any, groups: dict[int, str]) -> str:
    return "".join(_item(op, value, groups) for op, value in items)


def _item(op: Any, value: Any, groups: dict[int, str]) -> str:
    if op is sre.LITERAL:
        return _char(value)
    if op is sre.IN:
        return _set(value)
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        low, high, inner = value
        low, high = min(low, _MOST), None if high > _MOST else high
        bounds = "*" if (low, high) == (0, None) else f"{{{low},{'' if high is None else high}}}"
        return f"(?:{_sequence(inner, groups)}){bounds}"
    if op is sre.SUBPATTERN:
        number, added, removed, inner = value
        on, off = ("i" if added & re.I else ""), ("i" if removed & re.I else "")
        loose = f"(?{on}{'-' + off if off else ''}:{_sequence(inner, groups)})"
        groups[number] = loose
        return loose
    if op is sre.GROUPREF and value in groups:
        return groups[value]  # what the group may hold, if not what it held
    if op is sre.BRANCH:
        return f"(?:{'|'.join(_sequence(branch, groups) for branch in value[1])})"
    if op in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
        return ""
    return r"(?:.*)"  # NOT_LITERAL, ANY, GROUPREF and whatever a later Python adds


def _char(code: int) -> str:
    return rf"\x{{{code:x}}}"


def _set(members: Any) -> str:
    out: list[str] = []
    negated = members[0][0] is sre.NEGATE
    for op, value in members[negated:]:
        if op is sre.LITERAL:
            out.append(_char(value))
        elif op is sre.RANGE:
            out.append(f"{_char(value[0])}-{_char(value[1])}")
        elif _CLASSES.get(value) is None:  # what a class leaves out cannot stand inside another in re2
            if negated:  # not (not a word character): a word character
                out = [r"\pL\pN_" if value is sre.CATEGORY_NOT_WORD else _CLASSES[sre.CATEGORY_SPACE] or ""]
                return f"[{out[0]}]"
            return "."
        else:
            out.append(str(_CLASSES[value]))
    return f"[{'^' if negated else ''}{''.join(out)}]"


class SetGate:
    """One automaton for many expressions, built with the first text."""

    def __init__(self, patterns: Sequence[re.Pattern[str]]) -> None:
        self._patterns = patterns
        self._all = len(patterns)

    @cached_property
    def _automaton(self) -> Any:
        import re2  # noqa: PLC0415 - compiled code, loaded with the first text

        options = re2.Options()
        options.max_mem = 1 << 28
        options.log_errors = False
        automaton = re2.Set.SearchSet(options)
        for pattern in self._patterns:
            automaton.Add(loosened(pattern))
        automaton.Add("")  # matches everything: when it does not, re2 gave up (it outgrew its memory), which it reports like "no match"
        automaton.Compile()
        return automaton

    def possible(self, text: str) -> Sequence[int]:
        """Indices of the patterns that may match somewhere in `text`."""
        matched = self._automaton.Match(text) or ()
        return [i for i in matched if i != self._all] if self._all in matched else range(self._all)
