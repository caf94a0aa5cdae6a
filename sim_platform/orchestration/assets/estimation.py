"""Assets of the estimation stage: the comparison per release, and the table across releases.

Belongs here: what is read and written, what the UI shows. Does not: estimators (estimation).
"""

import re
from collections.abc import Iterator

import dagster as dg
import polars as pl

from sim_platform.contracts.tables.estimation import RateComparison, ReleaseGate
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.estimation.comparison import against_production, compare
from sim_platform.estimation.design import LabelCounts, design_of, label_counts
from sim_platform.estimation.gates import decide, release_verdict
from sim_platform.flows.registration import covered, refuse_unblinded
from sim_platform.flows.report import write_report
from sim_platform.orchestration.metadata import column_docs, markdown, picture
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.progress import Progress
from sim_platform.orchestration.resources import Deployment
from sim_platform.reporting.rates import forest_png, rate_rows
from sim_platform.warehouse.duckdb_file import publish
from sim_platform.warehouse.gates import (
    EVERY_COMPARED_BEHAVIOUR_HAS_A_VERDICT,
    EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
)

PRODUCTION = """
    with users as (
        select p.behavior, c.user_key, sum(p.label::int) as x, count(*) as n from production_scores p join deidentified_corpus c using (conversation_key)
        where p.model_version = $release and p.applies and p.label is not null group by all)
    select behavior, sum(x)::double as x, sum(x * x)::double as v, sum(n)::double as n from users group by behavior order by behavior"""


@dg.asset(
    deps=["classifier_scores", "stratified_sample", "production_scores"],
    partitions_def=MODEL_VERSIONS,
    group_name="estimation",
    kinds={"duckdb", "scipy"},
    metadata=column_docs(RateComparison),
)
@guarded
def rate_comparison(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """One behaviour in one arm a row: its weighted rate per message with a 95 % interval, and the
    paired ratio and difference of the candidate to control and recorded.

    Key: (model_version, behavior, arm). Missing labels are counted beside each rate. A rerun
    re-estimates from the stored scores.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    candidate, replaced = home.release(context.partition_key)
    registered = covered(home, warehouse, candidate.version)  # no record, no rates
    progress = Progress(context, "rate_comparison", total=len(home.graded))
    design = design_of(
        warehouse.read(
            StratifiedSample,
            {"model_version": candidate.version},
            columns=["prefix_id", "stratum", "weight", "user_key"],
        ),
        candidate.version,
    )

    def labels() -> Iterator[LabelCounts]:
        for counted in label_counts(warehouse.query, candidate.version, design):
            yield counted
            progress.advance(1)

    rates = compare(
        labels(),
        design,
        release=candidate.version,
        replaces=replaced.version,
        undesired={b.id: b.undesired for b in home.behaviors},
        measures=candidate.measures,
        block_above={b.id: b.gate.block_above for b in home.behaviors},
    )
    with warehouse.reading() as tx:
        if "production_scores" in tx.tables():
            rates = against_production(rates, tx.query(PRODUCTION, {"release": candidate.version}))
    rates = rates.with_columns(
        is_exploratory=~pl.col("behavior").is_in(list(registered.confirmatory))
    )
    with warehouse.transaction() as tx:
        tx.replace(RateComparison, rates, {"model_version": candidate.version})
        tx.pass_gates([EVERY_RATE_LIES_INSIDE_ITS_INTERVAL], candidate.version)
    publish(warehouse, home.published)
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(rates),
            "rates_per_100k": markdown(rate_rows(rates)),
            "measures": candidate.measures,
        }
    )


@dg.asset(
    deps=["rate_comparison"],
    partitions_def=MODEL_VERSIONS,
    group_name="estimation",
    kinds={"duckdb"},
    metadata=column_docs(ReleaseGate),
)
@guarded
def release_gate(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """One behaviour a row: PASS, BLOCK or INCONCLUSIVE on its registered rule, why, and how often
    the rule decides rightly at this many events.

    Key: (model_version, behavior). Behaviours that are not registered with `tier: gate` are shown
    and decide nothing. A rerun costs nothing.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    candidate, _ = home.release(context.partition_key)
    confirmatory = covered(home, warehouse, candidate.version).confirmatory
    # What was not registered decides nothing; a gate that this home cannot grade keeps the release
    # from passing.
    behaviors = [
        (
            b
            if b.id in confirmatory or b.id in home.not_graded
            else b.model_copy(update={"tier": "exploratory"})
        )
        for b in home.behaviors
    ]
    decisions = decide(
        warehouse.read(RateComparison, {"model_version": candidate.version}),
        behaviors,
        release=candidate.version,
        not_graded=home.not_graded,
    )
    with warehouse.transaction() as tx:
        tx.replace(ReleaseGate, decisions, {"model_version": candidate.version})
        tx.pass_gates([EVERY_COMPARED_BEHAVIOUR_HAS_A_VERDICT], candidate.version)
    verdict, why = release_verdict(decisions)
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(decisions),
            "verdict": f"{verdict}: {why}",
            "decisions": markdown(
                decisions.filter(tier="gate").select("behavior", "verdict", "reason").to_dicts()
            ),
        }
    )


