"""Forecasts from stored scores, and their score once the release's own log is there.

Belongs here: reading effective counts, observed rates. Does not: the ledger (ledger), methods and
scores (forecasting), graders (grading).
"""

from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.contracts.tables.forecasting import (
    ForecastLedger,
    ForecastScorecard,
    RateForecast,
)
from sim_platform.contracts.tables.schema import frame
from sim_platform.flows.grading.recorded import RESPONSES, responses_of, texts
from sim_platform.flows.ledger import enter_observations, first_forecasts, last_observations
from sim_platform.flows.registration import covered
from sim_platform.flows.sampling import refuse_earlier_sample
from sim_platform.forecasting import forecast as methods
from sim_platform.forecasting.drift import Drift, drift
from sim_platform.forecasting.forecast import Array, Counts, Forecast
from sim_platform.forecasting.raking import (
    StratumSums,
    effective_counts,
    kept_size,
    mix_factors,
    rake,
)
from sim_platform.forecasting.scorecard import PUBLISHED_FLOOR, decomposition, poisson_limit, score
from sim_platform.grading.scores import scores
from sim_platform.registry.behaviors import Behavior, ModerationGrader
from sim_platform.registry.home import Home
from sim_platform.warehouse.duckdb_file import DuckDBFile

NEWEST_DAYS = 28
# sampled prefixes, or graded messages, of the newest weeks below which the whole window stands for
# them
LEAST_NEWEST = 30
# of them, expected or found; where a stratum has fewer, its share is taken from the mix of each
# variable alone
LEAST_IN_STRATUM = 5
STRATA = """
    with shares as (
        select c.behavior, c.arm, s.prefix_id, s.stratum, any_value(coalesce(s.user_key,
          s.prefix_id)) as who, any_value(s.weight) as w, avg(c.label::int) as x
        from classifier_scores c join stratified_sample s using (model_version, prefix_id)
        where c.model_version = $release and c.behavior = $behavior and c.applies
          group by c.behavior, c.arm, s.prefix_id, s.stratum
    ), users as (select behavior, arm, stratum, who, coalesce(sum(w * x), 0) as y,
        sum(w) filter (x is not null) as labelled, sum(w * w) filter (x is not null) as squares,
        sum(w) as eligible from shares group by all)
    select behavior, arm, stratum, sum(y) as y, sum(y * y) as v, coalesce(sum(labelled), 0)
      as labelled, coalesce(sum(squares), 0) as squares, sum(eligible) as eligible from users
      group by all order by all"""
MIX = """
    with newest as (select max(c.week) as last from stratified_sample s
      join deidentified_corpus c using (conversation_key) where s.model_version = $release),
    prefixes as (
        select s.stratum, s.weight, c.week > n.last - $days as is_newest,
               [coalesce(json_extract_string(s.metadata, '$."' || key || '"'), '(none)') for key
                 in $keys::varchar[]] as levels
        from stratified_sample s join deidentified_corpus c using (conversation_key), newest n
          where s.model_version = $release)
    select stratum, sum(weight) as sampled, coalesce(sum(weight) filter (is_newest), 0) as newest,
      count(*) as n, count(*) filter (is_newest) as n_newest,
           case when count(distinct levels) = 1 then any_value(levels) else [stratum for key
             in $keys::varchar[]] end as levels
    from prefixes group by stratum order by stratum"""
FEATURES = """
    with newest as (select max(week) as last from deidentified_corpus
      where model_version = $version)
    select length(c.messages) as characters, c.n_user_turns as turns,
      length(c.messages) - length(regexp_replace(c.messages, '[^\\x00-\\x7F]', '', 'g'))
      as not_ascii,
           c.week > n.last - $days as is_newest, c.conversation_key in (select conversation_key
             from stratified_sample where model_version = $release) as is_sampled
    from deidentified_corpus c, newest n where c.model_version = $version and c.n_user_turns > 0"""
PRIOR = """
    with rows as (
        select p.behavior, p.label, c.user_key, c.week from production_scores p
          join deidentified_corpus c using (conversation_key)
        where p.model_version = $release and p.applies and p.label is not null),
    newest as (select max(week) as last from rows),
    spans as (select behavior, count(*) filter (week > last - $days) < $least as is_whole
      from rows, newest group by behavior),
    users as (select behavior, user_key, sum(label::int) as x, count(*) as n
      from rows join spans using (behavior), newest
      where is_whole or week > last - $days group by all)
    select behavior, sum(x)::double as x, sum(x * x)::double as v, sum(n)::double as e from users
      group by behavior order by behavior"""
