"""Design-based limits of a rate, as survey packages compute them: what the platform's own intervals
(rates) are compared with.

Belongs here: the linearised variance of a weighted share under strata and clusters, the limits that
rest on it, and Tiwari's limits of a weighted sum. Does not: limits for rare events
(intervals.weighted), which stay honest at 0 to 10 events where the ones here do not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from sim_platform.estimation.intervals import (
    Array,
    ArrayLike,
    Interval,
    gamma_limits,
    interval,
    moments,
    nonnegative,
    positive,
    tail,
    wilson,
)

Labels = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Linearised:
    """A weighted share with its Taylor-linearised variance.

    `estimate` in [0, 1]; `degrees` are clusters minus strata; `size` is the number of units;
    `clusters` the number of primary sampling units; `design_effect` the variance over that of a
    simple sample of as many units, infinite for none.
    """

    estimate: float
    variance: float
    degrees: int
    size: int
    clusters: int
    design_effect: float


def linearised(
    outcomes: ArrayLike,
    weights: ArrayLike,
    strata: Labels | None = None,
    clusters: Labels | None = None,
    population: Mapping[object, int] | None = None,
) -> Linearised:
    """Weighted share of a stratified one-stage cluster sample and its variance.

    Args:
        outcomes: per unit, shape (units,), in [0, 1]. weights: design weight per
            unit, in any scale.
        strata: label per unit; None: one stratum. clusters: label of the primary sampling unit per
            unit, told apart within a stratum; None: every unit is one.
        population: clusters that exist per stratum label (0 without strata), for the finite
            population correction; None: drawn from very many.

    Raises:
        ValueError: no unit, an outcome outside [0, 1], unequal lengths, a stratum with a single
            cluster (its variance is unknown) or with more clusters than exist.

    Source: Cochran 1977, Sampling Techniques, chapters 5A and 9A; Taylor linearisation of a ratio
    (Woodruff 1971).
    """
    y, w = nonnegative("outcomes", outcomes), positive("weights", weights)
    if y.ndim != 1 or y.size == 0 or y.shape != w.shape:
        raise ValueError(
            f"outcomes and weights must be lists of the same units, at least one: {y.shape},"
            f" {w.shape}"
        )
    if np.any(y > 1):
        raise ValueError(f"outcomes must lie in [0, 1]: {float(y.max()):g}")
    layers = np.zeros(len(y), dtype=np.int64) if strata is None else np.asarray(strata)
    units = np.arange(len(y)) if clusters is None else np.asarray(clusters)
    if not layers.shape == units.shape == y.shape:
        raise ValueError(
            f"strata and clusters must have one label per unit: {layers.shape}, {units.shape},"
            f" {y.shape}"
        )
    estimate = float((w * y).sum() / w.sum())
    scores = w * (y - estimate) / w.sum()
    variance, count = 0.0, 0
    names = np.unique(layers)
    for name in names.tolist():
        mine = layers == name
        _, codes = np.unique(units[mine], return_inverse=True)
        totals = np.bincount(codes, weights=scores[mine])
        k = len(totals)
        if k < 2:
            raise ValueError(
                f"stratum {name!r} has a single cluster: its variance is unknown; merge it with"
                " another"
            )
        exist = float(population[name]) if population else np.inf
        if k > exist:
            raise ValueError(
                f"stratum {name!r} has {k} clusters in the sample and {exist:g} in the population"
            )
        variance += (1 - k / exist) * k / (k - 1) * float(((totals - totals.mean()) ** 2).sum())
        count += k
    # The sampled share is that of the clusters: a simple sample of units has the same correction.
    sampled = count / sum(population[name] for name in names.tolist()) if population else 0.0
    simple = (1 - sampled) * estimate * (1 - estimate) / max(len(y) - 1, 1)
    effect = variance / simple if simple > 0 else 1.0 if variance == 0 else np.inf
    return Linearised(estimate, variance, count - len(names), len(y), count, effect)


def rate(
    found: Linearised,
    method: Literal["beta", "korn-graubard", "wilson", "logit", "mean"] = "beta",
    conf: float = 0.95,
) -> Interval:
    """Limits of a linearised share, in [0, 1] except for `mean`, which may leave it.

    Args:
        method: beta, Clopper-Pearson of the effective count adjusted for degrees of freedom (Korn &
            Graubard 1998); korn-graubard, the same with the effective count at most the units;
            wilson, Wilson of the effective count with t; logit, t limits on the log odds; mean,
            estimate +- t standard errors.
        conf: two-sided confidence in (0, 1).

    With no event, or only events, the sample has no variance: beta, korn-graubard and wilson then
    count every cluster as one unit; logit and mean know nothing and give [0, 1].

    Raises:
        ValueError: an unknown method, conf outside (0, 1).

    Source: Korn & Graubard 1998, Survey Methodology 24:193-201; Dean & Pagano 2015, Journal of
    Survey Statistics and Methodology 3:484.
    """
    p, level = found.estimate, 1 - tail(conf)
    t = float(special.stdtrit(found.degrees, level))
    flat = p in (0.0, 1.0) or found.variance <= 0
    effective = (
        float(found.clusters)
        if flat
        else p
        * (1 - p)
        / found.variance
        * float((special.stdtrit(max(found.size - 1, 1), level) / t) ** 2)
    )
    if method in ("beta", "korn-graubard"):
        size = min(effective, found.size) if method == "korn-graubard" else effective
        low = float(special.betaincinv(size * p, size * (1 - p) + 1, 1 - level)) if p > 0 else 0.0
        high = float(special.betaincinv(size * p + 1, size * (1 - p), level)) if p < 1 else 1.0
    elif method == "wilson":
        limits: tuple[Array, Array] = wilson(np.asarray(effective * p), np.asarray(effective), t)
        low, high = float(limits[0]), float(limits[1])
    elif method in ("logit", "mean"):
        error = found.variance**0.5
        if flat:
            low, high = 0.0, 1.0
        elif method == "mean":
            low, high = p - t * error, p + t * error
        else:
            low, high = (
                float(special.expit(special.logit(p) + side * t * error / (p * (1 - p))))
                for side in (-1, 1)
            )
    else:
        raise ValueError(
            f'method: "{method}" is not one of beta, korn-graubard, wilson, logit, mean'
        )
    return interval(np.asarray(p), np.asarray(low), np.asarray(high))


def tiwari(counts: ArrayLike, weights: ArrayLike, conf: float = 0.95) -> Interval:
    """Limits of a weighted sum of counts as cancer registries print them: Fay-Feuer with a
    pseudo-event of the mean weight, which misses high rates where weights differ.

    Args and errors: as for `intervals.weighted`, without clusters.

    Source: Tiwari, Clegg & Zou 2006, Statistical Methods in Medical Research 15:547-569.
    """
    sums, w = moments(counts, weights), np.asarray(weights, dtype=np.float64)
    total, variance = sums.total + w.mean(), sums.variance + (w**2).mean()
    high = special.gammainccinv(total**2 / variance, tail(conf)) * variance / total
    return interval(
        sums.total, np.asarray(gamma_limits(sums, "fay-feuer", conf).low), np.asarray(high)
    )
