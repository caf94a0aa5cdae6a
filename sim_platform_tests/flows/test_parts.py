"""Rows on their way into a table, and what a killed process leaves of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.flows.parts import FOLDER, parts, remove_orphans
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.warehouse.test_read_back import rows

DIES = """
import os, sys
from pathlib import Path
import polars as pl
from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.flows.parts import parts
with parts(Path(sys.argv[1]), ClassifierScores):
    os.kill(os.getpid(), 9)
"""


def test_all_rows_of_all_parts_are_there_in_the_order_asked_for(tmp_path: Path) -> None:
    file = DuckDBFile(tmp_path / "w.duckdb")
    with parts(tmp_path, ClassifierScores) as made:
        for first in (5_000, 0, 2_500):
            made.add(rows(2_500, first))
        with file.transaction() as tx:
            made.insert(tx, "prefix_id")
    stored = file.query("select prefix_id from classifier_scores order by rowid")["prefix_id"]
    assert stored.is_sorted()
    assert len(stored) == made.n_rows == 7_500


def test_no_part_at_all_is_a_table_without_rows(tmp_path: Path) -> None:
    file = DuckDBFile(tmp_path / "w.duckdb")
    with parts(tmp_path, ClassifierScores) as made, file.transaction() as tx:
        made.insert(tx)
    assert file.read(ClassifierScores).is_empty()


def test_nothing_is_left_after_the_block_whatever_ends_it(tmp_path: Path) -> None:
    def stopped() -> None:
        with parts(tmp_path, ClassifierScores) as made:
            made.add(rows(10))
            assert (tmp_path / FOLDER).stat().st_mode & 0o077 == 0
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        stopped()
    assert [*(tmp_path / FOLDER).iterdir()] == []


def test_what_a_killed_process_left_goes_with_the_next_and_a_living_one_keeps_its_own(
    tmp_path: Path,
) -> None:
    subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False, timeout=60)
    left = [*(tmp_path / FOLDER).iterdir()]
    assert len(left) == 1
    (tmp_path / FOLDER / ".DS_Store").write_text("not ours")
    with parts(tmp_path, ClassifierScores) as made:
        assert {p.name for p in (tmp_path / FOLDER).iterdir()} == {made.folder.name, ".DS_Store"}
        remove_orphans(tmp_path)
        assert made.folder.exists()
        assert made.folder.name.startswith(f"{os.getpid()}.")
