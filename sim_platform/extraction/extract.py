"""A batch of log rows, sorted into what is extracted and what is not, with the reason.

Belongs here: rules and consent applied to a batch, and the two frames. Does not: reading files
(readers), duplicates across batches and storing (warehouse, orchestration).
"""

from collections.abc import Callable, Container, Mapping
from datetime import datetime

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.messages import canonical_json
from sim_platform.contracts.tables.extraction import ConsentedLogExtract, RowDispositions
from sim_platform.contracts.tables.schema import dtypes
from sim_platform.contracts.tools import tool_set_hash
from sim_platform.extraction.consent import UTC_TIME, decide
from sim_platform.extraction.rows import LogRow, ReadBatch
from sim_platform.extraction.rules import drop_reason, impossible_time, nobody
from sim_platform.registry.models import Deployed
from sim_platform.registry.sources import Sources


def extract_batch(
    batch: ReadBatch,
    *,
    source_file: str,
    extract_id: str,
    sources: Sources,
    versions: Container[str],
    ledger: pl.DataFrame | None,
    now: datetime,
    deployed: Mapping[str, Deployed] | None = None,
    forgotten: Callable[[str], bool] = nobody,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Every row of the batch in exactly one of two frames: ConsentedLogExtract, and RowDispositions
    for what was dropped (rules, then consent) or quarantined (unreadable, or at a time that cannot
    be).

    The frames have the contracts' columns and types but are not validated: a conversation that
    stands twice in the log is still in here twice.

    Args:
        batch: rows of one file.
        source_file: name of the file as it is stored.
        extract_id: id of the run.
        sources: consent policy and exclusions.
        versions: registered model versions.
        ledger: as `read_ledger` gives it; may be None under the policy `all` only.
        now: time of the decision, with a time zone.
        deployed: days in service by version; of a version that is not in it they are not known.
        forgotten: whether a user id belongs to somebody who asked for erasure.

    Raises:
        SimPlatformError: a ledger is configured but None was given.
    """
    reasons = {
        row.source_line: drop_reason(
            row, versions=versions, exclude=sources.exclude, forgotten=forgotten
        )
        for row in batch.rows
    }
    candidates = [row for row in batch.rows if reasons[row.source_line] is None]
    impossible = {
        row.source_line: reason
        for row in candidates
        if (reason := impossible_time(row.started_at, (deployed or {}).get(row.model_version), now))
    }
    candidates = [row for row in candidates if row.source_line not in impossible]
    reasons |= zip(
        (row.source_line for row in candidates),
        _consent_reasons(candidates, sources, ledger, now),
        strict=True,
    )
    extracted = [
        {
            "conversation_id": row.conversation_id,
            "user_id": row.user_id,
            "model_version": row.model_version,
            "started_at": row.started_at,
            "messages": canonical_json(row.messages),
            "metadata": canonical_json(row.metadata),
            "labels": canonical_json(row.labels),
            "content_hash": row.content_hash,
            "source_file": source_file,
            "source_line": row.source_line,
            "extract_id": extract_id,
            "tool_set_hash": tool_set_hash(row.tools) if row.tools else None,
        }
        for row in candidates
        if reasons[row.source_line] is None
    ]
    left_out = [
        *(
            (source_file, row.source_line, "dropped", reason)
            for row in batch.rows
            if (reason := reasons[row.source_line]) is not None
        ),
        *((source_file, line, "quarantined", reason) for line, reason in impossible.items()),
        *((source_file, row.source_line, "quarantined", row.reason) for row in batch.unreadable),
    ]
    return pl.DataFrame(extracted, schema=dtypes(ConsentedLogExtract), orient="row"), pl.DataFrame(
        left_out, schema=dtypes(RowDispositions), orient="row"
    )


def _consent_reasons(
    rows: list[LogRow], sources: Sources, ledger: pl.DataFrame | None, now: datetime
) -> list[str | None]:
    if sources.consent.scope is None:
        return [None] * len(rows)
    if ledger is None:
        raise SimPlatformError(
            f'consent: the ledger "{sources.consent.ledger}" is configured but was not read;'
            " without it nothing may be extracted."
        )
    asked = pl.DataFrame(
        {"user_id": [row.user_id for row in rows], "started_at": [row.started_at for row in rows]},
        schema={"user_id": pl.String, "started_at": UTC_TIME},
    )
    return decide(asked, ledger, sources.consent.scope, now).to_list()
