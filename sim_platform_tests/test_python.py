"""What `import sim_platform` offers, and that every Python block of the documents runs."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import sim_platform
from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.contracts.tables.estimation import RateComparison, ReleaseGate
from sim_platform.contracts.tables.forecasting import RateForecast
from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import Table, dtypes
from sim_platform.warehouse.duckdb_file import DuckDBFile, publish
from sim_platform_tests.homes import RECORDED_MODELS, conversation, write_home
from sim_platform_tests.running import run_once
from sim_platform_tests.test_readme import DOCUMENTS, ROOT

TABLES: dict[str, type[Table]] = {
    "sample": StratifiedSample,
    "completions": CandidateCompletions,
    "scores": ClassifierScores,
    "rates": RateComparison,
    "gate": ReleaseGate,
    "forecast": RateForecast,
}
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
WITH_PYTHON = [d for d in DOCUMENTS if BLOCK.search(d.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `data` is a home with the demo's release, after a run (synthetic)."""
    folder = tmp_path_factory.mktemp("python")
    versions = {"v1": "demo-v1", "v2": "demo-v2"}
    models = [
        {
            key: versions.get(value, value) if isinstance(value, str) else value
            for key, value in m.items()
        }
        for m in RECORDED_MODELS
    ]
    rows = [
        conversation(i, v) | {"model_version": versions[v]} for v in versions for i in range(60)
    ]
    run_once(write_home(folder / "data", rows=rows, models=models), tmp_path_factory)
    return folder


@pytest.mark.parametrize("name", TABLES)
def test_every_frame_has_the_columns_of_its_contract(finished: Path, name: str) -> None:
    rows: pl.DataFrame = getattr(sim_platform.open_home(finished / "data"), name)("demo-v2")
    assert len(rows)
    assert dict(rows.schema) == dtypes(TABLES[name])


def test_while_a_run_writes_the_published_copy_is_read(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = sim_platform.open_home(finished / "data")
    warehouse = DuckDBFile(finished / "data" / "warehouse.duckdb")
    publish(warehouse, finished / "data" / "published.duckdb")
    monkeypatch.setattr("sim_platform.flows.results.WHILE_A_RUN_WRITES", 0.1)
    with warehouse.transaction():
        sample = home.sample("demo-v2")
        rates = home.rates("demo-v2")
    assert sample["user_key"].null_count() == len(sample)
    assert rates.equals(home.rates("demo-v2"))


def test_what_is_not_there_is_named_with_the_way_out(tmp_path: Path) -> None:
    home = sim_platform.open_home(write_home(tmp_path))
    assert home.releases == ("v2",)
    with pytest.raises(BadInputError, match="v3"):
        home.rates("v3")
    with pytest.raises(SimPlatformError, match="sim-platform run v2"):
        home.rates("v2")
    with pytest.raises(BadInputError, match="nowhere"):
        sim_platform.open_home(tmp_path / "nowhere")


@pytest.mark.parametrize("document", WITH_PYTHON, ids=lambda d: str(d.relative_to(ROOT)))
def test_every_python_block_of_a_document_runs(
    finished: Path, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished)
    monkeypatch.setattr(
        sim_platform.OpenHome, "run", lambda home, release, **_: home.rates(release)
    )
    names: dict[str, Any] = {}
    for block in BLOCK.findall(document.read_text(encoding="utf-8")):
        exec(compile(block, str(document.name), "exec"), names)  # noqa: S102 - our own documents
    assert names
