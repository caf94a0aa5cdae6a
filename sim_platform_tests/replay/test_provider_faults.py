"""Answers of real servers that are no completion: what each means for its request, or for the run.

The bodies have the shapes that providers document; the words in them are ours.
"""

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.budget import Budget
from sim_platform.replay.engine import FAILURES_IN_A_ROW, TRANSIENT_REASONS, run_replay
from sim_platform.replay.providers.address import url_of
from sim_platform.replay.providers.build import build_provider
from sim_platform.replay.providers.faults import (
    MAX_WAIT_S,
    exhausted_for,
    retry_after,
    status_outcome,
)
from sim_platform.replay.providers.openai import blocking_client
from sim_platform.replay.providers.protocol import PermanentFailure, Retryable, StopRun
from sim_platform.replay.providers.response import outcome_of
from sim_platform_tests.replay.samples import model, request
from sim_platform_tests.replay.scripted_server import ScriptedServer, completion

PRIVATE = "words of a user about an api key and a credit balance"


def meaning(status: int, error: Any, *, others_pass: bool = False, **changes: Any) -> Outcome:
    version = model(**changes)
    body = json.dumps(error).encode()
    asked = request(PRIVATE, of=version)
    return status_outcome(version, asked, status, {}, body, 0.1, others_pass=others_pass)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, {"error": {"code": 403, "message": "requires moderation", "metadata": {}}}),
        (403, {"error": {"message": "Forbidden", "metadata": {"flagged_input": "…"}}}),
        (400, {"error": {"message": "Your prompt was flagged as unsafe"}}),
        (400, {"error": {"code": "invalid_prompt", "message": "Invalid prompt"}}),
        (400, {"error": {"code": "content_policy_violation"}}),
        (400, {"error": {"code": "content_filter", "message": "x"}}),
    ],
)
def test_a_prompt_that_the_providers_filter_refuses_is_an_outcome_of_its_row(
    status: int, error: Any
) -> None:
    found = meaning(status, error)
    assert found.status == "refused"
    assert found.reason in ("provider_filter", "content_filter")


@pytest.mark.parametrize(
    ("status", "error", "names"),
    [
        (402, {"error": {"message": "top up"}}, "balance"),
        (429, {"error": {"code": "insufficient_quota"}}, "balance"),
        (400, {"error": {"message": "Your credit balance is too low"}}, "balance"),
        (429, {"error": {"message": "No deployments available - crossed budget"}}, "balance"),
        (400, {"error": {"type": "no_db_connection", "message": "No connected db."}}, "MY_KEY"),
        (400, [{"error": {"message": "API key not valid. Please pass another."}}], "MY_KEY"),
        (400, {"error": {"details": [{"reason": "API_KEY_INVALID"}]}}, "MY_KEY"),
        (401, "no json at all", "MY_KEY"),
        (403, {"error": {"message": "forbidden"}}, "MY_KEY"),
        (403, {"error": {"message": "Account suspended: it broke our usage policies"}}, "MY_KEY"),
        (403, {"error": {"message": "Your access was terminated after moderation"}}, "MY_KEY"),
        (404, {"detail": "Not Found"}, "base_url"),
        (400, {"error": {"message": "Invalid model name passed in model=m"}}, "model"),
        (407, {}, "proxy"),
        (301, {}, "base_url"),
        (308, {}, "base_url"),
        (
            422,
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "x"}]},
            "seed",
        ),
        (400, {"error": {"message": "Unrecognized request argument supplied: 'seed'"}}, "seed"),
        (400, {"error": {"code": "unsupported_parameter", "param": "seed"}}, "seed"),
    ],
)
def test_a_fault_of_account_address_or_settings_stops_the_run_and_says_where_to_look(
    status: int, error: Any, names: str
) -> None:
    with pytest.raises(StopRun, match=names) as stopped:
        meaning(status, error, api_key_env="MY_KEY", settings={"seed": 7})
    assert "flagged" not in str(stopped.value)
    assert PRIVATE not in str(stopped.value)


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (400, {"error": {"message": f"cannot read {PRIVATE}"}}, "bad_request"),
        (400, {"error": {"message": "maximum context length is 8192"}}, "context_length"),
        (400, {"error": {"code": "tool_use_failed", "failed_generation": PRIVATE}}, "unreadable"),
        (500, {"error": {"message": "jinja2: conversation roles must alternate"}}, "chat_template"),
        (422, {"detail": [{"loc": ["body", "messages", 3], "msg": "bad"}]}, "bad_request"),
    ],
)
def test_what_the_request_is_to_blame_for_is_its_own_failure(
    status: int, error: Any, reason: str
) -> None:
    with pytest.raises(PermanentFailure, match=reason) as failed:
        meaning(status, error)
    assert PRIVATE not in str(failed.value)


