"""Tables of the deidentification stage.

Belongs here: their columns, meaning, range and key. Does not: what every table shares (schema).
"""

import pandera.polars as pa
import polars as pl

from sim_platform.contracts.tables.schema import OFFERED_TOOLS, Table


class DeidentifiedCorpus(Table):
    """One de-identified conversation a row."""

    class Config(Table.Config):
        metadata = {"key": ("conversation_key",)}

    conversation_key: str = pa.Field(
        unique=True, description="keyed hash of the conversation id; the key stays in the vault"
    )
    user_key: str = pa.Field(
        description=(
            "keyed hash of the account id; the key stays in the vault; absent from published tables"
        )
    )
    model_version: str = pa.Field(description="version that answered")
    week: pl.Date = pa.Field(description="Monday of the week in which the conversation started")
    messages: str = pa.Field(
        description="JSON list of chat messages with surrogates for identifiers"
    )
    metadata: str = pa.Field(description="JSON object of the conversation's properties")
    labels: str = pa.Field(description="JSON object of labels of the last response")
    turn_keys: str = pa.Field(
        description=(
            "JSON list, one keyed hash per user turn, of the conversation up to that turn: finds"
            " the same prefix in other conversations"
        )
    )
    n_user_turns: int = pa.Field(ge=0, description="user turns at which it can be cut")
    content_key: str = pa.Field(
        description=(
            "keyed hash of the source row: tells a changed conversation from one that is done"
        )
    )
    deid_version: str = pa.Field(
        description="hash of detectors, models and policy that made the row"
    )
    n_messages: int = pa.Field(nullable=True, ge=0, description="messages of the conversation")
    n_messages_changed: int = pa.Field(
        nullable=True, ge=0, description="messages in which something was masked"
    )
    n_chars: int = pa.Field(nullable=True, ge=0, description="characters scanned in them")
    n_chars_masked: int = pa.Field(nullable=True, ge=0, description="characters masked")
    tool_set_hash: str = pa.Field(nullable=True, description=OFFERED_TOOLS)


class Canaries(Table):
    """Made-up identifiers planted in shadow copies of conversations, one type a row, summed over
    all batches of one deid_version.
    """

    class Config(Table.Config):
        metadata = {"key": ("deid_version", "type")}

    deid_version: str = pa.Field(description="hash of detectors, models and policy")
    type: str = pa.Field(description="kind of identifier")
    planted: int = pa.Field(
        ge=0,
        description=(
            "canaries in shadow copies that came through; copies that were quarantined are left out"
        ),
    )
    survived: int = pa.Field(ge=0, description="canaries that could still be read afterwards")


class DeidAudits(Table):
    """A second look at a random share of the conversations, one measure and type a row, summed over
    all batches of one deid_version.
    """

    class Config(Table.Config):
        metadata = {"key": ("deid_version", "measure", "type")}

    deid_version: str = pa.Field(description="hash of detectors, models and policy")
    measure: str = pa.Field(
        isin=["second_detector", "determinism", "idempotence"],
        description=(
            "second_detector: identifiers that another detector sees; determinism: conversations"
            " done twice; idempotence: characters of the result that were scanned again"
        ),
    )
    type: str = pa.Field(description="kind of identifier, or what is counted")
    n: int = pa.Field(ge=0, description="how many were looked at")
    n_bad: int = pa.Field(
        ge=0, description="not masked whole; different the second time; masked when scanned again"
    )


class StrataSuppression(Table):
    """What k-anonymity over the strata columns cost, one row a column set: a class is everybody
    with the same values, and its size is counted in distinct users.
    """

    class Config(Table.Config):
        metadata = {"key": ("strata_columns",)}

    strata_columns: str = pa.Field(
        unique=True, description="JSON list of the metadata keys that are strata of any release"
    )
    k: int = pa.Field(ge=1, description="distinct users that a class needs")
    n_conversations: int = pa.Field(ge=0, description="conversations of the corpus")
    n_suppressed: int = pa.Field(
        ge=0, description="conversations whose values of these columns were replaced by (rare)"
    )
    n_users: int = pa.Field(ge=0, description="distinct users of the corpus")
    n_users_suppressed: int = pa.Field(ge=0, description="distinct users with such a conversation")
    n_classes: int = pa.Field(ge=0, description="classes that stand")
    n_classes_suppressed: int = pa.Field(ge=0, description="classes that were suppressed")
    smallest_class: int = pa.Field(
        ge=0, description="distinct users of the smallest class that is left, (rare) included"
    )


class DeidentificationEffect(Table):
    """What de-identification does to one behaviour's rate: the same recorded responses graded as
    they stand in the log and as they stand in the corpus. Numbers only.
    """

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior")}

    model_version: str = pa.Field(description="candidate release whose graders these are")
    behavior: str = pa.Field(description="id of the registered behaviour")
    deid_version: str = pa.Field(
        description="hash of detectors, models and policy that made the corpus"
    )
    n: int = pa.Field(ge=0, description="responses with a label on both texts")
    n_missing: int = pa.Field(ge=0, description="eligible responses without a label on either")
    rate_raw: float = pa.Field(
        nullable=True, ge=0, le=1, description="rate per message on the log's text"
    )
    rate_deidentified: float = pa.Field(
        nullable=True, ge=0, le=1, description="rate per message on the corpus' text"
    )
    n_appeared: int = pa.Field(
        ge=0, description="responses that show it only after de-identification"
    )
    n_vanished: int = pa.Field(ge=0, description="responses that show it only before")
    shift: float = pa.Field(nullable=True, description="rate_deidentified - rate_raw")
    shift_low: float = pa.Field(
        nullable=True, description="95 % lower limit of the shift (paired, Tango)"
    )
    shift_high: float = pa.Field(nullable=True, description="95 % upper limit")
    p: float = pa.Field(nullable=True, ge=0, le=1, description="McNemar mid-P of no shift")
