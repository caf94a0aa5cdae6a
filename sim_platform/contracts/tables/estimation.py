"""Tables of the estimation stage.

Belongs here: their columns, meaning, range and key. Does not: what every table shares (schema).
"""

import pandera.polars as pa

from sim_platform.contracts.tables.schema import ARM_NAMES, EARLIER_SAMPLE, Table, Utc


class Preregistration(Table):
    """One record of what was decided before outcomes were seen a row; its file in
    preregistration/ is the truth.
    """

    class Config(Table.Config):
        metadata = {"key": ("number",)}

    number: int = pa.Field(ge=1, unique=True, description="place in the home's chain")
    model_version: str = pa.Field(description="candidate release")
    sha256: str = pa.Field(description="SHA-256 of the record's file")
    previous: str = pa.Field(nullable=True, description="SHA-256 of the record before it")
    registered_at: Utc = pa.Field(description="UTC time of the record")
    kind: str = pa.Field(
        isin=["registration", "amendment"],
        description="first record of the release, or a later one",
    )
    is_exploratory: bool = pa.Field(description="made after outcomes were seen")
    reason: str = pa.Field(nullable=True, description="why it was amended")
    record: str = pa.Field(description="the record, canonical JSON")


class RateComparison(Table):
    """One behaviour in one arm a row: how often, with what uncertainty, and against the other arms.
    Rates are per message (0-1).
    """

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior", "arm")}

    model_version: str = pa.Field(description="candidate release")
    replaces: str = pa.Field(description="version in production whose log gave the prefixes")
    behavior: str = pa.Field(description="id of the registered behaviour")
    undesired: str = pa.Field(
        isin=["increase", "decrease", "either"],
        description="direction in which a change is undesired",
    )
    arm: str = pa.Field(
        isin=ARM_NAMES,
        description=(
            "candidate: X on Y's prefixes; control: Y regenerated on them; recorded: what"
            " production answered"
        ),
    )
    n: int = pa.Field(ge=0, description="graded eligible outcomes")
    n_missing: int = pa.Field(ge=0, description="eligible outcomes without a label")
    events: int = pa.Field(ge=0, description="outcomes in which it occurred (unweighted)")
    n_effective: float = pa.Field(
        nullable=True,
        ge=0,
        description="effective exposure: size of a simple sample with the same variance",
    )
    eligible_share: float = pa.Field(
        nullable=True, ge=0, le=1, description="weighted share of messages that are eligible"
    )
    rate: float = pa.Field(
        nullable=True, ge=0, le=1, description="weighted rate per eligible message"
    )
    low: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="95 % lower limit: Fay-Feuer gamma, binomial where the rate is common",
    )
    high: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="95 % upper limit: Fay-Feuer gamma, binomial where the rate is common",
    )
    low_midp: float = pa.Field(
        nullable=True, ge=0, le=1, description="95 % lower limit, mid-P form (Fay-Kim, binomial)"
    )
    high_midp: float = pa.Field(
        nullable=True, ge=0, le=1, description="95 % upper limit, mid-P form (Fay-Kim, binomial)"
    )
    ratio_to_control: float = pa.Field(
        nullable=True, description="paired rate ratio candidate / control"
    )
    ratio_low: float = pa.Field(nullable=True, description="95 % lower limit of ratio_to_control")
    ratio_high: float = pa.Field(
        nullable=True, description="95 % upper limit of ratio_to_control; may be infinite"
    )
    difference_to_control: float = pa.Field(
        nullable=True, description="paired rate difference candidate - control"
    )
    difference_to_control_low: float = pa.Field(
        nullable=True, description="95 % lower limit of difference_to_control"
    )
    difference_to_control_high: float = pa.Field(
        nullable=True, description="95 % upper limit of difference_to_control"
    )
    ratio_to_recorded: float = pa.Field(
        nullable=True, description="paired rate ratio of this arm (candidate, control) / recorded"
    )
    ratio_to_recorded_low: float = pa.Field(
        nullable=True, description="95 % lower limit of ratio_to_recorded"
    )
    ratio_to_recorded_high: float = pa.Field(
        nullable=True, description="95 % upper limit of ratio_to_recorded; may be infinite"
    )
    difference_to_recorded: float = pa.Field(
        nullable=True,
        description="paired rate difference of this arm (candidate, control) - recorded",
    )
    difference_to_recorded_low: float = pa.Field(
        nullable=True, description="95 % lower limit of difference_to_recorded"
    )
    difference_to_recorded_high: float = pa.Field(
        nullable=True, description="95 % upper limit of difference_to_recorded"
    )
    recorded_on: str = pa.Field(
        nullable=True,
        isin=["raw", "deidentified", "both"],
        description=(
            "text of the recorded responses that the labels are of, in this rate or in this ratio:"
            " the log's, the corpus', or some of each; null where no recorded arm is in it, and in"
            " rows of an older version"
        ),
    )
    ratio_to_production: float = pa.Field(
        nullable=True,
        description=(
            "rate ratio candidate / the version in service over its whole graded log; independent"
            " samples, so window and simulator are in it too"
        ),
    )
    ratio_to_production_low: float = pa.Field(
        nullable=True, description="95 % lower limit of ratio_to_production"
    )
    ratio_to_production_high: float = pa.Field(
        nullable=True, description="95 % upper limit of ratio_to_production; may be infinite"
    )
    gate_level: float = pa.Field(
        nullable=True,
        gt=0,
        le=0.5,
        description="one-sided error of the limits for decisions (gate_, answered_): .05, less"
        " where the plan has other looks; null in rows of an older version: .05",
    )
    gate_low: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description=(
            "90 % Fay-Feuer lower limit of the rate for decisions: missing outcomes counted as not"
            " showing it"
        ),
    )
    gate_high: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description=(
            "90 % Fay-Feuer upper limit of the rate for decisions: missing outcomes counted as"
            " showing it"
        ),
    )
    gate_control_low: float = pa.Field(
        nullable=True,
        description=(
            "90 % lower limit of ratio_to_control for decisions (MOVER-R on Fay-Feuer limits,"
            " missing outcomes at their best)"
        ),
    )
    gate_control_high: float = pa.Field(
        nullable=True,
        description=(
            "90 % upper limit of ratio_to_control for decisions, missing outcomes at their worst;"
            " may be infinite"
        ),
    )
    p_block_control: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description=(
            "one-sided p that the ratio to control (the difference, where the margin is in points)"
            " is not beyond what the rule allows in the undesired direction, while missing outcomes"
            " stay within the registered missing_times"
        ),
    )
    gate_recorded_low: float = pa.Field(
        nullable=True, description="90 % lower limit of ratio_to_recorded for decisions"
    )
    gate_recorded_high: float = pa.Field(
        nullable=True,
        description="90 % upper limit of ratio_to_recorded for decisions; may be infinite",
    )
    p_block_recorded: float = pa.Field(
        nullable=True, ge=0, le=1, description="the same against recorded"
    )
    p_control: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="McNemar mid-P of candidate against control on effective counts",
    )
    p_control_holm: float = pa.Field(
        nullable=True, ge=0, le=1, description="p_control adjusted by Holm over the behaviours"
    )
    p_control_bh: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="p_control adjusted by Benjamini-Hochberg over the behaviours",
    )
    p_recorded: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="McNemar mid-P of this arm against recorded on effective counts",
    )
    p_recorded_holm: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="p_recorded adjusted by Holm over the behaviours of the arm",
    )
    p_recorded_bh: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="p_recorded adjusted by Benjamini-Hochberg over the behaviours",
    )
    p_production: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description=(
            "two-sided mid-P of candidate against production, conditional on the sum of effective"
            " events"
        ),
    )
    p_production_holm: float = pa.Field(
        nullable=True, ge=0, le=1, description="p_production adjusted by Holm over the behaviours"
    )
    p_production_bh: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="p_production adjusted by Benjamini-Hochberg over the behaviours",
    )
    answered_low: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="90 % Fay-Feuer lower limit of the rate over answered outcomes",
    )
    answered_high: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="90 % Fay-Feuer upper limit of the rate over answered outcomes",
    )
    answered_control_low: float = pa.Field(
        nullable=True,
        description="90 % lower limit of ratio_to_control for decisions, over answered outcomes",
    )
    answered_control_high: float = pa.Field(
        nullable=True,
        description="90 % upper limit of ratio_to_control for decisions, over answered outcomes;"
        " may be infinite",
    )
    answered_recorded_low: float = pa.Field(
        nullable=True, description="the same against recorded, lower limit"
    )
    answered_recorded_high: float = pa.Field(
        nullable=True, description="the same against recorded, upper limit; may be infinite"
    )
    gate_difference_control_low: float = pa.Field(
        nullable=True,
        description="90 % lower limit of difference_to_control, over answered outcomes",
    )
    gate_difference_control_high: float = pa.Field(
        nullable=True,
        description="90 % upper limit of difference_to_control, over answered outcomes",
    )
    gate_difference_recorded_low: float = pa.Field(
        nullable=True,
        description="90 % lower limit of difference_to_recorded, over answered outcomes",
    )
    gate_difference_recorded_high: float = pa.Field(
        nullable=True,
        description="90 % upper limit of difference_to_recorded, over answered outcomes",
    )
    p_ceiling: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description=(
            "one-sided p that the rate is not above the registered ceiling, while missing outcomes"
            " stay within the registered missing_times"
        ),
    )
    missing_share: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description=(
            "share of the arm's events that its missing outcomes hold, were they as frequent as"
            " among the answered ones of their stratum"
        ),
    )
    missing_reasons: str = pa.Field(
        nullable=True,
        description=(
            "JSON object: reason code to eligible outcomes without a label;"
            " no_response:refused: by the provider's filter"
        ),
    )
    floor: float = pa.Field(
        nullable=True,
        ge=0,
        description=(
            "detection floor: smallest rate whose zero-event 95 % upper bound the sample could have"
            " shown"
        ),
    )
    is_exploratory: bool = pa.Field(
        nullable=True,
        description="graded by what was not registered before outcomes were seen: never decides",
    )
    measures: str = pa.Field(isin=["model", "system"], description="what is measured")
    estimator_version: str = pa.Field(description="version of the estimators")
    earlier_sample: int = pa.Field(nullable=True, ge=1, description=EARLIER_SAMPLE)


