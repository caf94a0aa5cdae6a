"""Brings the vault to what the log and the consent ledger say now, reading only files that are
new or changed.

Belongs here: which files to read, staging, the commit of one file. Does not: parsing or consent
rules (extraction).

Rows are staged in short transactions, and all files become the extract in one: nobody ever sees a
log half read, and what a rotation moved from one file to another is at no time missing. A killed
run leaves staged rows, which the next run clears; two runs at once both end with each row once.
"""

import os
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import canonical_json, sha256
from sim_platform.contracts.tables.extraction import (
    ConsentedLogExtract,
    Erasures,
    ExtractionAccounting,
    QuarantinedRows,
    RowDispositions,
    ToolSets,
)
from sim_platform.contracts.tables.schema import dtypes, frame, validated
from sim_platform.contracts.tools import tool_set_hash
from sim_platform.extraction.consent import decide, read_ledger
from sim_platform.extraction.extract import extract_batch
from sim_platform.extraction.readers import file_fingerprint, read, source_files
from sim_platform.extraction.reasons import expected
from sim_platform.extraction.rules import IN_THE_FUTURE, OUT_OF_SERVICE, nobody
from sim_platform.flows.vault import account_hash
from sim_platform.registry.home import Home
from sim_platform.registry.sources import Source
from sim_platform.warehouse.duckdb_file import DuckDBFile, Transaction, columns_of
from sim_platform.warehouse.gates import (
    EVERY_LOG_ROW_IS_ACCOUNTED_FOR,
    QUARANTINED_ROWS_HAVE_A_PLACE_AND_A_REASON,
)

# Quarantined rows of a file below which it never stops a run: a small file says little.
LEAST_QUARANTINED = 20
# What rows become; another number reads every file again.
READING = 3
SOURCE_FILES = """create table if not exists source_files (
    source_file varchar not null, context varchar not null, rows_in bigint not null,
    has_consent_drops boolean not null, has_duplicates boolean not null)"""
FILES_AS_READ = f"""
    select f.*, exists (from row_dispositions d
                        where d.source_file = f.source_file and d.reason = '{IN_THE_FUTURE}')
                  as has_future
    from source_files f"""  # noqa: S608 - a literal of rules
STAGED = f"""create table if not exists staged_rows (
    {columns_of(ConsentedLogExtract)}, run varchar, disposition varchar, reason varchar)"""
# a table of before there were tool sets has no place for them
STAGED_TOO = "alter table staged_rows add column if not exists tool_set_hash varchar"
UNUSED_IN_THE_VAULT = """
    delete from tool_sets where tool_set_hash not in (
        select tool_set_hash from consented_log_extract where tool_set_hash is not null
        union all select tool_set_hash from staged_rows where tool_set_hash is not null)"""
# Of all rows with an id, those of files that stay and those that were staged, the first one in the
# order of the files stands.
RANKED = """
    create temp table ranked as
    with contenders as (
        select conversation_id, content_hash, source_file, source_line, true as is_staged
        from staged_rows where run = $run and disposition is null
        union all
        select conversation_id, content_hash, source_file, source_line, false
        from consented_log_extract where conversation_id in (
            select conversation_id from staged_rows where run = $run and disposition is null))
    select conversation_id, source_file, source_line, is_staged,
           row_number() over same_id as nth,
           content_hash = first_value(content_hash) over same_id as is_same
    from contenders join file_order using (source_file)
    window same_id as (partition by conversation_id order by place, source_line)"""
LOSERS = """
    select source_file, source_line,
           case when is_same then 'dropped' else 'quarantined' end as disposition,
           case when is_same then 'duplicate' else 'conflicting_duplicate' end as reason
    from ranked where nth > 1"""


@dataclass(frozen=True)
class ExtractionSummary:
    """What one run did: files read and files left alone, conversations taken out because
    consent was revoked.
    """

    extract_id: str
    files_read: int
    files_unchanged: int
    revoked: int


@dataclass(frozen=True)
class LogFile:
    """A file of the log as it stands now."""

    name: str
    path: Path
    source: Source
    fingerprint: str


