"""One conversation of a log, checked field by field and brought to the platform's types.

Belongs here: what a conversation must look like, and the reason code when it does not. Does not:
files and formats (readers), rules about who may be used (rules, consent).

Of a message the keys role, content, name, tool_calls, tool_call_id and refusal are kept; any other
key (ids, annotations, audio ...) is left out without a word, as is any other key of the row; a
function call of before there were tools is read as a tool call. Of a tool that was offered the
name, description, parameters and strict are kept, in the form of either api.
Nothing is repaired: a row that does not fit is refused with one reason code.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from functools import partial
from typing import Any, TypeVar, get_args

from sim_platform.contracts.messages import (
    JsonScalar,
    Message,
    Role,
    TextPart,
    ToolCall,
    canonical_json,
)
from sim_platform.contracts.tools import FunctionTool, hosted_tool, wrong_tool
from sim_platform.extraction.rows import (
    BAD_ENCODING,
    BAD_FIELD_TYPE,
    BAD_TIME,
    BAD_TOOL,
    BAD_TOOL_CALL,
    EMPTY_MESSAGES,
    HOSTED_TOOL,
    MISSING_FIELD,
    NON_TEXT_PART,
    NOT_AN_OBJECT,
    TOO_DEEP,
    UNKNOWN_ROLE,
    LogRow,
    UnreadableError,
)
from sim_platform.registry.sources import EPOCHS, ConversationsSource, RowKey

ROLES = frozenset(get_args(Role))
KEPT_OF_A_TOOL = ("name", "description", "parameters", "strict")
EPOCH_FROM, EPOCH_UNTIL = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (2000, 2200))

T = TypeVar("T")


NO_CHANGES = ConversationsSource(reader="conversations", path="")


def conversation(value: object, line: int, source: ConversationsSource = NO_CHANGES) -> LogRow:
    """The row that a parsed object of the `conversations` format stands for.

    Required: conversation_id, user_id, model_version (text or whole numbers), started_at, messages.
    Optional: metadata and labels, flat objects; tools, the functions that were offered.

    Args:
        source: names of the keys in the file, format of times, names of versions.

    Raises:
        UnreadableError: with the reason code of the first thing found wrong, and the key.
    """
    if not isinstance(value, Mapping):
        raise UnreadableError(NOT_AN_OBJECT)

    def of(key: RowKey, parse: Callable[[object], T]) -> T:
        try:
            return parse(value.get(source.keys.get(key, key)))
        except UnreadableError as error:
            raise UnreadableError(error.reason, error.field or key, version) from None

    version = ""
    version = of("model_version", identifier)
    version = source.model_versions.get(version, version)
    return log_row(
        line,
        conversation_id=of("conversation_id", identifier),
        user_id=of("user_id", identifier),
        model_version=version,
        started_at=of("started_at", partial(utc, time_format=source.timestamp_format)),
        messages=of("messages", messages),
        metadata=of("metadata", scalars),
        labels=of("labels", scalars),
        tools=of("tools", tools),
    )


def log_row(
    line: int,
    *,
    conversation_id: str,
    user_id: str,
    model_version: str,
    started_at: datetime,
    messages: list[Message],
    metadata: dict[str, JsonScalar],
    labels: dict[str, JsonScalar],
    tools: list[FunctionTool] | None = None,
) -> LogRow:
    """A row with its content hash. Raises UnreadableError(bad_encoding) where any of its text
    cannot be written as UTF-8.
    """
    everything = [user_id, model_version, started_at.isoformat(), messages, metadata, labels]
    # without tools the hash is that of before they were read: nothing is done again
    content = canonical_json([*everything, tools] if tools else everything)
    try:
        conversation_id.encode()
        content_hash = hashlib.sha256(content.encode()).hexdigest()
    except UnicodeEncodeError:
        raise UnreadableError(BAD_ENCODING) from None
    return LogRow(
        line,
        conversation_id,
        user_id,
        model_version,
        started_at,
        messages,
        metadata,
        labels,
        content_hash,
        tools,
    )


def identifier(value: object) -> str:
    """Text or a whole number as text, never empty."""
    if value is None or value == "":
        raise UnreadableError(MISSING_FIELD)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UnreadableError(BAD_FIELD_TYPE)
    return str(value)


def utc(value: object, time_format: str | None = None) -> datetime:
    """A time in UTC: ISO 8601 text (or as `time_format` says: epoch_s, epoch_ms, or strptime
    syntax), or a date or time that the file format already typed. Without an offset it is UTC.
    """
    if value is None or value == "":
        raise UnreadableError(MISSING_FIELD)
    try:
        if isinstance(value, datetime):
            parsed = value
        elif isinstance(value, date):
            parsed = datetime.combine(value, time())
        elif time_format in EPOCHS:
            parsed = _since_1970(value, EPOCHS[time_format])
        elif isinstance(value, str):
            parsed = (
                datetime.strptime(value, time_format)
                if time_format
                else datetime.fromisoformat(value)
            )
        else:
            raise UnreadableError(BAD_TIME)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UnreadableError(BAD_TIME) from None


def _since_1970(value: object, units_a_second: int) -> datetime:
    """Only of the years 2000 to 2199: no number is a time in two units."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnreadableError(BAD_TIME)
    seconds = float(value) / units_a_second
    if not EPOCH_FROM <= seconds < EPOCH_UNTIL:
        raise UnreadableError(BAD_TIME)
    return datetime.fromtimestamp(seconds, UTC)


