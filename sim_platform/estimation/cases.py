"""One behaviour between two arms: its limits, and its verdict, for any bound on missing outcomes.

Belongs here: what blocks, what passes, and where the verdict turns. Does not: words (reasons), all
behaviours together (gates), the limits themselves (comparison, missing).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scipy import special

from sim_platform.estimation.comparison import times_of
from sim_platform.estimation.missing import (
    WORST,
    Hidden,
    Limits,
    difference_limits,
    rate_limits,
    ratio_limits,
)
from sim_platform.estimation.verdict import ALPHA, Verdict
from sim_platform.registry.behaviors import Behavior, GateRule

FEW_EVENTS = 20  # below it ratios rarely decide and a registered ceiling takes their place
MOST_TIMES = 1e4  # a tipping point beyond it is that of almost all missing outcomes showing it

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Way:
    """One way to block: a lower limit of harm beyond a bound.

    `low` gives the one-sided limit at `level` while missing outcomes stay within so many times, on
    a scale on which limits move evenly with the normal deviate of their level (logarithms of
    ratios and rates). `p`: one-sided, at the registered `times`.
    """

    name: Literal["harm", "ceiling"]
    low: Callable[[float], float]
    bound: float
    p: float
    times: float
    level: float = ALPHA
    sides: int = 1

    def blocks(self, times: float, p_holm: float) -> bool:
        """Whether it blocks while missing outcomes stay within `times`, the other ways being as
        they are. Exact at the registered times; elsewhere the limit at Holm's level keeps the
        distance from the one at `level` that two points of its curve give.
        """
        if times == self.times or (times < self.times and p_holm <= self.level):
            return p_holm <= self.level  # limits fall as `times` grows: no verdict may turn back
        z, z_holm = (
            float(-special.ndtri(level / self.sides))
            for level in (self.p, self.level * self.p / p_holm if p_holm else self.level)
        )
        z_limit = float(-special.ndtri(self.level / self.sides))
        low = self.low(self.times)
        if not math.isfinite(low) or not math.isfinite(z) or abs(z - z_limit) < 1e-6:
            further = 0.0
        else:
            further = min(0.0, (z_holm - z_limit) * (self.bound - low) / (z - z_limit))
        beyond = self.low(times) + further > self.bound
        return beyond and (p_holm <= self.level or times < self.times)


@dataclass(frozen=True)
class Case:
    """One behaviour, its rule in numbers, and what was measured of it in both arms."""

    behavior: Behavior
    rule: GateRule
    candidate: Row | None
    other: Row | None
    sample: int | None

    @property
    def is_graded(self) -> bool:
        """Whether the candidate has a rate."""
        return self.candidate is not None and self.candidate["rate"] is not None

    @property
    def is_compared(self) -> bool:
        """Whether both arms have rates, and limits of their ratio."""
        return (
            self.is_graded
            and self.other is not None
            and self.other["rate"] is not None
            and self.of("gate_{}_low") is not None
        )

    def of(self, name: str) -> Any:
        """A column of the candidate's row, `{}` standing for the other arm."""
        return (self.candidate or {}).get(name.format(self.rule.against))

    @property
    def level(self) -> float:
        """One-sided error with which it is decided; smaller where a run looks several times."""
        return float(self.of("gate_level") or ALPHA)

    def _two(self, name: str) -> Limits:
        return float(self.of(f"{name}_low")), float(self.of(f"{name}_high"))

    @property
    def times(self) -> float:
        """The registered bound on missing outcomes; rates of an earlier version know the worst
        case alone.
        """
        return WORST if self.of("answered_low") is None else times_of(self.rule)

    @property
    def hidden(self) -> tuple[Hidden, Hidden]:
        """What the missing outcomes of candidate and other arm hold."""
        return tuple(Hidden((row or {}).get("missing_share") or 0.0) for row in self.rows)  # type: ignore[return-value]  # two rows

    @property
    def rows(self) -> tuple[Row | None, Row | None]:
        """Of candidate and other arm."""
        return self.candidate, self.other

    @property
    def n_missing(self) -> tuple[int, int]:
        """Outcomes without a label, of candidate and other arm."""
        return tuple(int((row or {}).get("n_missing") or 0) for row in self.rows)  # type: ignore[return-value]  # two rows

    @property
    def prefixes(self) -> int:
        """Of the sample."""
        row = self.candidate or {"n": 0, "n_missing": 0}
        return self.sample or row["n"] + row["n_missing"]

    @property
    def ceiling(self) -> float | None:
        """Per message."""
        return None if self.rule.ceiling_per_100k is None else self.rule.ceiling_per_100k / 1e5

    @property
    def floor(self) -> float | None:
        """Per message."""
        return None if self.rule.floor_per_100k is None else self.rule.floor_per_100k / 1e5

    @property
    def events(self) -> float:
        """Effective events of the other arm."""
        other = self.other or {}
        if other.get("n_effective") is None or other.get("rate") is None:
            return 0.0
        return float(other["rate"]) * float(other["n_effective"])

    def rate(self, times: float) -> Limits:
        """Limits of the candidate's rate while missing outcomes stay within `times`."""
        if self.of("answered_low") is None:
            return self._two("gate")
        return rate_limits(self._two("answered"), self._two("gate"), self.hidden[0], times)

    def other_high(self, times: float) -> float:
        """Upper limit of the other arm's rate; 1 where it is not known."""
        known = (self.other or {}).get("answered_high")
        if known is None:
            return 1.0
        return rate_limits((0.0, float(known)), (0.0, 1.0), self.hidden[1], times)[1]

    def ratio_to_other(self, times: float) -> Limits:
        """Limits of the ratio candidate / other while missing outcomes stay within `times`."""
        worst = self._two("gate_{}")
        if self.of("answered_{}_low") is None:
            return worst
        return ratio_limits(self._two("answered_{}"), worst, *self.hidden, times)

    def ratio(self, times: float) -> Limits:
        """Limits of the harm ratio while missing outcomes stay within `times`."""
        return harm(self.behavior.undesired, *self.ratio_to_other(times))

    def points(self, times: float) -> Limits:
        """Limits of the harm difference in percentage points."""
        if self.of("gate_difference_{}_low") is None or self.other is None:
            return -100.0, 100.0
        rates = float(self.of("rate")), float(self.other["rate"])
        limits = difference_limits(self._two("gate_difference_{}"), rates, *self.hidden, times)
        return harm_points(self.behavior.undesired, *limits)

    @property
    def ways(self) -> list[Way]:
        """Every way in which the behaviour could block."""
        found = []
        p = self.of("p_block_{}")
        if self.is_compared and p is not None:
            low, bound = (
                (lambda times: log_of(self.ratio(times)[0]), math.log(self.rule.block_above))
                if self.rule.block_above is not None
                else (lambda times: self.points(times)[0], self.rule.margin_points or 0.0)
            )
            sides = 2 if self.behavior.undesired == "either" else 1
            found.append(Way("harm", low, bound, float(p), self.times, self.level, sides))
        if self.ceiling is not None and self.is_graded:
            p = self.of("p_ceiling")
            if p is None:  # rates of an earlier version
                p = ALPHA if self.rate(WORST)[0] > self.ceiling else 1.0
            found.append(
                Way(
                    "ceiling",
                    lambda times: log_of(self.rate(times)[0]),
                    math.log(self.ceiling),
                    float(p),
                    self.times,
                    self.level,
                )
            )
        return found

    def within(self, times: float) -> bool:
        """Whether harm is surely below the margin."""
        if self.rule.margin_points is not None:
            return self.points(times)[1] < self.rule.margin_points
        return self.ratio(times)[1] < (self.rule.margin or 0.0)

    def below_ceiling(self, times: float) -> bool:
        """Whether there is no ceiling, or the rate is surely below it."""
        return self.ceiling is None or self.rate(times)[1] < self.ceiling

    def below_floor(self, times: float) -> bool:
        """Whether a floor is registered and both arms' rates are surely below it."""
        return self.floor is not None and (
            max(self.rate(times)[1], self.other_high(times)) < self.floor
        )

    def verdict(self, times: float, holm: Mapping[str, float]) -> tuple[Verdict, str]:
        """The verdict while missing outcomes stay within `times`, and by what."""
        for way in self.ways:
            if way.name in holm and way.blocks(times, holm[way.name]):
                return "BLOCK", way.name
        below = self.below_ceiling(times)
        if not self.is_compared:
            passes = self.ceiling is not None and below
            return ("PASS" if passes else "INCONCLUSIVE"), "ceiling"
        if self.events < FEW_EVENTS and self.ceiling is not None:
            return ("PASS" if below else "INCONCLUSIVE"), "ceiling"
        if below and self.within(times):
            return "PASS", "margin"
        if below and self.below_floor(times):
            return "PASS", "floor"
        return "INCONCLUSIVE", "margin" if below else "ceiling"

    @property
    def p_differs(self) -> float | None:
        """Two-sided p that both arms have the same rate."""
        return self.of("p_{}") if self.is_compared else None

    @property
    def is_without_events(self) -> bool:
        """Whether neither arm showed it."""
        return self.is_compared and not self.of("rate") and not (self.other or {})["rate"]