def extract_log(
    home: Home,
    vault: DuckDBFile,
    warehouse: DuckDBFile,
    *,
    now: datetime,
    advance: Callable[[int], None],
) -> ExtractionSummary:
    """Reads what changed, applies consent as of `now`, and writes the accounting to the warehouse
    in one gated transaction.

    Raises:
        BadInputError: the configuration does not fit the files, or more of a file's rows would be
            quarantined than sources.yaml allows: then the extract stays as it was.
    """
    ledger = (
        read_ledger(home.path / home.sources.consent.ledger)
        if home.sources.consent.ledger
        else None
    )
    ledger_hash = sha256(ledger.write_json() if ledger is not None else home.sources.consent.all)
    files = [
        LogFile(os.path.relpath(path, home.path), path, source, file_fingerprint(path))
        for source in home.sources.sources
        for path in source_files(source, home.path)
    ]
    names = [f.name for f in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInputError(
            f"sources.yaml: {twice[0]} is matched by two sources; make their paths disjoint"
        )
    log_hash = sha256([[f.name, f.fingerprint] for f in files])
    run = f"{os.getpid()}:{uuid.uuid4().hex}"
    extract_id = sha256([run])[:16]
    versions = frozenset(home.by_version)

    def context(
        file: LogFile, has_consent_drops: bool, has_duplicates: bool, has_future: bool
    ) -> str:
        """Hash of everything that decided the file's rows: with consent drops also the ledger, with
        duplicates also the other files and the ledger, which decide whose row stands, with rows in
        the future also the day, which comes nearer to them.
        """
        rules = [
            READING,
            {name: days.model_dump(mode="json") for name, days in home.in_service.items()},
            file.source.model_dump(mode="json"),
            home.sources.exclude,
            home.sources.extraction.max_quarantined,
            sorted(versions),
            home.sources.consent.model_dump(),
        ]
        return sha256(
            [
                file.fingerprint,
                rules,
                ledger_hash if has_consent_drops or has_duplicates else None,
                log_hash if has_duplicates else None,
                now.date().isoformat() if has_future else None,
            ]
        )

    with vault.transaction() as tx:
        tx.ensure(ConsentedLogExtract, RowDispositions, Erasures, ToolSets)
        tx.execute(SOURCE_FILES)
        tx.execute(STAGED)
        tx.execute(STAGED_TOO)
        _clear_dead_runs(tx)
        known = {row["source_file"]: row for row in tx.query(FILES_AS_READ).to_dicts()}

    def is_unchanged(file: LogFile) -> bool:
        state = known.get(file.name)
        return state is not None and state["context"] == context(
            file, state["has_consent_drops"], state["has_duplicates"], state["has_future"]
        )

    changed = [file for file in files if not is_unchanged(file)]
    forgotten = forgotten_users(vault)
    for file in changed:
        _stage(
            file,
            home,
            vault,
            run=run,
            extract_id=extract_id,
            versions=versions,
            ledger=ledger,
            now=now,
            forgotten=forgotten,
            advance=advance,
        )
    _refuse_unreadable(home, vault, run)
    if changed or known.keys() - set(names):
        with vault.transaction() as tx:
            _commit(tx, files, changed, run, context)
    revoked = (
        _take_out_revoked(vault, ledger, home.sources.consent.scope, now)
        if ledger is not None
        else 0
    )
    publish_accounting(vault, warehouse, extract_id)
    return ExtractionSummary(extract_id, len(changed), len(files) - len(changed), revoked)


def _stage(
    file: LogFile,
    home: Home,
    vault: DuckDBFile,
    *,
    run: str,
    extract_id: str,
    versions: Collection[str],
    ledger: pl.DataFrame | None,
    now: datetime,
    forgotten: Callable[[str], bool],
    advance: Callable[[int], None],
) -> None:
    for batch in read(file.source, file.path):
        rows, dispositions = extract_batch(
            batch,
            source_file=file.name,
            extract_id=extract_id,
            sources=home.sources,
            versions=versions,
            ledger=ledger,
            now=now,
            deployed=home.in_service,
            forgotten=forgotten,
        )
        offered = set(rows["tool_set_hash"])
        sets = {
            found: canonical_json(row.tools)
            for row in batch.rows
            if row.tools and (found := tool_set_hash(row.tools)) in offered
        }
        with vault.transaction() as tx:
            if sets:
                as_rows: list[dict[str, object]] = [
                    {"tool_set_hash": key, "tools": tools} for key, tools in sets.items()
                ]
                tx.upsert(ToolSets, frame(ToolSets, as_rows))
            tx.copy("staged_rows", rows.with_columns(run=pl.lit(run)))
            tx.copy("staged_rows", dispositions.with_columns(run=pl.lit(run)))
        advance(len(rows) + len(dispositions))


def _refuse_unreadable(home: Home, vault: DuckDBFile, run: str) -> None:
    """Files that are read now and mostly go to quarantine: their format changed, or sources.yaml
    does not fit them. What would be left of them speaks for nobody.
    """
    with vault.transaction() as tx:
        counted = tx.query(
            """select source_file, coalesce(reason, '') as reason, count(*) as n,
                      min(source_line) as first,
                      disposition = 'quarantined' and reason not in (select unnest($others))
                        as counts
               from staged_rows where run = $run group by all
               order by source_file, n desc, reason""",
            {"run": run, "others": list(OUT_OF_SERVICE)},
        )
        refused = too_many_quarantined(home, counted)
        if refused:
            tx.execute("delete from staged_rows where run = $run", {"run": run})
    if refused:
        raise BadInputError("\n".join(refused))


def stops_a_run(n_quarantined: int, n: int, limit: float) -> bool:
    """Whether so many of a file's `n` rows in quarantine stop a run."""
    return n_quarantined >= LEAST_QUARANTINED and n_quarantined > limit * n


def too_many_quarantined(home: Home, counted: pl.DataFrame) -> list[str]:
    """What is to be said of each file of which too many rows would be quarantined.

    Args:
        counted: source_file, reason, n, first (line), counts (whether it counts as quarantined;
            rows outside of a version's service do not: a long log has them).
    """
    limit = home.sources.extraction.max_quarantined
    refused = []
    for (name,), rows in counted.group_by(["source_file"], maintain_order=True):
        lost, n = rows.filter("counts"), int(rows["n"].sum())
        n_lost = int(lost["n"].sum())
        if not stops_a_run(n_lost, n, limit):
            continue
        reasons = "; ".join(
            f"{row['n']} {row['reason']}, first in line {row['first']} (expected:"
            f" {expected(row['reason'])})"
            for row in lost.to_dicts()
        )
        refused.append(
            f"{name}: {n_lost} of {n} rows cannot be used: {reasons}. Nothing was extracted: more"
            f" than {limit:.0%} in quarantine (extraction.max_quarantined in sources.yaml) speak of"
            " a mistake in sources.yaml or of a broken export. `sim-platform check` says more."
        )
    return refused


def _commit(
    tx: Transaction,
    files: Sequence[LogFile],
    changed: Sequence[LogFile],
    run: str,
    context: Callable[[LogFile, bool, bool, bool], str],
) -> None:
    """Replaces the rows of changed files by their staged ones and takes out those of files that are
    gone, all at once: the extract is what a first run over today's files would give. Of rows with
    one id the first stands; a repeat is dropped, another content quarantined.
    """
    order = {"source_file": [f.name for f in files], "place": [*range(len(files))]}
    tx.copy("file_order", pl.DataFrame(order, schema={"source_file": pl.String, "place": pl.Int64}))
    staying = sorted({f.name for f in files} - {f.name for f in changed})
    for table in ("consented_log_extract", "row_dispositions", "source_files"):
        tx.execute(
            f"delete from {table} where source_file not in (select unnest($staying))",  # noqa: S608 - names come from contracts, values are parameters
            {"staying": staying},
        )
    mine = {"run": run}
    tx.execute(RANKED, mine)
    tx.execute(
        f"""update staged_rows s set disposition = l.disposition, reason = l.reason
            from ({LOSERS} and is_staged) l
            where s.run = $run and s.source_file = l.source_file
              and s.source_line = l.source_line""",  # noqa: S608 - literals of this module
        mine,
    )
    _give_way(tx, files, context)
    columns = ", ".join(dtypes(ConsentedLogExtract))
    tx.execute(
        f"""insert into consented_log_extract by name select {columns} from staged_rows
            where run = $run and disposition is null""",  # noqa: S608 - names come from contracts, values are parameters
        mine,
    )
    tx.execute(
        """insert into row_dispositions by name
           select source_file, source_line, disposition, reason from staged_rows
           where run = $run and disposition is not null""",
        mine,
    )
    seen = tx.query(
        f"""select source_file, count(*) as n,
                  coalesce(bool_or(reason like '%consent%'), false) as consent,
                  coalesce(bool_or(reason like '%duplicate%'), false) as duplicates,
                  coalesce(bool_or(reason = '{IN_THE_FUTURE}'), false) as future
           from staged_rows where run = $run group by source_file""",  # noqa: S608 - a literal of rules
        mine,
    )
    counted = {row["source_file"]: row for row in seen.to_dicts()}
    nothing = {"n": 0, "consent": False, "duplicates": False, "future": False}
    for file in changed:
        row = counted.get(file.name, nothing)
        tx.execute(
            "insert into source_files values ($file, $context, $n, $consent, $duplicates)",
            {
                "file": file.name,
                "context": context(file, row["consent"], row["duplicates"], row["future"]),
                "n": row["n"],
                "consent": row["consent"],
                "duplicates": row["duplicates"],
            },
        )
    tx.execute("delete from staged_rows where run = $run", mine)
    tx.execute(UNUSED_IN_THE_VAULT)
    for table in ("file_order", "ranked"):
        tx.execute(f"drop table {table}")


def _give_way(
    tx: Transaction, files: Sequence[LogFile], context: Callable[[LogFile, bool, bool, bool], str]
) -> None:
    """Extracted rows of files that stay, where an earlier file now has a row with their id."""
    beaten = tx.query(f"{LOSERS} and not is_staged")
    if beaten.is_empty():
        return
    tx.append(RowDispositions, beaten)
    tx.execute(
        """delete from consented_log_extract e using ranked r
           where r.nth > 1 and not r.is_staged
             and e.source_file = r.source_file and e.source_line = r.source_line"""
    )
    by_name = {file.name: file for file in files}
    states = tx.query(
        f"{FILES_AS_READ} where source_file in (select unnest($names))",
        {"names": beaten["source_file"].unique().to_list()},
    )
    for state in states.to_dicts():
        name = state["source_file"]
        tx.execute(
            "update source_files set has_duplicates = true, context = $context"
            " where source_file = $name",
            {
                "name": name,
                "context": context(
                    by_name[name], state["has_consent_drops"], True, state["has_future"]
                ),
            },
        )


def _take_out_revoked(
    vault: DuckDBFile, ledger: pl.DataFrame, scope: str | None, now: datetime
) -> int:
    """Consent is asked again for every extracted row; what lost it moves from the extract to
    the dispositions.
    """
    rows = vault.query(
        "select conversation_id, source_file, source_line, user_id, started_at from"
        " consented_log_extract"
    )
    reasons = decide(rows.select("user_id", "started_at"), ledger, scope or "", now)
    lost = rows.with_columns(reason=reasons).filter(pl.col("reason").is_not_null())
    if len(lost):
        with vault.transaction() as tx:
            tx.copy("lost_consent", lost.select("conversation_id"))
            tx.execute(
                "delete from consented_log_extract where conversation_id in (select conversation_id"
                " from lost_consent)"
            )
            tx.execute("drop table lost_consent")
            tx.upsert(
                RowDispositions,
                lost.select(
                    "source_file", "source_line", pl.lit("dropped").alias("disposition"), "reason"
                ),
            )
            tx.execute(
                "update source_files set has_consent_drops = true where source_file in (select"
                " source_file from row_dispositions where reason like '%consent%')"
            )
    return len(lost)


def forgotten_users(vault: DuckDBFile) -> Callable[[str], bool]:
    """Whether a user id has a tombstone."""
    keys = set(vault.read(Erasures)["user_key"])
    if not keys:
        return nobody
    hashed = account_hash(vault)
    return lambda user_id: hashed(user_id) in keys


def publish_accounting(vault: DuckDBFile, warehouse: DuckDBFile, extract_id: str) -> None:
    """What became of every log row, and the tombstones, in a gated transaction of the warehouse."""
    accounting = vault.query(
        """select source_file, 'rows_in' as disposition, '' as reason, rows_in as n
          from source_files
           union all select source_file, 'extracted', '', count(*) from consented_log_extract
             group by source_file
           union all select source_file, disposition, reason, count(*) from row_dispositions
             group by all order by all"""
    )
    quarantined = vault.query(
        """select 'extraction' as stage, source_file, source_line, null::varchar
          as conversation_key, reason, $id as made_by
           from row_dispositions where disposition = 'quarantined'
             order by source_file, source_line""",
        {"id": extract_id},
    )
    with warehouse.transaction() as tx:
        tx.replace(Erasures, vault.read(Erasures))
        tx.replace(ExtractionAccounting, accounting)
        tx.replace(
            QuarantinedRows, validated(QuarantinedRows, quarantined), {"stage": "extraction"}
        )
        tx.pass_gates([EVERY_LOG_ROW_IS_ACCOUNTED_FOR, QUARANTINED_ROWS_HAVE_A_PLACE_AND_A_REASON])


def _clear_dead_runs(tx: Transaction) -> None:
    for run in tx.query("select distinct run from staged_rows")["run"]:
        try:
            os.kill(int(run.split(":")[0]), 0)
        except ProcessLookupError:
            tx.execute("delete from staged_rows where run = $run", {"run": run})
