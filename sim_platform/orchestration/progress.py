"""How far a long stage is: lines in Dagster's log for the UI, and a listener for the command line.

Belongs here: counts, rate and time left. Does not: drawing (cli).
"""

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

import dagster as dg

Listener = Callable[[str, int, int | None], None]  # stage, done, total
LISTENER: ContextVar[Listener | None] = ContextVar("progress_listener", default=None)
SECONDS_BETWEEN_LINES = 10.0


@dataclass
class Progress:
    """Counts one stage's work. `total` is None where it is not known beforehand."""

    context: dg.AssetExecutionContext
    stage: str
    total: int | None = None
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    last_line: float = field(default_factory=time.monotonic)

    def advance(self, n: int) -> None:
        self.done += n
        if listener := LISTENER.get():
            listener(self.stage, self.done, self.total)
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            rate = self.done / (now - self.started)
            left = f" of {self.total}, {(self.total - self.done) / rate:.0f} s left" if self.total and rate > 0 else ""
            self.context.log.info(f"{self.stage}: {self.done}{left} ({rate:.1f}/s)")

    def finish(self) -> None:
        """Says that the stage is done, where the total was not known beforehand."""
        self.total = self.done
        self.advance(0)