def tipping_point(case: Case, holm: Mapping[str, float], verdict: str) -> float | None:
    """How many times as often missing outcomes would have to show it for the verdict to turn; where
    nothing is decided, up to how many times it would be. Infinite: only if almost all of them do.
    None: they do not decide.
    """

    def is_as(times: float) -> bool:
        found = case.verdict(times, holm)[0]
        return found != "INCONCLUSIVE" if verdict == "INCONCLUSIVE" else found == verdict

    if verdict == "INCONCLUSIVE":
        if not is_as(1.0):
            return None
        low, high = 0.0, math.log(min(case.times, MOST_TIMES))
    else:
        if is_as(WORST):
            return None
        if is_as(MOST_TIMES):
            return math.inf
        low, high = math.log(case.times), math.log(MOST_TIMES)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if is_as(math.exp(middle)) else (low, middle)
    return math.exp(low)


def harm(undesired: str, low: float, high: float) -> Limits:
    """Limits of a ratio in the undesired direction."""

    def inverse(x: float) -> float:
        return math.inf if x == 0 else 1 / x

    turned = (inverse(high), inverse(low))
    if undesired == "increase":
        return low, high
    if undesired == "decrease":
        return turned
    return max(low, turned[0]), max(high, turned[1])


def harm_points(undesired: str, low: float, high: float) -> Limits:
    """Limits of a difference in the undesired direction, in percentage points."""
    low, high = 100 * low, 100 * high
    if undesired == "increase":
        return low, high
    return (-high, -low) if undesired == "decrease" else (max(low, -high), max(high, -low))


def log_of(x: float) -> float:
    """The logarithm; of 0 minus infinity."""
    return math.log(x) if x > 0 else -math.inf