def scalars(value: object) -> dict[str, JsonScalar]:
    """A flat object (or nothing) without its nulls."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UnreadableError(BAD_FIELD_TYPE)
    kept = {key: item for key, item in value.items() if item is not None}
    for key, item in kept.items():
        if (
            not isinstance(key, str)
            or not isinstance(item, str | int | float)
            or (isinstance(item, float) and not math.isfinite(item))
        ):
            raise UnreadableError(BAD_FIELD_TYPE)
    return kept


def messages(value: object) -> list[Message]:
    """Chat messages in the OpenAI format, at least one."""
    if value is None:
        raise UnreadableError(MISSING_FIELD)
    if not isinstance(value, list):
        raise UnreadableError(BAD_FIELD_TYPE)
    if not value:
        raise UnreadableError(EMPTY_MESSAGES)
    made: list[Message] = []
    called: str | None = None  # id of the last function call
    for place, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise UnreadableError(BAD_FIELD_TYPE)
        today, called = _without_functions(item, place, called)
        made.append(_message(today))
    return made


def tools(value: object) -> list[FunctionTool] | None:
    """The functions that were offered, None where the row names none."""
    if value is None or value == []:
        return None
    if not isinstance(value, list):
        raise UnreadableError(BAD_TOOL)
    if hosted := hosted_tool(value):
        raise UnreadableError(HOSTED_TOOL, f"tools[{hosted.index}] {hosted.hosted}")
    made: list[Any] = [_tool(tool) for tool in value]
    if wrong := wrong_tool(made):
        raise UnreadableError(BAD_TOOL, f"tools[{wrong.index}]")
    names = [tool["function"]["name"] for tool in made]
    if len(set(names)) < len(names):
        raise UnreadableError(BAD_TOOL)
    try:
        canonical_json(made)
    except RecursionError:
        raise UnreadableError(TOO_DEEP) from None
    except (ValueError, TypeError):  # not a number of JSON; a value that Parquet typed
        raise UnreadableError(BAD_TOOL) from None
    return made


def _tool(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """In the form of Chat Completions; what is no function in either form stays as it is."""
    about = value.get("function", value)
    if not isinstance(about, Mapping):
        return value
    kept = {key: about[key] for key in KEPT_OF_A_TOOL if about.get(key) is not None}
    return {"type": "function", "function": kept}


def _without_functions(
    value: Mapping[str, Any], place: int, called: str | None
) -> tuple[Mapping[str, Any], str | None]:
    """A message in today's form: a function call of before there were tools is a tool call, a
    message of role function its result. Their ids, which that form has not, are made of the place.
    """
    call = value.get("function_call")
    if value.get("role") == "function":
        if called is None:
            raise UnreadableError(BAD_TOOL_CALL)
        return {**value, "role": "tool", "tool_call_id": called}, called
    if call is None:
        return value, called
    if value.get("tool_calls"):  # two forms of what may be one call
        raise UnreadableError(BAD_TOOL_CALL)
    called = f"call_{place}"
    return {**value, "tool_calls": [{"id": called, "type": "function", "function": call}]}, called


def _message(value: Mapping[str, Any]) -> Message:
    role = value.get("role")
    if role is None:
        raise UnreadableError(MISSING_FIELD)
    if not isinstance(role, str) or role not in ROLES:
        raise UnreadableError(UNKNOWN_ROLE)
    message: dict[str, Any] = {"role": role, "content": _content(value.get("content"))}
    if name := _optional_text(value.get("name")):
        message["name"] = name
    if tool_calls := _tool_calls(value.get("tool_calls")):
        if role != "assistant":
            raise UnreadableError(BAD_TOOL_CALL)
        message["tool_calls"] = tool_calls
    if role == "tool":
        if not isinstance(call := value.get("tool_call_id"), str) or not call:
            raise UnreadableError(BAD_TOOL_CALL)
        message["tool_call_id"] = call
    if (refusal := _optional_text(value.get("refusal"))) is not None:
        message["refusal"] = refusal
    if message["content"] is None and not (
        role == "assistant" and ("tool_calls" in message or "refusal" in message)
    ):
        raise UnreadableError(MISSING_FIELD)
    return message  # type: ignore[return-value]  # built key by key to the shape of Message


def _content(value: object) -> str | list[TextPart] | None:
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(isinstance(part, Mapping) for part in value):
        raise UnreadableError(BAD_FIELD_TYPE)
    for part in value:
        if part.get("type") != "text":
            raise UnreadableError(NON_TEXT_PART)
        if not isinstance(part.get("text"), str):
            raise UnreadableError(BAD_FIELD_TYPE)
    return [{"type": "text", "text": part["text"]} for part in value] or None


def _optional_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise UnreadableError(BAD_FIELD_TYPE)


def _tool_calls(value: object) -> list[ToolCall]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise UnreadableError(BAD_TOOL_CALL)
    return [_tool_call(call) for call in value]


def _tool_call(call: object) -> ToolCall:
    function = call.get("function") if isinstance(call, Mapping) else None
    if (
        not isinstance(call, Mapping)
        or not isinstance(function, Mapping)
        or call.get("type") != "function"
    ):
        raise UnreadableError(BAD_TOOL_CALL)
    texts = (call.get("id"), function.get("name"), function.get("arguments"))
    if not all(isinstance(text, str) for text in texts) or not (texts[0] and texts[1]):
        raise UnreadableError(BAD_TOOL_CALL)
    return {
        "id": call["id"],
        "type": "function",
        "function": {"name": function["name"], "arguments": function["arguments"]},
    }
