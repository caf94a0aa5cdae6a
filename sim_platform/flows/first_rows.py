"""What the first rows of each log file would become, and which key of sources.yaml would change it.

Belongs here: trying keys on a few rows, and what is said of them. Does not: what a row becomes
(extraction), reading whole files (flows.extraction).

A key is advised because rows can be read with it, not because their text was looked at: nothing
here shows a value of a row.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from sim_platform.extraction.consent import NO_CONSENT_RECORD, read_ledger
from sim_platform.extraction.extract import extract_batch
from sim_platform.extraction.readers import read, source_files
from sim_platform.extraction.reasons import expected
from sim_platform.extraction.rows import BAD_TIME, HOSTED_TOOL, MISSING_FIELD, ReadBatch
from sim_platform.extraction.rules import OUT_OF_SERVICE, UNREGISTERED_VERSION
from sim_platform.flows.extraction import stops_a_run
from sim_platform.registry.home import Home
from sim_platform.registry.sources import EPOCHS, ConversationsSource, Source

FIRST = 100
# what other logs call the keys of a row
OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "conversation_id": tuple("id conversation conversationId chat_id thread_id session_id".split()),
    "user_id": tuple("user userId account_id account customer_id".split()),
    "model_version": tuple("model version modelVersion model_id model_name".split()),
    "started_at": tuple("created_at timestamp created create_time start_time time date".split()),
    "messages": tuple("conversation turns chat history dialog".split()),
}
SCOPES_SHOWN = 5


@dataclass(frozen=True)
class FirstRows:
    """The first rows of one file: how many were read and would be extracted, a line for each reason
    why others would not (but for what sources.yaml excludes), and whether they would stop a run.
    """

    file: str
    n: int
    extracted: int
    left_out: list[str]
    stops: bool


def first_rows(home: Home, now: datetime) -> list[FirstRows]:
    """The first hundred rows of each log file, as sources.yaml reads them. Rows that stand twice
    and people who were forgotten are not looked for.

    Raises:
        BadInputError: a file, a column or the consent ledger is not there.
    """
    consent = home.sources.consent
    ledger = read_ledger(home.path / consent.ledger) if consent.ledger else None
    return [
        _of_file(home, source, path, ledger, now)
        for source in home.sources.sources
        for path in source_files(source, home.path)
    ]


def _of_file(
    home: Home, source: Source, path: Path, ledger: pl.DataFrame | None, now: datetime
) -> FirstRows:
    name = path.relative_to(home.path) if path.is_relative_to(home.path) else path
    said: list[str] = []
    extracted, quarantined, then = 0, 0, ""
    as_written = batch = _first(source, path)
    while True:
        rows, others = extract_batch(
            batch,
            source_file=str(name),
            extract_id="",
            sources=home.sources,
            versions=home.by_version,
            ledger=ledger,
            now=now,
            deployed=home.in_service,
        )
        if batch is as_written:
            counted = others.filter(
                (pl.col("disposition") == "quarantined") & ~pl.col("reason").is_in(OUT_OF_SERVICE)
            )
            extracted, quarantined = len(rows), len(counted)
        fix = _fix(source, path, batch)
        if fix is None:
            break
        line, source, batch = fix
        said.append(f"{name}: {then}{line}")
        then = "with that, "
    meant = pl.col("reason").str.starts_with("excluded:")  # by sources.yaml: no mistake
    for (disposition, reason), group in others.filter(~meant).group_by(
        ["disposition", "reason"], maintain_order=True
    ):
        fields = Counter(
            (row.field, row.version) for row in batch.unreadable if row.reason == reason
        )
        field, version = fields.most_common(1)[0][0] if fields else ("", "")
        what = f"{len(group)} of the first {len(batch)} rows would be {disposition}: {reason}"
        if version in home.by_version and reason == HOSTED_TOOL:
            field = f"{field} of {version}"
        said.append(
            f"{name}: {then}{what}{f' ({field})' if field else ''}, first in line"
            f" {group['source_line'].sort()[0]}."
            f" {_way_out(home, source, str(reason), field, ledger)}"
        )
    limit = home.sources.extraction.max_quarantined
    stops = stops_a_run(quarantined, len(as_written), limit)
    return FirstRows(str(name), len(as_written), extracted, said, stops)


def _first(source: Source, path: Path) -> ReadBatch:
    return next(iter(read(source, path, batch_rows=FIRST)), ReadBatch([], []))


def _fix(source: Source, path: Path, batch: ReadBatch) -> tuple[str, Source, ReadBatch] | None:
    """A key of sources.yaml with which most of the rows that cannot be read for one reason can, the
    source with it, and its first rows.
    """
    counted = Counter((row.reason, row.field) for row in batch.unreadable)
    for (reason, field), n in counted.most_common():
        for key, value, changed in _changes(source, reason, field):
            tried = _first(changed, path)
            still = sum((row.reason, row.field) == (reason, field) for row in tried.unreadable)
            others = sum(row.field == field for row in tried.unreadable) - still
            if still + others <= n // 2:
                first = next(r for r in batch.unreadable if (r.reason, r.field) == (reason, field))
                line = (
                    f"{n} of the first {len(batch)} rows would be quarantined: {reason}"
                    f"{f' ({field})' if field else ''}, first in line {first.source_line}. Set"
                    f" {key}: {value} for this source in sources.yaml."
                )
                return line, changed, tried
    return None


def _changes(source: Source, reason: str, field: str) -> Iterator[tuple[str, str, Source]]:
    """Keys that may help, with their values, and the source with each."""
    if reason == BAD_TIME:
        for form in (*EPOCHS, None):
            if form != source.timestamp_format:
                changed = source.model_copy(update={"timestamp_format": form})
                yield "timestamp_format", form or "null (ISO 8601)", changed
    if reason == MISSING_FIELD and isinstance(source, ConversationsSource):
        for other in OTHER_NAMES.get(field, ()):
            keys: dict[str, str] = {**source.keys} | {field: other}
            named = ", ".join(f"{key}: {name}" for key, name in keys.items())
            yield "keys", f"{{{named}}}", source.model_copy(update={"keys": keys})


def _way_out(
    home: Home, source: Source, reason: str, field: str, ledger: pl.DataFrame | None
) -> str:
    keys = (
        source.keys if isinstance(source, ConversationsSource) else {"model_version": source.model}
    )
    if reason == UNREGISTERED_VERSION:
        key = keys.get("model_version", "model_version")
        return (
            f'What stands under "{key}" is no version of models.yaml (versions:'
            f" {', '.join(home.by_version)}): register it there, or name it in this source:"
            " model_versions: {NAME IN THE FILE: VERSION}."
        )
    if reason == NO_CONSENT_RECORD and ledger is not None:
        scope, scopes = home.sources.consent.scope, sorted(set(ledger["scope"]))
        if scope not in scopes:
            more = "" if len(scopes) <= SCOPES_SHOWN else " ..."
            return (
                f'consent.scope: "{scope}" stands in no row of the ledger (its scopes:'
                f" {', '.join(scopes[:SCOPES_SHOWN]) or 'none, it has no rows'}{more})."
            )
        return f'The ledger has no row of these users with scope "{scope}".'
    if reason == MISSING_FIELD and field and isinstance(source, ConversationsSource):
        return (
            f"If it has another name in the file, say so in this source: keys: {{{field}:"
            " NAME IN THE FILE}."
        )
    return f"Expected: {expected(reason)}."
