"""Synthetic worlds with known truth: the whole forecast is tried where the answer is known.

Belongs here: drawing worlds, forecasting in them with every method, the error against the truth.
Does not: the methods (forecast). Nothing here is real traffic, and figures from here are not
comparable with anybody's production figures.

A world: behaviours with log-uniform rates, strata with effects and a mix that shifts, a candidate
under which half of the behaviours change and half barely do, a simulator with a bias shared by all
models and one of the candidate's own, drift until deployment, and Poisson counts everywhere. Past
releases draw their rates anew; of the shared bias they have `kept` of the variance in common.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim_platform.forecasting.forecast import (
    Array,
    Counts,
    Forecast,
    calibrated,
    discrepancy,
    environment,
    persistence,
    simulated,
)
from sim_platform.forecasting.scorecard import PUBLISHED_FLOOR, multiplicative_error

METHODS = ("persistence", "M0", "M2", "M3", "M7")


@dataclass(frozen=True)
class World:
    """What varies between worlds; all sd on the natural log scale."""

    shared_sd: float = 0.25
    kept: float = 1.0  # share of the variance of the shared bias that is that of every release
    own_sd: float = 0.15
    drift_sd: float = 0.10
    mix_sd: float = 0.5
    mix_known: float = 0.7  # share of the shift that the newest log shows
    stratum_sd: float = 1.0
    behaviors: int = 20
    strata: int = 24
    lowest: float = 1e-5
    highest: float = 1e-2
    changed: float = 0.5  # share of behaviours that really change
    change_sd: float = 1.0
    barely_sd: float = 0.1


BASE, PESSIMISTIC, OPTIMISTIC = (
    World(),
    World(0.5, 0.5, 0.3, 0.2, 0.7),
    World(0.1, 1.0, 0.05, 0.05, 0.3),
)
WORLDS = {"base": BASE, "pessimistic": PESSIMISTIC, "optimistic": OPTIMISTIC}


@dataclass(frozen=True)
class Drawn:
    """One release in each of `worlds` worlds. Counts per stratum have shape (worlds, behaviours,
    strata); mixes (worlds, 1, strata).
    """

    sampled_mix: Array
    newest_mix: Array
    candidate: Array
    control: Array
    production: Array
    deployed_rate: Array  # truth, (worlds, behaviours)
    deployed_events: Array  # counted on `messages`
    messages: int


def draw(
    world: World,
    messages: int,
    worlds: int,
    random: np.random.Generator,
    lasting: Array | None = None,
) -> Drawn:
    """One release per world; production before and after is counted on `messages`, as many as are
    replayed in each arm. `lasting`, standard normal of shape (worlds, behaviours): the part of the
    shared bias that the world's other releases have, too.
    """
    shape = (worlds, world.behaviors, world.strata)
    base = np.exp(random.uniform(np.log(world.lowest), np.log(world.highest), shape[:2]))[..., None]
    mix = random.normal(0, 1, (worlds, 1, world.strata))
    shift = random.normal(0, world.mix_sd, mix.shape)
    old, newest, final = (
        _shares(mix),
        _shares(mix + world.mix_known * shift),
        _shares(mix + shift),
    )
    effect = np.exp(random.normal(0, world.stratum_sd, shape))
    before = base * effect / (old * effect).sum(axis=-1, keepdims=True)
    changes = np.where(
        np.arange(world.behaviors) < round(world.changed * world.behaviors),
        world.change_sd,
        world.barely_sd,
    )
    change = (random.normal(0, 1, shape[:2]) * changes)[..., None]
    shared, own, drift = (
        random.normal(0, sd, shape[:2])[..., None]
        for sd in (world.shared_sd, world.own_sd, world.drift_sd)
    )
    if lasting is not None:
        stays = world.shared_sd * np.sqrt(world.kept) * lasting[..., None]
        shared = stays + np.sqrt(1 - world.kept) * shared
    after = before * np.exp(change)
    exposure = messages * old
    deployed = (final * after * np.exp(drift)).sum(axis=-1)
    return Drawn(
        old,
        newest,
        random.poisson(exposure * np.minimum(after * np.exp(shared + own), 1)).astype(np.float64),
        random.poisson(exposure * np.minimum(before * np.exp(shared), 1)).astype(np.float64),
        random.poisson(exposure * before).astype(np.float64),
        deployed,
        random.poisson(messages * deployed).astype(np.float64),
        messages,
    )


def effective(counts: Array, exposure: Array, mix: Array) -> Counts:
    """Effective counts of stratum counts weighted to `mix`: x = y^2 / v, e = y / v; without an
    event what the weights alone leave.
    """
    weights = np.minimum(
        mix / exposure, 5 * mix.sum(axis=-1, keepdims=True) / exposure.sum(axis=-1, keepdims=True)
    )
    y, v = (weights * counts).sum(axis=-1), (weights**2 * counts).sum(axis=-1)
    kish = np.broadcast_to(
        (weights * exposure).sum(axis=-1) / (weights**2 * exposure).sum(axis=-1), y.shape
    )
    seen = y > 0
    safe = np.where(seen, v, 1.0)
    return Counts(np.where(seen, y**2 / safe, 0.0), np.where(seen, y / safe, kish))


def forecasts(drawn: Drawn, earlier: Sequence[Drawn] = ()) -> dict[str, Forecast]:
    """Every method's forecast in every world; `earlier`: releases of the same worlds."""
    exposure = drawn.messages * drawn.sampled_mix
    plain = Counts(
        drawn.candidate.sum(axis=-1), np.full(drawn.deployed_rate.shape, float(drawn.messages))
    )
    candidate, control, production = (
        effective(x, exposure, drawn.newest_mix)
        for x in (drawn.candidate, drawn.control, drawn.production)
    )
    unsmoothed = Forecast(
        plain.x / plain.e, 1 / np.maximum(plain.x, 0.5), np.full(plain.x.shape, 0.5)
    )
    return {
        "persistence": persistence(Counts(drawn.production.sum(axis=-1), plain.e)),
        "M0": unsmoothed,
        "M2": simulated(plain),
        "M3": simulated(candidate),
        "M7": calibrated(candidate, production, control, [served(past) for past in earlier]),
    }


