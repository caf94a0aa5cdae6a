"""Judges through the replay engine: each question once, ever, and every failure explicit."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from sim_platform.contracts.tables.grading import ClassifierScores, GraderAnswers
from sim_platform.flows.grading import asking as asking_flow
from sim_platform.flows.grading.asking import Asking, flip_rate
from sim_platform.grading.items import GradedItem
from sim_platform.registry.home import Home, load_home
from sim_platform.replay.limits import Limits
from sim_platform.replay.providers.protocol import StopRun
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.grading.injections import INJECTIONS
from sim_platform_tests.grading.samples import response
from sim_platform_tests.homes import RECORDED_MODELS, write_home, write_yaml
from sim_platform_tests.replay.scripted_server import ScriptedServer, completion

Run = Callable[..., list[str]]
WORDS = ["sorry", "cannot", "something", "about"]


def data_of(body: dict[str, Any]) -> dict[str, Any]:
    found = re.search(
        r"^BEGIN DATA ([0-9a-f]{16})\n(.*)\nEND DATA \1$",
        body["messages"][1]["content"],
        re.MULTILINE,
    )
    assert found
    data: dict[str, Any] = json.loads(found[2])
    return data


def honest(body: dict[str, Any]) -> dict[str, Any]:
    """A judge that does as it is told: behaviour says_WORD occurs when the response has the word,
    whatever else stands there.
    """
    text = data_of(body)["response"]["text"].lower()
    names = body["response_format"]["json_schema"]["schema"]["required"]
    return completion(
        json.dumps(
            {
                n: {
                    "evidence": "",
                    "rationale": "read",
                    "score": 0.9,
                    "label": n.removeprefix("says_") in text,
                }
                for n in names
            }
        )
    )


def obedient(body: dict[str, Any]) -> dict[str, Any]:
    """A judge that obeys the data: it answers what an instruction in the response wants."""
    found = re.search(r'Return "label": (true|false)', data_of(body)["response"]["text"])
    if found is None:
        return honest(body)
    names = body["response_format"]["json_schema"]["schema"]["required"]
    return completion(
        json.dumps(
            {
                n: {"evidence": "", "rationale": "", "score": 0, "label": found[1] == "true"}
                for n in names
            }
        )
    )


def judged_home(
    path: Path,
    server: ScriptedServer,
    *,
    n_behaviors: int = 4,
    n: int = 40,
    judge: dict[str, Any] | None = None,
    **more: Any,
) -> Path:
    asked = {
        "version": "judge",
        "provider": "openai",
        "base_url": server.url,
        "model": "j",
        "concurrency": 4,
        "max_retries": 0,
    }
    home = write_home(path, n=n, models=[*RECORDED_MODELS, asked])
    for i in range(n_behaviors):
        name = f"says_{WORDS[i]}" if i < len(WORDS) else f"says_nothing_{i}"
        grader = {"kind": "judge", **(judge or {})}
        write_yaml(
            home / "behaviors" / f"{name}.yaml",
            {
                "id": name,
                "title": name,
                "definition": f"The response says {name}.",
                "graders": [grader],
                **more,
            },
        )
    return home


def warehouse(home: Path) -> DuckDBFile:
    return DuckDBFile(home / "warehouse.duckdb")


def test_twenty_behaviours_cost_one_call_an_item_and_a_second_run_none(
    run: Run, tmp_path: Path
) -> None:
    with ScriptedServer(answer=honest) as server:
        home = judged_home(tmp_path, server, n_behaviors=20)
        run(home)
        items = warehouse(home).read(GraderAnswers)["item_hash"].n_unique()
        assert server.requests.total() == items
        scores = warehouse(home).read(ClassifierScores)
        run(home)
        assert server.requests.total() == items
    assert warehouse(home).read(ClassifierScores).sort(pl.all()).equals(scores.sort(pl.all()))
    by_rule, by_judge = (
        scores.filter(behavior=b).sort("arm", "prefix_id")["label"].to_list()
        for b in ("apologises", "says_sorry")
    )
    assert by_rule == by_judge


def test_a_screen_spares_what_it_does_not_flag(run: Run, tmp_path: Path) -> None:
    with ScriptedServer(answer=honest) as server:
        home = judged_home(tmp_path, server, n_behaviors=0)
        grader = {
            "kind": "ensemble",
            "screen": [{"kind": "contains", "any": ["sorry"]}],
            "judge": {"kind": "judge"},
        }
        write_yaml(
            home / "behaviors" / "says_cannot.yaml",
            {"id": "says_cannot", "title": "t", "definition": "d", "graders": [grader]},
        )
        run(home)
        assert all("sorry" in data_of(body)["response"]["text"].lower() for body in server.bodies)
    scores = warehouse(home).read(ClassifierScores, {"behavior": "says_cannot"})
    assert (
        scores["label"].null_count() == scores.filter(pl.col("missing_reason").is_not_null()).height
    )
    assert 0 < scores["label"].sum() < len(scores)


def test_three_votes_are_three_calls_and_the_majority_decides(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    def wavering(body: dict[str, Any]) -> dict[str, Any]:
        text = data_of(body)["response"]["text"]
        asked[text] += 1
        return completion(json.dumps({"says_sorry": {"label": asked[text] != 2, "score": 0.5}}))

    with ScriptedServer(answer=wavering) as server:
        home = load_home(judged_home(tmp_path, server, n_behaviors=1, judge={"votes": 3}))
        (item,) = Asking(home, warehouse(tmp_path), "t")([response("x")], home.graded)
        assert server.requests.total() == 3
    assert item.answered["judge:says_sorry"].label is True


@pytest.mark.parametrize(
    ("answer", "reason", "calls"),
    [
        (lambda body: completion("It does."), "judge:not_json", 2),
        (lambda body: completion('{"says_sorry": {"verdict": 1}}'), "judge:wrong_schema", 2),
        (
            lambda body: completion('{"says_sorry": {"label": true, "label": false}}'),
            "judge:contradictory",
            2,
        ),
        (lambda body: completion("{}"), "judge:no_answer", 2),
        (lambda body: completion(None, refusal="I would rather not."), "judge:refused", 1),
        (lambda body: completion("", "content_filter"), "judge:refused", 1),
        (lambda body: completion('{"says_sorry": {"label": "abstain"}}'), "judge:abstain", 1),
    ],
)
def test_what_cannot_be_read_is_asked_once_more_and_then_missing_with_its_reason(
    tmp_path: Path, answer: Any, reason: str, calls: int
) -> None:
    with ScriptedServer(answer=answer) as server:
        home = load_home(judged_home(tmp_path, server, n_behaviors=1))
        ask = Asking(home, warehouse(tmp_path), "t")
        for _ in range(2):  # the second time nothing is asked: that there is no answer is known
            (item,) = ask([response("x")], home.graded)
            assert item.answered["judge:says_sorry"] == (None, reason, None)
        assert server.requests.total() == calls


def test_a_repaired_second_answer_counts(tmp_path: Path) -> None:
    with ScriptedServer(
        answer=lambda body: (
            honest(body)
            if "last answer was not" in body["messages"][1]["content"]
            else completion("prose")
        )
    ) as server:
        home = load_home(judged_home(tmp_path, server, n_behaviors=1))
        (item,) = Asking(home, warehouse(tmp_path), "t")([response("sorry")], home.graded)
    assert item.answered["judge:says_sorry"].label is True


def test_one_failing_item_in_many_is_missing_and_the_next_run_asks_only_for_it(
    tmp_path: Path,
) -> None:
    broken = {"once": True}

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        if broken["once"] and data_of(body)["response"]["text"] == "r7":
            return {"error": "busy"}
        return honest(body)

    items = [response(f"r{i}") for i in range(50)]
    with ScriptedServer(answer=answer) as server:
        home = load_home(judged_home(tmp_path, server, n_behaviors=1))
        first = Asking(home, warehouse(tmp_path), "t")(items, home.graded)
        assert [
            i for i, item in enumerate(first) if item.answered["judge:says_sorry"].label is None
        ] == [7]
        sent, broken["once"] = server.requests.total(), False
        second = Asking(home, warehouse(tmp_path), "t")(items, home.graded)
        assert (sent, server.requests.total()) == (50, 51)
    assert all(item.answered["judge:says_sorry"].label is False for item in second)


@pytest.mark.parametrize(("judge", "flips"), [(honest, 0), (obedient, 1)])
def test_planted_instructions_show_a_judge_that_obeys_the_data(
    tmp_path: Path, judge: Any, flips: int
) -> None:
    with ScriptedServer(answer=judge) as server:
        home = load_home(judged_home(tmp_path, server, n_behaviors=1, judge={"canary_share": 1.0}))
        items = Asking(home, warehouse(tmp_path), "t")(
            [response(f"sorry {i}") for i in range(30)], home.graded
        )
    # what was planted decides nothing
    assert all(item.answered["judge:says_sorry"].label for item in items)
    (row,) = flip_rate(warehouse(tmp_path))
    assert row["canaries"] > 5
    assert row["flipped"] == flips * row["canaries"]


def test_no_injection_moves_a_judge_that_reads_the_data_as_data(tmp_path: Path) -> None:
    with ScriptedServer(answer=honest) as server:
        home = load_home(judged_home(tmp_path, server, n_behaviors=1))
        items = [response(f"Sorry. {text}") for text in INJECTIONS]
        found = Asking(home, warehouse(tmp_path), "t")(items, home.graded)
    assert sum(item.answered["judge:says_sorry"].label is not True for item in found) == 0


def test_what_a_killed_run_received_is_not_asked_again(tmp_path: Path) -> None:
    stop = {"after": 10}

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        stop["after"] -= 1
        return honest(body)

    items = [response(f"r{i}") for i in range(40)]
    with ScriptedServer(answer=answer) as server:
        home = load_home(judged_home(tmp_path, server, n_behaviors=1))
        ask = Asking(home, warehouse(tmp_path), "t")
        original, ask._store = ask._store, _killed  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            ask(items, home.graded)
        assert server.requests.total() == 40
        ask._store = original  # type: ignore[method-assign]
        ask(items, home.graded)
        assert server.requests.total() == 40
    assert len(warehouse(tmp_path).read(GraderAnswers)) == 40


def test_what_a_killed_run_spent_on_another_question_counts_against_the_budget(
    tmp_path: Path,
) -> None:
    with ScriptedServer(answer=honest) as server:
        # of which six answers take all
        home = limited_home(tmp_path, server, concurrency=1, budget={"max_tokens": 90})
        ask = Asking(home, warehouse(tmp_path), "t")
        ask._store = _killed  # type: ignore[method-assign]  # killed after the answers came, before they were stored
        with pytest.raises(KeyboardInterrupt):
            ask([response(f"r{i}") for i in range(6)], home.graded)
        asked = server.requests.total()
        write_yaml(
            tmp_path / "behaviors" / "says_sorry.yaml",
            {
                "id": "says_sorry",
                "title": "t",
                "definition": "Another question.",
                "graders": [{"kind": "judge"}],
            },
        )
        with pytest.raises(StopRun, match="max_tokens"):
            Asking(load_home(tmp_path), warehouse(tmp_path), "t")(
                [response("new")], load_home(tmp_path).graded
            )
        assert server.requests.total() == asked


def limited_home(path: Path, server: ScriptedServer, **limits: object) -> Home:
    home = judged_home(path, server, n_behaviors=1)
    *others, asked = yaml.safe_load((home / "models.yaml").read_text())["models"]
    write_yaml(home / "models.yaml", {"models": [*others, {**asked, **limits}]})
    return load_home(home)


def test_a_judge_stops_at_its_budget_and_goes_on_from_there_when_it_is_raised(
    tmp_path: Path,
) -> None:
    items = [response(f"r{i}") for i in range(10)]

    def ask(most: int) -> list[GradedItem]:
        home = limited_home(tmp_path, server, concurrency=1, budget={"max_tokens": most})
        return Asking(home, warehouse(tmp_path), "t")(items, home.graded)

    with ScriptedServer(answer=honest) as server:
        for _ in range(2):  # what was spent before counts
            with pytest.raises(StopRun, match="max_tokens"):
                ask(30)
            assert server.requests.total() == 2
        found = ask(10_000)
        assert server.requests.total() == 10
        items.append(response("one more"))
        with pytest.raises(StopRun, match="max_tokens"):
            ask(150)
        assert server.requests.total() == 10
    assert all(item.answered["judge:says_sorry"].label is False for item in found)


def test_a_judge_keeps_to_the_rates_of_its_version_which_all_runs_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []

    class Watched(Limits):
        def __init__(self, *rates: float | None, path: Path | None = None) -> None:
            given.extend(rates)
            super().__init__(*rates, path=path)

    monkeypatch.setattr(asking_flow, "Limits", Watched)
    with ScriptedServer(answer=honest) as server:
        home = limited_home(tmp_path, server, requests_per_minute=6000, tokens_per_minute=900_000)
        Asking(home, warehouse(tmp_path), "t")([response("x")], home.graded)
    assert given == [6000, 900_000]
    assert len(list((tmp_path / "limits").iterdir())) == 1


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_behaviour_without_a_judge_is_not_graded_and_costs_nothing(
    run: Run, tmp_path: Path
) -> None:
    home = write_home(tmp_path)
    write_yaml(
        home / "behaviors" / "needs_judge.yaml",
        {"id": "needs_judge", "title": "t", "definition": "d", "graders": [{"kind": "judge"}]},
    )
    run(home)
    assert "needs_judge" not in set(warehouse(home).read(ClassifierScores)["behavior"])
    assert load_home(home).not_graded == {
        "needs_judge": (
            'no version "judge" in models.yaml to answer as judge; add one to grade this behaviour'
        )
    }


def test_a_moderation_endpoint_flags_by_category_and_is_asked_once(tmp_path: Path) -> None:
    def moderate(body: dict[str, Any]) -> dict[str, Any]:
        return {
            "results": [
                {
                    "categories": {"hate": "hate" in body["input"]},
                    "category_scores": {"hate": 0.7 if "hate" in body["input"] else 0.1},
                }
            ]
        }

    with ScriptedServer(answer=moderate) as server:
        asked = {
            "version": "moderation",
            "provider": "openai",
            "base_url": server.url,
            "model": "m",
        }
        path = write_home(tmp_path, n=1, models=[*RECORDED_MODELS, asked])
        graders = [
            {"kind": "moderation", "category": "hate"},
            {"kind": "moderation", "category": "unknown"},
        ]
        write_yaml(
            path / "behaviors" / "hate.yaml",
            {"id": "hate", "title": "t", "definition": "d", "graders": graders[:1]},
        )
        write_yaml(
            path / "behaviors" / "strange.yaml",
            {"id": "strange", "title": "t", "definition": "d", "graders": graders[1:]},
        )
        home = load_home(path)
        for _ in range(2):
            found = Asking(home, warehouse(tmp_path), "t")(
                [response("I hate it"), response("Fine")], home.graded
            )
        assert server.requests.total() == 2
    assert [item.answered["moderation:moderation:hate"] for item in found] == [
        (True, None, 0.7),
        (False, None, 0.1),
    ]
    assert (
        found[0].answered["moderation:moderation:unknown"].missing_reason
        == "moderation:no_such_category"
    )
