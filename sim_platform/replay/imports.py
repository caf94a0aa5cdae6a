"""Completions that a user already has, as outcomes: nobody pays again to use this platform.

Belongs here: the formats (Batch output, inspect_ai logs, plain lines) and what a line becomes. Does
not: which requests there are, storing (orchestration).
"""

import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import zstandard

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.providers.protocol import Retryable
from sim_platform.replay.providers.response import outcome_of
from sim_platform.replay.requests import Request

MAX_SAMPLE_BYTES = 64 * 2**20
ZIP_ZSTANDARD = 93  # the packing of today's inspect_ai logs; Python's zipfile reads it from 3.14 on
IMPORTED = "imported"
"""`reused_from` of an outcome that a user brought."""


@dataclass(frozen=True)
class Line:
    """One completion of a file: where it stands, whose it is (prefix id, repeat, arm where the line
    says so), and a response object or a text.
    """

    number: int
    prefix_id: str
    k: int
    arm: str | None
    response: object
    hash_start: str = ""  # of the request that was answered, where the line says so


def custom_id(request: Request) -> str:
    """Names a request in files that leave the platform: arm, prefix, repeat, and the start of the
    request's hash, so that an answer to other settings is not taken for this one's.
    """
    return f"{request.arm}.{request.prefix_id}.{request.k}.{request.request_hash[:16]}"


def named_by(custom_id: object) -> tuple[str, str, int, str] | None:
    """Arm, prefix id, repeat and start of the hash ("" where there is none) of a `custom_id`; None
    when it is none of ours.
    """
    parts = custom_id.split(".") if isinstance(custom_id, str) else []
    if len(parts) not in (3, 4) or not (parts[2].isascii() and parts[2].isdecimal()):
        return None
    return parts[0], parts[1], int(parts[2]), parts[3] if len(parts) == 4 else ""


def read_completions(path: Path) -> Iterator[Line | tuple[int, str]]:
    """Lines of a file, or (line number, reason code) where one cannot be used: not_json, no_id,
    no_completion, error_of_the_provider, too_large.

    Formats, told apart line by line: OpenAI Batch output (`custom_id`, `response.body`); plain
    objects with `prefix_id` or `id` (or `custom_id`), `k` (0 if absent) and `text` or `response` (a
    Chat Completions or Responses object). A file that is one JSON object with `samples`, or ends in
    .eval, is an inspect_ai log: the sample's `id` names the prefix, `epoch` the repeat.

    Raises:
        BadInputError: no such file, not text in UTF-8, or a log that cannot be unpacked.
    """
    try:
        if path.suffix == ".eval":
            yield from _inspect_archive(path)
            return
        with path.open(encoding="utf-8-sig") as file:
            if path.suffix == ".json" and (log := _inspect_log(file.read())) is not None:
                yield from log
                return
            file.seek(0)
            for number, text in enumerate(file, 1):
                if text.strip():
                    yield _line(number, text)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({type(error).__name__})") from None
    except UnicodeDecodeError:
        raise BadInputError(f"{path}: is not text in UTF-8") from None


def imported(line: Line, request: Request) -> Outcome | str:
    """The outcome of `request` that the line holds, or the reason code why it holds none. It has
    cost nothing here and no attempts.
    """
    if isinstance(line.response, str):
        if not line.response:
            return "no_completion"
        made = Outcome(
            request.arm,
            request.prefix_id,
            request.k,
            request.request_hash,
            "completed",
            text=line.response,
            completed_at=datetime.now(UTC),
        )
    else:
        try:
            made = outcome_of(request, line.response, price=None, latency_s=0.0)
        except Retryable as failure:
            return failure.code
    return replace(made, attempts=0, cost_usd=0.0, reused_from=IMPORTED)


def _line(number: int, text: str) -> Line | tuple[int, str]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return number, "not_json"
    if not isinstance(row, dict):
        return number, "not_json"
    response = row.get("response")
    if row.get("error") or (
        isinstance(response, Mapping) and response.get("status_code", 200) != 200
    ):
        return number, "error_of_the_provider"
    if isinstance(response, Mapping) and "body" in response:
        response = response["body"]
    return _named(number, row, response if response is not None else row.get("text"))


