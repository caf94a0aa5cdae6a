"""A DuckDB file that several processes share: short transactions, a bounded wait for the lock,
tables made from contracts.

Belongs here: opening, waiting, committing, writing frames, safe errors. Does not: what a stage
computes, what Dagster shows.
"""

import os
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from sim_platform.contracts.disk import disk_trouble
from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.schema import Table, dtypes, key_of, table_name, validated
from sim_platform.warehouse.instance import ROW_GROUP, InUseHereError, attached, memory_limit

# query(sql, params) -> frame, on an open transaction or on the stored file
Query = Callable[..., pl.DataFrame]


class WarehouseError(SimPlatformError):
    """The file cannot be opened, or a statement failed; names the file, the statement and the way
    out, never a value.
    """


class GateError(SimPlatformError):
    """A gate found rows that must not be stored; the transaction was rolled back."""


@dataclass(frozen=True)
class GateResult:
    """What a gate saw: whether it passed, the counts that say why, and whether it passed because
    there was nothing to look at.
    """

    passed: bool
    facts: dict[str, int | float | str | None]
    is_vacuous: bool = False


@dataclass(frozen=True)
class Gate:
    """A rule over stored rows, stated as the fact that holds when it passes.

    `sql` gives one row: `n_bad` (0 passes) and any further counts; `$model_version` is the release.
    The same statement runs inside the write transaction, where it rolls back, and as an asset check
    on the stored table, for people. `seen` names the counts of what it looked at: where all of them
    are 0 it has passed and says nothing. None where nothing to look at is the good case.
    """

    name: str
    description: str
    sql: str
    seen: tuple[str, ...] = ()

    def check(self, query: Query, model_version: str | None = None) -> GateResult:
        params = {"model_version": model_version} if "$model_version" in self.sql else {}
        facts = query(self.sql, params).to_dicts()[0]
        # null is not 0: a gate that cannot count does not pass
        passed = facts["n_bad"] == 0
        is_vacuous = passed and bool(self.seen) and not any(facts[name] for name in self.seen)
        return GateResult(passed, facts, is_vacuous)


