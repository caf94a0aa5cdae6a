"""What one replayed request ended as.

Belongs here: the outcome type shared by replay, grading and the warehouse. Does not: how an outcome
is obtained (replay).
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sim_platform.contracts.messages import JsonScalar, ToolCall

Arm = Literal["candidate", "control", "recorded"]
Status = Literal["completed", "refused", "failed", "truncated"]
ARMS: tuple[Arm, ...] = ("candidate", "control", "recorded")


@dataclass(frozen=True)
class Outcome:
    """The one final result of one request.

    `completed` and `truncated` (stopped by the token limit) carry text or tool calls;
    `refused` (the provider's filter) and `failed` carry a reason code. Tool calls are
    recorded, never executed. Tokens are counts (reasoning is part of the completion), cost is
    US dollars, latency is seconds of the attempt that ended it.
    """

    arm: Arm
    prefix_id: str
    k: int
    request_hash: str
    status: Status
    reason: str | None = None
    text: str | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)
    refusal: str | None = None
    finish_reason: str | None = None
    labels: dict[str, JsonScalar] = field(default_factory=dict)
    served_model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    latency_s: float = 0.0
    attempts: int = 1
    completed_at: datetime | None = None
    reused_from: str | None = None
    provider_request_id: str | None = None
    system_fingerprint: str | None = None
    logprobs: JsonScalar | list[object] | dict[str, object] = None
    reasoning: str | None = None  # what the provider returned beside the text
    tokens_estimated: bool | None = None  # the provider did not count them (all of them)
