"""A deployment's configuration: `sources.yaml`, `models.yaml` and `behaviors/*.yaml` of the home folder.

Belongs here: what may be configured, its defaults, and errors that name file, key, value and allowed values. Does not: doing anything with it.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, TypeAdapter, ValidationError, model_serializer, model_validator

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import JsonScalar

Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Predicate = dict[str, JsonScalar | list[JsonScalar]]


def holds(predicate: Mapping[str, JsonScalar | Sequence[JsonScalar]], metadata: Mapping[str, JsonScalar]) -> bool:
    """Whether every key of `predicate` has its value (or one of its values) in `metadata`; an absent key counts as null, the empty predicate holds."""
    return all(metadata.get(key) in (wanted if isinstance(wanted, list) else [wanted]) for key, wanted in predicate.items())


Parsed = TypeVar("Parsed", bound=BaseModel)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ConversationsSource(Strict):
    """JSONL (also .gz, .zst) or Parquet, one conversation a row."""

    reader: Literal["conversations"]
    path: str


class TableSource(Strict):
    """CSV or Parquet of prompt-response rows. Columns are named by what they hold; several `id` columns are joined by a slash."""

    reader: Literal["table"]
    path: str
    id: str | list[str]
    prompt: str
    response: str
    model: str
    timestamp: str
    user: str | None = None  # without it, every row is a user of its own
    timestamp_format: str | None = None  # strptime format of UTC times; default ISO 8601
    model_versions: dict[str, Version] = {}  # value in the file -> version in models.yaml
    metadata: dict[str, str] = {}  # metadata key -> column
    labels: dict[str, str] = {}  # label name -> column
    constants: dict[str, JsonScalar] = {}  # metadata with one value for the whole file


Source = Annotated[ConversationsSource | TableSource, Field(discriminator="reader")]


class Consent(Strict):
    """Either a ledger with a scope, or the explicit policy `all` with its reason, which every report prints."""

    ledger: str | None = None
    scope: str | None = None
    all: str | None = Field(default=None, min_length=10)

    @model_validator(mode="after")
    def one_policy(self) -> Self:
        if (self.all is None) == (self.ledger is None) or (self.ledger is None) != (self.scope is None):
            raise ValueError('give either {ledger: FILE, scope: NAME} or {all: "<why this is allowed>"}')
        return self


KnownType = Literal["PERSON", "EMAIL", "PHONE", "ADDRESS", "ID", "USERNAME", "DATE_OF_BIRTH", "SSN", "CARD", "IBAN"]


class Accounts(Strict):
    """CSV or Parquet with what is known about accounts: each value is looked for in the account's own conversations."""

    file: str  # below the home
    user: str = "user_id"  # column with the account id
    columns: dict[str, KnownType] = Field(min_length=1)  # column -> what it holds


class Deidentification(Strict):
    policy: str = "strict"  # strict, balanced, or a YAML file below the home
    workers: int = Field(default=1, ge=1, le=64)  # processes; each holds the models
    accounts: Accounts | None = None
    account_metadata: dict[str, KnownType] = {}  # metadata key of a conversation -> what it says of the account holder
    k: int = Field(default=10, ge=1)  # distinct users that must share their strata; rarer ones are suppressed
    audit_share: float = Field(default=0.01, ge=0, le=1)  # share of conversations that get a second look
    audit_policy: str = "audit"  # the second detector: a policy file below the home


class Sources(Strict):
    sources: list[Source] = Field(min_length=1)
    deidentification: Deidentification = Deidentification()
    consent: Consent
    exclude: dict[str, Predicate] = {}


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
    max_completion_tokens: int | None = Field(default=None, ge=1)  # what reasoning models take in place of max_tokens
    seed: int | None = None
    stop: list[str] | None = None
    reasoning_effort: str | None = None
    tools: list[dict[str, Any]] | None = None  # offered to the model; its calls are recorded, never executed
    tool_choice: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)


class Budget(Strict):
    """What a release may spend in all its runs together; the run that reaches it stops and can be resumed."""

    max_usd: float | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, ge=1)


