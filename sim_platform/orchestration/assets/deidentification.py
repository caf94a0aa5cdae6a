"""Asset of the de-identification stage.

Belongs here: what the UI says and shows of it. Does not: what is pending (deidentification_flow), detection and surrogates (deidentification).
"""

import dagster as dg

from sim_platform.contracts.tables import Canaries, DeidentifiedCorpus, QuarantinedRows
from sim_platform.deidentification.detectors import stack_detector
from sim_platform.orchestration.deidentification_flow import deidentify_extract
from sim_platform.orchestration.metadata import column_docs, counts, markdown
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.progress import Progress
from sim_platform.orchestration.resources import Deployment


@dg.asset(deps=["consented_log_extract"], group_name="deidentification", kinds={"duckdb", "polars"}, metadata=column_docs(DeidentifiedCorpus))
@guarded
def deidentified_corpus(context: dg.AssetExecutionContext, deployment: Deployment) -> dg.MaterializeResult[None]:
    """One conversation a row, with surrogates for identifiers, keyed hashes for account and conversation ids, and the week for its time.

    Key: conversation_key. Left out: conversations that a detector could not read to the end, whole, with the reason in quarantined_rows. A rerun does
    only conversations that this deid_version has not done, commits per batch, and takes out what left the extract.
    """
    vault, warehouse = deployment.vault(), deployment.warehouse()
    total = int(vault.query("select count(*) as n from consented_log_extract")["n"][0])
    summary = deidentify_extract(vault, warehouse, stack_detector(), advance=Progress(context, "deidentified_corpus", total).advance)
    corpus = warehouse.read(DeidentifiedCorpus, columns=["model_version"])
    refused = warehouse.read(QuarantinedRows, {"stage": "deidentification"}, columns=["reason"])
    planted = warehouse.read(Canaries, {"deid_version": summary.deid_version}, columns=["type", "planted", "survived"]).sort("type")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(corpus),
            "conversations_by_version": markdown([{"model_version": v, "conversations": n} for v, n in counts(corpus, "model_version").items()]),
            "quarantined_by_reason": markdown([{"reason": r, "conversations": n} for r, n in counts(refused, "reason").items()]),
            "canaries": markdown(planted.to_dicts()),
            "done_now": summary.done,
            "already_done": summary.already_done,
            "removed": summary.removed,
            "releases_to_run_again": ", ".join(summary.releases_to_run_again) or "none",
            "deid_version": summary.deid_version,
        }
    )
