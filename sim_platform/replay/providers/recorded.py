"""Responses that stand in the log already.

Belongs here: serving the k-th recorded response of a prefix. Does not: finding which recorded
response belongs to which prefix (the caller).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sim_platform.contracts.messages import JsonScalar, Message, text_of
from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.providers.protocol import PermanentFailure
from sim_platform.replay.requests import Request


@dataclass(frozen=True)
class RecordedResponse:
    """What a version answered in the log, and the labels that came with it."""

    message: Message
    labels: Mapping[str, JsonScalar]


class RecordedProvider:
    """Serves responses by prefix_id: the k-th completion (from 0) is the k-th response. Costs
    nothing; an empty response is data too.
    """

    endpoint = "the log"

    def __init__(self, responses: Mapping[str, Sequence[RecordedResponse]]) -> None:
        self._responses = responses

    async def complete(self, request: Request) -> Outcome:
        responses = self._responses.get(request.prefix_id, ())
        if request.k >= len(responses):
            raise PermanentFailure("not_recorded")
        response = responses[request.k]
        refusal = response.message.get("refusal") or None
        tool_calls = list(response.message.get("tool_calls") or [])
        text = text_of(response.message) or refusal or ""
        return Outcome(
            arm=request.arm,
            prefix_id=request.prefix_id,
            k=request.k,
            request_hash=request.request_hash,
            status="completed",
            text=None if tool_calls and not text else text,
            tool_calls=tool_calls,
            refusal=refusal,
            labels=dict(response.labels),
            completed_at=datetime.now(UTC),
        )

    async def aclose(self) -> None:
        """Nothing to free."""
