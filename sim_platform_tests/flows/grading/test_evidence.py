"""A verdict says what is known of the grader that it rests on."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from sim_platform.contracts.tables.estimation import ReleaseGate
from sim_platform.contracts.tables.grading import ClassifierScores, HumanLabels, LabelDraws
from sim_platform.contracts.tables.schema import frame
from sim_platform.flows.comparison import decide_release
from sim_platform.flows.grading.evidence import grader_evidence
from sim_platform.flows.report import write_report
from sim_platform.registry.home import load_home
from sim_platform_tests.flows.grading.test_asking import (
    data_of,
    judged_home,
    warehouse,
)
from sim_platform_tests.replay.scripted_server import ScriptedServer, completion

Run = Callable[..., list[str]]
GATE = {"tier": "gate", "gate": {"against": "recorded"}}


def yes_to_all(_: dict[str, Any]) -> dict[str, Any]:
    return completion(json.dumps({"says_sorry": {"label": True, "score": 1.0}}))


def labelled(home: Path, human: bool, n: int) -> None:
    """People's labels of the first `n` outcomes, as an import stores them."""
    scores = warehouse(home).read(ClassifierScores, {"behavior": "says_sorry"}).sort(pl.all())
    rows = [
        {
            **{name: row[name] for name in ("model_version", "behavior", "arm", "prefix_id", "k")},
            "item_id": f"i{i}",
            "label_stratum": "flag",
            "label_probability": 1.0,
            "is_double": False,
            "grader_hash": row["grader_hash"],
            "annotator": "",
            "label": human,
        }
        for i, row in enumerate(scores.head(n).to_dicts())
    ]
    with warehouse(home).transaction() as tx:
        tx.upsert(LabelDraws, frame(LabelDraws, rows))
        tx.upsert(HumanLabels, frame(HumanLabels, rows))


def test_a_judge_that_says_yes_to_everything_does_not_let_a_release_pass(
    run: Run, tmp_path: Path
) -> None:
    with ScriptedServer(answer=yes_to_all) as server:
        home = judged_home(tmp_path, server, n_behaviors=1, **GATE)
        run(home)
    (row,) = warehouse(home).read(ReleaseGate, {"behavior": "says_sorry"}).to_dicts()
    assert row["verdict"] == "INCONCLUSIVE"
    assert "its judge said yes to all" in row["reason"]
    assert row["marks"].startswith("no labels from people; said yes to all")
    page = write_report(load_home(home), "v2").read_text(encoding="utf-8")
    assert "no labels from people; said yes to all" in page

    labelled(home, True, 12)
    (row,) = (
        decide_release(load_home(home), warehouse(home), "v2")
        .filter(behavior="says_sorry")
        .to_dicts()
    )
    assert "its judge said" not in row["reason"]
    assert row["marks"].startswith("said yes to all")
    assert "no outcome of recorded has labels" in row["reason"]
    labelled(home, False, 12)
    found = grader_evidence(load_home(home), warehouse(home), "v2")["says_sorry"]
    assert (found.people_yes, found.people_no) == (0, 12)
    assert "people said no of 12 of 12" in str(found.cannot_gate)


def test_a_judge_that_gives_two_answers_to_one_question_is_marked(run: Run, tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    def wavering(body: dict[str, Any]) -> dict[str, Any]:
        text = data_of(body)["response"]["text"]
        asked[text] += 1
        return completion(json.dumps({"says_sorry": {"label": asked[text] % 2 == 0}}))

    judge = {"votes": 3}
    with ScriptedServer(answer=wavering) as server:
        run(judged_home(tmp_path, server, n_behaviors=1, judge=judge, **GATE))
    found = grader_evidence(load_home(tmp_path), warehouse(tmp_path), "v2")["says_sorry"]
    assert found.n_twice == found.n_differ > 10
    (row,) = warehouse(tmp_path).read(ReleaseGate, {"behavior": "says_sorry"}).to_dicts()
    assert f"disagreed with itself on {found.n_twice} of {found.n_twice}" in row["marks"]
