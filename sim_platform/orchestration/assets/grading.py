"""Assets of the grading stage.

Belongs here: what the UI says and shows of them. Does not: which outcomes are graded
(flows.grading), graders (grading).
"""

import dagster as dg
import polars as pl

from sim_platform.contracts.tables.grading import Calibration, ClassifierScores, ProductionScores
from sim_platform.flows.grading.asking import Asking, flip_rate
from sim_platform.flows.grading.calibration import calibrate_release, drift_of_release
from sim_platform.flows.grading.production import score_production
from sim_platform.flows.grading.scoring import score_release
from sim_platform.flows.registration import covered
from sim_platform.orchestration.metadata import column_docs, markdown
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.progress import UNKNOWN, Progress
from sim_platform.orchestration.resources import Deployment


@dg.asset(
    deps=["candidate_completions", "stratified_sample"],
    partitions_def=MODEL_VERSIONS,
    group_name="grading",
    kinds={"duckdb", "polars"},
    metadata=column_docs(ClassifierScores),
)
@guarded
def classifier_scores(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """One behaviour of one outcome a row, in every arm: whether it occurred, or why
    that is not known.

    Key: (model_version, behavior, arm, prefix_id, k). Nothing is left out: a grader that errs gives
    an explicit missing, never a 0. A rerun grades again from the stored outcomes and sends nothing
    to a candidate; a judge is asked each question once, ever. Graders that were not registered are
    refused, or marked exploratory.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    progress = Progress(context, "classifier_scores")
    answers = Progress(context, "answers of judges")
    done = score_release(
        home,
        deployment.vault(),
        warehouse,
        context.partition_key,
        advance=progress.advance,
        on_answer=answers.reach,
    )
    progress.finish()
    not_graded = [{"behaviour": name, "why": why} for name, why in home.not_graded.items()]
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": done.n_scores,
            "labels": markdown(done.labels.to_dicts()),
            "not_graded": markdown(not_graded),
            "exploratory": ", ".join(done.registered.exploratory) or "none",
            "asked": markdown([_asked(done.asked)] if done.asked else []),
            "planted_instructions": markdown(flip_rate(warehouse)),
            "graders": markdown(done.graders.to_dicts()),
        }
    )


def _asked(ask: Asking) -> dict[str, object]:
    return {
        "calls": ask.sent,
        "known before": ask.known,
        "cost USD": round(ask.cost_usd, 6) if ask.has_known_cost else UNKNOWN,
        "unanswered": str(dict(ask.failures) or ""),
        "noted": " ".join(ask.notes),
    }


@dg.asset(
    deps=["deidentified_corpus"],
    partitions_def=MODEL_VERSIONS,
    group_name="grading",
    kinds={"duckdb", "polars"},
    metadata=column_docs(ProductionScores),
)
@guarded
def production_scores(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """One behaviour of one recorded response of the deployed version a row, over its whole log in
    the weeks of its deployment, by the release's graders.

    Key: (model_version, behavior, conversation_key, turn). Left out: behaviours whose graders are
    asked (a judge over the whole log is a bill; the recorded arm of the sample has them), and turns
    other than the last where the plan cuts there. Graded is the log's own text, inside the vault.
    A rerun grades only conversations that are new or changed, or everything when a grader changed.
    """
    home, progress = deployment.home(), Progress(context, "production_scores")
    done = score_production(
        home,
        deployment.vault(),
        deployment.warehouse(),
        context.partition_key,
        total=progress.expect,
        advance=progress.advance,
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": done.n_scores,
            "labels": markdown(done.labels.to_dicts()),
            "replaces": home.release(context.partition_key)[1].version,
        }
    )


@dg.asset(
    name="calibration",
    deps=["classifier_scores"],
    partitions_def=MODEL_VERSIONS,
    group_name="grading",
    kinds={"duckdb", "scipy"},
    metadata=column_docs(Calibration),
)
@guarded
def calibration(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """One behaviour in one arm a row: its graders against people's labels, and the four rates
    (apparent, verified, corrected, assumption-free bound) with what refuses them; sensitivity and
    specificity, and how surely they are not the candidate's.

    Key: (model_version, behavior, arm). Only what people labelled (`sim-platform labels export` and
    `import`) is here. A rerun counts again and costs nothing.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    confirmatory = covered(home, warehouse, context.partition_key).confirmatory
    rows = calibrate_release(home, context.partition_key).with_columns(
        is_exploratory=~pl.col("behavior").is_in(list(confirmatory))
    )
    with warehouse.transaction() as tx:
        tx.replace(Calibration, rows, {"model_version": context.partition_key})
    shown = rows.select(
        "behavior",
        "arm",
        "n",
        "abstained",
        pl.col("apparent", "verified", "corrected", "bound")
        .mul(100_000)
        .round(2)
        .name.suffix(" per 100k"),
        pl.col("sensitivity", "sensitivity_low", "specificity").round(4),
        pl.col("p_sensitivity", "p_specificity").round(4),
        "status",
        "is_exploratory",
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(rows),
            "rates": markdown(shown.to_dicts()),
            "drift": markdown(drift_of_release(home, context.partition_key)),
        }
    )
