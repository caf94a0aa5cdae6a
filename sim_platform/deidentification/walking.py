"""Everything of a conversation that may hold text, in one order: read for the detector, and walked
again to be replaced.

Belongs here: roles, tool calls, JSON in text, properties; what cannot be scanned. Does not:
detecting, replacing (deidentify).
"""

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sim_platform.deidentification import leaks

MAX_CHARS = 200_000  # per text; longer ones are quarantined
# share of letters in another script above which a text is quarantined: the model reads English
MAX_NON_LATIN = 0.2
_MESSAGE_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id", "refusal"}

Visit = Callable[[str, str], str]
"""(text, label of the text or "") -> what stands in its place."""


class Refused(Exception):
    """A conversation is quarantined; holds a reason code."""


@dataclass(frozen=True)
class Conversation:
    """An extracted conversation, parsed, with every text that a detector must see."""

    row: dict[str, Any]
    messages: list[dict[str, Any]]
    metadata: dict[str, Any]
    labels: dict[str, Any]
    scanned: tuple[str, ...]  # message texts as the detector gets them
    properties: tuple[str, ...]  # values of metadata and labels


def read(row: dict[str, Any]) -> Conversation:
    """The conversation of a row of ConsentedLogExtract; raises Refused where a text of it could
    not be scanned.
    """
    try:
        messages, metadata, labels = (
            json.loads(row[column]) for column in ("messages", "metadata", "labels")
        )
    except (ValueError, RecursionError):
        raise Refused("unreadable") from None
    if (
        not isinstance(messages, list)
        or not isinstance(metadata, dict)
        or not isinstance(labels, dict)
    ):
        raise Refused("unreadable")
    scanned: list[str] = []
    properties: list[str] = []

    def note(text: str, label: str) -> str:
        scanned.append(labelled(text, label))
        return text

    def note_property(text: str, label: str) -> str:
        properties.append(labelled(text, label))
        return text

    for message in messages:
        walk_message(message, note, {})
    for values in (metadata, labels):
        walk(values, note_property, keys_too=False)
    for text in (*scanned, *properties):
        _refuse_unscannable(text)
    return Conversation(row, messages, metadata, labels, tuple(scanned), tuple(properties))


def _refuse_unscannable(text: str) -> None:
    if len(text) > MAX_CHARS:
        raise Refused("too_long")
    if text.isascii():
        return
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise Refused("lone_surrogates")
    # a single Greek letter is a symbol, a single ideograph a word
    words = [w for w in re.findall(r"[^\W\d_]+", text) if len(w) > 1 or ord(w) > 0x2E7F]
    other = sum(
        not c.isascii()
        and not unicodedata.name(unicodedata.normalize("NFKC", c)[0], "").startswith("LATIN")
        for w in words
        for c in w
    )
    if other > MAX_NON_LATIN * sum(map(len, words)):
        raise Refused("unsupported_script")


def labelled(text: str, label: str) -> str:
    """A leaf of JSON as the detector sees it: its key says what the value is."""
    return f"{label}: {text}" if label else text


def walk_message(message: Any, visit: Visit, call_ids: dict[str, str]) -> dict[str, Any]:
    """The message with every text replaced by what `visit` gives. Call ids become call_1, call_2
    ... in order of appearance.

    Raises:
        Refused: something is there that would go unscanned.
    """
    if (
        not isinstance(message, dict)
        or message.keys() - _MESSAGE_KEYS
        or not isinstance(message.get("role"), str)
    ):
        raise Refused("unsupported_content")
    if message["role"] not in ("system", "developer", "user", "assistant", "tool"):
        raise Refused("unsupported_content")
    is_tool = message["role"] == "tool"
    out: dict[str, Any] = {}
    for key, value in message.items():
        if key == "role" or value is None:
            out[key] = value
        elif key == "content" and isinstance(value, list):
            if not all(
                isinstance(p, dict)
                and p.keys() == {"type", "text"}
                and p["type"] == "text"
                and isinstance(p["text"], str)
                for p in value
            ):
                raise Refused("unsupported_content")
            out[key] = [
                {"type": "text", "text": _walk_text(part["text"], visit, is_tool)} for part in value
            ]
        elif key == "tool_calls" and isinstance(value, list):
            out[key] = [_walk_call(call, visit, call_ids) for call in value]
        elif not isinstance(value, str) or key == "tool_calls":
            raise Refused("unsupported_content")
        elif key == "tool_call_id":
            out[key] = call_ids.setdefault(value, f"call_{len(call_ids) + 1}")
        else:
            out[key] = _walk_text(value, visit, is_tool and key == "content")
    return out


def _walk_call(call: Any, visit: Visit, call_ids: dict[str, str]) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if (
        not isinstance(function, dict)
        or call.keys() != {"id", "type", "function"}
        or call["type"] != "function"
        or function.keys() != {"name", "arguments"}
    ):
        raise Refused("unsupported_content")
    if not all(
        isinstance(text, str) for text in (call["id"], function["name"], function["arguments"])
    ):
        raise Refused("unsupported_content")
    return {
        "id": call_ids.setdefault(call["id"], f"call_{len(call_ids) + 1}"),
        "type": "function",
        "function": {
            "name": visit(function["name"], ""),
            "arguments": _walk_text(function["arguments"], visit, may_be_json=True),
        },
    }


def _walk_text(text: str, visit: Visit, may_be_json: bool, label: str = "") -> str:
    """Text, or JSON in text: walked leaf by leaf, and written anew only where something changed."""
    if may_be_json and text.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(
                text, object_pairs_hook=_without_repeated_keys, parse_constant=_not_json
            )
            walked = walk(value, visit)
        except (ValueError, RecursionError):
            return visit(text, label)
        return text if walked == value else json.dumps(walked, ensure_ascii=False)
    return visit(text, label)


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is repeated: reading it would hide a value")
    return dict(pairs)


def _not_json(_: str) -> None:
    raise ValueError("not a number in JSON")


def walk(value: Any, visit: Visit, label: str = "", *, keys_too: bool = True) -> Any:
    """JSON with every string, whole number and (`keys_too`) key replaced by what `visit` gives."""
    if isinstance(value, str):
        return _walk_text(value, visit, keys_too, label)
    if isinstance(value, dict):
        walked = {
            (visit(key, "") if keys_too else key): walk(item, visit, key, keys_too=keys_too)
            for key, item in value.items()
        }
        if len(walked) < len(value):
            raise Refused("unsupported_content")
        return walked
    if isinstance(value, list):
        return [walk(item, visit, label, keys_too=keys_too) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 999:
        text = visit(str(value), label)
        return (
            value
            if text == str(value)
            else int(leaks.digits_of(text))
            if leaks.digits_of(text)
            else text
        )
    return value
