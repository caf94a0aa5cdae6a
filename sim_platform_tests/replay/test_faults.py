"""Faults of the network, the clock and the traffic against the whole way: engine, limits and the
real provider on a real server.
"""

import socket
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.engine import REMEMBERED, THIS_RUN, Progress, run_replay
from sim_platform.replay.limits import Limits
from sim_platform.replay.providers.build import build_provider
from sim_platform.replay.providers.openai import MAX_RESPONSE_BYTES
from sim_platform.replay.providers.protocol import StopRun
from sim_platform_tests.replay.samples import model, request
from sim_platform_tests.replay.scripted_server import ScriptedServer
from sim_platform_tests.replay.test_engine import FakeProvider, go


def replayed(
    texts: list[str], *, limits: Limits | None = None, **changes: Any
) -> tuple[list[Outcome], Progress]:
    """Outcomes in the order of `texts`."""
    version = model(**{"settings": {"temperature": 0}, **changes})
    outcomes: list[Outcome] = []
    requests = (request(text, of=version, prefix_id=f"p-{n:05}") for n, text in enumerate(texts))
    done = run_replay(
        requests,
        build_provider(version),
        concurrency=version.concurrency,
        max_retries=version.max_retries,
        on_outcome=outcomes.append,
        limits=limits,
    )
    return sorted(outcomes, key=lambda o: o.prefix_id), done


@pytest.mark.parametrize("fault", ["huge", "huge_chunked", "huge_zipped"])
def test_a_body_of_100_mb_is_refused_in_bounded_memory_and_the_run_goes_on(fault: str) -> None:
    with ScriptedServer({"big": [fault]}) as server:
        replayed(["warm up"], base_url=server.url)
        tracemalloc.start()
        try:
            (big, small), _ = replayed(["big", "small"], base_url=server.url)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (big.status, big.reason, big.attempts) == ("failed", "response_too_large", 1)
    assert small.text == "echo: small"
    assert peak < 2 * MAX_RESPONSE_BYTES


def test_a_host_that_no_name_server_knows_fails_its_rows_and_then_stops_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    outcomes, _ = replayed(
        [str(n) for n in range(5)], base_url="http://no-such-host.invalid/v1", max_retries=0
    )
    assert {(o.status, o.reason) for o in outcomes} == {("failed", "connection_error")}
    with pytest.raises(
        StopRun,
        match=r"20 requests in a row failed at no-such-host\.invalid \(connection_error: 20\)",
    ):
        replayed(
            [str(n) for n in range(1000)], base_url="http://no-such-host.invalid/v1", max_retries=0
        )


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_wall_clock_that_jumps_neither_stops_nor_hurries_a_limited_replay(
    jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = time.time, 0

    def jumping() -> float:
        nonlocal asked
        asked += 1
        return real() + jump * (asked % 2)

    with ScriptedServer() as server:
        limits = Limits(requests_per_minute=3000, path=tmp_path / "limits")  # 50 a second
        monkeypatch.setattr(time, "time", jumping)
        started = time.monotonic()
        outcomes, _ = replayed([str(n) for n in range(75)], base_url=server.url, limits=limits)
        took = time.monotonic() - started
        limits.close()
    assert {o.status for o in outcomes} == {"completed"}
    assert 0.4 < took < 3, "75 requests, of which 50 are the burst"
    assert all(0 <= o.latency_s < 3 for o in outcomes)


def test_ten_thousand_identical_prefixes_are_one_request_and_ten_thousand_outcomes() -> None:
    with ScriptedServer() as server:
        outcomes, done = replayed(["same"] * 10_000, base_url=server.url, concurrency=64)
        assert server.requests == {"same": 1}
    assert (len({o.prefix_id for o in outcomes}), done.sent, done.reused) == (10_000, 1, 9_999)
    assert {o.text for o in outcomes} == {"echo: same"}


def test_what_comes_back_again_is_remembered_however_much_lies_between_first_and_last() -> None:
    texts = ["same" if n % 1000 == 0 else f"other {n}" for n in range(REMEMBERED + 2000)]
    provider = FakeProvider()
    outcomes, _ = go(
        (
            request(text, of=model(settings={"temperature": 0}), prefix_id=f"p-{n}")
            for n, text in enumerate(texts)
        ),
        provider,
    )
    assert [
        o.prefix_id
        for o in outcomes
        if o.text and o.reused_from != THIS_RUN and texts[int(o.prefix_id[2:])] == "same"
    ] == ["p-0"]


def test_five_percent_of_errors_cost_five_percent_more_requests_and_lose_nothing() -> None:
    texts = [str(n) for n in range(400)]
    with ScriptedServer({text: ["500"] for text in texts[::20]}) as server:
        outcomes, done = replayed(texts, base_url=server.url, concurrency=32)
        assert server.requests.total() == done.sent == 420
    assert {o.status for o in outcomes} == {"completed"}
    assert done.retries == {"server_error": 20}
    assert done.limit == 32, "errors that are not about the rate do not slow the rest"


CLIENT = """
import asyncio, sys, time
from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.engine import run_replay
from sim_platform.replay.limits import Limits
from sim_platform.replay.requests import Request
from pathlib import Path

class Provider:
    endpoint = "here"
    async def complete(self, r):
        await asyncio.sleep(0.01)
        return Outcome(r.arm, r.prefix_id, r.k, r.request_hash, "completed", text="x")
    async def aclose(self): pass

class Over(Exception): pass

def count(outcome):
    global n
    n += 1
    if time.monotonic() > end: raise Over

n, limits = 0, Limits(requests_per_minute=6000, path=Path(sys.argv[1]))
print("ready", flush=True)
end = float(sys.stdin.readline())
try:
    requests = (Request("candidate", f"p{i}", 0, {}, f"h{i}") for i in range(10**6))
    same = {"concurrency": 8, "max_retries": 0, "limits": limits}
    run_replay(requests, Provider(), on_outcome=count, **same)
except Over:
    print(n)
"""


@pytest.mark.e2e
def test_two_processes_on_one_limit_both_come_forward_and_together_keep_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLIENT, str(tmp_path / "limits")]
    clients: list[Any] = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [client.stdout.readline() for client in clients] == ["ready\n"] * 2
    end = time.monotonic() + 1.5
    for client in clients:
        client.stdin.write(f"{end}\n")
        client.stdin.flush()
    counts = [int(client.communicate()[0]) for client in clients]
    assert min(counts) > max(counts) / 3, counts
    assert 100 < sum(counts) < 350, "100 a second for 1.5 seconds, and a burst of 100"
