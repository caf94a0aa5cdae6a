"""Asset of the de-identification stage.

Belongs here: what the UI says and shows of it. Does not: what is pending (flows.deidentification),
detection and surrogates (deidentification).
"""

import dagster as dg
import polars as pl

from sim_platform.contracts.tables.deidentification import (
    Canaries,
    DeidAudits,
    DeidentificationEffect,
    DeidentifiedCorpus,
    StrataSuppression,
)
from sim_platform.contracts.tables.extraction import QuarantinedRows
from sim_platform.deidentification.detectors import stack_detector
from sim_platform.flows.deidentification.corpus import deidentify_extract
from sim_platform.flows.deidentification.effect import measure_effect
from sim_platform.orchestration.metadata import check_result, column_docs, counts, markdown
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.progress import Progress
from sim_platform.orchestration.resources import Deployment
from sim_platform.warehouse.duckdb_file import GateResult

MOVED = 0.01  # shift of a rate per message from which on a check warns


@dg.asset(
    deps=["consented_log_extract"],
    group_name="deidentification",
    kinds={"duckdb", "polars"},
    metadata=column_docs(DeidentifiedCorpus),
)
@guarded
def deidentified_corpus(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """One conversation a row, with surrogates for identifiers, keyed hashes for account and
    conversation ids, and the week for its time.

    Key: conversation_key. Left out: conversations that a detector could not read to the end, whole,
    with the reason in quarantined_rows. A rerun does only conversations that this deid_version has
    not done, commits per batch, and takes out what left the extract.
    """
    home, vault, warehouse = deployment.home(), deployment.vault(), deployment.warehouse()
    settings = home.sources.deidentification
    total = int(vault.query("select count(*) as n from consented_log_extract")["n"][0])
    summary = deidentify_extract(
        home,
        vault,
        warehouse,
        stack_detector(settings.policy, home.path),
        lambda: stack_detector(settings.audit_policy, home.path),
        advance=Progress(context, "deidentified_corpus", total).advance,
    )
    corpus = warehouse.read(DeidentifiedCorpus, columns=["model_version"])
    refused = warehouse.read(QuarantinedRows, {"stage": "deidentification"}, columns=["reason"])
    audits = warehouse.read(
        DeidAudits,
        {"deid_version": summary.deid_version},
        columns=["measure", "type", "n", "n_bad"],
    ).sort("measure", "type")
    planted = warehouse.read(
        Canaries, {"deid_version": summary.deid_version}, columns=["type", "planted", "survived"]
    ).sort("type")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(corpus),
            "conversations_by_version": markdown(
                [
                    {"model_version": v, "conversations": n}
                    for v, n in counts(corpus, "model_version").items()
                ]
            ),
            "quarantined_by_reason": markdown(
                [{"reason": r, "conversations": n} for r, n in counts(refused, "reason").items()]
            ),
            "canaries": markdown(planted.to_dicts()),
            "second_look": markdown(audits.to_dicts()),
            "rare_strata": markdown(warehouse.read(StrataSuppression).to_dicts()),
            "policy": settings.policy,
            "done_now": summary.done,
            "already_done": summary.already_done,
            "removed": summary.removed,
            "releases_to_run_again": ", ".join(summary.releases_to_run_again) or "none",
            "deid_version": summary.deid_version,
        }
    )


@dg.asset(
    deps=["deidentified_corpus"],
    partitions_def=MODEL_VERSIONS,
    group_name="deidentification",
    kinds={"duckdb", "polars"},
    metadata=column_docs(DeidentificationEffect),
)
@guarded
def deidentification_effect(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """What de-identification does to each behaviour's rate: recorded responses graded on the log's
    text and on the corpus' text, paired. Numbers only.

    Key: (model_version, behavior). A random sample of the conversations of the version that the
    release replaces. Left out: behaviours whose graders are asked, since raw text goes to nobody,
    and conversations in quarantine. A rerun grades again and costs nothing.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    rows = measure_effect(home, deployment.vault(), warehouse, context.partition_key)
    with warehouse.transaction() as tx:
        tx.replace(DeidentificationEffect, rows, {"model_version": context.partition_key})
    shown = rows.select(
        "behavior",
        "n",
        pl.col("rate_raw", "rate_deidentified", "shift", "shift_low", "shift_high").round(5),
        "n_appeared",
        "n_vanished",
        "p",
    )
    return dg.MaterializeResult(
        metadata={"dagster/partition_row_count": len(rows), "shifts": markdown(shown.to_dicts())}
    )


@dg.asset_check(
    asset=deidentification_effect,
    partitions_def=MODEL_VERSIONS,
    description=(
        "No behaviour's rate moves by more than one message in a hundred because of"
        " de-identification (95 % interval of the paired shift); a warning that belongs beside the"
        " rates."
    ),
)
@guarded
def deidentification_does_not_look_like_behaviour(
    context: dg.AssetCheckExecutionContext, deployment: Deployment
) -> dg.AssetCheckResult:
    rows = deployment.warehouse().read(
        DeidentificationEffect, {"model_version": context.partition_key}
    )
    moved = rows.filter((pl.col("shift_low") > MOVED) | (pl.col("shift_high") < -MOVED))
    facts = {
        "behaviours": len(rows),
        "moved": ", ".join(moved["behavior"]) or "none",
        "largest_shift": max(rows["shift"].abs().drop_nulls(), default=0.0),
    }
    return check_result(GateResult(moved.is_empty(), facts, rows.is_empty()), warns=True)
