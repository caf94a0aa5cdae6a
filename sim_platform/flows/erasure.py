"""Forgets people: out of the vault, the corpus, samples, answers, scores, journals, reports and the
published copy, for good.

Belongs here: the order of an erasure and the search for what survived it. Does not: removing a
conversation's dependants (deidentification.corpus), tombstones at extraction (extraction).

The tombstone comes first: whatever happens afterwards, no later run lets the person in again, and
`sim-platform forget` can be repeated until nothing is left.
"""

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.deidentification import DeidentifiedCorpus
from sim_platform.contracts.tables.extraction import (
    ConsentedLogExtract,
    Erasures,
    RowDispositions,
    ToolSets,
)
from sim_platform.contracts.tables.grading import LabelDraws
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import table_name
from sim_platform.deidentification.deidentify import keyed_hash
from sim_platform.extraction.readers import source_files
from sim_platform.extraction.rules import FORGOTTEN
from sim_platform.flows.deidentification.corpus import extracted_keys, take_out_removed
from sim_platform.flows.deidentification.k_anonymity import suppress_rare_strata
from sim_platform.flows.extraction import (
    SOURCE_FILES,
    STAGED,
    STAGED_TOO,
    UNUSED_IN_THE_VAULT,
    publish_accounting,
)
from sim_platform.flows.files import lock_wait_seconds, vault_of, warehouse_of
from sim_platform.flows.leftovers import remove_leftovers
from sim_platform.flows.report import report_files
from sim_platform.flows.vault import account_hash, vault_key
from sim_platform.registry.home import Home
from sim_platform.replay.batches import forget_requests
from sim_platform.replay.journal import rewrite_journal
from sim_platform.sampling.prefixes import prefix_id
from sim_platform.warehouse.duckdb_file import DuckDBFile, publish

ARM_JOURNAL = re.compile(r"\.(candidate|control)(\.w\d+)?(\.full)?\.jsonl$")
CHUNK = 8 << 20  # bytes of a file searched together


@dataclass(frozen=True)
class Erasure:
    """What was forgotten, what must run again, and what is left: files of the home that still name
    a person, and sources that the platform only reads. `unknown`: accounts that no file and no
    earlier run ever named, a mistyped one for instance; they have a tombstone too.
    """

    users: int
    conversations: int
    releases_to_run_again: list[str]
    files_removed: list[str]
    survivors: list[str]
    still_in_sources: list[str]
    unknown: list[str]


def forget(home: Home, user_ids: Collection[str]) -> Erasure:
    """Removes every trace of these accounts from the home and leaves a tombstone for each.

    Raises:
        SimPlatformError: a run of this home is writing; nothing beyond tombstones and vault was
            changed, and the command can be repeated.
    """
    vault, warehouse = (vault_of(home), warehouse_of(home))
    secret, hashed = vault_key(vault), account_hash(vault)
    keys = {user: hashed(user) for user in sorted(set(user_ids))}
    before = set(vault.read(Erasures)["user_key"])
    lost, seen = _leave_the_vault(vault, keys)
    gone = [keyed_hash(secret, "conversation", c) for c in lost]
    named = {*keys, *keys.values(), *lost, *gone}
    with warehouse.reading() as tx:
        tables = tx.tables()
        corpus = (
            tx.query(
                "select conversation_key, user_key, n_user_turns from deidentified_corpus"
                " where user_key in (select unnest($keys))",
                {"keys": list(keys.values())},
            )
            if table_name(DeidentifiedCorpus) in tables
            else pl.DataFrame(schema=["conversation_key", "user_key", "n_user_turns"])
        )
        named |= {
            prefix_id(key, turn) for key, _, turns in corpus.iter_rows() for turn in range(turns)
        } | set(corpus["conversation_key"])
        held_by = (
            tx.query(
                "select distinct model_version from stratified_sample"
                " where user_key in (select unnest($keys))",
                {"keys": list(keys.values())},
            )["model_version"].to_list()
            if table_name(StratifiedSample) in tables
            else []
        )
        if table_name(LabelDraws) in tables:
            named |= set(
                tx.query(
                    "select item_id from label_draws where prefix_id in (select unnest($ids))",
                    {"ids": sorted(named)},
                )["item_id"]
            )
    remove_leftovers(home)
    # Before their rows go: after a kill between the two, nothing would tell whom a report quotes.
    removed = _remove_reports(home, held_by)
    if gone or len(corpus):
        _empty_journals(home, named)
    publish_accounting(vault, warehouse, f"forget {datetime.now(UTC):%Y-%m-%d}")
    _, releases = take_out_removed(warehouse, extracted_keys(vault))
    with vault.transaction() as tx:
        if "strata_originals" in tx.tables():
            tx.execute(
                "delete from strata_originals where conversation_key in (select unnest($keys))",
                {"keys": sorted({*gone, *corpus["conversation_key"]})},
            )
    suppress_rare_strata(home, vault, warehouse)
    removed += _remove_reports(home, releases)
    for file in (vault, warehouse):
        file.rewrite()
    publish(warehouse, home.published)
    sources = {
        path.resolve()
        for source in home.sources.sources
        for path in source_files(source, home.path)
    }
    if accounts := home.sources.deidentification.accounts:
        sources.add((home.path / accounts.file).resolve())
    if home.sources.consent.ledger:
        sources.add((home.path / home.sources.consent.ledger).resolve())
    still_there = [path for path in sorted(sources) if _names(path, _pattern(keys))]
    known = {*seen, *(user for user, key in keys.items() if key in {*before, *corpus["user_key"]})}
    unknown = [
        user
        for user in keys.keys() - known
        if not any(_names(path, _pattern([user])) for path in still_there)
    ]
    return Erasure(
        len(keys),
        len(gone),
        releases,
        removed,
        survivors(home, named, sources),
        [str(path) for path in still_there],
        sorted(unknown),
    )


