"""The Batch API against a real server: nothing is asked twice, nothing is lost, whenever
the client dies.
"""

import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.flows.replay import batches as batch_flow
from sim_platform.flows.replay.arm import replay_arm
from sim_platform.flows.replay.batches import BatchesOut, batch_folder, batches_of, poll
from sim_platform.flows.replay.pending import ArmSummary
from sim_platform.orchestration.jobs import batch_answers
from sim_platform.orchestration.partitions import register
from sim_platform.orchestration.resources import Deployment
from sim_platform.orchestration.sensors import batches_that_have_ended
from sim_platform.registry.home import Home, load_home
from sim_platform.replay.batches import BatchFolder, forget_requests
from sim_platform.replay.budget import Budget
from sim_platform.replay.providers.openai_batch import BatchEndpoint
from sim_platform.replay.providers.protocol import StopRun
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import RECORDED_MODELS, sampled_home, write_yaml
from sim_platform_tests.replay.batch_server import BatchServer

PRICE = {"input_per_mtok": 1000.0, "output_per_mtok": 1000.0}  # a tenth of a cent a token
TEXTS = [f"question {n}" for n in range(12)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    monkeypatch.setattr(batch_flow, "SETTLE_SECONDS", 0.0)
    with BatchServer() as running:
        yield running


def asked_in_batches(server: BatchServer, **changes: Any) -> dict[str, Any]:
    return {
        "provider": "openai_batch",
        "base_url": server.url,
        "price": PRICE,
        "settings": {"temperature": 0, "max_tokens": 10},
        **changes,
    }


def go(home: Home, warehouse: DuckDBFile, **budget: Any) -> ArmSummary:
    candidate = home.by_version["v2"]
    return replay_arm(
        home,
        warehouse,
        candidate,
        candidate,
        "candidate",
        advance=lambda _: None,
        run_budget=Budget(**budget) if budget else None,
    )


def rows(warehouse: DuckDBFile) -> pl.DataFrame:
    return warehouse.read(CandidateCompletions).sort("prefix_id")


def test_a_batch_is_handed_over_once_and_brought_in_at_half_the_price(
    server: BatchServer, tmp_path: Path
) -> None:
    home, warehouse = sampled_home(tmp_path, [*TEXTS, *TEXTS[:3]], **asked_in_batches(server))
    for _ in range(2):
        with pytest.raises(
            BatchesOut,
            match=(
                r"1 batches with 12 requests of arm candidate are out at"
                r" 127\.0\.0\.1:\d+.*sim-platform batches v2 --wait"
            ),
        ):
            go(home, warehouse)
    assert [(line.state, line.status) for line in poll(home, "v2")] == [
        ("submitted", "in_progress")
    ]
    server.finish()
    assert [(line.state, line.status, line.answered) for line in poll(home, "v2")] == [
        ("ended", "completed", 12)
    ]
    assert poll(home, "v2")[0].state == "ended", "nothing is left to ask for"
    summary = go(home, warehouse)
    assert (summary.sent, summary.already_done, summary.reused, summary.handed_over) == (
        0,
        12,
        3,
        0,
    )
    assert (len(server.batches), set(server.asked.values()), server.online) == (1, {1}, [])
    stored = rows(warehouse)
    assert stored["text"].to_list() == [f"batch: {text}" for text in [*TEXTS, *TEXTS[:3]]]
    assert stored["cost_usd"].sum() == pytest.approx(12 * 15 * 0.001 * 0.5)
    assert stored["provider_request_id"][0] == "req-0"
    assert set(server.deleted) == {"file-0", "output_file_id-batch-0"}, (
        "texts do not stay at the provider"
    )
    assert [f.name for f in batch_folder(home, "v2", "candidate").glob("*.jsonl")] == []


def _child(path: Path) -> None:
    home = load_home(path)
    go(home, DuckDBFile(home.warehouse))


@pytest.mark.e2e
@pytest.mark.parametrize("moment", ["on_create", "before_create"])
def test_a_client_killed_around_the_submission_neither_submits_twice_nor_loses_a_batch(
    moment: str, server: BatchServer, tmp_path: Path
) -> None:
    home, warehouse = sampled_home(tmp_path, TEXTS, **asked_in_batches(server))
    client = multiprocessing.get_context("spawn").Process(target=_child, args=(home.path,))

    def kill() -> bool:
        client.kill()
        return False

    setattr(server, moment, kill)
    client.start()
    client.join()
    assert client.exitcode == -9
    assert len(server.batches) == (moment == "on_create")
    assert [line.state for line in batches_of(home, "v2")] == ["written"]
    setattr(server, moment, lambda: True)
    with pytest.raises(BatchesOut, match="1 batches with 12 requests"):
        go(home, warehouse)
    assert (len(server.batches), set(server.asked.values())) == (1, {1})
    server.finish()
    assert go(home, warehouse).already_done == 12
    assert len(rows(warehouse)) == 12


def test_a_submission_that_nobody_answered_is_looked_for_at_once(
    server: BatchServer, tmp_path: Path
) -> None:
    home, warehouse = sampled_home(tmp_path, TEXTS, **asked_in_batches(server))
    server.on_create = lambda: False
    with pytest.raises(BatchesOut):
        go(home, warehouse)
    assert len(server.batches) == 1


@pytest.mark.parametrize("unfinished", ["resubmit", "online"])
def test_what_an_expired_batch_left_is_completed_as_configured(
    unfinished: str, server: BatchServer, tmp_path: Path
) -> None:
    home, warehouse = sampled_home(
        tmp_path, TEXTS, **asked_in_batches(server, batch={"unfinished": unfinished})
    )
    with pytest.raises(BatchesOut):
        go(home, warehouse)
    server.finish("expired", lambda n, line: server.answered(n, line) if n % 2 else None)
    if unfinished == "resubmit":
        with pytest.raises(BatchesOut, match="1 batches with 6 requests"):
            go(home, warehouse)
        server.finish()
        assert go(home, warehouse).sent == 0
    else:
        assert go(home, warehouse).sent == 6
    stored = rows(warehouse)
    assert stored["status"].to_list() == ["completed"] * 12
    assert (server.asked.total(), len(server.online)) == (
        (18, 0) if unfinished == "resubmit" else (12, 6)
    )
    halves = stored["cost_usd"].round(6).to_list()
    assert halves == ([0.0075] * 12 if unfinished == "resubmit" else [0.015, 0.0075] * 6)


def test_lines_that_failed_say_why_and_only_what_may_pass_is_asked_again(
    server: BatchServer, tmp_path: Path
) -> None:
    home, warehouse = sampled_home(tmp_path, TEXTS[:5], **asked_in_batches(server))
    with pytest.raises(BatchesOut):
        go(home, warehouse)
    said = [
        {
            "status_code": 400,
            "body": {
                "error": {"code": "context_length_exceeded", "message": "too long: question 0"}
            },
        },
        {"status_code": 500, "body": {}},
        {"status_code": 401, "body": {}},
        {"status_code": 200, "body": {"choices": []}},
    ]
    server.finish(answer=lambda n, line: said[n] if n < 4 else server.answered(n, line))
    poll(home, "v2")
    reasons = dict(rows(warehouse).select("prefix_id", "reason").iter_rows())
    assert reasons == {
        f"{0:016x}": "context_length",
        f"{1:016x}": "server_error",
        f"{3:016x}": "invalid_response",
        f"{4:016x}": None,
    }
    with pytest.raises(BatchesOut, match="3 requests"):
        go(home, warehouse)


def test_batches_keep_to_the_limits_of_the_endpoint(server: BatchServer, tmp_path: Path) -> None:
    home, warehouse = sampled_home(
        tmp_path,
        [*TEXTS, "long " * 100],
        **asked_in_batches(server, batch={"max_requests": 5, "max_megabytes": 0.0008}),
    )
    with pytest.raises(BatchesOut, match="13 requests"):
        go(home, warehouse)
    inputs = [server.files[b["input_file_id"]] for b in server.batches.values()]
    assert all(len(text) <= 800 and text.count(b"\n") <= 5 for text in inputs)
    assert (server.asked.total(), set(server.asked.values())) == (13, {1})


def test_a_batch_refused_as_a_whole_names_the_codes_and_is_handed_over_anew(
    server: BatchServer, tmp_path: Path
) -> None:
    home, warehouse = sampled_home(tmp_path, TEXTS, **asked_in_batches(server))
    with pytest.raises(BatchesOut):
        go(home, warehouse)
    server.finish("failed", errors=["token_limit_exceeded"])
    with pytest.raises(StopRun, match=r"refused batch batch-0 as a whole \(token_limit_exceeded\)"):
        go(home, warehouse)
    with pytest.raises(BatchesOut):
        go(home, warehouse)
    assert len(server.batches) == 2


def test_a_budget_bounds_what_is_handed_over_and_counts_what_is_out(
    server: BatchServer, tmp_path: Path
) -> None:
    home, warehouse = sampled_home(
        tmp_path, TEXTS, **asked_in_batches(server, budget={"max_tokens": 130})
    )
    with pytest.raises(
        StopRun,
        match=(
            r"max_tokens: the next request may cost more than is left. (\d) requests were handed"
            r" over"
        ),
    ):
        go(home, warehouse)
    sent = server.asked.total()
    assert 0 < sent < 12
    with pytest.raises(StopRun, match="0 requests were handed over"):
        go(home, warehouse)
    assert server.asked.total() == sent


def test_answers_to_other_settings_are_not_taken(server: BatchServer, tmp_path: Path) -> None:
    home, warehouse = sampled_home(tmp_path, TEXTS, **asked_in_batches(server))
    with pytest.raises(BatchesOut):
        go(home, warehouse)
    changed = {
        "version": "v2",
        "replaces": "v1",
        "model": "m",
        **asked_in_batches(server, settings={"temperature": 0, "max_tokens": 11}),
    }
    write_yaml(home.path / "models.yaml", {"models": [RECORDED_MODELS[0], changed]})
    server.finish()
    with pytest.raises(BatchesOut):
        go(load_home(home.path), warehouse)
    assert rows(warehouse).is_empty()
    assert len(server.batches) == 2


def test_a_forgotten_person_is_in_no_file_and_an_answer_that_still_comes_is_not_kept(
    server: BatchServer, tmp_path: Path
) -> None:
    home, warehouse = sampled_home(tmp_path, TEXTS, **asked_in_batches(server))
    with pytest.raises(BatchesOut):
        go(home, warehouse)
    gone = f"{3:016x}"
    forget_requests(home.path / "batches", {gone})
    with warehouse.transaction() as tx:
        tx.execute("delete from stratified_sample where prefix_id = $id", {"id": gone})
    assert not any(
        gone.encode() in file.read_bytes()
        for file in (home.path / "batches").rglob("*")
        if file.is_file()
    )
    server.finish()
    poll(home, "v2")
    assert len(rows(warehouse)) == 11


def test_two_processes_do_not_work_on_one_arms_batches(server: BatchServer, tmp_path: Path) -> None:
    home, warehouse = sampled_home(tmp_path, TEXTS, **asked_in_batches(server))
    with (
        BatchFolder(batch_folder(home, "v2", "candidate")),
        pytest.raises(SimPlatformError, match="another process works on these batches"),
    ):
        go(home, warehouse)


def test_files_of_batches_hold_no_key_and_are_the_owners_alone(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_A_TEST", "sk-very-secret")
    home, warehouse = sampled_home(
        tmp_path, TEXTS, **asked_in_batches(server, api_key_env="KEY_OF_A_TEST")
    )
    with pytest.raises(BatchesOut):
        go(home, warehouse)
    files = [f for f in (home.path / "batches").rglob("*") if f.is_file()]
    assert all(
        f.stat().st_mode & 0o077 == 0 and b"sk-very-secret" not in f.read_bytes() for f in files
    )
    assert (
        json.loads(next(f for f in files if f.suffix == ".json").read_text())["state"]
        == "submitted"
    )


def test_a_clock_that_was_set_back_does_not_make_a_batch_be_handed_over_twice(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider's list shows the batch a little later; the batch seems to have been written an
    hour from now.
    """
    home, warehouse = sampled_home(tmp_path, TEXTS, **asked_in_batches(server))
    with pytest.raises(BatchesOut):
        go(home, warehouse)
    with BatchFolder(batch_folder(home, "v2", "candidate")) as folder:
        (batch,) = folder.batches()
        folder.save(
            replace(batch, state="written", batch_id=None, written_at=batch.written_at + 3600)
        )
    monkeypatch.setattr(batch_flow, "SETTLE_SECONDS", 1.0)
    real, asked = batch_flow.BatchEndpoint.find, list[str]()

    def late(endpoint: batch_flow.BatchEndpoint, key: str) -> str | None:
        asked.append(key)
        return None if len(asked) == 1 else real(endpoint, key)

    monkeypatch.setattr(batch_flow.BatchEndpoint, "find", late)
    with pytest.raises(BatchesOut):
        go(home, warehouse)
    assert (len(server.batches), len(asked)) == (1, 2)


def test_texts_that_a_crash_left_behind_are_removed_here_and_there_by_the_next_run(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, warehouse = sampled_home(tmp_path, TEXTS, **asked_in_batches(server))
    with pytest.raises(BatchesOut):
        go(home, warehouse)
    server.finish()
    with monkeypatch.context() as crash:
        crash.setattr(batch_flow, "_clear", lambda *_: None)
        poll(home, "v2")
    texts = list((home.path / "batches").rglob("*.jsonl"))
    assert texts
    assert server.deleted == []
    go(home, warehouse)
    assert not any(file.exists() for file in texts)
    assert len(server.deleted) == 2


def tick(home: Home, instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    with dg.build_sensor_context(
        instance=instance, resources={"deployment": Deployment(home_dir=str(home.path))}
    ) as context:
        found = batches_that_have_ended(context)
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


def fetched(home: Home, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    deployment = {"deployment": Deployment(home_dir=str(home.path))}
    return batch_answers.execute_in_process(
        partition_key="v2", instance=instance, resources=deployment, raise_on_error=False
    )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as history:
        register(history, ("v2",))
        yield history


@pytest.mark.parametrize("unfinished", ["resubmit", "online"])
def test_the_sensor_fetches_when_all_batches_have_ended_and_nothing_that_it_starts_asks_a_model(
    unfinished: str, server: BatchServer, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    home, warehouse = sampled_home(
        tmp_path,
        TEXTS,
        **asked_in_batches(server, batch={"max_requests": 6, "unfinished": unfinished}),
    )
    assert isinstance(tick(home, instance), dg.SkipReason), (
        "nothing was handed over, and the sensor does not change that"
    )
    with pytest.raises(BatchesOut):
        go(home, warehouse)
    asked = server.asked.copy()
    server.batches["batch-0"]["status"] = "expired"
    assert isinstance(tick(home, instance), dg.SkipReason), "one of two is still out"
    server.batches["batch-0"]["status"] = "in_progress"
    server.finish("expired", lambda n, line: server.answered(n, line) if n % 2 else None)
    first, again = tick(home, instance), tick(home, instance)
    assert isinstance(first, dg.SensorResult)
    assert isinstance(again, dg.SensorResult)
    assert [r.partition_key for r in first.run_requests or []] == ["v2"]
    assert [r.run_key for r in first.run_requests or []] == [
        r.run_key for r in again.run_requests or []
    ], "one run an hour at most"
    assert fetched(home, instance).success
    assert rows(warehouse)["status"].to_list() == ["completed"] * 6
    assert (server.asked, server.online, len(server.batches)) == (asked, [], 2), (
        "what the batches left is asked for by a person's run"
    )
    assert isinstance(tick(home, instance), dg.SkipReason)


def test_a_provider_that_is_down_is_a_reason_to_skip_that_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    monkeypatch.setattr(batch_flow, "SETTLE_SECONDS", 0.0)
    monkeypatch.setenv("KEY_OF_A_TEST", "sk-very-secret")
    with BatchServer() as server:
        url = server.url.replace("//", "//somebody:password@") + "?key=sk-in-the-url"
        home, warehouse = sampled_home(
            tmp_path, TEXTS, **asked_in_batches(server, api_key_env="KEY_OF_A_TEST")
        )
        with pytest.raises(BatchesOut):
            go(home, warehouse)
    models = yaml.safe_load((home.path / "models.yaml").read_text())
    models["models"][1]["base_url"] = url
    write_yaml(home.path / "models.yaml", models)
    skipped = tick(home, instance)
    assert isinstance(skipped, dg.SkipReason)
    assert "did not answer a call of its Batch API" in (skipped.skip_message or "")
    monkeypatch.setattr(batch_flow, "BatchEndpoint", lambda model: BatchEndpoint(model, retries=0))
    failed = fetched(home, instance)
    monkeypatch.undo()
    events = " ".join(str(event) for event in failed.all_events)
    assert not failed.success
    assert not any(
        secret in events + (skipped.skip_message or "")
        for secret in ("sk-", "password", "question")
    )
    without_key = tick(home, instance)
    assert isinstance(without_key, dg.SkipReason)
    assert "KEY_OF_A_TEST" in (without_key.skip_message or "")
