"""Any OpenAI-compatible endpoint: one HTTP request an attempt, over aiohttp.

Belongs here: authentication (the openai package's), HTTP status and headers to reason codes. Does
not: retries, rates (engine). A response body never enters an error text.

The openai package builds, validates and parses about 2 ms a request; sending a body that is ready
costs a tenth of that, so only its headers are used here.
"""

import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.outcomes import Outcome
from sim_platform.registry.models import ModelVersion
from sim_platform.replay.limits import Limits
from sim_platform.replay.providers.protocol import PermanentFailure, Retryable, StopRun
from sim_platform.replay.providers.response import outcome_of
from sim_platform.replay.requests import PATHS, Request

if TYPE_CHECKING:
    import aiohttp
    import openai

MAX_RESPONSE_BYTES = 16 * 2**20
CONTEXT_WORDS = (
    "context length",
    "context_length",
    "context size",
    "context window",
    "maximum context",
    "exceed_context_size",
)
PERMANENT = {400: "bad_request", 413: "content_too_large", 422: "bad_request"}
RETRYABLE = {
    408: "timeout",
    409: "conflict",
    425: "server_error",
    429: "rate_limited",
    503: "overloaded",
    529: "overloaded",
}
UNSUPPORTED = ("unsupported_parameter", "unsupported_value", "unknown_parameter")


class OpenAIProvider:
    """Sends one request an attempt and never more, so that every request is counted."""

    def __init__(self, model: ModelVersion, limits: Limits | None = None) -> None:
        """Raises BadInputError, naming the variable, when the key's environment variable is missing
        or cannot be a key.
        """
        self._model, self._limits = model, limits
        self.endpoint = host_of(model)
        # the key authenticates; a user in the URL does not
        base = urlsplit(model.base_url or "")._replace(netloc=self.endpoint).geturl()
        self._url = f"{base.rstrip('/')}{PATHS[model.api]}"
        client = openai_client(model)
        names = ("openai-organization", "openai-project")
        self._headers = {
            **client.auth_headers,
            **{
                n: v
                for n, v in client.default_headers.items()
                if n.lower() in names and isinstance(v, str)
            },
        }
        self._headers |= {
            "content-type": "application/json",
            "accept": "application/json",
            "accept-encoding": "identity",
        }
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> "aiohttp.ClientSession":
        import aiohttp  # noqa: PLC0415 - heavy

        return aiohttp.ClientSession(
            # the engine bounds what is in flight
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=30),
            # of the whole exchange: a body that drips would pass a limit per read for ever
            timeout=aiohttp.ClientTimeout(total=self._model.timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            trust_env=bool(getproxies()),  # looked up per request, so only where there is a proxy
        )

    async def complete(self, request: Request) -> Outcome:
        status, headers, body, latency_s = await self._exchange(request)
        if status != 200:
            return status_outcome(self._model, request, status, headers, body, latency_s)
        payload = parsed(body)
        if self._limits is not None and (pause := exhausted_for(headers)):
            self._limits.pause(pause)
        return outcome_of(
            request,
            payload,
            price=self._model.price,
            latency_s=latency_s,
            provider_request_id=headers.get("x-request-id"),
        )

    async def _exchange(self, request: Request) -> tuple[int, Mapping[str, str], bytes, float]:
        """One POST of the request's body: status, headers, body, seconds."""
        import aiohttp  # noqa: PLC0415 - loaded by the first request

        if self._session is None:
            self._session = self._open()
        try:
            data = json.dumps(
                request.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False
            ).encode()
        except ValueError:
            raise PermanentFailure("bad_request") from None  # a lone surrogate cannot be sent
        started = time.monotonic()
        try:
            async with self._session.post(self._url, data=data, allow_redirects=False) as response:
                body = await _read(response)
                return response.status, response.headers, body, time.monotonic() - started
        except TimeoutError:
            raise Retryable("timeout") from None
        except (aiohttp.ClientError, OSError):
            raise Retryable("connection_error") from None

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


