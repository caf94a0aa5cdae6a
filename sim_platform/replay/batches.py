"""The batches of one arm on disk: what was written for the provider, what was handed
over, what is back.

Belongs here: the files and their order, so that a crash at any point neither sends a batch twice
nor loses one. Does not: HTTP (providers.openai_batch), where answers go (orchestration).

A batch is `written` (input and names of its requests are on disk), then `submitted` (the provider's
id is on disk), then `ended`. A `written` one that a crash left behind is looked for at the provider
by its key before anything else is sent. Files hold de-identified text: mode 0600.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.messages import sha256
from sim_platform.replay.imports import Line, custom_id, named_by
from sim_platform.replay.requests import Request

# error codes of lines that were never processed, and cost nothing
UNANSWERED = ("batch_expired", "batch_cancelled")
State = Literal["written", "submitted", "ended"]


@dataclass(frozen=True)
class Batch:
    """One batch. `tokens` and `usd` are estimates, for budgets while it is out; `status` is the
    provider's last word, `written_at` UTC seconds.
    """

    key: str
    requests: int
    tokens: int
    usd: float
    written_at: float
    state: State = "written"
    batch_id: str | None = None
    status: str = ""
    answered: int = 0
    remote_files: tuple[str, ...] = ()


class BatchFolder:
    """The batches of one release and arm. One process at a time."""

    def __init__(self, path: Path) -> None:
        """Raises SimPlatformError when another process works on it, or it cannot be written."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SimPlatformError(
                f"{path}: cannot be written ({os.strerror(error.errno or 0)})"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise SimPlatformError(
                f"{path}: another process works on these batches. Wait for it, or end it, then run"
                " again."
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._lock)

    def batches(self, *states: State) -> list[Batch]:
        """Those in one of the states (all where none is named), oldest first."""
        return [b for b in read_batches(self.path) if not states or b.state in states]

    def save(self, batch: Batch) -> None:
        """Durable when it returns."""
        _replace(self.path / f"{batch.key}.json", json.dumps(asdict(batch)))

    def drop(self, batch: Batch) -> None:
        """Forgets a batch that never reached the provider."""
        for file in self.path.glob(f"{batch.key}.*"):
            file.unlink(missing_ok=True)

    def input(self, batch: Batch) -> Path:
        return self.path / f"{batch.key}.input.jsonl"

    def output(self, batch: Batch, number: int) -> Path:
        return self.path / f"{batch.key}.output{number}.jsonl"

    def has_texts(self, batch: Batch) -> bool:
        """Whether anything of what was asked or answered is still here."""
        return any(self.path.glob(f"{batch.key}.*.jsonl"))

    def clear_texts(self, batch: Batch) -> None:
        """Removes input and output; the names of its requests stay, so that nobody asks
        for them twice.
        """
        for file in (self.input(batch), *self.path.glob(f"{batch.key}.output*.jsonl")):
            file.unlink(missing_ok=True)

    def hashes(self, *states: State) -> set[str]:
        """Starts of the hashes of all requests in batches of these states, as in their `custom_id`;
        about 100 bytes of memory each.
        """
        found: set[str] = set()
        for batch in self.batches(*states):
            with (
                suppress(FileNotFoundError),
                (self.path / f"{batch.key}.names").open(encoding="ascii") as lines,
            ):
                found.update(line.rstrip("\n").rpartition(".")[2] for line in lines)
        return found

    def write(
        self,
        requests: Iterable[Request],
        *,
        url: str,
        max_requests: int,
        max_bytes: int,
        reserve: Callable[[Request], tuple[float, int] | None],
    ) -> Iterator[Batch]:
        """Fills one batch after the other, each on disk before it is yielded; the caller submits it
        before it asks for the next.

        Identical requests (one hash) go once. `reserve` books a request's dollars and tokens, or
        returns None where nothing more may be spent: then this was the last batch.
        """
        seen: set[str] = set()
        waiting = iter(requests)
        left_over: Request | None = None
        ended = False
        while not ended:
            names, size, tokens, usd = list[str](), 0, 0, 0.0
            draft = self.path / "draft.jsonl"
            with os.fdopen(
                os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"
            ) as file:
                while len(names) < max_requests:
                    request, left_over = left_over or next(waiting, None), None
                    if request is None:
                        ended = True
                        break
                    if request.request_hash in seen:
                        continue
                    name = custom_id(request)
                    line = (
                        json.dumps(
                            {"custom_id": name, "method": "POST", "url": url, "body": request.body},
                            separators=(",", ":"),
                        ).encode()
                        + b"\n"
                    )
                    if names and size + len(line) > max_bytes:
                        left_over = request
                        break
                    if (booked := reserve(request)) is None:
                        ended = True
                        break
                    file.write(line)
                    seen.add(request.request_hash)
                    names.append(name)
                    size, usd, tokens = size + len(line), usd + booked[0], tokens + booked[1]
                file.flush()
                os.fsync(file.fileno())
            if not names:
                draft.unlink()
                return
            batch = Batch(
                sha256([names, time.time_ns()])[:24], len(names), tokens, usd, time.time()
            )
            _replace(self.path / f"{batch.key}.names", "".join(f"{name}\n" for name in names))
            os.replace(draft, self.input(batch))
            self.save(batch)
            yield batch


