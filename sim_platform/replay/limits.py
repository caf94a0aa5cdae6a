"""How fast requests may leave: configured and learned rates, and pauses that the provider asked
for, shared by all processes that use one endpoint.

Belongs here: requests and tokens a minute, the pace after "too many requests", pauses. Does not:
how many are in flight (engine), reading headers (providers).
"""

import fcntl
import mmap
import os
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# places in the shared state: next free moment of each rate, end of the pause
REQUESTS, TOKENS, PAUSE = range(3)
BURST_SECONDS = 1.0  # what an idle minute saves up
# a stored moment further away is another boot's clock, or a provider's mistake
LONGEST_WAIT_S = 120.0
WATCHED = 16  # last answers: when half of them were refused, the limit is everybody's and all wait
GROWTH = 1.02  # of the learned pace, a second
KEPT = 0.9  # of the accepted rate, after a refusal
# of the best accepted rate: refusals that do not depend on the rate must not stop the run
FLOOR = 1 / 8
WINDOW_S = 2.0


class Limits:
    """Waiting times by the generic cell rate algorithm. With `path`, processes share configured
    rates and pauses; the learned pace is each one's own.

    Times are of the monotonic clock, which all processes of a machine share and which no
    clock change moves.
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        *,
        path: Path | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = (
            requests_per_minute and requests_per_minute / 60,
            tokens_per_minute and tokens_per_minute / 60,
        )
        self._now = now
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if path else -1
        if self._file >= 0:
            os.ftruncate(self._file, 24)
        self._state = mmap.mmap(self._file, 24)
        self.pace: float | None = None
        self._best = self._next = 0.0
        self._grown_at = self._cut_at = float("-inf")
        self._first: float | None = None
        self._accepted: deque[float] = deque(maxlen=4096)
        self._refused: deque[bool] = deque(maxlen=WATCHED)

    @property
    def counts_tokens(self) -> bool:
        return bool(self._per_second[TOKENS])

    def close(self) -> None:
        self._state.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def paused(self) -> float:
        """Seconds until the provider's pause is over."""
        left: float = struct.unpack_from("d", self._state, 8 * PAUSE)[0] - self._now()
        return left if 0 < left <= LONGEST_WAIT_S else 0.0

    def pause(self, seconds: float) -> None:
        """Nobody sends for so long (at most two minutes)."""
        with self._locked():
            until = self._now() + min(seconds, LONGEST_WAIT_S)
            if seconds > self.paused():
                struct.pack_into("d", self._state, 8 * PAUSE, until)

    def reserve(self, tokens: int) -> float:
        """Books one request of about `tokens` tokens; returns the seconds after which it may go."""
        wait = self._take_pace() if self.pace else 0.0
        if self._per_second[REQUESTS] or self._per_second[TOKENS]:
            with self._locked():
                wait = max(wait, self._book(REQUESTS, 1), self._book(TOKENS, tokens))
        return wait

    def settle(self, tokens: int) -> None:
        """Corrects an estimate: `tokens` more (or, negative, fewer) were used."""
        if self._per_second[TOKENS] and tokens:
            with self._locked():
                self._book(TOKENS, tokens)

    def accepted(self) -> None:
        """The provider took a request."""
        now = self._now()
        self._first = now if self._first is None else self._first
        self._accepted.append(now)
        self._refused.append(False)

    def refused(self, retry_after: float | None) -> None:
        """Too many requests: the pace falls below what was accepted, and where most are refused all
        wait as long as the provider asks.
        """
        now = self._now()
        self._first = now if self._first is None else self._first
        self._refused.append(True)
        # Before a whole window has passed nobody knows the accepted rate: the number in flight, and
        # the pause below, are brake enough.
        if now - max(self._cut_at, self._first) >= WINDOW_S:
            rate = sum(at > now - WINDOW_S for at in self._accepted) / WINDOW_S
            self._best = max(self._best, rate)
            self._cut_at = self._grown_at = now
            self.pace = max(KEPT * min(rate, self.pace or rate), FLOOR * self._best, 0.5)
        if retry_after and 2 * sum(self._refused) >= len(self._refused) >= WATCHED // 2:
            self.pause(retry_after)

    def _take_pace(self) -> float:
        now = self._now()
        pace = self.pace or 1.0
        if now - self._grown_at > 1.0:
            self.pace = pace = pace * GROWTH ** min(60.0, now - self._grown_at)
            self._grown_at = now
        self._next = max(self._next, now) + 1 / pace
        return self._next - 1 / pace - now

    def _book(self, place: int, amount: float) -> float:
        per_second = self._per_second[place]
        if not per_second:
            return 0.0
        now = self._now()
        free: float = struct.unpack_from("d", self._state, 8 * place)[0]
        if (
            not now - BURST_SECONDS <= free <= now + 3600
        ):  # idle for longer, or another boot's clock
            free = now - BURST_SECONDS
        struct.pack_into("d", self._state, 8 * place, free + amount / per_second)
        return max(0.0, free - now)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file < 0:
            yield
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
