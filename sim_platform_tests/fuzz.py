"""Broken files of every format that people hand over, given to the reader of each.

`python -m sim_platform_tests.fuzz --n 2000` reads that many of each format and prints what became
of them; the suite reads a few. What a reader may do: take rows, count rows by reason, or refuse the
file by name (SimPlatformError). Any other exception is a fault.

Belongs here: formats, a good file of each, what reads it. Does not: how files break (mutations).
"""

import argparse
import csv
import gzip
import io
import json
import shutil
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import yaml
import zstandard

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.deidentification.policies import load_policy
from sim_platform.extraction.consent import read_ledger
from sim_platform.extraction.readers import read
from sim_platform.flows.deidentification.known_accounts import read_accounts
from sim_platform.flows.first_rows import first_rows
from sim_platform.grading.labels import agreement, one_per_item, read_labels
from sim_platform.registry.home import load_home
from sim_platform.registry.sources import Accounts, ConversationsSource, TableSource
from sim_platform.replay.imports import Line, custom_id, imported, read_completions
from sim_platform_tests.homes import BEHAVIORS, RECORDED_MODELS, RULES_ALONE, write_home
from sim_platform_tests.mutations import mutated
from sim_platform_tests.replay.samples import request
from sim_platform_tests.replay.scripted_server import completion

NOW = datetime(2026, 10, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Format:
    """A file's name, what a good one holds, and what reads it: that returns rows taken and rows
    counted by reason. A refusal names the file.
    """

    name: str
    good: bytes
    read: Callable[[Path], tuple[int, int]]


def formats() -> Iterator[Format]:
    """Every format that people hand over."""
    packed: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        ".gz": lambda data: gzip.compress(data, mtime=0),
        ".zst": zstandard.ZstdCompressor().compress,
    }
    log = "".join(json.dumps(row) + "\n" for row in CONVERSATIONS).encode()
    for ending, pack in packed.items():
        yield Format(f"log.jsonl{ending}", pack(log), lambda path: rows_of(path, LOG))
        yield Format(f"table.csv{ending}", pack(as_csv(TABLE_ROWS)), lambda p: rows_of(p, TABLE))
    yield Format("log.parquet", as_parquet(PLAIN), lambda path: rows_of(path, LOG))
    yield Format("table.parquet", as_parquet(TABLE_ROWS), lambda path: rows_of(path, TABLE))
    yield Format("consent.csv", as_csv(CONSENT), lambda path: (len(read_ledger(path)), 0))
    for name, data in (("csv", as_csv(ACCOUNTS)), ("parquet", as_parquet(ACCOUNTS))):
        yield Format(f"accounts.{name}", data, accounts_of)
    lines = "".join(json.dumps(row) + "\n" for row in LABELS).encode()
    yield Format("labels.csv", as_csv(LABELS), labels_of)
    yield Format("labels.csv.gz", gzip.compress(as_csv(LABELS), mtime=0), labels_of)
    yield Format("labels.jsonl", lines, labels_of)
    yield Format("labels.json", json.dumps(STUDIO).encode(), labels_of)
    answers = "".join(json.dumps(row) + "\n" for row in ANSWERS).encode()
    yield Format("answers.jsonl", answers, completions_of)
    yield Format("answers.json", json.dumps({"samples": [SAMPLE]}).encode(), completions_of)
    yield Format("answers.eval", as_archive(), completions_of)
    for name, value in YAMLS.items():
        yield Format(name, yaml.safe_dump(value).encode(), home_of)
    yield Format("policy.yaml", yaml.safe_dump(RULES_ALONE).encode(), policy_of)


def rows_of(path: Path, source: ConversationsSource | TableSource) -> tuple[int, int]:
    batches = list(read(source, path))
    return sum(len(b.rows) for b in batches), sum(len(b.unreadable) for b in batches)


def accounts_of(path: Path) -> tuple[int, int]:
    asked = Accounts(file=path.name, columns={"full_name": "PERSON", "email": "EMAIL"})
    return len(read_accounts(path.parent, asked)), 0


def labels_of(path: Path) -> tuple[int, int]:
    found = read_labels(path)
    one_per_item(found)
    agreement(found)
    return len(found), 0


def completions_of(path: Path) -> tuple[int, int]:
    found = list(read_completions(path))
    for line in found:
        if isinstance(line, Line):
            imported(line, request("x"))
    taken = sum(isinstance(line, Line) for line in found)
    return taken, len(found) - taken


def home_of(path: Path) -> tuple[int, int]:
    """A home in which one YAML file is this one, as `check` looks at it."""
    home = path.parent / "home"
    if not home.exists():
        write_home(home, n=3)
    target = home / ("behaviors/apologises.yaml" if path.name == "behavior.yaml" else path.name)
    before = target.read_bytes()
    try:
        shutil.copy(path, target)
        seen = first_rows(load_home(home), NOW)
    finally:
        target.write_bytes(before)
    return sum(f.extracted for f in seen), sum(f.n - f.extracted for f in seen)


