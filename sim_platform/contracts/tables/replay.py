"""Tables of the replay stage.

Belongs here: their columns, meaning, range and key. Does not: what every table shares (schema).
"""

import pandera.polars as pa

from sim_platform.contracts.tables.schema import STATUSES, Table, Utc


class CandidateCompletions(Table):
    """One outcome a row: what became of one request."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "arm", "prefix_id", "k")}

    model_version: str = pa.Field(description="candidate release")
    arm: str = pa.Field(
        isin=["candidate", "control"],
        description="candidate: X on Y's prefixes; control: Y regenerated on the same prefixes",
    )
    prefix_id: str = pa.Field(description="hash of conversation key and turn")
    k: int = pa.Field(ge=0, description="repeat, from 0")
    request_hash: str = pa.Field(description="hash of everything that decides the response")
    status: str = pa.Field(
        isin=STATUSES,
        description="completed, truncated (token limit), refused (provider's filter) or failed",
    )
    reason: str = pa.Field(nullable=True, description="reason code of refused and failed")
    text: str = pa.Field(nullable=True, description="the response")
    tool_calls: str = pa.Field(description="JSON list of tool calls, recorded and never executed")
    refusal: str = pa.Field(nullable=True, description="the provider's refusal field")
    finish_reason: str = pa.Field(nullable=True, description="the provider's finish reason")
    labels: str = pa.Field(description="JSON object of labels that came with a recorded response")
    served_model: str = pa.Field(
        nullable=True, description="model name that the provider says it served"
    )
    prompt_tokens: int = pa.Field(ge=0, description="tokens of the request")
    completion_tokens: int = pa.Field(ge=0, description="tokens of the response")
    cost_usd: float = pa.Field(ge=0, description="US dollars, from the registered price")
    latency_s: float = pa.Field(ge=0, description="seconds of the attempt that ended it")
    attempts: int = pa.Field(ge=0, description="requests sent for it in the run that ended it")
    completed_at: Utc = pa.Field(nullable=True, description="UTC time of the outcome")
    reused_from: str = pa.Field(
        nullable=True,
        description=(
            "release that had already paid for the same request; imported: brought from elsewhere"
        ),
    )
    provider_request_id: str = pa.Field(
        nullable=True, description="the provider's id of the request, for questions to its support"
    )
    system_fingerprint: str = pa.Field(
        nullable=True, description="the provider's mark of the configuration that answered"
    )
    logprobs: str = pa.Field(
        nullable=True, description="JSON of the log probabilities, where the settings ask for them"
    )
    reasoning: str = pa.Field(
        nullable=True,
        description=(
            "reasoning that the provider returned beside the text; rules grade the text alone, a"
            " judge may see both"
        ),
    )
    tokens_estimated: bool = pa.Field(
        nullable=True,
        description=(
            "true where the provider gave no usable count of tokens: a quarter of the characters"
            " stands in its place, in cost and budgets too"
        ),
    )
