"""Archives of labels are unpacked up to a limit (broken ones: test_fuzz)."""

import gzip
from pathlib import Path

import pytest

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.grading import labels
from sim_platform.grading.labels import read_labels


def test_a_small_archive_of_labels_that_holds_gigabytes_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "MAX_BYTES", 2**20)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"0" * 2**23))
    with pytest.raises(SimPlatformError, match=r"bomb\.csv\.gz: holds more than 1 MB"):
        read_labels(tmp_path / "bomb.csv.gz")
