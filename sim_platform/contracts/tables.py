"""One truth per table: the pandera model gives the dtypes, the DDL, the column docs in the UI and the check.

Belongs here: table names, keys, columns, their meaning and range. Does not: reading or writing (warehouse), rules across tables (gates).
JSON columns are canonical JSON text.
"""

import re
from typing import Annotated

import pandera.polars as pa
import polars as pl
from pandera.api.polars.model_config import BaseConfig
from pandera.errors import SchemaError, SchemaErrors

from sim_platform.contracts.errors import SimPlatformError

Utc = Annotated[pl.Datetime, "us", "UTC"]
STATUSES = ["completed", "refused", "failed", "truncated"]
ARM_NAMES = ["candidate", "control", "recorded"]


class ContractError(SimPlatformError):
    """A frame does not fit its table's contract; names the table, column, rule and number of rows, never a value."""


class Table(pa.DataFrameModel):
    """A table: columns with meaning, and (in `Config.metadata`) the columns that identify a row."""

    class Config(BaseConfig):
        strict = True
        ordered = False


class ConsentedLogExtract(Table):
    """One consented conversation a row, as it stands in the log. Lives in vault.duckdb only."""

    class Config(Table.Config):
        metadata = {"key": ("conversation_id",)}

    conversation_id: str = pa.Field(unique=True, description="id in the log")
    user_id: str = pa.Field(description="account id in the log; never leaves the vault")
    model_version: str = pa.Field(description="version that answered")
    started_at: Utc = pa.Field(description="start of the conversation, UTC")
    messages: str = pa.Field(description="JSON list of chat messages")
    metadata: str = pa.Field(description="JSON object of the conversation's properties (surface, language ...)")
    labels: str = pa.Field(description="JSON object of labels of the last response")
    content_hash: str = pa.Field(description="SHA-256 of the row's content: tells a changed conversation from a repeated one")
    source_file: str = pa.Field(description="file, relative to the home where possible")
    source_line: int = pa.Field(ge=1, description="line or row number in the file, from 1")
    extract_id: str = pa.Field(description="run that read the row")


class RowDispositions(Table):
    """One row of a log that was not extracted, and why. Lives in vault.duckdb; holds no text."""

    class Config(Table.Config):
        metadata = {"key": ("source_file", "source_line")}

    source_file: str = pa.Field(description="log file, relative to the home")
    source_line: int = pa.Field(ge=1, description="line or row number in the file, from 1")
    disposition: str = pa.Field(isin=["dropped", "quarantined"], description="dropped by a rule, or quarantined because it cannot be read")
    reason: str = pa.Field(description="reason code")


class QuarantinedRows(Table):
    """One row of a log that could not be read, or one conversation that could not be de-identified, with the reason code and never the text."""

    class Config(Table.Config):
        metadata = {"key": ("stage", "source_file", "source_line", "conversation_key")}

    stage: str = pa.Field(isin=["extraction", "deidentification"], description="stage that refused the row")
    source_file: str = pa.Field(nullable=True, description="log file (extraction)")
    source_line: int = pa.Field(nullable=True, description="line or row number, from 1 (extraction)")
    conversation_key: str = pa.Field(nullable=True, description="keyed hash of the conversation id (de-identification)")
    reason: str = pa.Field(description="reason code")
    made_by: str = pa.Field(description="extract_id or deid_version")


class ExtractionAccounting(Table):
    """Rows of each log file by what became of them: rows in = extracted + dropped + quarantined."""

    class Config(Table.Config):
        metadata = {"key": ("source_file", "disposition", "reason")}

    source_file: str = pa.Field(description="log file, relative to the home")
    disposition: str = pa.Field(isin=["rows_in", "extracted", "dropped", "quarantined"], description="rows_in, extracted, dropped or quarantined")
    reason: str = pa.Field(description="reason code; empty for rows_in and extracted")
    n: int = pa.Field(ge=0, description="rows")


class DeidentifiedCorpus(Table):
    """One de-identified conversation a row."""

    class Config(Table.Config):
        metadata = {"key": ("conversation_key",)}

    conversation_key: str = pa.Field(unique=True, description="keyed hash of the conversation id; the key stays in the vault")
    user_key: str = pa.Field(description="keyed hash of the account id; the key stays in the vault; absent from published tables")
    model_version: str = pa.Field(description="version that answered")
    week: pl.Date = pa.Field(description="Monday of the week in which the conversation started")
    messages: str = pa.Field(description="JSON list of chat messages with surrogates for identifiers")
    metadata: str = pa.Field(description="JSON object of the conversation's properties")
    labels: str = pa.Field(description="JSON object of labels of the last response")
    turn_keys: str = pa.Field(description="JSON list, one keyed hash per user turn, of the conversation up to that turn: finds the same prefix in other conversations")
    n_user_turns: int = pa.Field(ge=0, description="user turns at which it can be cut")
    content_key: str = pa.Field(description="keyed hash of the source row: tells a changed conversation from one that is done")
    deid_version: str = pa.Field(description="hash of detectors, models and policy that made the row")


