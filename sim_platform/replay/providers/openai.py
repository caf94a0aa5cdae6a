"""Any OpenAI-compatible endpoint: one HTTP request an attempt, over aiohttp.

Belongs here: authentication (the openai package's), sending and reading a body. Does not: what an
error means (faults), retries, rates (engine). A response body never enters an error text.

The openai package builds, validates and parses about 2 ms a request; sending a body that is ready
costs a tenth of that, so only its headers are used here.
"""

import asyncio
import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.outcomes import Outcome
from sim_platform.registry.models import ModelVersion
from sim_platform.replay.limits import Limits
from sim_platform.replay.providers.address import host_of, url_of
from sim_platform.replay.providers.faults import error_of, exhausted_for, status_outcome
from sim_platform.replay.providers.protocol import PermanentFailure, Retryable
from sim_platform.replay.providers.response import outcome_of
from sim_platform.replay.requests import PATHS, Request

if TYPE_CHECKING:
    import aiohttp
    import openai

MAX_RESPONSE_BYTES = 16 * 2**20
PROXIES = tuple(
    f(name) for name in ("all_proxy", "https_proxy", "http_proxy") for f in (str.upper, str.lower)
)
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
ANSWERS = {"choices", "output", "results"}  # of chat, Responses, moderation


class OpenAIProvider:
    """Sends one request an attempt and never more, so that every request is counted."""

    def __init__(self, model: ModelVersion, limits: Limits | None = None) -> None:
        """Raises BadInputError, naming the variable, when the key's environment variable is missing
        or cannot be a key.
        """
        self._model, self._limits = model, limits
        self.endpoint = host_of(model)
        self._url = url_of(model, PATHS[model.api])
        self._has_answered = False
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
            passed = self._has_answered
            return status_outcome(
                self._model, request, status, headers, body, latency_s, others_pass=passed
            )
        payload = parsed(body)
        if isinstance(payload, dict) and payload.get("error") and not ANSWERS & payload.keys():
            # An error inside of a 200: by the status that it names, else it may pass.
            inner = error_of(body).status or 502
            return status_outcome(self._model, request, inner, headers, body, latency_s)
        self._has_answered = True
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


def listed_models(model: ModelVersion, seconds: float) -> tuple[int, list[str]]:
    """Status and ids that `GET /models` of the version's endpoint answers with; no ids where the
    body is no list of models. Sends no text of anybody.

    Raises:
        BadInputError: key, address or environment are wrong. Retryable: timeout or
            connection_error. PermanentFailure: the list is too large.
    """

    async def ask() -> tuple[int, list[str]]:
        import aiohttp  # noqa: PLC0415 - heavy

        provider = OpenAIProvider(model.model_copy(update={"timeout_seconds": seconds}))
        url = url_of(model, "/models")
        try:
            async with (
                provider._open() as session,
                session.get(url, allow_redirects=False) as found,
            ):
                body = await _read(found)
                status = found.status
        except TimeoutError:
            raise Retryable("timeout") from None
        except (aiohttp.ClientError, OSError):
            raise Retryable("connection_error") from None
        try:
            rows = json.loads(body)["data"]
            return status, [row["id"] for row in rows if isinstance(row["id"], str)]
        except (ValueError, RecursionError, KeyError, TypeError):
            return status, []

    return asyncio.run(ask())


def openai_client(model: ModelVersion) -> "openai.AsyncOpenAI":
    """The package's client of a version, for authentication and errors. Its own retries are off."""
    import openai  # noqa: PLC0415 - heavy

    key = _api_key(model)
    with _environment_named():
        return openai.AsyncOpenAI(
            api_key=key, base_url=model.base_url, max_retries=0, timeout=model.timeout_seconds
        )


def blocking_client(model: ModelVersion) -> "openai.OpenAI":
    """The same for files and batches, which are few and large."""
    import openai  # noqa: PLC0415 - heavy

    key = _api_key(model)
    with _environment_named():
        return openai.OpenAI(
            api_key=key,
            base_url=model.base_url,
            max_retries=0,
            timeout=model.timeout_seconds,
            # A redirect would carry the prompts to another host.
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )


@contextmanager
def _environment_named() -> Iterator[None]:
    """What a client trips over in the environment, by the variable's name and never its value."""
    try:
        yield
    except ImportError:
        names = [n for n in PROXIES if os.environ.get(n, "").lower().startswith("socks")]
        raise BadInputError(
            f"{', '.join(names) or 'a proxy variable'}: names a SOCKS proxy, for which a package is"
            " missing. Install it (pip install 'httpx[socks]'), name an HTTP proxy, or unset the"
            " variable."
        ) from None
    except (OSError, ssl.SSLError):
        names = [n for n in CERTIFICATES if n in os.environ]
        raise BadInputError(
            f"{', '.join(names) or 'certificates'}: cannot be read as certificates. Name a file"
            " (or folder) that is there, or unset the variable."
        ) from None
    except ValueError:
        names = [n for n in PROXIES if os.environ.get(n)]
        raise BadInputError(
            f"{', '.join(names) or 'base_url'}: is no address that can be used. Write it as"
            " http://HOST:PORT, or unset the variable."
        ) from None


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