OWN_LOG = """
    select conversation_key, user_key from deidentified_corpus
    where model_version = $version and n_user_turns > 0
      and ($since::date is null or week >= date_trunc('week', $since::date))"""


@dataclass(frozen=True)
class MadeForecast:
    """`rows` of rate_forecast; whether the sample still looks like the newest traffic (None: too
    few conversations); what M3 and M7 are weighted to; the share of the sample's effective size
    that this leaves.
    """

    rows: pl.DataFrame
    moved: Drift | None
    weighted_to: str
    kept: float


@dataclass(frozen=True)
class NewestTraffic:
    """Traffic per stratum of the sample (`sampled`) and of the newest weeks (`newest`), the factors
    that weight one to the other, and the rest as in MadeForecast.
    """

    strata: list[str]
    sampled: Array
    newest: Array
    factors: Array
    moved: Drift | None
    weighted_to: str

    @property
    def kept(self) -> float:
        return kept_size(self.sampled, self.factors)


def newest_traffic(home: Home, warehouse: DuckDBFile, release: str) -> NewestTraffic:
    """How the release's sample stands to the newest weeks of the log that it was drawn from."""
    version, replaced = home.release(release)
    with warehouse.reading() as tx:
        mix = tx.query(MIX, {"release": release, "days": NEWEST_DAYS, "keys": version.plan.strata})
        features = tx.query(
            FEATURES, {"release": release, "version": replaced.version, "days": NEWEST_DAYS}
        )
    sampled, newest, factors, weighted_to = newest_mix(mix)
    moved = _drift(mix, newest, features)
    return NewestTraffic(mix["stratum"].to_list(), sampled, newest, factors, moved, weighted_to)


def forecast_release(home: Home, warehouse: DuckDBFile, release: str) -> MadeForecast:
    """Every method's forecast of every graded behaviour."""
    version, replaced = home.release(release)
    covered(home, warehouse, release)  # no record, no forecast
    rates = (
        warehouse.read(RateComparison, {"model_version": release, "arm": "candidate"})
        .filter(pl.col("rate").is_not_null())
        .sort("behavior")
    )
    names = rates["behavior"].to_list()
    if not names:
        return MadeForecast(frame(RateForecast, []), None, "nothing was graded", 1.0)
    refuse_earlier_sample(rates, release)
    traffic = newest_traffic(home, warehouse, release)
    strata, factors = traffic.strata, traffic.factors
    with warehouse.reading() as tx:
        # One behaviour at a time: a group a prefix and arm of all of them outgrows the memory.
        every = [tx.query(STRATA, {"release": release, "behavior": name}) for name in names]
        prior = (
            tx.query(PRIOR, {"release": release, "days": NEWEST_DAYS, "least": LEAST_NEWEST})
            if "production_scores" in tx.tables()
            else pl.DataFrame(schema=["behavior", "x", "v", "e"])
        )
    cells = pl.concat(every)
    candidate, control, recorded = (
        _arm(cells, arm, names, strata, factors) for arm in ("candidate", "control", "recorded")
    )
    unweighted = _arm(cells, "candidate", names, strata, np.ones(len(strata)))
    assert candidate is not None
    assert unweighted is not None
    known = {row["behavior"]: row for row in prior.to_dicts()}
    production = _production(known, names, recorded)
    earlier = earlier_releases(warehouse, replaced.version, names)
    served = [*earlier, (production, control)] if production and control else earlier
    tau = discrepancy_so_far(warehouse, release, methods.environment(served))
    if control is None and version.provider == "recorded":
        # both versions' answers are recorded in one log: no simulator stands between them
        control = production
    before = production or Counts(np.zeros(len(names)), np.ones(len(names)))
    messages = float(before.e.max()) if production else float(candidate.e.max())
    floor = PUBLISHED_FLOOR
    found = {
        "M0": Forecast(rates["rate"].to_numpy(), np.zeros(len(names)), np.full(len(names), 0.5)),
        "M2": methods.simulated(unweighted),
        "M3": methods.simulated(candidate),
        "M7": methods.calibrated(candidate, production, control, earlier),
    }
    if production:
        asked = {
            name: given.candidate / given.replaced for name, given in version.challenging.items()
        }
        times = np.array([asked.get(name, np.nan) for name in names])
        found = {
            "persistence": methods.persistence(production),
            "challenging": methods.challenging(production, times),
            **found,
        }
    low, high = found["M7"].interval(messages, tau)
    rows: list[dict[str, object]] = []
    for method, made in found.items():
        for i, name in enumerate(names):
            if np.isnan(made.rate[i]):  # no figure from adversarial prompts for this behaviour
                continue
            full = method == "M7"
            chance = float(made.chance_of_increase[i])
            rows.append(
                {
                    "model_version": release,
                    "behavior": name,
                    "method": method,
                    "rate": float(np.clip(made.rate[i], 0, 1)),
                    "low": float(low[i]) if full else None,
                    "high": float(high[i]) if full else None,
                    "log_variance": float(made.log_variance[i]) if full else None,
                    "tau": tau if full else None,
                    "chance_of_increase": chance if full else None,
                    "direction": methods.direction(chance) if full else None,
                    "prior_rate": float(
                        np.clip(before.rate[i] if production else rates["rate"][i], 0, 1)
                    ),
                    "prior_messages": known[name]["e"] if name in known else None,
                    "floor": floor,
                    "production_messages": messages,
                    "is_exploratory": rates["is_exploratory"][i],
                    "forecast_version": methods.VERSION,
                }
            )
    return MadeForecast(frame(RateForecast, rows), traffic.moved, traffic.weighted_to, traffic.kept)


