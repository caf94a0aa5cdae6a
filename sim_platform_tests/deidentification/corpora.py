"""Rows, keys and detectors for tests of de-identification; values come from reserved ranges or are
made up from parts.
"""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from sim_platform.contracts.messages import sha256
from sim_platform.contracts.tables.extraction import ConsentedLogExtract
from sim_platform.contracts.tables.schema import frame
from sim_platform.deidentification import canaries, rules
from sim_platform.deidentification.deidentify import DeidBatch, Keys, deidentify
from sim_platform.deidentification.spans import Span

KEYS = Keys(run=b"r" * 32, vault=b"v" * 32)


class RulesOnly:
    """A detector without a model: the rules, and names given to it. Counts the texts it
    was asked about.
    """

    version = "rules-only"

    def __init__(self, *names: str, fails_on: Callable[[str], bool] = lambda _: False) -> None:
        self.names, self.fails_on, self.seen = names, fails_on, list[str]()

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        if any(self.fails_on(t) for t in texts):
            raise ValueError(f"cannot read: {texts}")
        self.seen += texts
        return [
            [
                Span(*m.span(), "PERSON", 1.0, "test")
                for name in self.names
                for m in re.finditer(re.escape(name), text)
            ]
            + [Span(a, b, type, 1.0, "rules") for a, b, type in rules.find(text)]
            for text in texts
        ]


class CanaryNames:
    """Finds the names of canaries and nothing else, so that a policy without models passes the
    gate on canaries.
    """

    version = "canary-names"
    _name = re.compile(rf"\b(?:{'|'.join((*canaries.FIRST, *canaries.LAST))})\b")

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        return [
            [Span(*m.span(), "PERSON", 1.0, "test") for m in self._name.finditer(text)]
            for text in texts
        ]


def row(
    conversation_id: str,
    messages: Any,
    metadata: dict[str, Any] | None = None,
    labels: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "conversation_id": conversation_id,
        "user_id": f"user of {conversation_id}",
        "model_version": "v1",
        "started_at": datetime(2026, 3, 5, 12, tzinfo=UTC),
        "messages": messages if isinstance(messages, str) else json.dumps(messages),
        "metadata": json.dumps(metadata or {}),
        "labels": json.dumps(labels or {}),
        "content_hash": sha256([conversation_id, messages]),
        "source_file": "log.jsonl",
        "source_line": 1,
        "extract_id": "x1",
    }


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def extract(*rows: dict[str, Any]) -> pl.DataFrame:
    return frame(ConsentedLogExtract, list(rows))


def out(detector: Any, *texts: str, keys: Keys = KEYS) -> list[str]:
    """The texts of one conversation after de-identification."""
    batch = deidentify(
        extract(row("c", [{"role": "user", "content": t} for t in texts])), detector, keys
    )
    assert batch.quarantined.is_empty(), batch.quarantined["reason"].to_list()
    return [m["content"] for m in messages_of(batch)]


def messages_of(batch: DeidBatch, i: int = 0) -> Any:
    return json.loads(batch.corpus["messages"][i])
