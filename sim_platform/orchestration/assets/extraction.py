"""Asset of the extraction stage.

Belongs here: what the UI says and shows of it. Does not: which files are read (flows.extraction),
how rows are read and judged (extraction).
"""

from datetime import UTC, datetime

import dagster as dg
import polars as pl

from sim_platform.contracts.tables.extraction import ConsentedLogExtract, ExtractionAccounting
from sim_platform.flows.extraction import extract_log
from sim_platform.orchestration.metadata import column_docs, markdown
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.progress import Progress
from sim_platform.orchestration.resources import Deployment


@dg.asset(
    group_name="extraction", kinds={"duckdb", "polars"}, metadata=column_docs(ConsentedLogExtract)
)
@guarded
def consented_log_extract(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """One conversation a row, whose user consented to this use at the time and still does, and
    which no exclusion covers. Raw text: vault.duckdb only.

    Key: conversation_id. Left out, each counted per reason: rows without consent, excluded, of
    unregistered versions, repeated; rows that cannot be read stand in quarantined_rows. A rerun
    reads only new and changed files, asks for consent again, and takes revoked rows out.
    """
    home = deployment.home()
    progress = Progress(context, "consented_log_extract")
    warehouse = deployment.warehouse()
    summary = extract_log(
        home, deployment.vault(), warehouse, now=datetime.now(UTC), advance=progress.advance
    )
    progress.finish()
    accounting = (
        warehouse.read(ExtractionAccounting)
        .group_by("disposition", "reason")
        .agg(pl.sum("n"))
        .sort("disposition", "reason")
    )
    extracted = int(accounting.filter(disposition="extracted")["n"].sum())
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": extracted,
            "accounting": markdown(accounting.to_dicts()),
            "files_read": summary.files_read,
            "files_unchanged": summary.files_unchanged,
            "revoked_now": summary.revoked,
            "consent": home.sources.consent.all or f"ledger, scope {home.sources.consent.scope}",
            "extract_id": summary.extract_id,
        }
    )
