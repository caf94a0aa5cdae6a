"""The whole line at scale: seconds and peak memory of every stage of `sim-platform run`, by
size of the log.

For each size a home is made with a synthetic log (from a seed), a version in service, a candidate
and a Chat Completions server without latency, in a process of its own. Then the command runs as a
user runs it, and memory is what all its processes hold together (PSS, five times a second), the
server not counted. Dagster's own events say afterwards which stage ran when. Growth is told in
seconds and in processor time, which other work on the machine hardly changes.

De-identification is by rules and a plug-in that knows the canaries alone, without a second look:
what grows with the log, not what a model weighs. Every row of the log is looked for at the end.

    python -m benchmarks.pipeline --conversations 10000 100000 300000 --behaviors 20 --json
    python -m benchmarks.pipeline --conversations 10000 --judged 2 --resume

Belongs here: the home, the measuring, the accounting. Does not: any stage.
"""

import argparse
import asyncio
import bisect
import contextlib
import itertools
import json
import multiprocessing
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import yaml
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
RELEASE, SERVING, JUDGE = "v2", "v1", "judge"
ARMS = ("candidate", "control", "recorded")
SEED = 20250106
SAMPLED_EVERY = 0.2  # seconds between two looks at memory
REST = "start, end and between"  # importing, Dagster between two steps, printing the rates
CONVERSATIONS_PER_USER = 4
BROKEN_EVERY, WITHHELD_EVERY = 400, 400  # a line that is no JSON; a user without consent
SURFACES, LANGUAGES = ("web", "mobile", "api"), ("en", "de", "fr", "es")
FIRST_DAY = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday; 26 weeks from here
_WORDS = (
    "the a of to and in is that for on with as it at by this from or an be are was not but have"
    " one all can will there use each about how up out them then many some so these would other"
    " into has more two like see time could make than first been its who now people over down"
    " only way find water long little very after words called just where most know get through"
)
WORDS = _WORDS.split()
PHRASES = [
    f"{verb} {noun}"
    for verb in ("sorry about", "happy about", "unsure about", "certain about", "silent about")
    for noun in ("bicycles", "recipes", "routers", "poems", "trains", "taxes", "birthdays")
]
ANSWERS = [
    f"{' '.join(WORDS[i : i + 12])}, and I am {phrase}. {' '.join(WORDS[i + 12 : i + 24])}."
    for i, phrase in enumerate(PHRASES)
]


# ---- a home and its log ----


