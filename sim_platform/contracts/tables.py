"""One truth per table: the pandera model gives the dtypes, the DDL, the column docs in the UI and the check.

Belongs here: table names, keys, columns, their meaning and range. Does not: reading or writing (warehouse), rules across tables (gates).
JSON columns are canonical JSON text.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any

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
    n_messages: int = pa.Field(nullable=True, ge=0, description="messages of the conversation")
    n_messages_changed: int = pa.Field(nullable=True, ge=0, description="messages in which something was masked")
    n_chars: int = pa.Field(nullable=True, ge=0, description="characters scanned in them")
    n_chars_masked: int = pa.Field(nullable=True, ge=0, description="characters masked")


class Erasures(Table):
    """Tombstones: who was forgotten, one account a row. Kept in the vault; the warehouse has a copy for its gates."""

    class Config(Table.Config):
        metadata = {"key": ("user_key",)}

    user_key: str = pa.Field(unique=True, description="keyed hash of the account id; absent from published tables")
    forgotten_at: Utc = pa.Field(description="UTC time of the request")


class Canaries(Table):
    """Made-up identifiers planted in shadow copies of conversations, one type a row, summed over all batches of one deid_version."""

    class Config(Table.Config):
        metadata = {"key": ("deid_version", "type")}

    deid_version: str = pa.Field(description="hash of detectors, models and policy")
    type: str = pa.Field(description="kind of identifier")
    planted: int = pa.Field(ge=0, description="canaries in shadow copies that came through; copies that were quarantined are left out")
    survived: int = pa.Field(ge=0, description="canaries that could still be read afterwards")


class DeidAudits(Table):
    """A second look at a random share of the conversations, one measure and type a row, summed over all batches of one deid_version."""

    class Config(Table.Config):
        metadata = {"key": ("deid_version", "measure", "type")}

    deid_version: str = pa.Field(description="hash of detectors, models and policy")
    measure: str = pa.Field(
        isin=["second_detector", "determinism", "idempotence"],
        description="second_detector: identifiers that another detector sees; determinism: conversations done twice; idempotence: characters of the result that were scanned again",
    )
    type: str = pa.Field(description="kind of identifier, or what is counted")
    n: int = pa.Field(ge=0, description="how many were looked at")
    n_bad: int = pa.Field(ge=0, description="not masked whole; different the second time; masked when scanned again")


class StrataSuppression(Table):
    """What k-anonymity over the strata columns cost, one row a column set: a class is everybody with the same values, and its size is counted in distinct users."""

    class Config(Table.Config):
        metadata = {"key": ("strata_columns",)}

    strata_columns: str = pa.Field(unique=True, description="JSON list of the metadata keys that are strata of any release")
    k: int = pa.Field(ge=1, description="distinct users that a class needs")
    n_conversations: int = pa.Field(ge=0, description="conversations of the corpus")
    n_suppressed: int = pa.Field(ge=0, description="conversations whose values of these columns were replaced by (rare)")
    n_users: int = pa.Field(ge=0, description="distinct users of the corpus")
    n_users_suppressed: int = pa.Field(ge=0, description="distinct users with such a conversation")
    n_classes: int = pa.Field(ge=0, description="classes that stand")
    n_classes_suppressed: int = pa.Field(ge=0, description="classes that were suppressed")
    smallest_class: int = pa.Field(ge=0, description="distinct users of the smallest class that is left, (rare) included")


class DeidentificationEffect(Table):
    """What de-identification does to one behaviour's rate: the same recorded responses graded as they stand in the log and as they stand in the corpus. Numbers only."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior")}

    model_version: str = pa.Field(description="candidate release whose graders these are")
    behavior: str = pa.Field(description="id of the registered behaviour")
    deid_version: str = pa.Field(description="hash of detectors, models and policy that made the corpus")
    n: int = pa.Field(ge=0, description="responses with a label on both texts")
    n_missing: int = pa.Field(ge=0, description="eligible responses without a label on either")
    rate_raw: float = pa.Field(nullable=True, ge=0, le=1, description="rate per message on the log's text")
    rate_deidentified: float = pa.Field(nullable=True, ge=0, le=1, description="rate per message on the corpus' text")
    n_appeared: int = pa.Field(ge=0, description="responses that show it only after de-identification")
    n_vanished: int = pa.Field(ge=0, description="responses that show it only before")
    shift: float = pa.Field(nullable=True, description="rate_deidentified - rate_raw")
    shift_low: float = pa.Field(nullable=True, description="95 % lower limit of the shift (paired, Tango)")
    shift_high: float = pa.Field(nullable=True, description="95 % upper limit")
    p: float = pa.Field(nullable=True, ge=0, le=1, description="McNemar mid-P of no shift")


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
    reused_from: str = pa.Field(nullable=True, description="release that had already paid for the same request; imported: brought from elsewhere")
    provider_request_id: str = pa.Field(nullable=True, description="the provider's id of the request, for questions to its support")
    system_fingerprint: str = pa.Field(nullable=True, description="the provider's mark of the configuration that answered")
    logprobs: str = pa.Field(nullable=True, description="JSON of the log probabilities, where the settings ask for them")
    reasoning: str = pa.Field(nullable=True, description="reasoning that the provider returned beside the text; rules grade the text alone, a judge may see both")


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
    score: float = pa.Field(nullable=True, ge=0, le=1, description="how likely the behaviour occurred, where its grader says so")
    is_exploratory: bool = pa.Field(description="graded by what was not registered before outcomes were seen: never decides")
    grader_hash: str = pa.Field(description="hash of the behaviour's graders and their code")


