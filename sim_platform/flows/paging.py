"""Large tables a part at a time, each part read once and where it is stored.

Belongs here: the bounds of parts. Does not: what is read of them.
"""

from collections.abc import Iterator

import polars as pl

from sim_platform.warehouse.duckdb_file import DuckDBFile


def row_pages(file: DuckDBFile, table: str, rows: int) -> Iterator[dict[str, int]]:
    """`start` and `end` of row ids (start <= rowid < end) over a whole table, in stored order. To
    ask for a page of keys instead would scan the table once a page.
    """
    with file.reading() as tx:
        stored = int(tx.query(f"select coalesce(max(rowid) + 1, 0) as n from {table}")["n"][0])  # noqa: S608 - a literal of the caller
    for start in range(0, stored, rows):
        yield {"start": start, "end": start + rows}


def key_pages(keys: pl.Series, size: int) -> Iterator[dict[str, str]]:
    """`first` and `last` of parts of sorted keys: with both ends DuckDB skips what lies outside."""
    for start in range(0, len(keys), size):
        part = keys[start : start + size]
        yield {"first": part[0], "last": part[-1]}
