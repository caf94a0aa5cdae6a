"""Tables of the sampling stage.

Belongs here: their columns, meaning, range and key. Does not: what every table shares (schema).
"""

import pandera.polars as pa

from sim_platform.contracts.tables.schema import OFFERED_TOOLS, Table


class StratifiedSample(Table):
    """One prefix a row: the conversation up to and including the user turn at which it was cut, its
    stratum and its design weight.
    """

    class Config(Table.Config):
        metadata = {"key": ("model_version", "prefix_id")}

    model_version: str = pa.Field(description="candidate release")
    prefix_id: str = pa.Field(description="hash of conversation key and turn")
    conversation_key: str = pa.Field(description="keyed hash of the conversation id")
    user_key: str = pa.Field(
        description="keyed hash of the account id; absent from published tables"
    )
    stratum: str = pa.Field(description="strata columns as key=value, merged strata named")
    turn: int = pa.Field(ge=0, description="user turn at which the conversation was cut, from 0")
    prefix: str = pa.Field(description="JSON list of messages up to and including the user turn")
    recorded: str = pa.Field(
        nullable=True,
        description=(
            "JSON message: what production answered, of a turn with tool calls its last message"
            " with text (its first one where it has none); null where it answered nothing"
        ),
    )
    recorded_labels: str = pa.Field(
        description=(
            "JSON object of labels of the recorded response; empty unless cut at the last turn"
        )
    )
    metadata: str = pa.Field(description="JSON object of the conversation's properties")
    turn_key: str = pa.Field(
        description="keyed hash of the prefix, finds recorded responses of other versions"
    )
    inclusion_probability: float = pa.Field(
        gt=0, le=1, description="probability that this prefix is in the sample"
    )
    weight: float = pa.Field(
        ge=1,
        description="1 / inclusion probability: eligible user turns that this prefix stands for",
    )
    sample_id: str = pa.Field(description="hash of plan, population and draw")
    deid_version: str = pa.Field(
        description="hash of detectors, models and policy that made the row"
    )
    asked_size: int = pa.Field(
        nullable=True,
        ge=1,
        description="prefixes that the draw was asked for; null in samples of an older version",
    )
    planned_size: int = pa.Field(
        nullable=True, ge=1, description="sample_size of the plan when it was drawn"
    )
    recorded_turn: str = pa.Field(
        nullable=True,
        description=(
            "JSON list of messages from the cut to the next user message: steps, calls and results;"
            " null where production answered nothing, and in samples of an older version"
        ),
    )
    recorded_is_complete: bool = pa.Field(
        nullable=True,
        description="whether the recorded turn ends with a message without tool calls",
    )
    tool_set_hash: str = pa.Field(nullable=True, description=OFFERED_TOOLS)
