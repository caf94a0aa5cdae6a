"""No file that somebody sends as completions ends in a traceback."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.replay import imports
from sim_platform.replay.imports import Line, imported, read_completions
from sim_platform_tests.mutations import mutated
from sim_platform_tests.replay.samples import request
from sim_platform_tests.replay.scripted_server import completion

SAMPLE = {"id": "p1", "epoch": 1, "output": {"choices": [{"message": {"content": "hi"}}]}}
BATCH = [
    {"custom_id": f"c.{i}", "response": {"status_code": 200, "body": completion("hi")}}
    for i in range(4)
]


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("samples/1_epoch_1.json", json.dumps(SAMPLE))
    return file.getvalue()


GOOD = {
    "c.jsonl": "".join(
        json.dumps(row) + "\n" for row in [*BATCH, {"prefix_id": "p9", "k": 0, "text": "x"}]
    ).encode(),
    "c.json": json.dumps({"samples": [SAMPLE]}).encode(),
    "c.eval": archive(),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_broken_file_of_completions_is_read_counted_or_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    refused: list[str] = []
    for data in mutated(GOOD[name], 250):
        file.write_bytes(data)
        try:
            for line in read_completions(file):
                if isinstance(line, Line):
                    imported(line, request("x"))
        except SimPlatformError as error:
            refused.append(str(error))
    assert all(name in why for why in refused)


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