def _named(number: int, row: Mapping[str, Any], response: object) -> Line | tuple[int, str]:
    arm, prefix_id, k, hash_start = None, row.get("prefix_id", row.get("id")), row.get("k", 0), ""
    if found := named_by(row.get("custom_id")):
        arm, prefix_id, k, hash_start = found
    if not isinstance(prefix_id, str) or isinstance(k, bool) or not isinstance(k, int):
        return number, "no_id"
    if response is None:
        return number, "no_completion"
    return Line(number, prefix_id, k, arm, response, hash_start)


def _inspect_log(text: str) -> list[Line | tuple[int, str]] | None:
    try:
        log = json.loads(text)
    except (ValueError, RecursionError):
        return None
    samples = log.get("samples") if isinstance(log, dict) else None
    if not isinstance(samples, list):
        return None
    return [_inspect_sample(number, sample) for number, sample in enumerate(samples, 1)]


def _inspect_archive(path: Path) -> Iterator[Line | tuple[int, str]]:
    """The samples of a binary log: a zip archive with one JSON file a sample; its place in the
    archive is its number. A sample is unpacked up to 64 MB: a small file may hold gigabytes.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            samples = [
                info
                for info in archive.infolist()
                if info.filename.startswith("samples/") and info.filename.endswith(".json")
            ]
            for number, info in enumerate(samples, 1):
                content = _unpacked(file, archive, info)
                if len(content) > MAX_SAMPLE_BYTES:
                    yield number, "too_large"
                    continue
                try:
                    sample = json.loads(content)
                except (ValueError, RecursionError):
                    yield number, "not_json"
                else:
                    yield _inspect_sample(number, sample)
    except (
        zipfile.BadZipFile,
        zlib.error,
        zstandard.ZstdError,
        NotImplementedError,
        RuntimeError,
        EOFError,
    ):
        raise BadInputError(
            f"{path}: is no complete inspect_ai log, or packed in a way that is not known here."
            " `inspect log convert --to json` writes one that can be read."
        ) from None


def _unpacked(file: IO[bytes], archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type != ZIP_ZSTANDARD:
        with archive.open(info) as packed:
            return packed.read(MAX_SAMPLE_BYTES + 1)
    file.seek(info.header_offset)
    head = file.read(30)  # of the entry; lengths of its name and of its extra field at the end
    file.seek(
        int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little"), os.SEEK_CUR
    )
    content = (
        zstandard.ZstdDecompressor()
        .stream_reader(file.read(info.compress_size), read_across_frames=True)
        .read(MAX_SAMPLE_BYTES + 1)
    )
    if len(content) <= MAX_SAMPLE_BYTES and zlib.crc32(content) != info.CRC:
        raise zipfile.BadZipFile
    return content


def _inspect_sample(number: int, sample: object) -> Line | tuple[int, str]:
    output = sample.get("output") if isinstance(sample, dict) else None
    epoch = sample.get("epoch", 1) if isinstance(sample, dict) else None
    if not isinstance(sample, dict) or not isinstance(output, dict) or not isinstance(epoch, int):
        return number, "no_completion"
    usage = output.get("usage") or {}
    body = {
        "model": output.get("model"),
        "choices": [_inspect_choice(c) for c in output.get("choices") or [] if isinstance(c, dict)],
        "usage": {
            "prompt_tokens": usage.get("input_tokens"),
            "completion_tokens": usage.get("output_tokens"),
        },
    }
    return _named(number, {"id": str(sample.get("id")), "k": epoch - 1}, body)


def _inspect_choice(choice: dict[str, Any]) -> dict[str, Any]:
    """As a choice of Chat Completions: there a tool call's arguments are text, and reasoning stands
    beside the content.
    """
    message = choice.get("message")
    if isinstance(message, dict):
        content = message.get("content")
        parts = [p for p in content if isinstance(p, dict)] if isinstance(content, list) else []
        message = {
            **message,
            "tool_calls": [
                {
                    "id": c.get("id"),
                    "function": {
                        "name": c.get("function"),
                        "arguments": json.dumps(c.get("arguments")),
                    },
                }
                for c in message.get("tool_calls") or []
                if isinstance(c, dict)
            ],
            "reasoning": "\n".join(
                str(p.get("reasoning"))
                for p in parts
                if p.get("type") == "reasoning" and not p.get("redacted")
            ),
        }
    reason = choice.get("stop_reason")
    return {
        **choice,
        "message": message,
        "finish_reason": "length" if reason in ("max_tokens", "model_length") else reason,
    }
