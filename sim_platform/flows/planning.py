"""What a release's simulation will cost and be able to show, before anything is sent.

Belongs here: reading corpus, stored rates and registry for the plan. Does not: the statistics
(estimation.planning), printing (commands).
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.estimation import planning
from sim_platform.estimation.gates import chances
from sim_platform.flows.costs import ANSWER_TOKENS, estimate, grader_calls, total
from sim_platform.flows.files import warehouse_of
from sim_platform.flows.rates_in_service import known_rates
from sim_platform.flows.replay.pending import replayed_arms
from sim_platform.flows.sampling import population_of, size_of_sample
from sim_platform.registry.behaviors import Behavior
from sim_platform.registry.home import Home
from sim_platform.sampling.draw import draw
from sim_platform.warehouse.duckdb_file import DuckDBFile

LEAST_EVENTS = 0.5  # expected; below it no ratio is detectable
SIZES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the planned sample, for the curve
REPEATS = (1, 2, 4)  # completions a prefix that the plan compares
RATES_BY_STRATUM = """
    select s.behavior, p.stratum, count(*) filter (s.label) as events, count(*) as n
    from classifier_scores s join stratified_sample p using (model_version, prefix_id)
    where s.arm = 'recorded' and s.label is not null and s.behavior in (select unnest($behaviors))
      and p.model_version in (select unnest($releases)) group by all"""


def plan_facts(home: Home, release: str, sample_size: int | None = None) -> dict[str, Any]:
    """Requests, calls of graders, tokens, dollars, detection floors, and per behaviour with a known
    rate what this sample can decide.

    Args:
        home: the deployment. release: candidate release. sample_size: prefixes instead
            of those of the stored sample, or the plan's.

    Raises:
        SimPlatformError: the log has not been de-identified yet, so that there is no
            population to plan for.
    """
    candidate, replaced = home.release(release)
    warehouse = warehouse_of(home)
    with warehouse.reading() as tx:
        if "deidentified_corpus" not in tx.tables():
            raise SimPlatformError(
                f"no corpus yet: run `sim-platform prepare {release}` first (it asks no model and"
                " costs nothing), then plan"
            )
    population = population_of(warehouse, replaced).filter(pl.col("n_user_turns") > 0)
    known = known_rates(home, warehouse, release)
    asked = size_of_sample(home, warehouse, release, sample_size).wanted
    n = min(asked, len(population))
    if not n:
        raise SimPlatformError(
            f"the corpus has no conversation of {replaced.version}, which {release} replaces; check"
            " `deployed` and the log's model versions"
        )
    characters = float(population["characters"].mean() or 0)  # type: ignore[arg-type]  # polars types a mean as of any column
    requests = n * candidate.plan.completions_per_prefix
    arms = [
        estimate(model, requests, characters, ANSWER_TOKENS)
        for _, model in replayed_arms(candidate, replaced)
    ]
    drawn = draw(population, candidate.plan, n, release=release, replaces=replaced.version)
    graders = grader_calls(home, warehouse, release, population, drawn)
    behaviors = [
        {"behavior": b.id, "tier": b.tier, "rate": None, "eligible_share": None, "source": None}
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
        "requests": sum(a["requests"] for a in arms),
        "grader_calls": sum(g["requests"] for g in graders),
        "cost_usd": total([row["cost_usd"] for row in [*arms, *graders]]),
        "arms": arms,
        "graders": graders,
        "floors": asdict(planning.floors(n)),
        "strata": _strata(home, warehouse, replaced.version, drawn.strata, n, candidate.plan.floor),
        "variance_by_repeats": {
            k: {rho: float(planning.variance_with_repeats(k, rho)) for rho in (0.3, 0.7)}
            for k in REPEATS
        },
        "behaviors": behaviors,
        "curve": [_at(round(n * times), behaviors) for times in SIZES],
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


def _decidable(
    behavior: Behavior, n: int, rate: float, eligible_share: float, source: str
) -> dict[str, Any]:
    known = {"rate": rate, "eligible_share": eligible_share, "source": source}
    events = n * eligible_share * rate
    if not events:  # seen nowhere: only the floors say what can be found
        return known
    rule = behavior.gate.with_numbers(events)
    likely = (
        chances(events, rule.margin, rule.block_above)
        if rule.margin is not None and rule.block_above is not None
        else None  # a margin in points
    )
    return known | {
        "expected_events": events,
        "detectable_ratio": planning.detectable_ratio(events) if events >= LEAST_EVENTS else None,
        "margin": rule.margin,
        "margin_points": rule.margin_points,
        "chance_pass_if_same": likely and likely.pass_if_same,
        "chance_block_if_doubled": likely and likely.block_if_doubled,
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
