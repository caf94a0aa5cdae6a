"""A disk that is full or may not be written: a message and a way out, and no loss."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.e2e.servers import ROOT
from sim_platform_tests.homes import without_models, write_home

pytestmark = pytest.mark.e2e

Mounted = Callable[[str], None]
Done = subprocess.CompletedProcess[str]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Mounted]]:
    """A folder on a file system of its own, and a function that sets its options. Mounting wants
    rights that not everyone has.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip("no right to mount a small file system; test_a_file_that_may_not_grow runs")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)

    try:
        yield folder, remount
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def command(home: Path, *arguments: str, largest_file: int | None = None) -> Done:
    kept = {k: v for k, v in os.environ.items() if k != "DAGSTER_HOME"}

    def limited() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.run(
        [sys.executable, "-m", "sim_platform.commands.main", *arguments],
        cwd=ROOT,
        env={**kept, "SIM_PLATFORM_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=limited,
    )


def refused(done: Done) -> str:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "sqlalche" not in done.stderr
    return done.stderr


def rates(home: Path) -> pl.DataFrame:
    found = DuckDBFile(home / "warehouse.duckdb").read(RateComparison).sort("behavior", "arm")
    return found.drop([name for name in found.columns if name.endswith("_at")])


def test_a_full_disk_is_named_and_the_same_command_finishes(
    disk: tuple[Path, Mounted], tmp_path: Path
) -> None:
    folder, remount = disk
    whole = without_models(write_home(tmp_path / "whole", n=30))
    assert command(whole, "run", "v2").returncode == 0
    home = without_models(write_home(folder / "home", n=30))
    for size in ("3m", "7m"):
        remount(f"size={size}")
        assert "Make room" in refused(command(home, "run", "v2")), size
    remount("size=64m")
    done = command(home, "run", "v2")
    assert done.returncode == 0, done.stderr
    # Each home has keys of its own for people, and sums run in the order of those keys.
    assert_frame_equal(rates(home), rates(whole), rel_tol=1e-12, abs_tol=0)


def test_a_home_that_may_not_be_written_is_named_by_every_command_that_writes(
    disk: tuple[Path, Mounted],
) -> None:
    folder, remount = disk
    home = without_models(write_home(folder / "home", n=30))
    writing = [
        ("run", "v2"),
        ("register", "v2", "--reason", "x"),
        ("report", "v2"),
        ("labels", "export", "v2", "--to", str(home / "labels.csv")),
        ("export-requests", "v2", "--to", str(home / "requests.jsonl")),
        ("forget", "user-1"),
        ("ui", "--port", "0"),
    ]
    remount("ro")
    for arguments in (("run", "v2"), ("ui", "--port", "0")):
        assert "Make the home writable" in refused(command(home, *arguments))
    remount("rw")
    assert command(home, "run", "v2").returncode == 0
    (home / "behaviors" / "apologises.yaml").write_text(
        (home / "behaviors" / "apologises.yaml").read_text().replace("apologises.", "says sorry.")
    )
    remount("ro")
    for arguments in writing:
        said = refused(command(home, *arguments)).lower()
        assert "writ" in said, arguments
        assert "make " in said, arguments
    for arguments in (("check",), ("status",), ("rates", "v2"), ("plan", "v2")):
        assert command(home, *arguments).returncode == 0, arguments


@pytest.mark.parametrize("largest_file", [50_000, 800_000])
def test_a_file_that_may_not_grow_is_named_and_the_same_command_finishes(
    largest_file: int, tmp_path: Path
) -> None:
    home = without_models(write_home(tmp_path / "home", n=30))
    said = refused(command(home, "run", "v2", largest_file=largest_file))
    assert "Make room" in said
    done = command(home, "run", "v2")
    assert done.returncode == 0, done.stderr
