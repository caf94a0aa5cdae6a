"""What goes in is there, and whoever writes reads back: sizes around DuckDB's vector (2,048 rows)
and row group (122,880), where its version 2.0.0 lost rows without a word.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import duckdb
import polars as pl
import pytest

from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.schema import dtypes
from sim_platform.warehouse import duckdb_file
from sim_platform.warehouse.duckdb_file import DuckDBFile, Transaction, WarehouseError, publish

SIZES = (0, 1, 2_047, 2_048, 2_049, 122_879, 122_880, 122_881, 300_000)
Write = Callable[[Transaction, pl.DataFrame], None]


@cache
def rows(n: int, first: int = 0) -> pl.DataFrame:
    """`n` scores with keys from `first` on."""
    number = pl.int_range(first, first + n, eager=True)
    return pl.select(
        model_version=pl.lit("v2"),
        behavior=pl.lit("b"),
        arm=pl.lit("candidate"),
        prefix_id=number.cast(pl.String),
        k=pl.lit(0, pl.Int64),
        applies=True,
        label=number % 7 == 0,
        missing_reason=pl.lit(None, pl.String),
        score=pl.lit(None, pl.Float64),
        is_exploratory=False,
        grader_hash=pl.lit("h"),
        graded_on=pl.lit(None, pl.String),
    ).select(list(dtypes(ClassifierScores)))


def append(tx: Transaction, data: pl.DataFrame) -> None:
    tx.append(ClassifierScores, data)


def replace(tx: Transaction, data: pl.DataFrame) -> None:
    tx.replace(ClassifierScores, data, {"behavior": "b"})


def upsert(tx: Transaction, data: pl.DataFrame) -> None:
    tx.upsert(ClassifierScores, data)


def copy(tx: Transaction, data: pl.DataFrame) -> None:
    tx.copy("classifier_scores", data)


WRITES: dict[str, Write] = {"append": append, "replace": replace, "upsert": upsert, "copy": copy}


def there_in(tx: Transaction) -> int:
    """Rows that the open transaction sees by a scan."""
    return int(tx.query("select count(hash(label)) as n from classifier_scores")["n"][0])


def there(file: Path) -> int:
    """Rows by a scan in a connection of its own: a sum that no stored count can answer."""
    with duckdb.connect(str(file), read_only=True) as connection:
        found = connection.execute(
            "select count(*) filter (length(prefix_id) > 0 and hash(label) is not null)"
            " from classifier_scores"
        ).fetchall()
    return int(found[0][0])


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("n", SIZES)
def test_what_one_transaction_puts_into_a_new_table_is_there(
    tmp_path: Path, n: int, write: str
) -> None:
    file = DuckDBFile(tmp_path / "w.duckdb")
    with file.transaction() as tx:
        WRITES[write](tx, rows(n))
        assert there_in(tx) == n
    assert there(file.path) == n


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("n", SIZES)
def test_what_is_put_beside_other_rows_is_there_too(tmp_path: Path, n: int, write: str) -> None:
    file = DuckDBFile(tmp_path / "w.duckdb")
    with file.transaction() as tx:
        tx.append(ClassifierScores, rows(2_049, 1_000_000))
    with file.transaction() as tx:
        tx.append(ClassifierScores, rows(5, 2_000_000))  # local rows before it
        WRITES[write](tx, rows(n))
    assert there(file.path) == n + (0 if write == "replace" else 2_054)


@pytest.mark.parametrize("n", SIZES)
def test_rows_of_a_file_are_put_into_a_table_without_a_frame(tmp_path: Path, n: int) -> None:
    rows(n).write_parquet(tmp_path / "rows.parquet")
    file = DuckDBFile(tmp_path / "w.duckdb")
    sql, params = "select * from read_parquet($f)", {"f": [str(tmp_path / "rows.parquet")]}
    with file.transaction() as tx:
        tx.insert_from(ClassifierScores, sql, params, n)
    assert there(file.path) == n
    with pytest.raises(WarehouseError, match=r"classifier_scores"), file.transaction() as tx:
        tx.insert_from(ClassifierScores, sql, params, n + 1)
    assert there(file.path) == n


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("n", SIZES)
def test_what_is_put_into_memory_is_there_too(n: int, write: str) -> None:
    with duckdb.connect() as connection:
        tx = Transaction(connection, "memory")
        for first in (0, n):  # into a new table, and into one that holds committed rows
            tx.execute("begin")
            WRITES[write](tx, rows(n, first))
            tx.execute("commit")
        assert there_in(tx) == (n if write == "replace" else 2 * n)


def test_a_statement_says_how_many_rows_it_put_in(tmp_path: Path) -> None:
    file = DuckDBFile(tmp_path / "w.duckdb")
    with file.transaction() as tx:
        tx.copy("scored", rows(122_881))
        some = "select * from scored where prefix_id::bigint < $n"
        assert tx.insert_from(ClassifierScores, some, {"n": 3}) == 3
        assert tx.insert_from(ClassifierScores, "from scored") == 122_881
    assert there(file.path) == 122_884


def test_new_rows_are_told_from_those_before_whatever_was_deleted_or_moved(tmp_path: Path) -> None:
    file = DuckDBFile(tmp_path / "w.duckdb")
    with file.transaction() as tx:
        for first in (0, 1_000):  # the second takes the place of rows that are not committed yet
            replace(tx, rows(300_000, first))
        tx.execute("delete from classifier_scores where prefix_id::bigint % 2 = 0")
        append(tx, rows(122_881, 1_000_000))
    assert there(file.path) == 150_000 + 122_881
    with file.transaction() as tx:
        tx.execute("delete from classifier_scores where prefix_id::bigint % 4 = 1")
    with file.transaction() as tx:
        tx.execute("commit")
        tx.execute("checkpoint")  # row groups that lost rows are put together, with new row ids
        tx.execute("begin")
        stored = there_in(tx)
        append(tx, rows(2_049, 2_000_000))
        upsert(tx, rows(2_050, 2_000_000))
    assert there(file.path) == stored + 2_050


@dataclass
class Result:
    rows: list[Any]

    def fetchall(self) -> list[Any]:
        return self.rows


@dataclass
class Losing:
    """A connection that says it wrote every row and has lost the last."""

    connection: duckdb.DuckDBPyConnection

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    def execute(self, sql: str, params: object = None) -> Any:
        written = re.match(r"(?:insert into|create table) (\S+) (?:by name|as) ", sql)
        result = self.connection.execute(sql, params)
        if written is None:
            return result
        said = Result(result.fetchall())
        last = f"select max(rowid) from {written[1]}"
        self.connection.execute(f"delete from {written[1]} where rowid = ({last})")
        return said


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """lose(): from now on every write loses a row."""

    def losing(connection: Any, file: str) -> Transaction:
        return Transaction(cast(duckdb.DuckDBPyConnection, Losing(connection)), file)

    return lambda: monkeypatch.setattr(duckdb_file, "Transaction", losing)


@pytest.mark.parametrize("write", [*WRITES, "insert_from"])
@pytest.mark.parametrize("is_new", [True, False])
def test_rows_that_vanish_on_the_way_roll_everything_back(
    tmp_path: Path, lose: Callable[[], None], write: str, is_new: bool
) -> None:
    file = DuckDBFile(tmp_path / "w.duckdb")
    if not is_new:
        with file.transaction() as tx:
            append(tx, rows(10, 1_000_000))
    rows(5).write_parquet(tmp_path / "rows.parquet")

    def insert_from(tx: Transaction, _: pl.DataFrame) -> None:
        files = {"f": [str(tmp_path / "rows.parquet")]}
        tx.insert_from(ClassifierScores, "select * from read_parquet($f)", files)

    put = WRITES.get(write, insert_from)
    lose()
    lost = r"5 rows went into classifier_scores, DuckDB says 5, and 4 can be read"
    with pytest.raises(WarehouseError, match=lost), file.transaction() as tx:
        put(tx, rows(5))
    with file.reading() as tx:
        assert tx.tables() == (set() if is_new else {"classifier_scores"})
    assert is_new or there(file.path) == 10


def test_a_published_copy_that_lost_rows_does_not_take_the_place_of_the_one_before(
    tmp_path: Path, lose: Callable[[], None]
) -> None:
    file, target = DuckDBFile(tmp_path / "w.duckdb"), tmp_path / "published.duckdb"
    with file.transaction() as tx:
        append(tx, rows(5))
    publish(file, target)
    before = target.read_bytes()
    lose()
    lost = "classifier_scores has 5 rows and 4 were copied; the file before stays"
    with pytest.raises(WarehouseError, match=lost):
        publish(file, target)
    assert target.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"w.duckdb", "published.duckdb"}


def test_a_file_that_lost_rows_when_it_was_rewritten_does_not_take_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = DuckDBFile(tmp_path / "w.duckdb")
    with file.transaction() as tx:
        append(tx, rows(5))
    value = Transaction._value

    def short(tx: Transaction, sql: str, params: Any = None) -> int:
        return value(tx, sql, params) - (" fresh_" in sql)

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "_value", short)
        with pytest.raises(WarehouseError, match="has 5 rows and 4 were copied; the file before"):
            file.rewrite()
    assert there(file.path) == 5
    assert {p.name for p in tmp_path.iterdir()} == {"w.duckdb"}
    file.rewrite()
    assert there(file.path) == 5


def test_publishing_keeps_every_row_and_column_but_account_keys(tmp_path: Path) -> None:
    file, target = DuckDBFile(tmp_path / "w.duckdb"), tmp_path / "published.duckdb"
    sampled = rows(300_000).select("model_version", "prefix_id", user_key=pl.lit("secret"))
    with file.transaction() as tx:
        tx.append(ClassifierScores, rows(300_000))
        tx.copy("stratified_sample", sampled)
        tx.copy("nothing_yet", sampled.clear())
    assert publish(file, target) == ["classifier_scores", "nothing_yet", "stratified_sample"]
    copied = DuckDBFile(target)
    assert copied.query("from classifier_scores order by prefix_id").equals(
        rows(300_000).sort("prefix_id")
    )
    assert copied.query("from stratified_sample").columns == ["model_version", "prefix_id"]
    assert len(copied.query("from stratified_sample")) == 300_000
    assert copied.query("from nothing_yet").columns == ["model_version", "prefix_id"]
    assert oct(target.stat().st_mode & 0o777) == "0o600"
