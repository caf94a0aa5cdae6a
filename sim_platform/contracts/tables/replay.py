"""Tables of the replay stage.

Belongs here: their columns, meaning, range and key. Does not: what every table shares (schema).
"""

import pandera.polars as pa

from sim_platform.contracts.tables.schema import OFFERED_TOOLS, STATUSES, Table, Utc


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


class ToolPairs(Table):
    """One tool call of the log a row, with its result: what the simulated tools may answer from.
    Made of de-identified conversations; nothing was executed.
    """

    class Config(Table.Config):
        metadata = {"key": ("conversation_key", "turn", "step", "position")}

    conversation_key: str = pa.Field(description="keyed hash of the conversation id")
    turn: int = pa.Field(
        ge=-1, description="user turn that the call belongs to, from 0; -1: before the first"
    )
    step: int = pa.Field(ge=0, description="message of the assistant in the turn, from 0")
    position: int = pa.Field(ge=0, description="call in the message, from 0")
    tool: str = pa.Field(description="name of the tool")
    canonical_hash: str = pa.Field(
        description="hash of name and arguments: equal calls have equal ones"
    )
    arguments: str = pa.Field(
        description="canonical JSON object, or the text as it stands where it is none"
    )
    result: str = pa.Field(
        nullable=True, description="what the tool answered; null where the log holds no result"
    )
    is_error: bool = pa.Field(description="whether the result says that the call failed")
    is_write_guess: bool = pa.Field(
        description="by the tool's name: whether a call may change something; unknown ones may"
    )
    n_writes_before: int = pa.Field(
        ge=0, description="calls before it in the conversation that may have changed something"
    )
    problem: str = pa.Field(
        nullable=True,
        description=(
            "why it is never served: arguments (no JSON object), no_result, two_results; null: none"
        ),
    )
    tool_set_hash: str = pa.Field(nullable=True, description=OFFERED_TOOLS)
    pairs_version: int = pa.Field(ge=1, description="version of the code that read the calls")
    deid_version: str = pa.Field(
        description="hash of detectors, models and policy that made the conversation"
    )
