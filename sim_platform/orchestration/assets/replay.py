"""Assets of the replay stage: the tool calls of the log, and the one that may cost money.

Belongs here: what the UI says and shows of it. Does not: which arms, what is pending
(flows.replay), sending (replay).
"""

import dagster as dg

from sim_platform.contracts.tables.replay import CandidateCompletions, ToolPairs
from sim_platform.flows.costs import spent_by_arm, total
from sim_platform.flows.replay.pairs import pair_calls, pairs_by_tool
from sim_platform.flows.replay.pending import replayed_arms
from sim_platform.flows.replay.release import expected_outcomes, replay_release
from sim_platform.orchestration.metadata import column_docs, markdown, picture
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.progress import UNKNOWN, Progress, ReplayFigures
from sim_platform.orchestration.resources import Deployment
from sim_platform.replay.budget import Budget
from sim_platform.reporting.latency import arm_rows, code_rows, latency_png

SHOWN = (
    *("arm", "status", "reason", "prompt_tokens", "completion_tokens"),
    *("cost_usd", "latency_s"),
)


class ReplayConfig(dg.Config):
    """Limits of this run over all its arms, beside the release's own budget."""

    max_usd: float | None = None
    max_tokens: int | None = None


@dg.asset(
    deps=["deidentified_corpus"],
    group_name="replay",
    kinds={"duckdb", "polars"},
    metadata=column_docs(ToolPairs),
)
@guarded
def tool_pairs(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """One tool call of the log a row, with its result, from the de-identified conversations: what
    simulated tools may answer from. No tool is executed.

    Key: (conversation_key, turn, step, position). Left out: nothing; a call without a result, or
    whose arguments are no JSON object, says so in `problem` and is never served. A rerun reads only
    conversations that are new or changed, and costs nothing.
    """
    warehouse = deployment.warehouse()
    done = pair_calls(warehouse, advance=Progress(context, "tool_pairs").advance)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": done.n_pairs,
            "conversations_read_now": done.n_read,
            "pairs_by_tool": markdown(pairs_by_tool(warehouse).to_dicts()),
        }
    )


@dg.asset(
    deps=["preregistration", "stratified_sample", "tool_pairs"],
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
    can regenerate. Committed per batch; a rerun sends only what has no final outcome, so it costs
    nothing when nothing changed.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    candidate, replaced = home.release(context.partition_key)
    expected = expected_outcomes(home, warehouse, candidate.version)
    progress = Progress(context, "candidate_completions", expected)
    asked = [model for _, model in replayed_arms(candidate, replaced)]
    figures = ReplayFigures(context, progress, all(model.has_known_cost for model in asked))
    limit = Budget(config.max_usd, config.max_tokens)
    try:
        done = replay_release(
            home,
            warehouse,
            candidate.version,
            limit,
            advance=progress.advance,
            on_progress=figures.note,
        )
    finally:
        figures.observe()
    outcomes = warehouse.read(CandidateCompletions, {"model_version": candidate.version}, SHOWN)
    with warehouse.reading() as tx:
        costs = spent_by_arm(tx, home, candidate.version)
    arms = [
        {**row, "cost_usd": UNKNOWN} if costs[str(row["arm"])] is None else row
        for row in arm_rows(outcomes)
    ]
    plot = latency_png(outcomes)
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(outcomes),
            "by_arm": markdown(arms),
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
            "cost_usd": UNKNOWN if (cost := total([*costs.values()])) is None else cost,
            "measures": candidate.measures,
        }
    )
