"""A Chat Completions response as an outcome.

Belongs here: reading the response object defensively, whoever sent it. Does not: sending,
retrying, HTTP.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sim_platform.contracts.messages import ToolCall, canonical_json
from sim_platform.contracts.outcomes import Outcome, Status
from sim_platform.registry.models import Price
from sim_platform.replay.providers.protocol import Retryable
from sim_platform.replay.requests import CHARACTERS_PER_TOKEN, Request, estimated_tokens

# Words of different servers for how an answer ended; any other is a completed answer.
TRUNCATED = {"length", "max_tokens", "model_length", "max_output_tokens", "incomplete"}
FILTERED = {"content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii"}
FAILED = {
    "error": "server_error",
    "failed": "server_error",
    "abort": "server_error",
    "aborted": "server_error",
    "cancelled": "server_error",
    "insufficient_system_resource": "overloaded",
}


OUTPUT = ("completion_tokens", "output_tokens")  # in chat and in Responses
NOT_WRITTEN = set("role type id call_id status finish_reason logprobs annotations".split())


def outcome_of(
    request: Request,
    payload: object,
    *,
    price: Price | None,
    latency_s: float,
    provider_request_id: str | None = None,
) -> Outcome:
    """The outcome that `payload`, a decoded response of either endpoint, stands for.

    finish_reason `length` (or another server's word for it) is truncated (even without any text: a
    reasoning model may spend its whole limit before it); `content_filter` is refused, and what was
    written before the filter struck is not kept. A refusal written by the model itself is a
    response: completed, in `refusal` and, where there is no other content, in `text`. Tool calls
    are recorded, never executed.
    Tokens that the response does not count are estimated, and marked so.
    Reasoning beside the text (`reasoning_content`, `reasoning`, or the summary of a Responses
    object) is kept apart; alone it is no response.

    Raises:
        Retryable: invalid_response (not a completion), empty_response (neither text nor tool calls
            nor a refusal).
    """
    body = payload if isinstance(payload, dict) else {}
    is_responses = "input" in request.body
    used = _usage(request, body, is_responses)
    cost, tokens = used.cost(price), used.prompt + used.completion
    try:
        choice = _choice_of_responses(body) if is_responses else body["choices"][0]
        message = choice["message"]
        text = _text(message.get("content"))
        tool_calls = [_tool_call(call) for call in message.get("tool_calls") or []]
        refusal = _optional_text(message.get("refusal")) or None
        finish_reason = _optional_text(choice.get("finish_reason"))
        logprobs = choice.get("logprobs")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Retryable("invalid_response", cost_usd=cost, tokens=tokens) from None
    ended = (finish_reason or "").lower()
    if ended in FAILED:
        raise Retryable(FAILED[ended], cost_usd=cost, tokens=tokens)
    status: Status = (
        "truncated" if ended in TRUNCATED else "refused" if ended in FILTERED else "completed"
    )
    text = text or refusal or ""
    if status == "completed" and not (text or tool_calls):
        raise Retryable("empty_response", cost_usd=cost, tokens=tokens)
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
        served_model=_name(body, "model"),
        prompt_tokens=used.prompt,
        completion_tokens=used.completion,
        cost_usd=cost,
        latency_s=latency_s,
        completed_at=datetime.now(UTC),
        provider_request_id=provider_request_id or _name(body, "id"),
        system_fingerprint=_name(body, "system_fingerprint"),
        reasoning=None if is_refused else _reasoning(message),
        tokens_estimated=used.is_estimated or None,
        logprobs=None
        if is_refused or not isinstance(logprobs, dict | list) or not _is_finite(logprobs)
        else logprobs,
    )


def _choice_of_responses(body: dict[str, Any]) -> dict[str, Any]:
    """A response object of the Responses endpoint in the shape of a chat choice."""
    parts = [
        part for item in body["output"] if item["type"] == "message" for part in item["content"]
    ]
    calls = [
        {
            "id": item.get("call_id"),
            "function": {"name": item["name"], "arguments": item.get("arguments")},
        }
        for item in body["output"]
        if item["type"] == "function_call"
    ]
    incomplete = (body.get("incomplete_details") or {}).get("reason")
    reason = {"max_output_tokens": "length", "content_filter": "content_filter"}.get(
        str(incomplete), body.get("status")
    )
    message = {
        "content": "".join(part["text"] for part in parts if part["type"] == "output_text"),
        "refusal": "".join(part["refusal"] for part in parts if part["type"] == "refusal") or None,
        "tool_calls": calls,
        "reasoning": "\n".join(
            str(part["text"])
            for item in body["output"]
            if item["type"] == "reasoning"
            for part in item.get("content") or item.get("summary") or []
            if isinstance(part, dict) and part.get("text")
        ),
    }
    return {
        "message": message,
        "finish_reason": reason,
        "logprobs": [p["logprobs"] for p in parts if p.get("logprobs")] or None,
    }


def _reasoning(message: dict[str, Any]) -> str | None:
    """Servers differ in the name, and some in the type: what is no text is left out, and makes no
    response invalid.
    """
    return next(
        (
            said
            for name in ("reasoning_content", "reasoning")
            if isinstance(said := message.get(name), str) and said
        ),
        None,
    )


def _is_finite(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _name(body: dict[str, Any], key: str) -> str | None:
    value = body.get(key)
    return value if isinstance(value, str) else None


@dataclass(frozen=True)
class _Usage:
    prompt: int
    completion: int
    is_estimated: bool

    def cost(self, price: Price | None) -> float:
        """US dollars; 0 without a price."""
        if price is None:
            return 0.0
        return (self.prompt * price.input_per_mtok + self.completion * price.output_per_mtok) / 1e6


def _usage(request: Request, body: dict[str, Any], is_responses: bool) -> _Usage:
    """Tokens that a response says it used. What it does not say, or says as nonsense, is estimated,
    or a budget would never end. Some providers count reasoning beside the completion, and only the
    total or its own count tells: it is paid for as completion.
    """
    said = body.get("usage")
    usage = said if isinstance(said, dict) else {}
    prompt, completion = (
        _count(usage, chat) or _count(usage, responses)
        for chat, responses in (("prompt_tokens", "input_tokens"), OUTPUT)
    )
    details = next((d for n in OUTPUT if isinstance(d := usage.get(f"{n}_details"), dict)), usage)
    reasoning = _count(details, "reasoning_tokens")
    if prompt and reasoning > completion:
        completion += reasoning
    if prompt:
        completion = max(completion, _count(usage, "total_tokens") - prompt)
    written = _written(body.get("output" if is_responses else "choices"))
    lacks_prompt, lacks_completion = not prompt, bool(not completion and written)
    return _Usage(
        prompt or max(1, estimated_tokens(request)[0]),
        max(1, written // CHARACTERS_PER_TOKEN) if lacks_completion else completion,
        lacks_prompt or lacks_completion,
    )


def _written(answer: object) -> int:
    """Characters of all that a model wrote: text, reasoning, refusal, tool calls."""
    characters, waiting = 0, [answer]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            characters += len(part)
        elif isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            waiting.extend(value for key, value in part.items() if key not in NOT_WRITTEN)
    return characters


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return round(value) if isinstance(value, int | float) and 0 < value < 1e12 else 0


def _text(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(_text(part["text"]) for part in content if part["type"] == "text")
    return _optional_text(content) or ""


def _optional_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError


def _arguments(value: object) -> str:
    """As text, as the interface has it; some servers send the object itself."""
    return canonical_json(value) if isinstance(value, dict | list) else _text(value)


def _tool_call(call: dict[str, Any]) -> ToolCall:
    function = call["function"]
    return {
        "id": _text(call.get("id")),
        "type": "function",
        "function": {
            "name": _text(function["name"]),
            "arguments": _arguments(function.get("arguments")),
        },
    }
