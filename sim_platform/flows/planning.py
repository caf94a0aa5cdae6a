"""What a release's simulation will cost and be able to show, before anything is sent.

Belongs here: reading corpus, stored rates and registry for the plan. Does not: the statistics
(estimation.planning), printing (commands).
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.estimation import planning
from sim_platform.estimation.gates import chances
from sim_platform.flows.files import warehouse_of
from sim_platform.flows.sampling import population_of
from sim_platform.registry.behaviors import Behavior
from sim_platform.registry.home import Home
from sim_platform.registry.models import ModelVersion
from sim_platform.sampling.draw import draw
from sim_platform.warehouse.duckdb_file import DuckDBFile

CHARACTERS_PER_TOKEN = 4  # rough, for English text; the plan says so
LEAST_EVENTS = 0.5  # expected; below it no ratio is detectable
COMPLETION_TOKENS = 300  # where max_tokens is not set
SIZES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the planned sample, for the curve
REPEATS = (1, 2, 4)  # completions a prefix that the plan compares
RATES_BY_STRATUM = """
    select s.behavior, p.stratum, count(*) filter (s.label) as events, count(*) as n
    from classifier_scores s join stratified_sample p using (model_version, prefix_id)
    where s.arm = 'recorded' and s.label is not null and s.behavior in (select unnest($behaviors))
      and p.model_version in (select unnest($releases)) group by all"""


def plan_facts(home: Home, release: str, sample_size: int | None = None) -> dict[str, Any]:
    """Requests, tokens, dollars, detection floors, and per behaviour with a known rate what this
    sample can decide.

    Args:
        home: the deployment. release: candidate release. sample_size: prefixes instead
            of the plan's.

    Raises:
        SimPlatformError: the log has not been de-identified yet, so that there is no
            population to plan for.
    """
    candidate, replaced = home.release(release)
    warehouse = warehouse_of(home)
    with warehouse.reading() as tx:
        if "deidentified_corpus" not in tx.tables():
            raise SimPlatformError(
                "no corpus yet: materialize consented_log_extract and deidentified_corpus first"
                " (they cost nothing), then plan"
            )
    population = population_of(warehouse, replaced).filter(pl.col("n_user_turns") > 0)
    known = _known_rates(warehouse, replaced.version)
    asked = sample_size or candidate.plan.sample_size
    n = min(asked, len(population))
    if not n:
        raise SimPlatformError(
            f"the corpus has no conversation of {replaced.version}, which {release} replaces; check"
            " `deployed` and the log's model versions"
        )
    arms = [
        model
        for arm, model in (("candidate", candidate), ("control", replaced))
        if arm in candidate.plan.arms and (arm == "candidate" or model.provider != "recorded")
    ]
    characters = float(population["characters"].mean() or 0)  # type: ignore[arg-type]  # polars types a mean as of any column
    spend = [_spend(model, n * candidate.plan.completions_per_prefix, characters) for model in arms]
    drawn = draw(population, candidate.plan, n, release=release, replaces=replaced.version)
    behaviors = [
        {"behavior": b.id, "tier": b.tier, "rate": None, "eligible_share": None}
        | (_decidable(b, n, *known[b.id]) if b.id in known else {})
        for b in home.graded
    ]
    return {
        "model_version": release,
        "replaces": replaced.version,
        "population": len(population),
        "users": population["user_key"].n_unique(),
        "asked": asked,
        "prefixes": n,
        "requests": sum(s["requests"] for s in spend),
        "cost_usd": (
            sum(s["cost_usd"] for s in spend)
            if all(s["cost_usd"] is not None for s in spend)
            else None
        ),
        "arms": spend,
        "floors": asdict(planning.floors(n)),
        "strata": _strata(home, warehouse, replaced.version, drawn.strata, n, candidate.plan.floor),
        "variance_by_repeats": {
            k: {rho: float(planning.variance_with_repeats(k, rho)) for rho in (0.3, 0.7)}
            for k in REPEATS
        },
        "behaviors": behaviors,
        "curve": [_at(round(n * times), behaviors) for times in SIZES],
    }


def _known_rates(warehouse: DuckDBFile, version: str) -> dict[str, tuple[float, float]]:
    """Rate and eligible share of the version in service, from the recorded arm of the largest
    comparison of a release that replaces it.
    """
    stored = warehouse.read(
        RateComparison,
        {"replaces": version, "arm": "recorded"},
        columns=["behavior", "rate", "eligible_share", "n"],
    ).sort("n")
    return {
        row["behavior"]: (row["rate"], row["eligible_share"])
        for row in stored.to_dicts()
        if row["rate"]
    }


def _strata(
    home: Home, warehouse: DuckDBFile, version: str, strata: pl.DataFrame, n: int, floor: int
) -> list[dict[str, Any]]:
    """Places of the plan beside those of a defensive mix: half by size, half by where the gate
    behaviours occur, as far as earlier releases tell.

    `boost` is what to write into the plan for it; None where no earlier comparison
    knows the strata.
    """
    releases = [r for r in home.releases if home.by_version[r].replaces == version]
    behaviors = [b.id for b in home.graded if b.tier == "gate"] or [b.id for b in home.graded]
    with warehouse.reading() as tx:
        there = {"classifier_scores", "stratified_sample"} <= tx.tables()
        seen = (
            tx.query(RATES_BY_STRATUM, {"behaviors": behaviors, "releases": releases})
            if there
            else pl.DataFrame(schema={"behavior": pl.String, "stratum": pl.String})
        )
    rows = strata.select("stratum", "population", "sampled").sort("stratum").to_dicts()
    if seen.is_empty() or len(rows) == 1:
        return [{**row, "defensive": None, "boost": None} for row in rows]
    # Half an event more a stratum: none seen is not none. Behaviours count alike, however common
    # they are.
    rates = seen.group_by("behavior", "stratum").agg(
        rate=(pl.col("events").sum() + 0.5) / (pl.col("n").sum() + 1)
    )
    relative = dict(
        rates.with_columns(pl.col("rate") / pl.col("rate").mean().over("behavior"))
        .group_by("stratum")
        .agg(pl.col("rate").mean())
        .iter_rows()
    )
    sizes = [row["population"] for row in rows]
    wanted = planning.allocation(
        n, sizes, [relative.get(row["stratum"], 1.0) for row in rows], floor=floor
    )
    places = np.minimum(wanted, sizes)
    return [
        {
            **row,
            "defensive": int(place),
            "boost": round(float(place / n / (row["population"] / sum(sizes))), 2),
        }
        for row, place in zip(rows, places, strict=True)
    ]


def _spend(model: ModelVersion, requests: int, characters: float) -> dict[str, Any]:
    tokens_in, tokens_out = (
        round(requests * characters / CHARACTERS_PER_TOKEN),
        requests * (model.settings.max_tokens or COMPLETION_TOKENS),
    )
    free = model.provider in ("local", "recorded")
    share = model.batch.price_factor if model.provider == "openai_batch" else 1.0
    cost = (
        share
        * (tokens_in * model.price.input_per_mtok + tokens_out * model.price.output_per_mtok)
        / 1e6
        if model.price
        else 0.0
        if free
        else None
    )
    return {
        "model": model.version,
        "provider": model.provider,
        "requests": requests,
        "prompt_tokens": tokens_in,
        "completion_tokens_at_most": tokens_out,
        "cost_usd": cost,
        "minutes_at_limits": (
            max(waits)
            if (
                waits := [
                    part / limit
                    for part, limit in (
                        (requests, model.requests_per_minute),
                        (tokens_in + tokens_out, model.tokens_per_minute),
                    )
                    if limit
                ]
            )
            else None
        ),
    }


def _decidable(behavior: Behavior, n: int, rate: float, eligible_share: float) -> dict[str, Any]:
    events = n * eligible_share * rate
    likely = chances(events, behavior.gate.margin, behavior.gate.block_above)
    return {
        "rate": rate,
        "eligible_share": eligible_share,
        "expected_events": events,
        "detectable_ratio": planning.detectable_ratio(events) if events >= LEAST_EVENTS else None,
        "chance_pass_if_same": likely.pass_if_same,
        "chance_block_if_doubled": likely.block_if_doubled,
        "prefixes_for_factor_two": planning.messages_for_factor(rate * eligible_share, 2.0),
        "labels": asdict(planning.label_budget(n, rate * eligible_share)),
    }


def _at(n: int, behaviors: list[dict[str, Any]]) -> dict[str, Any]:
    rates = {b["behavior"]: b["rate"] * b["eligible_share"] for b in behaviors if b["rate"]}
    ratios = {
        name: planning.detectable_ratio(n * rate)
        for name, rate in rates.items()
        if n * rate >= LEAST_EVENTS
    }
    return {"prefixes": n, "floor": planning.floors(n).none_seen_bound, "detectable_ratios": ratios}
