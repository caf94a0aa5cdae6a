"""`sim-platform tools infer` and `check`, on a home with a log that calls tools."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sim_platform.commands.main import app
from sim_platform.flows.deidentification import corpus as deidentification_flow
from sim_platform.registry.tools import read_schemas
from sim_platform_tests.flows.replay.test_pairs import agentic, prepared
from sim_platform_tests.homes import RECORDED_MODELS, conversation, write_home, write_yaml

FIND = {"type": "function", "function": {"name": "find_user"}}


@pytest.fixture(autouse=True)
def no_shadows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deidentification_flow, "SHADOWS", 0)


def asked(home: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["tools", *words], env={"SIM_PLATFORM_HOME": str(home)})


def test_a_home_without_a_corpus_or_without_calls_is_told_so(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    for words in ("infer", "check"):
        assert "no corpus yet: run `sim-platform prepare" in asked(home, words).output
    assert "run `sim-platform prepare RELEASE`" in asked(home, "coverage").output
    prepared(home, [conversation(i) for i in range(4)])
    assert "nothing to infer from" in asked(home, "infer").output
    assert asked(home, "check").output.splitlines()[-1] == "ok"
    assert "no tool call" in asked(home, "coverage").output


def test_what_is_inferred_becomes_the_homes_when_a_person_renames_it(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    rows: list[dict[str, Any]] = [agentic(i, mail=f"z{i}@private.test") for i in range(4)]
    rows += [{**agentic(i, "drop_user"), "tools": None} for i in range(4, 6)]
    prepared(home, rows)
    said = asked(home, "check").output
    assert "2 tools that the log calls are defined nowhere (find_user, drop_user)" in said
    done = json.loads(asked(home, "infer", "--json").stdout)
    assert done["tools"] == 2
    facts = {row["tool"]: row for row in done["facts"]}
    assert facts["drop_user"]["writes_by_name"]
    assert facts["find_user"]["numbers_changed"] == 1.0, "the number of the address was masked"
    assert facts["drop_user"]["numbers_changed"] in (0.0, 1.0)
    inferred = home / "tools" / "schemas.inferred.json"
    assert inferred.stat().st_mode & 0o777 == 0o600
    assert not any("private.test" in file.read_text() for file in (home / "tools").iterdir())
    assert read_schemas(home) == (), "nothing inferred is used unread"
    inferred.rename(home / "tools" / "schemas.json")
    assert {tool["function"]["name"] for tool in read_schemas(home)} == {"find_user", "drop_user"}
    assert asked(home, "check").output.splitlines()[-1] == "ok"


def test_a_conversations_own_tools_define_its_calls_and_a_releases_own_are_compared(
    tmp_path: Path,
) -> None:
    home = write_home(tmp_path)
    prepared(home, [{**agentic(0), "tools": [FIND]}, agentic(1, "drop_user"), agentic(2)])
    found = json.loads(asked(home, "check", "--json").stdout)
    assert found["undefined"] == {"drop_user": 1, "find_user": 1}, "what was offered to others"
    assert (found["n_calls"], found["n_sets"]) == (3, 1)
    mine = {"settings": {"tools": [FIND, {"type": "function", "function": {"name": "new_one"}}]}}
    write_yaml(home / "models.yaml", {"models": [RECORDED_MODELS[0], RECORDED_MODELS[1] | mine]})
    said = asked(home, "check").output
    assert "v2 is not offered what the log calls: drop_user" in said
    assert "v2 is offered what the log never calls: new_one" in said
    hosted = {"settings": {"tools": [{"type": "mcp"}]}}
    write_yaml(home / "models.yaml", {"models": [RECORDED_MODELS[0], RECORDED_MODELS[1] | hosted]})
    refused = asked(home, "check")
    assert refused.exit_code == 2
    assert "v2: settings.tools[0]: type mcp" in refused.output


def test_coverage_refuses_a_version_or_a_key_that_is_not_there(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    prepared(home, [agentic(i) for i in range(3)])
    assert '"v9" is not in the registry' in asked(home, "coverage", "--log", "v9").output
    found = json.loads(asked(home, "coverage", "--json").stdout)
    assert (found["log"], found["of"], found["calls"]) == ("v1", [], 3)
