"""Progress is seen while a step runs, though Dagster turns standard error away during it."""

import os
import pty
import subprocess
import sys

STEP = """
import os
from sim_platform.orchestration.progress import LISTENER
from sim_platform.terminal import progress_shown

with progress_shown():
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what Dagster does while it captures a step's output
    LISTENER.get()("replay", 5, 10)
"""


def test_lines_of_progress_reach_standard_error_while_a_step_is_captured() -> None:
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, check=True)
    assert done.stderr == "replay: 5 of 10\n"


def test_bars_reach_the_terminal_while_a_step_is_captured() -> None:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen([sys.executable, "-c", STEP], stderr=theirs, env={**os.environ, "TERM": "xterm"})
        os.close(theirs)
        seen = b""
        while b"5/10" not in seen:
            seen += os.read(ours, 1024)  # OSError at the end of the process: nothing was shown
        process.wait(timeout=60)
    finally:
        os.close(ours)
    assert b"replay" in seen
