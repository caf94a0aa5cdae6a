"""What an answer other than a completion means: an outcome of its request, a failure that may pass,
or a fault of account, address or settings that stops the run.

Belongs here: HTTP statuses and error bodies to reason codes. Does not: sending, retries (engine).
Words of a body decide and are never shown: they may quote the prompt, or the candidate.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from sim_platform.contracts.outcomes import Outcome
from sim_platform.registry.models import ModelVersion
from sim_platform.replay.providers.address import host_of
from sim_platform.replay.providers.protocol import (
    PermanentFailure,
    RefusedUnasked,
    Retryable,
    StopRun,
)
from sim_platform.replay.requests import Request

CONTEXT = re.compile(
    r"context[ _](length|size|window)|maximum context|exceed_context_size|too many input tokens"
)
FILTERED = re.compile(
    r"content_filter|content_policy|content management policy|moderation|flagged|safety system"
    r"|usage polic(y|ies)|invalid_prompt|prohibited_content|responsible ?ai"
)
# These stop a run, so they are whole phrases: a message may quote a prompt that speaks of keys.
KEY = re.compile(
    r"api_key_invalid|invalid_api_key|api key not valid|(invalid|incorrect|missing) api key"
    r"|invalid x-api-key|authentication_error|no_db_connection"  # LiteLLM without a database
)
CLOSED = re.compile(
    r"(account|organization|access|key)\b.{0,40}\b(deactivated|suspended|disabled|terminated|revoked)"
)
BALANCE = re.compile(
    r"insufficient_quota|insufficient balance|credit balance is too low"
    r"|(exceeded|crossed) budget|budget has been exceeded|budget_exceeded"  # of a proxy
)
MODEL = re.compile(
    r"model_not_found|invalid model name|unknown model|not a valid model"
    r"|the model .{0,80} does not exist"
)
UNSUPPORTED = re.compile(r"unsupported_(parameter|value)|unknown_parameter|extra_forbidden")
SETTING = re.compile(
    r"extra (inputs|fields) (are )?not (permitted|allowed)|unexpected keyword|unsupported param"
    r"|unrecognized (request )?(argument|parameter)|does not support|unknown (field|parameter)"
)
FORMAT = re.compile(
    r"response[_ ]format|json_schema|json_object|text\.format|structured[_ ]outputs?"
)
TEMPERATURE = re.compile(
    r"\btemperature\b.{0,80}\b(not|only|cannot|unsupported|deprecated|unknown)\b"
    r"|\b(not|unsupported|unknown|unrecognized)\b.{0,80}\btemperature\b"
)
# Names on the wire of settings that have another name in models.yaml.
SETTINGS = {
    "max_output_tokens": ("max_completion_tokens", "max_tokens"),
    "reasoning": ("reasoning_effort",),
    "include": ("logprobs",),
}
TEMPLATE = re.compile(r"jinja|chat[ _]template|conversation roles must alternate")
OWN_WORDS = re.compile(r"failed_generation|tool_use_failed|output_parse_failed")
PERMANENT = {400: "bad_request", 413: "content_too_large", 422: "bad_request"}
RETRYABLE = {
    408: "timeout",
    409: "conflict",
    424: "server_error",
    425: "server_error",
    429: "rate_limited",
    498: "overloaded",
    503: "overloaded",
    529: "overloaded",
}
DAY_S = 86_400.0
MAX_WAIT_S = 3600.0  # a longer wait than this is nonsense, or nothing that a run should sit out


@dataclass(frozen=True)
class ErrorBody:
    """What an error says of itself: `words` lower-cased, `setting` that it names, `status` that it
    holds (some answer 200 with an error inside).
    """

    words: str
    settings: tuple[str, ...]
    status: int | None


def status_outcome(
    model: ModelVersion,
    request: Request,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    latency_s: float,
    *,
    others_pass: bool = False,
) -> Outcome:
    """What an answer with another status than 200 means for its request: an outcome where the
    provider's filter refused it, else an exception.

    Args:
        others_pass: another request of this run was answered: a refusal is then of this one.

    Raises:
        Retryable, PermanentFailure, StopRun: with a reason code, or the host and what to check;
            never the body.
    """
    error = error_of(body)
    if status in (401, 403) and CLOSED.search(error.words):  # often for "usage policies" too
        raise _refused_account(model, status)
    if status in (400, 403, 422, 451) and FILTERED.search(error.words):
        return Outcome(
            request.arm,
            request.prefix_id,
            request.k,
            request.request_hash,
            "refused",
            reason="content_filter" if "content_filter" in error.words else "provider_filter",
            finish_reason="content_filter",
            latency_s=latency_s,
            completed_at=datetime.now(UTC),
            provider_request_id=headers.get("x-request-id"),
        )
    if 300 <= status < 400:
        raise _stop(model, status, "redirects elsewhere, which is not followed. Check base_url")
    if status == 407:
        raise _stop(model, status, "is behind a proxy that wants a login. Check HTTPS_PROXY")
    if status == 402 or (BALANCE.search(error.words) and status in (400, 403, 429)):
        raise _stop(model, status, f"wants to be paid. Check balance and quota of {_key(model)}")
    if status in (400, 422, 501):
        if CONTEXT.search(error.words):
            raise PermanentFailure("context_length")
        if OWN_WORDS.search(error.words):
            raise PermanentFailure("unreadable_tool_call")
        if {"response_format", "text"} & request.body.keys() and FORMAT.search(error.words):
            raise _refused_format(model)
        named = [name for name in request.body if name in error.settings]
        if (
            "temperature" in request.body
            and model.settings.temperature is None
            and ("temperature" in named or TEMPERATURE.search(error.words))
        ):
            raise RefusedUnasked(
                f"{model.version}: {host_of(model)} does not take a temperature for model"
                f' "{model.model}"',
                "temperature",
            )
        if UNSUPPORTED.search(error.words) or (named and SETTING.search(error.words)):
            key = next((key for name in named if (key := _key_of(model, name))), "that it names")
            raise StopRun(
                f"{model.version}: {host_of(model)} does not take the setting {key} for model"
                f' "{model.model}". Remove or change it in models.yaml (max_completion_tokens in'
                " place of max_tokens, for example), then run again."
            )
        if MODEL.search(error.words) or KEY.search(error.words):
            raise _refused_account(model, status)
    if status in (401, 404) or (status == 403 and not others_pass):
        raise _refused_account(model, status)
    if status == 403:
        raise PermanentFailure("forbidden")
    if status == 413 and CONTEXT.search(error.words):
        raise PermanentFailure("context_length")
    if status == 500 and TEMPLATE.search(error.words):
        raise PermanentFailure("chat_template")
    if status >= 500 or status in RETRYABLE:
        raise Retryable(RETRYABLE.get(status, "server_error"), retry_after(headers))
    raise PermanentFailure(PERMANENT.get(status, f"http_{status}"))


def _refused_format(model: ModelVersion) -> StopRun:
    if model.response_format is None:
        return RefusedUnasked(
            f"{model.version}: {host_of(model)} does not take this response_format for model"
            f' "{model.model}"',
            "response_format",
        )
    return StopRun(
        f"{model.version}: {host_of(model)} does not take response_format:"
        f' {model.response_format} for model "{model.model}". Set another in models.yaml'
        " (json_schema, json_object, text), or take the key out, then run again."
    )


def _key_of(model: ModelVersion, name: str) -> str | None:
    """Where models.yaml sets what stands on the wire as `name`."""
    is_set = model.settings.model_dump(exclude_none=True)
    found = next((one for one in SETTINGS.get(name, (name,)) if one in is_set), None)
    return found and f"settings.{found}"


def _key(model: ModelVersion) -> str:
    name = model.api_key_env
    return f"the key in {name}" if name else "the account (no api_key_env is set)"


def _refused_account(model: ModelVersion, status: int) -> StopRun:
    key = _key(model) if model.api_key_env else "whether it needs a key (api_key_env)"
    return StopRun(
        f'{model.version}: {host_of(model)} answered {status} to model "{model.model}". Check'
        f" {key}, its quota, base_url and model in models.yaml; then run the same command"
        " again, it continues where this stopped."
    )


def _stop(model: ModelVersion, status: int, what: str) -> StopRun:
    return StopRun(
        f"{model.version}: {host_of(model)} answered {status}: it {what}; then run the same"
        " command again, it continues where this stopped."
    )


def error_of(body: bytes) -> ErrorBody:
    """The error in a body, whatever shape a server gives it: an object, a list of one, or text."""
    payload: Any = None
    with suppress(ValueError, RecursionError):
        payload = json.loads(body)
    if isinstance(payload, list):
        payload = payload[0] if payload else None
    if not isinstance(payload, dict):
        return ErrorBody(body[:2_000].decode("utf-8", "replace").lower(), (), None)
    error = payload.get("error", payload)
    if not isinstance(error, dict):
        error = {"message": error}
    details = payload.get("detail")
    places = (
        [d.get("loc") for d in details if isinstance(d, dict)] if isinstance(details, list) else []
    )
    named = [str(error.get("param") or "").partition(".")[0]]
    named += [str(part) for place in places if isinstance(place, list) for part in place]
    known = ("code", "type", "message", "status", "metadata", "details", "failed_generation")
    said = [f"{name} {error[name]}" for name in known if error.get(name) is not None]
    words = " ".join([*said, json.dumps(details) if details else ""]).lower()
    named += re.findall(r"[\"'`]([a-z_]{2,40})[\"'`]", words)
    code = str(error.get("code"))
    status = int(code) if code.isdecimal() and 300 <= int(code) < 600 else None
    return ErrorBody(words, tuple(named), status)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from `retry-after-ms` or `retry-after` (seconds or an HTTP date), else from the reset
    headers; None when absent, unreadable, or longer than an hour.
    """
    value = headers.get("retry-after", "")
    with suppress(KeyError, ValueError):
        return _sane(float(headers["retry-after-ms"]) / 1000)
    with suppress(ValueError):
        return _sane(float(value))
    with suppress(ValueError, TypeError):
        return _sane((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return exhausted_for(headers) or None


def exhausted_for(headers: Mapping[str, str]) -> float:
    """Seconds until a limit that the headers call used up is reset; 0 while there is something
    left, or where the reset is more than an hour away.
    """
    waits = [
        _sane(seconds_of(headers.get(f"x-ratelimit-reset-{kind}", ""))) or 0.0
        for kind in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{kind}") == "0"
    ]
    return max(waits, default=0.0)


def seconds_of(reset: str) -> float:
    """Seconds of "1s", "6m0s", "20ms" or "1.5", or until a time of day or an epoch (in seconds or
    milliseconds); 0 when unreadable.
    """
    now = datetime.now(UTC)
    with suppress(ValueError):
        number = float(reset)
        left = [epoch - now.timestamp() for epoch in (number, number / 1000)]
        return max(0.0, next((s for s in left if abs(s) < DAY_S), number))
    with suppress(ValueError):
        at = datetime.fromisoformat(reset)
        return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", reset)
    return sum(float(n) * units[unit] for n, unit in parts)


def _sane(seconds: float) -> float | None:
    return max(0.0, seconds) if seconds <= MAX_WAIT_S else None
