"""Any OpenAI-compatible Chat Completions endpoint, through the openai package.

Belongs here: authentication, HTTP status to reason code. Does not: retries, limits (engine). A response body never enters an error text.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.outcomes import Outcome
from sim_platform.registry.home import ModelVersion
from sim_platform.replay.providers.protocol import PermanentFailure, Retryable, StopRun
from sim_platform.replay.providers.response import outcome_of
from sim_platform.replay.requests import Request

if TYPE_CHECKING:
    import openai

CONTEXT_WORDS = ("context length", "context_length", "context size", "context window", "maximum context")
PERMANENT = {400: "bad_request", 413: "content_too_large", 422: "bad_request"}
RETRYABLE = {408: "timeout", 409: "conflict", 425: "server_error", 429: "rate_limited"}


class OpenAIProvider:
    """Sends one request an attempt and never more: the package's own retries are off, so that every request is counted."""

    def __init__(self, model: ModelVersion) -> None:
        """Raises BadInputError, naming the variable, when the key's environment variable is missing or cannot be a key."""
        import httpx2  # noqa: PLC0415 - the HTTP stack of openai, heavy
        import openai  # noqa: PLC0415 - heavy

        self._model = model
        self.endpoint = _host(model)
        for name in ("openai", "httpx2"):  # below WARNING they log requests and their URLs
            logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger(name).level))
        self._client = openai.AsyncOpenAI(
            api_key=_api_key(model),
            base_url=model.base_url,
            max_retries=0,
            timeout=model.timeout_seconds,
            http_client=openai.DefaultAsyncHttpxClient(
                limits=httpx2.Limits(max_connections=model.concurrency, max_keepalive_connections=model.concurrency),
            ),
        )

    async def complete(self, request: Request) -> Outcome:
        import httpx2  # noqa: PLC0415 - loaded by the constructor
        import openai  # noqa: PLC0415 - loaded by the constructor

        started = time.monotonic()
        try:
            # The client's timeout is per read: a body that drips would pass it for ever.
            async with asyncio.timeout(self._model.timeout_seconds):
                response = await self._client.post("/chat/completions", body=request.body, cast_to=httpx2.Response)
            payload = json.loads(response.content)
        except (TimeoutError, openai.APITimeoutError):
            raise Retryable("timeout") from None
        except openai.APIConnectionError:
            raise Retryable("connection_error") from None
        except openai.APIStatusError as error:
            return self._not_ok(request, error, time.monotonic() - started)
        except UnicodeEncodeError:
            raise PermanentFailure("bad_request") from None  # a lone surrogate cannot be sent
        except ValueError:
            raise Retryable("invalid_response") from None
        return outcome_of(request, payload, price=self._model.price, latency_s=time.monotonic() - started)

    def _not_ok(self, request: Request, error: "openai.APIStatusError", latency_s: float) -> Outcome:
        status, code = error.status_code, f"{error.code} {error.type}"
        if status == 400 and "content_filter" in code:
            return Outcome(
                request.arm, request.prefix_id, request.k, request.request_hash, "refused", reason="content_filter",
                finish_reason="content_filter", latency_s=latency_s, completed_at=datetime.now(UTC),
            )  # fmt: skip
        if status in (401, 403, 404) or "insufficient_quota" in code:
            key = f"the key in {self._model.api_key_env}" if self._model.api_key_env else "whether it needs a key (api_key_env)"
            raise StopRun(
                f'{self._model.version}: {self.endpoint} answered {status} to model "{self._model.model}". '
                f"Check {key}, its quota, base_url and model in models.yaml; then run the same command again, it continues where this stopped."
            )
        if status in (400, 413, 422) and any(words in f"{code} {error.message}".lower() for words in (*CONTEXT_WORDS, "exceed_context_size")):
            raise PermanentFailure("context_length")
        if status >= 500 or status in RETRYABLE:
            raise Retryable(RETRYABLE.get(status, "server_error"), _retry_after(error.response.headers))
        raise PermanentFailure(PERMANENT.get(status, f"http_{status}"))

    async def aclose(self) -> None:
        await self._client.close()


def _host(model: ModelVersion) -> str:
    parts = urlsplit(model.base_url or "")
    host = parts.netloc.rpartition("@")[2]  # never a user name or password
    if parts.scheme not in ("http", "https") or not host:
        raise BadInputError(f"models.yaml: {model.version}: base_url must start with http:// or https:// and name a host")
    return host


def _api_key(model: ModelVersion) -> str:
    if model.api_key_env is None:
        return "none"  # the package insists on a key; a server without authentication ignores it
    key = os.environ.get(model.api_key_env, "").strip()
    if not key:
        raise BadInputError(f"models.yaml: {model.version}: the environment variable {model.api_key_env} (api_key_env) is not set. Set it to the key and run again.")
    if not (key.isascii() and key.isprintable()):
        raise BadInputError(f"{model.version}: the environment variable {model.api_key_env} holds characters that no key has. Set it to the key alone.")
    return key


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from `retry-after-ms` or `retry-after` (seconds or an HTTP date); None when absent or unreadable."""
    with suppress(KeyError, ValueError):
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    value = headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(value))
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return None