def newest_mix(mix: pl.DataFrame) -> tuple[Array, Array, Array, str]:
    """Traffic per stratum in the whole window and in the newest weeks, the factor on each stratum's
    design weights, and in words what the factors hold to.

    Args:
        mix: stratum, sampled and newest (traffic), n and n_newest (sampled prefixes), levels (of
            the stratum in each variable of the strata).
    """
    sampled, newest, n, n_newest = (
        mix[name].to_numpy().astype(np.float64) for name in ("sampled", "newest", "n", "n_newest")
    )
    if n_newest.sum() < LEAST_NEWEST:
        return (
            sampled,
            sampled,
            np.ones_like(sampled),
            f"the whole window: fewer than {LEAST_NEWEST} sampled prefixes are of the newest weeks",
        )
    levels = [
        np.unique(level, return_inverse=True)[1]
        for level in zip(*mix["levels"].to_list(), strict=True)
    ]
    expected = n * n_newest.sum() / n.sum()
    if len(levels) < 2 or (np.maximum(n_newest, expected) >= LEAST_IN_STRATUM).all():
        return sampled, newest, mix_factors(sampled, newest), "the newest mix of the strata"
    return (
        sampled,
        newest,
        rake(sampled, levels, [np.bincount(level, newest) for level in levels]),
        "the newest mix of each variable of the strata (raked)",
    )


def _arm(
    cells: pl.DataFrame, arm: str, names: list[str], strata: list[str], factors: Array
) -> Counts | None:
    mine = {(row["behavior"], row["stratum"]): row for row in cells.filter(arm=arm).to_dicts()}
    labelled = {behavior for (behavior, _), row in mine.items() if row["labelled"]}
    if not labelled:
        return None
    parts = [field.name for field in fields(StratumSums)]
    zero = dict.fromkeys(parts, 0.0)
    sums = {
        name: StratumSums(
            *(
                np.array([float(mine.get((name, stratum), zero)[part]) for stratum in strata])
                for part in parts
            )
        )
        for name in names
        if name in labelled
    }
    found = effective_counts(sums, factors)
    nothing = Counts(np.array(0.0), np.array(0.5))  # half an event in half a message: says nothing
    return Counts(
        np.array([float(found.get(n, nothing).x) for n in names]),
        np.array([float(found.get(n, nothing).e) for n in names]),
    )


def _production(
    known: dict[str, dict[str, Any]], names: list[str], recorded: Counts | None
) -> Counts | None:
    """The newest weeks of the log where they were graded, else the recorded arm of the sample."""
    if not known and recorded is None:
        return None
    x, e = [], []
    for i, name in enumerate(names):
        if row := known.get(name):
            design_effect = max(1.0, row["v"] / row["x"]) if row["x"] else 1.0
            x.append(row["x"] / design_effect)
            e.append(row["e"] / design_effect)
        else:
            x.append(float(recorded.x[i]) if recorded else 0.0)
            e.append(float(recorded.e[i]) if recorded else 0.5)
    return Counts(np.array(x), np.array(e))


