"""Replay against llama.cpp's server, which we did not write."""

from collections.abc import Iterator
from typing import Any

import pytest

from sim_platform.contracts.messages import Message
from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.engine import run_replay
from sim_platform.replay.providers.build import build_provider
from sim_platform.replay.providers.protocol import StopRun
from sim_platform.replay.requests import Request, build_request
from sim_platform_tests.replay.llama_server import KEY, llama_server
from sim_platform_tests.replay.samples import model, request

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llama_server() as address:
        yield address


@pytest.fixture(autouse=True)
def known_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_THE_TEST", KEY)


def replayed(
    url: str, texts: list[str], *, prefix: list[Message] | None = None, **changes: Any
) -> dict[str, Outcome]:
    changes = {"settings": {"max_tokens": 8, "temperature": 0.0}} | changes
    version = model(base_url=url, api_key_env="KEY_OF_THE_TEST", max_retries=0, **changes)
    found: dict[str, Outcome] = {}

    def asked(text: str) -> Request:
        if prefix is None:
            return request(text, of=version, prefix_id=text)
        return build_request(
            version, arm="candidate", prefix_id=text, k=0, prefix=prefix, turn_key=text
        )

    run_replay(
        [asked(text) for text in texts],
        build_provider(version),
        concurrency=4,
        max_retries=0,
        on_outcome=lambda outcome: found.__setitem__(outcome.prefix_id, outcome),
    )
    return found


def test_answers_are_stored_with_what_they_cost_and_who_gave_them(url: str) -> None:
    found = replayed(url, ["Say hello.", "Count to three.", "Name a colour."])
    assert {outcome.status for outcome in found.values()} <= {"completed", "truncated"}
    for outcome in found.values():
        assert outcome.text
        assert outcome.prompt_tokens > 5
        assert 1 <= outcome.completion_tokens <= 8
        assert outcome.served_model
        assert outcome.provider_request_id


def test_a_prompt_longer_than_the_context_is_its_rows_own_failure(url: str) -> None:
    found = replayed(url, ["word " * 3000, "Say hello."])
    assert found["word " * 3000].reason == "context_length"
    assert found["Say hello."].text


@pytest.mark.parametrize(
    ("key", "version", "names"), [("sk-other", "/v1", "KEY_OF_THE_TEST"), (KEY, "/v7", "base_url")]
)
def test_a_wrong_key_or_path_stops_the_run_and_says_where_to_look(
    url: str, key: str, version: str, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_THE_TEST", key)
    with pytest.raises(StopRun, match=names):
        replayed(url.replace("/v1", version), ["Say hello."])


def test_log_probabilities_come_back(url: str) -> None:
    settings = {"max_tokens": 2, "temperature": 0.0, "logprobs": True, "top_logprobs": 2}
    assert replayed(url, ["Say hello."], settings=settings)["Say hello."].logprobs


def test_roles_that_follow_each_other_are_answered(url: str) -> None:
    """Two turns of the user, and a system message in the middle, as logs have them."""
    prefix: list[Message] = [
        {"role": "user", "content": "Hello."},
        {"role": "user", "content": "Are you there?"},
        {"role": "system", "content": "Answer in one word."},
    ]
    assert replayed(url, ["mixed"], prefix=prefix)["mixed"].status in ("completed", "truncated")
