"""A run that stops when it is decided looks only at registered sizes, and each look has its share
of the error.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from sim_platform.commands.main import app
from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.estimation.sequential import level_at
from sim_platform.estimation.verdict import ALPHA
from sim_platform.orchestration.runs import run_until_decided
from sim_platform.registry.home import load_home
from sim_platform.registry.models import Plan
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import BEHAVIORS, RECORDED_MODELS, write_home, write_yaml

Run = Callable[..., list[str]]
LOOKS = [10, 20]


def home_with(path: Path, looks: list[int], **gate: Any) -> Path:
    plan = {"sample_size": 40, "strata": ["surface"], "floor": 5, "looks": looks}
    home = write_home(path, models=[RECORDED_MODELS[0], {**RECORDED_MODELS[1], "plan": plan}])
    asked = BEHAVIORS[0] | {"tier": "gate", "gate": {"against": "recorded", **gate}}
    write_yaml(home / "behaviors" / "apologises.yaml", asked)
    return home


def sizes_and_levels(home: Path) -> tuple[int, float]:
    warehouse = DuckDBFile(home / "warehouse.duckdb")
    rates = warehouse.read(RateComparison, {"behavior": "apologises", "arm": "candidate"})
    return len(warehouse.read(StratifiedSample)), rates["gate_level"][0]


def test_it_stops_at_the_first_look_that_decides(run: Run, tmp_path: Path) -> None:
    home = home_with(tmp_path, LOOKS, ceiling_per_100k=99_000)
    said: list[str] = []
    assert run_until_decided(load_home(home), "v2", say=said.append) == []
    assert "decided at 10 prefixes" in said
    size, level = sizes_and_levels(home)
    assert size == 10
    assert level == pytest.approx(level_at(10, LOOKS, 40, ALPHA))
    assert level < ALPHA / 2


def test_it_goes_to_the_planned_size_where_nothing_decides(run: Run, tmp_path: Path) -> None:
    home = home_with(tmp_path, LOOKS, margin=2.5, block_above=2.4)
    said: list[str] = []
    assert run_until_decided(load_home(home), "v2", say=said.append) == []
    assert [line for line in said if line.startswith("not decided")] == [
        f"not decided at {n} prefixes: apologises" for n in (10, 20, 40)
    ]
    size, level = sizes_and_levels(home)
    assert size == 40
    assert level == pytest.approx(level_at(40, LOOKS, 40, ALPHA))
    assert level < ALPHA


def test_a_second_run_goes_on_from_the_stored_sample(run: Run, tmp_path: Path) -> None:
    home = home_with(tmp_path, LOOKS, margin=2.5, block_above=2.4)
    run(home, sample_size=20)
    said: list[str] = []
    run_until_decided(load_home(home), "v2", say=said.append)
    assert [line for line in said if line.startswith("look")] == [
        f"look at {n} of 40 prefixes" for n in (20, 40)
    ]


def test_without_registered_looks_nothing_is_run_and_the_lines_to_write_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_with(tmp_path, [])
    with pytest.raises(BadInputError, match=r"looks: \[5, 10, 20\]"):
        run_until_decided(load_home(home), "v2", say=print)
    monkeypatch.setenv("SIM_PLATFORM_HOME", str(home))
    both = CliRunner().invoke(app, ["run", "v2", "--until", "decided", "--sample-size", "10"])
    assert both.exit_code == 2
    assert "its sizes from its looks" in both.stderr


@pytest.mark.parametrize("looks", [[20, 10], [10, 10], [40], [50], [0]])
def test_looks_grow_and_stay_below_the_planned_size(looks: list[int]) -> None:
    with pytest.raises(ValueError, match=r"looks|greater than"):
        Plan(sample_size=40, looks=looks)


def test_a_plan_without_looks_is_registered_as_it_was() -> None:
    assert "looks" not in Plan(sample_size=40).model_dump(mode="json")
    assert yaml.safe_load(yaml.safe_dump(Plan(looks=[10]).model_dump(mode="json")))["looks"] == [10]


def test_a_sample_beyond_the_planned_one_has_what_is_left_of_the_error() -> None:
    assert level_at(40, [], 40, ALPHA) == pytest.approx(ALPHA)
    assert level_at(10, [], 40, ALPHA) == pytest.approx(ALPHA)
    assert level_at(80, [10, 20], 40, ALPHA) < ALPHA
