import errno
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.journal import Journal, read_journal


def outcome(n: int, text: str = "words") -> Outcome:
    return Outcome(
        "candidate",
        f"p-{n}",
        0,
        "h",
        "completed",
        text=text,
        labels={"a": None},
        completed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@given(st.lists(st.text(st.characters()), max_size=8))
def test_what_is_appended_is_read_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    outcomes = [outcome(n, text + "\u2028\ud800\n\0") for n, text in enumerate(texts)]
    with Journal(path) as journal:
        for one in outcomes:
            journal.append(one)
        assert list(journal.read()) == list(read_journal(path)) == outcomes


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "j"
    Journal(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_file_is_no_outcomes(tmp_path: Path) -> None:
    assert list(read_journal(tmp_path / "j")) == []


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_torn_tail_is_left_out_and_cut_off_when_the_journal_is_opened_again(
    tmp_path: Path, cut: int
) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        for n in range(3):
            journal.append(outcome(n, "x" * 70_000))
    os.truncate(path, path.stat().st_size - cut)
    assert [o.prefix_id for o in read_journal(path)] == ["p-0", "p-1"]
    with Journal(path) as journal:
        journal.append(outcome(3))
    assert [o.prefix_id for o in read_journal(path)] == ["p-0", "p-1", "p-3"]


@pytest.mark.parametrize(
    "damage", [b"{", b"[]", b'{"completed_at": null, "surprise": "words"}', b"\xff\0", b""]
)
def test_a_damaged_line_before_the_end_is_an_error_that_names_the_line_and_no_content(
    tmp_path: Path, damage: bytes
) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        for n in range(3):
            journal.append(outcome(n))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], damage + b"\n", lines[2]]))
    with pytest.raises(SimPlatformError, match="line 2 is damaged") as failure:
        list(read_journal(path))
    assert "words" not in str(failure.value)


def test_a_cleared_journal_is_empty_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append(outcome(0))
        journal.clear()
        assert list(read_journal(path)) == []
        journal.append(outcome(1))
    assert [o.prefix_id for o in read_journal(path)] == ["p-1"]


def test_one_run_writes_a_journal_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path / "j"), pytest.raises(SimPlatformError, match="another run"):
        Journal(tmp_path / "j")
    Journal(tmp_path / "j").close()


def test_a_full_disk_is_named_and_everything_before_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "j"
    script = f"""
import resource, signal
from sim_platform_tests.replay.test_journal import outcome
from sim_platform.replay.journal import Journal
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
journal = Journal(Path({str(path)!r}))
for n in range(100): journal.append(outcome(n))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{path}: " in done.stderr.splitlines()[-1]
    assert "ENOSPC" in done.stderr or "EFBIG" in done.stderr
    kept = [o.prefix_id for o in read_journal(path)]
    assert kept == [f"p-{n}" for n in range(len(kept))]
    assert kept
    assert path.read_bytes().endswith(b"\n"), "the short write was taken back"


def test_a_place_that_cannot_be_written_is_named_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SimPlatformError, match=rf"{tmp_path}/file/j: (ENOTDIR|EEXIST)"):
        Journal(tmp_path / "file" / "j")


def test_a_failing_write_is_named_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(tmp_path / "j") as journal:

        def fail(fd: int, data: bytes) -> int:
            raise OSError(errno.EROFS, "words")

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", fail)
            with pytest.raises(SimPlatformError, match="EROFS") as failure:
                journal.append(outcome(0))
    assert "words" not in str(failure.value)


@pytest.mark.e2e
def test_everything_appended_before_kill_9_is_there(tmp_path: Path) -> None:
    path = tmp_path / "j"
    script = f"""
from sim_platform_tests.replay.test_journal import outcome
from sim_platform.replay.journal import Journal
from pathlib import Path
journal = Journal(Path({str(path)!r}))
for n in range(10**9):
    journal.append(outcome(n, "x" * 500))
    print(n, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 700:
                process.send_signal(signal.SIGKILL)
                break
        reported = max([700, *(int(line) for line in process.stdout if line.endswith("\n"))])
    kept = [o.prefix_id for o in read_journal(path)]
    assert kept == [f"p-{n}" for n in range(len(kept))]
    assert len(kept) > reported
    with Journal(path) as journal:
        journal.append(outcome(-1))
    assert len(list(read_journal(path))) == len(kept) + 1
