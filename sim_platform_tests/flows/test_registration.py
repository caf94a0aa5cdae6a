"""Registered first, then answered, then shown."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from sim_platform.commands.main import app
from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.estimation import Preregistration, RateComparison
from sim_platform.contracts.tables.forecasting import RateForecast
from sim_platform.contracts.tables.grading import ClassifierScores, ProductionScores
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.flows import results
from sim_platform.flows.leftovers import remove_leftovers
from sim_platform.flows.registration import register_release, verified
from sim_platform.flows.results import stored_verdict
from sim_platform.orchestration.assets.deidentification import deidentified_corpus
from sim_platform.orchestration.assets.extraction import consented_log_extract
from sim_platform.orchestration.assets.replay import candidate_completions
from sim_platform.orchestration.assets.sampling import stratified_sample
from sim_platform.orchestration.build import build_definitions
from sim_platform.orchestration.partitions import register
from sim_platform.orchestration.resources import Deployment
from sim_platform.registry.home import load_home
from sim_platform.registry.preregistration import FOLDER
from sim_platform.reporting.rates import rate_rows
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import BEHAVIORS, RECORDED_MODELS, write_home, write_yaml

Run = Callable[..., list[str]]


def warehouse(home: Path) -> DuckDBFile:
    return DuckDBFile(home / "warehouse.duckdb")


def materialized(
    home: Path, *assets: dg.AssetsDefinition, partition: str | None = "v2"
) -> dg.ExecuteInProcessResult:
    instance = dg.DagsterInstance.get()
    register(instance, ("v2",))
    return dg.materialize(
        [*assets],
        partition_key=partition,
        instance=instance,
        resources={"deployment": Deployment(home_dir=str(home))},
        raise_on_error=False,
    )


def test_a_run_registers_before_the_first_outcome(home: Path) -> None:
    (record,) = warehouse(home).read(Preregistration).to_dicts()
    first = warehouse(home).read(CandidateCompletions)["completed_at"].min()
    assert (record["number"], record["is_exploratory"]) == (1, False)
    assert record["registered_at"] < first
    assert verified(load_home(home), warehouse(home), "v2")["problems"] == []


def test_nothing_is_sent_without_a_record(run: Run, tmp_path: Path) -> None:
    home = write_home(tmp_path)
    deployment = {"deployment": Deployment(home_dir=str(home))}
    dg.materialize(
        [consented_log_extract, deidentified_corpus],
        instance=dg.DagsterInstance.get(),
        resources=deployment,
    )
    assert materialized(home, stratified_sample).success
    refused = materialized(home, candidate_completions)
    assert not refused.success
    assert "sim-platform register v2" in str(
        refused.failure_data_for_node("candidate_completions").user_failure_data
    )
    assert warehouse(home).read(CandidateCompletions).is_empty()
    register_release(load_home(home), warehouse(home), "v2")
    assert materialized(home, candidate_completions).success


def test_no_rate_is_shown_of_a_release_whose_record_is_gone(home: Path) -> None:
    assert len(results.stored_rates(load_home(home), "v2"))
    for file in (home / FOLDER).iterdir():
        file.unlink()
    with pytest.raises(SimPlatformError, match="its file is gone"):
        results.stored_rates(load_home(home), "v2")
    with warehouse(home).transaction() as tx:
        tx.execute("delete from preregistration")
    with pytest.raises(SimPlatformError, match="v2 is not registered"):
        results.stored_rates(load_home(home), "v2")


SHOWING = [
    ["rates", "v2"],
    ["gate", "v2"],
    ["forecast", "v2"],
    ["report", "v2"],
    ["labels", "export", "v2", "--to", "out.csv"],
]
RATED = [
    "candidate_completions",
    "classifier_scores",
    "calibration",
    "rate_comparison",
    "release_gate",
    "rate_forecast",
    "release_report",
]


def test_no_command_and_no_asset_shows_a_rate_of_a_release_without_a_record(
    run: Run, home: Path
) -> None:
    (home / FOLDER).rename(home / "elsewhere")
    with warehouse(home).transaction() as tx:
        tx.execute("delete from preregistration")
    for arguments in SHOWING:
        result = CliRunner().invoke(app, arguments, env={"SIM_PLATFORM_HOME": str(home)})
        assert result.exit_code != 0, arguments
        assert result.stdout == "", arguments
        assert "is not registered" in result.stderr, arguments
    assets = {
        asset.key.to_user_string(): asset
        for asset in build_definitions().assets or []
        if isinstance(asset, dg.AssetsDefinition)
    }
    for name in RATED:
        failed = materialized(home, assets[name])
        assert "is not registered" in str(failed.failure_data_for_node(name).user_failure_data), (
            name
        )
    for name in ("release_summary", "rates_by_model_version", "rates_by_stratum"):
        failed = materialized(home, assets[name], partition=None)
        assert "there are rates of v2 and no registration" in str(
            failed.failure_data_for_node(name).user_failure_data
        ), name


def test_a_change_before_any_outcome_is_amended_by_the_run(run: Run, tmp_path: Path) -> None:
    home = write_home(tmp_path)
    register_release(load_home(home), warehouse(home), "v2")
    write_yaml(
        home / "behaviors" / "apologises.yaml",
        {**BEHAVIORS[0], "graders": [{"kind": "contains", "any": ["pardon"]}]},
    )
    run(home)
    records = warehouse(home).read(Preregistration).sort("number")
    assert records["kind"].to_list() == ["registration", "amendment"]
    assert "apologises: grader_hash" in records["reason"][1]
    assert not warehouse(home).read(ClassifierScores)["is_exploratory"].any()


def test_a_grader_that_changed_after_outcomes_is_refused_until_it_is_declared_exploratory(
    run: Run, home: Path
) -> None:
    before = warehouse(home).read(ClassifierScores)
    write_yaml(
        home / "behaviors" / "apologises.yaml",
        {**BEHAVIORS[0], "graders": [{"kind": "contains", "any": ["cannot"]}]},
    )
    said = "\n".join(run(home))
    assert "the graders of apologises are not the registered ones" in said
    assert warehouse(home).read(ClassifierScores).sort(pl.all()).equals(before.sort(pl.all()))
    assert register_release(
        load_home(home), warehouse(home), "v2", "a better pattern"
    ).is_exploratory
    run(home)
    marked = (
        warehouse(home)
        .read(ClassifierScores)
        .group_by("behavior")
        .agg(pl.col("is_exploratory").all())
        .sort("behavior")
    )
    assert marked.rows() == [("apologises", True), ("mentions_weather", False)]
    rates = warehouse(home).read(RateComparison)
    assert rates.filter("is_exploratory")["behavior"].unique().to_list() == ["apologises"]
    assert "apologises (exploratory)" in [row["behaviour"] for row in rate_rows(rates)]
    forecasts = warehouse(home).read(RateForecast)
    assert forecasts.filter("is_exploratory")["behavior"].unique().to_list() == ["apologises"]
    page = (home / "reports" / "v2.html").read_text()
    unmarked = re.findall(r"(?:>|: )apologises(?! \(exploratory\)| changed)[^_]", page)
    assert len(re.findall(r"apologises \(exploratory\)", page)) > 5
    assert unmarked == []


def test_a_new_behaviour_after_outcomes_is_graded_only_as_exploratory(run: Run, home: Path) -> None:
    new = {**BEHAVIORS[0], "id": "hedges", "graders": [{"kind": "contains", "any": ["something"]}]}
    write_yaml(home / "behaviors" / "hedges.yaml", new)
    assert "hedges" in "\n".join(run(home))
    write_yaml(home / "behaviors" / "hedges.yaml", {**new, "tier": "exploratory"})
    run(home)
    assert warehouse(home).read(ClassifierScores, {"behavior": "hedges"})["is_exploratory"].all()


def test_a_plan_that_changed_after_outcomes_marks_every_rate_and_the_verdict_says_so(
    run: Run, home: Path
) -> None:
    write_yaml(home / "behaviors" / "apologises.yaml", {**BEHAVIORS[0], "tier": "gate"})
    run(home)
    verdict = "INCONCLUSIVE: it has changed since its registration (tier) (tier gate: apologises)"
    assert stored_verdict(load_home(home), "v2") == verdict
    write_yaml(
        home / "models.yaml",
        {
            "models": [
                RECORDED_MODELS[0],
                {**RECORDED_MODELS[1], "plan": {"sample_size": 20, "floor": 5}},
            ]
        },
    )
    run(home, redraw=True)
    assert warehouse(home).read(RateComparison)["is_exploratory"].all()
    verdict = stored_verdict(load_home(home), "v2")
    assert verdict.startswith(
        "INCONCLUSIVE: everything is exploratory: what was registered has changed since, plan ("
    )
    assert "sample_size: 40 registered, 20 now" in verdict
    assert verdict.endswith("(tier gate: apologises)")


def test_an_edited_record_stops_the_run_before_anything_is_sent(run: Run, tmp_path: Path) -> None:
    home = write_home(tmp_path)
    record = register_release(load_home(home), warehouse(home), "v2")
    record.path.write_text(record.path.read_text().replace('"alpha":0.05', '"alpha":0.5'))
    said = "\n".join(run(home))
    assert "was edited" in said
    assert warehouse(home).read(CandidateCompletions).is_empty()


def test_production_is_graded_whole_by_the_same_graders_and_only_what_is_new_again(
    run: Run, home: Path
) -> None:
    scores = warehouse(home).read(ProductionScores)
    kept = [i for i in range(60) if i % 17 != 16]
    assert len(scores) == 2 * len(kept)
    assert scores.filter(behavior="apologises")["label"].sum() == sum(i % 4 == 0 for i in kept)
    assert set(scores["grader_hash"]) == set(warehouse(home).read(ClassifierScores)["grader_hash"])
    run(home)
    assert warehouse(home).read(ProductionScores).sort(pl.all()).equals(scores.sort(pl.all()))


KILLED = """
import os, sys