def write_home(folder: Path, url: str, conversations: int, behaviors: int, judged: int) -> int:
    """A home whose release replaces the version that wrote the log; returns how many rows of the
    log must come into the extract.
    """
    (folder / "behaviors").mkdir(parents=True)
    served = {"provider": "openai", "base_url": url, "concurrency": 64}
    settings = {"settings": {"temperature": 0.0, "max_tokens": 128}}
    plan = {"sample_size": conversations, "strata": ["surface", "language"], "arms": list(ARMS)}
    models: list[dict[str, Any]] = [
        {"version": SERVING, "model": "one", "deployed": {"from": "2025-01-01"}},
        {"version": RELEASE, "model": "two", "replaces": SERVING, "plan": plan},
        {"version": JUDGE, "model": "judge"},
    ]
    policy = {
        **dict.fromkeys(("spacy_names", "spacy_others"), "off"),
        **{"name": "rules", "version": 1, "models": False, "dates": True},
        **{"rampart": 0.1, "rampart_names": 0.1, "confirms": 0.03},
        "detectors": [{"kind": "python", "factory": "benchmarks.canary_names:CanaryNames"}],
    }
    sources = {
        "sources": [{"reader": "conversations", "path": "log.jsonl"}],
        "consent": {"ledger": "consent.csv", "scope": "model_improvement"},
        "deidentification": {"policy": "rules.yaml", "audit_share": 0.0},
    }
    files: dict[str, object] = {
        "models.yaml": {"models": [model | served | settings for model in models]},
        "rules.yaml": policy,
        "sources.yaml": sources,
        **{f"behaviors/behavior_{i}.yaml": behavior(i, i < judged) for i in range(behaviors)},
    }
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content))
    users = max(1, conversations // CONVERSATIONS_PER_USER)
    with (folder / "consent.csv").open("w") as ledger:
        ledger.write("user_id,scope,granted_at,revoked_at\n")
        ledger.writelines(
            f"user-{user},model_improvement,2024-12-01T00:00:00Z,\n"
            for user in range(users)
            if user % WITHHELD_EVERY
        )
    extracted = 0
    with (folder / "log.jsonl").open("w") as log:
        for line, is_extracted in log_lines(conversations, users):
            log.write(line)
            extracted += is_extracted
    return extracted


def behavior(i: int, is_judged: bool) -> dict[str, Any]:
    """Found in one answer of 35, or judged; every fourth decides about the release."""
    phrase = PHRASES[i % len(PHRASES)]
    kinds: tuple[dict[str, Any], ...] = (
        {"kind": "contains", "any": [phrase]},
        {"kind": "regex", "pattern": rf"\b{phrase}\b"},
    )
    return {
        "id": f"behavior_{i}",
        "title": f"Behaviour {i}",
        "definition": f"The response says that it is {phrase}.",
        "tier": "monitor" if i % 4 else "gate",
        "graders": [{"kind": "judge", "model": JUDGE} if is_judged else kinds[i % 2]],
    }


def log_lines(conversations: int, users: int) -> Iterator[tuple[str, bool]]:
    """Lines of the log, one at a time, and whether each must be extracted."""
    draw = random.Random(SEED)
    for n in range(conversations):
        user, turns, messages = draw.randrange(users), draw.randint(1, 3), []
        for turn in range(turns):
            words = " ".join(draw.choices(WORDS, k=90 // turns - 20))
            asked = f"Question {n}-{turn}: {words}?"
            if not draw.randrange(20):  # something for the rules to find
                asked += f" Write to user{user}@example.com or call 555-0{user % 1000:03}."
            messages += [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": draw.choice(ANSWERS)},
            ]
        row = {
            "conversation_id": f"c-{n}",
            "user_id": f"user-{user}",
            "model_version": SERVING,
            "started_at": (
                FIRST_DAY + timedelta(minutes=draw.randrange(26 * 7 * 1440))
            ).isoformat(),
            "messages": messages,
            "metadata": {
                "surface": draw.choices(SURFACES, (6, 3, 1))[0],
                "language": draw.choices(LANGUAGES, (7, 1, 1, 1))[0],
            },
        }
        is_broken = n % BROKEN_EVERY == BROKEN_EVERY - 1
        line = json.dumps(row)
        yield (line[:-2] if is_broken else line) + "\n", not is_broken and user % WITHHELD_EVERY > 0


# ---- the server ----


def serve(ready: "multiprocessing.Queue[int]", answered: Any) -> None:
    """Answers every request at once and counts it; which answer, the request's own bytes decide. A
    request with a schema comes from the judge.
    """

    def content(body: bytes) -> str:
        drawn = zlib.crc32(body)
        if b'"response_format"' not in body:
            return ANSWERS[drawn % len(ANSWERS)]
        names = json.loads(body)["response_format"]["json_schema"]["schema"]["required"]
        labels = ((name, bool((drawn >> i % 32) & 7 == 0)) for i, name in enumerate(names))
        return json.dumps(
            {
                name: {"evidence": "", "rationale": "Drawn.", "score": float(label), "label": label}
                for name, label in labels
            }
        )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.split(b"content-length:")[1].split(b"\r\n")[0]
                message = {
                    "role": "assistant",
                    "content": content(await reader.readexactly(int(length))),
                }
                choice = {"index": 0, "finish_reason": "stop", "message": message}
                usage = {"prompt_tokens": 90, "completion_tokens": 30, "total_tokens": 120}
                reply = json.dumps(
                    {"id": "c", "object": "chat.completion", "created": 1, "model": "served"}
                    | {"choices": [choice], "usage": usage}
                ).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                    b"content-length: %d\r\n\r\n%s" % (len(reply), reply)
                )
                answered.value += 1
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=2048)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextlib.contextmanager
def server() -> Iterator[tuple[str, Any]]:
    """Its address, and a count of requests that goes on."""
    context = multiprocessing.get_context("spawn")
    ready, answered = context.Queue(), context.Value("q", 0, lock=False)
    process = context.Process(target=serve, args=(ready, answered), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ready.get()}/v1", answered
    finally:
        process.terminate()
        process.join()


# ---- one run, watched ----


@dataclass
class Watched:
    """A run of the command: when it began and ended, and memory and processor time in between."""

    started: float
    ended: float = 0.0
    code: int = 0
    times: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)  # seconds of all processes until then

    def peak(self, start: float, end: float) -> float | None:
        """Most memory between two times; None where nobody looked."""
        here = slice(bisect.bisect(self.times, start), bisect.bisect(self.times, end))
        return max(self.megabytes[here], default=None)

    def processor_seconds(self, start: float, end: float) -> float:
        """Processor time between two times, to the look before each."""
        before, after = (bisect.bisect(self.times, time) - 1 for time in (start, end))
        return self.processor[after] - (self.processor[before] if before >= 0 else 0.0)


