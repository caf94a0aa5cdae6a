"""A Chat Completions response as an outcome.

Belongs here: reading the response object defensively, whoever sent it. Does not: sending, retrying, HTTP.
"""

from datetime import UTC, datetime
from typing import Any

from sim_platform.contracts.messages import ToolCall
from sim_platform.contracts.outcomes import Outcome, Status
from sim_platform.registry.home import Price
from sim_platform.replay.providers.protocol import Retryable
from sim_platform.replay.requests import Request


def outcome_of(request: Request, payload: object, *, price: Price | None, latency_s: float) -> Outcome:
    """The outcome that `payload`, a decoded response, stands for.

    finish_reason `length` is truncated (even without any text: a reasoning model may spend its whole limit before it); `content_filter` is refused, and what
    was written before the filter struck is not kept. A refusal written by the model itself is a response: completed, in `refusal` and, where there is no other
    content, in `text`. Tool calls are recorded, never executed.

    Raises:
        Retryable: invalid_response (not a completion), empty_response (neither text nor tool calls nor a refusal).
    """
    body = payload if isinstance(payload, dict) else {}
    prompt_tokens, completion_tokens = _count(body, "prompt_tokens"), _count(body, "completion_tokens")
    cost = (prompt_tokens * price.input_per_mtok + completion_tokens * price.output_per_mtok) / 1e6 if price else 0.0
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text = _text(message.get("content"))
        tool_calls = [_tool_call(call) for call in message.get("tool_calls") or []]
        refusal = _optional_text(message.get("refusal")) or None
        finish_reason = _optional_text(choice.get("finish_reason"))
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Retryable("invalid_response", cost_usd=cost) from None
    status: Status = "truncated" if finish_reason == "length" else "refused" if finish_reason == "content_filter" else "completed"
    text = text or refusal or ""
    if status == "completed" and not (text or tool_calls):
        raise Retryable("empty_response", cost_usd=cost)
    is_refused = status == "refused"
    return Outcome(
        arm=request.arm,
        prefix_id=request.prefix_id,
        k=request.k,
        request_hash=request.request_hash,
        status=status,
        reason="content_filter" if is_refused else None,
        text=None if is_refused or (tool_calls and not text) else text,
        tool_calls=[] if is_refused else tool_calls,
        refusal=refusal,
        finish_reason=finish_reason,
        served_model=body["model"] if isinstance(body.get("model"), str) else None,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=cost,
        latency_s=latency_s,
        completed_at=datetime.now(UTC),
    )


def _count(body: dict[str, Any], name: str) -> int:
    usage = body.get("usage")
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value > 0 else 0


def _text(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(_text(part["text"]) for part in content if part["type"] == "text")
    return _optional_text(content) or ""


def _optional_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError


def _tool_call(call: dict[str, Any]) -> ToolCall:
    function = call["function"]
    return {"id": _text(call.get("id")), "type": "function", "function": {"name": _text(function["name"]), "arguments": _text(function.get("arguments"))}}
