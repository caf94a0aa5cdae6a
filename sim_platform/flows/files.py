"""The two DuckDB files of a home.

Belongs here: where they are and how long a transaction waits for them. Does not: what is in them.
"""

import os

from sim_platform.registry.home import Home
from sim_platform.warehouse.duckdb_file import DuckDBFile


def vault_of(home: Home) -> DuckDBFile:
    """Raw text lives here and nowhere else."""
    return DuckDBFile(home.vault, lock_wait_seconds())


def warehouse_of(home: Home) -> DuckDBFile:
    """Everything de-identified."""
    return DuckDBFile(home.warehouse, lock_wait_seconds())


def lock_wait_seconds() -> float:
    """How long a transaction waits for a DuckDB file that another process holds:
    SIM_PLATFORM_LOCK_WAIT_SECONDS, default 60.
    """
    return float(os.environ.get("SIM_PLATFORM_LOCK_WAIT_SECONDS", "60"))