class ProductionScores(Table):
    """One behaviour of one recorded response of the deployed version a row, over the version's whole log in its weeks and by the same graders as the release's."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior", "conversation_key", "turn")}

    model_version: str = pa.Field(description="candidate release whose graders these are")
    behavior: str = pa.Field(description="id of the registered behaviour")
    conversation_key: str = pa.Field(description="keyed hash of the conversation id")
    turn: int = pa.Field(ge=0, description="user turn that the response answers, from 0")
    applies: bool = pa.Field(description="the message is eligible for this behaviour")
    label: bool = pa.Field(nullable=True, description="the behaviour occurred; null when missing or not eligible")
    missing_reason: str = pa.Field(nullable=True, description="why an eligible response has no label")
    score: float = pa.Field(nullable=True, ge=0, le=1, description="how likely the behaviour occurred, where its grader says so")
    grader_hash: str = pa.Field(description="hash of the behaviour's graders and their code")


class GraderAnswers(Table):
    """One answer of a judge or moderation endpoint about one behaviour of one item a row: asked once, ever."""

    class Config(Table.Config):
        metadata = {"key": ("question_hash", "item_hash", "question", "vote", "is_canary")}

    question_hash: str = pa.Field(description="hash of prompt, model, settings and everything asked together")
    item_hash: str = pa.Field(description="hash of what the grader sees of the item")
    question: str = pa.Field(description="behaviour (judge) or category (moderation)")
    vote: int = pa.Field(ge=0, description="repeat, from 0")
    is_canary: bool = pa.Field(description="asked with a planted instruction to the judge; decides nothing")
    planted: bool = pa.Field(nullable=True, description="label that the planted instruction wanted")
    label: bool = pa.Field(nullable=True, description="what was answered")
    score: float = pa.Field(nullable=True, ge=0, le=1, description="how likely, as answered")
    rationale: str = pa.Field(description="the judge's sentence; may quote the response")
    evidence: str = pa.Field(description="the judge's quotation from the response")
    missing_reason: str = pa.Field(nullable=True, description="why there is no label")
    prefix_id: str = pa.Field(description="prefix of the item that was asked about first")
    asked_by: str = pa.Field(description="version of models.yaml that answered")
    request_hash: str = pa.Field(description="hash of the request that was answered")
    cost_usd: float = pa.Field(ge=0, description="US dollars, the call's cost over its questions")
    tokens: float = pa.Field(nullable=True, ge=0, description="tokens read and written, the call's over its questions")
    answered_at: Utc = pa.Field(nullable=True, description="UTC time of the answer")


class LabelDraws(Table):
    """One outcome that was drawn for people to label a row. The file that people get has the item id alone: it tells neither arm nor flag."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior", "item_id")}

    model_version: str = pa.Field(description="candidate release")
    behavior: str = pa.Field(description="id of the registered behaviour")
    item_id: str = pa.Field(description="hash of release, behaviour, arm, prefix and repeat")
    arm: str = pa.Field(isin=ARM_NAMES, description="arm of the outcome")
    prefix_id: str = pa.Field(description="prefix of the outcome")
    k: int = pa.Field(ge=0, description="repeat, from 0")
    label_stratum: str = pa.Field(isin=["flag", "near_miss", "rest"], description="flagged, unflagged with one of the highest scores, or any other unflagged")
    label_probability: float = pa.Field(gt=0, le=1, description="chance with which it was drawn")
    is_double: bool = pa.Field(description="to be labelled by two people")
    grader_hash: str = pa.Field(description="graders whose flags decided the drawing")