@pytest.mark.parametrize("status", [408, 409, 424, 425, 429, 498, 500, 502, 503, 529, 599])
def test_what_may_pass_is_asked_again(status: int) -> None:
    with pytest.raises(Retryable) as failure:
        meaning(status, {"error": {"message": "later"}})
    assert failure.value.code in TRANSIENT_REASONS


def test_an_unexplained_403_is_the_rows_once_other_requests_pass_and_is_tried_by_the_next_run() -> (
    None
):
    with pytest.raises(PermanentFailure, match="forbidden"):
        meaning(403, {"error": {"message": "no"}}, others_pass=True)
    assert "forbidden" in TRANSIENT_REASONS


def test_a_moderated_prompt_does_not_stop_a_release() -> None:
    """One prompt in four is refused by the provider's filter with a 403."""
    texts = [f"text {i}" for i in range(20)]
    schedule = {text: ["403"] for text in texts[::4]}
    error = {"code": 403, "message": "your input was flagged"}
    found: list[Outcome] = []
    with ScriptedServer(schedule, error_body=error) as server:
        version = model(base_url=server.url)
        run_replay(
            [request(text, of=version) for text in texts],
            build_provider(version),
            concurrency=4,
            max_retries=1,
            on_outcome=found.append,
        )
    assert len(found) == 20
    assert sorted(o.prefix_id for o in found if o.status == "refused") == sorted(
        f"p-{text}" for text in texts[::4]
    )


def replayed(n: int, always: str, schedule: dict[str, list[str]] | None = None) -> list[Outcome]:
    found: list[Outcome] = []
    with ScriptedServer(schedule or {}, always=always, error_body={"message": "no"}) as server:
        version = model(base_url=server.url)
        run_replay(
            [request(f"text {i}", of=version) for i in range(n)],
            build_provider(version),
            concurrency=2,
            max_retries=1,
            on_outcome=found.append,
        )
    return found


@pytest.mark.parametrize("status", ["400", "418", "422"])
def test_when_the_first_requests_are_all_refused_alike_nothing_is_stored_and_the_run_stops(
    status: str,
) -> None:
    with pytest.raises(StopRun, match=rf"refused the first {FAILURES_IN_A_ROW} requests"):
        replayed(100, status)


def test_a_failure_that_may_pass_does_not_make_refusals_before_it_the_rows_own() -> None:
    found: list[Outcome] = []
    with ScriptedServer({"text 5": ["500"]}, always="400", error_body={"message": "no"}) as server:
        version = model(base_url=server.url)
        with pytest.raises(StopRun, match="refused the first"):
            run_replay(
                [request(f"text {i}", of=version) for i in range(100)],
                build_provider(version),
                concurrency=1,
                max_retries=0,
                on_outcome=found.append,
            )
    assert [o.reason for o in found] == ["server_error"]


def test_failures_before_the_first_success_are_the_rows_once_something_passes() -> None:
    found = replayed(12, "ok", {f"text {i}": ["400", "400"] for i in range(8)})
    assert sorted(o.status for o in found) == ["completed"] * 4 + ["failed"] * 8


def test_a_few_requests_that_all_fail_end_with_their_failures() -> None:
    assert [o.reason for o in replayed(3, "400")] == ["bad_request"] * 3


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("stop", "completed"),
        ("eos", "completed"),
        ("length", "truncated"),
        ("max_tokens", "truncated"),
        ("model_length", "truncated"),
        ("MAX_TOKENS", "truncated"),
        ("content_filter", "refused"),
        ("SAFETY", "refused"),
    ],
)
def test_servers_have_other_words_for_how_an_answer_ended(said: str, status: str) -> None:
    payload = completion("Some text", said)
    assert outcome_of(request("x"), payload, price=None, latency_s=0.1).status == status