class BatchApi(Strict):
    """How provider openai_batch asks: in files, at a lower price, with answers within a day."""

    max_requests: int = Field(default=50_000, ge=1, le=50_000)  # of one batch: the endpoint's own limits, or lower
    max_megabytes: float = Field(default=200.0, gt=0, le=200.0)
    unfinished: Literal["resubmit", "online"] = "resubmit"  # what an ended batch left unanswered: another batch, or one by one at the full price
    price_factor: float = Field(default=0.5, ge=0, le=1)  # of `price`


class ChallengingRates(Strict):
    """What an adversarial prompt set gave for one behaviour: rates per prompt of the version in service and of the candidate."""

    replaced: float = Field(gt=0, le=1)
    candidate: float = Field(ge=0, le=1)


class Plan(Strict):
    """How the release's sample is drawn and which arms are replayed."""

    sample_size: int = Field(default=1000, ge=1)
    strata: list[str] = []
    floor: int = Field(default=50, ge=1)
    cut: Literal["last_user_turn", "uniform_user_turn"] = "last_user_turn"
    arms: list[Literal["candidate", "control", "recorded"]] = ["candidate", "control", "recorded"]
    salt: str = "r1"
    completions_per_prefix: int = Field(default=1, ge=1)
    boost: dict[str, Annotated[float, Field(gt=0, le=100)]] = {}  # stratum, as `plan` prints it: times as many places as its size gives it

    @model_validator(mode="after")
    def candidate_is_there(self) -> Self:
        if "candidate" not in self.arms:
            raise ValueError("arms must include candidate")
        return self

    @model_serializer(mode="wrap")
    def _as_registered(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without an empty boost: plans that were registered before there were boosts stay the same."""
        return {key: value for key, value in dump(self).items() if key != "boost" or value}


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
    price: Price | None = None
    concurrency: int = Field(default=8, ge=1, le=1024)  # over all workers
    workers: int = Field(default=1, ge=1, le=64)  # processes; one saturates one core
    timeout_seconds: float = Field(default=120, gt=0)
    max_retries: int = Field(default=4, ge=0)
    requests_per_minute: float | None = Field(default=None, gt=0)  # shared by all runs of this home against the same endpoint
    tokens_per_minute: float | None = Field(default=None, gt=0)
    on_error: dict[str, Literal["retry", "fail", "stop"]] = {}  # reason code: another treatment than the usual
    budget: Budget = Budget()
    batch: BatchApi = BatchApi()
    challenging: dict[str, ChallengingRates] = {}  # behaviour: figures from outside, for the baseline that the forecast is shown beside
    plan: Plan = Plan()

    @model_validator(mode="after")
    def provider_is_complete(self) -> Self:
        if self.is_remote and not (self.base_url and self.model):
            raise ValueError(f"provider {self.provider} needs base_url and model")
        if self.api == "responses" and not self.is_remote:
            raise ValueError(f"api responses is for provider openai or openai_batch, not {self.provider}")
        if self.api == "responses" and (unknown := [name for name in ("seed", "stop") if getattr(self.settings, name) is not None]):
            raise ValueError(f"settings: api responses has no {' and no '.join(unknown)}; take it out, or use api chat_completions")
        if self.workers > 1 and self.provider != "openai":
            raise ValueError(f"workers: {self.workers} is for provider openai; {self.provider} has one")
        if self.workers > self.concurrency:
            raise ValueError(f"workers: {self.workers} is more than concurrency ({self.concurrency}), which they share")
        if self.budget.max_usd is not None and self.is_remote and self.price is None:
            raise ValueError("budget.max_usd needs price: without it no cost is known")
        if self.replaces == self.version:
            raise ValueError(f'replaces itself ("{self.version}"); name the version in production whose log should be replayed')
        return self

    @property
    def is_remote(self) -> bool:
        """Asked over HTTP, and possibly paid."""
        return self.provider in ("openai", "openai_batch")


class Models(Strict):
    models: list[ModelVersion] = Field(min_length=1)


class RegexGrader(Strict):
    """The behaviour occurred when the pattern is found in the response (Python `re` syntax; case counts only if asked)."""

    kind: Literal["regex"]
    pattern: str
    ignore_case: bool = True
    negate: bool = False

    @model_validator(mode="after")
    def compiles(self) -> Self:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern is not a regular expression: {error}") from None
        return self


class ContainsGrader(Strict):
    """The behaviour occurred when the response contains any (or all) of the phrases."""

    kind: Literal["contains"]
    any: list[str] = []
    all: list[str] = []
    ignore_case: bool = True
    negate: bool = False

    @model_validator(mode="after")
    def has_phrases(self) -> Self:
        if not (self.any or self.all):
            raise ValueError("give phrases in any or all")
        return self


class AnswerEqualsGrader(Strict):
    """The behaviour occurred when the answer equals the reference in the conversation's metadata. `extract` is a pattern whose first group is the answer; its last match counts."""

    kind: Literal["answer_equals"]
    reference: str
    extract: str | None = None
    ignore_case: bool = True
    negate: bool = False


class RecordedLabelGrader(Strict):
    """The behaviour occurred when the label that came with the recorded response has one of the values; a response without the label is missing."""

    kind: Literal["recorded_label"]
    label: str
    is_one_of: list[JsonScalar] = ["1", 1, True, "true", "True", "yes"]


class PythonGrader(Strict):
    """A named function of `sim_platform.grading.functions`."""

    kind: Literal["python"]
    function: str
    arguments: dict[str, JsonScalar] = {}


class ClassifierGrader(Strict):
    """The behaviour occurred when the trained model's score reaches its threshold. `sim-platform train-grader` writes the file."""

    kind: Literal["classifier"]
    file: str  # below the home
    threshold: float | None = Field(default=None, ge=0, le=1)  # default: the one chosen on held-out labels, kept in the file


class ModerationGrader(Strict):
    """The behaviour occurred when an OpenAI-compatible moderation endpoint flags the category, or scores it at the threshold or above."""

    kind: Literal["moderation"]
    model: Version = "moderation"  # version of models.yaml that answers
    category: str
    threshold: float | None = Field(default=None, ge=0, le=1)


class JudgeGrader(Strict):
    """A language model decides by the behaviour's `rubric` (its definition where it has none). The judge is a version of models.yaml that needs neither `replaces` nor `deployed`."""

    kind: Literal["judge"]
    model: Version = "judge"
    votes: int = Field(default=1, ge=1, le=15)  # the majority decides; a tie is missing
    with_reasoning: bool = True  # false: the judge does not see logged reasoning
    max_chars: int = Field(default=60_000, ge=1000)  # a longer response is missing, of a longer conversation the judge sees the end
    per_call: int = Field(default=20, ge=1, le=50)  # behaviours asked in one call
    canary_share: float = Field(default=0.0, ge=0, le=1)  # share of items asked a second time with a planted instruction


ScreenConfig = Annotated[
    RegexGrader | ContainsGrader | AnswerEqualsGrader | RecordedLabelGrader | PythonGrader | ClassifierGrader | ModerationGrader, Field(discriminator="kind")
]


class EnsembleGrader(Strict):
    """Cheap graders of high recall screen; the judge decides about what any of them flags, or cannot tell. What none flags did not occur."""

    kind: Literal["ensemble"]
    screen: list[ScreenConfig] = Field(min_length=1)
    judge: JudgeGrader


GraderConfig = Annotated[
    RegexGrader | ContainsGrader | AnswerEqualsGrader | RecordedLabelGrader | PythonGrader | ClassifierGrader | ModerationGrader | JudgeGrader | EnsembleGrader,
    Field(discriminator="kind"),
]


class GateRule(Strict):
    """When a behaviour holds a release up. The ratio is candidate over `against` (turned round where a decrease is undesired); limits are those for decisions, at 90 %.

    PASS needs the ratio below `margin` and, with a ceiling, the rate below it; BLOCK the ratio above `block_above` or the rate above the ceiling; anything else is INCONCLUSIVE.
    """

    against: Literal["control", "recorded"] = "control"
    margin: float = Field(default=2.0, gt=1)
    block_above: float = Field(default=1.25, ge=1)
    ceiling_per_100k: float | None = Field(default=None, gt=0, le=100_000)

    @model_validator(mode="after")
    def leaves_room(self) -> Self:
        if self.block_above >= self.margin:
            raise ValueError(f"block_above ({self.block_above:g}) must lie below margin ({self.margin:g}), or one release could pass and be blocked")
        return self


class Behavior(Strict):
    """One registered behaviour. It occurred when any of its graders says so.

    `tier`: gate behaviours decide about a release, monitor behaviours are reported, exploratory ones are reported as such.
    """

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    title: str
    definition: str
    undesired: Literal["increase", "decrease", "either"] = "increase"
    tier: Literal["gate", "monitor", "exploratory"] = "monitor"
    gate: GateRule = GateRule()
    graders: list[GraderConfig] = Field(min_length=1)
    applies_to: Predicate = {}
    rubric: str | None = Field(default=None, max_length=20_000)  # what a judge is told; default: the definition
    needs_tool_traces: bool = False  # cannot be seen in text alone: a log without tool calls says nothing about it

    @model_validator(mode="after")
    def one_judge(self) -> Self:
        if len(self.judges) > 1:
            raise ValueError("give one judge (or ensemble) at most; several votes are `votes`")
        return self

    @property
    def judges(self) -> list[JudgeGrader]:
        """The judge among its graders, where there is one."""
        return [g.judge if isinstance(g, EnsembleGrader) else g for g in self.graders if isinstance(g, JudgeGrader | EnsembleGrader)]

    @property
    def parts(self) -> list[GraderConfig]:
        """Its graders, with those inside of ensembles."""
        return [part for g in self.graders for part in ([*g.screen, g.judge] if isinstance(g, EnsembleGrader) else [g])]

    @model_validator(mode="after")
    def ceiling_has_a_side(self) -> Self:
        if self.gate.ceiling_per_100k is not None and self.undesired != "increase":
            raise ValueError("gate.ceiling_per_100k is for behaviours whose increase is undesired; give a margin instead")
        return self


@dataclass(frozen=True)
class Home:
    """A validated home folder."""

    path: Path
    sources: Sources
    models: tuple[ModelVersion, ...]
    behaviors: tuple[Behavior, ...]

    @cached_property
    def by_version(self) -> dict[str, ModelVersion]:
        return {m.version: m for m in self.models}

    @property
    def releases(self) -> tuple[str, ...]:
        """Candidate releases (versions that replace another): the partition keys."""
        return tuple(m.version for m in self.models if m.replaces is not None)

    def release(self, version: str) -> tuple[ModelVersion, ModelVersion]:
        """The candidate and the version that it replaces; BadInputError when `version` is not a candidate release of this home."""
        candidate = self.by_version.get(version)
        if candidate is None or candidate.replaces is None:
            what = "is not in" if candidate is None else "replaces nothing in"
            raise BadInputError(
                f'models.yaml: "{version}" {what} the registry (releases: {", ".join(self.releases) or "none"}). Add it with `replaces`, or name one of those.'
            )
        return candidate, self.by_version[candidate.replaces]

    def lacks(self, behavior: Behavior) -> str | None:
        """What this home does not have and the behaviour's graders need; None when it can be graded."""
        for part in behavior.parts:
            if isinstance(part, JudgeGrader | ModerationGrader) and part.model not in self.by_version:
                return f'no version "{part.model}" in models.yaml to answer as {part.kind}; add one to grade this behaviour'
            if isinstance(part, ClassifierGrader) and not (self.path / part.file).is_file():
                return f"no file {part.file}; make it with `sim-platform train-grader --behavior {behavior.id}`"
        return None

    @cached_property
    def graded(self) -> tuple[Behavior, ...]:
        """Behaviours whose graders this home can run. The others are named with their reason by `not_graded`, and cost nothing."""
        return tuple(b for b in self.behaviors if self.lacks(b) is None)

    @cached_property
    def not_graded(self) -> dict[str, str]:
        """Behaviour id to what is missing."""
        return {b.id: reason for b in self.behaviors if (reason := self.lacks(b)) is not None}

    @property
    def vault(self) -> Path:
        return self.path / "vault.duckdb"

    @property
    def warehouse(self) -> Path:
        return self.path / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        return self.path / "published.duckdb"

    @property
    def reports(self) -> Path:
        return self.path / "reports"


def home_path() -> Path:
    """`SIM_PLATFORM_HOME`, else `data` below the current folder."""
    return Path(os.environ.get("SIM_PLATFORM_HOME") or "data").resolve()


def load_home(path: Path) -> Home:
    """Reads and validates a home folder.

    Raises:
        BadInputError: one line per mistake, each naming file, key, value and what is allowed.
    """
    if not path.is_dir():
        raise BadInputError(f"{path}: no such folder. Set SIM_PLATFORM_HOME to a home folder (sources.yaml, models.yaml, behaviors/).")
    sources = _parse(Sources, path / "sources.yaml", path)
    models = _parse(Models, path / "models.yaml", path).models
    behavior_files = sorted((path / "behaviors").glob("*.yaml"))
    if not behavior_files:
        raise BadInputError(f"{path / 'behaviors'}: no behaviour (*.yaml). Register at least one.")
    behaviors = [_parse(Behavior, file, path) for file in behavior_files]
    mistakes = [*_registry_mistakes(models)]
    registered = [behavior.id for behavior in behaviors]
    for model in models:
        for name in model.challenging:
            if name not in registered:
                mistakes.append(f'models.yaml: {model.version}: challenging: "{name}" is not a registered behaviour (registered: {", ".join(registered)})')
    for file, behavior in zip(behavior_files, behaviors, strict=True):
        if behavior.id != file.stem:
            mistakes.append(f'behaviors/{file.name}: id: "{behavior.id}" differs from the file name; rename one of them')
        for grader in behavior.parts:
            if isinstance(grader, JudgeGrader | ModerationGrader) and grader.model in (m.version for m in models if m.provider == "openai_batch"):
                mistakes.append(
                    f'behaviors/{file.name}: {grader.kind}: "{grader.model}" has provider openai_batch, but graders are asked at once and at the full price; '
                    "register the same model again with provider openai"
                )
    if mistakes:
        raise BadInputError("\n".join(mistakes))
    return Home(path, sources, tuple(models), tuple(behaviors))


def _registry_mistakes(models: Sequence[ModelVersion]) -> list[str]:
    versions = [m.version for m in models]
    known = f"versions: {', '.join(dict.fromkeys(versions))}"
    mistakes = [f'models.yaml: version "{v}" stands twice; give each version once' for v in dict.fromkeys(versions) if versions.count(v) > 1]
    for model in models:
        if model.replaces is None:
            continue
        replaced = next((m for m in models if m.version == model.replaces), None)
        if replaced is None:
            mistakes.append(
                f'models.yaml: {model.version} replaces "{model.replaces}", which is not a version in this file ({known}). '
                "Add it, or point `replaces` at the version whose log should be replayed."
            )
        elif replaced.deployed is None:
            mistakes.append(
                f"models.yaml: {model.version} replaces {model.replaces}, which has no `deployed: {{from: DATE}}`; only a deployed version has production traffic to replay."
            )
    return mistakes


def _parse(kind: type[Parsed], file: Path, home: Path) -> Parsed:
    name = file.relative_to(home)
    try:
        data = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)  # ten times as fast as yaml.safe_load; every asset reads the home
    except FileNotFoundError:
        raise BadInputError(f"{name}: missing in {home}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{name}: cannot be read: {type(error).__name__}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise BadInputError(f"{name}:{where} is not YAML: {getattr(error, 'problem', None) or 'unreadable'}") from None
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        raise BadInputError("\n".join(f"{name}: {_mistake(e)}" for e in error.errors())) from None


def _mistake(error: Any) -> str:
    place = ""
    for step in error["loc"]:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else str(step)
    value = error.get("input")
    shown = f" (value: {value!r})" if isinstance(value, str | int | float | bool | None) and error["type"] != "missing" else ""
    if "key" in str(error["loc"][-1:]):
        shown = " (value withheld: it may be a key; api_key_env names the environment variable that holds it)"
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):  # which of several kinds is meant: pydantic calls it a tag
        context = error["ctx"]
        key = context["discriminator"].strip("'")
        given = f'"{context["tag"]}" is not known (allowed: {context["expected_tags"]})' if "tag" in context else "missing; it says which kind this is"
        return f"{place}.{key}: {given}"
    text = "unknown key; remove it or correct its name" if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, ")
    return f"{place or 'file'}: {text}{shown}"
