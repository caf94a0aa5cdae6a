"""Replay in several processes: each answers its share of the prefixes, all of them keep one budget
and one rate limit.

Belongs here: starting, watching and ending the processes. Does not: what one of them does (arm).
"""

import multiprocessing
import os
import queue
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.flows.files import warehouse_of
from sim_platform.flows.replay.pending import ArmSummary, LiveArm, Share
from sim_platform.registry.home import Home
from sim_platform.registry.models import ModelVersion
from sim_platform.replay.budget import Budget
from sim_platform.replay.engine import Progress
from sim_platform.replay.providers.protocol import StopRun

REPORT_SECONDS = 0.25
Replay = Callable[..., ArmSummary]  # replay_arm, which itself starts these processes


def replay_in_processes(
    replay: Replay,
    home: Home,
    candidate: ModelVersion,
    model: ModelVersion,
    arm: LiveArm,
    *,
    advance: Callable[[int], None],
    on_progress: Callable[[Progress], None] | None,
    budgets: Sequence[Budget],
) -> list[ArmSummary]:
    """What each of `model.workers` processes did. They share `concurrency`, the endpoint's rates
    and `budgets`; all are awaited, also when one of them stops.

    Raises:
        StopRun, SimPlatformError: of the first process that stopped, or that one of them died. What
            they received is kept.
    """
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    done: list[ArmSummary] = []
    stops: dict[int, Exception] = {}
    live: dict[int, Progress] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(n) for n in range(len(budgets))]
        for budget, file in zip(budgets, files, strict=True):
            Budget(budget.max_usd, budget.max_tokens, budget.usd, budget.tokens, path=file).close()
        shared = [(b.max_usd, b.max_tokens, file) for b, file in zip(budgets, files, strict=True)]
        processes = []
        for index in range(model.workers):
            slots = model.concurrency // model.workers + (index < model.concurrency % model.workers)
            mine = model.model_copy(update={"concurrency": slots})
            processes.append(
                context.Process(
                    target=_work,
                    args=(index, replay, home, candidate, mine, arm, shared, reports),
                    name=f"replay-{index}",
                )
            )
        over: set[int] = set()
        for process in processes:
            process.start()
        try:
            while len(over) < len(processes):
                try:
                    index, kind, value = reports.get(timeout=1.0)
                except queue.Empty:
                    for index, process in enumerate(processes):
                        if index not in over and not process.is_alive() and reports.empty():
                            over.add(index)
                            how = process.exitcode or 0
                            stops[index] = SimPlatformError(
                                f"replay worker {index} died ({_ending(how)}). What it received"
                                " is kept; run the same command again."
                            )
                    continue
                if kind == "progress":
                    n, live[index] = value
                    advance(n)
                    if on_progress is not None:
                        on_progress(_sum(list(live.values())))
                else:
                    over.add(index)
                    done.append(value) if kind == "done" else stops.setdefault(index, value)
        finally:
            for process in processes:
                if (
                    len(over) < len(processes)
                    # this process is being stopped: so are they; what they received is in their
                    # journals
                ):
                    process.terminate()
                process.join()
            for budget, file in zip(budgets, files, strict=True):
                counted = Budget(path=file)
                budget.spend(counted.usd - budget.usd, counted.tokens - budget.tokens)
                counted.close()
    if stops:
        raise stops[min(stops)]
    return done


def _work(
    index: int,
    replay: Replay,
    home: Home,
    candidate: ModelVersion,
    model: ModelVersion,
    arm: LiveArm,
    shared: list[tuple[float | None, int | None, Path]],
    reports: Any,
) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    counted, last, live = 0, time.monotonic(), Progress()

    def report(now: bool = False) -> None:
        nonlocal counted, last
        if now or time.monotonic() - last >= REPORT_SECONDS:
            reports.put(
                (
                    index,
                    "progress",
                    (
                        counted,
                        replace(
                            live,
                            by_status=Counter(live.by_status),
                            retries=Counter(live.retries),
                            failures=Counter(live.failures),
                        ),
                    ),
                )
            )
            counted, last = 0, time.monotonic()

    def advance(n: int) -> None:
        nonlocal counted
        counted += n
        report()

    def note(progress: Progress) -> None:
        nonlocal live
        live = progress

    budgets = [Budget(max_usd, max_tokens, path=path) for max_usd, max_tokens, path in shared]
    try:
        end: tuple[str, object] = (
            "done",
            replay(
                home,
                warehouse_of(home),
                candidate,
                model,
                arm,
                advance=advance,
                on_progress=note,
                release_budget=budgets[0],
                run_budget=budgets[1] if len(budgets) > 1 else None,
                share=Share(index, model.workers),
            ),
        )
    except SimPlatformError as error:
        end = (
            "stopped",
            StopRun(str(error)) if isinstance(error, StopRun) else SimPlatformError(str(error)),
        )
    except KeyboardInterrupt:
        end = ("stopped", SimPlatformError("interrupted; what was received is kept"))
    except Exception as error:
        end = (
            "stopped",
            SimPlatformError(
                f"{type(error).__name__} in a replay worker (its text is withheld: it may quote a"
                " user)"
            ),
        )
    report(now=True)
    reports.put((index, *end))


def _ending(exit_code: int) -> str:
    return signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"


def _end_with_the_parent() -> None:
    """A worker whose parent was killed would go on paying and keep its journal from the next."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _sum(parts: Sequence[Progress]) -> Progress:
    whole = Progress(started=min(p.started for p in parts))
    for part in parts:
        for name in (
            "by_status",
            "retries",
            "failures",
            "sent",
            "reused",
            "in_flight",
            "limit",
            "prompt_tokens",
            "completion_tokens",
            "estimated",
            "cost_usd",
        ):
            setattr(whole, name, getattr(whole, name) + getattr(part, name))
    return whole
