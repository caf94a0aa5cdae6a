"""A home under Dagster's webserver and daemon, started and ended by a test.

Belongs here: processes, their logs, GraphQL. Does not: what a test expects of them.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import dagster as dg

ROOT = Path(__file__).resolve().parents[2]
LOG_TAIL = 4_000  # characters of each log in a failure's message
# The user interface of `sim-platform ui`, without its daemon.
WEBSERVER = (
    "from sim_platform.orchestration.webserver import serve; from sim_platform.registry.home import"
    " home_path, load_home; serve(load_home(home_path()), 0, lambda address: print(address,"
    " flush=True), with_daemon=False)"
)
# The real daemon, except that it looks at backfills every 3 seconds and not every 30, which no
# setting offers.
DAEMON = (
    "import dagster._daemon.controller as c; c.DEFAULT_DAEMON_INTERVAL_SECONDS = 3; from"
    " dagster._daemon.cli import main; main()"
)
T = TypeVar("T")


@dataclass(frozen=True)
class Servers:
    """A running webserver and daemon over `home`."""

    url: str
    token: str  # that the guard in front of the webserver wants
    home: Path
    processes: dict[Path, subprocess.Popen[bytes]]  # by log file

    def graphql(self, query: str, **variables: object) -> Any:
        """`data` of the answer; AssertionError with the errors otherwise."""
        request = urllib.request.Request(
            f"{self.url}/graphql?token={self.token}",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"content-type": "application/json"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(
                    f"GraphQL {error.code}: {error.read().decode()[:2000]}"
                ) from None
        assert not answer.get("errors"), answer["errors"]
        return answer["data"]

    def wait_for(self, what: str, found: Callable[[], T], seconds: float = 120) -> T:
        """The first truthy `found()`; fails with the logs when a server dies or time is up."""
        deadline = time.monotonic() + seconds
        last: object = None
        while time.monotonic() < deadline:
            ended = [
                log.stem for log, process in self.processes.items() if process.poll() is not None
            ]
            assert not ended, f"{ended} ended while waiting for {what}\n{self.logs()}"
            try:
                if value := found():
                    return value
                last = value
            except OSError as error:
                last = error
            time.sleep(0.3)
        raise AssertionError(f"waited {seconds:g} s for {what}; last seen: {last!r}\n{self.logs()}")

    def logs(self) -> str:
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-LOG_TAIL:]}"
            for log in self.processes
        )

    def partition_keys(self) -> list[str]:
        """Model versions that Dagster knows."""
        definition = self.graphql(
            '{assetNodeOrError(assetKey:{path:["rate_comparison"]}){...on'
            " AssetNode{partitionKeys}}}"
        )
        return sorted(definition["assetNodeOrError"]["partitionKeys"])

    def runs(self) -> dict[str, str]:
        """Status by run id."""
        found = self.graphql("{runsOrError{...on Runs{results{runId status}}}}")["runsOrError"][
            "results"
        ]
        return {run["runId"]: run["status"] for run in found}

    def failed_checks(self) -> list[str]:
        """Asset checks whose last execution did not pass, and those that never ran."""
        nodes = self.graphql(
            "{assetNodes{assetKey{path} assetChecksOrError{...on AssetChecks{checks{name"
            " executionForLatestMaterialization{status evaluation{success}}}}}}}"
        )["assetNodes"]
        return [
            f"{node['assetKey']['path'][0]}.{check['name']}: {run and run['status']}"
            for node in nodes
            for check in node["assetChecksOrError"].get("checks", ())
            if not (run := check["executionForLatestMaterialization"])
            or not (run["evaluation"] or {}).get("success")
        ]

    def assets(self) -> list[str]:
        return sorted(
            node["assetKey"]["path"][0]
            for node in self.graphql("{assetNodes{assetKey{path}}}")["assetNodes"]
        )

    def backfills(self) -> list[str]:
        """Ids of all backfills, newest first."""
        found = self.graphql("{partitionBackfillsOrError{...on PartitionBackfills{results{id}}}}")[
            "partitionBackfillsOrError"
        ]["results"]
        return [backfill["id"] for backfill in found]

    def backfill(self, assets: Sequence[str], releases: Sequence[str]) -> str:
        """Launches a backfill as the browser does; returns its id."""
        launched = self.graphql(
            """mutation($p: LaunchBackfillParams!) {launchPartitionBackfill(backfillParams: $p) {
                 __typename
                 ...on LaunchBackfillSuccess {backfillId} ...on PythonError {message}}}""",
            p={
                "assetSelection": [{"path": [name]} for name in assets],
                "partitionNames": list(releases),
            },
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def finished_backfill(self, backfill: str, seconds: float) -> str:
        """Waits until the backfill has ended and returns how."""

        def ended() -> str:
            found = self.graphql(
                "query($id: String!) {partitionBackfillOrError(backfillId: $id) {...on"
                " PartitionBackfill {status}}}",
                id=backfill,
            )
            status = str(found["partitionBackfillOrError"]["status"])
            return "" if status in ("REQUESTED", "CANCELING", "FAILING") else status

        return self.wait_for(f"the end of backfill {backfill}", ended, seconds)


@contextmanager
def serving(home: Path) -> Iterator[Servers]:
    """Webserver and daemon over `home`, ready to be asked; at the end no process is left."""
    make_dagster_home(home)
    commands = {
        "webserver": ["-c", WEBSERVER],
        "daemon": ["-c", DAEMON, "run", "--workspace", str(ROOT / "workspace.yaml")],
    }
    processes: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            log = home / f"{name}.log"
            processes[log] = start(home, command, log)
        servers = Servers(*opened_address(home / "webserver.log"), home, processes)
        servers.wait_for(
            "the webserver and the graph", lambda: "rate_comparison" in servers.assets()
        )
        yield servers
    finally:
        stop(*processes.values())
        survivors = [
            pid for process in processes.values() for pid in living("session", process.pid)
        ]
        for pid in survivors:  # ours: no other process is in a session that `start` made
            os.kill(pid, signal.SIGKILL)
        assert not survivors, f"processes left after the servers' end: {survivors}"


def opened_address(log: Path, seconds: float = 120) -> tuple[str, str]:
    """Address and token that the user interface wrote to its log."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := re.search(r"(http://[\w.:]+)/\?token=([\w-]+)\n", log.read_text()):
            return found[1], found[2]
        time.sleep(0.1)
    raise AssertionError(f"no address after {seconds:g} s\n{log.read_text()[-LOG_TAIL:]}")


def make_dagster_home(home: Path) -> None:
    """Settings and empty history. Two processes that create the history at once trip over each
    other in Dagster's migrations, so it is made here.
    """
    folder = home / "dagster_home"
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "data" / "dagster_home" / "dagster.yaml", folder)
    with dg.DagsterInstance.from_config(str(folder)):
        pass


