"""Orchestration runs on real tables and a real Dagster instance; only the spaCy detector is replaced, by one that masks e-mail addresses."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg
import pytest

from sim_platform.deidentification.spans import Span
from sim_platform.orchestration import deidentification_flow, runs
from sim_platform.orchestration.assets import deidentification
from sim_platform.registry.home import load_home

EMAIL = re.compile(r"[\w.]+@[\w.]+\w")


class EmailDetector:
    """A fast detector for tests; `version` and `fail_on` can be set."""

    version = "emails-1"
    fail_on = ""

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        if self.fail_on and any(self.fail_on in text for text in texts):
            raise ValueError(f"cannot read {self.fail_on}")
        return [[Span(m.start(), m.end(), "EMAIL", 1.0, "test") for m in EMAIL.finditer(text)] for text in texts]


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> EmailDetector:
    found = EmailDetector()
    monkeypatch.setattr(deidentification, "stack_detector", lambda *_: found)
    monkeypatch.setattr(deidentification_flow, "SHADOWS", 0)  # it would not find the other canaries
    return found


@pytest.fixture
def run(detector: EmailDetector, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """run(home, *releases) runs them like the command line and returns what it said; raises what it raises."""
    history = tmp_path_factory.mktemp("dagster_history")
    instance = dg.DagsterInstance.ephemeral(tempdir=str(history))
    monkeypatch.setattr(dg.DagsterInstance, "get", staticmethod(lambda: instance))
    monkeypatch.setenv("DAGSTER_HOME", str(history))

    def go(home: Path, *releases: str, sample_size: int | None = None, only_sample: bool = False) -> list[str]:
        said: list[str] = []
        loaded = load_home(home)
        runs.run_releases(loaded, list(releases or loaded.releases), sample_size, say=said.append, only_sample=only_sample)
        return said

    return go