n, last = 0, int(sys.argv[1])

def counted(event, arguments):
    global n
    durable = event in ("os.rename", "os.link", "os.remove") or (
        event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & {"w", "x", "a"}
    )
    if durable and any(HOME in str(argument) for argument in arguments[:2]):
        n += 1
        if n == last:
            os._exit(137)

from sim_platform.commands.main import app
import sim_platform.flows.registration, sim_platform.flows.files
HOME = os.environ["SIM_PLATFORM_HOME"]
sys.addaudithook(counted)
real = sim_platform.flows.registration._store

def store(*arguments):  # DuckDB tells no audit hook: before and after its commit
    counted("os.rename", [HOME])
    real(*arguments)
    counted("os.rename", [HOME])

sim_platform.flows.registration._store = store
app(["register", "v2"])
"""


def test_a_register_that_was_killed_anywhere_is_finished_by_the_same_command(
    tmp_path: Path,
) -> None:
    kills = 0
    for step in range(1, 30):
        home = write_home(tmp_path / str(step), n=1)
        environment = {**os.environ, "SIM_PLATFORM_HOME": str(home)}
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, str(step)], env=environment, capture_output=True
        )
        if killed.returncode != 137:
            assert killed.returncode == 0, killed.stderr
            break
        kills += 1
        for _ in range(2):
            done = CliRunner().invoke(app, ["register", "v2"], env={"SIM_PLATFORM_HOME": str(home)})
            assert done.exit_code == 0, done.output
        facts = verified(load_home(home), warehouse(home), "v2")
        assert (len(facts["records"]), facts["problems"], facts["differs_now"]) == (1, [], [])
        assert warehouse(home).read(Preregistration)["number"].to_list() == [1]
        remove_leftovers(load_home(home))
        assert sorted(file.name for file in (home / FOLDER).iterdir()) == [
            "0001-v2.json",
            "0001-v2.json.sha256",
        ]
    assert kills >= 6, "every durable step was reached"