def _drift(mix: pl.DataFrame, newest: Array, features: pl.DataFrame) -> Drift | None:
    columns = ["characters", "turns", "not_ascii"]
    sampled, new = (
        features.filter("is_sampled").select(columns).to_numpy(),
        features.filter("is_newest").select(columns).to_numpy(),
    )
    if min(len(sampled), len(new)) < 2:
        return None
    strata = mix["stratum"].to_list()
    return drift(
        dict(zip(strata, mix["sampled"].to_list(), strict=True)),
        dict(zip(strata, newest.tolist(), strict=True)),
        sampled,
        new,
    )


def earlier_releases(
    warehouse: DuckDBFile, replaced: str, names: list[str]
) -> list[tuple[Counts, Counts]]:
    """Recorded and control arm of releases that replaced other versions, one release of each: two
    candidates for one version share the control arm's answers.
    """
    columns = ["model_version", "replaces", "behavior", "arm", "rate", "n_effective"]
    rates = warehouse.read(RateComparison, columns=columns).filter(
        pl.col("rate").is_not_null() & (pl.col("replaces") != replaced)
    )
    newest = pl.col("model_version") == pl.col("model_version").max().over("replaces")
    recorded, control = (rates.filter(newest, arm=arm) for arm in ("recorded", "control"))
    both = recorded.join(control, on=["replaces", "behavior"], suffix="_control").sort("replaces")
    asked = pl.DataFrame({"behavior": names}, schema={"behavior": pl.String})
    found = []
    for _, rows in both.filter(pl.col("behavior").is_in(names)).group_by(
        "replaces", maintain_order=True
    ):
        placed = asked.join(rows, on="behavior", how="left", maintain_order="left")
        here, there = (
            Counts(
                (placed[f"rate{arm}"] * placed[f"n_effective{arm}"]).fill_null(0.0).to_numpy(),
                placed[f"n_effective{arm}"].fill_null(0.5).to_numpy(),
            )
            for arm in ("", "_control")
        )
        found.append((here, there))
    return found


def discrepancy_so_far(
    warehouse: DuckDBFile, release: str, start: float = methods.PRIOR_TAU
) -> float:
    """Tau from the scored M7 forecasts of all other releases; `start` without any."""
    ledger = warehouse.read(ForecastLedger)
    scored = (
        first_forecasts(ledger)
        .filter((pl.col("method") == "M7") & (pl.col("model_version") != release))
        .join(last_observations(ledger), on=["model_version", "behavior"], suffix="_observed")
    )
    return methods.discrepancy(
        *(
            scored[name].to_numpy()
            for name in ("rate", "log_variance", "events_observed", "messages_observed")
        ),
        start=start,
    )


def score_release(
    home: Home, vault: DuckDBFile, warehouse: DuckDBFile, release: str
) -> pl.DataFrame:
    """Observes the release's own log, enters the observation, and scores the first forecast of
    every method; no rows until it is `deployed` in models.yaml and has a log.
    """
    deployed = home.by_version[release].deployed
    if deployed is None:  # its rows in the log are recorded responses, not production
        return frame(ForecastScorecard, [])
    made = first_forecasts(warehouse.read(ForecastLedger)).filter(model_version=release)
    if made.is_empty():
        return frame(ForecastScorecard, [])
    registered = [
        b
        for b in home.graded
        if not b.judges and not any(isinstance(part, ModerationGrader) for part in b.parts)
    ]
    observed = observe(home, vault, warehouse, release, registered)
    if not observed:
        return frame(ForecastScorecard, [])
    enter_observations(warehouse, release, observed)
    simulated = warehouse.read(
        RateComparison,
        {"model_version": release, "arm": "candidate"},
        columns=["behavior", "n_effective"],
    )
    rows = []
    for (method,), group in made.filter(pl.col("behavior").is_in(list(observed))).group_by(
        ["method"], maintain_order=True
    ):
        x, e = (np.array([observed[n][part] for n in group["behavior"]]) for part in (0, 1))
        limits = limits_for(group, e)
        floor = float(group["floor"].to_numpy()[0])
        found = score(
            group["rate"].to_numpy(), x, e, group["prior_rate"].to_numpy(), floor, *limits
        )
        size = float(simulated["n_effective"].median() or 1.0)  # type: ignore[arg-type]  # a number column
        rows.append(
            {
                "model_version": release,
                "method": method,
                **asdict(found),
                "poisson_limit": poisson_limit(x / e, size, float(np.median(e)), floor),
            }
        )
    return frame(ForecastScorecard, rows)


