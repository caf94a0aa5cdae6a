"""Replay throughput: the engine with its durable journal against what a person would write, on the
same server in one run.

The server is ours (asyncio, one process on one core, a fixed Chat Completions body,
optional latency and errors); the client runs on another core. Every way is given the same
requests. inspect_ai is one of the ways where it is installed; it writes a log, as the
engine writes a journal.

    python -m benchmarks.replay --json
    python -m benchmarks.replay --only 200_ms_at_64 200_ms_at_1000
    python -m benchmarks.replay --requests 3000 --concurrency 64
    python -m benchmarks.replay --memory 2000 200000

`--memory`: peak resident memory of a whole replay into a warehouse, by number of prefixes.
"""

import argparse
import asyncio
import contextlib
import io
import json
import multiprocessing
import os
import random
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import openai
import polars as pl
import yaml

from sim_platform.registry.home import load_home
from sim_platform.registry.models import ModelVersion, Settings
from sim_platform.replay.engine import replay
from sim_platform.replay.journal import Journal
from sim_platform.replay.providers.openai import OpenAIProvider
from sim_platform.replay.requests import Request, build_request
from sim_platform.warehouse.duckdb_file import DuckDBFile

ANSWER = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "usage": {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50},
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {
                    "role": "assistant",
                    "content": (
                        "An answer of some twenty words, as long as a short turn of a chat would be"
                        " in a real log."
                    ),
                },
            }
        ],
    }
).encode()
HEAD = (
    f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(ANSWER)}\r\n\r\n"
).encode()


RETRIES = 5  # of every way that has retries
FAILED = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length:"
    b" 2\r\n\r\n{}"
)


@dataclass(frozen=True)
class Scenario:
    """Traffic: the server's median latency, requests in flight, the share of answers that are
    status 500, whether every prompt comes twice, and which ways can run it.
    """

    median_s: float
    concurrency: int
    errors: float = 0.0
    repeated: bool = False
    ways: tuple[str, ...] = ("engine_with_journal", "inspect_ai", "bare_aiohttp")


def serve(
    ready: "multiprocessing.Queue[int]", median_s: float, core: int, errors: float = 0.0
) -> None:
    """Answers every request, after a latency with a heavy tail where `median_s` is positive."""
    draw = random.Random(1)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                await reader.readexactly(length)
                if median_s:
                    await asyncio.sleep(median_s * draw.lognormvariate(0, 0.3))
                writer.write(FAILED if errors and draw.random() < errors else HEAD + ANSWER)
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=2048)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    os.sched_setaffinity(0, {core})
    asyncio.run(run())


