"""What reading back costs: a write of a million rows with the scan that counts them and without,
alternately in one run, into a new table and into one that holds many times as many rows. Writes
differ by more than the scans take, so the scans are timed by themselves too.

    python -m benchmarks.writing --rows 1000000 --stored 10000000 --json

Belongs here: timing `Transaction.append`. Does not: whether the rows are there (tests).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import polars as pl
from rich.console import Console
from rich.table import Table

from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.schema import dtypes
from sim_platform.warehouse.duckdb_file import DuckDBFile, Transaction


def scores(n: int, first: int) -> pl.DataFrame:
    """`n` synthetic scores of 20 behaviours with keys from `first` on."""
    i = pl.int_range(first, first + n, eager=True)
    return pl.select(
        model_version=pl.lit("candidate"),
        behavior=pl.format("behavior_{}", i % 20),
        arm=pl.lit("candidate"),
        prefix_id=(i // 20).hash().cast(pl.String),
        k=pl.lit(0, pl.Int64),
        applies=True,
        label=i % 97 == 0,
        missing_reason=pl.lit(None, pl.String),
        score=pl.lit(None, pl.Float64),
        is_exploratory=False,
        grader_hash=pl.lit("0" * 64),
    ).select(list(dtypes(ClassifierScores)))


def only_insert(tx: Transaction, name: str, sql: str, params: Mapping[str, object], *_: Any) -> int:
    """`Transaction._insert` with neither of its scans: the last row id before, and the rows."""
    return tx._value(f"insert into {name} by name {sql}", params)


@contextmanager
def scans_timed(spent: list[float]) -> Iterator[None]:
    """Adds the seconds of each scan to `spent`."""
    value = Transaction._value

    def timed(tx: Transaction, sql: str, params: Mapping[str, object] | None = None) -> int:
        start = time.perf_counter()
        found = value(tx, sql, params)
        if sql.startswith("select"):
            spent.append(time.perf_counter() - start)
        return found

    with mock.patch.object(Transaction, "_value", timed):
        yield


def seconds(file: DuckDBFile, rows: pl.DataFrame, *, reads_back: bool) -> float:
    """One append in a transaction of its own, which is rolled back: each starts from the same."""
    unchecked = mock.patch.object(Transaction, "_insert", only_insert)
    start = time.perf_counter()
    try:
        with file.transaction() as tx:
            if reads_back:
                tx.append(ClassifierScores, rows)
            else:
                with unchecked:
                    tx.append(ClassifierScores, rows)
            end = time.perf_counter()
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        return end - start


def measure(rows: int, stored: int, rounds: int) -> dict[str, float]:
    """Medians, with `stored` rows in the table before: seconds, the ratio of a pair, and the scans
    as a part of the rest of their write.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = DuckDBFile(Path(folder) / "warehouse.duckdb")
        for first in range(0, stored, rows):
            with file.transaction() as tx:
                tx.append(ClassifierScores, scores(min(rows, stored - first), first))
        new = scores(rows, stored)
        pairs: list[tuple[float, float]] = []
        shares: list[float] = []
        for i in range(rounds):
            took: dict[bool, float] = {}
            scans: list[float] = []
            # each goes first in turn: the second may find things warm
            for reads_back in (i % 2 == 0, i % 2 == 1):
                with scans_timed(scans):
                    took[reads_back] = seconds(file, new, reads_back=reads_back)
            pairs.append((took[True], took[False]))
            shares.append(sum(scans) / (took[True] - sum(scans)))
    checked, plain = (median(side) for side in zip(*pairs, strict=True))
    return {
        "stored": stored,
        "with_s": round(checked, 3),
        "without_s": round(plain, 3),
        "ratio": round(median(a / b for a, b in pairs), 3),
        "scans": round(median(shares), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--stored", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = [measure(given.rows, stored, given.rounds) for stored in (0, given.stored)]
    if given.json:
        print(json.dumps({"rows": given.rows, "writes": found}, indent=2))
        return
    table = Table("rows before", "s with the scan", "s without", "ratio", "scans")
    for row in found:
        table.add_row(*(f"{value:,}" for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