class StratifiedSample(Table):
    """One prefix a row: the conversation up to and including the user turn at which it was cut, its stratum and its design weight."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "prefix_id")}

    model_version: str = pa.Field(description="candidate release")
    prefix_id: str = pa.Field(description="hash of conversation key and turn")
    conversation_key: str = pa.Field(description="keyed hash of the conversation id")
    user_key: str = pa.Field(description="keyed hash of the account id; absent from published tables")
    stratum: str = pa.Field(description="strata columns as key=value, merged strata named")
    turn: int = pa.Field(ge=0, description="user turn at which the conversation was cut, from 0")
    prefix: str = pa.Field(description="JSON list of messages up to and including the user turn")
    recorded: str = pa.Field(nullable=True, description="JSON message: what production answered; null where it answered nothing")
    recorded_labels: str = pa.Field(description="JSON object of labels of the recorded response; empty unless cut at the last turn")
    metadata: str = pa.Field(description="JSON object of the conversation's properties")
    turn_key: str = pa.Field(description="keyed hash of the prefix, finds recorded responses of other versions")
    inclusion_probability: float = pa.Field(gt=0, le=1, description="probability that this prefix is in the sample")
    weight: float = pa.Field(ge=1, description="1 / inclusion probability: eligible user turns that this prefix stands for")
    sample_id: str = pa.Field(description="hash of plan, population and draw")
    deid_version: str = pa.Field(description="hash of detectors, models and policy that made the row")


class CandidateCompletions(Table):
    """One outcome a row: what became of one request."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "arm", "prefix_id", "k")}

    model_version: str = pa.Field(description="candidate release")
    arm: str = pa.Field(isin=["candidate", "control"], description="candidate: X on Y's prefixes; control: Y regenerated on the same prefixes")
    prefix_id: str = pa.Field(description="hash of conversation key and turn")
    k: int = pa.Field(ge=0, description="repeat, from 0")
    request_hash: str = pa.Field(description="hash of everything that decides the response")
    status: str = pa.Field(isin=STATUSES, description="completed, truncated (token limit), refused (provider's filter) or failed")
    reason: str = pa.Field(nullable=True, description="reason code of refused and failed")
    text: str = pa.Field(nullable=True, description="the response")
    tool_calls: str = pa.Field(description="JSON list of tool calls, recorded and never executed")
    refusal: str = pa.Field(nullable=True, description="the provider's refusal field")
    finish_reason: str = pa.Field(nullable=True, description="the provider's finish reason")
    labels: str = pa.Field(description="JSON object of labels that came with a recorded response")
    served_model: str = pa.Field(nullable=True, description="model name that the provider says it served")
    prompt_tokens: int = pa.Field(ge=0, description="tokens of the request")
    completion_tokens: int = pa.Field(ge=0, description="tokens of the response")
    cost_usd: float = pa.Field(ge=0, description="US dollars, from the registered price")
    latency_s: float = pa.Field(ge=0, description="seconds of the attempt that ended it")
    attempts: int = pa.Field(ge=0, description="requests sent for it in the run that ended it")
    completed_at: Utc = pa.Field(nullable=True, description="UTC time of the outcome")
    reused_from: str = pa.Field(nullable=True, description="release that had already paid for the same request")
    provider_request_id: str = pa.Field(nullable=True, description="the provider's id of the request, for questions to its support")
    system_fingerprint: str = pa.Field(nullable=True, description="the provider's mark of the configuration that answered")
    logprobs: str = pa.Field(nullable=True, description="JSON of the log probabilities, where the settings ask for them")


