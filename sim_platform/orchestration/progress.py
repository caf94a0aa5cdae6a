"""How far a long stage is: lines in Dagster's log and observations for the UI, and a listener for
the command line.

Belongs here: counts, rate and time left. Does not: drawing (cli).
"""

import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

import dagster as dg

from sim_platform.replay import engine

Listener = Callable[[str, int, int | None], None]  # stage, done, total
LISTENER: ContextVar[Listener | None] = ContextVar("progress_listener", default=None)
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_OBSERVATIONS = 30.0
UNKNOWN = "unknown: no price in models.yaml"  # a cost that nobody can say is not 0


@dataclass
class Progress:
    """Counts one stage's work. `total` is None where it is not known beforehand."""

    context: dg.AssetExecutionContext
    stage: str
    total: int | None = None
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    last_line: float = field(default_factory=time.monotonic)

    def expect(self, total: int) -> None:
        """Sets the total, where it is known only later."""
        self.total = total

    def advance(self, n: int) -> None:
        self.done += n
        if listener := LISTENER.get():
            listener(self.stage, self.done, self.total)
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            rate = self.done / (now - self.started)
            left = (
                f" of {self.total}, {(self.total - self.done) / rate:.0f} s left"
                if self.total and rate > 0
                else ""
            )
            self.context.log.info(f"{self.stage}: {self.done}{left} ({rate:.1f}/s)")

    def reach(self, done: int, total: int) -> None:
        """Both at once, where more is expected as the work goes on."""
        self.total = total
        self.advance(done - self.done)

    def finish(self) -> None:
        """Says that the stage is done, where the total was not known beforehand."""
        self.total = self.done
        self.advance(0)


@dataclass
class ReplayFigures:
    """What the engine says while a replay sends, as observations of candidate_completions: one in
    30 seconds, and the last when it ends. A rerun that sends nothing leaves none.
    """

    context: dg.AssetExecutionContext
    stage: Progress
    has_known_cost: bool = True
    arms: dict[str, engine.Progress] = field(default_factory=dict)
    last: float = field(default_factory=time.monotonic)

    def note(self, arm: str, figures: engine.Progress) -> None:
        self.arms[arm] = figures
        if time.monotonic() - self.last >= SECONDS_BETWEEN_OBSERVATIONS:
            self.observe()

    def observe(self) -> None:
        """Counts and codes only: observations are kept for good and shown to everyone. Costs are US
        dollars of this run; rate, in flight and limit are those of the arm that is asked now.
        """
        if not self.arms:
            return
        self.last = time.monotonic()
        now = list(self.arms.values())[-1]
        rate = now.done / max(now.elapsed_s, 1e-9)
        retries = sum((a.retries for a in self.arms.values()), Counter[str]())
        figures: dict[str, float | int | str] = {
            "arm": list(self.arms)[-1],
            "done": self.stage.done,
            "total": self.stage.total or self.stage.done,
            "per_second": round(rate, 2),
            "in_flight": now.in_flight,
            "limit": now.limit,
            "retries": ", ".join(f"{code}: {n}" for code, n in retries.most_common()) or "none",
            "failed": sum(a.by_status["failed"] for a in self.arms.values()),
            "cost_usd": round(sum(a.cost_usd for a in self.arms.values()), 6)
            if self.has_known_cost
            else UNKNOWN,
        }
        if estimated := sum(a.estimated for a in self.arms.values()):
            figures["tokens_estimated"] = estimated
        if rate > 0 and self.stage.total:
            figures["seconds_left"] = round((self.stage.total - self.stage.done) / rate)
        self.context.log_event(
            dg.AssetObservation(
                self.context.asset_key, partition=self.context.partition_key, metadata=figures
            )
        )
