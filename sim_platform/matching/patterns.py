"""Regular expressions of behaviour files, run so that none holds grading up for ever.

Belongs here: how many repeats of an expression can give way to each other, and the time limit for
those where any can. Does not: what a match means (rules).

The engine stays Python's, so that every text has the label that it had. It backtracks: with a
repeat in the expression its time grows with a power of the text's length, with a repeat inside of a
repeat possibly twofold with every character. A timer of the process interrupts it; an expression
without such a repeat is left alone.
"""

import re
import signal
import threading
from collections.abc import Callable
from math import inf
from re import _constants as sre  # type: ignore[attr-defined]  # the parsed form of an expression has no public name
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, TypeVar

from sim_platform.contracts.errors import BadInputError

SECONDS = 1.0  # of the process' own processor time, for one text
SLOW_TEXTS = 20  # of one grader; then the expression is at fault and not the text
MANY = 50  # repeats; up to so many cost what they cost, and no more in a longer text
FEW = 4  # repeats of something with alternatives; up to so many multiply to little
DEGREE_THAT_WARNS = 4

T = TypeVar("T")


class TooSlowError(Exception):
    """An expression had no answer about a text in time."""


class TooManySlowTextsError(BadInputError):
    """An expression is too slow for texts like these; unlike another fault of a row, it ends the
    grading.
    """


class Limited:
    """Runs one expression's work on texts within the limit."""

    def __init__(self, pattern: re.Pattern[str], place: str) -> None:
        self._place, self._slow = place, 0
        self._needs_limit = degree(pattern) > 0

    def run(self, work: Callable[[str], T], text: str) -> T:
        """`work(text)`. The limit needs the process' main thread, where every run of the platform
        grades; in another thread there is none.

        Raises:
            TooSlowError: no answer within SECONDS.
            TooManySlowTextsError: the same for SLOW_TEXTS texts; names the place.
        """
        if not self._needs_limit or threading.current_thread() is not threading.main_thread():
            return work(text)
        try:
            return _in_time(work, text)
        except TooSlowError:
            self._slow += 1
            if self._slow >= SLOW_TEXTS:
                raise TooManySlowTextsError(
                    f"{self._place}: took more than {SECONDS:g} s on each of {self._slow} texts."
                    " Rewrite the pattern so that no repeat stands inside of a repeat and repeats"
                    " that follow each other cannot match the same text; possessive repeats"
                    " (`++`, `*+`) and atomic groups (`(?>...)`) never go back"
                ) from None
            raise


def _in_time(work: Callable[[str], T], text: str) -> T:
    if signal.getsignal(signal.SIGVTALRM) is not _stop:
        signal.signal(signal.SIGVTALRM, _stop)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        return work(text)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _stop(*_: object) -> None:
    raise TooSlowError


def may_be_slow(pattern: re.Pattern[str]) -> bool:
    """Whether its time may grow with the fourth power of a text's length, or faster."""
    return degree(pattern) >= DEGREE_THAT_WARNS


def degree(pattern: re.Pattern[str]) -> float:
    """How many repeats of a match can give way to each other, at most: infinitely many where a
    repeat that varies stands inside of one without end, 0 where none varies. An upper bound, which
    does not look at whether they can match the same text.
    """
    return _degree(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))


def _degree(items: Any) -> float:
    return sum(_degree_of(op, value) for op, value in items)


def _degree_of(op: Any, value: Any) -> float:
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        _, high, inner = value
        inside, chooses = _degree(inner), _chooses(inner)
        if high == sre.MAXREPEAT or high > MANY:
            gives_way = op is not sre.POSSESSIVE_REPEAT
            return inf if gives_way and (inside or chooses) else 1 + inside
        return float(high * (max(inside, 1) if chooses and high > FEW else inside))
    if op is sre.ATOMIC_GROUP:
        return _degree(value)
    if op is sre.SUBPATTERN:
        return _degree(value[-1])
    if op is sre.BRANCH:
        return max(map(_degree, value[1]))
    if op in (sre.ASSERT, sre.ASSERT_NOT):
        return _degree(value[1])
    if op is sre.GROUPREF_EXISTS:
        return max(_degree(part) for part in value[1:] if part is not None)
    return 0


def _chooses(items: Any) -> bool:
    """Whether there is more than one way through: alternatives, or a repeat that may be left."""
    for op, value in items:
        if op is sre.BRANCH or (
            op in (sre.MAX_REPEAT, sre.MIN_REPEAT) and (value[0] != value[1] or _chooses(value[2]))
        ):
            return True
        if op is sre.SUBPATTERN and _chooses(value[-1]):
            return True
    return False
