"""The engine with fake providers (laws) and with the real openai package against a scripted
server (faults).
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.engine import (
    PULLED,
    THIS_RUN,
    TRANSIENT_REASONS,
    Progress,
    replay,
    run_replay,
)
from sim_platform.replay.journal import Journal, read_journal
from sim_platform.replay.providers.build import build_provider
from sim_platform.replay.providers.protocol import PermanentFailure, Retryable, StopRun
from sim_platform.replay.requests import Request
from sim_platform_tests.replay.samples import model, no_sleep, request
from sim_platform_tests.replay.scripted_server import ScriptedServer


class FakeProvider:
    """Does per prefix what its script says, attempt by attempt, then answers."""

    endpoint = "fake.example"

    def __init__(
        self, script: dict[str, Sequence[Exception]] | None = None, always: Exception | None = None
    ) -> None:
        self.script, self.always = script or {}, always
        self.attempts: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.closed = False

    async def complete(self, request: Request) -> Outcome:
        turn = self.attempts[request.prefix_id]
        self.attempts[request.prefix_id] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1
        script = self.script.get(request.prefix_id, ())
        failure = script[turn] if turn < len(script) else self.always
        if failure is not None:
            raise failure
        return Outcome(
            request.arm,
            request.prefix_id,
            request.k,
            request.request_hash,
            "completed",
            text="yes",
            cost_usd=1.0,
        )

    async def aclose(self) -> None:
        self.closed = True


def go(
    requests: Any, provider: Any, *, sleep: Any = no_sleep, **changes: Any
) -> tuple[list[Outcome], Progress]:
    outcomes: list[Outcome] = []
    settings = {"concurrency": 4, "max_retries": 3, "on_outcome": outcomes.append, **changes}
    return outcomes, asyncio.run(replay(requests, provider, sleep=sleep, **settings))


failures = st.sampled_from(
    [
        Retryable("server_error"),
        Retryable("rate_limited", 2.0),
        Retryable("connection_error"),
        Retryable("empty_response"),
        PermanentFailure("bad_request"),
        OSError("?"),
    ]
)


@given(
    st.dictionaries(st.integers(0, 12), st.lists(failures, max_size=6), max_size=12),
    st.integers(1, 9),
    st.integers(0, 3),
)
def test_every_prefix_ends_with_exactly_one_outcome_whatever_the_provider_does(
    script: dict[int, list[Exception]], concurrency: int, max_retries: int
) -> None:
    provider = FakeProvider({f"p-{n}": faults for n, faults in script.items()})
    outcomes, progress = go(
        (request(str(n)) for n in range(13)),
        provider,
        concurrency=concurrency,
        max_retries=max_retries,
    )
    assert sorted(o.prefix_id for o in outcomes) == sorted(f"p-{n}" for n in range(13))
    assert progress.done == len(outcomes) == 13
    assert progress.sent == sum(provider.attempts.values()) == sum(o.attempts for o in outcomes)
    assert max(provider.attempts.values()) <= max_retries + 1
    assert provider.most_in_flight <= concurrency
    assert all((o.reason is not None) == (o.status == "failed") for o in outcomes)
    assert progress.cost_usd == progress.by_status["completed"]


def test_a_retryable_failure_is_sent_again_and_a_permanent_one_is_not() -> None:
    provider = FakeProvider(
        {
            "p-a": [Retryable("server_error", cost_usd=0.5), Retryable("timeout")],
            "p-b": [PermanentFailure("context_length")],
        }
    )
    outcomes, progress = go([request("a"), request("b")], provider)
    a, b = sorted(outcomes, key=lambda o: o.prefix_id)
    assert (a.status, a.attempts, a.cost_usd) == ("completed", 3, 1.5)
    assert (b.status, b.reason, b.attempts) == ("failed", "context_length", 1)
    assert progress.retries == {"server_error": 1, "timeout": 1}


def test_an_exhausted_request_fails_with_the_last_reason_which_a_rerun_may_cure() -> None:
    outcomes, progress = go(
        [request("a"), request("b")],
        FakeProvider({"p-a": [Retryable("server_error")] * 9}),
        max_retries=2,
    )
    assert [(o.status, o.reason, o.attempts) for o in outcomes if o.prefix_id == "p-a"] == [
        ("failed", "server_error", 3)
    ]
    assert progress.failures == {"server_error": 1}
    assert "server_error" in TRANSIENT_REASONS
    assert not TRANSIENT_REASONS & {
        "bad_request",
        "context_length",
        "empty_response",
        "not_recorded",
        "content_too_large",
    }


def test_waits_double_with_jitter_honour_retry_after_and_end_at_a_minute() -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    go(
        [request("a")],
        FakeProvider({"p-a": [Retryable("server_error")] * 9}),
        sleep=note,
        max_retries=9,
    )
    for attempt, wait in enumerate(waits):
        longest = min(60.0, 0.5 * 2**attempt)
        assert longest / 2 <= wait <= longest
    waits.clear()
    go(
        [request("a")],
        FakeProvider({"p-a": [Retryable("rate_limited", 5.0), Retryable("rate_limited", 3600.0)]}),
        sleep=note,
    )
    assert 5.0 <= waits[0] <= 5.5
    assert 60.0 <= waits[1] <= 66.0


def test_requests_are_pulled_only_when_there_is_room() -> None:
    pulled = finished = 0

    def source() -> Iterator[Request]:
        nonlocal pulled
        for n in range(500):
            pulled += 1
            assert pulled - finished <= 4 + PULLED
            yield request(str(n))

    def count(outcome: Outcome) -> None:
        nonlocal finished
        finished += 1

    go(source(), FakeProvider(), on_outcome=count)
    assert pulled == finished == 500


def test_identical_requests_are_sent_once_and_each_prefix_gets_the_outcome() -> None:
    provider = FakeProvider()
    same = [replace(request("same"), prefix_id=f"p-{n}") for n in range(100)]
    outcomes, progress = go([*same, request("other")], provider)
    assert sum(provider.attempts.values()) == progress.sent == 2
    assert {o.prefix_id for o in outcomes} == {*(f"p-{n}" for n in range(100)), "p-other"}
    copies = [o for o in outcomes if o.reused_from == THIS_RUN]
    assert len(copies) == progress.reused == 99
    assert {(o.attempts, o.cost_usd, o.text) for o in copies} == {(0, 0.0, "yes")}
    assert progress.cost_usd == 2.0


def test_repeats_of_one_prefix_are_not_identical() -> None:
    outcomes, _ = go([request("a", k=k) for k in range(5)], FakeProvider())
    assert [o.reused_from for o in outcomes] == [None] * 5


@pytest.mark.parametrize("code", ["connection_error", "server_error", "invalid_response"])
def test_a_provider_that_is_down_stops_the_run_and_keeps_the_outcomes_so_far(code: str) -> None:
    outcomes: list[Outcome] = []
    provider = FakeProvider(always=Retryable(code))
    with pytest.raises(
        StopRun,
        match=(
            rf"20 requests in a row failed at fake\.example \({code}: 20\).*20 outcomes so far are"
            r" kept"
        ),
    ):
        go((request(str(n)) for n in range(10**6)), provider, on_outcome=outcomes.append)
    assert len(outcomes) == 20
    if code == "connection_error":
        assert sum(provider.attempts.values()) <= 4 * 4 + 20, (
            "after the first exhausted request, one attempt each is enough"
        )


def test_an_unknown_error_in_the_provider_fails_the_row_and_shows_no_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcomes, _ = go(
        [request("a"), request("b")], FakeProvider({"p-a": [KeyError("a user's words")]})
    )
    assert {(o.prefix_id, o.reason) for o in outcomes} == {("p-a", "internal_error"), ("p-b", None)}
    assert "KeyError" in caplog.text
    assert "words" not in caplog.text


def test_an_error_in_the_sink_stops_the_run_as_itself_and_closes_the_provider() -> None:
    def full(outcome: Outcome) -> None:
        raise SimPlatformError("disk full")

    provider = FakeProvider()
    with pytest.raises(SimPlatformError, match="disk full"):
        run_replay(
            [request("a"), request("b")], provider, concurrency=2, max_retries=0, on_outcome=full
        )
    assert provider.closed


def test_a_stop_cancels_what_is_in_flight() -> None:
    cancelled: list[str] = []

    class Stopping(FakeProvider):
        async def complete(self, request: Request) -> Outcome:
            if request.prefix_id == "p-5":
                raise StopRun("wrong key")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(request.prefix_id)
                raise
            raise AssertionError

    with pytest.raises(StopRun, match="wrong key"):
        go([request(str(n)) for n in range(100)], Stopping(), concurrency=6)
    assert len(cancelled) == 5


def test_too_many_requests_halves_what_is_in_flight_and_it_grows_back() -> None:
    limits: list[int] = []
    provider = FakeProvider({f"p-{n}": [Retryable("rate_limited")] for n in range(8)})
    go(
        (request(str(n)) for n in range(400)),
        provider,
        concurrency=8,
        progress=lambda p: limits.append(p.limit),
    )
    assert min(limits) < 8
    assert limits[-1] == 8


SCHEDULE = {
    "0": ["500", "500"],
    "1": ["429 after 0.05", "429 after 0.05"],
    "2": ["empty"],
    "3": ["not_json"],
    "4": ["no_choices"],
    "5": ["reset"],
    "6": ["reset_in_body"],
    "7": ["slow"],
    "8": ["length"],
    "9": ["content_filter"],
    "10": ["tool_call"],
    "11": ["400"],
    "12": ["null_content"],
    "13": ["500"] * 9,
    "14": ["413"],
    "15": ["drip"],
}


def test_a_server_with_every_fault_gives_every_prefix_its_outcome_and_no_request_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret-key")
    with ScriptedServer(SCHEDULE) as server:
        version = model(
            base_url=server.url, timeout_seconds=0.5, max_retries=2, api_key_env="MY_KEY"
        )
        with Journal(tmp_path / "j") as journal:
            texts = [str(n) for n in range(60)]
            run_replay(
                (request(t, of=version) for t in texts),
                build_provider(version),
                concurrency=8,
                max_retries=2,
                on_outcome=journal.append,
            )
    outcomes = {o.prefix_id.removeprefix("p-"): o for o in read_journal(tmp_path / "j")}
    assert sorted(outcomes) == sorted(texts)
    found = {text: (o.status, o.reason, o.attempts) for text, o in outcomes.items()}
    expected: dict[str, tuple[str, str | None, int]] = defaultdict(lambda: ("completed", None, 1))
    expected |= {str(n): ("completed", None, 2) for n in (2, 3, 4, 5, 6, 7, 12, 15)}
    expected |= {str(n): ("completed", None, 3) for n in (0, 1)}
    expected |= {
        "8": ("truncated", None, 1),
        "9": ("refused", "content_filter", 1),
        "11": ("failed", "bad_request", 1),
        "14": ("failed", "content_too_large", 1),
    }
    expected["13"] = ("failed", "server_error", 3)
    assert found == {text: expected[text] for text in texts}
    assert {text: server.requests[text] for text in texts} == {
        text: expected[text][2] for text in texts
    }
    assert server.most_in_flight <= 8
    assert "sk-very-secret-key" not in (tmp_path / "j").read_text()


def test_a_dead_port_stops_the_run_in_seconds() -> None:
    version = model(base_url="http://127.0.0.1:1/v1")
    with pytest.raises(StopRun, match=r"connection_error: 20.*"):
        run_replay(
            (request(str(n), of=version) for n in range(10**6)),
            build_provider(version),
            concurrency=8,
            max_retries=2,
            on_outcome=lambda o: None,
        )


def test_a_revoked_key_stops_the_run_at_once() -> None:
    with ScriptedServer(always="401") as server:
        version = model(base_url=server.url)
        with pytest.raises(StopRun, match="401"):
            run_replay(
                (request(str(n), of=version) for n in range(10**6)),
                build_provider(version),
                concurrency=8,
                max_retries=4,
                on_outcome=lambda o: None,
            )
        assert sum(server.requests.values()) <= 8
