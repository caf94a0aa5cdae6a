"""Small logs on disk, and what a reader makes of them."""

import json
from pathlib import Path
from typing import Any

from sim_platform.extraction.readers import read
from sim_platform.extraction.rows import LogRow, UnreadableRow
from sim_platform.registry.sources import ConversationsSource, Source, TableSource

CONVERSATIONS = ConversationsSource(reader="conversations", path="*")
TABLE = TableSource(
    reader="table",
    path="*",
    id=["set", "n"],
    prompt="q",
    response="a",
    model="m",
    timestamp="t",
    metadata={"lang": "lang"},
    labels={"ok": "ok"},
)


def a_conversation(**changes: Any) -> dict[str, Any]:
    row = {
        "conversation_id": "c1",
        "user_id": "u1",
        "model_version": "v1",
        "started_at": "2024-05-01T10:00:00Z",
        "messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}],
        "metadata": {"surface": "web"},
    }
    return {key: value for key, value in {**row, **changes}.items() if value is not ...}


def lines_of(*rows: Any) -> bytes:
    """JSONL; bytes and text stand for themselves, anything else is written as JSON."""
    encoded = [
        row
        if isinstance(row, bytes)
        else row.encode()
        if isinstance(row, str)
        else json.dumps(row).encode()
        for row in rows
    ]
    return b"".join(line + b"\n" for line in encoded)


def read_all(
    path: Path, source: Source = CONVERSATIONS, **options: Any
) -> tuple[list[LogRow], list[UnreadableRow]]:
    batches = list(read(source, path, **options))
    return [row for batch in batches for row in batch.rows], [
        row for batch in batches for row in batch.unreadable
    ]


def reasons_of(path: Path, source: Source = CONVERSATIONS) -> list[tuple[int, str]]:
    return [(row.source_line, row.reason) for row in read_all(path, source)[1]]
