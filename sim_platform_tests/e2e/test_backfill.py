"""Several model versions at once through webserver and daemon; several processes on one home."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sim_platform.contracts.tables.deidentification import DeidentifiedCorpus
from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import table_name
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.e2e.servers import Servers, make_dagster_home, serving, sim_platform, stop
from sim_platform_tests.homes import (
    BEHAVIORS,
    RECORDED_MODELS,
    conversation,
    without_models,
    write_home,
)

pytestmark = pytest.mark.e2e

N = 40  # conversations a version
KEPT = sum(1 for n in range(N) if n % 17 != 16)  # the others are temporary
SAMPLE = 20
RELEASES = ["v2", "v3", "v4", "v5"]
VERSIONS = ["v1", *RELEASES]


def home_of_four_releases(path: Path) -> Path:
    """v2 to v5 replace v1; every version answered each of the N conversations in the log."""
    plan = {"sample_size": SAMPLE, "strata": ["surface"], "floor": 5}
    releases = [
        {"version": v, "provider": "recorded", "replaces": "v1", "plan": plan} for v in RELEASES
    ]
    return without_models(
        write_home(
            path,
            rows=[conversation(n, v) for v in VERSIONS for n in range(N)],
            models=[RECORDED_MODELS[0], *releases],
        )
    )


def rows(home: Path, table: str, condition: str = "true", file: str = "warehouse.duckdb") -> int:
    return int(
        DuckDBFile(home / file).query(f"select count(*) as n from {table} where {condition}")["n"][
            0
        ]
    )


def assert_each_log_row_once(home: Path) -> None:
    for table, key, file in (
        ("consented_log_extract", "conversation_id", "vault.duckdb"),
        ("deidentified_corpus", "conversation_key", "warehouse.duckdb"),
    ):
        assert (
            rows(home, table, file=file)
            == rows(home, f"(select distinct {key} from {table})", file=file)
            == KEPT * len(VERSIONS)
        ), table
    accounting = DuckDBFile(home / "warehouse.duckdb").query(
        "select disposition, reason, n from extraction_accounting order by all"
    )
    assert accounting.rows() == [
        ("dropped", "excluded:temporary", (N - KEPT) * len(VERSIONS)),
        ("extracted", "", KEPT * len(VERSIONS)),
        ("rows_in", "", N * len(VERSIONS)),
    ]
    assert rows(home, "staged_rows", file="vault.duckdb") == 0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with serving(home_of_four_releases(tmp_path_factory.mktemp("four_releases"))) as running:
        yield running


def test_four_model_versions_backfilled_at_once_all_succeed_with_exact_counts(
    servers: Servers,
) -> None:
    servers.wait_for(
        "the sensor's partition keys", lambda: set(RELEASES) <= set(servers.partition_keys())
    )
    backfill = servers.backfill(servers.assets(), RELEASES)
    assert servers.finished_backfill(backfill, seconds=400) == "COMPLETED_SUCCESS", servers.logs()
    assert set(servers.runs().values()) == {"SUCCESS"}
    assert servers.failed_checks() == []
    assert_each_log_row_once(servers.home)
    for release in RELEASES:
        counts = {
            table: rows(servers.home, table_name(table), f"model_version = '{release}'")
            for table in (StratifiedSample, CandidateCompletions, ClassifierScores, RateComparison)
        }
        arms = 2  # candidate and recorded
        assert counts == {
            StratifiedSample: SAMPLE,
            CandidateCompletions: SAMPLE,
            ClassifierScores: SAMPLE * arms * len(BEHAVIORS),
            RateComparison: arms * len(BEHAVIORS),
        }, release
        assert (
            rows(
                servers.home,
                "candidate_completions",
                f"model_version = '{release}' and status = 'completed'",
            )
            == SAMPLE
        )
    assert rows(servers.home, "rates_by_model_version", "true", "published.duckdb") > 0
    assert rows(servers.home, "pipeline_coverage", "n_unaccounted <> 0") == 0


def test_a_version_added_to_the_registry_becomes_a_partition_and_starts_no_run(
    servers: Servers,
) -> None:
    before = servers.runs()
    registry = servers.home / "models.yaml"
    models = yaml.safe_load(registry.read_text())
    models["models"].append({"version": "v6", "provider": "recorded", "replaces": "v1"})
    registry.write_text(yaml.safe_dump(models))
    servers.wait_for("v6 among the partition keys", lambda: "v6" in servers.partition_keys())
    assert servers.runs() == before


def test_two_runs_of_the_log_assets_at_once_give_each_row_once(tmp_path: Path) -> None:
    home = home_of_four_releases(tmp_path)
    make_dagster_home(home)
    logs = {release: tmp_path / f"{release}.log" for release in RELEASES[:2]}
    running = {
        release: sim_platform(home, "run", release, log=log) for release, log in logs.items()
    }
    try:
        codes = {release: process.wait(timeout=300) for release, process in running.items()}
    finally:
        stop(*running.values())
    assert set(codes.values()) == {0}, "\n".join(log.read_text() for log in logs.values())
    assert_each_log_row_once(home)
    for table in (StratifiedSample, CandidateCompletions):
        assert rows(home, table_name(table)) == SAMPLE * len(running)
    assert rows(home, table_name(DeidentifiedCorpus), "conversation_key is null") == 0
