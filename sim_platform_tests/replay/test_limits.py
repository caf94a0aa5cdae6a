"""Rates, pauses and budgets."""

from pathlib import Path

import pytest

from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.budget import Budget
from sim_platform.replay.engine import run_replay
from sim_platform.replay.limits import LONGEST_WAIT_S, Limits
from sim_platform.replay.providers.faults import exhausted_for, seconds_of
from sim_platform.replay.providers.protocol import StopRun
from sim_platform.replay.requests import Request


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_minute_holds_the_configured_requests_and_one_second_of_burst(clock: Clock) -> None:
    limits = Limits(requests_per_minute=120, now=clock)
    waits = [limits.reserve(0) for _ in range(121)]
    assert waits[-1] == pytest.approx(59, abs=1.1)
    limits.close()


def test_tokens_are_booked_and_corrected_afterwards(clock: Clock) -> None:
    limits = Limits(tokens_per_minute=6000, now=clock)  # 100 a second
    limits.reserve(1000)
    assert limits.reserve(1) == pytest.approx(9, abs=1.1)
    limits.settle(-900)
    assert limits.reserve(1) == pytest.approx(0, abs=1.1)
    limits.close()


def test_two_runs_share_a_rate_and_a_pause_through_the_file(clock: Clock, tmp_path: Path) -> None:
    one, two = (
        Limits(requests_per_minute=60, path=tmp_path / "limits", now=clock) for _ in range(2)
    )
    waits = [limits.reserve(0) for _ in range(5) for limits in (one, two)]
    assert waits[-1] == pytest.approx(8, abs=0.1)
    one.pause(30)
    assert two.paused() == pytest.approx(30)
    one.pause(10_000)
    assert two.paused() <= LONGEST_WAIT_S
    clock.now += LONGEST_WAIT_S
    assert two.paused() == 0
    one.close()
    two.close()


def test_a_refusal_among_the_first_answers_does_not_make_a_run_crawl(clock: Clock) -> None:
    limits = Limits(now=clock)
    limits.accepted()
    clock.now += 0.01
    limits.refused(None)
    assert limits.pace is None


def test_refusals_slow_the_pace_and_it_grows_again(clock: Clock) -> None:
    limits = Limits(now=clock)
    for _ in range(110):
        limits.accepted()
        clock.now += 0.02
    assert limits.pace is None
    limits.refused(None)
    first = limits.pace
    assert first is not None
    assert first < 50
    clock.now += 60
    limits.reserve(0)
    assert limits.pace is not None
    assert limits.pace > first
    limits.close()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("6m0s", 360), ("20ms", 0.02), ("1.5", 1.5), ("1h2m", 3720), ("soon", 0), ("", 0)],
)
def test_durations_of_reset_headers(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)


def test_a_used_up_limit_pauses_until_its_reset_and_others_do_not() -> None:
    assert (
        exhausted_for(
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-remaining-tokens": "5",
                "x-ratelimit-reset-tokens": "9s",
            }
        )
        == 2
    )
    assert exhausted_for({}) == 0


class Priced:
    """Answers at once, at a cent a request."""

    endpoint = "nowhere"

    async def complete(self, request: Request) -> Outcome:
        return Outcome(
            request.arm,
            request.prefix_id,
            request.k,
            request.request_hash,
            "completed",
            text="x",
            cost_usd=0.01,
            prompt_tokens=10,
        )

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(
    ("budget", "allowed"),
    [(Budget(max_usd=0.10), 10), (Budget(max_tokens=100), 10), (Budget(max_usd=0.10, usd=0.05), 5)],
)
def test_at_the_end_of_the_budget_the_run_stops_and_at_most_what_was_in_flight_is_beyond(
    budget: Budget, allowed: int
) -> None:
    kept: list[Outcome] = []
    requests = (Request("candidate", f"p{i}", 0, {}, f"h{i}") for i in range(1000))
    with pytest.raises(StopRun, match="Raise the limit, then run the same command again"):
        run_replay(
            requests,
            Priced(),
            concurrency=4,
            max_retries=0,
            on_outcome=kept.append,
            budgets=[budget],
        )
    assert allowed <= len(kept) <= allowed + 4