class Transaction:
    """An open transaction. Every statement's error is reported without the data that caused it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, file: str) -> None:
        self._connection = connection
        self._file = file

    def query(
        self,
        sql: str,
        params: Mapping[str, object] | None = None,
        frames: Mapping[str, pl.DataFrame] | None = None,
    ) -> pl.DataFrame:
        """The result; `frames` are seen by the statement as views of their names."""
        with _safe(self._file, sql):
            for name, rows in (frames or {}).items():
                self._connection.register(name, rows)
            result = self._connection.sql(sql, params=dict(params or {}))
            data: pl.DataFrame = result.pl() if result is not None else pl.DataFrame()
        return data

    def execute(self, sql: str, params: Mapping[str, object] | None = None) -> None:
        with _safe(self._file, sql):
            self._connection.execute(sql, dict(params or {})).fetchall()

    def batches(
        self, sql: str, params: Mapping[str, object] | None = None, rows: int = 50_000
    ) -> Iterator[pl.DataFrame]:
        """The result in frames of at most `rows` rows (one without rows where there are none), so
        that memory does not grow with it.
        """
        with _safe(self._file, sql):
            reader = self._connection.sql(sql, params=dict(params or {})).to_arrow_reader(rows)
            yield pl.DataFrame(pl.from_arrow(reader.schema.empty_table()))
            for batch in reader:
                yield pl.DataFrame(pl.from_arrow(batch))

    def copy(self, name: str, data: pl.DataFrame) -> None:
        """Adds a frame of any columns to table `name`, filled by it where it is missing."""
        with _safe(self._file, f"copy {name}"), self._seen("incoming_rows", data):
            if name in self.tables():
                self._insert(name, "select * from incoming_rows", {}, data.columns, len(data))
                return
            self._connection.execute(f"create table {name} as select * from incoming_rows")  # noqa: S608 - names come from the catalogue
            self._read_back(name, -1, data.columns, len(data), len(data))

    def copy_into(self, file: Path, tables: Mapping[str, str]) -> None:
        """Writes tables to a new file, each as its `select ...` says, inside DuckDB: a frame of a
        large table would not fit into memory. Only for a connection that reads.
        """
        copied, quoted = f"copied_{os.getpid()}", str(file).replace("'", "''")
        with _safe(self._file, f"copy to {file.name}"):
            self._connection.execute(f"attach '{quoted}' as {copied}")
            try:
                for name, select in tables.items():
                    self._connection.execute(
                        f"create table {copied}.{name} as {select} from {name}"
                    )
                    self.refuse_short_copy(name, copied, file)
                self._connection.execute(f"checkpoint {copied}")
            finally:
                self._connection.execute(f"detach {copied}")

    def refuse_short_copy(self, name: str, copied: str, file: Path) -> None:
        """WarehouseError unless the attached database `copied` has as many rows of the table."""
        first = min(self.columns(f"{copied}.{name}"))
        scan = f'select count(hash("{first}")) from'  # a scan, not a stored count
        n, there = self._value(f"{scan} {name}"), self._value(f"{scan} {copied}.{name}")
        if n != there:
            raise WarehouseError(
                f"{file.name}: {name} has {n} rows and {there} were copied; the file before stays."
                " Check the disk and run again."
            )

    def tables(self) -> set[str]:
        """Names of tables and views. They are asked for all the time; `information_schema` would
        take several times as long.
        """
        with _safe(self._file, "show tables"):
            return {name for (name,) in self._connection.execute("show tables").fetchall()}

    def columns(self, table: str) -> set[str]:
        """Names of the columns of a table that is there."""
        with _safe(self._file, f"columns of {table}"):
            return {
                column
                for column, *_ in self._connection.execute(
                    f"select * from {table} limit 0"  # noqa: S608 - names come from contracts and the catalogue
                ).description
            }

    def ensure(self, *tables: type[Table]) -> None:
        """Creates the tables that are missing; WarehouseError when a stored table has other columns
        than its contract.
        """
        there = self.tables()
        for table in tables:
            name = table_name(table)
            if name not in there:
                self.execute(ddl(table))
                continue
            stored = self.columns(name)
            columns = table.to_schema().columns
            new = [column for column in dtypes(table) if column not in stored]
            if stored - set(dtypes(table)) or not all(columns[c].nullable for c in new):
                raise WarehouseError(
                    f"{self._file}: table {name} was made by another version of the platform"
                    f" (columns that differ: {', '.join(sorted(stored ^ set(dtypes(table))))})."
                    " Move the file away and run again."
                )
            for column in new:  # a newer version knows more: what is stored stays, without it
                self.execute(f"alter table {name} add column {column} {_sql_type(columns[column])}")

    def append(self, table: type[Table], data: pl.DataFrame) -> None:
        """Adds rows that fit the contract, matched by column name."""
        self.ensure(table)
        rows, name = validated(table, data), table_name(table)
        with _safe(self._file, f"insert into {name}"), self._seen("incoming_rows", rows):
            self._insert(name, "select * from incoming_rows", {}, key_of(table), len(rows))

    def insert_from(
        self,
        table: type[Table],
        sql: str,
        params: Mapping[str, object] | None = None,
        n_rows: int | None = None,
    ) -> int:
        """Adds the rows of a statement, matched by column name, with no frame between; returns
        their number. WarehouseError unless all can be read, and are `n_rows` where that is known.
        """
        self.ensure(table)
        with _safe(self._file, f"insert into {table_name(table)} {sql}"):
            return self._insert(table_name(table), sql, params, key_of(table), n_rows)

    def _insert(
        self,
        name: str,
        sql: str,
        params: Mapping[str, object] | None,
        key: Sequence[str],
        n_rows: int | None,
    ) -> int:
        """Whoever writes reads back: rows that came in and cannot be scanned are an error here, and
        not a table that is silently short. DuckDB 2.0.0 lost them and counted them all the same.
        """
        before = self._value(f"select coalesce(max(rowid), -1) from {name}")  # noqa: S608 - names come from contracts and the catalogue
        said = self._value(f"insert into {name} by name {sql}", params)
        self._read_back(name, before, key, said, said if n_rows is None else n_rows)
        return said

    def _read_back(
        self, name: str, before: int, key: Sequence[str], said: int, n_rows: int
    ) -> None:
        columns = ", ".join(f'"{column}"' for column in key)
        # The hash makes it a scan of the rows; a count alone may come from what DuckDB noted.
        there = self._value(
            f"select count(hash({columns})) from {name} where rowid > $before",  # noqa: S608 - names come from contracts and the catalogue
            {"before": before},
        )
        if not there == said == n_rows:
            raise WarehouseError(
                f"{self._file}: {n_rows} rows went into {name}, DuckDB says {said}, and {there} can"
                " be read. Nothing was written; check the disk and the DuckDB version, then run"
                " again."
            )

    def _value(self, sql: str, params: Mapping[str, object] | None = None) -> int:
        return int(self._connection.execute(sql, dict(params or {})).fetchall()[0][0])

    @contextmanager
    def _seen(self, name: str, data: pl.DataFrame) -> Iterator[None]:
        """Statements see the frame as a view of this name."""
        self._connection.register(name, data)
        try:
            yield
        finally:
            self._connection.unregister(name)

    def replace(
        self, table: type[Table], data: pl.DataFrame, where: Mapping[str, object] | None = None
    ) -> None:
        """Puts `data` in the place of the rows that match `where` (column = value); without
        `where`, of all rows.
        """
        self.ensure(table)
        condition = " and ".join(f"{column} = ${column}" for column in where or {}) or "true"
        self.execute(f"delete from {table_name(table)} where {condition}", where)  # noqa: S608 - names come from contracts, values are parameters
        self.append(table, data)

    def upsert(self, table: type[Table], data: pl.DataFrame) -> None:
        """Adds rows; a stored row with the same key gives way."""
        self.ensure(table)
        same = " and ".join(f"t.{c} is not distinct from i.{c}" for c in key_of(table))
        keys = self._seen("incoming_keys", data.select(key_of(table)))
        with _safe(self._file, f"replace rows of {table_name(table)}"), keys:
            self._connection.execute(
                f"delete from {table_name(table)} t using incoming_keys i where {same}"  # noqa: S608 - names come from contracts
            )
        self.append(table, data)

    def pass_gates(self, gates: Iterable[Gate], model_version: str | None = None) -> None:
        """Raises GateError, which rolls back, at the first gate that does not hold."""
        for gate in gates:
            result = gate.check(self.query, model_version)
            if not result.passed:
                facts = ", ".join(f"{k}={v}" for k, v in result.facts.items())
                raise GateError(
                    f"{gate.name} does not hold{f' for {model_version}' if model_version else ''}"
                    f" ({facts}); nothing was written. {gate.description}"
                )


@dataclass(frozen=True)
class DuckDBFile:
    """A DuckDB file. It is open only inside `transaction()` or `reading()`, which must never
    span slow work.
    """

    path: Path
    lock_wait_seconds: float = 60.0

    @contextmanager
    def transaction(self, *, row_group_size: int = ROW_GROUP) -> Iterator[Transaction]:
        """Waits for the lock, begins, yields, commits (or rolls back on any error) and closes. Not
        to be entered again for the same file before it is left.

        `row_group_size`: rows that DuckDB keeps together (a multiple of 2,048); smaller ones for
            many small commits, each of which writes the last ones anew.
        """
        mask = os.umask(0o077)  # the file and its write-ahead log hold users' text
        try:
            with self._opened(read_only=False, row_group_size=row_group_size) as connection:
                connection.execute("begin")
                yield Transaction(connection, self.path.name)
                with _safe(self.path.name, "commit"):
                    connection.execute("commit")
        finally:
            os.umask(mask)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A read-only view; an absent file reads as one without tables."""
        if not self.path.exists():
            with duckdb.connect() as connection:
                yield Transaction(connection, self.path.name)
            return
        with self._opened(read_only=True) as connection:
            yield Transaction(connection, self.path.name)

    def query(
        self,
        sql: str,
        params: Mapping[str, object] | None = None,
        frames: Mapping[str, pl.DataFrame] | None = None,
    ) -> pl.DataFrame:
        """One read in a connection of its own."""
        with self.reading() as tx:
            return tx.query(sql, params, frames)

    def read(
        self,
        table: type[Table],
        where: Mapping[str, object] | None = None,
        columns: Sequence[str] = (),
    ) -> pl.DataFrame:
        """Stored rows of a table, or a frame without rows where there is no such table yet; a
        column that is newer than the stored table is null.
        """
        wanted = list(columns or dtypes(table))
        with self.reading() as tx:
            if table_name(table) not in tx.tables():
                return pl.DataFrame(schema={c: dtypes(table)[c] for c in wanted})
            condition = " and ".join(f"{column} = ${column}" for column in where or {}) or "true"
            stored, fields = tx.columns(table_name(table)), table.to_schema().columns
            selected = (
                name if name in stored else f"null::{_sql_type(fields[name])} as {name}"
                for name in wanted
            )
            select = f"select {', '.join(selected)} from {table_name(table)} where {condition}"  # noqa: S608 - names come from contracts, values are parameters
            return tx.query(select, where)

    def rewrite(self) -> None:
        """Writes the file anew, so that deleted rows leave no bytes behind. Waits for the lock and
        keeps it until the new file is in place, which has every row or the old file stays.
        """
        if not self.path.exists():
            return
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        _remove_draft(draft)
        mask = os.umask(0o077)
        try:
            with self._opened(read_only=False) as connection:
                with _safe(self.path.name, "rewrite"):
                    name = connection.execute("select current_database()").fetchall()[0][0]
                    quoted = str(draft).replace("'", "''")
                    connection.execute(f"attach '{quoted}' as fresh_{name}")
                    try:
                        connection.execute(f"copy from database {name} to fresh_{name}")
                        tx = Transaction(connection, self.path.name)
                        for table in sorted(tx.tables()):
                            tx.refuse_short_copy(table, f"fresh_{name}", self.path)
                    finally:
                        connection.execute(f"detach fresh_{name}")
                    connection.execute("checkpoint")
                os.replace(draft, self.path)
        finally:
            os.umask(mask)
            _remove_draft(draft)

    @contextmanager
    def _opened(
        self, *, read_only: bool, row_group_size: int = ROW_GROUP
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        deadline = time.monotonic() + self.lock_wait_seconds
        with ExitStack() as stack:
            while True:
                before = _inode(self.path)
                try:
                    connection = stack.enter_context(
                        attached(self.path, read_only=read_only, row_group_size=row_group_size)
                    )
                except InUseHereError:
                    holder = "another connection of this process"
                except duckdb.Error as error:
                    held = re.search(r"held in (.*?) \(PID (\d+)\)", str(error))
                    if (
                        not held
                        and "lock on file" not in str(error)
                        and "Unique file handle conflict" not in str(error)
                    ):
                        if said := disk_trouble(error, str(self.path)):
                            raise WarehouseError(said) from None
                        raise WarehouseError(
                            f"{self.path} cannot be opened ({type(error).__name__}). Is the folder"
                            " there and writable, and is the file a DuckDB file?"
                        ) from None
                    holder = (
                        f"another process (PID {held[2]}, {Path(held[1]).name})"
                        if held
                        else "another process or connection"
                    )
                else:
                    if before in (None, _inode(self.path)):
                        break
                    stack.close()  # the file was rewritten while it was opened
                    continue
                if time.monotonic() >= deadline:
                    raise WarehouseError(
                        f"{self.path.name} is held by {holder} and stayed held for"
                        f" {self.lock_wait_seconds:g} s. Close it there, read published.duckdb"
                        " instead, or raise SIM_PLATFORM_LOCK_WAIT_SECONDS."
                    )
                # jitter, so that waiting processes do not meet again
                time.sleep(random.uniform(0.02, 0.2))
            yield connection


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def ddl(table: type[Table]) -> str:
    """`create table` from the contract: types, and not null where the contract forbids it."""
    columns = (
        f"{name} {_sql_type(column)}{'' if column.nullable else ' not null'}"
        for name, column in table.to_schema().columns.items()
    )
    return f"create table {table_name(table)} ({', '.join(columns)})"


def columns_of(table: type[Table]) -> str:
    """The contract's columns with their types, for a table that may lack values."""
    columns = table.to_schema().columns
    return ", ".join(f"{name} {_sql_type(column)}" for name, column in columns.items())


def _sql_type(column: Any) -> str:
    kinds = {
        pl.String: "varchar",
        pl.Int64: "bigint",
        pl.Float64: "double",
        pl.Boolean: "boolean",
        pl.Date: "date",
        pl.Datetime: "timestamptz",
    }
    return kinds[column.dtype.type.base_type()]


def publish(source: DuckDBFile, target: Path) -> list[str]:
    """Copies every table, without account keys, to `target` by an atomic rename: a reader of it
    neither blocks nor breaks. Returns the tables.
    """
    draft = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    _remove_draft(draft)
    mask = os.umask(0o077)
    try:
        with source.reading() as stored:
            tables = sorted(stored.tables())
            stored.copy_into(
                draft, dict.fromkeys(tables, "select columns(lambda c: c <> 'user_key')")
            )
        # Of somebody who opened the old file for writing and died: it would make the new one
        # unreadable.
        target.with_name(f"{target.name}.wal").unlink(missing_ok=True)
        os.replace(draft, target)
    finally:
        os.umask(mask)
        _remove_draft(draft)
    return tables


def _remove_draft(draft: Path) -> None:
    """With its write-ahead log, which holds text too."""
    for file in (draft, draft.with_name(f"{draft.name}.wal")):
        file.unlink(missing_ok=True)


@contextmanager
def _safe(file: str, statement: str) -> Iterator[Any]:
    """DuckDB's messages may quote values: only the error's type and our own statement are shown."""
    try:
        yield
    except duckdb.Error as error:
        first = " ".join(statement.split())[:120]
        if isinstance(error, duckdb.OutOfMemoryException):
            raise WarehouseError(
                f"{file}: DuckDB has no memory left (it may hold {memory_limit()}) in: {first}."
                " Raise SIM_PLATFORM_DUCKDB_MEMORY."
            ) from None
        if said := disk_trouble(error, file):
            raise WarehouseError(said) from None
        raise WarehouseError(f"{file}: {type(error).__name__} in: {first}") from None
