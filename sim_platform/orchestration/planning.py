"""What a release's simulation will cost and be able to show, before anything is sent.

Belongs here: reading corpus, stored rates and registry for the plan. Does not: the statistics (estimation.planning), printing (commands).
"""

from dataclasses import asdict
from typing import Any

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables import RateComparison
from sim_platform.estimation import planning
from sim_platform.estimation.gates import chances
from sim_platform.orchestration.resources import lock_wait_seconds
from sim_platform.registry.home import Behavior, Home, ModelVersion
from sim_platform.warehouse.duckdb_file import DuckDBFile

CHARACTERS_PER_TOKEN = 4  # rough, for English text; the plan says so
LEAST_EVENTS = 0.5  # expected; below it no ratio is detectable
COMPLETION_TOKENS = 300  # where max_tokens is not set
SIZES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the planned sample, for the curve
POPULATION = """
    select count(*) as n, coalesce(avg(length(messages)), 0) as characters, count(distinct user_key) as users
    from deidentified_corpus where model_version = $version and n_user_turns > 0 and week >= $since and ($until is null or week <= $until)"""


def plan_facts(home: Home, release: str, sample_size: int | None = None) -> dict[str, Any]:
    """Requests, tokens, dollars, detection floors, and per behaviour with a known rate what this sample can decide.

    Args:
        home: the deployment. release: candidate release. sample_size: prefixes instead of the plan's.

    Raises:
        SimPlatformError: the log has not been de-identified yet, so that there is no population to plan for.
    """
    candidate, replaced = home.release(release)
    warehouse = DuckDBFile(home.warehouse, lock_wait_seconds())
    since = replaced.deployed.from_ if replaced.deployed else None
    with warehouse.reading() as tx:
        if "deidentified_corpus" not in tx.tables():
            raise SimPlatformError("no corpus yet: materialize consented_log_extract and deidentified_corpus first (they cost nothing), then plan")
        population = tx.query(POPULATION, {"version": replaced.version, "since": since, "until": replaced.deployed.until if replaced.deployed else None}).to_dicts()[0]
    known = _known_rates(warehouse, replaced.version)
    asked = sample_size or candidate.plan.sample_size
    n = min(asked, population["n"])
    if not n:
        raise SimPlatformError(f"the corpus has no conversation of {replaced.version}, which {release} replaces; check `deployed` and the log's model versions")
    arms = [
        model for arm, model in (("candidate", candidate), ("control", replaced)) if arm in candidate.plan.arms and (arm == "candidate" or model.provider != "recorded")
    ]
    spend = [_spend(model, n * candidate.plan.completions_per_prefix, population["characters"]) for model in arms]
    behaviors = [
        {"behavior": b.id, "tier": b.tier, "rate": None, "eligible_share": None} | (_decidable(b, n, *known[b.id]) if b.id in known else {}) for b in home.graded
    ]
    return {
        "model_version": release,
        "replaces": replaced.version,
        "population": population["n"],
        "users": population["users"],
        "asked": asked,
        "prefixes": n,
        "requests": sum(s["requests"] for s in spend),
        "cost_usd": sum(s["cost_usd"] for s in spend) if all(s["cost_usd"] is not None for s in spend) else None,
        "arms": spend,
        "floors": asdict(planning.floors(n)),
        "behaviors": behaviors,
        "curve": [_at(round(n * times), behaviors) for times in SIZES],
    }


def _known_rates(warehouse: DuckDBFile, version: str) -> dict[str, tuple[float, float]]:
    """Rate and eligible share of the version in service, from the recorded arm of the largest comparison of a release that replaces it."""
    stored = warehouse.read(RateComparison, {"replaces": version, "arm": "recorded"}, columns=["behavior", "rate", "eligible_share", "n"]).sort("n")
    return {row["behavior"]: (row["rate"], row["eligible_share"]) for row in stored.to_dicts() if row["rate"]}


def _spend(model: ModelVersion, requests: int, characters: float) -> dict[str, Any]:
    tokens_in, tokens_out = round(requests * characters / CHARACTERS_PER_TOKEN), requests * (model.settings.max_tokens or COMPLETION_TOKENS)
    free = model.provider in ("local", "recorded")
    share = model.batch.price_factor if model.provider == "openai_batch" else 1.0
    cost = share * (tokens_in * model.price.input_per_mtok + tokens_out * model.price.output_per_mtok) / 1e6 if model.price else 0.0 if free else None
    return {
        "model": model.version,
        "provider": model.provider,
        "requests": requests,
        "prompt_tokens": tokens_in,
        "completion_tokens_at_most": tokens_out,
        "cost_usd": cost,
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
    ratios = {name: planning.detectable_ratio(n * rate) for name, rate in rates.items() if n * rate >= LEAST_EVENTS}
    return {"prefixes": n, "floor": planning.floors(n).none_seen_bound, "detectable_ratios": ratios}
