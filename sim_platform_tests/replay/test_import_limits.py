"""Archives of completions are unpacked up to a limit (broken ones: test_fuzz)."""

import json
import zipfile
from pathlib import Path

import pytest

from sim_platform.replay import imports
from sim_platform.replay.imports import Line, read_completions
from sim_platform_tests.fuzz import SAMPLE


def test_a_sample_that_unpacks_to_more_than_any_answer_is_counted_and_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MAX_SAMPLE_BYTES", 1_000)
    file = tmp_path / "log.eval"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("samples/1_epoch_1.json", json.dumps(SAMPLE))
        packed.writestr("samples/2_epoch_1.json", json.dumps({**SAMPLE, "more": "0" * 10_000_000}))
    first, second = read_completions(file)
    assert isinstance(first, Line)
    assert second == (2, "too_large")