def status_outcome(
    model: ModelVersion,
    request: Request,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    latency_s: float,
) -> Outcome:
    """What an answer with another status than 200 means for its request: an outcome where the
    provider's filter refused it, else an exception.

    Raises:
        Retryable, PermanentFailure, StopRun: with a reason code, or the host and what to check;
            never the body.
    """
    error = _error_of(body)
    code = f"{error.get('code')} {error.get('type')}"
    if status == 400 and "content_filter" in code:
        return Outcome(
            request.arm,
            request.prefix_id,
            request.k,
            request.request_hash,
            "refused",
            reason="content_filter",
            finish_reason="content_filter",
            latency_s=latency_s,
            completed_at=datetime.now(UTC),
            provider_request_id=headers.get("x-request-id"),
        )
    if status in (400, 422) and any(word in code for word in UNSUPPORTED):
        named = [name for name in request.body if name == str(error.get("param")).partition(".")[0]]
        raise StopRun(
            f"{model.version}: {host_of(model)} does not take the setting"
            f' {named[0] if named else "that it names"} for model "{model.model}". Remove or change'
            " it in models.yaml (max_completion_tokens in place of max_tokens, for example), then"
            " run again."
        )
    if status in (401, 403, 404) or "insufficient_quota" in code:
        key = (
            f"the key in {model.api_key_env}"
            if model.api_key_env
            else "whether it needs a key (api_key_env)"
        )
        raise StopRun(
            f'{model.version}: {host_of(model)} answered {status} to model "{model.model}". Check'
            f" {key}, its quota, base_url and model in models.yaml; then run the same command"
            " again, it continues where this stopped."
        )
    if status in (400, 413, 422) and any(
        words in f"{code} {error.get('message')}".lower() for words in CONTEXT_WORDS
    ):
        raise PermanentFailure("context_length")
    if status >= 500 or status in RETRYABLE:
        raise Retryable(RETRYABLE.get(status, "server_error"), _retry_after(headers))
    raise PermanentFailure(PERMANENT.get(status, f"http_{status}"))


async def _read(response: "aiohttp.ClientResponse") -> bytes:
    """The body, at most 16 MiB of it: a response is text for one turn."""
    if (
        announced := response.content_length
    ) is not None and "content-encoding" not in response.headers:
        if announced > MAX_RESPONSE_BYTES:
            response.close()
            raise PermanentFailure("response_too_large")
        return await response.read()
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            response.close()
            raise PermanentFailure("response_too_large")
    return b"".join(parts)


def parsed(body: bytes) -> Any:
    """The body as JSON; Retryable when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Retryable("invalid_response") from None


def _error_of(body: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        payload = json.loads(body)
        error = payload.get("error", payload) if isinstance(payload, dict) else None
        if isinstance(error, dict):
            return error
    return {}


def openai_client(model: ModelVersion) -> "openai.AsyncOpenAI":
    """The package's client of a version, for authentication and errors. Its own retries are off."""
    import openai  # noqa: PLC0415 - heavy

    return openai.AsyncOpenAI(
        api_key=_api_key(model),
        base_url=model.base_url,
        max_retries=0,
        timeout=model.timeout_seconds,
    )


def blocking_client(model: ModelVersion) -> "openai.OpenAI":
    """The same for files and batches, which are few and large."""
    import openai  # noqa: PLC0415 - heavy

    return openai.OpenAI(
        api_key=_api_key(model),
        base_url=model.base_url,
        max_retries=0,
        timeout=model.timeout_seconds,
    )


def host_of(model: ModelVersion) -> str:
    """Host of `base_url`, safe to show; BadInputError when there is none."""
    parts = urlsplit(model.base_url or "")
    host = parts.netloc.rpartition("@")[2]  # never a user name or password
    if parts.scheme not in ("http", "https") or not host:
        raise BadInputError(
            f"models.yaml: {model.version}: base_url must start with http:// or https:// and name a"
            " host"
        )
    return host


def _api_key(model: ModelVersion) -> str:
    if model.api_key_env is None:
        return "none"  # the package insists on a key; a server without authentication ignores it
    key = os.environ.get(model.api_key_env, "").strip()
    if not key:
        raise BadInputError(
            f"models.yaml: {model.version}: the environment variable {model.api_key_env}"
            " (api_key_env) is not set. Set it to the key and run again."
        )
    if not (key.isascii() and key.isprintable()):
        raise BadInputError(
            f"{model.version}: the environment variable {model.api_key_env} holds characters that"
            " no key has. Set it to the key alone."
        )
    return key


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from `retry-after-ms` or `retry-after` (seconds or an HTTP date), else from the reset
    headers; None when absent or unreadable.
    """
    with suppress(KeyError, ValueError):
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    value = headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(value))
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return exhausted_for(headers) or None


def exhausted_for(headers: Mapping[str, str]) -> float:
    """Seconds until a limit that the headers call used up is reset; 0 while there is
    something left.
    """
    waits = [
        seconds_of(headers.get(f"x-ratelimit-reset-{kind}", ""))
        for kind in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{kind}") == "0"
    ]
    return max(waits, default=0.0)


def seconds_of(duration: str) -> float:
    """Seconds of "1s", "6m0s", "20ms" or "1.5"; 0 when unreadable."""
    with suppress(ValueError):
        return max(0.0, float(duration))
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(
        float(n) * units[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", duration)
    )
