"""What the version in service answered is graded as production monitoring sees it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.contracts.tables.grading import ClassifierScores, ProductionScores
from sim_platform.flows.grading.scoring import score_release
from sim_platform.registry.home import load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.flows.grading.test_asking import judged_home
from sim_platform_tests.homes import conversation, write_home, write_yaml
from sim_platform_tests.replay.scripted_server import ScriptedServer, completion

Run = Callable[..., list[str]]
ADDRESS = "office@example.com"  # the tests' detector masks addresses
GIVES_THE_ADDRESS = {
    "id": "gives_the_address",
    "title": "Gives the address",
    "definition": "The response gives the address of the office.",
    "graders": [{"kind": "contains", "any": [ADDRESS]}],
}


def answered(n: int, text: str, version: str = "v1") -> dict[str, Any]:
    asked = {"role": "user", "content": f"How do I reach you, number {n}?"}
    return conversation(
        n, version, messages=[asked, {"role": "assistant", "content": text}], metadata={}
    )


def address_home(path: Path, **deidentification: Any) -> Path:
    """Every second answer of v1 gives the office's address."""
    rows = [
        answered(n, f"Write to {ADDRESS}." if n % 2 and v == "v1" else "I cannot say.", v)
        for v in ("v1", "v2")
        for n in range(20)
    ]
    home = write_home(path, rows=rows)
    models = yaml.safe_load((home / "models.yaml").read_text())
    models["models"][1]["plan"] = {"sample_size": 40}
    write_yaml(home / "models.yaml", models)
    write_yaml(home / "behaviors" / "gives_the_address.yaml", GIVES_THE_ADDRESS)
    sources = yaml.safe_load((home / "sources.yaml").read_text())
    write_yaml(home / "sources.yaml", sources | {"deidentification": {"k": 1, **deidentification}})
    return home


def labels(home: Path, table: type[Any], **where: object) -> pl.DataFrame:
    mine = {"behavior": "gives_the_address", **where}
    return DuckDBFile(home / "warehouse.duckdb").read(table, mine)


def test_recorded_responses_are_graded_as_they_stand_in_the_log(run: Run, tmp_path: Path) -> None:
    home = address_home(tmp_path)
    run(home)
    recorded = labels(home, ClassifierScores, arm="recorded")
    production = labels(home, ProductionScores)
    for found in (recorded, production):
        assert found["label"].sum() == 10
        assert set(found["graded_on"]) == {"raw"}
    candidate = labels(home, ClassifierScores, arm="candidate")
    assert candidate["graded_on"].is_null().all()
    rates = labels(home, RateComparison)
    assert dict(rates.select("arm", "recorded_on").iter_rows()) == {
        "candidate": "raw",
        "recorded": "raw",
    }
    assert ADDRESS.encode() not in (home / "warehouse.duckdb").read_bytes()


def test_a_home_may_keep_the_log_from_its_graders(run: Run, tmp_path: Path) -> None:
    home = address_home(tmp_path, grade_recorded_on="deidentified")
    run(home)
    for table in (ClassifierScores, ProductionScores):
        found = labels(home, table).filter(pl.col("graded_on") == "deidentified")
        assert len(found) == 20
        assert not found["label"].any()
    assert set(labels(home, RateComparison, arm="recorded")["recorded_on"]) == {"deidentified"}


def test_graders_that_are_asked_never_see_the_log(run: Run, tmp_path: Path) -> None:
    def no(_: dict[str, Any]) -> dict[str, Any]:
        return completion(json.dumps({"says_sorry": {"label": False, "score": 0.0}}))

    with ScriptedServer(answer=no) as server:
        home = judged_home(tmp_path, server, n_behaviors=1)
        rows = [answered(n, f"Write to {ADDRESS}.", v) for v in ("v1", "v2") for n in range(20)]
        (home / "logs" / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        run(home)
        asked = [json.dumps(body) for body in server.bodies]
    assert asked
    assert not any(ADDRESS in body for body in asked)
    warehouse = DuckDBFile(home / "warehouse.duckdb")
    judged = warehouse.read(ClassifierScores, {"behavior": "says_sorry", "arm": "recorded"})
    assert set(judged["graded_on"]) == {"deidentified"}


def test_who_is_eligible_is_decided_by_what_all_arms_have(run: Run, tmp_path: Path) -> None:
    home = address_home(tmp_path, k=15)  # nine conversations of a surface are too few to be told
    rows = [
        answered(n, f"Write to {ADDRESS}.", v) | {"metadata": {"surface": "a" if n < 9 else "b"}}
        for v in ("v1", "v2")
        for n in range(40)
    ]
    (home / "logs" / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    models = yaml.safe_load((home / "models.yaml").read_text())
    models["models"][1]["plan"] = {"sample_size": 40, "strata": ["surface"], "floor": 5}
    write_yaml(home / "models.yaml", models)
    write_yaml(
        home / "behaviors" / "gives_the_address.yaml",
        GIVES_THE_ADDRESS | {"applies_to": {"surface": "a"}},
    )
    run(home)
    by_arm = labels(home, ClassifierScores).group_by("arm").agg(pl.col("applies").sum())
    assert by_arm["applies"].n_unique() == 1


def test_a_conversation_that_went_on_is_graded_again(run: Run, tmp_path: Path) -> None:
    home = address_home(tmp_path)
    run(home)
    log = home / "logs" / "log.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    rows[0]["messages"] += [
        {"role": "user", "content": "And by mail?"},
        {"role": "assistant", "content": f"Write to {ADDRESS}."},
    ]
    log.write_text("".join(json.dumps(r) + "\n" for r in rows))
    run(home)
    production = labels(home, ProductionScores)
    assert production["label"].sum() == 11
    assert len(production) == 20
    assert labels(home, ClassifierScores, arm="recorded")["label"].sum() == 11


@pytest.mark.parametrize("column", ["graded_on", "text_key"])
def test_scores_of_before_are_made_again(run: Run, column: str, tmp_path: Path) -> None:
    home = address_home(tmp_path)
    run(home)
    with DuckDBFile(home / "warehouse.duckdb").transaction() as tx:
        tx.execute("update production_scores set text_key = null, graded_on = null, label = false")
    run(home)
    production = labels(home, ProductionScores)
    assert production["label"].sum() == 10
    assert not production[column].has_nulls()


def test_a_turn_that_is_no_longer_in_the_log_is_graded_as_it_was_drawn(
    run: Run, tmp_path: Path
) -> None:
    home = address_home(tmp_path)
    run(home)
    vault, warehouse = (DuckDBFile(home / f"{name}.duckdb") for name in ("vault", "warehouse"))
    only = json.dumps([{"role": "user", "content": "Never mind."}])
    with vault.transaction() as tx:
        tx.execute(
            "update consented_log_extract set messages = $only where conversation_id = 'v1-1'",
            {"only": only},
        )
        tx.execute("delete from consented_log_extract where conversation_id = 'v1-3'")
    score_release(
        load_home(home),
        vault,
        warehouse,
        "v2",
        advance=lambda n: None,
        on_answer=lambda came, total: None,
    )
    recorded = labels(home, ClassifierScores, arm="recorded")
    assert dict(recorded["graded_on"].value_counts().iter_rows()) == {"raw": 18, "deidentified": 2}