def limits_for(made: pl.DataFrame, messages: Array) -> tuple[Array, Array] | tuple[None, None]:
    """The 90 % limits of forecasts in the ledger, for a count on as many messages as were observed:
    on fewer than expected, no event at all is no miss. Entries of before tau was kept have the
    limits that were entered.
    """
    if made["low"].null_count():
        return None, None
    low, high, rate, variance, tau = (
        made[name].to_numpy() for name in ("low", "high", "rate", "log_variance", "tau")
    )
    found = Forecast(rate, variance, np.full(len(rate), 0.5)).interval(messages, np.nan_to_num(tau))
    return np.where(np.isnan(tau), low, found[0]), np.where(np.isnan(tau), high, found[1])


def error_parts(home: Home, warehouse: DuckDBFile, release: str) -> list[dict[str, Any]]:
    """Signed log error of each simulated rate, split into environment and prefixes; no rows until
    the same model has been replayed on its own log.

    That replay is a release like any other: an entry of models.yaml that replaces `release` and
    asks the same model in the same way.
    """
    asked = {"provider", "base_url", "model", "api", "system_prompt", "settings"}
    mine = home.by_version[release]
    twins = [
        m
        for m in home.models
        if m.replaces == release
        and m.provider != "recorded"
        and m.model_dump(include=asked) == mine.model_dump(include=asked)
    ]
    if not twins:
        return []
    rates = {"arm": "candidate"}
    full, own = (
        warehouse.read(
            RateComparison, {"model_version": name, **rates}, columns=["behavior", "rate"]
        ).filter(pl.col("rate").is_not_null())
        for name in (release, twins[0].version)
    )
    seen = (
        last_observations(warehouse.read(ForecastLedger))
        .filter(model_version=release)
        .select("behavior", observed="rate")
    )
    rows = full.join(own, on="behavior", suffix="_own").join(seen, on="behavior").sort("behavior")
    parts = decomposition(rows["rate"], rows["rate_own"], rows["observed"])
    return [
        {
            "behavior": name,
            "own_log_release": twins[0].version,
            **{part: float(values[i]) for part, values in parts.items()},
        }
        for i, name in enumerate(rows["behavior"])
    ]


def observe(
    home: Home,
    vault: DuckDBFile,
    warehouse: DuckDBFile,
    release: str,
    behaviors: list[Behavior],
) -> dict[str, tuple[float, float]]:
    """Effective events and messages of each behaviour in the release's own log, by the same
    graders on the same kind of text; users are clusters. Empty without such a log.
    """
    deployed = home.by_version[release].deployed
    since: date | None = deployed.from_ if deployed else None
    every = home.release(release)[0].plan.cut == "uniform_user_turn"
    sums: list[pl.DataFrame] = []
    own = warehouse.query(OWN_LOG, {"version": release, "since": since})
    for page in texts(home, vault, warehouse, release, own):
        rows = [row for one in page.to_dicts() for row in responses_of(one, every=every)]
        graded = scores(
            pl.DataFrame(rows, schema=RESPONSES), behaviors, release=release, home=home
        ).join(
            page.select(pl.col("conversation_key").alias("prefix_id"), "user_key"), on="prefix_id"
        )
        labelled = graded.filter(pl.col("applies") & pl.col("label").is_not_null())
        sums.append(
            labelled.group_by("behavior", "user_key").agg(
                x=pl.col("label").sum().cast(pl.Float64), n=pl.len().cast(pl.Float64)
            )
        )
    if not sums:
        return {}
    users = pl.concat(sums).group_by("behavior", "user_key").agg(pl.col("x", "n").sum())
    totals = (
        users.group_by("behavior")
        .agg(v=(pl.col("x") ** 2).sum(), x=pl.col("x").sum(), n=pl.col("n").sum())
        .sort("behavior")
    )
    found = {}
    for row in totals.to_dicts():
        design_effect = max(1.0, row["v"] / row["x"]) if row["x"] else 1.0
        found[row["behavior"]] = (row["x"] / design_effect, row["n"] / design_effect)
    return found
