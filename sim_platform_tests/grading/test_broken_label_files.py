"""No file that somebody sends as labels ends in a traceback."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.grading import labels
from sim_platform.grading.labels import agreement, one_per_item, read_labels
from sim_platform_tests.mutations import mutated

SAID = ["1", "0", "yes", "ABSTAIN", ""]
ROWS = [
    {
        "item_id": f"i{i}",
        "behavior": "b",
        "label": SAID[i % 5],
        "annotator": "ann",
        "response": "text",
        "prompt": "hello",
        "tool_calls": "[]",
    }
    for i in range(8)
]
STUDIO = [
    {
        "id": 1,
        "data": {"item_id": "i1", "response": "x"},
        "annotations": [
            {"completed_by": 1, "result": [{"type": "choices", "value": {"choices": ["1"]}}]}
        ],
    }
]


def as_csv() -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(ROWS[0]))
    writer.writeheader()
    writer.writerows(ROWS)
    return file.getvalue().encode()


GOOD = {
    "l.csv": as_csv(),
    "l.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "l.json": json.dumps(STUDIO).encode(),
    "l.csv.gz": gzip.compress(as_csv(), mtime=0),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_broken_label_file_is_read_or_refused_and_never_a_traceback(
    tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    refused: list[str] = []
    for data in mutated(GOOD[name], 250):
        file.write_bytes(data)
        try:
            found = read_labels(file)
            one_per_item(found)
            agreement(found)
        except SimPlatformError as error:
            refused.append(str(error))
    assert 0 < len(refused) < 250
    assert all(name in why for why in refused)


def test_a_small_archive_of_labels_that_holds_gigabytes_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "MAX_BYTES", 2**20)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"0" * 2**23))
    with pytest.raises(SimPlatformError, match=r"bomb\.csv\.gz: holds more than 1 MB"):
        read_labels(tmp_path / "bomb.csv.gz")
