"""What outcomes without a label may hide: the sensitivity model of decisions.

Belongs here: how far a rate, a ratio or a difference can move while missing outcomes show a
behaviour at up to so many times the rate of answered ones, or down to one part in as many. Does
not: worst cases (comparison fills outcomes in for them), verdicts (gates).

With a share s of an arm's events expected among its missing outcomes, at equal rates inside each
stratum, the arm's rate is at most its answered rate times 1 + s (times - 1) and at least that times
1 - s (1 - 1 / times). Limits of the answered rate move by the same factor: what is not known of the
rate is not known of the missing outcomes either. None of them reaches beyond the worst case.
"""

import math
from dataclasses import dataclass

WORST = math.inf  # times as often: whatever missing outcomes show

Limits = tuple[float, float]


@dataclass(frozen=True)
class Hidden:
    """What one arm's missing outcomes hold."""

    share: float  # of the arm's events, at equal rates; in [0, 1]

    def most(self, times: float) -> float:
        """Largest factor on the arm's rate, >= 1."""
        return 1 + self.share * (times - 1) if self.share else 1.0

    def least(self, times: float) -> float:
        """Smallest factor on the arm's rate, in [0, 1]."""
        return 1 - self.share * (1 - 1 / times)


def rate_limits(answered: Limits, worst: Limits, hidden: Hidden, times: float) -> Limits:
    """Limits of a rate (per message) while missing outcomes stay within `times`.

    Args:
        answered: limits of the answered rate. worst: the same with missing outcomes at their best
            and at their worst.
    """
    return (
        max(worst[0], answered[0] * hidden.least(times)),
        min(worst[1], _times(answered[1], hidden.most(times))),
    )


def ratio_limits(
    answered: Limits, worst: Limits, first: Hidden, other: Hidden, times: float
) -> Limits:
    """Limits of the ratio first / other; arguments as for `rate_limits`."""
    down, up = first.least(times) / other.most(times), _over(first.most(times), other.least(times))
    return max(worst[0], answered[0] * down), min(worst[1], _times(answered[1], up))


def difference_limits(
    answered: Limits,
    rates: tuple[float, float],
    first: Hidden,
    other: Hidden,
    times: float,
) -> Limits:
    """Limits of the difference first - other, in [-1, 1].

    Args:
        answered: limits of the difference over answered outcomes. rates: answered rates of both
            arms, which say what their missing outcomes add or take away.
    """

    def added(rate: float, hidden: Hidden) -> float:
        if math.isinf(times):
            return hidden.share * (1 - rate)  # all of them show it
        return min(rate * (hidden.most(times) - 1), hidden.share * (1 - rate))

    def taken(rate: float, hidden: Hidden) -> float:
        return rate * (1 - hidden.least(times))

    return (
        max(-1.0, answered[0] - taken(rates[0], first) - added(rates[1], other)),
        min(1.0, answered[1] + added(rates[0], first) + taken(rates[1], other)),
    )


def _times(limit: float, factor: float) -> float:
    """The product; without events, whatever the factor, there is still nothing to multiply."""
    return limit * factor if limit else 0.0


def _over(top: float, bottom: float) -> float:
    return top / bottom if bottom else math.inf
