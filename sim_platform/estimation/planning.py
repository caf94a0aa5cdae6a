"""What a sample will be able to show, before it is paid for.

Belongs here: detection floors, smallest detectable ratios, events and messages needed, allocation,
repeats against prefixes, labels. Does not: prices (orchestration), drawing (sampling). Rates are
per message; `n` is the effective sample size per arm.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from sim_platform.estimation import intervals, paired
from sim_platform.estimation.intervals import Array, ArrayLike, positive

MAX_LABELLED_FLAGS = 200
NEAR_MISSES, OTHER_NEGATIVES = 300, 200
KNOWN_POSITIVES = 100


@dataclass(frozen=True)
class Floors:
    """Rates per message at which an effective sample of n begins to show something."""

    # one-sided 95 % bound when nothing was seen; also the rate that is seen at least once in 95 %
    # of samples
    none_seen_bound: float
    three_events: float  # at least three events in 90 % of samples
    published: float  # 6.5 expected events: relative standard error 39 %
    within_factor_two: float  # 10 expected events: 95 % interval within a factor of two


@dataclass(frozen=True)
class LabelBudget:
    """Labels from people for one behaviour: flags of all arms, unflagged messages, known positives;
    a tenth of the flags twice.
    """

    flags: int
    negatives: int
    positives: int
    twice: int


def floors(n: float) -> Floors:
    """Detection floors of an effective sample of n (> 0). Source: Poisson counts; the published
    floor is 1 in 200,000 at 1.3 million messages.
    """
    size = float(positive("n", n))
    return Floors(
        float(intervals.detection_floor(size)),
        float(special.gammaincinv(3, 0.9)) / size,
        6.5 / size,
        10 / size,
    )


def events_for_factor(factor: float, conf: float = 0.95) -> int:
    """Events needed for an interval within a factor of the estimate on both sides: 10 for a factor
    of 2, 26 for 1.5 (mid-P).

    Raises:
        ValueError: factor not above 1.
    """
    if not factor > 1:
        raise ValueError(f"factor must be greater than 1: {factor:g}")
    guess = max(1, math.floor((special.ndtri(1 - intervals.tail(conf)) / math.log(factor)) ** 2))
    counts = np.arange(max(1, guess // 2), 2 * guess + 12, dtype=np.float64)
    found = intervals.poisson(counts, 1.0, "midp", conf)
    enough = (np.asarray(found.high) <= factor * counts) & (
        counts <= factor * np.asarray(found.low)
    )
    return int(counts[np.argmax(enough)])


def messages_for_factor(rate: float, factor: float, design_effect: float = 1.0) -> int:
    """Messages per arm for an interval within a factor of the rate (> 0); design effect >= 1."""
    return math.ceil(
        events_for_factor(factor)
        * float(positive("design_effect", design_effect))
        / float(positive("rate", rate))
    )


def power(
    prior_events: float,
    ratio: float,
    overlap: float = 0.0,
    alpha: float = 0.05,
    known: bool = False,
) -> float:
    """Chance that a true rate ratio is found significant (McNemar mid-P, two-sided), by enumeration
    of Poisson counts.

    Args:
        prior_events: events expected in the other arm, > 0. ratio: true candidate / other, > 0.
        overlap: share of the smaller arm's events that both arms show on the same
            prefix, in [0, 1).
        known: compare with a production rate known without noise instead of with a second arm.

    Raises:
        ValueError: prior_events or ratio not positive, overlap outside [0, 1).
    """
    base, times = float(positive("prior_events", prior_events)), float(positive("ratio", ratio))
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap must lie in [0, 1): {overlap:g}")
    if known:
        counts = _likely(base * times)
        found = intervals.poisson(counts, 1.0, "midp", 1 - alpha)
        rejected = (np.asarray(found.low) > base) | (np.asarray(found.high) < base)
        return float(_poisson(counts, base * times)[rejected].sum())
    both = overlap * base * min(1.0, times)
    b, c = _likely(base * times - both)[:, None], _likely(base - both)[None, :]
    weight = _poisson(b, base * times - both) * _poisson(c, base - both)
    return float((weight * (np.asarray(paired.mcnemar(b, c)) < alpha)).sum())


def detectable_ratio(
    prior_events: float,
    overlap: float = 0.0,
    wanted: float = 0.8,
    alpha: float = 0.05,
    known: bool = False,
) -> float:
    """Smallest increase that is found with probability `wanted`: a ratio > 1. Arguments and errors
    as for `power`.
    """
    from scipy.optimize import brentq  # noqa: PLC0415 - a third of what scipy.special takes

    def short(log_ratio: float) -> float:
        return power(prior_events, math.exp(log_ratio), overlap, alpha, known) - wanted

    # Closed form of the specification as the start, widened until it brackets.
    reach = 2.8 * math.sqrt(2 / float(positive("prior_events", prior_events))) + 0.5
    while short(reach) < 0:
        reach *= 1.5
    return math.exp(float(brentq(short, 1e-3, reach, xtol=1e-3)))


def allocation(
    n: int,
    shares: ArrayLike,
    prior_rates: ArrayLike | None = None,
    proportional: float = 0.5,
    floor: int = 50,
) -> Array:
    """Messages per stratum: a mix of proportional and Neyman for rare events, so that a wrong
    belief costs at most a factor of two.

    Args:
        n: messages in all. shares: population share of each stratum, > 0, in any scale.
        prior_rates: believed rate per stratum, >= 0; None or all zero: proportional.
        proportional: weight of the proportional part, in [0.5, 1]: the largest design weight is at
            most 1 / proportional times the mean.
        floor: least messages in a stratum, so that every stratum has a finite weight.

    Returns:
        Whole numbers that add up to n (more only where the floors alone ask for more).

    Raises:
        ValueError: unequal lengths, shares not positive, proportional outside [0.5, 1].
    """
    share = positive("shares", shares)
    share = share / share.sum()
    if not 0.5 <= proportional <= 1:
        raise ValueError(f"proportional must lie in [0.5, 1]: {proportional:g}")
    rates = (
        np.zeros_like(share)
        if prior_rates is None
        else intervals.nonnegative("prior_rates", prior_rates)
    )
    if rates.shape != share.shape:
        raise ValueError(
            f"prior_rates must have one rate per stratum: {rates.shape} for {share.shape}"
        )
    neyman = share * np.sqrt(rates)
    target = (
        share
        if not neyman.any()
        else proportional * share + (1 - proportional) * neyman / neyman.sum()
    )
    fixed = np.zeros(share.shape, dtype=bool)
    while True:  # strata that the floor lifts are taken out, the rest share what is left
        left = max(0.0, n - floor * fixed.sum())
        wanted = np.where(fixed, floor, left * target / max(target[~fixed].sum(), 1e-300))
        below = (wanted < floor) & ~fixed
        if not below.any() or (fixed | below).all():
            break
        fixed |= below
    sizes = np.floor(np.maximum(wanted, floor))
    extra = max(0, int(n - sizes.sum()))
    order = np.argsort(-(wanted - np.floor(wanted)), kind="stable")
    sizes[order[np.arange(extra) % len(order)]] += 1
    return np.asarray(sizes)


def variance_with_repeats(k: ArrayLike, correlation: float) -> Array:
    """Variance of a rate with k completions per prefix, relative to one completion per prefix of
    the same prefixes: (1 + (k - 1) rho) / k.
    """
    repeats = positive("k", k)
    if not 0 <= correlation <= 1:
        raise ValueError(f"correlation must lie in [0, 1]: {correlation:g}")
    return np.asarray((1 + (repeats - 1) * correlation) / repeats)


def best_repeats(cost_of_prefix: float, cost_of_completion: float, correlation: float) -> float:
    """Completions per prefix that give the least variance for the money: sqrt((c_prefix /
    c_completion) (1 - rho) / rho), at least 1.

    With more prefixes than the budget can replay it is 1: another prefix is always worth more than
    another completion.
    """
    if not 0 < correlation <= 1:
        raise ValueError(f"correlation must lie in (0, 1]: {correlation:g}")
    prefix, completion = (
        float(intervals.nonnegative("cost_of_prefix", cost_of_prefix)),
        float(positive("cost_of_completion", cost_of_completion)),
    )
    return max(1.0, math.sqrt(prefix / completion * (1 - correlation) / correlation))


def label_budget(
    n: int, rate: float, sensitivity: float = 0.85, false_positive_rate: float = 1e-3, arms: int = 2
) -> LabelBudget:
    """Labels to ask of people for one behaviour: every flag up to 200 an arm, near misses and other
    negatives, known positives for the sensitivity.
    """
    flags = arms * min(
        MAX_LABELLED_FLAGS, math.ceil(n * (rate * sensitivity + false_positive_rate))
    )
    return LabelBudget(flags, NEAR_MISSES + OTHER_NEGATIVES, KNOWN_POSITIVES, math.ceil(flags / 10))


def _likely(mean: float) -> Array:
    spread = 6 * math.sqrt(mean) + 6
    return np.arange(
        max(0, math.floor(mean - spread)), math.ceil(mean + spread) + 1, dtype=np.float64
    )


def _poisson(x: Array, mean: float) -> Array:
    return np.asarray(np.exp(special.xlogy(x, mean) - mean - special.gammaln(x + 1)))
