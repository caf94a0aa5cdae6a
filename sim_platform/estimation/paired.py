"""Two arms on the same prefixes: test, rate ratio and rate difference, plain and weighted.

Belongs here: estimators on the cells of the 2 x 2 table of pairs. Does not: forming the pairs
(comparison), independent samples (ratio).

Cells, for one behaviour on the shared prefixes: a both arms showed it, b only the first
(candidate), c only the second, d neither. Real numbers are allowed.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from sim_platform.estimation.intervals import (
    Array,
    ArrayLike,
    FloatOrArray,
    Interval,
    Moments,
    binomial,
    effective_clusters,
    gamma_limits,
    interval,
    moments,
    nonnegative,
    plain,
    poisson,
    positive,
    root,
    t_inflation,
    tail,
    wilson,
)
from sim_platform.estimation.rates import Clustering, codes, effective_number, over, summed


def mcnemar(b: ArrayLike, c: ArrayLike, method: Literal["midp", "exact"] = "midp") -> FloatOrArray:
    """Two-sided p that both arms have the same rate; 1.0 without discordant pairs.

    Args:
        b, c: discordant pairs, >= 0; they broadcast.
        method: midp by default; exact for a decision that blocks. Fewer than 6 discordant pairs
            cannot give an exact p below .05.

    Raises:
        ValueError: a count that is negative, infinite or NaN.

    Source: Fagerland, Lydersen & Laake 2013, BMC Medical Research Methodology 13:91.
    """
    first, second = np.broadcast_arrays(nonnegative("b", b), nonnegative("c", c))
    smaller, larger = np.minimum(first, second), np.maximum(first, second)
    none = larger == 0
    # P(X <= smaller), X ~ Binomial(b + c, 1/2)
    at_most = special.betainc(np.where(none, 1.0, larger), smaller + 1, 0.5)
    if method == "exact":
        p = 2 * at_most
    elif method == "midp":
        p = at_most + np.where(
            smaller > 0, special.betainc(larger + 1, np.where(smaller > 0, smaller, 1.0), 0.5), 0.0
        )
    else:
        raise ValueError(f'method: "{method}" is not one of midp, exact')
    return plain(np.where(none, 1.0, np.minimum(p, 1.0)))


def ratio(
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike,
    conf: float = 0.95,
    method: Literal["bonett-price", "score", "mover-r"] = "bonett-price",
    *,
    d: ArrayLike | None = None,
) -> Interval:
    """Rate ratio first / second, (a + b) / (a + c), with its interval.

    No event in the first arm: low is 0. None in the second: high is infinite. In both cases the
    estimate is (x1 + 1/2) / (x2 + 1/2), for display; with no event at all it is 1 with limits (0,
    inf), which says that the data hold no information.

    Args:
        a, b, c: cells, >= 0; they broadcast.
        conf: two-sided confidence in (0, 1).
        method: bonett-price; score (Tang's), for comparison with other software; mover-r:
            Garwood limits and the correlation a / sqrt(x1 x2), or with `d` Wilson limits and the
            phi coefficient.
        d: pairs in which neither arm showed it (only mover-r uses it).

    Raises:
        ValueError: a cell that is negative, infinite or NaN; conf outside (0, 1).

    Source: Bonett & Price 2006, Statistics in Medicine 25:3039-3047; Tang, Tang & Chan 2003,
    Statistics in Medicine 22:1217-1233; Donner & Zou 2012, Statistical Methods in Medical
    Research 21:347-359.
    """
    both, one, other = np.broadcast_arrays(
        nonnegative("a", a), nonnegative("b", b), nonnegative("c", c)
    )
    x1, x2 = both + one, both + other
    if method == "bonett-price":
        low, high = _bonett_price(x1, x2, both + one + other, special.ndtri(1 - tail(conf)))
    elif method == "score":
        z = special.ndtri(1 - tail(conf))
        low, high = _tang_low(both, one, other, z), 1 / _tang_low(both, other, one, z)
    elif method == "mover-r":
        low, high = _mover_r(both, one, other, None if d is None else nonnegative("d", d), conf)
    else:
        raise ValueError(f'method: "{method}" is not one of bonett-price, score, mover-r')
    half = np.where((x1 > 0) & (x2 > 0), 0.0, 0.5)
    return interval(
        (x1 + half) / (x2 + half), np.where(x1 > 0, low, 0.0), np.where(x2 > 0, high, np.inf)
    )


def difference(
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike,
    d: ArrayLike,
    conf: float = 0.95,
    method: Literal["tango", "newcombe", "bonett-price"] = "tango",
) -> Interval:
    """Rate difference first - second, (b - c) / n, with its interval in [-1, 1].

    Args:
        a, b, c, d: cells, >= 0, at least one pair; they broadcast.
        conf: two-sided confidence in (0, 1).
        method: tango (score interval), newcombe (his method 10, closed form) or bonett-price (Wald
            with one event added to each discordant cell).

    Raises:
        ValueError: no pairs, a cell that is negative, infinite or NaN, conf outside (0, 1).

    Source: Tango 1998, Statistics in Medicine 17:891-908; Newcombe 1998, Statistics in Medicine
    17:2635-2650; Bonett & Price 2012, Journal of Educational and Behavioral Statistics 37:479-488.
    """
    both, one, other, neither = np.broadcast_arrays(
        nonnegative("a", a), nonnegative("b", b), nonnegative("c", c), nonnegative("d", d)
    )
    n = positive("a + b + c + d", both + one + other + neither)
    z = special.ndtri(1 - tail(conf))
    if method == "tango":
        low, high = _tango_low(one, other, n, z), -_tango_low(other, one, n, z)
    elif method == "newcombe":
        low, high = _newcombe(both, one, other, neither, z)
    elif method == "bonett-price":
        p1, p2 = (one + 1) / (n + 2), (other + 1) / (n + 2)
        half = z * np.sqrt((p1 + p2 - (p1 - p2) ** 2) / (n + 2))
        low, high = p1 - p2 - half, p1 - p2 + half
    else:
        raise ValueError(f'method: "{method}" is not one of tango, newcombe, bonett-price')
    return interval((one - other) / n, np.clip(low, -1, 1), np.clip(high, -1, 1))


@dataclass(frozen=True)
class EffectiveCells:
    """Cells of the 2 x 2 table that a simple sample with the same information would have given:
    real numbers, all 0 without an event.
    """

    a: float
    b: float
    c: float


def effective_cells(
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike,
    weights: ArrayLike,
    clusters: npt.NDArray[np.generic] | None = None,
    conf: float = 0.95,
) -> EffectiveCells:
    """Effective cells of a weighted sample of pairs; equal weights and independent prefixes give
    the plain counts.

    Args:
        a, b, c: cells per prefix, shape (prefixes,): 0 or 1, or shares in [0, 1] averaged over
            repeats. Prefixes without an event may be left out.
        weights: design weight per prefix, shape (prefixes,), in any scale.
        clusters: label of the primary sampling unit per prefix; None: prefixes are independent.
        conf: two-sided confidence of the limits that are wanted; with clusters, what it costs that
            few of them show how they differ depends on it.

    Raises:
        ValueError: a cell that is negative, infinite or NaN; a weight that is not
            finite and positive.

    Source: specification of the estimator, effective counts k = sum w^2 u / sum w u with u = a + b
    + c, times the design effect of the log ratio (`pair_clustering`).
    """
    w, both, one, other = (
        positive("weights", weights),
        nonnegative("a", a),
        nonnegative("b", b),
        nonnegative("c", c),
    )
    marked = both + one + other
    total = float((w * marked).sum())
    if total == 0:
        return EffectiveCells(0.0, 0.0, 0.0)
    if clusters is None:
        variance = float((w**2 * marked).sum())
    else:
        # Bonett-Price stays honest with few events: the plain form bears no widening of its own
        hang = replace(pair_clustering(both, one, other, w, clusters), poisson_users=np.inf)
        variance = float(((w * marked) ** 2).sum()) * hang.inflation(conf)
    return EffectiveCells(
        *(float((w * cell).sum()) * total / variance for cell in (both, one, other))
    )


def pair_clustering(
    a: Array, b: Array, c: Array, weights: Array, clusters: npt.NDArray[np.generic]
) -> Clustering:
    """How far pairs of one cluster hang together where a ratio is concerned.

    The plain form counts whatever either arm showed. The centred one is about the log of the ratio,
    linearised: a cluster's share of the first arm's events less its share of the second's, blown up
    to what leaving the cluster out would change. A user who shows much in both arms, or has many
    messages, adds nothing to it. Where nothing differs, or one cluster has every event, it knows
    nothing and the plain form holds.
    """
    total = float((weights * (a + b + c)).sum())
    if total == 0:
        return Clustering()
    place, w = codes(clusters), weights / total
    shares, arms = w * (a + b + c), (w * (a + b), w * (a + c))
    first, second = (x / x.sum() if x.any() else x for x in arms)
    changes = first - second

    def left_out(change: Array, share: Array) -> Array:
        return np.asarray(
            np.divide(change, 1 - share, out=np.full_like(change, np.inf), where=share < 1 - 1e-12)
        )

    sums, single = summed(place, shares), np.square(left_out(changes, shares))
    together = np.square(left_out(summed(place, changes), sums))
    alone, plain = float(single.sum()), float((sums**2).sum())
    known = 1e-24 < alone < np.inf and np.isfinite(together).all()
    return Clustering(
        over(plain, float((shares**2).sum())),
        over(1.0, plain),
        float(together.sum()) / alone if known else np.inf,
        effective_number(together) if known else 1.0,
    )


def weighted_ratio(
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike,
    weights: ArrayLike,
    conf: float = 0.95,
    clusters: npt.NDArray[np.generic] | None = None,
) -> Interval:
    """Rate ratio of a weighted sample of pairs: Bonett-Price on effective counts; equal weights
    give `ratio`. Arguments and errors as for `effective_cells`.
    """
    cells = effective_cells(a, b, c, weights, clusters, conf)
    return ratio(cells.a, cells.b, cells.c, conf)


def gate_ratio(
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike,
    weights: ArrayLike,
    conf: float = 0.90,
    clusters: npt.NDArray[np.generic] | None = None,
    w_max: float | None = None,
) -> Interval:
    """Rate ratio with limits on which a release may be decided: MOVER-R on the Fay-Feuer limits of
    both rates and their estimated correlation.

    Wider than `weighted_ratio`; with a default of 90 % each side holds at one-sided 5 %.

    Args:
        w_max: largest weight over all prefixes, also those without an event that were left out;
            default max(weights). The others, and errors, as for `effective_cells`.

    Source: Donner & Zou 2012, Statistical Methods in Medical Research 21:347-359, with Fay & Feuer
    1997 limits; correlation sum w^2 a / sqrt(sum w^2 (a+b) sum w^2 (a+c)).
    """
    w, both, one, other = (
        positive("weights", weights),
        nonnegative("a", a),
        nonnegative("b", b),
        nonnegative("c", c),
    )
    sums = moments(np.stack([both + one, both + other]), w, clusters, w_max)
    if clusters is not None:
        # each arm with its own plain form, both with the centred form of their ratio
        hang = pair_clustering(both, one, other, w, clusters)
        inflation = np.array(
            [
                replace(hang, poisson=float(effect), poisson_users=float(users)).inflation(conf)
                for effect, users in zip(
                    sums.design_effect, effective_clusters(sums.total, sums.variance), strict=True
                )
            ]
        )
        variance, largest = sums.variance / sums.design_effect, sums.largest_weight
        sums = Moments(
            sums.total,
            variance * inflation,
            largest / sums.design_effect * inflation,
            np.ones_like(inflation),
        )
    found = gamma_limits(sums, "fay-feuer", conf)
    (p1, p2), (low1, low2), (high1, high2) = (
        np.asarray(part) for part in (found.estimate, found.low, found.high)
    )
    top, bottom = (
        float((w**2 * both).sum()),
        float((w**2 * (both + one)).sum() * (w**2 * (both + other)).sum()),
    )
    low, high = _mover_limits(
        p1,
        low1,
        high1,
        p2,
        low2,
        high2,
        np.asarray(min(1.0, top / bottom**0.5) if bottom > 0 else 0.0),
    )
    # An arm without events is shown with half an event of mean weight, as in `ratio`.
    half = float(w.mean()) / 2 if p1 == 0 or p2 == 0 else 0.0
    return interval(
        (p1 + half) / (p2 + half), np.where(p1 > 0, low, 0.0), np.where(p2 > 0, high, np.inf)
    )


def weighted_difference(
    b: ArrayLike,
    c: ArrayLike,
    weights: ArrayLike,
    conf: float = 0.95,
    clusters: npt.NDArray[np.generic] | None = None,
    repeats: ArrayLike | None = None,
) -> Interval:
    """Rate difference of a weighted sample of pairs, sum w (b - c) / sum w, in [-1, 1].

    Equal weights and independent 0/1 pairs give the Tango interval. Otherwise linearised standard
    error with t of the effective number of discordant clusters (capped as in `t_inflation`); where
    no variation was seen, the limits are those of a zero count with the largest weight, on both
    sides, so the width is never 0.

    Args:
        b, c: cells per prefix, shape (prefixes,), concordant prefixes included: 0 or 1, or shares
            in [0, 1] averaged over repeats.
        weights: design weight per prefix, shape (prefixes,), in any scale.
        conf: two-sided confidence in (0, 1).
        clusters: label of the primary sampling unit per prefix; None: prefixes are independent.
        repeats: how many prefixes, each a cluster of its own, a row stands for; 1 where the row is
            one prefix (default).

    Raises:
        ValueError: no prefix, a cell that is negative, a weight that is not finite and positive,
            conf outside (0, 1).
    """
    w, one, other = positive("weights", weights), nonnegative("b", b), nonnegative("c", c)
    if w.ndim != 1 or not w.shape == one.shape == other.shape or w.size == 0:
        raise ValueError(
            f"weights, b and c must be lists of the same prefixes, at least one: {w.shape},"
            f" {one.shape}, {other.shape}"
        )
    times = np.ones_like(w) if repeats is None else positive("repeats", repeats)
    place = np.arange(len(w)) if clusters is None else codes(clusters)
    members = np.bincount(place)
    groups, n = float(np.count_nonzero(members) + (times - 1).sum()), float(times.sum())
    single = members.max() == 1

    def variance_of(values: Array) -> float:
        return (
            float((times * values**2).sum())
            if single
            else float(
                (times * np.bincount(place, weights=values)[place] ** 2 / members[place]).sum()
            )
        )

    whole = bool(np.all(np.isin(one, (0, 1)) & np.isin(other, (0, 1))))
    if single and whole and np.allclose(w, w[0], rtol=1e-9):
        n10, n01 = float((times * one).sum()), float((times * other).sum())
        return difference(0, n10, n01, n - n10 - n01, conf)
    w = w / (times * w).sum()
    # a sum of weights passes 1 by rounding
    estimate = min(max(float((times * w * (one - other)).sum()), -1.0), 1.0)
    residual, discordant = w * (one - other - estimate), w * (one + other)
    # Opposite changes of one user must not cancel to certainty: never less than the variance of
    # independent prefixes.
    variance = max(variance_of(residual), float((times * residual**2).sum()))
    n_effective = effective_clusters(
        np.asarray((times * discordant).sum()), np.asarray(variance_of(discordant))
    )
    if discordant.any() and variance > 1e-24:  # below: rounding of identical residuals
        z = special.ndtri(1 - tail(conf))
        half = z * float(
            np.sqrt(t_inflation(n_effective, conf) * variance * groups / max(groups - 1, 1))
        )
    else:
        half = -np.log(tail(conf)) * float(w.max())
    return interval(
        np.asarray(estimate),
        np.asarray(max(estimate - half, -1.0)),
        np.asarray(min(estimate + half, 1.0)),
    )


def _bonett_price(x1: Array, x2: Array, marked: Array, z: float) -> tuple[Array, Array]:
    """Ratio of two Wilson intervals whose z is shrunk so that together they have the variance of
    the log ratio (Bonett & Price 2006).
    """
    joint = np.sqrt((2 * marked - x1 - x2 + 2) / ((x1 + 1) * (x2 + 1)))
    alone = [np.sqrt((1 - (x + 1) / (marked + 2)) / (x + 1)) for x in (x1, x2)]
    size = np.where(marked > 0, marked, 1.0)
    (low1, high1), (low2, high2) = (wilson(x, size, z * joint / sum(alone)) for x in (x1, x2))
    return low1 / np.where(high2 > 0, high2, 1.0), high1 / np.where(low2 > 0, low2, 1.0)


def _mover_r(
    both: Array, one: Array, other: Array, neither: Array | None, conf: float
) -> tuple[Array, Array]:
    """Limits of a ratio from the limits of its parts and their correlation (Donner & Zou 2012), in
    the form that divides by no small difference.
    """
    x1, x2 = both + one, both + other
    if neither is None:
        parts, correlation = (_garwood(x1, conf), _garwood(x2, conf)), _over_root(both, x1 * x2)
    else:
        n = positive("a + b + c + d", both + one + other + neither)
        parts, correlation = (
            (binomial(x1, n, "wilson", conf), binomial(x2, n, "wilson", conf)),
            _phi(both, one, other, neither),
        )
    (p1, low1, high1), (p2, low2, high2) = (
        (np.asarray(p.estimate), np.asarray(p.low), np.asarray(p.high)) for p in parts
    )
    return _mover_limits(p1, low1, high1, p2, low2, high2, correlation)


def _garwood(counts: Array, conf: float) -> Interval:
    """Each different count once: a grid of two arms' counts has few of them."""
    values, places = np.unique(counts, return_inverse=True)
    found = poisson(values, 1.0, "garwood", conf)
    return Interval(
        *(
            np.asarray(part)[places.reshape(counts.shape)]
            for part in (found.estimate, found.low, found.high)
        )
    )


def _mover_limits(
    p1: Array, low1: Array, high1: Array, p2: Array, low2: Array, high2: Array, correlation: Array
) -> tuple[Array, Array]:
    # The correlation takes off at most nine tenths of the product: with one event in an arm and
    # high confidence it would take off all, and more confidence would give closer limits.
    whole, most = p1 * p2, 0.9 * p1 * p2
    product_low = whole - np.minimum(correlation * (p1 - low1) * (high2 - p2), most)
    product_high = whole - np.minimum(correlation * (high1 - p1) * (p2 - low2), most)
    top_low, bottom_low = low1 * (2 * p1 - low1), high2 * (2 * p2 - high2)
    top_high, bottom_high = high1 * (2 * p1 - high1), low2 * (2 * p2 - low2)
    divisor = product_low + np.sqrt(np.maximum(product_low**2 - top_low * bottom_low, 0.0))
    high = product_high + np.sqrt(np.maximum(product_high**2 - top_high * bottom_high, 0.0))
    return top_low / np.where(divisor > 0, divisor, 1.0), high / np.where(
        bottom_high > 0, bottom_high, 1.0
    )


def _tang_low(a: Array, b: Array, c: Array, z: float) -> Array:
    """Lower Tang limit of (a + b) / (a + c): where the score of the ratio, with c at its restricted
    maximum likelihood, equals z. Positive also without an event.
    """
    x1, x2, marked = a + b, a + c, a + b + c

    def excess(log_ratio: Array) -> Array:
        ratio = np.exp(log_ratio)
        half_b = (x1 + 2 * c - x2 * ratio**2) / 2
        rest = half_b + np.sqrt(np.maximum(half_b**2 - (1 + ratio) * c * (1 - ratio) * marked, 0.0))
        return np.asarray(
            x1 - ratio * x2 - z * np.sqrt(np.maximum(rest + (ratio - 1) * marked, 0.0))
        )

    top = np.log(np.where(x1 > 0, x1, 1.0) / np.where(x2 > 0, x2, 1.0))
    return np.exp(root(excess, top - 100, np.where(x2 > 0, top, 100.0)))


def _tango_low(b: Array, c: Array, n: Array, z: float) -> Array:
    """Lower Tango limit: where the score of the difference, with c/n at its restricted maximum
    likelihood, equals z.
    """

    def excess(delta: Array) -> Array:
        half_b = -b - c + (2 * n - b + c) * delta
        rate_c = (
            np.sqrt(np.maximum(half_b**2 + 8 * n * c * delta * (1 - delta), 0.0)) - half_b
        ) / (4 * n)
        return np.asarray(
            b - c - n * delta - z * np.sqrt(np.maximum(n * (2 * rate_c + delta * (1 - delta)), 0.0))
        )

    return root(excess, np.full(n.shape, -1.0), (b - c) / n)


def _newcombe(a: Array, b: Array, c: Array, d: Array, z: float) -> tuple[Array, Array]:
    n = a + b + c + d
    p1, p2 = (a + b) / n, (a + c) / n
    (low1, high1), (low2, high2) = wilson(a + b, n, z), wilson(a + c, n, z)
    covariance = a * d - b * c
    corrected = np.where(covariance > 0, np.maximum(covariance - n / 2, 0.0), covariance)
    phi = _over_root(corrected, (a + b) * (c + d) * (a + c) * (b + d))
    below = np.sqrt(
        np.maximum((p1 - low1) ** 2 - 2 * phi * (p1 - low1) * (high2 - p2) + (high2 - p2) ** 2, 0.0)
    )
    above = np.sqrt(
        np.maximum((high1 - p1) ** 2 - 2 * phi * (high1 - p1) * (p2 - low2) + (p2 - low2) ** 2, 0.0)
    )
    return p1 - p2 - below, p1 - p2 + above


def _phi(a: Array, b: Array, c: Array, d: Array) -> Array:
    return _over_root(a * d - b * c, (a + b) * (c + d) * (a + c) * (b + d))


def _over_root(top: Array, square: Array) -> Array:
    return top / np.sqrt(np.where(square > 0, square, np.inf))