def served(drawn: Drawn) -> tuple[Counts, Counts]:
    """What the version in service showed in production, and what its control arm showed."""
    messages = np.full(drawn.deployed_rate.shape, float(drawn.messages))
    return Counts(drawn.production.sum(axis=-1), messages), Counts(
        drawn.control.sum(axis=-1), messages
    )


def validate(
    world: World,
    messages: int,
    worlds: int,
    seed: int = 1,
    past_releases: int = 3,
    floor: float = PUBLISHED_FLOOR,
) -> dict[str, object]:
    """Median and tails of the multiplicative error of every method over worlds, direction accuracy,
    and coverage of the 90 % interval of M7 over all behaviours, seen or not.

    Tau is learned, world by world, from `past_releases` earlier releases of the same world; what
    the simulator does to every model, from their control arms and that of the new one.
    """
    random = np.random.default_rng(seed)
    lasting = random.normal(0, 1, (worlds, world.behaviors))
    *history, now = (
        draw(world, messages, worlds, random, lasting) for _ in range(past_releases + 1)
    )
    found = forecasts(now, history)
    counted = now.deployed_events / messages > floor
    report: dict[str, object] = {
        "messages": messages,
        "worlds": worlds,
        "scored": int(counted.sum()),
        "below_floor": int((~counted).sum()),
    }
    prior = found["persistence"].rate
    truth = now.deployed_events / messages
    moved = counted & (
        np.abs(np.log(np.maximum(truth, floor) / np.maximum(prior, floor))) >= np.log(1.5)
    )
    for name in METHODS:
        errors = multiplicative_error(found[name].rate[counted], truth[counted], floor)
        median = [
            np.median(
                multiplicative_error(found[name].rate[w][counted[w]], truth[w][counted[w]], floor)
            )
            for w in range(worlds)
            if counted[w].any()
        ]
        right = np.sign(
            np.log(np.maximum(found[name].rate, floor) / np.maximum(prior, floor))
        ) == np.sign(np.log(np.maximum(truth, floor) / np.maximum(prior, floor)))
        report[name] = {
            "median": float(np.median(errors)),
            "per_release": float(np.mean(median)),
            "p90": float(np.quantile(errors, 0.9)),
            "beyond_10": float((errors > 10).mean()),
            "direction": float(right[moved].mean())
            if name != "persistence" and moved.any()
            else None,
        }
    best_possible = multiplicative_error(now.deployed_rate[counted], truth[counted], floor)
    report["truth_known"] = float(np.median(best_possible))
    low, high = found["M7"].interval(messages, taus(history, now)[:, None])
    inside = (low <= truth) & (truth <= high)
    report["coverage_90"] = float(inside.mean())
    report["coverage_90_above_floor"] = float(inside[counted].mean())
    mine, last = report["M7"]["median"], report["persistence"]["median"]  # type: ignore[index]  # dictionaries made above
    report["never_worse_than_persistence"] = bool(mine <= last)
    return report


def taus(history: Sequence[Drawn], now: Drawn) -> Array:
    """Discrepancy of each world's interval: from the control arms of all releases, and from how the
    forecasts of the earlier ones came out.
    """
    arms = [served(drawn) for drawn in (*history, now)]
    made = [forecasts(past, history[:i])["M7"] for i, past in enumerate(history)]
    found = []
    for w in range(len(now.deployed_rate)):
        start = environment([(Counts(a.x[w], a.e[w]), Counts(b.x[w], b.e[w])) for a, b in arms])
        events, rates, variances = (
            np.concatenate([part[w] for part in parts]) if history else np.zeros(0)
            for parts in (
                [past.deployed_events for past in history],
                [forecast.rate for forecast in made],
                [forecast.log_variance for forecast in made],
            )
        )
        messages = np.full(events.shape, float(now.messages))
        found.append(discrepancy(rates, variances, events, messages, start=start))
    return np.array(found)


def _shares(logits: Array) -> Array:
    weights = np.exp(logits)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))
