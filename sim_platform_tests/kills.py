"""Kills a command before every one of its durable events, runs it again, and compares what is there
then with an undisturbed run.

A durable event is a commit (before it and after it), a file of the home that is opened for writing,
synced, renamed or removed. The processes come from a fork server that has imported everything, so
that a kill costs a second.

    python -m sim_platform_tests.kills              # every event of every command
    python -m sim_platform_tests.kills --of forget run --every 5

Belongs here: events, killing, comparing. Does not: what a command does.
"""

import argparse
import csv
import ctypes
import hashlib
import json
import multiprocessing
import os
import secrets
import shutil
import signal
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sim_platform_tests.homes import RECORDED_MODELS, conversation, without_models, write_home
from sim_platform_tests.replay.scripted_server import ScriptedServer, completion

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = [
    "dagster",
    "openai",
    "scipy.stats",
    "sim_platform.commands.main",
    "sim_platform.orchestration.build",
    "sim_platform.orchestration.runs",
    __name__,
]
SAMPLE, IN_FLIGHT = 12, 2
HANGS = 600  # seconds
FORGOTTEN = "user-6"
WRITES = os.O_WRONLY | os.O_RDWR
# What differs between two runs of a command: times, names of runs, and hashes over either.
VOLATILE = {
    *("completed_at", "registered_at", "forgotten_at", "answered_at", "entered_at", "latency_s"),
    *("extract_id", "made_by", "sha256", "previous", "record", "registration", "chain"),
}


@dataclass(frozen=True)
class Command:
    """A command of the story, with its arguments."""

    name: str
    arguments: tuple[str, ...]


# One home's life; each starts from what the one before it left. FOLDER is beside the home.
STORY = (
    Command("register", ("register", "v2")),
    Command("export-requests", ("export-requests", "v2", "--to", "FOLDER/requests.jsonl")),
    Command("import-completions", ("import-completions", "v2", "FOLDER/completions.jsonl")),
    Command("run", ("run", "v2")),
    Command("labels export", ("labels", "export", "v2", "--to", "FOLDER/labels.csv")),
    Command("labels import", ("labels", "import", "v2", "--labels", "FOLDER/filled.csv")),
    Command("run again", ("run", "v2")),
    Command("report", ("report", "v2")),
    Command("rotate-key", ("deid", "rotate-key")),
    Command("forget", ("forget", FORGOTTEN)),
    Command("run after forget", ("run", "v2")),
)


@contextmanager
def server() -> Iterator[ScriptedServer]:
    """Answers candidates, and says yes or no as a judge, by the request's bytes alone."""

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        drawn = zlib.crc32(json.dumps(body, sort_keys=True).encode())
        if "response_format" not in body:
            words = "Sorry, I cannot." if drawn & 3 == 0 else f"The weather, number {drawn % 97}."
            return completion(words)
        names = body["response_format"]["json_schema"]["schema"]["required"]
        verdict = {"evidence": "", "rationale": "Drawn.", "score": 0.5, "label": drawn & 1 == 0}
        return completion(json.dumps(dict.fromkeys(names, verdict)))

    with ScriptedServer(answer=answer) as scripted:
        yield scripted


def home_at(folder: Path, url: str) -> Path:
    """A home with a candidate, a control arm, a rule and a judge, all answered at `url`."""
    served = {
        "provider": "openai",
        "base_url": url,
        "concurrency": IN_FLIGHT,
        "max_retries": 0,
        "price": {"input_per_mtok": 1.0, "output_per_mtok": 1.0},
    }
    models = [
        {"model": "one", **RECORDED_MODELS[0], **served},
        {
            **{"version": "v2", "replaces": "v1", "model": "two", **served},
            "plan": {
                **{"sample_size": SAMPLE, "strata": ["surface"], "floor": 5},
                "arms": ["candidate", "control", "recorded"],
            },
        },
        {"version": "judge", "model": "judge", **served},
    ]
    home = without_models(
        write_home(folder / "home", rows=[conversation(n) for n in range(30)], models=models)
    )
    judged = {
        "id": "judged",
        "title": "Judged",
        "definition": "The response is odd.",
        "tier": "gate",
        "graders": [{"kind": "judge", "model": "judge"}],
    }
    (home / "behaviors" / "judged.yaml").write_text(json.dumps(judged))
    return home


