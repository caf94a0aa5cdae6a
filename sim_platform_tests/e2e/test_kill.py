"""Killed workers, failing providers, a held warehouse: what is stored stays exact, and nothing
secret is written down.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.e2e.servers import sim_platform, stop
from sim_platform_tests.homes import RECORDED_MODELS, conversation, without_models, write_home
from sim_platform_tests.replay.scripted_server import ScriptedServer

pytestmark = pytest.mark.e2e

SAMPLE = 60
IN_FLIGHT = 4
KEY = "sk-test-3f9a1c77e2"
MARKER = "frobnicate"  # in every message of a user
REASONS = {
    "500": "server_error",
    "429 after 0.01": "rate_limited",
    "empty": "invalid_response",
    "not_json": "invalid_response",
    "no_choices": "server_error",
}


class PacedServer(ScriptedServer):
    """Takes a tenth of a second for each answer, so that a kill finds requests in flight."""

    async def _answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0.1)
        return await super()._answer(body, writer)


class MixedServer(ScriptedServer):
    """Gives every second message one of the faults, for good, in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, str] = {}

    async def _answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        message = body["messages"][-1]["content"]
        place = len(self.given)
        self.always = self.given.setdefault(
            message, [*REASONS][place // 2 % len(REASONS)] if place % 2 else "ok"
        )
        return await super()._answer(body, writer)


def home_with_provider(path: Path, url: str) -> Path:
    """v2 answers at `url`; every message of a user holds MARKER."""
    rows = [conversation(n) for n in range(SAMPLE + 20)]
    for row in rows:
        row["messages"] = [
            {**m, "content": f"{m['content']} {MARKER}"} if m["role"] == "user" else m
            for m in row["messages"]
        ]
    candidate = {
        "version": "v2",
        "replaces": "v1",
        "provider": "openai",
        "base_url": url,
        "model": "candidate",
        "api_key_env": "KEY_OF_THE_TEST",
        "concurrency": IN_FLIGHT,
        "max_retries": 1,
        "plan": {"sample_size": SAMPLE, "strata": ["surface"], "floor": 5},
    }
    home = path / "home"
    home.mkdir()
    return without_models(write_home(home, rows=rows, models=[RECORDED_MODELS[0], candidate]))


def run(home: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and everything printed by the command line in a process of its own."""
    log = home.parent / "command.log"
    process = sim_platform(home, *arguments, log=log, KEY_OF_THE_TEST=KEY, **environment)
    try:
        code = process.wait(timeout=300)
    finally:
        stop(process)
    return code, log.read_text()


def outcomes(home: Path) -> pl.DataFrame:
    return DuckDBFile(home / "warehouse.duckdb").read(CandidateCompletions, {"model_version": "v2"})


def assert_one_outcome_a_prefix(home: Path) -> None:
    assert len(outcomes(home)) == outcomes(home)["prefix_id"].n_unique() == SAMPLE


def files_with(folder: Path, text: str) -> list[str]:
    return [
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and text.encode() in file.read_bytes()
    ]


def test_a_worker_killed_amid_completions_is_resumed_and_pays_again_only_what_was_in_flight(
    tmp_path: Path,
) -> None:
    with PacedServer() as server:
        home = home_with_provider(tmp_path, server.url)
        log = tmp_path / "killed.log"
        process = sim_platform(home, "run", "v2", log=log, KEY_OF_THE_TEST=KEY)
        try:
            deadline = time.monotonic() + 200
            while (
                server.requests.total() < SAMPLE // 3
                and process.poll() is None
                and time.monotonic() < deadline
            ):
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)
        finally:
            stop(process)
        sent_before = server.requests.total()
        assert SAMPLE // 3 <= sent_before < SAMPLE, log.read_text()
        code, said = run(home, "run", "v2")
        assert code == 0, said
        assert_one_outcome_a_prefix(home)
        assert set(outcomes(home)["status"]) == {"completed"}
        assert len(server.requests) == SAMPLE
        assert server.requests.total() - SAMPLE <= IN_FLIGHT


def test_failing_answers_end_as_one_outcome_a_prefix_with_its_reason(tmp_path: Path) -> None:
    with MixedServer() as server:
        home = home_with_provider(tmp_path, server.url)
        code, said = run(home, "run", "v2")
    assert code == 0, said
    assert_one_outcome_a_prefix(home)
    faults = Counter(server.given.values())
    expected = Counter({"completed": faults.pop("ok")})
    for fault, n in faults.items():
        expected[REASONS[fault]] += n
    seen = Counter(
        reason or status for status, reason in outcomes(home).select("status", "reason").iter_rows()
    )
    assert seen == expected
    missing = (
        DuckDBFile(home / "warehouse.duckdb")
        .query(
            "select n, n_missing from rate_comparison where behavior = 'apologises' and arm ="
            " 'candidate'"
        )
        .row(0)
    )
    assert missing == (expected["completed"], SAMPLE - expected["completed"])


def test_neither_the_key_nor_a_users_text_is_written_down_by_a_failing_run(tmp_path: Path) -> None:
    with ScriptedServer(
        always="500",
        error_body={"error": {"message": f"{KEY} may not ask: {MARKER}", "type": "fault"}},
    ) as server:
        home = home_with_provider(tmp_path, server.url)
        code, said = run(home, "run", "v2")
        assert code == 1, said
        assert any(MARKER in message for message in server.requests)
        assert server.authorization == {f"Bearer {KEY}"}
    assert files_with(home, KEY) == []
    assert [name for name in files_with(home, MARKER) if name.startswith("dagster_home")] == []
    assert files_with(home / "dagster_home", "candidate_completions"), (
        "the failed run is in Dagster's history"
    )
    assert KEY not in said
    assert MARKER not in said
    raw = {name for name in files_with(home, MARKER) if not name.startswith("logs/")}
    assert raw <= {"vault.duckdb", "warehouse.duckdb", "published.duckdb"}


def test_a_held_warehouse_is_waited_for_and_then_names_who_holds_it(tmp_path: Path) -> None:
    home = home_with_provider(tmp_path, "http://127.0.0.1:9/v1")
    holder = duckdb.connect(str(home / "warehouse.duckdb"))
    try:
        for command in (("run", "v2"), ("status",)):
            started = time.monotonic()
            code, said = run(home, *command, SIM_PLATFORM_LOCK_WAIT_SECONDS="1")
            assert code == 1, said
            assert f"PID {os.getpid()}" in said
            assert "Traceback" not in said
            assert time.monotonic() - started > 1
    finally:
        holder.close()
