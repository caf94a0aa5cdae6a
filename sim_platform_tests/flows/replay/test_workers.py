"""Replay in two processes: each prefix is answered once, and both keep one budget."""

from pathlib import Path
from typing import Any

import pytest

from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.flows.replay.arm import replay_arm
from sim_platform.flows.replay.pending import ArmSummary
from sim_platform.registry.home import Home
from sim_platform.replay.budget import Budget
from sim_platform.replay.providers.protocol import StopRun
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import sampled_home
from sim_platform_tests.replay.scripted_server import ScriptedServer

TEXTS = [f"text {n}" for n in range(40)]


def go(
    home: Home, warehouse: DuckDBFile, limit: Budget | None = None, **changed: Any
) -> ArmSummary:
    candidate = home.by_version["v2"].model_copy(update=changed)
    return replay_arm(
        home, warehouse, candidate, candidate, "candidate", advance=lambda _: None, run_budget=limit
    )


def asked_by_two(server: ScriptedServer, **changes: Any) -> dict[str, Any]:
    return {"provider": "openai", "base_url": server.url, "workers": 2, "concurrency": 4, **changes}


def test_two_processes_answer_every_prefix_once_and_a_rerun_by_one_sends_nothing(
    tmp_path: Path,
) -> None:
    with ScriptedServer() as server:
        home, warehouse = sampled_home(tmp_path, TEXTS, **asked_by_two(server))
        first, second = go(home, warehouse), go(home, warehouse, workers=1)
        assert (server.requests.total(), len(server.requests)) == (40, 40)
    assert (first.sent, second.sent, second.already_done) == (40, 0, 40)
    assert sorted(warehouse.read(CandidateCompletions)["status"].unique()) == ["completed"]
    assert [file for file in (home.path / "journal").iterdir() if file.stat().st_size] == []


@pytest.mark.parametrize("of", ["release", "run"])
def test_two_processes_stop_together_at_either_budget_and_keep_what_they_have(
    tmp_path: Path, of: str
) -> None:
    with ScriptedServer() as server:
        home, warehouse = sampled_home(
            tmp_path,
            TEXTS,
            **asked_by_two(server, budget={"max_tokens": 60} if of == "release" else {}),
        )
        with pytest.raises(StopRun, match="max_tokens"):
            go(home, warehouse, Budget(max_tokens=60 if of == "run" else None))
        sent = server.requests.total()
    stored = warehouse.read(CandidateCompletions)
    spent = int(stored["prompt_tokens"].sum() + stored["completion_tokens"].sum())
    a_request = spent // len(stored)
    assert len(stored) == sent < 40
    assert spent - 60 <= 4 * a_request
