"""Asset of the replay stage: the one that may cost money.

Belongs here: which arms are replayed, what the UI shows. Does not: what is pending (replay_flow),
sending (replay).
"""

from functools import partial

import dagster as dg

from sim_platform.contracts.outcomes import Arm
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.flows.registration import covered
from sim_platform.flows.replay.arm import ArmSummary, replay_arm
from sim_platform.flows.replay.pending import replayed_arms
from sim_platform.orchestration.metadata import column_docs, markdown, picture
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.progress import Progress, ReplayFigures
from sim_platform.orchestration.resources import Deployment
from sim_platform.replay.budget import Budget
from sim_platform.reporting.latency import arm_rows, code_rows, latency_png
from sim_platform.warehouse.gates import EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM


class ReplayConfig(dg.Config):
    """Limits of this run over all its arms, beside the release's own budget."""

    max_usd: float | None = None
    max_tokens: int | None = None


@dg.asset(
    deps=["preregistration", "stratified_sample"],
    partitions_def=MODEL_VERSIONS,
    group_name="replay",
    kinds={"duckdb", "openai"},
    metadata=column_docs(CandidateCompletions),
)
@guarded
def candidate_completions(
    context: dg.AssetExecutionContext, deployment: Deployment, config: ReplayConfig
) -> dg.MaterializeResult[None]:
    """One outcome a row: what a model version answered after a prefix, or why it did not. Tool
    calls are recorded, never executed.

    Key: (model_version, arm, prefix_id, k). Arms: candidate, and control where the replaced version
    can regenerate. Committed per batch; a rerun
    sends only what has no final outcome, so it costs nothing when nothing changed.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    candidate, replaced = home.release(context.partition_key)
    covered(
        home, warehouse, candidate.version
    )  # without a record of what was decided before, nothing is sent
    n_prefixes = len(
        warehouse.read(
            StratifiedSample, {"model_version": candidate.version}, columns=["prefix_id"]
        )
    )
    arms = replayed_arms(candidate, replaced)
    progress = Progress(
        context,
        "candidate_completions",
        n_prefixes * len(arms) * candidate.plan.completions_per_prefix,
    )
    figures = ReplayFigures(context, progress)
    limit = Budget(config.max_usd, config.max_tokens)
    done: dict[Arm, ArmSummary] = {}
    try:
        for arm, model in arms:
            done[arm] = replay_arm(
                home,
                warehouse,
                candidate,
                model,
                arm,
                advance=progress.advance,
                on_progress=partial(figures.note, arm),
                run_budget=limit,
            )
    finally:
        figures.observe()
    with warehouse.transaction() as tx:
        tx.execute(
            "delete from candidate_completions where model_version = $release and (arm not in"
            " (select unnest($arms)) or k >= $k)",
            {
                "release": candidate.version,
                "arms": [arm for arm, _ in arms],
                "k": candidate.plan.completions_per_prefix,
            },
        )
        tx.pass_gates([EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM], candidate.version)
    columns = [
        "arm",
        "status",
        "reason",
        "prompt_tokens",
        "completion_tokens",
        "cost_usd",
        "latency_s",
    ]
    outcomes = warehouse.read(
        CandidateCompletions, {"model_version": candidate.version}, columns=columns
    )
    plot = latency_png(outcomes)
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(outcomes),
            "by_arm": markdown(arm_rows(outcomes)),
            "by_status": markdown(code_rows(outcomes)),
            **({"latency": picture(plot)} if plot else {}),
            "this_run": markdown(
                [
                    {
                        "arm": a,
                        "sent": s.sent,
                        "already done": s.already_done,
                        "recovered": s.recovered,
                        "reused": s.reused,
                        "retries": str(s.retries or ""),
                    }
                    for a, s in done.items()
                ]
            ),
            "cost_usd": float(outcomes["cost_usd"].sum()),
            "measures": candidate.measures,
        }
    )
