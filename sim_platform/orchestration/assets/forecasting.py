"""Assets of the forecasting stage.

Belongs here: what is read and written, what the UI shows. Does not: methods and scores
(forecasting), the walk around the warehouse (flows.forecasting).
"""

import dagster as dg
import polars as pl

from sim_platform.contracts.tables.forecasting import (
    ForecastLedger,
    ForecastScorecard,
    RateForecast,
)
from sim_platform.flows.forecasting import forecast_release, newest_traffic, score_release
from sim_platform.flows.ledger import enter_forecasts, the_ledger_is_whole
from sim_platform.orchestration.metadata import check_result, column_docs, markdown
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.resources import Deployment
from sim_platform.reporting.rates import marked, per_100k
from sim_platform.warehouse.duckdb_file import GateResult


@dg.asset(
    deps=["rate_comparison", "production_scores"],
    partitions_def=MODEL_VERSIONS,
    group_name="forecasting",
    kinds={"duckdb", "scipy"},
    metadata=column_docs(RateForecast),
)
@guarded
def rate_forecast(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """One method's forecast of one behaviour's rate in service a row, with the 90 % forecast
    interval of the full method and the baselines beside it.

    Key: (model_version, behavior, method). Left out: behaviours without a graded outcome. Every
    forecast is entered in the ledger; the first one is what is scored. A rerun costs nothing.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    made = forecast_release(home, warehouse, context.partition_key)
    with warehouse.transaction() as tx:
        tx.replace(RateForecast, made.rows, {"model_version": context.partition_key})
    entered = enter_forecasts(warehouse, made.rows)
    shown = [
        {
            "behaviour": marked(r["behavior"], r["is_exploratory"]),
            "forecast per 100k": (
                f"{per_100k(r['rate'])} [{per_100k(r['low'])}, {per_100k(r['high'])}]"
            ),
            "now per 100k": per_100k(r["prior_rate"]),
            "now n": r["prior_messages"],
            "direction": r["direction"],
        }
        for r in made.rows.filter(method="M7").to_dicts()
    ]
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(made.rows),
            "forecast": markdown(shown),
            "newest_traffic": (
                made.moved.words if made.moved else "too few conversations to compare"
            ),
            "looks_like_newest": not (made.moved and made.moved.warns),
            "weighted_to": made.weighted_to,
            "effective_sample_kept": round(made.kept, 3),
            "entered_in_ledger": entered,
        }
    )


@dg.asset_check(
    asset=rate_forecast,
    partitions_def=MODEL_VERSIONS,
    description=(
        "Strata mix, lengths and turns of the sample are those of the newest weeks; a warning,"
        " since the forecast is post-stratified."
    ),
)
@guarded
def the_sample_looks_like_the_newest_traffic(
    context: dg.AssetCheckExecutionContext, deployment: Deployment
) -> dg.AssetCheckResult:
    made = newest_traffic(deployment.home(), deployment.warehouse(), context.partition_key)
    facts: dict[str, int | float | str | None] = {
        "facts": made.moved.words if made.moved else "too few conversations",
        "weighted_to": made.weighted_to,
        "effective_sample_kept": round(made.kept, 3),
    }
    passed = not (made.moved and made.moved.warns)
    return check_result(GateResult(passed, facts, is_vacuous=made.moved is None), warns=True)


@dg.asset_check(
    asset=rate_forecast,
    partitions_def=MODEL_VERSIONS,
    description=(
        "Every entry of the forecast ledger is as it was entered, and none is missing between two"
        " others (hash chain)."
    ),
)
@guarded
def the_forecast_ledger_is_whole(
    context: dg.AssetCheckExecutionContext, deployment: Deployment
) -> dg.AssetCheckResult:
    return check_result(the_ledger_is_whole(deployment.warehouse().read(ForecastLedger)))


@dg.asset(
    deps=["rate_forecast", "deidentified_corpus"],
    partitions_def=MODEL_VERSIONS,
    group_name="forecasting",
    kinds={"duckdb", "scipy"},
    metadata=column_docs(ForecastScorecard),
)
@guarded
def forecast_scorecard(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """How good each method's first forecast was, against the release's own log graded by the same
    graders. One method a row; no rows until that log is extracted.

    Key: (model_version, method). Left out, and counted: behaviours observed at or below the
    registered floor. A rerun grades the release's log again and costs nothing.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    scored = score_release(home, deployment.vault(), warehouse, context.partition_key)
    with warehouse.transaction() as tx:
        tx.replace(ForecastScorecard, scored, {"model_version": context.partition_key})
    shown = scored.with_columns(pl.selectors.float().round(3)).drop("model_version").to_dicts()
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(scored),
            "scorecard": (
                markdown(shown) if len(scored) else "the release has no log of its own yet"
            ),
        }
    )