class HumanLabels(Table):
    """One person's label of one drawn outcome for one behaviour a row."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior", "item_id", "annotator")}

    model_version: str = pa.Field(description="candidate release")
    behavior: str = pa.Field(description="id of the registered behaviour")
    item_id: str = pa.Field(description="item of label_draws")
    annotator: str = pa.Field(description="who labelled, as the file names them; empty where it does not")
    label: bool = pa.Field(nullable=True, description="whether it occurred; null: abstained")
    grader_hash: str = pa.Field(description="graders whose flags decided the drawing")


class Calibration(Table):
    """One behaviour in one arm a row: the grader against people's labels, and the four rates. Rates are per message (0-1)."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior", "arm")}

    model_version: str = pa.Field(description="candidate release")
    behavior: str = pa.Field(description="id of the registered behaviour")
    arm: str = pa.Field(isin=ARM_NAMES, description="arm whose labels these are")
    n: int = pa.Field(ge=0, description="outcomes with a person's label and the grader's")
    tp: int = pa.Field(ge=0, description="occurred, flagged")
    fp: int = pa.Field(ge=0, description="did not occur, flagged")
    fn: int = pa.Field(ge=0, description="occurred, not flagged")
    tn: int = pa.Field(ge=0, description="did not occur, not flagged")
    abstained: int = pa.Field(ge=0, description="labelled outcomes without the grader's label")
    apparent: float = pa.Field(nullable=True, ge=0, le=1, description="rate of flags")
    apparent_low: float = pa.Field(nullable=True, ge=0, le=1, description="95 % lower limit")
    apparent_high: float = pa.Field(nullable=True, ge=0, le=1, description="95 % upper limit")
    verified: float = pa.Field(nullable=True, ge=0, description="rate of flags that people confirmed: a floor for the truth")
    verified_low: float = pa.Field(nullable=True, ge=0, description="95 % Fay-Feuer lower limit")
    verified_high: float = pa.Field(nullable=True, ge=0, description="95 % Fay-Feuer upper limit")
    corrected: float = pa.Field(nullable=True, ge=0, description="verified over the validated sensitivity")
    corrected_low: float = pa.Field(nullable=True, ge=0, description="95 % melded lower limit")
    corrected_high: float = pa.Field(nullable=True, ge=0, description="95 % melded upper limit")
    bound: float = pa.Field(nullable=True, ge=0, description="95 % upper bound from labelled flags and labelled negatives, assuming nothing about the grader")
    ppi: float = pa.Field(nullable=True, ge=0, le=1, description="prediction-powered rate: grader scores everywhere, corrected by the labels")
    ppi_low: float = pa.Field(nullable=True, ge=0, le=1, description="95 % lower limit (normal theory)")
    ppi_high: float = pa.Field(nullable=True, ge=0, le=1, description="95 % upper limit (normal theory)")
    status: str = pa.Field(description="trusted, judge-limited, or the reason why the rates cannot be trusted")
    refused: str = pa.Field(description="JSON object: rate that is not given, and why")
    is_exploratory: bool = pa.Field(nullable=True, description="not registered before outcomes were seen: never decides")


