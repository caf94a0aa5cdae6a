"""Dagster's daemon as a child that ends with its parent; run with `python -m`, options as of
`dagster-daemon run`.

Belongs here: the daemon's process. Does not: who starts it (webserver).
"""

import os
import signal
import sys
import threading

from dagster._daemon.cli import run_command


def main() -> None:
    """Runs the daemon until it is interrupted or standard input ends, as it does when the process
    that holds its other end is gone, however that ended.
    """
    threading.Thread(target=_interrupted_at_the_end_of_input, daemon=True).start()
    run_command.main(sys.argv[1:], prog_name="dagster-daemon run")


def _interrupted_at_the_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