def policy_of(path: Path) -> tuple[int, int]:
    load_policy(path.name, path.parent)
    return 1, 0


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(rows).write_parquet(file)
    return file.getvalue()


def as_archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("samples/1_epoch_1.json", json.dumps(SAMPLE))
    return file.getvalue()


CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
CONVERSATIONS: list[dict[str, Any]] = [
    {
        "conversation_id": f"c{i}",
        "user_id": f"u{i}",
        "model_version": "v1",
        "started_at": "2026-03-01T10:00:00Z",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hello"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "found"},
            {"role": "assistant", "content": "hi"},
        ],
        "metadata": {"surface": "web", "n": i},
        "labels": {"helpful": "1"},
    }
    for i in range(4)
]
PLAIN = [row | {"messages": [{"role": "user", "content": "hello"}]} for row in CONVERSATIONS]
LOG = ConversationsSource(reader="conversations", path="*")
TABLE_ROWS: list[dict[str, Any]] = [
    {"n": i, "q": "ask", "a": 'an "answer", long', "m": "v1", "t": "2026-03-01", "lang": "en"}
    for i in range(6)
]
TABLE = TableSource(
    reader="table",
    path="*",
    id="n",
    prompt="q",
    response="a",
    model="m",
    timestamp="t",
    metadata={"lang": "lang"},
)
CONSENT: list[dict[str, Any]] = [
    {"user_id": f"u{i}", "scope": "use", "granted_at": "2026-01-01T00:00:00Z", "revoked_at": ""}
    for i in range(4)
]
ACCOUNTS: list[dict[str, Any]] = [
    {"user_id": f"u{i}", "full_name": "Ada Example", "email": "ada@example.org"} for i in range(4)
]
LABELS: list[dict[str, Any]] = [
    {
        "item_id": f"i{i}",
        "behavior": "b",
        "label": ["1", "0", "yes", "ABSTAIN", ""][i % 5],
        "annotator": "ann",
        "response": "text",
        "prompt": "hello",
        "tool_calls": "[]",
    }
    for i in range(8)
]
STUDIO = [
    {
        "id": 1,
        "data": {"item_id": "i1", "response": "x"},
        "annotations": [
            {"completed_by": 1, "result": [{"type": "choices", "value": {"choices": ["1"]}}]}
        ],
    }
]
SAMPLE = {"id": "p1", "epoch": 1, "output": {"choices": [{"message": {"content": "hi"}}]}}
ANSWERS: list[dict[str, Any]] = [
    *(
        {
            "custom_id": custom_id(request(f"ask {i}")),
            "response": {"status_code": 200, "body": completion("hi")},
        }
        for i in range(4)
    ),
    {"prefix_id": "p9", "k": 0, "text": "x"},
]
YAMLS: dict[str, Any] = {
    "sources.yaml": {
        "sources": [{"reader": "conversations", "path": "logs/*.jsonl"}],
        "consent": {"all": "synthetic conversations made for a test"},
        "exclude": {"temporary": {"temporary": True}},
    },
    "models.yaml": {"models": RECORDED_MODELS},
    "behavior.yaml": BEHAVIORS[0],
}

NAMED = {"behavior.yaml": "behaviors/apologises.yaml"}


def fuzzed(form: Format, folder: Path, n: int, seed: int) -> tuple[Counter[str], list[str]]:
    """What became of `n` broken files of a format, and the faults that there were, with the
    number of the file.
    """
    became, faults = Counter[str](), []
    path = folder / form.name
    for number, data in enumerate(mutated(form.good, n, seed)):
        path.write_bytes(data)
        try:
            taken, counted = form.read(path)
            became["with rows left out" if counted else "read" if taken else "read, no rows"] += 1
        except SimPlatformError as error:
            became["refused by name"] += 1
            if NAMED.get(form.name, form.name) not in str(error):
                faults.append(
                    f"{form.name}, file {number} of seed {seed}: refused without its name"
                )
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a panic of polars is no Exception
            became["traceback"] += 1
            faults.append(f"{form.name}, file {number} of seed {seed}\n{traceback.format_exc()}")
    return became, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2000, help="broken files a format")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="formats whose name begins with this")
    asked = parser.parse_args()
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for form in formats():
            if not form.name.startswith(asked.only):
                continue
            began = time.monotonic()
            became, faults = fuzzed(form, Path(folder), asked.n, asked.seed)
            found += faults
            counts = ", ".join(f"{what} {n}" for what, n in became.most_common())
            print(f"{form.name:16} {counts} ({time.monotonic() - began:.0f} s)", flush=True)
    print("\n".join(found[:5]) or "no fault")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
