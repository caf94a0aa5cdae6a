"""Tables of the grading stage.

Belongs here: their columns, meaning, range and key. Does not: what every table shares (schema).
"""

import pandera.polars as pa

from sim_platform.contracts.tables.schema import ARM_NAMES, GRADED_ON, Table, Utc


class ClassifierScores(Table):
    """One behaviour of one outcome a row."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior", "arm", "prefix_id", "k")}

    model_version: str = pa.Field(description="candidate release")
    behavior: str = pa.Field(description="id of the registered behaviour")
    arm: str = pa.Field(
        isin=ARM_NAMES,
        description=(
            "candidate: X on Y's prefixes; control: Y regenerated on them; recorded: what"
            " production answered"
        ),
    )
    prefix_id: str = pa.Field(description="hash of conversation key and turn")
    k: int = pa.Field(ge=0, description="repeat, from 0")
    applies: bool = pa.Field(description="the message is eligible for this behaviour")
    label: bool = pa.Field(
        nullable=True, description="the behaviour occurred; null when missing or not eligible"
    )
    missing_reason: str = pa.Field(
        nullable=True, description="why an eligible outcome has no label"
    )
    score: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="how likely the behaviour occurred, where its grader says so",
    )
    is_exploratory: bool = pa.Field(
        description="graded by what was not registered before outcomes were seen: never decides"
    )
    grader_hash: str = pa.Field(description="hash of the behaviour's graders and their code")
    graded_on: str = pa.Field(nullable=True, isin=["raw", "deidentified"], description=GRADED_ON)


class ProductionScores(Table):
    """One behaviour of one recorded response of the deployed version a row, over the version's
    whole log in its weeks and by the same graders as the release's.
    """

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior", "conversation_key", "turn")}

    model_version: str = pa.Field(description="candidate release whose graders these are")
    behavior: str = pa.Field(description="id of the registered behaviour")
    conversation_key: str = pa.Field(description="keyed hash of the conversation id")
    turn: int = pa.Field(ge=0, description="user turn that the response answers, from 0")
    applies: bool = pa.Field(description="the message is eligible for this behaviour")
    label: bool = pa.Field(
        nullable=True, description="the behaviour occurred; null when missing or not eligible"
    )
    missing_reason: str = pa.Field(
        nullable=True, description="why an eligible response has no label"
    )
    score: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="how likely the behaviour occurred, where its grader says so",
    )
    grader_hash: str = pa.Field(description="hash of the behaviour's graders and their code")
    graded_on: str = pa.Field(nullable=True, isin=["raw", "deidentified"], description=GRADED_ON)
    text_key: str = pa.Field(
        nullable=True,
        description="keyed hash of the text that was graded: a changed one is graded again",
    )
    is_whole_turn: bool = pa.Field(
        nullable=True,
        description=(
            "true: the text that ends a turn with tool calls was graded, and all of its calls; null"
            " in rows of an older version, whose turns with calls are graded again"
        ),
    )


class GraderAnswers(Table):
    """One answer of a judge or moderation endpoint about one behaviour of one item a row:
    asked once, ever.
    """

    class Config(Table.Config):
        metadata = {"key": ("question_hash", "item_hash", "question", "vote", "is_canary")}

    question_hash: str = pa.Field(
        description="hash of prompt, model, settings and everything asked together"
    )
    item_hash: str = pa.Field(description="hash of what the grader sees of the item")
    question: str = pa.Field(description="behaviour (judge) or category (moderation)")
    vote: int = pa.Field(ge=0, description="repeat, from 0")
    is_canary: bool = pa.Field(
        description="asked with a planted instruction to the judge; decides nothing"
    )
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
    tokens: float = pa.Field(
        nullable=True, ge=0, description="tokens read and written, the call's over its questions"
    )
    answered_at: Utc = pa.Field(nullable=True, description="UTC time of the answer")
    tokens_estimated: bool = pa.Field(
        nullable=True, description="true where the provider gave no usable count of tokens"
    )
    asked_for: str = pa.Field(
        nullable=True,
        description="release whose run asked, or calibrate.BEHAVIOR; null in older answers",
    )


class LabelDraws(Table):
    """One outcome that was drawn for people to label a row. The file that people get has the item
    id alone: it tells neither arm nor flag.
    """

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior", "item_id")}

    model_version: str = pa.Field(description="candidate release")
    behavior: str = pa.Field(description="id of the registered behaviour")
    item_id: str = pa.Field(description="hash of release, behaviour, arm, prefix and repeat")
    arm: str = pa.Field(isin=ARM_NAMES, description="arm of the outcome")
    prefix_id: str = pa.Field(description="prefix of the outcome")
    k: int = pa.Field(ge=0, description="repeat, from 0")
    label_stratum: str = pa.Field(
        isin=["flag", "near_miss", "rest"],
        description="flagged, unflagged with one of the highest scores, or any other unflagged",
    )
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
    annotator: str = pa.Field(
        description="who labelled, as the file names them; empty where it does not"
    )
    label: bool = pa.Field(nullable=True, description="whether it occurred; null: abstained")
    grader_hash: str = pa.Field(description="graders whose flags decided the drawing")


class Calibration(Table):
    """One behaviour in one arm a row: the grader against people's labels, and the four rates. Rates
    are per message (0-1).
    """

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
    verified: float = pa.Field(
        nullable=True,
        ge=0,
        description="rate of flags that people confirmed: a floor for the truth",
    )
    verified_low: float = pa.Field(nullable=True, ge=0, description="95 % Fay-Feuer lower limit")
    verified_high: float = pa.Field(nullable=True, ge=0, description="95 % Fay-Feuer upper limit")
    corrected: float = pa.Field(
        nullable=True,
        ge=0,
        description="confirmed flags and missed occurrences, weighted by 1 / chance of a label",
    )
    corrected_low: float = pa.Field(
        nullable=True, ge=0, description="95 % lower limit: what the labels prove"
    )
    corrected_high: float = pa.Field(nullable=True, ge=0, description="95 % upper limit: bound")
    bound: float = pa.Field(
        nullable=True,
        ge=0,
        description=(
            "95 % upper bound from labelled flags and labelled negatives, assuming nothing about"
            " the grader"
        ),
    )
    ppi: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="no longer given: it was shown where many errors happened to be found",
    )
    ppi_low: float = pa.Field(nullable=True, ge=0, le=1, description="no longer given")
    ppi_high: float = pa.Field(nullable=True, ge=0, le=1, description="no longer given")
    sensitivity: float = pa.Field(
        nullable=True, ge=0, le=1, description="share of the occurrences that the grader flags"
    )
    sensitivity_low: float = pa.Field(nullable=True, ge=0, le=1, description="95 % lower limit")
    sensitivity_high: float = pa.Field(nullable=True, ge=0, le=1, description="95 % upper limit")
    specificity: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="share of what did not occur that the grader does not flag",
    )
    p_sensitivity: float = pa.Field(
        nullable=True, ge=0, le=1, description="two-sided p that it is the candidate's sensitivity"
    )
    p_specificity: float = pa.Field(
        nullable=True, ge=0, le=1, description="two-sided p that it is the candidate's specificity"
    )
    status: str = pa.Field(
        description="trusted, judge-limited, or the reason why the rates cannot be trusted"
    )
    refused: str = pa.Field(description="JSON object: rate that is not given, and why")
    is_exploratory: bool = pa.Field(
        nullable=True, description="not registered before outcomes were seen: never decides"
    )
