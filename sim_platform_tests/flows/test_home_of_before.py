"""A home that an earlier version of the platform ran, as its files were then.

homes/before_flows.tar.xz: synthetic log, 30 prefixes, candidate, control and a judge, answered by a
scripted server on a port where nothing listens now: whoever sends anything fails.
"""

import tarfile
from pathlib import Path

import polars as pl
import pytest

from sim_platform.contracts.tables.deidentification import DeidentifiedCorpus
from sim_platform.contracts.tables.estimation import Preregistration, RateComparison
from sim_platform.contracts.tables.grading import ClassifierScores, GraderAnswers
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import Table, key_of
from sim_platform.estimation.version import VERSION
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.running import run_with_its_own_detectors

SAME: tuple[type[Table], ...] = (
    DeidentifiedCorpus,
    StratifiedSample,
    CandidateCompletions,
    ClassifierScores,
    GraderAnswers,
    RateComparison,
    Preregistration,
)


# columns that say what was not said then
NEWER = ("graded_on", "recorded_on", "gate_level", "answered_", "gate_difference_", "missing_")
NEWER += ("estimator_version",)
# figures of version 3 of the estimator: other limits where rates are common, other effective sizes
NEWER += ("n_effective", "low", "high", "gate_low", "gate_high", "floor")
NEWER += ("ratio_to_production", "p_production")


def test_a_home_of_before_runs_on_and_pays_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with tarfile.open(Path(__file__).parent / "homes" / "before_flows.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    warehouse = DuckDBFile(tmp_path / "warehouse.duckdb")
    before = {table: warehouse.read(table).sort(key_of(table)) for table in SAME}
    assert before[CandidateCompletions]["arm"].n_unique() == 2
    assert len(before[GraderAnswers])

    said = run_with_its_own_detectors(monkeypatch, tmp_path_factory)(tmp_path, "v2")

    expected = ("release v2", "4 rows dropped: excluded:temporary", "checks that looked at nothing")
    assert not [line for line in said if not line.startswith(expected)]
    for table, rows in before.items():
        after = warehouse.read(table).sort(key_of(table))
        same = rows.select(after.columns)
        same = same.with_columns(after[c] for c in after.columns if c.startswith(NEWER))
        # The control arm is compared with the log since then, and who estimates says its version.
        if table is RateComparison:
            known = same["arm"] == "control"
            same = same.with_columns(
                pl.when(known & pl.col(name).is_null())
                .then(after[name])
                .otherwise(name)
                .alias(name)
                for name in same.columns
                if "recorded" in name
            ).with_columns(estimator_version=pl.lit(VERSION))
        assert after.equals(same), table.__name__
    assert before[RateComparison].filter(pl.col("arm") == "control")["n"].min() == 15