def requests_for(model: ModelVersion, n: int, repeated: bool = False) -> list[Request]:
    """Prefixes of two messages, all distinct or each of them twice, far apart."""
    text = "A question of ordinary length about something that a person wants to know, number"
    return [
        build_request(
            model,
            arm="candidate",
            prefix_id=f"p{i}",
            k=0,
            turn_key="",
            prefix=[
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": f"{text} {i % (n // 2) if repeated else i}"},
            ],
        )
        for i in range(n)
    ]


async def engine(model: ModelVersion, requests: list[Request], concurrency: int) -> None:
    """The platform: every outcome in a journal that is synced to disk."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Journal(Path(folder) / "journal.jsonl") as journal,
    ):
        provider = OpenAIProvider(model)
        try:
            done = await replay(
                requests,
                provider,
                concurrency=concurrency,
                max_retries=RETRIES,
                on_outcome=journal.append,
            )
        finally:
            await provider.aclose()
    assert done.by_status == {"completed": len(requests)}


async def sdk(
    model: ModelVersion, requests: list[Request], concurrency: int, http_client: object = None
) -> None:
    """A loop over the openai package; nothing is kept on disk."""
    slots = asyncio.Semaphore(concurrency)
    async with openai.AsyncOpenAI(
        api_key="none", base_url=model.base_url, max_retries=RETRIES, http_client=http_client
    ) as client:  # type: ignore[arg-type]  # either transport

        async def one(request: Request) -> str | None:
            async with slots:
                return (
                    (await client.chat.completions.create(**request.body))
                    .choices[0]
                    .message.content
                )

        answers = await asyncio.gather(*(one(request) for request in requests))
    assert all(answers)


async def sdk_aiohttp(model: ModelVersion, requests: list[Request], concurrency: int) -> None:
    """The same over the package's aiohttp transport."""
    await sdk(model, requests, concurrency, openai.DefaultAioHttpClient())


async def bare(model: ModelVersion, requests: list[Request], concurrency: int) -> None:
    """aiohttp alone: the ceiling; no retries, no types, nothing kept."""
    waiting = iter(requests)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for request in waiting:
                async with session.post(
                    f"{model.base_url}/chat/completions", json=request.body
                ) as response:
                    assert (await response.json())["choices"]

        await asyncio.gather(*(work() for _ in range(concurrency)))


async def inspect(model: ModelVersion, requests: list[Request], concurrency: int) -> None:
    """inspect_ai: a task of one generation a sample, with its log."""
    from inspect_ai import Task, eval_async  # noqa: PLC0415 - optional
    from inspect_ai.dataset import Sample  # noqa: PLC0415 - the same
    from inspect_ai.model import (  # noqa: PLC0415 - the same
        ChatMessageSystem,
        ChatMessageUser,
        GenerateConfig,
        get_model,
    )
    from inspect_ai.solver import generate  # noqa: PLC0415 - the same

    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser}
    samples = [
        Sample(
            id=r.prefix_id,
            input=[kinds[m["role"]](content=m["content"]) for m in r.body["messages"]],
        )
        for r in requests
    ]
    settings = {name: requests[0].body[name] for name in ("max_tokens", "temperature")}
    asked = get_model(
        "openai-api/bench/m",
        base_url=model.base_url,
        api_key="none",
        memoize=False,
        config=GenerateConfig(max_connections=concurrency, max_retries=RETRIES, **settings),
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
    ):  # it prints a summary
        task = Task(dataset=samples, solver=generate())
        (log,) = await eval_async(
            task, model=asked, log_dir=folder, max_samples=concurrency, log_realtime=False
        )
    assert log.status == "success"
    assert log.results is None or log.results.completed_samples == len(requests)


Way = Callable[[ModelVersion, list[Request], int], Awaitable[None]]
WAYS: dict[str, Way] = {
    "engine_with_journal": engine,
    "sdk_aiohttp": sdk_aiohttp,
    "sdk": sdk,
    "inspect_ai": inspect,
    "bare_aiohttp": bare,
}
RETRYING = ("engine_with_journal", "sdk_aiohttp", "inspect_ai")
SCENARIOS = {
    "zero_latency": Scenario(0.0, 64, ways=tuple(WAYS)),
    "200_ms_at_64": Scenario(0.2, 64),
    "200_ms_at_256": Scenario(0.2, 256),
    "200_ms_at_1000": Scenario(0.2, 1000),
    "5_percent_errors_200_ms_at_256": Scenario(0.2, 256, errors=0.05, ways=RETRYING),
    "each_prompt_twice_200_ms_at_64": Scenario(0.2, 64, repeated=True, ways=RETRYING),
}


def measure(
    way: Way, model: ModelVersion, n: int, concurrency: int, repeated: bool = False
) -> float:
    """Prefixes answered a second, the better of two runs."""
    best = 0.0
    for _ in range(2):
        requests = requests_for(model, n, repeated)
        started = time.perf_counter()
        asyncio.run(way(model, requests, concurrency))  # type: ignore[arg-type]  # coroutines
        best = max(best, n / (time.perf_counter() - started))
    return best


def run_scenario(scenario: Scenario, n: int) -> dict[str, object]:
    """Prefixes a second of every way, and how many times as fast as each other the engine is."""
    cores = sorted(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    ready = context.Queue()
    server = context.Process(
        target=serve, args=(ready, scenario.median_s, cores[0], scenario.errors), daemon=True
    )
    server.start()
    os.sched_setaffinity(0, {cores[-1]})
    model = ModelVersion(
        version="m",
        provider="openai",
        base_url=f"http://127.0.0.1:{ready.get()}/v1",
        model="m",
        settings=Settings(max_tokens=64, temperature=0.0),
        concurrency=scenario.concurrency,
    )
    rates: dict[str, float] = {}
    left_out: dict[str, str] = {}
    for way in scenario.ways:
        try:
            rates[way] = round(
                measure(WAYS[way], model, n, scenario.concurrency, scenario.repeated), 1
            )
        except ImportError:
            left_out[way] = "not installed"
        except (
            RuntimeError,
            AssertionError,
            openai.OpenAIError,
        ) as error:  # it did not bring every prefix home
            left_out[way] = f"failed: {type(error).__name__}"
    server.terminate()
    server.join()
    os.sched_setaffinity(0, cores)
    ours = rates["engine_with_journal"]
    return {
        "prefixes_per_second": {**rates, **left_out},
        **{
            f"times_{way}": round(ours / rate, 2)
            for way, rate in rates.items()
            if way != "engine_with_journal"
        },
    }


def prepare(folder: Path, url: str, n: int) -> None:
    """A registered home whose release x has n prefixes."""
    from sim_platform.contracts.tables.sampling import StratifiedSample  # noqa: PLC0415 - heavy
    from sim_platform.contracts.tables.schema import dtypes  # noqa: PLC0415 - heavy
    from sim_platform.flows.registration import ensure_registered  # noqa: PLC0415 - heavy

    plan = {"sample_size": n, "arms": ["candidate"]}
    models = [
        {"version": "y", "provider": "recorded", "deployed": {"from": "2026-01-01"}},
        {
            "version": "x",
            "replaces": "y",
            "provider": "openai",
            "base_url": url,
            "model": "m",
            "concurrency": 64,
            "plan": plan,
        },
    ]
    behavior = {
        "id": "b",
        "title": "b",
        "definition": "b",
        "graders": [{"kind": "contains", "any": ["b"]}],
    }
    (folder / "behaviors").mkdir()
    for name, content in (
        (
            "sources.yaml",
            {
                "sources": [{"reader": "conversations", "path": "none.jsonl"}],
                "consent": {"all": "synthetic, made by this benchmark"},
            },
        ),
        ("models.yaml", {"models": models}),
        ("behaviors/b.yaml", behavior),
    ):
        (folder / name).write_text(yaml.safe_dump(content))
    home = load_home(folder)
    warehouse = DuckDBFile(home.warehouse)
    same = {
        "model_version": "x",
        "user_key": "u",
        "stratum": "all",
        "turn": 0,
        "recorded": None,
        "recorded_labels": "{}",
        "metadata": "{}",
        "sample_id": "s",
        "deid_version": "d",
    }
    for start in range(0, n, 20_000):
        rows = [
            {
                **same,
                "prefix_id": f"{i:016x}",
                "conversation_key": f"c{i}",
                "turn_key": f"t{i}",
                "inclusion_probability": 1.0,
                "weight": 1.0,
                "prefix": json.dumps(
                    [{"role": "user", "content": f"{'A question of ordinary length. ' * 20}{i}"}]
                ),
            }
            for i in range(start, min(n, start + 20_000))
        ]
        with warehouse.transaction() as tx:
            tx.append(StratifiedSample, pl.DataFrame(rows, schema=dtypes(StratifiedSample)))
    ensure_registered(home, warehouse, "x")


def replay_whole(folder: Path, peak: "multiprocessing.Queue[float]") -> None:
    from sim_platform.flows.replay.arm import replay_arm  # noqa: PLC0415 - heavy

    home = load_home(folder)
    model = home.by_version["x"]
    replay_arm(home, DuckDBFile(home.warehouse), model, model, "candidate", advance=lambda _: None)
    peak.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def peak_memory(n: int) -> float:
    """Megabytes at the peak of a process that replays n prefixes. Another one prepares them: Linux
    counts what a process was started from into its peak.
    """
    context = multiprocessing.get_context("spawn")
    ready, peak = context.Queue(), context.Queue()
    server = context.Process(
        target=serve, args=(ready, 0.0, min(os.sched_getaffinity(0))), daemon=True
    )
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        for target, given in (
            (prepare, (Path(folder), f"http://127.0.0.1:{ready.get()}/v1", n)),
            (replay_whole, (Path(folder), peak)),
        ):
            process = context.Process(target=target, args=given)
            process.start()
            process.join()
            assert process.exitcode == 0
    server.terminate()
    return float(peak.get())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--concurrency", type=int, help="in place of each scenario's own")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SCENARIOS,
        metavar="SCENARIO",
        help=f"of {', '.join(SCENARIOS)}",
    )
    parser.add_argument(
        "--memory",
        type=int,
        nargs="+",
        metavar="N",
        help="only the peak memory at these numbers of prefixes",
    )
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.memory:
        print(
            json.dumps(
                {"peak_mb": {n: round(peak_memory(n), 1) for n in asked.memory}},
                indent=None if asked.json else 2,
            )
        )
        return
    found = {}
    for name in asked.only or SCENARIOS:
        scenario = (
            SCENARIOS[name]
            if asked.concurrency is None
            else replace(SCENARIOS[name], concurrency=asked.concurrency)
        )
        found[name] = run_scenario(scenario, asked.requests)
    print(json.dumps(found, indent=None if asked.json else 2))


if __name__ == "__main__":
    main()
