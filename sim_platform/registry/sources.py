"""`sources.yaml`: which logs are read, who consented, what is left out, how it is de-identified.

Belongs here: its keys, their defaults and what they allow. Does not: reading the file (home), or a
log (extraction).
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sim_platform.contracts.messages import JsonScalar
from sim_platform.registry.schema import Predicate, Strict, Version

EPOCHS = {"epoch_s": 1, "epoch_ms": 1_000}
"""Formats of times that are numbers: units a second, counted from 1970 in UTC."""


def _time_format(value: str) -> str:
    if value not in EPOCHS and "%" not in value:
        raise ValueError(
            f"give {', '.join(EPOCHS)}, or a strptime format such as %Y-%m-%d %H:%M:%S"
        )
    return value


# of UTC times; default ISO 8601
TimeFormat = Annotated[str, AfterValidator(_time_format)]
RowKey = Literal[
    "conversation_id",
    "user_id",
    "model_version",
    "started_at",
    "messages",
    "tools",
    "metadata",
    "labels",
]


class ConversationsSource(Strict):
    """JSONL (also .gz, .zst) or Parquet, one conversation a row."""

    reader: Literal["conversations"]
    path: str
    keys: dict[RowKey, str] = {}  # key of a row -> its name in the file, where that is another
    timestamp_format: TimeFormat | None = None
    model_versions: dict[str, Version] = {}  # value in the file -> version in models.yaml


class TableSource(Strict):
    """CSV or Parquet of prompt-response rows. Columns are named by what they hold; several `id`
    columns are joined by a slash.
    """

    reader: Literal["table"]
    path: str
    id: str | list[str]
    prompt: str
    response: str
    model: str
    timestamp: str
    user: str | None = None  # without it, every row is a user of its own
    timestamp_format: TimeFormat | None = None
    model_versions: dict[str, Version] = {}  # value in the file -> version in models.yaml
    metadata: dict[str, str] = {}  # metadata key -> column
    labels: dict[str, str] = {}  # label name -> column
    constants: dict[str, JsonScalar] = {}  # metadata with one value for the whole file


Source = Annotated[ConversationsSource | TableSource, Field(discriminator="reader")]


class Consent(Strict):
    """Either a ledger with a scope, or the explicit policy `all` with its reason, which every
    report prints.
    """

    ledger: str | None = None
    scope: str | None = None
    all: str | None = Field(default=None, min_length=10)

    @model_validator(mode="after")
    def one_policy(self) -> Self:
        if (self.all is None) == (self.ledger is None) or (self.ledger is None) != (
            self.scope is None
        ):
            raise ValueError(
                'give either {ledger: FILE, scope: NAME} or {all: "<why this is allowed>"}'
            )
        return self


KnownType = Literal[
    "PERSON", "EMAIL", "PHONE", "ADDRESS", "ID", "USERNAME", "DATE_OF_BIRTH", "SSN", "CARD", "IBAN"
]


class Accounts(Strict):
    """CSV or Parquet with what is known about accounts: each value is looked for in the account's
    own conversations.
    """

    file: str  # below the home
    user: str = "user_id"  # column with the account id
    columns: dict[str, KnownType] = Field(min_length=1)  # column -> what it holds


class Deidentification(Strict):
    policy: str = "strict"  # strict, balanced, or a YAML file below the home
    workers: int = Field(default=1, ge=1, le=64)  # processes; each holds the models
    accounts: Accounts | None = None
    account_metadata: dict[
        str, KnownType
    ] = {}  # metadata key of a conversation -> what it says of the account holder
    # distinct users that must share their strata; rarer ones are suppressed
    k: int = Field(default=10, ge=1)
    # share of conversations that get a second look
    audit_share: float = Field(default=0.01, ge=0, le=1)
    audit_policy: str = "audit"  # the second detector: a policy file below the home
    # the recorded responses that are shown to graders which ask nobody; only labels are kept
    grade_recorded_on: Literal["raw", "deidentified"] = "raw"


class Extraction(Strict):
    # share of a file's rows in quarantine above which nothing is extracted
    max_quarantined: float = Field(default=0.5, ge=0, le=1)


class Sources(Strict):
    sources: list[Source] = Field(min_length=1)
    extraction: Extraction = Extraction()
    deidentification: Deidentification = Deidentification()
    consent: Consent
    exclude: dict[str, Predicate] = {}
