"""Chat messages in the OpenAI format, and their canonical JSON.

Belongs here: the types that every stage reads, the one canonical form that hashes are taken of,
where a turn begins and ends. Does not: reading or validating logs (extraction).
"""

import hashlib
import json
from collections.abc import Sequence
from itertools import takewhile
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


def turn_after(messages: Sequence[Message], end: int) -> list[Message]:
    """What follows a prefix of `end` messages up to the next user message: the steps of the
    assistant, with the results of its calls between them.
    """
    return list(takewhile(lambda m: m["role"] != "user", messages[end:]))


def answer_of(turn: Sequence[Message]) -> Message | None:
    """The message of a turn that the user read as the answer: in a turn with tool calls or results
    the last one of the assistant with text (a refusal is text), and where there is none its first
    one; in any other turn the message that follows the user's, if the assistant wrote it.
    """
    if not any(m.get("tool_calls") or m["role"] == "tool" for m in turn):
        return turn[0] if turn and turn[0]["role"] == "assistant" else None
    steps = [m for m in turn if m["role"] == "assistant"]
    with_text = [m for m in steps if text_of(m).strip() or m.get("refusal")]
    return next(iter(with_text[-1:] or steps[:1]), None)


def calls_of(turn: Sequence[Message]) -> list[ToolCall]:
    """All tool calls of a turn, in order."""
    return [call for message in turn for call in message.get("tool_calls") or ()]


def is_complete(turn: Sequence[Message]) -> bool:
    """Whether the last that a turn holds of assistant and tools is a message without calls: it was
    not cut, or left, between a call and what the user was told.
    """
    said = [m for m in turn if m["role"] in ("assistant", "tool")]
    return bool(said) and said[-1]["role"] == "assistant" and not said[-1].get("tool_calls")
