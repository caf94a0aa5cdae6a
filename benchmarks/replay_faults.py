"""Replay under faults, through the real tables: kill -9 at random points, a storm of 429s, a
budget. Memory: `benchmarks.replay --memory`.

Our server answers by a hash of the request, so that an interrupted run can be held against an
uninterrupted one. Each client is a process of its own.

    python -m benchmarks.replay_faults --json
    python -m benchmarks.replay_faults --only kill --prefixes 2000 --kills 20
"""

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import dtypes
from sim_platform.flows.replay.arm import replay_arm
from sim_platform.registry.home import load_home
from sim_platform.replay.providers.protocol import StopRun
from sim_platform.warehouse.duckdb_file import DuckDBFile

IN_FLIGHT = 64


class Server:
    """Counts requests by user message; `per_second` refuses what comes faster, with Retry-After;
    `latency_s` waits before each answer.
    """

    def __init__(self, latency_s: float = 0.0, per_second: float | None = None) -> None:
        self._queue: multiprocessing.Queue[int] = multiprocessing.get_context("spawn").Queue()
        self.folder = tempfile.TemporaryDirectory()
        self.log = Path(self.folder.name) / "seen.log"
        self._process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(self._queue, str(self.log), latency_s, per_second), daemon=True
        )

    def __enter__(self) -> "Server":
        self._process.start()
        self.url = f"http://127.0.0.1:{self._queue.get()}/v1"
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.join()
        self.folder.cleanup()

    def seen(self) -> list[tuple[float, int, str]]:
        """Time, status and request, in order."""
        return [
            (float(t), int(s), key)
            for t, s, key in (line.split() for line in self.log.read_text().splitlines())
        ]


def _serve(
    ready: "multiprocessing.Queue[int]", log: str, latency_s: float, per_second: float | None
) -> None:
    tokens, since = per_second or 0.0, time.monotonic()

    def refused() -> bool:
        nonlocal tokens, since
        if per_second is None:
            return False
        now = time.monotonic()
        tokens, since = min(per_second, tokens + (now - since) * per_second), now
        if tokens < 1:
            return True
        tokens -= 1
        return False

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                key = hashlib.sha256(await reader.readexactly(length)).hexdigest()[:16]
                status = 429 if refused() else 200
                seen.write(f"{time.monotonic():.3f} {status} {key}\n")
                if status == 429:
                    writer.write(
                        b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length:"
                        b" 2\r\n\r\n{}"
                    )
                    continue
                if latency_s:
                    await asyncio.sleep(latency_s)
                message = {
                    "role": "assistant",
                    "content": (
                        f"Answer {key}, of some twenty words, as long as a short turn of a chat"
                        " would be."
                    ),
                }
                body = json.dumps(
                    {
                        "id": "c",
                        "model": "m",
                        "choices": [{"message": message, "finish_reason": "stop"}],
                        "usage": {"prompt_tokens": 30, "completion_tokens": 20},
                    }
                )
                writer.write(
                    f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
                )
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=2048)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with open(log, "w", buffering=1) as seen:
        asyncio.run(run())


def home_with(folder: Path, url: str, prefixes: int, **changes: Any) -> Path:
    """A home whose release has a sample of so many prefixes, and nothing else."""
    (folder / "behaviors").mkdir(parents=True)
    (folder / "behaviors" / "says_sorry.yaml").write_text(
        yaml.safe_dump(
            {
                "id": "says_sorry",
                "title": "Says sorry",
                "definition": "Says sorry.",
                "graders": [{"kind": "contains", "any": ["sorry"]}],
            }
        )
    )
    (folder / "sources.yaml").write_text(
        yaml.safe_dump(
            {
                "sources": [{"reader": "conversations", "path": "none.jsonl"}],
                "consent": {"all": "synthetic prompts of a benchmark"},
            }
        )
    )
    candidate = {
        "version": "v2",
        "replaces": "v1",
        "provider": "openai",
        "base_url": url,
        "model": "m",
        "concurrency": IN_FLIGHT,
        "settings": {"temperature": 0, "max_tokens": 64},
        **changes,
    }
    (folder / "models.yaml").write_text(
        yaml.safe_dump(
            {
                "models": [
                    {"version": "v1", "provider": "recorded", "deployed": {"from": "2026-01-01"}},
                    candidate,
                ]
            }
        )
    )
    text = "A question of ordinary length about something that a person wants to know, number"
    with DuckDBFile(folder / "warehouse.duckdb").transaction() as tx:
        for start in range(0, prefixes, 10_000):
            ids = range(start, min(prefixes, start + 10_000))
            same = {
                "model_version": "v2",
                "user_key": "u",
                "stratum": "all",
                "turn": 0,
                "recorded": None,
                "recorded_labels": "{}",
                "metadata": "{}",
                "turn_key": "t",
            }
            rest = {
                "inclusion_probability": 1.0,
                "weight": 1.0,
                "sample_id": "s",
                "deid_version": "d",
            }
            rows = [
                {
                    **same,
                    **rest,
                    "prefix_id": f"{i:016x}",
                    "conversation_key": f"c{i}",
                    "prefix": json.dumps([{"role": "user", "content": f"{text} {i}"}]),
                }
                for i in ids
            ]
            tx.append(StratifiedSample, pl.DataFrame(rows, schema=dtypes(StratifiedSample)))
    return folder


