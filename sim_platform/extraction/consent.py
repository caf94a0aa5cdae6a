"""The consent ledger: who had allowed the use of a conversation when it took place, and
allows it now.

Belongs here: reading the ledger and deciding. Does not: acting on the decision (extract, and
orchestration for rows taken out later).

Unknown means no. Every ledger row is a grant from `granted_at` on (inclusive), taken back at
`revoked_at` (from that instant on there is no consent). A revocation ends every grant given before
it, also those of other rows; a grant at the very instant of a revocation starts consent anew, so
periods that follow each other have no gap.
"""

import csv
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TextIO

import polars as pl

from sim_platform.contracts.errors import BadInputError
from sim_platform.extraction.conversation import utc
from sim_platform.extraction.rows import UnreadableError

NO_CONSENT_RECORD = "no_consent_record"
NO_CONSENT_AT_THE_TIME = "no_consent_at_the_time"
CONSENT_REVOKED = "consent_revoked"
UTC_TIME = pl.Datetime("us", "UTC")
LEDGER = {
    "user_id": pl.String(),
    "scope": pl.String(),
    "granted_at": UTC_TIME,
    "revoked_at": UTC_TIME,
}


def read_ledger(path: Path) -> pl.DataFrame:
    """The ledger: user_id, scope, granted_at, revoked_at (null = not revoked), times in UTC. A file
    without rows is a ledger in which nobody consents.

    Raises:
        BadInputError: no such file, not CSV in UTF-8, a column that is missing, or an empty or bad
            field; names file, line and column, never the value.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return pl.DataFrame(list(_ledger_rows(path.name, file)), schema=LEDGER, orient="row")
    except OSError as error:
        raise BadInputError(
            f"{path}: the consent ledger cannot be opened ({type(error).__name__}). Correct"
            " consent.ledger in sources.yaml."
        ) from None
    except (UnicodeDecodeError, csv.Error):
        raise BadInputError(f"{path}: the consent ledger is not a CSV file in UTF-8.") from None


def _ledger_rows(name: str, file: TextIO) -> Iterator[tuple[str, str, datetime, datetime | None]]:
    rows = csv.reader(file)
    header = next(rows, None)
    if header is None:
        return
    if missing := [column for column in LEDGER if column not in header]:
        raise BadInputError(
            f"{name}: columns missing: {', '.join(missing)} (its columns are: {', '.join(header)})."
            f" A consent ledger has {', '.join(LEDGER)}."
        )
    for fields in rows:
        if not fields:
            continue
        if len(fields) != len(header):
            raise BadInputError(
                f"{name} line {rows.line_num}: {len(fields)} fields, the header has {len(header)}."
            )
        row = dict(zip(header, fields, strict=True))
        for column in ("user_id", "scope", "granted_at"):
            if not row[column]:
                raise BadInputError(
                    f"{name} line {rows.line_num}: {column} is empty; only revoked_at may be."
                )
        granted_at = _time(name, rows.line_num, row, "granted_at")
        revoked_at = _time(name, rows.line_num, row, "revoked_at") if row["revoked_at"] else None
        if revoked_at is not None and revoked_at < granted_at:
            raise BadInputError(
                f"{name} line {rows.line_num}: revoked_at is before granted_at. Write a later grant"
                " as a row of its own."
            )
        yield row["user_id"], row["scope"], granted_at, revoked_at


def _time(name: str, line: int, row: dict[str, str], column: str) -> datetime:
    try:
        return utc(row[column])
    except UnreadableError:
        raise BadInputError(
            f"{name} line {line}: {column} is not an ISO 8601 time (such as 2024-05-01T00:00:00Z)."
        ) from None


def decide(rows: pl.DataFrame, ledger: pl.DataFrame, scope: str, now: datetime) -> pl.Series:
    """Why each row may not be used, null where it may: consent must hold at the conversation's
    time and at `now`.

    Args:
        rows: user_id, started_at (UTC); one conversation a row, in any order.
        ledger: as `read_ledger` gives it.
        scope: purpose that must have been consented to.
        now: time of the decision, with a time zone.

    Returns:
        Series `reason`, as long as `rows` and in its order: `no_consent_record` (no ledger row of
        this user and scope), else `no_consent_at_the_time`, else `consent_revoked` (held then, does
        not now), else null.
    """
    in_scope = ledger.filter(pl.col("scope") == scope)
    # an empty period (revoked the instant it was granted) gives nothing, but still takes back
    grants = in_scope.filter(
        pl.col("revoked_at").is_null() | (pl.col("granted_at") < pl.col("revoked_at"))
    )
    events = (
        pl.concat(
            [
                grants.select("user_id", at="granted_at", consents=pl.lit(True)),
                in_scope.drop_nulls("revoked_at").select(
                    "user_id", at="revoked_at", consents=pl.lit(False)
                ),
            ]
        )
        .group_by("user_id", "at")
        .agg(pl.col("consents").any())
        .sort("at")
    )
    asked = rows.select(
        "user_id",
        pl.col("started_at").cast(UTC_TIME),
        now=pl.lit(now).dt.convert_time_zone("UTC").cast(UTC_TIME),
    ).with_row_index("row")
    decided = (
        asked.join(
            in_scope.select("user_id", known=pl.lit(True)).unique(), on="user_id", how="left"
        )
        .pipe(_state, events, "started_at", "then")
        .pipe(_state, events, "now", "today")
        .sort("row")
    )
    return decided.select(
        pl.when(pl.col("known").is_null())
        .then(pl.lit(NO_CONSENT_RECORD))
        .when(~pl.col("then").fill_null(False))
        .then(pl.lit(NO_CONSENT_AT_THE_TIME))
        .when(~pl.col("today").fill_null(False))
        .then(pl.lit(CONSENT_REVOKED))
        .otherwise(pl.lit(None, dtype=pl.String))
        .alias("reason")
    ).to_series()


def _state(asked: pl.DataFrame, events: pl.DataFrame, time: str, name: str) -> pl.DataFrame:
    """Adds what the user's last event at or before `time` says; null without one."""
    return (
        asked.sort(time)
        .join_asof(
            events.rename({"consents": name}),
            left_on=time,
            right_on="at",
            by="user_id",
            strategy="backward",
            check_sortedness=False,
        )
        .drop("at", strict=False)
    )
