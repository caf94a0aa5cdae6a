"""Intervals for one rate: binomial, Poisson, and the weighted sum of counts that every estimate of
the platform is.

Belongs here: the engine (`moments`, `gamma_limits`) and the intervals of one rate. Does not: a
weighted rate whose every message is known, which may be common (rates), comparing two rates
(paired, ratio), reading tables (comparison).

Shapes broadcast: scalars give floats, arrays give arrays. Counts may be real numbers (effective
counts). Rates are per unit of `n` or `exposure`, never per 100k.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

Array: TypeAlias = npt.NDArray[np.float64]
ArrayLike: TypeAlias = npt.ArrayLike
FloatOrArray: TypeAlias = float | Array


@dataclass(frozen=True)
class Interval:
    """An estimate with its limits: low <= estimate <= high, never NaN; `high` may be infinite where
    the data bound nothing.
    """

    estimate: FloatOrArray
    low: FloatOrArray
    high: FloatOrArray


@dataclass(frozen=True)
class Moments:
    """A weighted sum of counts, y = sum(w x), and what its uncertainty depends on.

    `total` is y, `variance` its Poisson variance (over cluster sums when there are clusters),
    `largest_weight` the weight of the pseudo-event that Fay-Feuer add, already multiplied by
    `design_effect` (>= 1; 1 without clusters or events).
    """

    total: Array
    variance: Array
    largest_weight: Array
    design_effect: Array


def binomial(
    k: ArrayLike,
    n: ArrayLike,
    method: Literal["midp", "clopper-pearson", "wilson", "jeffreys"] = "midp",
    conf: float = 0.95,
) -> Interval:
    """Interval for k events in n independent messages; rates in [0, 1].

    Args:
        k: events, 0 <= k <= n. n: messages, > 0. They broadcast.
        method: midp for display; clopper-pearson for gates and one-sided use; wilson and jeffreys
            for comparison with other software.
        conf: two-sided confidence in (0, 1).

    Raises:
        ValueError: n not positive, k outside [0, n], NaN, or conf outside (0, 1), with the value.

    Source: Clopper & Pearson 1934; Newcombe 1998, Statistics in Medicine 17:857; Brown, Cai &
    DasGupta 2001.
    """
    events, size = np.broadcast_arrays(nonnegative("k", k), positive("n", n))
    if np.any(events > size):
        raise ValueError(
            f"k is greater than n: {events[events > size][0]:g} of {size[events > size][0]:g}"
        )
    a = tail(conf)
    low: Array
    high: Array
    if method == "clopper-pearson":
        low, high = (
            _beta_quantile(a, events, size - events + 1),
            _beta_quantile(1 - a, events + 1, size - events),
        )
    elif method == "jeffreys":
        low = np.where(events > 0, _beta_quantile(a, events + 0.5, size - events + 0.5), 0.0)
        high = np.where(
            events < size, _beta_quantile(1 - a, events + 0.5, size - events + 0.5), 1.0
        )
    elif method == "wilson":
        low, high = wilson(events, size, special.ndtri(1 - a))
    elif method == "midp":

        def half_tail(p: Array) -> Array:
            return 0.5 * (
                _beta_cdf(events, size - events + 1, p) + _beta_cdf(events + 1, size - events, p)
            )

        zero, one = np.zeros_like(size), np.ones_like(size)
        low = np.where(events > 0, root(lambda p: a - half_tail(p), zero, one), 0.0)
        high = np.where(events < size, root(lambda p: 1 - a - half_tail(p), zero, one), 1.0)
    else:
        raise ValueError(
            f'method: "{method}" is not one of midp, clopper-pearson, wilson, jeffreys'
        )
    return interval(events / size, low, high)


def poisson(
    k: ArrayLike,
    exposure: ArrayLike,
    method: Literal["garwood", "midp"] = "garwood",
    conf: float = 0.95,
) -> Interval:
    """Interval for k events in an exposure (messages, or any unit: rates are per that unit).

    Args:
        k: events, >= 0. exposure: > 0. They broadcast.
        method: garwood for gates; midp for display.
        conf: two-sided confidence in (0, 1).

    Raises:
        ValueError: a negative count, an exposure that is not finite and positive, or conf outside
            (0, 1), with the value.

    Source: Garwood 1936, Biometrika 28:437. Equals `weighted` with equal weights.
    """
    events, size = np.broadcast_arrays(nonnegative("k", k), positive("exposure", exposure))
    if method not in ("garwood", "midp"):
        raise ValueError(f'method: "{method}" is not one of garwood, midp')
    one = np.ones_like(size)
    found = gamma_limits(
        Moments(events, events, one, one), "fay-feuer" if method == "garwood" else "fay-kim", conf
    )
    with np.errstate(over="ignore"):  # a rate above the largest float is infinite
        return Interval(
            *(plain(np.asarray(value) / size) for value in (found.estimate, found.low, found.high))
        )


def weighted(
    counts: ArrayLike,
    weights: ArrayLike,
    method: Literal["fay-feuer", "fay-kim"] = "fay-feuer",
    conf: float = 0.95,
    clusters: npt.NDArray[np.generic] | None = None,
    w_max: float | None = None,
) -> Interval:
    """Interval for a weighted sum of Poisson counts, valid with zero events.

    Args:
        counts: events per cell, shape (..., cells), non-negative. A leading axis (behaviours) is
            kept in the result.
        weights: known weight per cell, shape (cells,): design weight over the sum of design
            weights, so that the result is a rate per message.
        method: fay-feuer for gates, fay-kim (its mid-P form) for display.
        conf: two-sided confidence in (0, 1).
        clusters: label of the primary sampling unit (user, conversation) per cell, shape (cells,);
            None: cells are independent.
        w_max: largest weight over all sampled cells, also those that are not passed because they
            had no event; default max(weights). A smaller one (the mean gives the mean-weight
            interval) narrows the upper limit, which then no longer guarantees its coverage.

    Returns:
        Interval with shape (...); low is 0.0 when no event was seen, high may pass 1
        at very small n.

    Raises:
        ValueError: no cells, a negative count, a weight that is not finite and positive, or unequal
            lengths, with the first offending place.

    Source: Fay & Feuer 1997, Statistics in Medicine 16:791-801; Fay & Kim 2017, Biometrical
    Journal 59:92-105.
    """
    return gamma_limits(moments(counts, weights, clusters, w_max), method, conf)


def detection_floor(n_effective: ArrayLike, conf: float = 0.95) -> FloatOrArray:
    """Smallest rate that a simple sample of `n_effective` messages (> 0) shows at least once with
    probability `conf`: 1 - (1 - conf)^(1/n), about 3/n.
    """
    tail(conf)
    return plain(-np.expm1(np.log(1 - conf) / positive("n_effective", n_effective)))


def moments(
    counts: ArrayLike,
    weights: ArrayLike,
    clusters: npt.NDArray[np.generic] | None = None,
    w_max: float | None = None,
) -> Moments:
    """The weighted sum and its variance; arguments as for `weighted`.

    With clusters the variance is that of the cluster sums, and the design effect compares it with
    the same cells taken one by one (a cell below 1 is an average over repeats, hence at most one
    event: its own square).
    """
    x, w = nonnegative("counts", counts), positive("weights", weights)
    if w.ndim != 1 or w.size == 0 or x.shape[-1:] != w.shape:
        raise ValueError(
            f"counts must end in the axis of weights, and there must be a cell: counts {x.shape},"
            f" weights {w.shape}"
        )
    largest = float(w.max()) if w_max is None else float(positive("w_max", w_max))
    total = np.asarray((x * w).sum(axis=-1))
    if clusters is None:
        variance, effect = np.asarray((x * w**2).sum(axis=-1)), np.ones_like(total)
    else:
        if np.shape(clusters) != w.shape:
            raise ValueError(
                f"clusters must have one label per cell: clusters {np.shape(clusters)}, weights"
                f" {w.shape}"
            )
        sums = sums_within(x * w, clusters)
        variance, alone = (
            np.asarray((sums**2).sum(axis=-1)),
            np.asarray((w**2 * np.minimum(x, x**2)).sum(axis=-1)),
        )
        effect = np.maximum(
            1.0, np.divide(variance, alone, out=np.ones_like(total), where=alone > 0)
        )
        variance = np.maximum(variance, alone)
    return Moments(total, variance, largest * effect, effect)


def gamma_limits(
    sums: Moments, method: Literal["fay-feuer", "fay-kim"] = "fay-feuer", conf: float = 0.95
) -> Interval:
    """Fay-Feuer limits, or their mid-P form (Fay-Kim), of a weighted sum; arguments and source as
    for `weighted`.
    """
    a = tail(conf)
    y = sums.total
    # Few clusters with events: the variance itself is uncertain. 1.05: no widening for the noise of
    # single coincidences.
    widen = np.where(
        sums.design_effect > 1.05, t_inflation(effective_clusters(y, sums.variance), conf), 1.0
    )
    v, w = sums.variance * widen, sums.largest_weight * widen
    seen = y > 0
    y_up, v_up = y + w, v + w**2
    scale_low, scale_up = np.divide(v, y, out=np.ones_like(y), where=seen), v_up / y_up
    # Not y^2 / v: squares leave the floats. Quantiles of a shape below 1e-200 are 0, and scipy has
    # none of the smallest.
    shape_low, shape_up = np.maximum(y / scale_low, 1e-200), y_up / scale_up

    def low_quantile(level: float) -> Array:
        return np.where(seen, special.gammaincinv(shape_low, level) * scale_low, 0.0)

    def up_quantile(level: float) -> Array:
        return np.asarray(special.gammainccinv(shape_up, 1 - level) * scale_up)

    if method == "fay-feuer":
        return interval(
            y, low_quantile(a), np.asarray(special.gammainccinv(shape_up, a) * scale_up)
        )
    if method != "fay-kim":
        raise ValueError(f'method: "{method}" is not one of fay-feuer, fay-kim')

    def mean_cdf(t: Array) -> Array:
        return np.asarray(
            0.5
            * (
                np.where(seen, special.gammainc(shape_low, t / scale_low), 1.0)
                + special.gammainc(shape_up, t / scale_up)
            )
        )

    def mean_quantile(level: float) -> Array:
        # either may be the smaller one: the pseudo-event widens as well as shifts
        first, second = (low_quantile(level), up_quantile(level))
        return root(
            lambda t: level - mean_cdf(t), np.minimum(first, second), np.maximum(first, second)
        )

    return interval(y, np.where(seen, mean_quantile(a), 0.0), mean_quantile(1 - a))


def effective_clusters(total: Array, variance: Array) -> Array:
    """Effective number of independent events behind a total: total^2 / variance, 0 where
    nothing was seen.
    """
    return np.asarray(
        total * np.divide(total, variance, out=np.zeros_like(total), where=variance > 0)
    )


def t_inflation(n_effective: Array, conf: float) -> Array:
    """(t / z)^2 with n_effective - 1 degrees of freedom: what a variance estimated from few
    clusters costs. Capped at 6, where t alone would bound nothing.
    """
    z, level = special.ndtri(1 - tail(conf)), 1 - tail(conf)
    # One degree of freedom is far beyond the cap at the usual levels; below it t has no use.
    return np.asarray(
        np.minimum(6.0, (special.stdtrit(np.maximum(n_effective - 1, 1.0), level) / z) ** 2)
    )


def wilson(events: Array, size: Array, z: ArrayLike) -> tuple[Array, Array]:
    """Wilson score limits of events/size at normal quantile `z`; 0 and 1 exactly at no event and
    at all events.
    """
    square = np.square(z)
    centre, half = (
        2 * events + square,
        np.sqrt(square * (square + 4 * events * (1 - events / size))),
    )
    low, high = (centre - half) / (2 * (size + square)), (centre + half) / (2 * (size + square))
    return np.where(events > 0, np.maximum(low, 0.0), 0.0), np.where(
        events < size, np.minimum(high, 1.0), 1.0
    )


def sums_within(values: Array, clusters: npt.NDArray[np.generic]) -> Array:
    """Sums of `values`, shape (..., cells), within each cluster: shape (..., clusters)."""
    labels, codes = np.unique(clusters, return_inverse=True)
    rows = [
        np.bincount(codes, weights=row, minlength=len(labels))
        for row in values.reshape(math.prod(values.shape[:-1]), values.shape[-1])
    ]
    return np.reshape(np.asarray(rows), (*values.shape[:-1], len(labels)))


def root(falling: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Where a falling function crosses zero in [low, high], elementwise, to the last
    bit (bisection).
    """
    for _ in range(120):
        middle = 0.5 * (low + high)
        if np.all((middle == low) | (middle == high)):
            break
        above = falling(middle) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray(0.5 * (low + high))


