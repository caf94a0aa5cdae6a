"""The journal: outcomes on disk before they reach the warehouse, so that a killed run loses none
that it received.

Belongs here: the file format, its durability, its repair after a crash. Does not: the warehouse.
The file holds responses: mode 0600.
"""

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.outcomes import Outcome

SYNC_EVERY = 256  # outcomes, or
SYNC_SECONDS = 1.0


class Journal:
    """One JSON line an outcome. An appended outcome survives a killed process at once, and a power
    cut after the next batched fsync.

    One process writes a journal at a time. Every error is a SimPlatformError that names path and
    cause, never content.
    """

    def __init__(self, path: Path) -> None:
        """Opens or creates the journal; a torn last line (the process died inside its
        write) is cut off.
        """
        self.path = path
        with _named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with _named(path):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.fchmod(self._fd, 0o600)
                self._size = _end_of_last_line(self._fd)
                os.ftruncate(self._fd, self._size)
        except BaseException:
            os.close(self._fd)
            raise
        self._unsynced, self._synced_at = 0, time.monotonic()
        self._syncing: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    def append(self, outcome: Outcome) -> None:
        row = {
            **vars(outcome),
            "completed_at": outcome.completed_at.isoformat() if outcome.completed_at else None,
        }
        # ASCII: any string, lone surrogates too, and no line separator inside a line.
        line = json.dumps(row, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
        with _named(self.path):
            if os.write(self._fd, line) != len(line):
                os.ftruncate(self._fd, self._size)
                raise OSError(errno.ENOSPC, "short write")
            self._size += len(line)
            self._unsynced += 1
            if self._unsynced >= SYNC_EVERY or time.monotonic() - self._synced_at >= SYNC_SECONDS:
                self._sync_meanwhile()

    def _sync_meanwhile(self) -> None:
        """One fsync at a time, beside the event loop: a disk that takes its time holds nobody up.
        Its error is the next append's.
        """
        if self._syncing is not None:
            if not self._syncing.done():
                return
            self._syncing.result()
        self._unsynced, self._synced_at = 0, time.monotonic()
        self._syncing = self._thread.submit(os.fsync, self._fd)

    def _sync(self) -> None:
        if self._syncing is not None:
            self._syncing.result()
        os.fsync(self._fd)
        self._unsynced, self._synced_at = 0, time.monotonic()

    def read(self) -> Iterator[Outcome]:
        """`read_journal` of this file."""
        return read_journal(self.path)

    def clear(self) -> None:
        """Empties the journal: call when its outcomes are committed elsewhere."""
        with _named(self.path):
            os.ftruncate(self._fd, 0)
            self._size = 0
            self._sync()

    def close(self) -> None:
        """Makes everything durable and gives the file free. A second call does nothing."""
        if self._fd < 0:
            return
        fd = self._fd
        try:
            with _named(self.path):
                self._sync()
        finally:
            self._thread.shutdown()
            self._fd = -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_journal(path: Path) -> Iterator[Outcome]:
    """Outcomes in the order in which they were appended; no file is no outcomes, a torn last line
    is left out. May run beside a writer.

    Raises:
        SimPlatformError: a line before the end is damaged; names path and line.
    """
    with _named(path):
        if not path.exists():
            return
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    row = json.loads(line)
                    row["completed_at"] = (
                        datetime.fromisoformat(row["completed_at"]) if row["completed_at"] else None
                    )
                    outcome = Outcome(**row)
                except (ValueError, TypeError, KeyError):
                    raise SimPlatformError(
                        f"{path}: line {number} is damaged. Remove that line (its request is sent"
                        " again) or restore the file, then run again."
                    ) from None
                yield outcome


def rewrite_journal(path: Path, keep: Callable[[Outcome], bool]) -> int:
    """Leaves only the outcomes to keep, in a new file by an atomic rename; returns how many
    were taken out.
    """
    draft = path.with_name(f"{path.name}.tmp")
    with Journal(path) as journal:
        outcomes = list(journal.read())
        kept = [outcome for outcome in outcomes if keep(outcome)]
        if len(kept) < len(outcomes):
            with _named(draft):
                draft.unlink(missing_ok=True)
            with Journal(draft) as new:
                for outcome in kept:
                    new.append(outcome)
            with _named(path):
                os.replace(draft, path)
        return len(outcomes) - len(kept)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise SimPlatformError(
            f"{path}: another run writes this journal. Wait for it, or end it, then run again."
        ) from None
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "unknown error")
        raise SimPlatformError(
            f"{path}: {name}. What was received so far is kept; make the file writable or free disk"
            " space, then run the same command again."
        ) from None


def _end_of_last_line(fd: int) -> int:
    """Offset after the last newline, 0 without one."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