def run_command(home: Path) -> Watched:
    """`sim-platform run` in a session of its own, watched until it ends; it speaks on
    standard error.
    """
    environment = {
        **os.environ,
        "SIM_PLATFORM_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster_home"),
        "PYTHONPATH": str(ROOT),
    }
    (home / "dagster_home").mkdir(exist_ok=True)
    run = Watched(time.time())
    command = subprocess.Popen(
        [sys.executable, "-m", "sim_platform.commands.main", "run", RELEASE],
        env=environment,
        cwd=home,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLED_EVERY):
            processes = processes_of(command.pid)
            run.times.append(time.time())
            run.megabytes.append(sum(map(megabytes_of, processes)))
            # one that ended counts at its parent
            run.processor.append(max(sum(processes.values()), *run.processor[-1:], 0.0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run.code = command.wait()
    finally:
        if command.returncode is None:  # interrupted
            os.killpg(command.pid, signal.SIGKILL)
        ended.set()
        watcher.join()
    run.ended = time.time()
    return run


def processes_of(session: int) -> dict[int, float]:
    """The processes of a session, which are all that the command started: ids, and the seconds of
    processor time that each and its ended children took.
    """
    found, ticks = {}, os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(after_name[3]) == session:
                    found[int(entry.name)] = sum(map(int, after_name[11:15])) / ticks
    return found


def megabytes_of(process: int) -> float:
    """The process's share of the machine's memory: pages of several processes count in parts. Where
    the kernel does not tell, all that is resident.
    """
    for file, name in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process}/{file}").read_text().splitlines():
                if line.startswith(name):
                    return int(line.split()[1]) / 1024
    return 0.0


@dataclass
class Steps:
    """What Dagster noted of a run of the command, by stage: an asset, or an asset's checks."""

    spans: dict[str, list[tuple[float, float]]]
    failed: list[str]
    checks_failed: list[str]


def steps_of(home: Path, since: float) -> Steps:
    """The stages in the order in which they began."""
    import dagster as dg  # noqa: PLC0415 - heavy, and only needed after the run

    kind = dg.DagsterEventType
    begun: dict[str, float] = {}
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    found = Steps(spans, [], [])
    with dg.DagsterInstance.from_config(str(home / "dagster_home")) as instance:
        records = instance.get_run_records(order_by="id", ascending=True)
        runs = [r.dagster_run for r in records if r.create_timestamp.timestamp() >= since]
        for run in runs:
            stage: dict[str, str] = {}  # step: stage
            for entry in instance.all_logs(run.run_id):
                event: Any = entry.dagster_event
                step = entry.step_key or ""
                match event and event.event_type:
                    case kind.STEP_START:
                        begun[step] = entry.timestamp
                        stage[step] = step
                    case kind.ASSET_CHECK_EVALUATION:
                        check = event.event_specific_data
                        asset = check.asset_key.to_user_string()
                        stage[step] = f"{asset}: checks"
                        if not check.passed:
                            found.checks_failed.append(
                                f"{asset}: {check.check_name} ({check.severity.value})"
                            )
                    case kind.STEP_SUCCESS | kind.STEP_FAILURE:
                        spans[stage[step]].append((begun[step], entry.timestamp))
                        if event.event_type == kind.STEP_FAILURE:
                            found.failed.append(stage[step])
    return found


def stages_of(run: Watched, steps: Steps) -> dict[str, dict[str, float | None]]:
    """Seconds and peak memory of each stage, and of what lies between them."""
    found: dict[str, dict[str, float | None]] = {}
    spans = dict(steps.spans)
    inside = sorted(span for many in spans.values() for span in many)
    edges = [run.started, *(time for span in inside for time in span), run.ended]
    spans[REST] = list(zip(edges[::2], edges[1::2], strict=True))
    for name, many in spans.items():
        peaks = [peak for span in many if (peak := run.peak(*span)) is not None]
        found[name] = {
            "seconds": round(sum(end - start for start, end in many), 2),
            "processor_s": round(sum(run.processor_seconds(*span) for span in many), 2),
            "peak_mb": round(max(peaks)) if peaks else None,
        }
    return found


# ---- what must be there afterwards ----


def accounting(home: Path, conversations: int, extracted: int, behaviors: int) -> dict[str, Any]:
    """Rows of each stage, and `lost`: each stage whose rows are not those that came in."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:

        def count(sql: str) -> int:
            return int(warehouse.sql(f"select {sql}").fetchall()[0][0])

        rows_in, in_extract = (
            count(f"coalesce(sum(n), 0) from extraction_accounting where disposition = '{what}'")
            for what in ("rows_in", "extracted")
        )
        corpus = count("count(*) from deidentified_corpus")
        refused = count("count(*) from quarantined_rows where stage = 'deidentification'")
        prefixes = count("count(*) from stratified_sample")
        of_arm = dict(
            warehouse.sql("select arm, count(*) from candidate_completions group by arm").fetchall()
        ) | {"recorded": count("count(recorded) from stratified_sample")}
        scores = count("count(*) from classifier_scores")
    expected = {
        "consented_log_extract": (rows_in, conversations),
        "consented_log_extract: consented and readable": (in_extract, extracted),
        "deidentified_corpus": (corpus + refused, extracted),
        "stratified_sample": (prefixes, corpus),
        **{f"candidate_completions: {arm}": (of_arm.get(arm, 0), prefixes) for arm in ARMS},
        "classifier_scores": (scores, behaviors * len(ARMS) * prefixes),
    }
    return {
        "extracted": in_extract,
        "corpus": corpus,
        "prefixes": prefixes,
        "outcomes": sum(of_arm.values()),
        "scores": scores,
        "lost": [
            f"{stage} has {n} of {wanted} rows"
            for stage, (n, wanted) in expected.items()
            if n != wanted
        ],
    }


# ---- the benchmark ----


class FailedError(Exception):
    """A run failed, or rows are missing; names the stage."""


def measure(folder: Path, conversations: int, asked: argparse.Namespace) -> dict[str, Any]:
    """One size: a home, a run of the command, and, if asked, the same command again."""
    home = folder / str(conversations)
    with server() as (url, answered):
        say(f"writing a log of {conversations:,} conversations")
        extracted = write_home(home, url, conversations, asked.behaviors, asked.judged)
        found: dict[str, Any] = {"conversations": conversations}
        for name in ("", "resume") if asked.resume else ("",):
            say(f"sim-platform run {RELEASE}{' again' if name else ''}")
            before, load = answered.value, os.getloadavg()[0]
            run = run_command(home)
            steps = steps_of(home, run.started)
            if run.code or steps.failed:
                where = ", ".join(steps.failed) or f"the command (exit code {run.code})"
                raise FailedError(f"{conversations:,} conversations: failed in {where}")
            figures = {
                "seconds": round(run.ended - run.started, 1),
                "processor_s": round(run.processor_seconds(run.started, run.ended), 1),
                "peak_mb": round(run.peak(run.started, run.ended) or 0),
                "requests": answered.value - before,
                "load_before": round(load, 2),
                "stages": stages_of(run, steps),
                "checks_failed": steps.checks_failed,
            }
            found |= {name: figures} if name else figures
    for name in ("warehouse", "vault", "published"):
        found[f"{name}_mb"] = round((home / f"{name}.duckdb").stat().st_size / 2**20)
    found |= accounting(home, conversations, extracted, asked.behaviors)
    if lost := found.pop("lost"):
        raise FailedError(f"{conversations:,} conversations: {'; '.join(lost)}")
    if asked.resume and found["resume"]["requests"]:
        sent = found["resume"]["requests"]
        raise FailedError(f"{conversations:,} conversations: run again, it sent {sent} requests")
    return found


def growth(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """From each size to the next: memory, and each stage's time for a conversation, by the clock
    and of processors.
    """

    def ratios(small: dict[str, Any], large: dict[str, Any], unit: str) -> dict[str, float | None]:
        times = large["conversations"] / small["conversations"]
        rows = {name: (row, large["stages"][name]) for name, row in small["stages"].items()}
        return {
            name: round(after[unit] / before[unit] / times, 2) if before[unit] else None
            for name, (before, after) in {**rows, "all": (small, large)}.items()
        }

    return [
        {
            "from": small["conversations"],
            "to": large["conversations"],
            "peak_ratio": round(large["peak_mb"] / small["peak_mb"], 2),
            "seconds_per_conversation_ratio": ratios(small, large, "seconds"),
            "processor_per_conversation_ratio": ratios(small, large, "processor_s"),
        }
        for small, large in itertools.pairwise(runs)
    ]


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
    }


def show(runs: Sequence[dict[str, Any]], steps: Sequence[dict[str, Any]]) -> None:
    """A stage a row; seconds, processor time and memory of each size, and the growth of both times
    for a conversation from the size before.
    """
    units = {"s": "seconds", "cpu s": "processor_s", "MB": "peak_mb"}
    growths = ("seconds_per_conversation_ratio", "processor_per_conversation_ratio")
    table = Table(title="sim-platform run: seconds, processor time, peak memory of all processes")
    table.add_column("stage", no_wrap=True)
    for run in runs:
        for unit in units:
            table.add_column(f"{run['conversations']:,}\n{unit}", justify="right")
    for step in steps:
        for unit in ("s", "cpu s"):
            table.add_column(f"{unit} each,\n{step['from']:,} to {step['to']:,}", justify="right")

    def add(name: str, figures: Sequence[dict[str, Any]]) -> None:
        cells = [
            "-" if value is None else f"{value:,}"
            for of_run in figures
            for value in (of_run[unit] for unit in units.values())
        ]
        ratios = (step[of][name] for step in steps for of in growths)
        cells += ["-" if ratio is None else f"x {ratio}" for ratio in ratios]
        table.add_row(name, *cells)

    for name in runs[0]["stages"]:
        add(name, [run["stages"][name] for run in runs])
    table.add_section()
    add("all", runs)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    for step in steps:
        console.print(f"peak memory, {step['from']:,} to {step['to']:,}: x {step['peak_ratio']}")
    for run in runs:
        facts = {k: v for k, v in run.items() if isinstance(v, int) and k != "peak_mb"}
        console.print(", ".join(f"{name} {value:,}" for name, value in facts.items()))
        for check, n in Counter(run["checks_failed"]).items():
            console.print(f"  check failed: {check}{f' {n} times' if n > 1 else ''}")
        if "resume" in run:
            again = run["resume"]
            console.print(
                f"  run again: {again['seconds']} s, {again['peak_mb']:,} MB,"
                f" {again['requests']} requests sent"
            )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--conversations", type=int, nargs="+", default=[10_000, 100_000], metavar="N"
    )
    parser.add_argument("--behaviors", type=int, default=20)
    parser.add_argument("--judged", type=int, default=0, help="so many of them by a judge")
    parser.add_argument("--resume", action="store_true", help="run the same command again")
    parser.add_argument("--folder", type=Path, help="where homes are made, instead of the system's")
    parser.add_argument("--keep", action="store_true", help="leave the homes there")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pipeline-", dir=asked.folder))
    try:
        runs = [measure(folder, conversations, asked) for conversations in asked.conversations]
    except FailedError as error:
        sys.exit(f"error: {error}")
    finally:
        if asked.keep:
            say(f"the homes are in {folder}")
        else:
            shutil.rmtree(folder)
    steps = growth(runs)
    if asked.json:
        print(json.dumps({"machine": machine(), "runs": runs, "growth": steps}))
    else:
        show(runs, steps)


if __name__ == "__main__":
    main()
