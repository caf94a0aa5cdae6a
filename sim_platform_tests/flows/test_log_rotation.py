"""Whatever happens to the files of a log, the extract is what a first run over today's files gives,
and what is paid for stays while the conversation is in any of them.
"""

import gzip
import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sim_platform.contracts.tables.extraction import ConsentedLogExtract, RowDispositions
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.flows.extraction import extract_log
from sim_platform.registry.home import load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import conversation, write_home
from sim_platform_tests.running import Run

NOW = datetime(2026, 10, 1, tzinfo=UTC)
NAMES = ("log.jsonl", "log.1.jsonl", "log.2.jsonl.gz", "log-2026-03-01.jsonl", "a.jsonl")
SOURCES = {
    "sources": [{"reader": "conversations", "path": "logs/*.jsonl*"}],
    "consent": {"all": "synthetic conversations made for a test"},
}
names, positions = st.sampled_from(NAMES), st.integers(0, 12)


def line(n: int, **changes: Any) -> str:
    return json.dumps(conversation(n, **changes))


def written(folder: Path, files: dict[str, list[str]]) -> None:
    """The files as they are said to be, and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, lines in files.items():
        content = "".join(text + "\n" for text in lines).encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


def extracted(home: Path) -> list[tuple[Any, ...]]:
    """Every row's fate after a run: what was extracted from where, and what was not and why."""
    loaded = load_home(home)
    vault = DuckDBFile(loaded.vault)
    extract_log(loaded, vault, DuckDBFile(loaded.warehouse), now=NOW, advance=lambda _: None)
    columns = ["conversation_id", "content_hash", "source_file", "source_line"]
    rows = vault.read(ConsentedLogExtract, columns=columns).rows()
    return sorted([*rows, *vault.read(RowDispositions).rows()])


class AnySequenceOfFileOperations(RuleBasedStateMachine):
    """Files are lists of lines here; the home is written and run after each step."""

    @initialize()
    def a_log(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.home = write_home(self.folder / "home", rows=[], sources=SOURCES)
        self.files = {"log.jsonl": [line(n) for n in range(6)]}
        self.next = 6

    @rule(to=names)
    def rotate(self, to: str) -> None:
        """What is there moves to another name, and a new file begins."""
        self.files[to] = self.files.pop("log.jsonl", []) or [line(0)]
        self.files["log.jsonl"] = [line(self.next), line(self.next + 1)]
        self.next += 2

    @rule(name=names, to=names)
    def rename(self, name: str, to: str) -> None:
        if name in self.files:
            self.files[to] = self.files.pop(name)

    @rule(name=names, n=st.integers(1, 3))
    def append(self, name: str, n: int) -> None:
        self.files.setdefault(name, []).extend(line(self.next + i) for i in range(n))
        self.next += n

    @rule(name=names, to=names)
    def repeat_elsewhere(self, name: str, to: str) -> None:
        self.files.setdefault(to, []).extend(self.files.get(name, [])[:2])

    @rule(name=names, n=positions)
    def say_something_else_under_the_same_id(self, name: str, n: int) -> None:
        self.files.setdefault(name, []).append(line(n, user_id="someone-else"))

    @rule(name=names, keep=positions)
    def truncate(self, name: str, keep: int) -> None:
        if name in self.files:
            self.files[name] = self.files[name][:keep]

    @rule(name=names, at=positions)
    def garble(self, name: str, at: int) -> None:
        if at < len(self.files.get(name, [])):
            self.files[name][at] = self.files[name][at][:20]

    @precondition(lambda self: len(self.files) > 1)
    @rule(name=names)
    def delete(self, name: str) -> None:
        if len(self.files) > 1:
            self.files.pop(name, None)

    @rule(name=names, to=names, at=positions)
    def split(self, name: str, to: str, at: int) -> None:
        if name in self.files and to not in self.files:
            self.files[name], self.files[to] = self.files[name][:at], self.files[name][at:]

    @rule(name=names, to=names)
    def merge(self, name: str, to: str) -> None:
        if name != to and name in self.files and to in self.files:
            self.files[to] += self.files.pop(name)

    @invariant()
    def the_extract_is_that_of_a_first_run(self) -> None:
        written(self.home / "logs", self.files)
        first = self.folder / "first"
        shutil.rmtree(first, ignore_errors=True)
        write_home(first, rows=[], sources=SOURCES)
        written(first / "logs", self.files)
        assert extracted(self.home) == extracted(first)

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


AnySequenceOfFileOperations.TestCase.settings = settings(
    max_examples=8, stateful_step_count=7, deadline=None, derandomize=True
)
TestAnySequenceOfFileOperations = AnySequenceOfFileOperations.TestCase


def test_a_rotated_log_keeps_its_conversations_and_what_was_paid_for_them(
    home: Path, run: Run
) -> None:
    """The log moves to another name, a new one begins: as `mv` and the next day's traffic do."""
    warehouse = DuckDBFile(home / "warehouse.duckdb")
    before = warehouse.read(CandidateCompletions).sort("prefix_id", "arm", "k")
    vault = DuckDBFile(home / "vault.duckdb")
    n = len(vault.read(ConsentedLogExtract))
    (home / "logs" / "log.jsonl").rename(home / "logs" / "log.1.jsonl")
    new = [conversation(i, v) for v in ("v1", "v2") for i in range(110, 115)]
    (home / "logs" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in new))
    run(home)
    assert len(vault.read(ConsentedLogExtract)) == n + 10
    kept = warehouse.read(CandidateCompletions).join(
        before.select("prefix_id", "arm", "k", "completed_at"),
        on=["prefix_id", "arm", "k", "completed_at"],
        how="inner",
    )
    drawn = warehouse.query("select prefix_id from stratified_sample")
    still = before.filter(pl.col("prefix_id").is_in(drawn["prefix_id"].to_list()))
    assert len(still)
    assert len(kept.filter(pl.col("prefix_id").is_in(still["prefix_id"].to_list()))) == len(still)
