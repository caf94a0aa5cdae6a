"""What a run may still spend.

Belongs here: counting dollars and tokens against limits, shared by processes where a file is given.
Does not: prices (providers), what was spent before (the caller).
"""

import fcntl
import mmap
import os
import struct
from pathlib import Path

STATE = struct.Struct("dq")  # dollars, tokens


class Budget:
    """Limits of one run, None for unlimited. What was spent in earlier runs of a release is already
    taken off by the caller.

    With `path`, processes count together: who makes the file gives it its start, who finds it
    takes it as it is.
    """

    def __init__(
        self,
        max_usd: float | None = None,
        max_tokens: int | None = None,
        usd: float = 0.0,
        tokens: int = 0,
        *,
        path: Path | None = None,
    ) -> None:
        self.max_usd, self.max_tokens = max_usd, max_tokens
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if path else -1
        is_new = self._file < 0 or not os.fstat(self._file).st_size
        if self._file >= 0 and is_new:
            os.ftruncate(self._file, STATE.size)
        self._state = mmap.mmap(self._file, STATE.size)
        if is_new:
            STATE.pack_into(self._state, 0, usd, tokens)

    def close(self) -> None:
        """Gives a shared file free; its figures stay in it."""
        self._state.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @property
    def usd(self) -> float:
        return float(STATE.unpack_from(self._state)[0])

    @property
    def tokens(self) -> int:
        return int(STATE.unpack_from(self._state)[1])

    def spend(self, usd: float, tokens: int) -> None:
        """Counts a response, useful or not."""
        if self._file >= 0:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            STATE.pack_into(self._state, 0, self.usd + usd, self.tokens + tokens)
        finally:
            if self._file >= 0:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def has_room(self, usd: float, tokens: int) -> bool:
        """Whether so much more stays within the limits."""
        return (self.max_usd is None or self.usd + usd <= self.max_usd) and (
            self.max_tokens is None or self.tokens + tokens <= self.max_tokens
        )

    @property
    def used_up(self) -> str | None:
        """The limit that is reached, in words; None while there is something left."""
        if self.max_usd is not None and self.usd >= self.max_usd:
            return f"max_usd: {self.usd:.4f} of {self.max_usd:.4f} US dollars are spent"
        if self.max_tokens is not None and self.tokens >= self.max_tokens:
            return f"max_tokens: {self.tokens} of {self.max_tokens} tokens are spent"
        return None
