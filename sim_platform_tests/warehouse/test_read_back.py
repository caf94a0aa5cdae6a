"""What goes in is there, and whoever writes reads back: sizes around DuckDB's vector (2,048 rows)
and row group (122,880), where its version 2.0.0 lost rows without a word.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

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
        assert tx.query("select count(hash(label)) as n from classifier_scores")["n"][0] == n
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
@pytest.mark.parametrize("is_new", [True, False])
def test_rows_that_vanish_on_the_way_roll_everything_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str, is_new: bool
) -> None:
    file = DuckDBFile(tmp_path / "w.duckdb")
    if not is_new:
        with file.transaction() as tx:
            tx.append(ClassifierScores, rows(10, 1_000_000))
    value = Transaction._value

    def losing(tx: Transaction, sql: str, params: Any = None) -> int:
        """A database that says that it has all rows, and has not."""
        found = value(tx, sql, params)
        if sql.startswith("select count(hash("):
            return found - 1
        return found

    monkeypatch.setattr(duckdb_file.Transaction, "_value", losing)
    lost = r"5 rows went into classifier_scores.*4 can be read"
    with pytest.raises(WarehouseError, match=lost), file.transaction() as tx:
        WRITES[write](tx, rows(5))
    with file.reading() as tx:
        stored = "classifier_scores" in tx.tables() and tx.query("from classifier_scores")
    assert stored is False if is_new else len(stored) == 10  # type: ignore[arg-type]  # a frame


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
