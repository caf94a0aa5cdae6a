"""Judges at endpoints that do not take what nobody asked for: another way to ask is found, and no
label is lost for good before the right one is.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from sim_platform.contracts.tables.grading import GraderAnswers
from sim_platform.flows.grading.asking import Asking
from sim_platform.grading.items import GradedItem
from sim_platform.grading.judge import call_hash, calls_of
from sim_platform.grading.scores import grader_hash
from sim_platform.registry.home import Home, load_home
from sim_platform.registry.preregistration import frozen
from sim_platform.replay.providers.protocol import StopRun
from sim_platform_tests.flows.grading.test_asking import judged_home, warehouse
from sim_platform_tests.grading.samples import response
from sim_platform_tests.homes import write_yaml
from sim_platform_tests.replay.scripted_server import ScriptedServer, completion

VERDICT = json.dumps({"says_sorry": {"label": True, "score": 0.9}})
SCHEMA = [
    {"param": "response_format", "message": "'json_schema' is not supported with this model"},
    {"message": "This response_format type is unavailable now"},
    {"message": "This model does not support response format `json_schema`."},
]
JSON = [
    {"message": "'response_format.type' must be 'json_schema' or 'text'"},
    {"message": "unknown field: response_format"},
]
TEMPERATURE = [
    {"code": "unsupported_value", "param": "temperature", "message": "Only the default (1)."},
    {"message": "`temperature` and `top_p` cannot both be specified for this model."},
    {"message": "temperature is not supported with this model"},
]


class Picky(ScriptedServer):
    """Answers 400 to bodies of which `refusal` gives an error, else the verdict in `says`."""

    def __init__(self, refusal: Any, says: str = VERDICT) -> None:
        super().__init__(answer=lambda _: completion(self.says))
        self.refusal, self.says, self.refused = refusal, says, Counter[str]()

    async def _answer(self, body: dict[str, Any], writer: Any) -> bool:
        error = self.refusal(body)
        if error is None:
            return await super()._answer(body, writer)
        self.refused[format_of(body)] += 1
        self._write(writer, 400, json.dumps({"error": error}))
        return True


def format_of(body: dict[str, Any]) -> str:
    where = body.get("response_format") or body.get("text", {}).get("format") or {"type": "text"}
    return str(where["type"])


def home_of(path: Path, server: ScriptedServer, **more: Any) -> Home:
    home = judged_home(path, server, n_behaviors=1)
    *others, asked = yaml.safe_load((home / "models.yaml").read_text())["models"]
    write_yaml(home / "models.yaml", {"models": [*others, {**asked, **more}]})
    return load_home(home)


ITEMS = [response(f"r{i}") for i in range(12)]


def ask(home: Home, items: list[GradedItem] = ITEMS) -> tuple[list[Any], Asking]:
    asking = Asking(home, warehouse(home.path), "t")
    found = [item.answered["judge:says_sorry"] for item in asking(items, home.graded)]
    return found, asking


@pytest.mark.parametrize("api", ["chat_completions", "responses"])
@pytest.mark.parametrize("schema", SCHEMA, ids=["param", "unavailable", "with a space"])
@pytest.mark.parametrize("taken", ["json_object", "text"])
def test_a_format_that_the_endpoint_does_not_take_is_replaced_by_the_next_and_noted(
    tmp_path: Path, schema: dict[str, str], taken: str, api: str
) -> None:
    refused = {"json_schema": schema} | ({"json_object": JSON[0]} if taken == "text" else {})
    answer = completion(VERDICT)
    if api == "responses":
        said = [{"type": "message", "content": [{"type": "output_text", "text": VERDICT}]}]
        answer = {"status": "completed", "output": said}
    with Picky(lambda body: refused.get(format_of(body))) as server:
        server.answer = lambda _: answer
        home = home_of(tmp_path, server, api=api)
        found, asking = ask(home)
        assert [one.label for one in found] == [True] * 12
        assert {format_of(body) for body in server.bodies} == {taken}
        assert server.requests.total() == 12
        assert any(f"response_format: {taken} in models.yaml" in note for note in asking.notes)
        assert all("r1" not in note for note in asking.notes)
        ask(home)
        assert server.requests.total() == 12
    assert warehouse(tmp_path).read(GraderAnswers)["label"].all()


@pytest.mark.parametrize("kind", ["json_object", "text"])
def test_the_format_of_models_yaml_is_asked_for_from_the_start(tmp_path: Path, kind: str) -> None:
    with Picky(lambda _: None) as server:
        found, asking = ask(home_of(tmp_path, server, response_format=kind))
        assert {format_of(body) for body in server.bodies} == {kind}
    assert all(one.label for one in found)
    assert asking.notes == []


def test_a_format_of_models_yaml_that_is_refused_stops_the_run_and_stores_nothing(
    tmp_path: Path,
) -> None:
    with Picky(lambda body: JSON[1] if format_of(body) == "json_object" else None) as server:
        with pytest.raises(StopRun, match="does not take response_format: json_object for model"):
            ask(home_of(tmp_path, server, response_format="json_object"))
        found, _ = ask(home_of(tmp_path, server, response_format="text"))
    assert all(one.label for one in found)


@pytest.mark.parametrize("error", TEMPERATURE, ids=["param", "quoted", "in words"])
def test_a_temperature_that_nobody_asked_for_is_left_out_where_it_is_refused(
    tmp_path: Path, error: dict[str, str]
) -> None:
    with Picky(lambda body: error if "temperature" in body else None) as server:
        found, asking = ask(home_of(tmp_path, server))
        assert all(one.label for one in found)
        assert "does not take a temperature" in asking.notes[0]


def test_a_temperature_of_models_yaml_that_is_refused_stops_the_run_and_names_its_key(
    tmp_path: Path,
) -> None:
    with (
        Picky(lambda body: TEMPERATURE[0] if "temperature" in body else None) as server,
        pytest.raises(StopRun, match=r"the setting settings\.temperature for model"),
    ):
        ask(home_of(tmp_path, server, settings={"temperature": 0.3}))


def test_a_word_in_an_error_that_is_no_setting_changes_nothing(tmp_path: Path) -> None:
    weather = {"message": "cannot answer: what is the temperature in Oslo"}
    with Picky(lambda body: weather if "r3" in json.dumps(body) else None) as server:
        found, asking = ask(home_of(tmp_path, server))
    assert [one.missing_reason for one in found if one.label is None] == ["judge:bad_request"]
    assert asking.notes == []


def test_what_every_request_fails_with_is_asked_again_by_the_next_run(tmp_path: Path) -> None:
    broken: dict[str, Any] = {"message": "malformed"}
    with Picky(lambda _: broken or None) as server:
        home = home_of(tmp_path, server)
        found, _ = ask(home)
        assert {one.missing_reason for one in found} == {"judge:bad_request"}
        assert warehouse(tmp_path).read(GraderAnswers).is_empty()
        broken.clear()
        found, _ = ask(home)
    assert all(one.label for one in found)


def test_one_request_that_fails_among_answers_is_a_fact_about_it(tmp_path: Path) -> None:
    with Picky(lambda body: {"message": "malformed"} if "r3" in json.dumps(body) else None) as s:
        home = home_of(tmp_path, s)
        ask(home)
        ask(home)
        assert s.refused.total() == 1


def test_unreadable_answers_are_asked_for_again_once_another_format_is_set_and_not_before(
    tmp_path: Path,
) -> None:
    with Picky(lambda _: None, says="It does, I am sure.") as server:
        home = home_of(tmp_path, server)
        for _ in range(2):
            found, _ = ask(home)
            assert {one.missing_reason for one in found} == {"judge:not_json"}
            assert server.requests.total() == 24, "each was asked for twice, once"
        server.says = VERDICT
        found, _ = ask(home_of(tmp_path, server, response_format="json_object"))
        assert all(one.label for one in found)
        assert server.requests.total() == 36
        ask(home_of(tmp_path, server))
        assert server.requests.total() == 36, "what was read belongs to the question"


def test_what_a_killed_run_received_in_another_format_is_not_asked_again(tmp_path: Path) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with Picky(lambda body: SCHEMA[0] if format_of(body) == "json_schema" else None) as server:
        home = home_of(tmp_path, server)
        asking = Asking(home, warehouse(tmp_path), "t")
        asking._store = killed  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            asking(ITEMS, home.graded)
        found, _ = ask(home)
        assert server.requests.total() == 12
    assert all(one.label for one in found)


def test_the_format_is_no_part_of_a_question_or_a_registration(tmp_path: Path) -> None:
    with Picky(lambda _: None) as server:
        before = home_of(tmp_path, server)
        questions, record = asked_and_registered(before)
        after = home_of(tmp_path, server, response_format="text")
    assert asked_and_registered(after) == (questions, record)


def asked_and_registered(home: Home) -> tuple[list[str], dict[str, Any]]:
    hashes = {b.id: grader_hash(b, home) for b in home.graded}
    questions = [call_hash(c, home.by_version[c.config.model]) for c in calls_of(home.graded)]
    return questions, frozen(home, "v2", hashes, "e")
