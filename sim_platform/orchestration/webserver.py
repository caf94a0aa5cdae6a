"""Dagster's user interface over a home, behind a guard, with Dagster's daemon beside it.

Belongs here: the processes of the user interface and the address that it is opened by. Does not:
which requests pass (guard), what is shown (the assets).

Dagster's own `dagster dev` starts its webserver by name and offers no place for a guard, so the
webserver's app is built here as its command line does (docs/decisions/0007).
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.orchestration.guard import TOKEN, Guard
from sim_platform.orchestration.runs import dagster_home
from sim_platform.registry.home import Home

LOOPBACK = "127.0.0.1"
PATIENCE = 60  # seconds in which the daemon ends its work
WORKSPACE = (
    "load_from: [{python_module: {module_name: sim_platform.definitions, location_name:"
    " sim_platform}}]\n"
)


def serve(home: Home, port: int, say: Callable[[str], None], *, with_daemon: bool = True) -> None:
    """Serves the user interface on the loopback interface until it is interrupted.

    Args:
        port: 0 takes a free one. say: is told the address with its token, and nobody else is.
        with_daemon: whether runs that are queued are also started from here.

    Raises:
        BadInputError: the port is in use. SimPlatformError: the daemon ended by itself.
    """
    os.environ["SIM_PLATFORM_HOME"] = str(home.path)
    os.environ.setdefault("DAGSTER_HOME", str(dagster_home(home)))
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(port))
        port = listening.getsockname()[1]
        workspace = stack.enter_context(_workspace_file())
        # before the daemon: two processes that make the history at once trip over each other
        instance = stack.enter_context(dg.DagsterInstance.get())
        context = stack.enter_context(
            WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)]))
        )
        token = secrets.token_urlsafe(32)
        guard = Guard(create_app_from_workspace_process_context(context), port, token)
        # no access log: it would keep the token
        server = uvicorn.Server(uvicorn.Config(guard, log_level="warning", access_log=False))
        daemon = stack.enter_context(_daemon(workspace, server)) if with_daemon else None
        say(f"http://{LOOPBACK}:{port}/?{TOKEN}={token}")
        # as Ctrl-C does it: uvicorn raises it again when it has ended, and by default that would
        # leave no time to end the others
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        server.run(sockets=[listening])
        if daemon is not None and daemon.poll() is not None:
            raise SimPlatformError(
                f"Dagster's daemon ended with exit code {daemon.returncode}, its last words are"
                " above; the user interface was ended too, since it would only queue runs"
            )


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, port))
            listening.listen()  # whoever opens the address at once waits
        except OSError as error:
            raise BadInputError(
                f"port {port} of {LOOPBACK} cannot be had ({error.strerror}); name another one with"
                " --port, or end what listens there"
            ) from None
        yield listening


@contextmanager
def _workspace_file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "workspace.yaml"
        file.write_text(WORKSPACE, encoding="utf-8")
        yield file


@contextmanager
def _daemon(workspace: Path, server: uvicorn.Server) -> Iterator["subprocess.Popen[bytes]"]:
    """The daemon; the server ends when it does."""
    daemon = subprocess.Popen(
        [
            *(sys.executable, "-m", "sim_platform.orchestration.daemon"),
            *("--workspace", str(workspace)),
            *("--log-level", "warning"),  # else the address is soon out of sight
        ],
        stdin=subprocess.PIPE,
    )

    def watch() -> None:
        daemon.wait()
        server.should_exit = True

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield daemon
    finally:
        if daemon.stdin is not None:
            daemon.stdin.close()  # which ends it
        try:
            daemon.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            daemon.kill()
