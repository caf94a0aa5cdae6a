"""Assets of the estimation and reporting stages: the comparison per release, the decision, the
report, and the table across releases.

Belongs here: what the UI says and shows of them. Does not: what is read and written
(flows.comparison, flows.report), estimators (estimation).
"""

import re

import dagster as dg
import polars as pl

from sim_platform.contracts.tables.estimation import RateComparison, ReleaseGate
from sim_platform.estimation.resemblance import in_words, unlike_the_log
from sim_platform.estimation.verdict import release_verdict, release_warnings, said
from sim_platform.flows.comparison import compare_release, decide_release, publish_releases
from sim_platform.flows.report import write_report
from sim_platform.orchestration.metadata import column_docs, markdown, picture
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.progress import Progress
from sim_platform.orchestration.resources import Deployment
from sim_platform.reporting.rates import forest_png, rate_rows

SHOWN = ("behavior", "verdict", "reason", "marks")


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
    home = deployment.home()
    candidate, _ = home.release(context.partition_key)
    progress = Progress(context, "rate_comparison", total=len(home.graded))
    rates = compare_release(
        home, deployment.warehouse(), candidate.version, advance=progress.advance
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(rates),
            "rates_per_100k": markdown(rate_rows(rates)),
            "measures": candidate.measures,
        }
    )


@dg.asset_check(
    asset=rate_comparison,
    partitions_def=MODEL_VERSIONS,
    description=(
        "The version in service, regenerated on its own prefixes, behaves as its log says (p after"
        " Holm, and a ratio surely beyond 0.8 to 1.25); a warning, shown first in the report."
    ),
)
@guarded
def the_control_arm_resembles_the_log(
    context: dg.AssetCheckExecutionContext, deployment: Deployment
) -> dg.AssetCheckResult:
    rates = deployment.warehouse().read(RateComparison, {"model_version": context.partition_key})
    found = unlike_the_log(rates)
    compared = rates.filter(pl.col("arm") == "control", pl.col("p_recorded").is_not_null())
    return dg.AssetCheckResult(
        passed=found.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "compared": len(compared),
            "differ": markdown(found.to_dicts()),
            "says": in_words(found) or "nothing",
        },
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
    decisions = decide_release(deployment.home(), deployment.warehouse(), context.partition_key)
    verdict, why = release_verdict(decisions)
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(decisions),
            "verdict": f"{verdict}: {why}",
            "decisions": markdown(
                [
                    {name: (row | {"verdict": said(row)})[name] for name in SHOWN}
                    for row in decisions.filter(tier="gate").to_dicts()
                ]
            ),
            "warnings": "; ".join(release_warnings(decisions)) or "none",
        }
    )


@dg.asset_check(
    asset=release_gate,
    partitions_def=MODEL_VERSIONS,
    description=(
        "At most 5 % of an arm's outcomes are missing, and each reason code is as frequent in both"
        " arms (exact test); a warning beside the verdict."
    ),
)
@guarded
def missing_outcomes_are_few_and_alike_in_both_arms(
    context: dg.AssetCheckExecutionContext, deployment: Deployment
) -> dg.AssetCheckResult:
    decisions = deployment.warehouse().read(ReleaseGate, {"model_version": context.partition_key})
    found = release_warnings(decisions)
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "decided": len(decisions.filter(tier="gate")),
            "says": "; ".join(found) or "nothing",
        },
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

    It quotes a few de-identified responses, folded (`examples: 0` leaves them out). A rerun
    costs nothing.
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
    home = deployment.home()
    rates, tables = publish_releases(home, deployment.warehouse())
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