def start(
    home: Path, command: Sequence[str], log: Path, **environment: str
) -> subprocess.Popen[bytes]:
    """This Python with `command`, on `home`, in a process group of its own; standard output and
    error go to `log`.
    """
    settings = {
        **os.environ,
        "SIM_PLATFORM_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster_home"),
        **environment,
    }
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def sim_platform(
    home: Path, *arguments: str, log: Path, **environment: str
) -> subprocess.Popen[bytes]:
    """The command line in a process of its own."""
    return start(home, ["-m", "sim_platform.commands.main", *arguments], log, **environment)


def stop(*processes: subprocess.Popen[bytes], patience: float = 10) -> None:
    """Ends whole process groups: SIGTERM, and SIGKILL for what is still there after
    `patience` seconds.
    """
    for sent, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        for process in processes:
            try:
                os.killpg(process.pid, sent)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(
            process.poll() is None or living("group", process.pid) for process in processes
        ):
            time.sleep(0.05)


def living(of: Literal["group", "session"], leader: int) -> list[int]:
    """Living processes of a process group or of a session, which its processes cannot leave without
    starting another one; nothing but their public numbers is read.
    """
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it ended meanwhile
        if int(group if of == "group" else session) == leader and state not in "ZX":
            found.append(int(stat.parent.name))
    return found
