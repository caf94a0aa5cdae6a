"""The embedded model, for real."""

import gc
import threading

import pytest

from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.engine import run_replay
from sim_platform.replay.providers.local import LocalProvider
from sim_platform_tests.replay.samples import model, request

pytestmark = pytest.mark.model
VERSION = model(
    provider="local",
    base_url=None,
    model=None,
    settings={"temperature": 1.0, "max_tokens": 16, "seed": 7},
)
QUESTIONS = [f"Tell me something about the number {n}." for n in range(8)]


def run(texts: list[str], concurrency: int) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    provider = LocalProvider(VERSION)
    run_replay(
        [request(t, of=VERSION) for t in texts],
        provider,
        concurrency=concurrency,
        max_retries=0,
        on_outcome=lambda o: outcomes.__setitem__(o.prefix_id, o),
    )
    assert "_chat" not in provider.__dict__, "the weights are freed"
    return outcomes


def test_the_same_seed_gives_the_same_text_alone_and_in_a_batch() -> None:
    together, alone = run([*QUESTIONS, "word " * 5000], 8), run(QUESTIONS[:4], 1)
    assert {k: together[k].text for k in alone} == {k: o.text for k, o in alone.items()}
    assert {o.served_model for o in alone.values()} == {"SmolLM2-135M-Instruct-Q4_1"}
    assert all(
        o.status in ("completed", "truncated") and o.completion_tokens and o.prompt_tokens
        for o in alone.values()
    )
    too_long = together.pop(f"p-{'word ' * 5000}")
    assert (too_long.status, too_long.reason, too_long.attempts) == ("failed", "context_length", 1)
    gc.collect()
    assert not [t for t in threading.enumerate() if t.name.startswith("local-model")]
