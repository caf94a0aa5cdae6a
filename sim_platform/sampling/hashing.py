"""A fixed random number for every key: what makes the draw reproducible, independent of
order, and nested.

Belongs here: the number, in Python and as DuckDB SQL; both agree bit for bit. Does not: who
is drawn (draw).

Neither DuckDB's `hash()`, polars' `.hash()` nor Python's `hash()` would do: none promises the same
value in its next version.
"""

import hashlib
from collections.abc import Iterable

import polars as pl

UNIT_INTERVAL_SQL = (
    "('0x' || substr(sha256(salt || '|' || key), 1, 16))::UBIGINT / 18446744073709551616.0::DOUBLE"
)
"""DuckDB expression over `salt` and `key` (VARCHAR): the body of a macro, or columns of those
names.
"""


def unit_interval(salt: str, key: str) -> float:
    """A number in [0, 1] that depends on nothing but `salt` and `key`: the first 64 bits of SHA-256
    of "salt|key", over 2^64.
    """
    return int(hashlib.sha256(f"{salt}|{key}".encode()).hexdigest()[:16], 16) / 2**64


def unit_intervals(salt: str, keys: Iterable[str]) -> pl.Series:
    """`unit_interval` of each key, as a float series."""
    return pl.Series("u", [unit_interval(salt, key) for key in keys], dtype=pl.Float64)
