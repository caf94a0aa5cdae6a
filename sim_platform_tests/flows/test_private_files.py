"""Files of users' text: their owner's alone, whole or not there."""

import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sim_platform.commands.main import app
from sim_platform.contracts.errors import SimPlatformError
from sim_platform.flows.private_files import private_file, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_to_all(path: Path) -> Path:
    path.write_text("old")
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl", "l.html", "l.labelstudio.json"])
def test_labels_over_a_file_that_was_open_to_all_are_not(
    name: str, home: Path, tmp_path: Path
) -> None:
    to = open_to_all(tmp_path / name)
    done = CliRunner().invoke(
        app, ["labels", "export", "v2", "--to", str(to)], env={"SIM_PLATFORM_HOME": str(home)}
    )
    assert (done.exit_code, mode(to)) == (0, 0o600), done.output
    assert to.read_text() != "old"


def test_a_report_over_files_that_were_open_to_all_is_not(home: Path) -> None:
    files = [open_to_all(home / "reports" / f"v2.{kind}") for kind in ("html", "json", "csv")]
    CliRunner().invoke(app, ["report", "v2"], env={"SIM_PLATFORM_HOME": str(home)})
    assert [mode(file) for file in files] == [0o600] * 3
    assert all(file.read_text() != "old" for file in files)


def test_what_stood_there_stands_when_writing_fails_and_no_draft_is_left(tmp_path: Path) -> None:
    file = open_to_all(tmp_path / "a.csv")

    def half_written() -> None:
        with private_file(file) as opened:
            opened.write("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(SimPlatformError, match="Make room"):
        half_written()
    assert (file.read_text(), [f.name for f in tmp_path.iterdir()]) == ("old", ["a.csv"])


def test_a_link_is_followed_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    target, link = open_to_all(tmp_path / "target"), tmp_path / "link"
    link.symlink_to(target)
    write_private(link, "new")
    assert (link.is_symlink(), target.read_text(), mode(target)) == (True, "new", 0o600)
    reading, writing = os.pipe()
    write_private(Path(f"/proc/self/fd/{writing}"), "new")
    os.close(writing)
    assert os.read(reading, 9) == b"new"
    os.close(reading)