class Preregistration(Table):
    """One record of what was decided before outcomes were seen a row; its file in preregistration/ is the truth."""

    class Config(Table.Config):
        metadata = {"key": ("number",)}

    number: int = pa.Field(ge=1, unique=True, description="place in the home's chain")
    model_version: str = pa.Field(description="candidate release")
    sha256: str = pa.Field(description="SHA-256 of the record's file")
    previous: str = pa.Field(nullable=True, description="SHA-256 of the record before it")
    registered_at: Utc = pa.Field(description="UTC time of the record")
    kind: str = pa.Field(isin=["registration", "amendment"], description="first record of the release, or a later one")
    is_exploratory: bool = pa.Field(description="made after outcomes were seen")
    reason: str = pa.Field(nullable=True, description="why it was amended")
    record: str = pa.Field(description="the record, canonical JSON")


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
    ratio_to_production: float = pa.Field(
        nullable=True, description="rate ratio candidate / the version in service over its whole graded log; independent samples, so window and simulator are in it too"
    )
    ratio_to_production_low: float = pa.Field(nullable=True, description="95 % lower limit of ratio_to_production")
    ratio_to_production_high: float = pa.Field(nullable=True, description="95 % upper limit of ratio_to_production; may be infinite")
    gate_low: float = pa.Field(nullable=True, ge=0, le=1, description="90 % Fay-Feuer lower limit of the rate for decisions: missing outcomes counted as not showing it")
    gate_high: float = pa.Field(nullable=True, ge=0, le=1, description="90 % Fay-Feuer upper limit of the rate for decisions: missing outcomes counted as showing it")
    gate_control_low: float = pa.Field(
        nullable=True, description="90 % lower limit of ratio_to_control for decisions (MOVER-R on Fay-Feuer limits, missing outcomes at their best)"
    )
    gate_control_high: float = pa.Field(nullable=True, description="90 % upper limit of ratio_to_control for decisions, missing outcomes at their worst; may be infinite")
    p_block_control: float = pa.Field(
        nullable=True, ge=0, le=1, description="one-sided p that the ratio to control is not beyond the registered block_above in the undesired direction"
    )
    gate_recorded_low: float = pa.Field(nullable=True, description="90 % lower limit of ratio_to_recorded for decisions")
    gate_recorded_high: float = pa.Field(nullable=True, description="90 % upper limit of ratio_to_recorded for decisions; may be infinite")
    p_block_recorded: float = pa.Field(nullable=True, ge=0, le=1, description="the same against recorded")
    p_control: float = pa.Field(nullable=True, ge=0, le=1, description="McNemar mid-P of candidate against control on effective counts")
    p_control_holm: float = pa.Field(nullable=True, ge=0, le=1, description="p_control adjusted by Holm over the behaviours")
    p_control_bh: float = pa.Field(nullable=True, ge=0, le=1, description="p_control adjusted by Benjamini-Hochberg over the behaviours")
    p_recorded: float = pa.Field(nullable=True, ge=0, le=1, description="McNemar mid-P of candidate against recorded on effective counts")
    p_recorded_holm: float = pa.Field(nullable=True, ge=0, le=1, description="p_recorded adjusted by Holm over the behaviours")
    p_recorded_bh: float = pa.Field(nullable=True, ge=0, le=1, description="p_recorded adjusted by Benjamini-Hochberg over the behaviours")
    p_production: float = pa.Field(nullable=True, ge=0, le=1, description="two-sided mid-P of candidate against production, conditional on the sum of effective events")
    p_production_holm: float = pa.Field(nullable=True, ge=0, le=1, description="p_production adjusted by Holm over the behaviours")
    p_production_bh: float = pa.Field(nullable=True, ge=0, le=1, description="p_production adjusted by Benjamini-Hochberg over the behaviours")
    floor: float = pa.Field(nullable=True, ge=0, description="detection floor: smallest rate whose zero-event 95 % upper bound the sample could have shown")
    is_exploratory: bool = pa.Field(nullable=True, description="graded by what was not registered before outcomes were seen: never decides")
    measures: str = pa.Field(isin=["model", "system"], description="what is measured")
    estimator_version: str = pa.Field(description="version of the estimators")


