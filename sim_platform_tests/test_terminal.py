"""Progress is seen while a step runs, though Dagster turns standard error away during it; tables
lose nothing on a narrow terminal.
"""

import os
import pty
import re
import subprocess
import sys

import pytest

STEP = """
import os
from sim_platform.orchestration.progress import LISTENER
from sim_platform.commands.terminal import progress_shown

with progress_shown():
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # as Dagster does while it captures
    LISTENER.get()("replay", 5, 10)
"""


def test_lines_of_progress_reach_standard_error_while_a_step_is_captured() -> None:
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, check=True)
    assert done.stderr == "replay: 5 of 10\n"


def test_bars_reach_the_terminal_while_a_step_is_captured() -> None:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", STEP], stderr=theirs, env={**os.environ, "TERM": "xterm"}
        )
        os.close(theirs)
        seen = b""
        while b"5/10" not in seen:
            seen += os.read(ours, 1024)  # OSError at the end of the process: nothing was shown
        process.wait(timeout=60)
    finally:
        os.close(ours)
    assert b"replay" in seen


WIDE = """
from rich.table import Table
from sim_platform.commands.terminal import show

table = Table("behaviour", *(f"figure {n}" for n in range(9)), title="rates", caption="per 100,000")
cells = (f"{n},{n}00 [{n},000, {n}9,999]" for n in range(1, 10))
table.add_row("misrepresents_work_completion", *cells)
show(table)
"""


@pytest.mark.parametrize(("columns", "is_table"), [(60, False), (80, False), (160, True)])
def test_no_figure_of_a_table_is_cut_whatever_the_terminals_width(
    columns: int, is_table: bool
) -> None:
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as terminal:
        subprocess.run(
            [sys.executable, "-c", WIDE],
            stdout=theirs,
            check=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns)},
        )
        os.close(theirs)
        shown = b""
        while b"per 100,000" not in shown:
            shown += terminal.read(4096)
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    assert ("┃" in text) == is_table
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= columns
    for n in range(1, 10):
        assert all(part in text for part in (f"{n},{n}00", f"[{n},000,", f"{n}9,999]"))
