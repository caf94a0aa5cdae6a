"""`models.yaml`: the versions of the model, who answers for them, with what settings,
limits and plan.

Belongs here: its keys, their defaults and what they allow. Does not: reading the file (home),
asking a model (replay).
"""

from datetime import date
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from sim_platform.contracts.tools import wrong_tool
from sim_platform.registry.schema import Strict, Version

ResponseFormat = Literal["json_schema", "json_object", "text"]  # the strictest first


class Deployed(Strict):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    from_: date = Field(alias="from")
    until: date | None = None


class Price(Strict):
    input_per_mtok: float = Field(ge=0)
    output_per_mtok: float = Field(ge=0)


class Settings(Strict):
    """Sampling settings that are sent with each request; what is not set is not sent."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    # what reasoning models take in place of max_tokens
    max_completion_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = None
    stop: list[str] | None = None
    reasoning_effort: str | None = None
    # functions that are offered to the model; its calls are recorded, never executed
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)


class Budget(Strict):
    """What a release may spend in all its runs together; the run that reaches it stops and
    can be resumed.
    """

    max_usd: float | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, ge=1)


class BatchApi(Strict):
    """How provider openai_batch asks: in files, at a lower price, with answers within a day."""

    # of one batch: the endpoint's own limits, or lower
    max_requests: int = Field(default=50_000, ge=1, le=50_000)
    max_megabytes: float = Field(default=200.0, gt=0, le=200.0)
    # what an ended batch left unanswered: another batch, or one by one at the full price
    unfinished: Literal["resubmit", "online"] = "resubmit"
    price_factor: float = Field(default=0.5, ge=0, le=1)  # of `price`


class ChallengingRates(Strict):
    """What an adversarial prompt set gave for one behaviour: rates per prompt of the version in
    service and of the candidate.
    """

    replaced: float = Field(gt=0, le=1)
    candidate: float = Field(ge=0, le=1)


class Plan(Strict):
    """How the release's sample is drawn and which arms are replayed."""

    sample_size: int = Field(default=1000, ge=1)
    # metadata keys; a double quote cannot be written in a path of DuckDB
    strata: list[Annotated[str, Field(pattern=r'^[^"]+$')]] = []
    floor: int = Field(default=50, ge=1)
    cut: Literal["last_user_turn", "uniform_user_turn"] = "last_user_turn"
    arms: list[Literal["candidate", "control", "recorded"]] = ["candidate", "control", "recorded"]
    salt: str = "r1"
    completions_per_prefix: int = Field(default=1, ge=1)
    boost: dict[
        str, Annotated[float, Field(gt=0, le=100)]
    ] = {}  # stratum, as `plan` prints it: times as many places as its size gives it
    # smaller samples at which `run --until decided` looks, before sample_size
    looks: list[Annotated[int, Field(ge=1)]] = []

    @model_validator(mode="after")
    def candidate_is_there(self) -> Self:
        if "candidate" not in self.arms:
            raise ValueError("arms must include candidate")
        return self

    @model_validator(mode="after")
    def looks_grow(self) -> Self:
        sizes = [0, *self.looks, self.sample_size]
        if any(first >= second for first, second in pairwise(sizes)):
            raise ValueError("looks must grow and stay below sample_size")
        return self

    @model_serializer(mode="wrap")
    def _as_registered(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without empty boosts and looks: plans that were registered before there were any stay
        the same.
        """
        later = ("boost", "looks")
        return {key: value for key, value in dump(self).items() if key not in later or value}


class ModelVersion(Strict):
    """One version of the served model."""

    version: Version
    provider: Literal["openai", "openai_batch", "local", "recorded"]
    replaces: Version | None = None
    deployed: Deployed | None = None
    base_url: str | None = None
    model: str | None = None  # name on the wire (openai) or installed model package (local)
    api: Literal["chat_completions", "responses"] = "chat_completions"
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    system_prompt: str = "keep"  # keep: the one in the log
    settings: Settings = Settings()
    measures: Literal["model", "system"] = "model"
    # of a judge's answers; default: the strictest that the endpoint takes
    response_format: ResponseFormat | None = None
    price: Price | None = None
    concurrency: int = Field(default=8, ge=1, le=1024)  # over all workers
    workers: int = Field(default=1, ge=1, le=64)  # processes; one saturates one core
    timeout_seconds: float = Field(default=120, gt=0)
    max_retries: int = Field(default=4, ge=0)
    # shared by all runs of this home against the same endpoint
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    on_error: dict[
        str, Literal["retry", "fail", "stop"]
    ] = {}  # reason code: another treatment than the usual
    budget: Budget = Budget()
    batch: BatchApi = BatchApi()
    challenging: dict[
        str, ChallengingRates
    ] = {}  # behaviour: figures from outside, for the baseline that the forecast is shown beside
    plan: Plan = Plan()

    @model_validator(mode="after")
    def tools_are_functions(self) -> Self:
        if wrong := wrong_tool(self.settings.tools or []):
            raise ValueError(f"{self.version}: settings.tools[{wrong.index}]: {wrong.what}")
        return self

    @model_validator(mode="after")
    def provider_is_complete(self) -> Self:
        if self.is_remote and not (self.base_url and self.model):
            raise ValueError(f"provider {self.provider} needs base_url and model")
        if self.api == "responses" and not self.is_remote:
            raise ValueError(
                f"api responses is for provider openai or openai_batch, not {self.provider}"
            )
        if self.api == "responses" and (
            unknown := [
                name for name in ("seed", "stop") if getattr(self.settings, name) is not None
            ]
        ):
            raise ValueError(
                f"settings: api responses has no {' and no '.join(unknown)}; take it out, or use"
                " api chat_completions"
            )
        if self.workers > 1 and self.provider != "openai":
            raise ValueError(
                f"workers: {self.workers} is for provider openai; {self.provider} has one"
            )
        if self.workers > self.concurrency:
            raise ValueError(
                f"workers: {self.workers} is more than concurrency ({self.concurrency}), which they"
                " share"
            )
        if self.budget.max_usd is not None and self.is_remote and self.price is None:
            raise ValueError("budget.max_usd needs price: without it no cost is known")
        if self.replaces == self.version:
            raise ValueError(
                f'replaces itself ("{self.version}"); name the version in production whose log'
                " should be replayed"
            )
        return self

    @property
    def is_remote(self) -> bool:
        """Asked over HTTP, and possibly paid."""
        return self.provider in ("openai", "openai_batch")

    @property
    def has_known_cost(self) -> bool:
        """Whether what an answer costs can be said: it costs nothing, or has a price."""
        return not self.is_remote or self.price is not None


class Models(Strict):
    models: list[ModelVersion] = Field(min_length=1)
