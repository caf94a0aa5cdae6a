"""Any OpenAI-compatible moderation endpoint: the same client and errors as chat, another path and body.

Belongs here: that difference. Does not: reading categories (grading).
"""

import asyncio
import json
import time
from datetime import UTC, datetime

from sim_platform.contracts.messages import canonical_json
from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.providers.openai import OpenAIProvider
from sim_platform.replay.providers.protocol import Retryable
from sim_platform.replay.requests import Request


class ModerationProvider(OpenAIProvider):
    """One `POST /moderations` an attempt; the outcome's text is the response as JSON."""

    async def complete(self, request: Request) -> Outcome:
        import httpx2  # noqa: PLC0415 - loaded by the constructor
        import openai  # noqa: PLC0415 - loaded by the constructor

        started = time.monotonic()
        try:
            async with asyncio.timeout(self._model.timeout_seconds):
                response = await self._client.post("/moderations", body=request.body, cast_to=httpx2.Response)
            payload = json.loads(response.content)
        except (TimeoutError, openai.APITimeoutError):
            raise Retryable("timeout") from None
        except openai.APIConnectionError:
            raise Retryable("connection_error") from None
        except openai.APIStatusError as error:
            return self._not_ok(request, error, time.monotonic() - started)
        except ValueError:
            raise Retryable("invalid_response") from None
        return Outcome(
            request.arm, request.prefix_id, request.k, request.request_hash, "completed",
            text=canonical_json(payload), latency_s=time.monotonic() - started, completed_at=datetime.now(UTC),
        )  # fmt: skip