def survivors(home: Home, named: Collection[str], sources: Collection[Path]) -> list[str]:
    """Files of the home, other than `sources`, that still hold one of these ids or keys; tables of
    DuckDB files by name. Tombstones do not count.
    """
    found, pattern = [], _pattern(named)
    for path in sorted(
        p for p in home.path.rglob("*") if p.is_file() and p.resolve() not in sources
    ):
        if path.suffix == ".duckdb":
            found += [
                f"{path.name}: {table}"
                for table in _tables_naming(DuckDBFile(path, lock_wait_seconds()), named)
            ]
        elif _names(path, pattern):
            found.append(str(path.relative_to(home.path)))
    return found


def _leave_the_vault(vault: DuckDBFile, keys: dict[str, str]) -> tuple[list[str], list[str]]:
    """Tombstones, and the accounts' conversations from extract to dispositions; returns the ids of
    those conversations and the accounts that had any.
    """
    users = {"users": list(keys)}
    with vault.transaction() as tx:
        tx.ensure(Erasures, ConsentedLogExtract, RowDispositions, ToolSets)
        tx.execute(SOURCE_FILES)
        tx.execute(STAGED)
        tx.execute(STAGED_TOO)
        known = set(tx.query("select user_key from erasures")["user_key"])
        new = [
            {"user_key": key, "forgotten_at": datetime.now(UTC)}
            for key in keys.values()
            if key not in known
        ]
        if new:
            tx.append(Erasures, pl.DataFrame(new))
        rows = tx.query(
            "select conversation_id, user_id, source_file, source_line from consented_log_extract"
            " where user_id in (select unnest($users))",
            users,
        )
        tx.execute(
            "delete from consented_log_extract where user_id in (select unnest($users))", users
        )
        for table in {"staged_rows", "account_values"} & tx.tables():
            tx.execute(f"delete from {table} where user_id in (select unnest($users))", users)  # noqa: S608 - names come from contracts, values are parameters
        tx.execute(UNUSED_IN_THE_VAULT)
        tx.upsert(
            RowDispositions,
            rows.select(
                "source_file",
                "source_line",
                pl.lit("dropped").alias("disposition"),
                pl.lit(FORGOTTEN).alias("reason"),
            ),
        )
    return rows["conversation_id"].to_list(), rows["user_id"].unique().to_list()


def _empty_journals(home: Home, named: Collection[str]) -> None:
    """Takes their outcomes out of journals that an interrupted run left; the others stay
    for its next run.

    A grader's journal does not say whose answers it holds: it goes as a whole, and what it held
    is asked again.
    """
    for path in sorted((home.path / "journal").glob("*.jsonl")):
        rewrite_journal(
            path,
            (
                (lambda outcome: outcome.prefix_id not in named)
                if ARM_JOURNAL.search(path.name)
                else lambda _: False
            ),
        )
    forget_requests(home.path / "batches", named)


def _remove_reports(home: Home, releases: Collection[str]) -> list[str]:
    """Reports quote answers; those of releases that held the person go, and come back
    with the next run.
    """
    every = [path for release in sorted(releases) for path in report_files(home, release)]
    files = [path for path in every if path.exists()]
    for path in files:
        path.unlink()
    return [str(path.relative_to(home.path)) for path in files]


def _tables_naming(file: DuckDBFile, named: Collection[str]) -> Iterator[str]:
    with file.reading() as tx:
        columns = tx.query(
            "select table_name, column_name from information_schema.columns where table_catalog ="
            " current_database() and data_type = 'VARCHAR' and table_name <> 'erasures'"
        )
        ids = pl.DataFrame({"id": sorted(named)}, schema={"id": pl.String})
        for (table,), group in columns.group_by(["table_name"], maintain_order=True):
            anywhere = " or ".join(f'"{name}" in (from ids)' for name in group["column_name"])
            held = f'select count(*) as n from "{table}" where {anywhere}'  # noqa: S608 - names come from the catalogue
            if tx.query(held, frames={"ids": ids})["n"][0]:
                yield str(table)


def _pattern(named: Collection[str]) -> re.Pattern[bytes]:
    """Any of the ids as a whole word: "u1" is not found in "u12"."""
    words = "|".join(re.escape(one) for one in sorted(named, key=len, reverse=True))
    return re.compile(rf"(?<![A-Za-z0-9_])(?:{words})(?![A-Za-z0-9_])".encode())


def _names(path: Path, pattern: re.Pattern[bytes]) -> bool:
    try:
        with path.open("rb") as file:
            before = b""
            while chunk := file.read(CHUNK):
                if pattern.search(before + chunk):
                    return True
                before = chunk[-512:]  # an id may lie across two chunks
    except FileNotFoundError:  # a log of a run that ended meanwhile
        return False
    except OSError as error:
        raise SimPlatformError(
            f"{path}: cannot be searched ({os.strerror(error.errno or 0)}). Make it readable and"
            " run the same command again."
        ) from None
    return False
