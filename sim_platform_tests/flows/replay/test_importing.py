"""Answers from elsewhere, on real tables: exported, answered by a server that is not ours to call,
imported, and never paid for again.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.flows.replay.importing import export_requests, import_completions
from sim_platform.registry.home import load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import RECORDED_MODELS, write_home
from sim_platform_tests.replay.scripted_server import ScriptedServer

Run = Callable[..., list[str]]


def answered(line: str) -> dict[str, Any]:
    """What a batch endpoint gives back for a line of its input."""
    request = json.loads(line)
    assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
    body = {
        "id": "c",
        "model": request["body"]["model"],
        "choices": [
            {"message": {"role": "assistant", "content": "Sorry."}, "finish_reason": "stop"}
        ],
    }
    return {
        "custom_id": request["custom_id"],
        "response": {"status_code": 200, "body": body},
        "error": None,
    }


def test_what_was_answered_elsewhere_is_not_sent_again(run: Run, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        asked = {
            "provider": "openai",
            "base_url": server.url,
            "model": "m",
            "plan": {"sample_size": 20, "floor": 1, "arms": ["candidate", "recorded"]},
        }
        home = write_home(
            tmp_path, models=[RECORDED_MODELS[0], {"version": "v2", "replaces": "v1", **asked}]
        )
        loaded = load_home(home)
        run(home, only_sample=True)
        file = home / "requests.jsonl"
        assert export_requests(loaded, "v2", "candidate", file) == 20
        assert file.stat().st_mode & 0o077 == 0
        lines = file.read_text().splitlines()
        back = [answered(line) for line in lines[:15]]
        back[14]["response"] = {"status_code": 429, "body": {}}
        unknown = {"custom_id": "candidate.0000000000000000.0", "response": {"body": {}}}
        other_arm = {**back[0], "custom_id": back[0]["custom_id"].replace("candidate", "control")}
        (home / "answers.jsonl").write_text(
            "\n".join(json.dumps(row) for row in [*back, back[0], unknown, other_arm])
        )
        done = import_completions(loaded, "v2", "candidate", home / "answers.jsonl")
        assert (done.lines, done.imported, done.already_there, done.missing) == (18, 14, 1, 6)
        assert done.left_out == {"error_of_the_provider": 1, "unknown_prefix": 1, "other_arm": 1}
        assert done.examples == {
            "error_of_the_provider": [15],
            "unknown_prefix": [17],
            "other_arm": [18],
        }
        assert export_requests(loaded, "v2", "candidate", file) == 6
        assert server.requests.total() == 0, "nothing is sent by bringing answers in"
        run(home)
        assert server.requests.total() == 6
    stored = DuckDBFile(home / "warehouse.duckdb")
    completions = stored.read(CandidateCompletions)
    assert (len(completions), completions.filter(reused_from="imported").height) == (20, 14)
    assert stored.read(RateComparison, {"arm": "candidate", "behavior": "apologises"})["n"][0] == 20


def test_a_recorded_version_has_nothing_to_import(run: Run, tmp_path: Path) -> None:
    home = write_home(tmp_path)
    run(home, only_sample=True)
    with pytest.raises(BadInputError, match="provider recorded"):
        import_completions(load_home(home), "v2", "candidate", home / "x.jsonl")