@pytest.mark.parametrize("said", ["error", "abort", "insufficient_system_resource"])
def test_an_answer_that_broke_off_may_pass_when_asked_again(said: str) -> None:
    with pytest.raises(Retryable) as failure:
        outcome_of(request("x"), completion("Half of a", said), price=None, latency_s=0.1)
    assert failure.value.code in TRANSIENT_REASONS


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"status": "incomplete", "incomplete_details": None}, "truncated"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_tokens"}}, "truncated"),
        ({"status": "completed"}, "completed"),
    ],
)
def test_an_incomplete_responses_object_is_truncated(body: dict[str, Any], status: str) -> None:
    version = model(api="responses")
    said = {"type": "message", "content": [{"type": "output_text", "text": "Half of a"}]}
    asked = request("x", of=version)
    found = outcome_of(asked, {**body, "output": [said]}, price=None, latency_s=0.1)
    assert found.status == status


def test_arguments_that_come_as_an_object_and_counts_that_come_as_floats_are_read() -> None:
    call = {"id": "c", "function": {"name": "look", "arguments": {"b": 1, "a": 2}}}
    payload = completion(None, "tool_calls", tool_calls=[call])
    payload["usage"] = {"prompt_tokens": 10.0, "completion_tokens": 4.6}
    found = outcome_of(request("x"), payload, price=None, latency_s=0.1)
    assert found.tool_calls[0]["function"]["arguments"] == '{"a":2,"b":1}'
    assert (found.prompt_tokens, found.completion_tokens) == (10, 5)


@pytest.mark.parametrize("tokens", [10**30, 1e30, -(10**30), 10**400, "many", None, [1]])
def test_a_count_of_tokens_that_cannot_be_is_estimated_and_ends_nothing(
    tokens: object, tmp_path: Path
) -> None:
    payload = completion("hi")
    payload["usage"] = {"prompt_tokens": tokens, "completion_tokens": tokens}
    found = outcome_of(request("x"), payload, price=None, latency_s=0.1)
    assert (found.status, found.tokens_estimated) == ("completed", True)
    assert 0 < found.prompt_tokens + found.completion_tokens < 100
    budget = Budget(1.0, 100, path=tmp_path / "budget")
    budget.spend(found.cost_usd, found.prompt_tokens + found.completion_tokens)
    assert budget.used_up is None
    budget.close()


@pytest.mark.parametrize("kind", ["epoch", "milliseconds", "iso", "naive iso"])
def test_a_reset_that_is_a_time_and_no_duration_is_waited_for(kind: str) -> None:
    at = datetime.now(UTC) + timedelta(seconds=90)
    value = {
        "epoch": str(at.timestamp()),
        "milliseconds": str(round(at.timestamp() * 1000)),
        "iso": at.isoformat(),
        "naive iso": at.replace(tzinfo=None).isoformat(),
    }[kind]
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": value}
    assert 60 < exhausted_for(headers) < 91  # milliseconds are rounded


@pytest.mark.parametrize("value", ["1e12", "99999999", "200000", "never", "2999-01-01T00:00:00Z"])
def test_no_header_makes_a_run_wait_longer_than_an_hour(value: str) -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": value}
    assert exhausted_for(headers) == 0.0
    assert (retry_after({"retry-after": value}) or 0.0) <= MAX_WAIT_S


def test_a_base_url_with_a_query_keeps_it_behind_the_path() -> None:
    version = model(base_url="https://user:secret@host.example/openai/v1?api-version=2026-01-01")
    assert url_of(version, "/chat/completions") == (
        "https://host.example/openai/v1/chat/completions?api-version=2026-01-01"
    )


def test_a_batch_follows_no_redirect_to_another_host() -> None:
    """Its file holds the prompts."""
    taken: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    class Redirects(Elsewhere):
        def do_POST(self) -> None:
            self.send_response(307)
            self.send_header("location", f"http://127.0.0.1:{other.server_port}/v1/files")
            self.end_headers()

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as other,
        ThreadingHTTPServer(("127.0.0.1", 0), Redirects) as first,
    ):
        for server in (other, first):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        client = blocking_client(model(base_url=f"http://127.0.0.1:{first.server_port}/v1"))
        with pytest.raises(openai.APIStatusError):
            client.files.create(file=("requests.jsonl", b"{}"), purpose="batch")
        client.close()
        for server in (other, first):
            server.shutdown()
    assert taken == []