class ReleaseGate(Table):
    """One behaviour a row: whether it lets the release pass, on the registered rule. Rates are per message (0-1)."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior")}

    model_version: str = pa.Field(description="candidate release")
    behavior: str = pa.Field(description="id of the registered behaviour")
    tier: str = pa.Field(isin=["gate", "monitor", "exploratory"], description="gate behaviours decide; the others are shown")
    verdict: str = pa.Field(isin=["PASS", "BLOCK", "INCONCLUSIVE", "not gated"], description="what the registered rule says")
    reason: str = pa.Field(description="why, in words with the numbers")
    against: str = pa.Field(isin=["control", "recorded"], description="arm that the candidate is compared with")
    margin: float = pa.Field(gt=1, description="PASS needs the harm ratio below it")
    block_above: float = pa.Field(ge=1, description="BLOCK needs the harm ratio above it")
    ceiling: float = pa.Field(nullable=True, gt=0, le=1, description="PASS needs the rate below it, BLOCK above it")
    harm_low: float = pa.Field(nullable=True, ge=0, description="90 % lower limit of the ratio in the undesired direction")
    harm_high: float = pa.Field(nullable=True, ge=0, description="90 % upper limit of the ratio in the undesired direction; may be infinite")
    rate_low: float = pa.Field(nullable=True, ge=0, le=1, description="90 % lower limit of the candidate's rate, missing outcomes counted as not showing it")
    rate_high: float = pa.Field(nullable=True, ge=0, le=1, description="90 % upper limit of the candidate's rate, missing outcomes counted as showing it")
    p_block: float = pa.Field(nullable=True, ge=0, le=1, description="one-sided p that the harm ratio is not above block_above")
    p_block_holm: float = pa.Field(nullable=True, ge=0, le=1, description="adjusted over the gate behaviours; BLOCK at .05")
    prior_events: float = pa.Field(nullable=True, ge=0, description="effective events of the other arm: what decides how sharp the rule is")
    chance_pass_if_same: float = pa.Field(nullable=True, ge=0, le=1, description="chance that the rule passes a candidate that is no worse, at this many events")
    chance_block_if_doubled: float = pa.Field(nullable=True, ge=0, le=1, description="chance that the rule blocks a candidate that is twice as bad")
    chance_pass_if_doubled: float = pa.Field(nullable=True, ge=0, le=1, description="chance that the rule passes a candidate that is twice as bad")


class RateForecast(Table):
    """One method's forecast of one behaviour's rate in service a row. Rates are per message (0-1)."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior", "method")}

    model_version: str = pa.Field(description="candidate release")
    behavior: str = pa.Field(description="id of the registered behaviour")
    method: str = pa.Field(
        isin=["persistence", "challenging", "M0", "M2", "M3", "M7"],
        description="persistence: nothing changes; challenging: changes as on the adversarial prompts of models.yaml; M0: simulated rate; M2: smoothed; M3: post-stratified to the newest mix; M7: shrunk and calibrated by the control arm",
    )
    rate: float = pa.Field(ge=0, le=1, description="forecast of the deployed rate (median)")
    low: float = pa.Field(nullable=True, ge=0, le=1, description="lower 90 % forecast limit (M7)")
    high: float = pa.Field(nullable=True, ge=0, le=1, description="upper 90 % forecast limit (M7)")
    log_variance: float = pa.Field(nullable=True, ge=0, description="variance of the forecast on the log scale, without discrepancy and the noise of the count (M7)")
    tau: float = pa.Field(nullable=True, ge=0, description="discrepancy on the log scale, learned from past releases (M7)")
    chance_of_increase: float = pa.Field(nullable=True, ge=0, le=1, description="posterior chance that the rate rises (M7)")
    direction: str = pa.Field(nullable=True, isin=["increase", "decrease", "no call"], description="call between .2 and .8 is none (M7)")
    prior_rate: float = pa.Field(ge=0, le=1, description="rate of the version in service in the newest weeks, half an event added")
    floor: float = pa.Field(gt=0, le=1, description="registered floor: what is observed at or below it is not scored")
    production_messages: float = pa.Field(gt=0, description="messages that the interval expects the rate to be counted on")
    is_exploratory: bool = pa.Field(nullable=True, description="not registered before outcomes were seen: never decides")


