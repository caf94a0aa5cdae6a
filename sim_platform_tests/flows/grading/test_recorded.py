"""What the version in service answered is graded as production monitoring sees it."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from sim_platform.contracts.messages import text_of, turn_after, user_turns
from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.contracts.tables.grading import ClassifierScores, ProductionScores
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.flows.grading.labels import export_labels
from sim_platform.flows.grading.production import score_production
from sim_platform.flows.grading.recorded import responses_of
from sim_platform.flows.grading.scoring import score_release
from sim_platform.grading.label_sampling import LabelPlan
from sim_platform.registry.home import load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.flows.grading.test_asking import judged_home
from sim_platform_tests.homes import conversation, write_home, write_yaml
from sim_platform_tests.replay.scripted_server import ScriptedServer, completion

Run = Callable[..., list[str]]
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "tau_bench" / "convert.py"
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


CALL = {"id": "c", "type": "function", "function": {"name": "find", "arguments": "{}"}}


def agentic(n: int, version: str) -> dict[str, Any]:
    """The address is given after a call: only whoever reads the end of the turn sees it."""
    said = f"Write to {ADDRESS}." if n % 2 else "I cannot say."
    messages = [
        {"role": "user", "content": f"How do I reach you, number {n}?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "{}"},
        {"role": "assistant", "content": said},
    ]
    return conversation(n, version, messages=messages, metadata={})


def test_every_arm_of_the_log_is_graded_on_the_text_that_ends_a_turn_with_all_of_its_calls(
    run: Run, tmp_path: Path
) -> None:
    home = address_home(tmp_path)
    rows = [agentic(n, v) for v in ("v1", "v2") for n in range(20)]
    (home / "logs" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(home)
    for table, arm in ((ClassifierScores, "recorded"), (ProductionScores, None)):
        assert labels(home, table, **({"arm": arm} if arm else {}))["label"].sum() == 10
    # served from the log, where the detector of the tests has masked the addresses
    warehouse = DuckDBFile(home / "warehouse.duckdb")
    candidate = warehouse.read(CandidateCompletions, {"arm": "candidate"})
    assert candidate["text"].is_not_null().all()
    assert {json.loads(calls)[0]["id"] for calls in candidate["tool_calls"]} == {"call_1"}
    sample = warehouse.read(StratifiedSample)
    assert sample["recorded_is_complete"].all()
    assert {len(json.loads(turn)) for turn in sample["recorded_turn"]} == {3}
    given = export_labels(load_home(home), "v2", ["gives_the_address"], LabelPlan())
    assert {call["function"]["name"] for row in given for call in row["tool_calls"]} == {"find"}
    assert all(row["response"] and row["tool_calls"] for row in given)


def test_scores_of_before_there_were_whole_turns_are_made_again_where_a_turn_has_calls(
    run: Run, tmp_path: Path
) -> None:
    home = address_home(tmp_path)
    rows = [agentic(n, "v1") if n < 10 else answered(n, "Hm.") for n in range(20)]
    rows += [answered(n, "Hm.", "v2") for n in range(20)]
    (home / "logs" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded, warehouse = load_home(home), DuckDBFile(home / "warehouse.duckdb")
    run(home)
    before = labels(home, ProductionScores).sort("conversation_key")
    with warehouse.transaction() as tx:
        tx.execute("update production_scores set label = true")
        tx.execute("alter table production_scores drop column is_whole_turn")

    def again() -> int:
        scored: list[int] = []
        score_production(
            loaded, DuckDBFile(loaded.vault), warehouse, "v2", total=scored.append, advance=print
        )
        return scored[0]

    assert again() == 10
    after = labels(home, ProductionScores)
    assert after["label"].sum() == 10 + before["label"].sum()
    assert again() == 0


def test_of_the_turns_of_tau_bench_that_begin_with_a_bare_call_the_final_text_is_graded(
    real_data: Path,
) -> None:
    rows = [
        {"conversation_key": "c", "messages": json.dumps(row["messages"])}
        | dict.fromkeys(("labels", "metadata"), "{}")
        for row in runpy.run_path(str(EXAMPLE))["conversations"](real_data / "tau_bench")
    ]
    every = [response for row in rows for response in responses_of(row, every=True)]
    found = [response for response in every if response["status"] == "completed"]
    bare = 0
    for row in rows:
        messages = json.loads(row["messages"])
        first = [turn_after(messages, t + 1)[:1] for t in user_turns(messages)]
        bare += sum(bool(m) and not text_of(m[0]) and bool(m[0].get("tool_calls")) for m in first)
    with_text = sum(bool((response["text"] or "").strip()) for response in found)
    assert (len(found), bare) == (1341, 497)
    assert with_text == 1300  # 96.9 %; the rest end with a call, a hand-over to a person mostly
    assert sum(len(json.loads(r["tool_calls"])) for r in found) == 1164
