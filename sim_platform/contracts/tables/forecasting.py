"""Tables of the forecasting stage.

Belongs here: their columns, meaning, range and key. Does not: what every table shares (schema).
"""

import pandera.polars as pa

from sim_platform.contracts.tables.schema import EARLIER_SAMPLE, Table, Utc


class RateForecast(Table):
    """One method's forecast of one behaviour's rate in service a row; rates per message (0-1)."""

    class Config(Table.Config):
        metadata = {"key": ("model_version", "behavior", "method")}

    model_version: str = pa.Field(description="candidate release")
    behavior: str = pa.Field(description="id of the registered behaviour")
    method: str = pa.Field(
        isin=["persistence", "challenging", "M0", "M2", "M3", "M7"],
        description=(
            "persistence: nothing changes; challenging: changes as on the adversarial prompts of"
            " models.yaml; M0: simulated rate; M2: smoothed; M3: post-stratified to the newest mix;"
            " M7: shrunk and calibrated by the control arm"
        ),
    )
    rate: float = pa.Field(ge=0, le=1, description="forecast of the deployed rate (median)")
    low: float = pa.Field(nullable=True, ge=0, le=1, description="lower 90 % forecast limit (M7)")
    high: float = pa.Field(nullable=True, ge=0, le=1, description="upper 90 % forecast limit (M7)")
    log_variance: float = pa.Field(
        nullable=True,
        ge=0,
        description=(
            "variance of the forecast on the log scale, without discrepancy and the noise of the"
            " count (M7)"
        ),
    )
    tau: float = pa.Field(
        nullable=True,
        ge=0,
        description=(
            "discrepancy on the log scale, learned from control arms and past releases (M7)"
        ),
    )
    chance_of_increase: float = pa.Field(
        nullable=True, ge=0, le=1, description="posterior chance that the rate rises (M7)"
    )
    direction: str = pa.Field(
        nullable=True,
        isin=["increase", "decrease", "no call"],
        description="call between .2 and .8 is none (M7)",
    )
    prior_rate: float = pa.Field(
        ge=0,
        le=1,
        description=(
            "rate of the version in service in the newest weeks, half an event added; over its"
            " whole log where those weeks have too few messages"
        ),
    )
    prior_messages: float = pa.Field(
        nullable=True,
        gt=0,
        description="messages that prior_rate was counted on; null: taken from the recorded arm",
    )
    floor: float = pa.Field(
        gt=0, le=1, description="registered floor: what is observed at or below it is not scored"
    )
    production_messages: float = pa.Field(
        gt=0, description="messages that the interval expects the rate to be counted on"
    )
    is_exploratory: bool = pa.Field(
        nullable=True, description="not registered before outcomes were seen: never decides"
    )
    forecast_version: str = pa.Field(
        nullable=True,
        description="version of the methods of forecasting; null: made before there was one",
    )
    earlier_sample: int = pa.Field(nullable=True, ge=1, description=EARLIER_SAMPLE)


class ForecastLedger(Table):
    """Every forecast and every observation ever made, in the order in which they were made. Rows
    are added, never changed.
    """

    class Config(Table.Config):
        metadata = {"key": ("entry_id",)}

    entry_id: str = pa.Field(
        unique=True,
        description="hash of the entry without its time: the same figures are entered once",
    )
    entry: str = pa.Field(isin=["forecast", "observation"], description="what was entered")
    model_version: str = pa.Field(description="release")
    behavior: str = pa.Field(description="id of the behaviour")
    method: str = pa.Field(nullable=True, description="method of a forecast")
    rate: float = pa.Field(ge=0, le=1, description="forecast rate, or observed rate per message")
    low: float = pa.Field(nullable=True, description="lower 90 % forecast limit")
    high: float = pa.Field(nullable=True, description="upper 90 % forecast limit")
    log_variance: float = pa.Field(nullable=True, description="of the forecast on the log scale")
    tau: float = pa.Field(
        nullable=True,
        ge=0,
        description="discrepancy of the forecast; null for entries of before it was kept",
    )
    prior_rate: float = pa.Field(
        nullable=True, description="rate of the version in service when the forecast was made"
    )
    floor: float = pa.Field(nullable=True, description="registered floor")
    events: float = pa.Field(
        nullable=True, ge=0, description="effective events observed in production"
    )
    messages: float = pa.Field(
        nullable=True, ge=0, description="effective messages observed in production"
    )
    entered_at: Utc = pa.Field(description="UTC time of the entry")
    number: int = pa.Field(
        nullable=True,
        ge=1,
        description="place in the ledger, from 1; null for entries of before there were places",
    )
    chain: str = pa.Field(
        nullable=True,
        description=(
            "hash of this entry and, through the chain of the one before it, of all that were"
            " entered earlier"
        ),
    )


class ForecastScorecard(Table):
    """How good one method's first forecast of a release was, against the release's own log.
    One method a row.
    """

    class Config(Table.Config):
        metadata = {"key": ("model_version", "method")}

    model_version: str = pa.Field(description="release")
    method: str = pa.Field(description="method of the forecast")
    n: int = pa.Field(ge=0, description="behaviours observed above the floor")
    below_floor: int = pa.Field(ge=0, description="behaviours at or below it: counted, not scored")
    median: float = pa.Field(
        nullable=True, ge=1, description="median multiplicative error; 1 is exact"
    )
    mean: float = pa.Field(nullable=True, ge=1, description="mean multiplicative error")
    p90: float = pa.Field(nullable=True, ge=1, description="90th percentile")
    p95: float = pa.Field(nullable=True, ge=1, description="95th percentile")
    within_2: float = pa.Field(nullable=True, ge=0, le=1, description="share within a factor of 2")
    within_5: float = pa.Field(nullable=True, ge=0, le=1, description="share within a factor of 5")
    within_10: float = pa.Field(
        nullable=True, ge=0, le=1, description="share within a factor of 10"
    )
    direction_right: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description=(
            "share of rightly called directions among behaviours that moved at least 1.5 times"
        ),
    )
    n_moved: int = pa.Field(ge=0, description="behaviours that moved at least 1.5 times")
    log_score: float = pa.Field(
        nullable=True, description="mean binomial negative log-likelihood of the observed counts"
    )
    regret: float = pa.Field(
        nullable=True, description="log_score minus that of the observed rates"
    )
    coverage: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description=(
            "share of observed rates inside the 90 % forecast interval, over all behaviours, those"
            " at or below the floor too; a row without coverage_above_floor was made when only"
            " behaviours above it counted"
        ),
    )
    coverage_above_floor: float = pa.Field(
        nullable=True, ge=0, le=1, description="the same over behaviours above the floor alone"
    )
    poisson_limit: float = pa.Field(
        nullable=True, ge=1, description="median error that counting noise alone would give"
    )
