"""What a grader sees and what it says.

Belongs here: the types that every kind of grader shares, judges included. Does not: any rule.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sim_platform.contracts.messages import JsonScalar, Message, ToolCall
from sim_platform.contracts.outcomes import Status


class Verdict(NamedTuple):
    """Whether the behaviour occurred. Without a label, `missing_reason` is a reason code and never
    text of the conversation. `score` in [0, 1] where the grader gives one.
    """

    label: bool | None
    missing_reason: str | None = None
    score: float | None = None


@dataclass(frozen=True)
class GradedItem:
    """One response with what it answers. Its repr holds no user text."""

    # messages up to and including the user turn that is answered
    prefix: list[Message] = field(repr=False)
    text: str | None = field(default=None, repr=False)
    # beside the text, for judges alone
    reasoning: str | None = field(default=None, repr=False, kw_only=True)
    tool_calls: list[ToolCall] = field(default_factory=list, repr=False)
    refusal: str | None = field(default=None, repr=False)
    metadata: dict[str, JsonScalar] = field(default_factory=dict, repr=False)
    labels: dict[str, JsonScalar] = field(default_factory=dict, repr=False)
    status: Status = "completed"
    key: str = ""  # prefix_id, where it has one
    # what graders that are asked (judge, moderation) said, by question
    answered: dict[str, Verdict] = field(default_factory=dict, repr=False)


class Grader(Protocol):
    """Judges one response. May raise: the caller makes that a missing label, never False."""

    def __call__(self, item: GradedItem, /) -> Verdict: ...