# ---- inside the process that is killed ----


class Killer:
    """Counts durable events below `home`, and ends the process before the one at `place` (from 1;
    0: never).
    """

    def __init__(self, home: Path, place: int, count: Any) -> None:
        self.home, self.place, self.count = str(home), place, count
        sys.addaudithook(self._audited)
        self._fsync, os.fsync = os.fsync, self._synced
        from sim_platform.warehouse import duckdb_file

        safe = duckdb_file._safe

        @contextmanager
        def counted(file: str, sql: str) -> Iterator[None]:
            with safe(file, sql):
                self._happens(sql == "commit")
                yield
                self._happens(sql == "commit")

        duckdb_file._safe = counted  # type: ignore[assignment] # the same, and counted

    def _happens(self, is_durable: bool) -> None:
        if is_durable:
            self.count.value += 1
            if self.count.value == self.place:
                os.kill(os.getpid(), signal.SIGKILL)

    def _audited(self, event: str, about: tuple[Any, ...]) -> None:
        if event == "open":
            self._happens(self._is_ours(about[0]) and bool((about[2] or 0) & WRITES))
        elif event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"):
            self._happens(self._is_ours(about[0]))

    def _is_ours(self, path: object) -> bool:
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        return name.startswith(self.home) and "dagster_home" not in name

    def _synced(self, file: int) -> None:
        self._happens(True)
        self._fsync(file)


