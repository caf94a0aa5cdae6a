"""The real graph, also for tests: assets, checks, SQL models, job, sensors, resources.

Belongs here: putting the parts together. Does not: any part.
"""

from pathlib import Path

import dagster as dg

from sim_platform.orchestration.assets.deidentification import (
    deidentification_does_not_look_like_behaviour,
    deidentification_effect,
    deidentified_corpus,
)
from sim_platform.orchestration.assets.estimation import (
    missing_outcomes_are_few_and_alike_in_both_arms,
    rate_comparison,
    release_gate,
    release_report,
    release_summary,
    the_control_arm_resembles_the_log,
    the_report_is_self_contained,
)
from sim_platform.orchestration.assets.extraction import consented_log_extract
from sim_platform.orchestration.assets.forecasting import (
    forecast_scorecard,
    rate_forecast,
    the_forecast_ledger_is_whole,
    the_sample_looks_like_the_newest_traffic,
)
from sim_platform.orchestration.assets.grading import (
    calibration,
    classifier_scores,
    production_scores,
)
from sim_platform.orchestration.assets.preregistration import preregistration
from sim_platform.orchestration.assets.replay import candidate_completions, tool_pairs
from sim_platform.orchestration.assets.sampling import stratified_sample
from sim_platform.orchestration.checks import build_checks
from sim_platform.orchestration.jobs import batch_answers
from sim_platform.orchestration.resources import Deployment
from sim_platform.orchestration.sensors import batches_that_have_ended, model_versions_from_registry
from sim_platform.orchestration.sql_assets import build_sql_assets, build_sql_checks
from sim_platform.registry.home import home_path
from sim_platform.registry.shipped import SQL_MODELS
from sim_platform.warehouse.sql_models import load_sql_models

LOG_ASSETS = [consented_log_extract, deidentified_corpus, tool_pairs]
RELEASE_ASSETS = [
    stratified_sample,
    deidentification_effect,
    production_scores,
    preregistration,
    candidate_completions,
    classifier_scores,
    calibration,
    rate_comparison,
    release_gate,
    rate_forecast,
    forecast_scorecard,
    release_report,
]


def build_definitions(*, home: Path | None = None, sql_models: Path = SQL_MODELS) -> dg.Definitions:
    """Definitions over a home folder (default: SIM_PLATFORM_HOME, else `data`). Runs are linear;
    concurrency is across releases.
    """
    models = load_sql_models(sql_models)
    return dg.Definitions(
        assets=[*LOG_ASSETS, *RELEASE_ASSETS, *build_sql_assets(models), release_summary],
        asset_checks=[
            *build_checks(),
            *build_sql_checks(models),
            the_control_arm_resembles_the_log,
            missing_outcomes_are_few_and_alike_in_both_arms,
            the_report_is_self_contained,
            deidentification_does_not_look_like_behaviour,
            the_sample_looks_like_the_newest_traffic,
            the_forecast_ledger_is_whole,
        ],
        jobs=[batch_answers],
        sensors=[model_versions_from_registry, batches_that_have_ended],
        resources={"deployment": Deployment(home_dir=str(home or home_path()))},
        executor=dg.in_process_executor,
    )
