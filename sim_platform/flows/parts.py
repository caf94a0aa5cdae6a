"""Rows on their way into a table: Parquet files of a folder in the home, so that memory does not
grow with their number and one transaction takes all of them or none.

Belongs here: the folder, its files, and what a killed process left. Does not: what the rows are.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sim_platform.contracts.tables.schema import Table, empty
from sim_platform.warehouse.duckdb_file import Transaction

FOLDER = "parts"


@dataclass
class Parts:
    """The rows that were added, in their order; read back by `insert`."""

    table: type[Table]
    folder: Path
    n_files: int = 0
    n_rows: int = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Adds rows that fit the table's contract."""
        rows.write_parquet(self.folder / f"{self.n_files:06}.parquet", statistics=False)
        self.n_files += 1
        self.n_rows += len(rows)

    def insert(self, tx: Transaction, order_by: str = "") -> None:
        """Adds all of them to the table, sorted by a column if one is named."""
        files = [str(self.folder / f"{i:06}.parquet") for i in range(self.n_files)]
        sql = f"select * from read_parquet($files){order_by and f' order by {order_by}'}"  # noqa: S608 - a literal of the caller
        tx.insert_from(self.table, sql, {"files": files}, self.n_rows)


@contextmanager
def parts(home: Path, table: type[Table]) -> Iterator[Parts]:
    """Parts for the time of the block; what a killed process left is removed first."""
    remove_orphans(home)
    (home / FOLDER).mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}.", dir=home / FOLDER) as folder:
        made = Parts(table, Path(folder))
        made.add(empty(table))  # so that no row at all is a file too
        yield made


def remove_orphans(home: Path) -> None:
    """Removes the parts of processes that are no more: they may hold a forgotten person's text."""
    for folder in (home / FOLDER).glob("*.*"):
        process = folder.name.partition(".")[0]
        if process.isdecimal() and not is_alive(int(process)):  # else it is not ours
            shutil.rmtree(folder, ignore_errors=True)


def is_alive(process: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