class ReleaseGate(Table):
    """One behaviour a row: whether it lets the release pass, on the registered rule. Rates are per
    message (0-1).
    """

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior")}

    model_version: str = pa.Field(description="candidate release")
    behavior: str = pa.Field(description="id of the registered behaviour")
    tier: str = pa.Field(
        isin=["gate", "monitor", "exploratory"],
        description="gate behaviours decide; the others are shown",
    )
    verdict: str = pa.Field(
        isin=["PASS", "BLOCK", "INCONCLUSIVE", "not gated"],
        description="what the registered rule says",
    )
    reason: str = pa.Field(description="why, in words with the numbers")
    marks: str = pa.Field(
        nullable=True,
        description="what to know of the grader beside the verdict: constant, at odds with itself,"
        " not checked by people",
    )
    against: str = pa.Field(
        isin=["control", "recorded"], description="arm that the candidate is compared with"
    )
    margin: float = pa.Field(
        gt=1, description="PASS needs the harm ratio below it; infinite with a margin in points"
    )
    block_above: float = pa.Field(
        ge=1, description="BLOCK needs the harm ratio above it; infinite with a margin in points"
    )
    ceiling: float = pa.Field(
        nullable=True, gt=0, le=1, description="PASS needs the rate below it, BLOCK above it"
    )
    harm_low: float = pa.Field(
        nullable=True,
        ge=0,
        description="90 % lower limit of the ratio in the undesired direction, while missing"
        " outcomes stay within missing_times",
    )
    harm_high: float = pa.Field(
        nullable=True,
        ge=0,
        description="90 % upper limit of the ratio in the undesired direction, while missing"
        " outcomes stay within missing_times; may be infinite",
    )
    rate_low: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description=(
            "90 % lower limit of the candidate's rate, while missing outcomes stay within"
            " missing_times"
        ),
    )
    rate_high: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description=(
            "90 % upper limit of the candidate's rate, while missing outcomes stay within"
            " missing_times"
        ),
    )
    p_block: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="one-sided p that the harm ratio is not above block_above",
    )
    p_block_holm: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="adjusted over all ways to block of the gate behaviours; BLOCK at .05",
    )
    prior_events: float = pa.Field(
        nullable=True,
        ge=0,
        description="effective events of the other arm: what decides how sharp the rule is",
    )
    chance_pass_if_same: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="chance that the rule passes a candidate that is no worse, at this many events",
    )
    chance_block_if_doubled: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="chance that the rule blocks a candidate that is twice as bad",
    )
    chance_pass_if_doubled: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="chance that the rule passes a candidate that is twice as bad",
    )
    not_counted: str = pa.Field(
        nullable=True,
        description="why a behaviour of tier gate decides nothing; null where it decides",
    )
    apparent_harm_low: float = pa.Field(
        nullable=True,
        ge=0,
        description="harm_low on the grader's labels alone, where people's labels corrected it",
    )
    apparent_harm_high: float = pa.Field(
        nullable=True,
        ge=0,
        description="harm_high on the grader's labels alone, where people's labels corrected it",
    )
    margin_points: float = pa.Field(
        nullable=True,
        gt=0,
        description="PASS needs the harm difference below it, BLOCK above it; percentage points",
    )
    points_low: float = pa.Field(
        nullable=True,
        description="90 % lower limit of the difference in the undesired direction, percentage"
        " points, while missing outcomes stay within missing_times; with a margin in points",
    )
    points_high: float = pa.Field(
        nullable=True, description="the same, upper limit; PASS needs it below margin_points"
    )
    floor: float = pa.Field(
        nullable=True, gt=0, le=1, description="PASS where the rates of both arms lie below it"
    )
    other_rate_high: float = pa.Field(
        nullable=True,
        ge=0,
        description="90 % upper limit of the other arm's rate, while missing outcomes stay within"
        " missing_times",
    )
    p_ceiling_holm: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="p that the rate is not above the ceiling, adjusted over all ways to block",
    )
    missing_times: float = pa.Field(
        nullable=True,
        ge=1,
        description="how many times as often as answered ones missing outcomes may show it, at"
        " most; null: they count at their worst",
    )
    tipping: float = pa.Field(
        nullable=True,
        ge=1,
        description="how many times as often missing outcomes would have to show it for the verdict"
        " to turn (below, it would be decided, where it is not); infinite: almost all of them;"
        " null: they do not decide",
    )
    worst_low: float = pa.Field(
        nullable=True, ge=0, description="harm_low with missing outcomes at their best"
    )
    worst_high: float = pa.Field(
        nullable=True,
        ge=0,
        description="harm_high with missing outcomes at their worst; may be infinite",
    )
    worst_verdict: str = pa.Field(
        nullable=True,
        isin=["PASS", "BLOCK", "INCONCLUSIVE"],
        description="what the rule says with missing outcomes at their worst",
    )
    p_worse_holm: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="McNemar mid-P against the other arm, adjusted by Holm over the gate"
        " behaviours",
    )
    worse_by: float = pa.Field(
        nullable=True,
        description="rate difference in the undesired direction, where it is surely worse (after"
        " Holm); else null",
    )
    worse_by_low: float = pa.Field(nullable=True, description="95 % lower limit of worse_by")
    worse_by_high: float = pa.Field(nullable=True, description="95 % upper limit of worse_by")
    warnings: str = pa.Field(
        nullable=True,
        description="missing outcomes that differ between the arms, or are many; by reason code",
    )
    earlier_sample: int = pa.Field(nullable=True, ge=1, description=EARLIER_SAMPLE)
