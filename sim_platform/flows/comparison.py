"""Compares a release with what it replaces, decides, and publishes.

Belongs here: what the estimators read, and storing what they say. Does not: estimators, decisions
(estimation), the report (report).
"""

from collections.abc import Callable, Iterator

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.messages import canonical_json
from sim_platform.contracts.tables.estimation import RateComparison, ReleaseGate
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.estimation.comparison import against_production, compare
from sim_platform.estimation.design import DESIGN, LabelCounts, design_of, label_counts
from sim_platform.estimation.gates import decide
from sim_platform.estimation.sequential import level_at
from sim_platform.estimation.verdict import ALPHA
from sim_platform.flows.grading.calibration import labelled_arms
from sim_platform.flows.grading.evidence import grader_evidence
from sim_platform.flows.registration import covered, refuse_unblinded
from sim_platform.flows.sampling import refuse_earlier_sample, size_of_sample
from sim_platform.registry.home import Home
from sim_platform.warehouse.duckdb_file import DuckDBFile, publish
from sim_platform.warehouse.gates import (
    EVERY_COMPARED_BEHAVIOUR_HAS_A_VERDICT,
    EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
)

RECORDED_ON = """
    select behavior, case when count(distinct graded_on) > 1 then 'both' else any_value(graded_on)
                     end as recorded_on
    from classifier_scores where model_version = $release and arm = 'recorded'
    group by behavior order by behavior"""
MISSING = """
    select behavior, arm, missing_reason, count(*) as n from classifier_scores
    where model_version = $release and applies and label is null group by all order by all"""
PRODUCTION = """
    with users as (
        select p.behavior, c.user_key, sum(p.label::int) as x, count(*) as n
        from production_scores p join deidentified_corpus c using (conversation_key)
        where p.model_version = $release and p.applies and p.label is not null group by all)
    select behavior, sum(x)::double as x, sum(x * x)::double as v, sum(n)::double as n
    from users group by behavior order by behavior"""


def level_of(home: Home, warehouse: DuckDBFile, release: str) -> float:
    """One-sided error with which the release's stored sample is decided on."""
    plan = home.release(release)[0].plan
    size = size_of_sample(home, warehouse, release).stored or plan.sample_size
    return level_at(size, plan.looks, plan.sample_size, ALPHA) if plan.looks else ALPHA


def compare_release(
    home: Home, warehouse: DuckDBFile, release: str, *, advance: Callable[[int], None]
) -> pl.DataFrame:
    """Estimates and stores the release's rates, publishes the tables, and returns the rates.

    Args:
        advance: called with 1 for every behaviour that is counted.

    Raises:
        SimPlatformError: no record of what was decided before: no record, no rates.
        GateError: a rate outside its interval, or labels that do not add up.
    """
    candidate, replaced = home.release(release)
    registered = covered(home, warehouse, release)
    mine = {"model_version": release}
    design = design_of(warehouse.read(StratifiedSample, mine, columns=DESIGN), release)

    def labels() -> Iterator[LabelCounts]:
        for counted in label_counts(warehouse.query, release, design):
            yield counted
            advance(1)

    rates = compare(
        labels(),
        design,
        release=release,
        replaces=replaced.version,
        undesired={b.id: b.undesired for b in home.behaviors},
        measures=candidate.measures,
        rules=registered.rules,
        level=level_of(home, warehouse, release),
    )
    if rates.is_empty():  # nothing takes the place of what was compared before
        raise SimPlatformError(
            f"{release}: no outcome of its sample is graded yet; run `sim-platform run {release}`"
        )
    with warehouse.reading() as tx:
        if "production_scores" in tx.tables():
            rates = against_production(rates, tx.query(PRODUCTION, {"release": release}))
        rates = _with_reasons(rates, tx.query(MISSING, {"release": release}))
    confirmatory = list(registered.confirmatory)
    graded_on = dict(warehouse.query(RECORDED_ON, {"release": release}).iter_rows())
    speaks_of_recorded = (pl.col("arm") == "recorded") | pl.col("p_recorded").is_not_null()
    rates = rates.with_columns(
        is_exploratory=~pl.col("behavior").is_in(confirmatory),
        recorded_on=pl.when(speaks_of_recorded).then(
            pl.col("behavior").replace_strict(graded_on, default=None, return_dtype=pl.String)
        ),
    )
    with warehouse.transaction() as tx:
        tx.replace(RateComparison, rates, mine)
        tx.pass_gates([EVERY_RATE_LIES_INSIDE_ITS_INTERVAL], release)
    publish(warehouse, home.published)
    return rates


def _with_reasons(rates: pl.DataFrame, missing: pl.DataFrame) -> pl.DataFrame:
    """`rates` with the reasons for which outcomes have no label, counted."""
    reasons: dict[tuple[str, str], dict[str, int]] = {}
    for row in missing.to_dicts():
        reasons.setdefault((row["behavior"], row["arm"]), {})[row["missing_reason"]] = row["n"]
    found = [reasons.get(key) for key in rates.select("behavior", "arm").iter_rows()]
    return rates.with_columns(
        missing_reasons=pl.Series([x and canonical_json(x) for x in found], dtype=pl.String)
    )


def decide_release(home: Home, warehouse: DuckDBFile, release: str) -> pl.DataFrame:
    """Decides every behaviour on its registered rule; stores and returns the decisions."""
    registered = covered(home, warehouse, release)
    confirmatory = registered.confirmatory
    # What was not registered decides nothing; a gate that this home cannot grade keeps the release
    # from passing.
    behaviors = [
        b.model_copy(
            update={
                "gate": registered.rules.get(b.id, b.gate),
                "tier": b.tier
                if b.id in confirmatory or b.id in home.not_graded
                else "exploratory",
            }
        )
        for b in home.behaviors
    ]
    rates = warehouse.read(RateComparison, {"model_version": release})
    refuse_earlier_sample(rates, release)
    gates = [b.id for b in home.behaviors if b.tier == "gate" and b.id not in home.not_graded]
    decisions = decide(
        rates,
        behaviors,
        release=release,
        not_graded=home.not_graded,
        graders=grader_evidence(home, warehouse, release),
        labelled=labelled_arms(warehouse, release, 1 - 2 * level_of(home, warehouse, release)),
        not_counted={name: registered.why[name] for name in gates if name in registered.why},
        prefixes=len(
            warehouse.read(StratifiedSample, {"model_version": release}, columns=["prefix_id"])
        ),
    )
    with warehouse.transaction() as tx:
        tx.replace(ReleaseGate, decisions, {"model_version": release})
        tx.pass_gates([EVERY_COMPARED_BEHAVIOUR_HAS_A_VERDICT], release)
    return decisions


def publish_releases(home: Home, warehouse: DuckDBFile) -> tuple[pl.DataFrame, list[str]]:
    """Every release's rates, and the tables that were published."""
    refuse_unblinded(home, warehouse)
    rates = warehouse.read(RateComparison).sort("model_version", "behavior", "arm")
    return rates, publish(warehouse, home.published)
