"""Recorded responses of a version in service, as outcomes that graders take.

Belongs here: from a stored conversation to its recorded responses. Does not: grading, which version
is meant.
"""

import json
from typing import Any

import polars as pl

from sim_platform.contracts.messages import canonical_json, text_of, user_turns

RESPONSES = dict.fromkeys(
    ("arm", "prefix_id", "status", "text", "tool_calls", "refusal", "labels", "prefix", "metadata"),
    pl.String,
) | {"k": pl.Int64}


def responses_of(row: dict[str, Any], *, every: bool) -> list[dict[str, Any]]:
    """The recorded responses of one conversation as outcomes; a user turn that nobody answered is a
    failed one.
    """
    messages = json.loads(row["messages"])
    turns = user_turns(messages)
    found = []
    for turn, at in list(enumerate(turns))[0 if every else -1 :]:
        answer = (
            messages[at + 1]
            if at + 1 < len(messages) and messages[at + 1]["role"] == "assistant"
            else None
        )
        found.append(
            {
                "arm": "recorded",
                "prefix_id": row["conversation_key"],
                "k": turn,
                "status": "completed" if answer else "failed",
                "text": text_of(answer) if answer else None,
                "tool_calls": canonical_json(answer.get("tool_calls") or []) if answer else "[]",
                "refusal": answer.get("refusal") if answer else None,
                "labels": row["labels"] if at == turns[-1] else "{}",
                "prefix": canonical_json(messages[: at + 1]),
                "metadata": row["metadata"],
            }
        )
    return found