class ClassifierScores(Table):
    """One behaviour of one outcome a row."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior", "arm", "prefix_id", "k")}

    model_version: str = pa.Field(description="candidate release")
    behavior: str = pa.Field(description="id of the registered behaviour")
    arm: str = pa.Field(isin=ARM_NAMES, description="candidate: X on Y's prefixes; control: Y regenerated on them; recorded: what production answered")
    prefix_id: str = pa.Field(description="hash of conversation key and turn")
    k: int = pa.Field(ge=0, description="repeat, from 0")
    applies: bool = pa.Field(description="the message is eligible for this behaviour")
    label: bool = pa.Field(nullable=True, description="the behaviour occurred; null when missing or not eligible")
    missing_reason: str = pa.Field(nullable=True, description="why an eligible outcome has no label")
    grader_hash: str = pa.Field(description="hash of the behaviour's graders and their code")


class RateComparison(Table):
    """One behaviour in one arm a row: how often, with what uncertainty, and against the other arms. Rates are per message (0-1)."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior", "arm")}

    model_version: str = pa.Field(description="candidate release")
    replaces: str = pa.Field(description="version in production whose log gave the prefixes")
    behavior: str = pa.Field(description="id of the registered behaviour")
    undesired: str = pa.Field(isin=["increase", "decrease", "either"], description="direction in which a change is undesired")
    arm: str = pa.Field(isin=ARM_NAMES, description="candidate: X on Y's prefixes; control: Y regenerated on them; recorded: what production answered")
    n: int = pa.Field(ge=0, description="graded eligible outcomes")
    n_missing: int = pa.Field(ge=0, description="eligible outcomes without a label")
    events: int = pa.Field(ge=0, description="outcomes in which it occurred (unweighted)")
    n_effective: float = pa.Field(nullable=True, ge=0, description="effective exposure: size of a simple sample with the same variance")
    eligible_share: float = pa.Field(nullable=True, ge=0, le=1, description="weighted share of messages that are eligible")
    rate: float = pa.Field(nullable=True, ge=0, le=1, description="weighted rate per eligible message")
    low: float = pa.Field(nullable=True, ge=0, le=1, description="95 % Fay-Feuer gamma lower limit")
    high: float = pa.Field(nullable=True, ge=0, le=1, description="95 % Fay-Feuer gamma upper limit")
    low_midp: float = pa.Field(nullable=True, ge=0, le=1, description="95 % Fay-Kim mid-P lower limit")
    high_midp: float = pa.Field(nullable=True, ge=0, le=1, description="95 % Fay-Kim mid-P upper limit")
    ratio_to_control: float = pa.Field(nullable=True, description="paired rate ratio candidate / control")
    ratio_low: float = pa.Field(nullable=True, description="95 % lower limit of ratio_to_control")
    ratio_high: float = pa.Field(nullable=True, description="95 % upper limit of ratio_to_control; may be infinite")
    difference_to_control: float = pa.Field(nullable=True, description="paired rate difference candidate - control")
    difference_to_control_low: float = pa.Field(nullable=True, description="95 % lower limit of difference_to_control")
    difference_to_control_high: float = pa.Field(nullable=True, description="95 % upper limit of difference_to_control")
    ratio_to_recorded: float = pa.Field(nullable=True, description="paired rate ratio candidate / recorded")
    ratio_to_recorded_low: float = pa.Field(nullable=True, description="95 % lower limit of ratio_to_recorded")
    ratio_to_recorded_high: float = pa.Field(nullable=True, description="95 % upper limit of ratio_to_recorded; may be infinite")
    difference_to_recorded: float = pa.Field(nullable=True, description="paired rate difference candidate - recorded")
    difference_to_recorded_low: float = pa.Field(nullable=True, description="95 % lower limit of difference_to_recorded")
    difference_to_recorded_high: float = pa.Field(nullable=True, description="95 % upper limit of difference_to_recorded")
    floor: float = pa.Field(nullable=True, ge=0, description="detection floor: smallest rate whose zero-event 95 % upper bound the sample could have shown")
    measures: str = pa.Field(isin=["model", "system"], description="what is measured")
    estimator_version: str = pa.Field(description="version of the estimators")


TABLES: tuple[type[Table], ...] = (
    ConsentedLogExtract, RowDispositions, QuarantinedRows, ExtractionAccounting, DeidentifiedCorpus,
    StratifiedSample, CandidateCompletions, ClassifierScores, RateComparison,
)  # fmt: skip


def table_name(table: type[Table]) -> str:
    """Name in DuckDB, which is also the asset key: the class name in snake case."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", table.__name__).lower()


def key_of(table: type[Table]) -> tuple[str, ...]:
    """Columns that identify a row."""
    metadata = table.Config.metadata or {}
    return tuple(metadata["key"])


def dtypes(table: type[Table]) -> dict[str, pl.DataType]:
    """Column name to polars dtype, in the contract's order."""
    return {name: column.dtype.type for name, column in table.to_schema().columns.items()}


def empty(table: type[Table]) -> pl.DataFrame:
    """A frame without rows that fits the contract."""
    return pl.DataFrame(schema=dtypes(table))


def frame(table: type[Table], rows: list[dict[str, object]]) -> pl.DataFrame:
    """Rows as a validated frame of `table`; columns in the contract's order."""
    try:
        data = pl.DataFrame(rows, schema=dtypes(table), orient="row")
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:  # its text quotes the value
        raise ContractError(f"{table_name(table)}: {len(rows)} rows do not fit the contract ({type(error).__name__}: a value is not of its column's type)") from None
    return validated(table, data)


def validated(table: type[Table], data: pl.DataFrame) -> pl.DataFrame:
    """`data` with the contract's columns in order, or ContractError naming table, column, rule and number of rows (never a value)."""
    try:
        table.validate(data, lazy=True)
    except SchemaErrors as error:
        broken = [f"{e.schema.name if e.schema is not None else ''}: {e.reason_code.name if e.reason_code else e.check}" for e in error.schema_errors]
    except SchemaError as error:
        broken = [f"{error.schema.name}: {error.reason_code.name if error.reason_code else 'invalid'}"]
    else:
        return data.select(list(dtypes(table)))
    raise ContractError(f"{table_name(table)}: {len(data)} rows do not fit the contract ({'; '.join(sorted(set(broken)))})")
