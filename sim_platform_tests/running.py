"""Orchestration runs on real tables and a real Dagster instance; only the spaCy detector is
replaced, by one that masks e-mail addresses.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sim_platform.deidentification.spans import Span
from sim_platform.flows.deidentification import corpus as deidentification_flow
from sim_platform.orchestration import runs
from sim_platform.orchestration.assets import deidentification
from sim_platform.registry.home import load_home
from sim_platform_tests.homes import write_home

Run = Callable[..., list[str]]
EMAIL = re.compile(r"[\w.]+@[\w.]+\w")


class EmailDetector:
    """A fast detector for tests; `version` and `fail_on` can be set."""

    version = "emails-1"
    fail_on = ""

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        if self.fail_on and any(self.fail_on in text for text in texts):
            raise ValueError(f"cannot read {self.fail_on}")
        return [
            [Span(m.start(), m.end(), "EMAIL", 1.0, "test") for m in EMAIL.finditer(text)]
            for text in texts
        ]


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> EmailDetector:
    return replaced_detector(monkeypatch)


@pytest.fixture
def run(
    detector: EmailDetector,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """run(home, *releases) runs them like the command line and returns what it said; raises
    what it raises.
    """
    return run_with_its_own_detectors(monkeypatch, tmp_path_factory)


@pytest.fixture(scope="session")
def finished_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of `write_home` after a run; tests get a copy of it (`home`)."""
    return run_once(write_home(tmp_path_factory.mktemp("finished")), tmp_path_factory)


@pytest.fixture
def home(finished_home: Path, tmp_path: Path) -> Path:
    """A home of one's own whose release v2 has run, as `run(write_home(tmp_path))` leaves it."""
    shutil.copytree(finished_home, tmp_path, dirs_exist_ok=True)
    return tmp_path


def run_once(home: Path, folders: pytest.TempPathFactory) -> Path:
    """The home after a run, for a fixture that tests share."""
    with pytest.MonkeyPatch.context() as patch:
        replaced_detector(patch)
        run_with_its_own_detectors(patch, folders)(home)
    return home


def replaced_detector(patch: pytest.MonkeyPatch) -> EmailDetector:
    found = EmailDetector()
    patch.setattr(deidentification, "stack_detector", lambda *_: found)
    patch.setattr(deidentification_flow, "SHADOWS", 0)  # it would not find the other canaries
    return found


def run_with_its_own_detectors(patch: pytest.MonkeyPatch, folders: pytest.TempPathFactory) -> Run:
    """As `run`, with the detectors of the home's policy."""
    history = folders.mktemp("dagster_history")
    instance = dg.DagsterInstance.ephemeral(tempdir=str(history))
    patch.setattr(dg.DagsterInstance, "get", staticmethod(lambda: instance))
    patch.setenv("DAGSTER_HOME", str(history))

    def go(home: Path, *releases: str, sample_size: int | None = None, **limits: Any) -> list[str]:
        said: list[str] = []
        loaded = load_home(home)
        runs.run_releases(
            loaded, list(releases or loaded.releases), sample_size, say=said.append, **limits
        )
        return said

    return go