class ReportConfig(dg.Config):
    """What the report quotes."""

    examples: int = 3  # de-identified responses per behaviour; 0: none


@dg.asset(
    deps=["release_gate", "rate_comparison", "rate_forecast", "forecast_scorecard", "calibration"],
    partitions_def=MODEL_VERSIONS,
    group_name="reporting",
    kinds={"html"},
)
@guarded
def release_report(
    context: dg.AssetExecutionContext, deployment: Deployment, config: ReportConfig
) -> dg.MaterializeResult[None]:
    """One self-contained page per release in reports/ of the home (HTML, with JSON and CSV beside
    it): verdict, rates, charts, what is missing, spend, examples, limits, hashes.

    It quotes a few de-identified responses, folded (`examples: 0` leaves them out). A rerun costs
    nothing.
    """
    page = write_report(deployment.home(), context.partition_key, config.examples)
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.path(str(page)),
            "open": dg.MetadataValue.url(page.as_uri()),
            "bytes": page.stat().st_size,
        }
    )


@dg.asset_check(
    asset=release_report,
    partitions_def=MODEL_VERSIONS,
    description="The page is there, below 3 MB, and loads nothing from anywhere.",
)
@guarded
def the_report_is_self_contained(
    context: dg.AssetCheckExecutionContext, deployment: Deployment
) -> dg.AssetCheckResult:
    page = deployment.home().reports / f"{context.partition_key}.html"
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    loads = len(
        re.findall(
            r"<(?:script|link|iframe|object|embed)\b|(?:src|href)\s*=\s*[\"']?\s*(?:https?:)?//|url\(\s*[\"']?(?:https?:)?//|@import",
            text,
            re.IGNORECASE,
        )
    )
    return dg.AssetCheckResult(
        passed=bool(text) and len(text.encode()) < 3_000_000 and loads == 0,
        metadata={"bytes": len(text.encode()), "loads": loads},
    )


@dg.asset(deps=["rate_comparison"], group_name="reporting", kinds={"duckdb"})
@guarded
def release_summary(deployment: Deployment) -> dg.MaterializeResult[None]:
    """Every release's rates side by side, with a plot of the ratios; publishes published.duckdb,
    which readers open without blocking a writer.

    Reads what is stored, also of releases whose last run failed. A rerun costs nothing.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    refuse_unblinded(home, warehouse)
    rates = warehouse.read(RateComparison).sort("model_version", "behavior", "arm")
    tables = publish(warehouse, home.published)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rates),
            "releases": ", ".join(rates["model_version"].unique().sort()) or "none",
            "rates_per_100k": markdown(rate_rows(rates)),
            "ratios": picture(forest_png(rates)),
            "published_tables": ", ".join(tables),
            "dagster/uri": home.published.as_uri(),
        }
    )
