"""Chat messages in the OpenAI format, and their canonical JSON.

Belongs here: the types that every stage reads, and the one canonical form that hashes are taken of.
Does not: reading or validating logs (extraction).
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

Role = Literal["system", "developer", "user", "assistant", "tool"]
JsonScalar = str | int | float | bool | None


class FunctionCall(TypedDict):
    name: str
    arguments: str


class ToolCall(TypedDict):
    id: str
    type: Literal["function"]
    function: FunctionCall


class TextPart(TypedDict):
    type: Literal["text"]
    text: str


class Message(TypedDict):
    role: Role
    content: str | list[TextPart] | None
    name: NotRequired[str]
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]
    refusal: NotRequired[str | None]


def canonical_json(value: object) -> str:
    """JSON with sorted keys, no spaces and no escapes beyond the required: equal values
    give equal text.
    """
    return json.dumps(
        value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def sha256(value: object) -> str:
    """Hex SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()


def text_of(message: Message) -> str:
    """All text of a message's content as one string; parts are joined by a newline, no content is
    the empty string.
    """
    content = message["content"]
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part["text"] for part in content)


def user_turns(messages: Sequence[Message]) -> list[int]:
    """Indexes of the user turns at which a conversation can be cut: a run of consecutive user
    messages is one turn, its last message counts.
    """
    return [
        i
        for i, m in enumerate(messages)
        if m["role"] == "user" and (i + 1 == len(messages) or messages[i + 1]["role"] != "user")
    ]
