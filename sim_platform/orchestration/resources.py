"""What the assets get from outside: the home folder and its two DuckDB files.

Belongs here: Dagster resources. Does not: what is read or written.
"""

from pathlib import Path

import dagster as dg

from sim_platform.flows.files import lock_wait_seconds
from sim_platform.registry.home import Home, load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile


class Deployment(dg.ConfigurableResource[None]):
    """One home folder. Its YAML is read when a run starts, so an edit needs no reload of the
    code location.
    """

    home_dir: str

    def home(self) -> Home:
        return load_home(Path(self.home_dir))

    def vault(self) -> DuckDBFile:
        """Raw text lives here and nowhere else."""
        return DuckDBFile(Path(self.home_dir) / "vault.duckdb", lock_wait_seconds())

    def warehouse(self) -> DuckDBFile:
        return DuckDBFile(Path(self.home_dir) / "warehouse.duckdb", lock_wait_seconds())
