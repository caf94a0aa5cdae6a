"""The LiteLLM proxy in front of llama.cpp's server, neither of them ours. `make test-integrations`
installs it beside the platform; without it these tests are skipped.
"""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.engine import run_replay
from sim_platform.replay.providers.build import build_provider
from sim_platform.replay.providers.protocol import StopRun
from sim_platform_tests.replay.llama_server import KEY, llama_server
from sim_platform_tests.replay.samples import model, request

ENVIRONMENT = os.environ.get("SIM_PLATFORM_INTEGRATIONS", "")
LITELLM = Path(ENVIRONMENT, "bin", "litellm")
MASTER = "sk-master-of-the-test"
START_SECONDS = 180
pytestmark = pytest.mark.skipif(
    not ENVIRONMENT or not LITELLM.exists(),
    reason="SIM_PLATFORM_INTEGRATIONS names no environment with litellm (make test-integrations)",
)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """base_url of the proxy, whose models are the good and the bad ways of one server."""
    folder = tmp_path_factory.mktemp("litellm")
    with llama_server() as url, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()

        def served(name: str, **parameters: Any) -> dict[str, Any]:
            there = {"model": "openai/small", "api_base": url, "api_key": KEY}
            return {"model_name": name, "litellm_params": there | parameters}

        nobody = "http://127.0.0.1:9/v1"
        dear = {"input_cost_per_token": 1.0, "max_budget": 0.001, "budget_duration": "1d"}
        config = {
            "model_list": [
                served("good"),
                served("bad key", api_key="sk-other"),
                served("away", api_base=nobody),
                served("falls back", api_base=nobody),
                served("limited", rpm=2),
                served("dear", **dear),
            ],
            "router_settings": {
                "num_retries": 0,
                "fallbacks": [{"falls back": ["good"]}],
                "enable_pre_call_checks": True,
            },
            "general_settings": {"master_key": MASTER},
        }
        (folder / "config.yaml").write_text(json.dumps(config))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [LITELLM, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
                cwd=folder,
                stdout=log,
                stderr=log,
                env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},  # asks nobody
                start_new_session=True,
            )
        try:
            wait_for(f"http://127.0.0.1:{port}/health/liveliness", process)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(30)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        else:
            return
    raise AssertionError("the proxy did not start")


@pytest.fixture(autouse=True)
def known_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_THE_TEST", MASTER)


def replayed(proxy: str, name: str, texts: list[str], retries: int = 0) -> dict[str, Outcome]:
    version = model(
        base_url=proxy,
        model=name,
        api_key_env="KEY_OF_THE_TEST",
        max_retries=retries,
        timeout_seconds=60,
        settings={"max_tokens": 4, "temperature": 0.0},
    )
    found: dict[str, Outcome] = {}
    run_replay(
        [request(text, of=version, prefix_id=text) for text in texts],
        build_provider(version),
        concurrency=2,
        max_retries=retries,
        on_outcome=lambda outcome: found.__setitem__(outcome.prefix_id, outcome),
    )
    return found


def test_answers_come_through(proxy: str) -> None:
    found = replayed(proxy, "good", ["Say hello.", "Count to three."])
    assert all(outcome.text and outcome.prompt_tokens for outcome in found.values())


@pytest.mark.parametrize("name", ["bad key", "no such model", "dear"])
def test_what_every_request_would_meet_stops_the_run(proxy: str, name: str) -> None:
    said = "balance" if name == "dear" else "KEY_OF_THE_TEST"
    with pytest.raises(StopRun, match=said):
        replayed(proxy, name, [f"Say {n}." for n in range(6)])


def test_a_key_that_the_proxy_does_not_know_stops_the_run(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_THE_TEST", "sk-unknown")
    with pytest.raises(StopRun, match="KEY_OF_THE_TEST"):
        replayed(proxy, "good", ["Say hello."])


def test_a_server_that_is_away_may_come_back(proxy: str) -> None:
    assert replayed(proxy, "away", ["Say hello."])["Say hello."].reason == "server_error"


def test_a_fallback_shows_in_the_name_of_who_answered(proxy: str) -> None:
    asked = ["Say hello."]
    own = replayed(proxy, "good", asked)["Say hello."].served_model
    other = replayed(proxy, "falls back", asked)["Say hello."]
    assert other.text
    assert own != other.served_model


def test_a_limit_of_the_proxy_is_waited_for_and_then_said(proxy: str) -> None:
    found = replayed(proxy, "limited", [f"Say {n}." for n in range(4)], retries=1)
    reasons = sorted(str(outcome.reason) for outcome in found.values())
    assert reasons == ["None", "None", "rate_limited", "rate_limited"]


def test_a_prompt_longer_than_the_context_is_its_rows_own_failure(proxy: str) -> None:
    found = replayed(proxy, "good", ["word " * 3000])
    assert found["word " * 3000].reason == "context_length"
