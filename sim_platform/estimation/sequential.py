"""Intervals that hold at every look: for a run that may stop early.

Belongs here: confidence sequences, and levels for looks at a growing sample. Does not: intervals at
a sample size fixed beforehand (intervals), which are narrower and are looked at once.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from sim_platform.estimation.intervals import (
    Array,
    ArrayLike,
    Interval,
    interval,
    nonnegative,
    positive,
    root,
    tail,
)

# of the gamma mixture: wide enough that a prior rate wrong by a factor of 3
# costs a few percent of width
_SHAPE = 0.5
_GRID = 801  # points of a score's density: levels are right to four digits


def poisson(
    x: ArrayLike, exposure: ArrayLike, prior_rate: ArrayLike = 1e-4, conf: float = 0.95
) -> Interval:
    """Confidence sequence for a Poisson rate: over all looks together the true rate leaves it with
    probability at most 1 - conf.

    Looked at once it is wider than Garwood's interval: 1.37 times at 5 events, 1.54 at
    20, 1.70 at 100.

    Args:
        x: events so far, >= 0. exposure: messages so far, > 0. They broadcast; so looks may be
            given as arrays.
        prior_rate: a guess of the rate, > 0, fixed before the first look; it moves the width,
            never the coverage.
        conf: confidence in (0, 1).

    Returns:
        The rates whose evidence is below 1 / (1 - conf); low is 0 without events.

    Raises:
        ValueError: a negative count, an exposure or prior rate that is not finite and positive,
            conf outside (0, 1), with the value.

    Source: mixture martingale of Robbins 1970, Annals of Mathematical Statistics 41:1397-1409 (see
    Howard et al. 2021, Annals of Statistics 49:1055), with a gamma mixture.
    """
    events, size, guess = np.broadcast_arrays(
        nonnegative("x", x), positive("exposure", exposure), positive("prior_rate", prior_rate)
    )
    limit, scale = -np.log(2 * tail(conf)), _SHAPE / guess
    constant = (
        _SHAPE * np.log(scale)
        - special.gammaln(_SHAPE)
        + special.gammaln(_SHAPE + events)
        - (_SHAPE + events) * np.log(scale + size)
    )

    def evidence(
        log_rate: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.asarray(constant + np.exp(log_rate) * size - events * log_rate - limit)

    # Evidence against a rate is convex in its logarithm and least at x / exposure; without events
    # it only grows.
    estimate = events / size
    middle = np.log(np.where(events > 0, estimate, 1e-300))
    reach = np.log((events + limit + 60 + np.maximum(0.0, -constant)) * 4 / size)
    low = root(evidence, np.full(events.shape, -690.0), middle)
    high = root(lambda r: -evidence(r), middle, np.maximum(reach, middle))
    return interval(estimate, np.where(events > 0, np.exp(low), 0.0), np.exp(high))


def spent(alpha: float, share: Array) -> Array:
    """Error that may be spent once `share` (0, 1] of the planned sample is there, of `alpha` in
    all.

    With looks at 1/8, 1/4, 1/2 and 1 of the sample the last look keeps .040 of .05: power falls by
    at most 2 points, and a run ends after .25 to .8 of the sample where something is to be seen
    (O'Brien-Fleming's: .4 to .9 for half a point of power, Pocock's: .2 to .75 for 6 points).

    Source: Kim & DeMets 1987, Biometrika 74:149-154, with the power 3/2.
    """
    return np.asarray(alpha * share**1.5)


def levels(
    sizes: Sequence[float], alpha: float, spend: Callable[[float, Array], Array] = spent
) -> list[float]:
    """One-sided level of each look at a sample that grows, so that over all looks together the
    error is `alpha` at most: a limit at level levels[i] takes the place of one at `alpha`.

    Args:
        sizes: prefixes (or effective events) at each look, growing; the last is the planned size.
        alpha: one-sided error over all looks, in (0, 1/2).
        spend: how much of it may be spent by when.

    Returns:
        A level per look, each at most `alpha`; one look alone has `alpha`.

    Raises:
        ValueError: sizes that do not grow from above 0, alpha outside (0, 1/2), with the value.

    Source: recursion of Armitage, McPherson & Rowe 1969, Journal of the Royal Statistical Society A
    132:235-244, for a score with independent normal increments.
    """
    times = np.asarray(sizes, dtype=float)
    if not len(times) or not np.all(np.isfinite(times)) or np.any(np.diff(times, prepend=0.0) <= 0):
        raise ValueError(f"sizes of looks must grow from above 0: {list(sizes)}")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must lie between 0 and 1/2: {alpha}")
    times = times / times[-1]
    to_spend = np.diff(spend(alpha, times), prepend=0.0)
    # The score's density below the boundary, where no look has decided yet, on a grid.
    grid, density = np.zeros(1), np.ones(1)
    found: list[float] = []
    before = 0.0
    for time, error in zip(times, to_spend, strict=True):
        step = np.sqrt(time - before)

        def beyond(boundary: float) -> float:
            return float(np.sum(density * special.ndtr((grid - boundary) / step)))  # noqa: B023 - called within this turn

        boundary = _falling_root(beyond, float(error), float(np.sqrt(time)))
        found.append(float(special.ndtr(-boundary / np.sqrt(time))))
        new = np.linspace(-8 * np.sqrt(time), boundary, _GRID)
        weights = np.full(_GRID, new[1] - new[0])
        weights[[0, -1]] /= 2
        kernel = _normal_density((new[:, None] - grid[None, :]) / step) / step
        grid, density, before = new, weights * (kernel @ density), time
    return found


def level_at(size: int, looks: Sequence[int], planned: int, alpha: float) -> float:
    """One-sided level of the decision on a sample of `size`, all registered looks before it counted
    as taken, so that whichever were taken the error of all is `alpha` at most.

    Args:
        looks: registered sizes, growing. planned: the size at which all of `alpha` is spent; a
            larger sample takes its place.
    """
    before = [n for n in looks if n < size]
    after = [planned] if size < planned and looks else []
    return levels([*before, size, *after], alpha)[len(before)]


def _normal_density(z: Array) -> Array:
    return np.asarray(np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))


def _falling_root(beyond: Callable[[float], float], wanted: float, scale: float) -> float:
    low, high = -8 * scale, 40 * scale
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle) > wanted else (low, middle)
    return high