def child(folder: Path) -> None:
    """One run of the release's candidate arm."""
    home = load_home(folder)
    candidate = home.by_version["v2"]
    with contextlib.suppress(StopRun):
        replay_arm(
            home,
            DuckDBFile(home.warehouse),
            candidate,
            candidate,
            "candidate",
            advance=lambda _: None,
        )


def start(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.replay_faults", "--child", str(folder)]
    )


def finished(folder: Path) -> None:
    if code := start(folder).wait():
        raise SystemExit(f"the client failed with {code}")


def table(folder: Path) -> pl.DataFrame:
    """What the two runs must agree on; the request hash holds the server's port."""
    kept = ("prefix_id", "k", "status", "text", "prompt_tokens", "completion_tokens", "cost_usd")
    return (
        DuckDBFile(folder / "warehouse.duckdb")
        .read(CandidateCompletions, columns=kept)
        .sort("prefix_id", "k")
    )


def kill(place: Path, prefixes: int, kills: int) -> dict[str, object]:
    """Killed at random moments, and run again until nothing is missing."""
    draw = random.Random(1)
    with Server(latency_s=0.2) as server:
        folder, done, sent_again = home_with(place / "killed", server.url, prefixes), 0, []
        while done < kills:
            before = len(server.seen())
            process = start(folder)
            while len(server.seen()) == before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(draw.uniform(0.0, 0.35))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                done += 1
            process.wait()
            counts = Counter(key for _, _, key in server.seen())
            sent_again.append(sum(n - 1 for n in counts.values()))
        finished(folder)
        counts = Counter(key for _, _, key in server.seen())
        sent_again.append(sum(n - 1 for n in counts.values()))
    with Server() as server:
        whole = home_with(place / "whole", server.url, prefixes)
        finished(whole)
    per_kill = [after - before for before, after in itertools.pairwise(sent_again)]
    return {
        "prefixes": prefixes,
        "kills": done,
        "in_flight": IN_FLIGHT,
        "sent_again_after_a_kill_at_most": max(per_kill),
        "sent_again_in_all": sent_again[-1],
        "every_prefix_answered": len(table(folder)) == prefixes,
        "same_table_as_uninterrupted": table(folder).equals(table(whole)),
    }


def storm(place: Path, seconds: int = 120, per_second: float = 100.0) -> dict[str, object]:
    """Far more in flight than the provider takes a second."""
    with Server(latency_s=0.05, per_second=per_second) as server:
        finished(home_with(place / "storm", server.url, int(seconds * per_second), max_retries=20))
        seen = server.seen()
    first = seen[0][0]
    late = [status for at, status, _ in seen if at - first > 60]
    return {
        "limit_per_second": per_second,
        "in_flight": IN_FLIGHT,
        "completed": sum(s == 200 for _, s, _ in seen),
        "refused": sum(s == 429 for _, s, _ in seen),
        "refused_over_completed_after_a_minute": late.count(429) / max(1, late.count(200)),
        "of_the_limit_used": (
            sum(s == 200 for _, s, _ in seen) / ((seen[-1][0] - first) * per_second)
        ),
    }


def budget(place: Path, prefixes: int = 2000) -> dict[str, object]:
    with Server(latency_s=0.02) as server:
        finished(home_with(place / "budget", server.url, prefixes, budget={"max_tokens": 25_000}))
        sent = len(server.seen())
    return {
        "max_tokens": 25_000,
        "tokens_each": 50,
        "requests_within": 500,
        "requests_sent": sent,
        "overrun": max(0, sent - 500),
        "in_flight": IN_FLIGHT,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["kill", "storm", "budget"], action="append")
    parser.add_argument("--prefixes", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.child:
        child(asked.child)
        return
    ways = {
        "kill": lambda p: kill(p, asked.prefixes, asked.kills),
        "storm": storm,
        "budget": budget,
    }
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as place:
        for name in asked.only or list(ways):
            found[name] = ways[name](Path(place))
            if not asked.json:
                sys.stdout.write(f"{name}: {found[name]}\n")
    if asked.json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("SIM_PLATFORM_LOCK_WAIT_SECONDS", "60")
    main()
