"""What the UI shows of a replay: figures while it runs, and how it went."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sim_platform.orchestration import progress
from sim_platform.orchestration.assets.replay import candidate_completions
from sim_platform.orchestration.partitions import register
from sim_platform.orchestration.resources import Deployment
from sim_platform_tests.flows.grading.test_asking import honest, judged_home
from sim_platform_tests.homes import sampled_home
from sim_platform_tests.replay.scripted_server import ScriptedServer, completion

TEXTS = [f"question {n}" for n in range(12)]


def replayed(home: Path, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    register(instance, ("v2",))
    deployment = {"deployment": Deployment(home_dir=str(home))}
    return dg.materialize(
        [candidate_completions],
        partition_key="v2",
        instance=instance,
        resources=deployment,
        raise_on_error=False,
    )


def observed(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    """Metadata of the observations in Dagster's history, in order."""
    records = instance.fetch_observations(dg.AssetKey("candidate_completions"), limit=100).records[
        ::-1
    ]
    found = [r.asset_observation for r in records if r.asset_observation]
    assert {o.partition for o in found} <= {"v2"}
    return [{name: value.value for name, value in o.metadata.items()} for o in found]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as history:
        yield history


@pytest.mark.parametrize(("seconds", "expected"), [(30.0, 1), (0.0, 13)])
def test_figures_are_in_the_history_while_a_replay_runs_at_most_every_so_often_and_at_the_end(
    seconds: float,
    expected: int,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_OBSERVATIONS", seconds)
    price = {"input_per_mtok": 100.0, "output_per_mtok": 0.0}  # a tenth of a cent a request
    meanwhile: list[int] = []

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        meanwhile.append(len(observed(instance)))
        return completion("echo")

    with ScriptedServer({"question 3": ["500"], "question 4": ["400"]}, answer=answer) as server:
        sampled_home(tmp_path, TEXTS, base_url=server.url, concurrency=2, price=price)
        first = replayed(tmp_path, instance)
        figures = observed(instance)
        replayed(tmp_path, instance)
        assert len(observed(instance)) == len(figures) == expected, (
            "a rerun sends nothing and leaves none"
        )
    assert first.success
    assert (meanwhile[-1] > 0) is (seconds == 0)
    last = figures[-1]
    assert {
        name: last[name]
        for name in ("arm", "done", "total", "limit", "retries", "failed", "seconds_left")
    } == {
        "arm": "candidate",
        "done": 12,
        "total": 12,
        "limit": 2,
        "retries": "server_error: 1",
        "failed": 1,
        "seconds_left": 0,
    }
    assert last["cost_usd"] == pytest.approx(0.011)
    assert last["per_second"] > 0
    assert 0 <= last["in_flight"] <= 2
    assert not any(text in str(first.all_events) for text in ("question 1", "echo"))
    (shown,) = first.asset_materializations_for_node("candidate_completions")
    by_arm, plot = (str(shown.metadata[name].value) for name in ("by_arm", "latency"))
    assert by_arm.startswith(
        "| arm | outcomes | prompt_tokens | completion_tokens | cost_usd | p50 s | p90 s | p99 s |"
    )
    assert "| candidate | failed | bad_request | 1 |" in str(shown.metadata["by_status"].value)
    assert plot.startswith("![plot](data:image/png;base64,iVBOR")
    assert len(plot) < 60_000


def test_a_replay_that_stops_says_how_far_it_came(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with ScriptedServer({"question 7": ["401"]}) as server:
        sampled_home(tmp_path, TEXTS, base_url=server.url, concurrency=1)
        assert not replayed(tmp_path, instance).success
    assert [figures["done"] for figures in observed(instance)] == [7]


def test_the_phase_of_the_judges_shows_how_many_answers_came_and_of_how_many(
    run: Callable[..., list[str]], tmp_path: Path
) -> None:
    seen: list[tuple[int, int | None]] = []

    def listen(stage: str, done: int, total: int | None) -> None:
        if stage == "answers of judges":
            seen.append((done, total))

    with ScriptedServer(answer=honest) as server:
        home = judged_home(tmp_path, server, n_behaviors=1, n=6)
        token = progress.LISTENER.set(listen)
        try:
            run(home)
        finally:
            progress.LISTENER.reset(token)
    n = len(seen)
    assert n >= server.requests.total() > 0, "equal questions share one answer"
    assert seen == [(done, n) for done in range(1, n + 1)]