def run_command(
    home: str, arguments: Sequence[str], salt: str, place: int, count: Any, log: str
) -> None:
    """The command line with these arguments; what it prints goes to `log`."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ends with the parent (PR_SET_PDEATHSIG)
    # Keys, so that two runs can be compared.
    secrets.token_bytes = lambda n=32: hashlib.shake_256(salt.encode()).digest(n or 32)
    os.environ |= {
        "SIM_PLATFORM_HOME": home,
        "DAGSTER_HOME": f"{home}/dagster_home",
        "POLARS_MAX_THREADS": "1",
    }
    Path(home, "dagster_home").mkdir(exist_ok=True)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    Killer(Path(home), place, count)
    from sim_platform.commands.main import app

    app(list(arguments))


def digest_of(home: str, into: Any) -> None:
    """A hash a table, over its rows without what differs between two runs."""
    from sim_platform.warehouse.duckdb_file import DuckDBFile

    for name in ("vault", "warehouse", "published"):
        with DuckDBFile(Path(home, f"{name}.duckdb")).reading() as tx:
            for table in sorted(tx.tables()):
                kept = sorted(tx.columns(table) - VOLATILE)
                columns = ", ".join(f'"{column}"' for column in kept) or "1"
                rows = tx.query(f"select {columns} from {table} order by all")
                rows = rows.with_columns(pl.selectors.float().round_sig_figs(9))  # sums by threads
                written = hashlib.sha256(rows.write_csv().encode()).hexdigest()[:12]
                into[f"{name}.{table}"] = (len(rows), written)
    places = (p for p in Path(home).rglob("*") if "dagster_home" not in p.parts and p.is_file())
    into["files"] = sorted(
        str(p.relative_to(home)) for p in places if "preregistration" not in p.parts
    )
    into["records"] = len(list(Path(home, "preregistration").glob("*")))


# ---- the driver ----


@dataclass(frozen=True)
class Ended:
    code: int
    events: int
    said: str


def run(home: Path, command: Command, place: int = 0) -> Ended:
    """Runs the command, and kills it before the event at `place`."""
    count = CONTEXT.Value("i", 0, lock=False)
    log = home.parent / "command.log"
    arguments = [part.replace("FOLDER", str(home.parent)) for part in command.arguments]
    process = CONTEXT.Process(
        target=run_command, args=(str(home), arguments, command.name, place, count, str(log))
    )
    process.start()
    process.join(HANGS)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"{command.name} hangs when killed before event {place}")
    return Ended(process.exitcode or 0, count.value, log.read_text())


def digest(home: Path) -> dict[str, Any]:
    with CONTEXT.Manager() as manager:
        into = manager.dict()
        process = CONTEXT.Process(target=digest_of, args=(str(home), into))
        process.start()
        process.join()
        assert process.exitcode == 0
        return dict(into)


def prepare(name: str, folder: Path) -> None:
    """Files that people would bring before the command of this name."""
    if name == "import-completions":
        requests = [json.loads(line) for line in (folder / "requests.jsonl").open()]
        answers = (
            {"custom_id": r["custom_id"], "text": f"Sorry, {i}."}
            for i, r in enumerate(requests[: SAMPLE // 2])
        )
        (folder / "completions.jsonl").write_text("".join(json.dumps(a) + "\n" for a in answers))
    if name == "labels import":
        with (folder / "labels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        with (folder / "filled.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(
                row | {"label": str(zlib.crc32(row["item_id"].encode()) & 1)} for row in rows
            )


@dataclass(frozen=True)
class Killed:
    """What killing one command did: events it has, places tried, and each difference."""

    command: str
    events: int
    places: int
    paid_twice: int
    faults: tuple[str, ...]


def kill_through(
    folder: Path,
    scripted: ScriptedServer,
    places: Callable[[Command, int], Sequence[int]],
    story: Sequence[Command] = STORY,
) -> Iterator[Killed]:
    """The story, each command killed before the events that `places` (given the command and their
    number) chooses, run again, and compared.
    """
    CONTEXT.set_forkserver_preload(PRELOADED)
    whole = folder / "whole"
    whole.mkdir()
    home_at(whole, scripted.url)
    for command in story:
        prepare(command.name, whole)
        before = folder / "before"
        shutil.rmtree(before, ignore_errors=True)
        shutil.copytree(whole, before)
        sent = scripted.requests.total()
        ended = run(whole / "home", command)
        assert ended.code == 0, f"{command.name} by itself ended with {ended.code}\n{ended.said}"
        cost = scripted.requests.total() - sent
        expected = digest(whole / "home")
        faults: list[str] = []
        paid_twice, tried = 0, places(command, ended.events)
        for place in tried:
            tries = folder / "tries"
            shutil.rmtree(tries, ignore_errors=True)
            shutil.copytree(before, tries)
            sent = scripted.requests.total()
            killed = run(tries / "home", command, place)
            again = run(tries / "home", command)
            twice = scripted.requests.total() - sent - cost
            paid_twice = max(paid_twice, twice)
            where = f"before event {place} of {ended.events}"
            if killed.code != -signal.SIGKILL:
                faults.append(f"{where}: ended by itself with {killed.code}")
            if again.code:
                faults.append(f"{where}: run again it ended with {again.code}: {again.said[-600:]}")
                continue
            found = digest(tries / "home")
            faults += [
                f"{where}: {name} {found.get(name)} is not {expected.get(name)}"
                for name in sorted(expected.keys() | found.keys())
                if found.get(name) != expected.get(name)
            ]
            if twice > IN_FLIGHT:
                faults.append(f"{where}: {twice} requests were sent twice")
        yield Killed(command.name, ended.events, len(tried), paid_twice, tuple(faults))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [command.name for command in STORY]
    parser.add_argument("--of", nargs="+", choices=names, default=names, metavar="COMMAND")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth event")
    asked = parser.parse_args()
    n_faults = 0
    with server() as scripted, tempfile.TemporaryDirectory() as folder:
        for killed in kill_through(
            Path(folder),
            scripted,
            lambda command, n: range(1, n + 1, asked.every) if command.name in asked.of else (),
        ):
            if not killed.places:
                continue
            n_faults += len(killed.faults)
            print(
                f"{killed.command}: {killed.events} events, killed at {killed.places},"
                f" at most {killed.paid_twice} requests sent twice, {len(killed.faults)} faults",
                *killed.faults[:20],
                sep="\n  ",
                flush=True,
            )
    sys.exit(n_faults > 0)


if __name__ == "__main__":
    main()
