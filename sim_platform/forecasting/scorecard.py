"""How good a forecast was, once the release's own log exists.

Belongs here: errors, direction, scores and coverage of one release and of many. Does not:
forecasting, reading tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from sim_platform.forecasting.forecast import Array

MOVED = 1.5  # production moved at least this much: only there a direction is scored
PUBLISHED_FLOOR = 1 / 200_000


@dataclass(frozen=True)
class Score:
    """One method over a list of behaviours. Errors are multiplicative (1 = exact); `n` behaviours
    above the floor, `below_floor` left out and counted.
    """

    n: int
    below_floor: int
    median: float | None
    mean: float | None
    p90: float | None
    p95: float | None
    within_2: float | None
    within_5: float | None
    within_10: float | None
    direction_right: float | None
    n_moved: int
    log_score: float | None  # mean binomial negative log-likelihood of the observed counts
    regret: float | None  # log_score minus that of the observed rate itself
    coverage: float | None  # of the 90 % intervals, over all behaviours, those below the floor too
    coverage_above_floor: float | None  # over the scored ones alone, which are seen by their luck


def multiplicative_error(
    forecast: npt.ArrayLike, observed: npt.ArrayLike, floor: float = PUBLISHED_FLOOR
) -> Array:
    """max(a/b, b/a) >= 1 of two rates per message, each raised to `floor` first, so that a zero is
    an error of what could have been seen.
    """
    a, b = (
        np.maximum(np.asarray(forecast, dtype=np.float64), floor),
        np.maximum(np.asarray(observed, dtype=np.float64), floor),
    )
    return np.asarray(np.maximum(a / b, b / a))


def score(
    forecast: npt.ArrayLike,
    events: npt.ArrayLike,
    messages: npt.ArrayLike,
    prior: npt.ArrayLike,
    floor: float,
    low: npt.ArrayLike | None = None,
    high: npt.ArrayLike | None = None,
) -> Score:
    """Scores forecast rates against observed events.

    Args:
        forecast: rates per message, shape (behaviours,). events, messages: counted in production,
            messages > 0. prior: rates of the version in service.
        floor: registered floor, a rate > 0; behaviours observed at or below it are left
            out and counted, except for coverage: an interval must hold what was not seen, too.
        low, high: 90 % forecast limits.

    Raises:
        ValueError: unequal lengths, no messages, more events than messages, a rate outside [0, 1].
    """
    rates, x, n, before = (
        np.asarray(a, dtype=np.float64) for a in (forecast, events, messages, prior)
    )
    if not rates.shape == x.shape == n.shape == before.shape or rates.ndim != 1:
        raise ValueError(
            f"forecast, events, messages and prior must be lists of one length: {rates.shape},"
            f" {x.shape}, {n.shape}, {before.shape}"
        )
    if np.any(n <= 0) or np.any(x > n) or np.any(x < 0):
        raise ValueError("events must lie in [0, messages] and messages be positive")
    if np.any((rates < 0) | (rates > 1)) or not floor > 0:
        raise ValueError("forecast must be rates in [0, 1] and floor positive")
    observed = x / n
    scored = observed > floor
    moved = scored & (
        np.abs(np.log(np.maximum(observed, floor) / np.maximum(before, floor))) >= np.log(MOVED)
    )
    errors = multiplicative_error(rates[scored], observed[scored], floor)
    right = np.sign(rates - before) == np.sign(observed - before)
    loss, best = log_score(rates, x, n, floor), log_score(observed, x, n, floor)
    inside = (
        None
        if low is None or high is None
        else (np.asarray(low) <= observed) & (observed <= np.asarray(high))
    )

    def over(
        values: Array | npt.NDArray[np.bool_] | None, of: npt.NDArray[np.bool_]
    ) -> float | None:
        return None if values is None or not of.any() else float(np.mean(values[of]))

    def share(limit: float) -> float | None:
        return float((errors <= limit).mean()) if errors.size else None

    quantiles: list[float | None] = (
        [float(np.quantile(errors, q)) for q in (0.5, 0.9, 0.95)] if errors.size else [None] * 3
    )
    return Score(
        int(scored.sum()),
        int((~scored).sum()),
        quantiles[0],
        float(errors.mean()) if errors.size else None,
        quantiles[1],
        quantiles[2],
        share(2),
        share(5),
        share(10),
        over(right, moved),
        int(moved.sum()),
        over(loss, scored),
        over(loss - best, scored),
        over(inside, np.ones_like(scored)),
        over(inside, scored),
    )


def log_score(
    rates: npt.ArrayLike, events: npt.ArrayLike, messages: npt.ArrayLike, floor: float
) -> Array:
    """Binomial negative log-likelihood of the observed counts under each rate (raised to the
    floor), without the constant of the counts alone.
    """
    p = np.clip(np.asarray(rates, dtype=np.float64), floor, 1 - 1e-12)
    x, n = np.asarray(events, dtype=np.float64), np.asarray(messages, dtype=np.float64)
    return np.asarray(-(special.xlogy(x, p) + special.xlog1py(n - x, -p)))


def poisson_limit(
    rates: npt.ArrayLike,
    simulated_messages: float,
    production_messages: float,
    floor: float,
    seed: int = 1,
    draws: int = 400,
) -> float:
    """Median error that counting noise alone would give on both sides, for behaviours of these
    rates: no forecast can be expected to beat it without other knowledge.
    """
    random = np.random.default_rng(seed)
    p = np.asarray(rates, dtype=np.float64)
    first, second = (
        random.poisson(m * p, (draws, p.size)) / m
        for m in (simulated_messages, production_messages)
    )
    scored = second > floor
    return (
        float(np.median(multiplicative_error(first[scored], second[scored], floor)))
        if scored.any()
        else 1.0
    )


def bootstrap_over_releases(
    errors: Mapping[str, Sequence[float]], seed: int = 1, draws: int = 2000
) -> tuple[float, float | None, float | None]:
    """Mean of the releases' median errors with its 95 % interval: releases are drawn, not
    behaviours, since the behaviours of a release share its shocks. One release has no interval.
    """
    medians = np.array([np.median(list(values)) for values in errors.values() if len(values)])
    if medians.size == 0:
        raise ValueError("errors: no release has a scored behaviour")
    if medians.size == 1:
        return float(medians[0]), None, None
    drawn = np.random.default_rng(seed).choice(medians, (draws, medians.size)).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(medians.mean()), float(low), float(high)


def decomposition(
    full: npt.ArrayLike,
    own_prefixes: npt.ArrayLike,
    observed: npt.ArrayLike,
    floor: float = PUBLISHED_FLOOR,
) -> dict[str, Array]:
    """Signed parts of the log error: environment (simulated on its own prefixes against production)
    and prefix (on the old version's prefixes against its own); they add up.

    Args:
        full: X on Y's prefixes. own_prefixes: X on X's prefixes. observed: X in production;
            rates per message.
    """
    a, b, q = (
        np.log(np.maximum(np.asarray(r, dtype=np.float64), floor))
        for r in (full, own_prefixes, observed)
    )
    return {
        "environment": np.asarray(b - q),
        "prefix": np.asarray(a - b),
        "full": np.asarray(a - q),
    }