class ForecastLedger(Table):
    """Every forecast and every observation ever made, in the order in which they were made. Rows are added, never changed."""

    class Config(Table.Config):
        metadata = {"key": ("entry_id",)}

    entry_id: str = pa.Field(unique=True, description="hash of the entry without its time: the same figures are entered once")
    entry: str = pa.Field(isin=["forecast", "observation"], description="what was entered")
    model_version: str = pa.Field(description="release")
    behavior: str = pa.Field(description="id of the behaviour")
    method: str = pa.Field(nullable=True, description="method of a forecast")
    rate: float = pa.Field(ge=0, le=1, description="forecast rate, or observed rate per message")
    low: float = pa.Field(nullable=True, description="lower 90 % forecast limit")
    high: float = pa.Field(nullable=True, description="upper 90 % forecast limit")
    log_variance: float = pa.Field(nullable=True, description="of the forecast on the log scale")
    prior_rate: float = pa.Field(nullable=True, description="rate of the version in service when the forecast was made")
    floor: float = pa.Field(nullable=True, description="registered floor")
    events: float = pa.Field(nullable=True, ge=0, description="effective events observed in production")
    messages: float = pa.Field(nullable=True, ge=0, description="effective messages observed in production")
    entered_at: Utc = pa.Field(description="UTC time of the entry")
    number: int = pa.Field(nullable=True, ge=1, description="place in the ledger, from 1; null for entries of before there were places")
    chain: str = pa.Field(nullable=True, description="hash of this entry and, through the chain of the one before it, of all that were entered earlier")


