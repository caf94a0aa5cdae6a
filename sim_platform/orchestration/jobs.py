"""Jobs that are no materialization.

Belongs here: the job that brings answers of batches in. Does not: how (flows.replay.batches),
when (sensors).
"""

from dataclasses import asdict

import dagster as dg

from sim_platform.flows.replay.batches import poll
from sim_platform.orchestration.metadata import markdown
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.resources import Deployment


@dg.op
@guarded
def bring_in_batches(context: dg.OpExecutionContext, deployment: Deployment) -> None:
    """Stores the answers of the release's batches that have ended. It has no way to send a request
    or to hand a batch over.
    """
    lines = poll(deployment.home(), context.partition_key)
    out = sum(line.state != "ended" for line in lines)
    context.log_event(
        dg.AssetObservation(
            "candidate_completions",
            description=(
                f"{len(lines) - out} batches are in, {out} are out. Materialize"
                " candidate_completions to go on: it asks only for what has no answer."
            ),
            partition=context.partition_key,
            metadata={"batches": markdown([asdict(line) for line in lines])},
        )
    )


@dg.job(
    partitions_def=MODEL_VERSIONS,
    description=(
        "Fetches the answers of a release's ended batches, as `sim-platform batches` does. Costs"
        " nothing."
    ),
)
def batch_answers() -> None:
    bring_in_batches()
