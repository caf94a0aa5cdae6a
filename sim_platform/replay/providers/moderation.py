"""Any OpenAI-compatible moderation endpoint: the same exchange and errors as chat, another
path and body.

Belongs here: that difference. Does not: reading categories (grading).
"""

from datetime import UTC, datetime

from sim_platform.contracts.messages import canonical_json
from sim_platform.contracts.outcomes import Outcome
from sim_platform.registry.models import ModelVersion
from sim_platform.replay.limits import Limits
from sim_platform.replay.providers.address import url_of
from sim_platform.replay.providers.faults import status_outcome
from sim_platform.replay.providers.openai import OpenAIProvider, parsed
from sim_platform.replay.requests import Request, estimated_tokens


class ModerationProvider(OpenAIProvider):
    """One `POST /moderations` an attempt; the outcome's text is the response as JSON."""

    def __init__(self, model: ModelVersion, limits: Limits | None = None) -> None:
        super().__init__(model, limits)
        self._url = url_of(model, "/moderations")

    async def complete(self, request: Request) -> Outcome:
        status, headers, body, latency_s = await self._exchange(request)
        if status != 200:
            return status_outcome(self._model, request, status, headers, body, latency_s)
        # such endpoints count nothing; without an estimate a budget would never end
        tokens, price = max(1, estimated_tokens(request)[0]), self._model.price
        return Outcome(
            request.arm,
            request.prefix_id,
            request.k,
            request.request_hash,
            "completed",
            text=canonical_json(parsed(body)),
            prompt_tokens=tokens,
            cost_usd=tokens * price.input_per_mtok / 1e6 if price else 0.0,
            tokens_estimated=True,
            latency_s=latency_s,
            completed_at=datetime.now(UTC),
        )