class ForecastScorecard(Table):
    """How good one method's first forecast of a release was, against the release's own log. One method a row."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "method")}

    model_version: str = pa.Field(description="release")
    method: str = pa.Field(description="method of the forecast")
    n: int = pa.Field(ge=0, description="behaviours observed above the floor")
    below_floor: int = pa.Field(ge=0, description="behaviours at or below it: counted, not scored")
    median: float = pa.Field(nullable=True, ge=1, description="median multiplicative error; 1 is exact")
    mean: float = pa.Field(nullable=True, ge=1, description="mean multiplicative error")
    p90: float = pa.Field(nullable=True, ge=1, description="90th percentile")
    p95: float = pa.Field(nullable=True, ge=1, description="95th percentile")
    within_2: float = pa.Field(nullable=True, ge=0, le=1, description="share within a factor of 2")
    within_5: float = pa.Field(nullable=True, ge=0, le=1, description="share within a factor of 5")
    within_10: float = pa.Field(nullable=True, ge=0, le=1, description="share within a factor of 10")
    direction_right: float = pa.Field(nullable=True, ge=0, le=1, description="share of rightly called directions among behaviours that moved at least 1.5 times")
    n_moved: int = pa.Field(ge=0, description="behaviours that moved at least 1.5 times")
    log_score: float = pa.Field(nullable=True, description="mean binomial negative log-likelihood of the observed counts")
    regret: float = pa.Field(nullable=True, description="log_score minus that of the observed rates")
    coverage: float = pa.Field(nullable=True, ge=0, le=1, description="share of observed rates inside the 90 % forecast interval")
    poisson_limit: float = pa.Field(nullable=True, ge=1, description="median error that counting noise alone would give")


TABLES: tuple[type[Table], ...] = (
    ConsentedLogExtract, RowDispositions, QuarantinedRows, ExtractionAccounting, Erasures, Canaries, DeidentifiedCorpus, DeidAudits, StrataSuppression, DeidentificationEffect,
    StratifiedSample, CandidateCompletions, ClassifierScores, ProductionScores, GraderAnswers, LabelDraws, HumanLabels, Calibration, Preregistration,
    RateComparison, ReleaseGate, RateForecast, ForecastLedger, ForecastScorecard,
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


_CHECKS: Mapping[str, Callable[[pl.Expr, Mapping[str, Any]], pl.Expr]] = {
    "greater_than_or_equal_to": lambda column, limit: column >= limit["min_value"],
    "greater_than": lambda column, limit: column > limit["min_value"],
    "less_than_or_equal_to": lambda column, limit: column <= limit["max_value"],
    "isin": lambda column, limit: column.is_in(limit["allowed_values"]),
}


@cache
def _rules(table: type[Table]) -> pl.Expr | None:
    """Everything the contract asks of values, as one expression: pandera goes through a frame column by column and check by check, 40 ms a table, and is asked only where this says no.

    None where the contract has a check that is not known here; then pandera alone decides.
    """
    wanted = [pl.lit(True)]
    for name, column in table.to_schema().columns.items():
        values = pl.col(name)
        if not column.nullable:
            wanted.append(values.null_count() == 0)
            if column.dtype.type.is_float():
                wanted.append(values.is_nan().any().not_())
        if column.unique:
            wanted.append(values.n_unique() == pl.len())
        for check in column.checks:
            if check.name not in _CHECKS:
                return None
            wanted.append(_CHECKS[check.name](values, check.statistics).all(ignore_nulls=True))
    return pl.all_horizontal(wanted)


def frame(table: type[Table], rows: list[dict[str, object]]) -> pl.DataFrame:
    """Rows as a validated frame of `table`; columns in the contract's order."""
    try:
        data = pl.DataFrame(rows, schema=dtypes(table), orient="row")
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:  # its text quotes the value
        raise ContractError(f"{table_name(table)}: {len(rows)} rows do not fit the contract ({type(error).__name__}: a value is not of its column's type)") from None
    return validated(table, data)


def validated(table: type[Table], data: pl.DataFrame) -> pl.DataFrame:
    """`data` with the contract's columns in order, or ContractError naming table, column, rule and number of rows (never a value)."""
    if dict(data.schema) == dtypes(table) and (rules := _rules(table)) is not None and data.select(rules).item():
        return data.select(list(dtypes(table)))
    try:
        table.validate(data, lazy=True)
    except SchemaErrors as error:
        broken = [f"{e.schema.name if e.schema is not None else ''}: {e.reason_code.name if e.reason_code else e.check}" for e in error.schema_errors]
    except SchemaError as error:
        broken = [f"{error.schema.name}: {error.reason_code.name if error.reason_code else 'invalid'}"]
    else:
        return data.select(list(dtypes(table)))
    raise ContractError(f"{table_name(table)}: {len(data)} rows do not fit the contract ({'; '.join(sorted(set(broken)))})")