def interval(estimate: Array, low: Array, high: Array) -> Interval:
    """An Interval of floats (scalar input) or arrays; limits that rounding put on the wrong side of
    the estimate are set to it.
    """
    return Interval(
        plain(estimate), plain(np.minimum(low, estimate)), plain(np.maximum(high, estimate))
    )


def plain(values: ArrayLike) -> FloatOrArray:
    """A float for a scalar, else a float array."""
    array = np.asarray(values, dtype=np.float64)
    return float(array) if array.ndim == 0 else array


def tail(conf: float) -> float:
    """Probability in each tail."""
    if not 0 < conf < 1:
        raise ValueError(f"conf must lie between 0 and 1: {conf}")
    return (1 - conf) / 2


def nonnegative(name: str, values: ArrayLike) -> Array:
    """`values` as floats; ValueError names the first that is negative, infinite or no number."""
    return _checked(name, values, "finite and not negative", lambda v: np.isfinite(v) & (v >= 0))


def positive(name: str, values: ArrayLike) -> Array:
    """`values` as floats; ValueError naming the first that is not finite and positive."""
    return _checked(name, values, "finite and positive", lambda v: np.isfinite(v) & (v > 0))


def _checked(
    name: str, values: ArrayLike, rule: str, holds: Callable[[Array], npt.NDArray[np.bool_]]
) -> Array:
    array = np.asarray(values, dtype=np.float64)
    wrong = np.argwhere(~holds(array))
    if len(wrong):
        place = tuple(int(i) for i in wrong[0])
        raise ValueError(f"{name}{list(place) if place else ''} must be {rule}: {array[place]:g}")
    return array


def _beta_quantile(level: float, a: Array, b: Array) -> Array:
    # No event (a = 0) has the lower limit 0, all events (b = 0) the upper limit 1.
    quantile = special.betaincinv(np.where(a > 0, a, 1.0), np.where(b > 0, b, 1.0), level)
    return np.where(a <= 0, 0.0, np.where(b <= 0, 1.0, quantile))


def _beta_cdf(a: Array, b: Array, p: Array) -> Array:
    value = special.betainc(np.where(a > 0, a, 1.0), np.where(b > 0, b, 1.0), p)
    return np.where(a <= 0, 1.0, np.where(b <= 0, 0.0, value))
