"""One sentence for a verdict, wherever it is shown; and a rule's numbers from the registration."""

import json
from pathlib import Path

import dagster as dg
import polars as pl
from typer.testing import CliRunner

from sim_platform.commands.main import app
from sim_platform.contracts.tables.estimation import RateComparison, ReleaseGate
from sim_platform.flows.registration import register_release
from sim_platform.orchestration.assets.estimation import release_gate
from sim_platform.orchestration.checks import RELEASE_GATES, gate_check
from sim_platform.orchestration.partitions import register
from sim_platform.orchestration.resources import Deployment
from sim_platform.registry.home import load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform.warehouse.gates import NO_GATE_BEHAVIOUR_BLOCKS_THE_RELEASE
from sim_platform_tests.homes import BEHAVIORS, write_home, write_yaml
from sim_platform_tests.running import Run


def said_by(home: Path, *arguments: str) -> str:
    shown = {"SIM_PLATFORM_HOME": str(home), "COLUMNS": "1000"}
    return CliRunner().invoke(app, [*arguments], env=shown).stdout


def test_what_is_surely_worse_is_said_on_every_surface_in_the_same_words(
    run: Run, tmp_path: Path
) -> None:
    """v2 apologises twice as often as v1, and its rule allows nine times."""
    home = write_home(tmp_path)
    rule = {"against": "recorded", "margin": 9.0, "block_above": 8.0, "missing_times": 1}
    apologises = {**BEHAVIORS[0], "tier": "gate", "gate": rule}
    write_yaml(home / "behaviors" / "apologises.yaml", apologises)
    said = run(home, "v2")
    warehouse = DuckDBFile(home / "warehouse.duckdb")
    row = warehouse.read(ReleaseGate, {"behavior": "apologises"}).to_dicts()[0]
    by, low, high = (100 * row[f"worse_by{end}"] for end in ("", "_low", "_high"))
    assert low > 0
    worse = f"{by:.1f} points ({low:.1f} to {high:.1f})"
    sentence = f"{row['verdict']}, worse by {worse}"
    release = f"apologises by {worse}"
    assert row["verdict"] in ("PASS", "INCONCLUSIVE")
    for command in (("gate", "v2"), ("rates", "v2")):
        assert sentence in said_by(home, *command), (command, said)
    assert release in said_by(home, "status")
    assert release in json.loads(said_by(home, "status", "--json"))["releases"][0]["verdict"]
    found = json.loads(said_by(home, "gate", "v2", "--json"))
    assert release in found["reason"]
    assert [b["said"] for b in found["behaviors"] if b["tier"] == "gate"] == [sentence]
    rates = json.loads(said_by(home, "rates", "v2", "--json"))
    assert {r["verdict"] for r in rates if r["behavior"] == "apologises"} == {sentence}
    page = (home / "reports" / "v2.html").read_text()
    assert (sentence in page, release in page) == (True, True)

    instance = dg.DagsterInstance.get()
    register(instance, ("v2",))
    check = gate_check("release_gate", NO_GATE_BEHAVIOUR_BLOCKS_THE_RELEASE, partitioned=True)
    made = dg.materialize(
        [release_gate, check],
        partition_key="v2",
        instance=instance,
        resources={"deployment": Deployment(home_dir=str(home))},
    )
    (event,) = made.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert release in str(metadata["verdict"].value)
    assert sentence in str(metadata["decisions"].value)
    (evaluation,) = made.get_asset_check_evaluations()
    assert release in str(evaluation.metadata["says"].value)
    assert NO_GATE_BEHAVIOUR_BLOCKS_THE_RELEASE in RELEASE_GATES[ReleaseGate]


def test_an_open_margin_follows_from_the_graded_log_and_stays_what_was_registered(
    run: Run, tmp_path: Path
) -> None:
    home = write_home(tmp_path, n=400)
    open_rule = {**BEHAVIORS[0], "tier": "gate", "gate": {"against": "recorded"}}
    write_yaml(home / "behaviors" / "apologises.yaml", open_rule)
    plan = load_home(home).release("v2")[0].plan
    run(home, "v2")
    warehouse = DuckDBFile(home / "warehouse.duckdb")
    record = register_release(load_home(home), warehouse, "v2").content
    rates = warehouse.read(RateComparison, {"behavior": "apologises"})
    expected = record["expected_events"]["apologises"]
    assert 0.1 < expected / plan.sample_size < 0.4
    gate = next(b["gate"] for b in record["behaviors"] if b["id"] == "apologises")
    assert (gate["margin"], gate["missing_times"]) == (2.0 if expected < 50 else 1.5, 5.0)
    stored = warehouse.read(ReleaseGate, {"behavior": "apologises"})
    assert stored["margin"].to_list() == [gate["margin"]]
    missing = rates.filter(pl.col("n_missing") > 0)["missing_reasons"].to_list()
    assert all(sum(json.loads(m).values()) for m in missing)