def read_batches(path: Path) -> list[Batch]:
    """The batches in a folder, oldest first; no folder is no batches.

    Raises:
        SimPlatformError: a file is damaged; names it.
    """
    found = []
    for file in path.glob("*.json"):
        try:
            row = json.loads(file.read_text(encoding="ascii"))
            found.append(Batch(**{**row, "remote_files": tuple(row["remote_files"])}))
        except (ValueError, TypeError, KeyError):
            raise SimPlatformError(
                f"{file}: is damaged. Look the batch up at the provider by its metadata"
                f" (sim_platform_key: {file.stem}), restore the file, or remove it to send its"
                " requests again."
            ) from None
    return sorted(found, key=lambda b: (b.written_at, b.key))


def answered_lines(path: Path) -> Iterator[Line | tuple[int, str]]:
    """Lines of an output or error file; `Line.response` is the response with its status code. Else
    (line number, not_json, no_id, batch_expired, batch_cancelled or no_completion).
    """
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, text in enumerate(lines, 1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError):
                row = None
            name = named_by(row.get("custom_id")) if isinstance(row, dict) else None
            if not isinstance(row, dict) or name is None:
                yield number, "no_id" if isinstance(row, dict) else "not_json"
                continue
            response, error = row.get("response"), row.get("error")
            if isinstance(response, dict) and isinstance(response.get("status_code"), int):
                yield Line(number, name[1], name[2], name[0], response, name[3])
            else:
                code = error.get("code") if isinstance(error, dict) else None
                yield number, code if code in UNANSWERED else "no_completion"


def is_among(request: Request, hashes: Collection[str]) -> bool:
    """Whether the request, or an identical one of another prefix, is among those
    of `BatchFolder.hashes`.
    """
    return custom_id(request).rpartition(".")[2] in hashes


def forget_requests(folder: Path, named: Collection[str]) -> None:
    """Takes the requests of these prefixes out of all batches below `folder`: their answers, should
    they come, find no request. Copies of texts go as a whole.
    """
    for file in (*folder.glob("*/*.jsonl"), *folder.glob("*/*.draft")):
        file.unlink()
    for file in folder.glob("*/*.names"):
        lines = file.read_text(encoding="ascii").splitlines()
        kept = [
            line for line in lines if (found := named_by(line)) is None or found[1] not in named
        ]
        if len(kept) < len(lines):
            _replace(file, "".join(f"{line}\n" for line in kept))


def _replace(path: Path, text: str) -> None:
    """The whole new content or the old one, whatever happens; durable when it returns."""
    draft = path.with_name(f"{path.name}.draft")
    with os.fdopen(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii"
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
