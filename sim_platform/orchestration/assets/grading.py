"""Asset of the grading stage.

Belongs here: which outcomes are graded, what the UI shows. Does not: graders (grading).
"""

import dagster as dg
import polars as pl

from sim_platform.contracts.tables import ClassifierScores, empty
from sim_platform.grading.scores import scores
from sim_platform.orchestration.metadata import column_docs, markdown
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.progress import Progress
from sim_platform.orchestration.resources import Deployment
from sim_platform.warehouse.gates import EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR

PAGE = 5_000  # prefixes graded together
OUTCOMES = """
    with page as (select * from stratified_sample where model_version = $release and prefix_id > $last order by prefix_id limit $n)
    select c.arm, s.prefix_id, c.k, c.status, c.text, c.tool_calls, c.refusal, c.labels, s.prefix, s.metadata
    from candidate_completions c join page s using (prefix_id) where c.model_version = $release
    union all
    select 'recorded', prefix_id, 0, case when recorded is null then 'failed' else 'completed' end,
           case json_type(recorded, '$.content') when 'ARRAY' then array_to_string(json_extract_string(recorded, '$.content[*].text'), chr(10))
                else json_extract_string(recorded, '$.content') end,
           coalesce(recorded::json ->> 'tool_calls', '[]'), json_extract_string(recorded, '$.refusal'), recorded_labels, prefix, metadata
    from page where $with_recorded
    order by prefix_id, arm, k"""


@dg.asset(
    deps=["candidate_completions", "stratified_sample"],
    partitions_def=MODEL_VERSIONS,
    group_name="grading",
    kinds={"duckdb", "polars"},
    metadata=column_docs(ClassifierScores),
)
@guarded
def classifier_scores(context: dg.AssetExecutionContext, deployment: Deployment) -> dg.MaterializeResult[None]:
    """One behaviour of one outcome a row, in every arm: whether it occurred, or why that is not known.

    Key: (model_version, behavior, arm, prefix_id, k). Nothing is left out: a grader that errs gives an explicit missing, never a 0. A rerun grades
    again from the stored outcomes and sends nothing to a candidate.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    candidate, _ = home.release(context.partition_key)
    parameters = {"release": candidate.version, "n": PAGE, "with_recorded": "recorded" in candidate.plan.arms}
    progress = Progress(context, "classifier_scores")
    parts = [empty(ClassifierScores)]
    last = ""
    while len(outcomes := warehouse.query(OUTCOMES, {**parameters, "last": last})):
        parts.append(scores(outcomes, home.behaviors, release=candidate.version))
        last = outcomes["prefix_id"][-1]
        progress.advance(len(outcomes))
    progress.finish()
    graded = pl.concat(parts)
    with warehouse.transaction() as tx:
        tx.replace(ClassifierScores, graded, {"model_version": candidate.version})
        tx.pass_gates([EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR], candidate.version)
    summary = graded.group_by("behavior", "arm").agg(
        pl.col("applies").sum().alias("eligible"), pl.col("label").sum().alias("occurred"), pl.col("missing_reason").is_not_null().sum().alias("missing")
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(graded),
            "labels": markdown(summary.sort("behavior", "arm").to_dicts()),
            "graders": markdown(graded.select("behavior", "grader_hash").unique().sort("behavior").to_dicts()),
        }
    )
