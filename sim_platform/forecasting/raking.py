"""Weights that make a sample look like the newest traffic.

Belongs here: post-stratification to a joint mix, raking to margins, what the weighting costs. Does
not: deciding which mix (drift), rates (forecast).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim_platform.forecasting.forecast import Array, Counts

CAP = 5.0  # a stratum's weight may grow at most this many times; a convention


@dataclass(frozen=True)
class StratumSums:
    """Sums over one behaviour's prefixes in one arm, of shape (strata,), with design weights w:
    `y` of w x and `v` of its square a user, over prefixes with a label; `labelled` and `squares` of
    w and w^2 over the same; `eligible` of w over all that the behaviour applies to.
    """

    y: Array
    v: Array
    labelled: Array
    squares: Array
    eligible: Array


def mix_factors(sample_mix: npt.ArrayLike, newest_mix: npt.ArrayLike, cap: float = CAP) -> Array:
    """Factor per stratum on its design weights, mean 1 over the sample: newest share / sample
    share, at most `cap`.

    Raises:
        ValueError: unequal lengths, shares that are negative, a stratum of the newest mix that the
            sample has nothing of, with its place.
    """
    sampled, newest = (np.asarray(m, dtype=np.float64) for m in (sample_mix, newest_mix))
    if sampled.shape != newest.shape or sampled.ndim != 1:
        raise ValueError(
            f"sample_mix and newest_mix must be lists of one length: {sampled.shape},"
            f" {newest.shape}"
        )
    if not (
        np.isfinite(sampled).all()
        and np.isfinite(newest).all()
        and (sampled >= 0).all()
        and (newest >= 0).all()
        and sampled.sum() > 0
        and newest.sum() > 0
    ):
        raise ValueError("shares must be finite, not negative, and not all zero")
    if len(empty := np.flatnonzero((sampled == 0) & (newest > 0))):
        raise ValueError(
            f"stratum {int(empty[0])} has newest traffic and no sampled unit; merge it with another"
        )
    return _factors(sampled / sampled.sum(), newest / newest.sum(), cap)


def rake(
    sample_mix: npt.ArrayLike,
    levels: npt.ArrayLike,
    margins: Sequence[npt.ArrayLike],
    cap: float = CAP,
    rounds: int = 200,
) -> Array:
    """Factor per stratum as in `mix_factors`, where of the newest mix only the share of each level
    of each variable is known.

    Args:
        sample_mix: shares, shape (strata,). levels: level of each stratum in each variable, 0, 1,
            2 ..., shape (variables, strata). margins: wanted shares of a variable's levels, one
            list per variable.

    Source: iterative proportional fitting, Deming & Stephan 1940, Annals of Mathematical
    Statistics 11:427.

    Raises:
        ValueError: levels and margins that do not fit, or a wanted level that the sample
            has nothing of.
    """
    start, places = np.asarray(sample_mix, dtype=np.float64), np.asarray(levels, dtype=np.int64)
    if places.shape != (len(margins), start.size):
        raise ValueError(
            f"give one margin per variable and one level per stratum: {len(margins)} margins,"
            f" levels {places.shape}, {start.size} strata"
        )
    start = start / start.sum()
    wanted = [np.asarray(m, dtype=np.float64) / np.sum(m) for m in margins]
    for i, (place, margin) in enumerate(zip(places, wanted, strict=True)):
        have = np.bincount(place, start, margin.size)
        if have.size != margin.size:
            raise ValueError(f"margin {i} has {margin.size} levels, the sample {have.size}")
        if np.any((have == 0) & (margin > 0)):
            raise ValueError(
                f"margin {i}: level {int(np.flatnonzero((have == 0) & (margin > 0))[0])} has newest"
                " traffic and no sampled unit"
            )
    fitted = start
    for _ in range(rounds):
        before = fitted
        for place, margin in zip(places, wanted, strict=True):
            have = np.bincount(place, fitted, margin.size)
            fitted = (
                fitted * np.divide(margin, have, out=np.zeros_like(margin), where=have > 0)[place]
            )
        if np.abs(fitted - before).max() < 1e-12:
            break
    return _factors(start, fitted, cap)


def effective_counts(strata: Mapping[str, StratumSums], factors: Array) -> dict[str, Counts]:
    """Effective counts per behaviour after post-stratification.

    Missing labels are made up for inside their stratum, as in the comparison: its eligible weight
    is spread over its labelled prefixes, and a stratum without a label drops out.

    Args:
        strata: behaviour to its sums. factors: per stratum, on the design weights.

    Returns:
        x = y^2 / v events in e = y / v messages; without an event, x = 0 and e the Kish size of the
        weights. A behaviour that applies only in strata which the newest traffic lacks (all their
        factors 0) keeps the sample's own mix.

    Raises:
        ValueError: a behaviour without any label, by name.
    """
    found = {}
    for behavior, sums in strata.items():
        seen = sums.labelled > 0
        if not seen.any():
            raise ValueError(f"{behavior}: no stratum has a labelled unit")
        spread = np.divide(sums.eligible, sums.labelled, out=np.zeros_like(factors), where=seen)
        own = factors if (factors[seen] > 0).any() else np.ones_like(factors)
        f = own * spread
        whole = float((f * sums.labelled).sum())
        total, variance = (f * sums.y).sum() / whole, (f**2 * sums.v).sum() / whole**2
        found[behavior] = (
            Counts(np.array(total**2 / variance), np.array(total / variance))
            if total > 0
            else Counts(np.array(0.0), np.array(whole**2 / (f**2 * sums.squares).sum()))
        )
    return found


def kept_size(sample_mix: npt.ArrayLike, factors: npt.ArrayLike) -> float:
    """Share of the effective sample size that the factors leave, in (0, 1] (Kish)."""
    shares, f = np.asarray(sample_mix, dtype=np.float64), np.asarray(factors, dtype=np.float64)
    shares = shares / shares.sum()
    return float((shares * f).sum() ** 2 / (shares * f**2).sum())


def _factors(sampled: Array, wanted: Array, cap: float) -> Array:
    factors = np.minimum(
        np.divide(wanted, sampled, out=np.zeros_like(wanted), where=sampled > 0), cap
    )
    return np.asarray(factors / (factors * sampled).sum())
