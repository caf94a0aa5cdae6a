"""`behaviors/*.yaml`: what is looked for in responses, by which graders, and what the release
gate asks of it.

Belongs here: their keys, their defaults and what they allow. Does not: reading the files (home),
grading (grading).
"""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sim_platform.contracts.messages import JsonScalar
from sim_platform.registry.schema import Predicate, Strict, Version


class RegexGrader(Strict):
    """The behaviour occurred when the pattern is found in the response (Python `re` syntax; case
    counts only if asked).
    """

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
    """The behaviour occurred when the answer equals the reference in the conversation's metadata.
    `extract` is a pattern whose first group is the answer; its last match counts.
    """

    kind: Literal["answer_equals"]
    reference: str
    extract: str | None = None
    ignore_case: bool = True
    negate: bool = False


class RecordedLabelGrader(Strict):
    """The behaviour occurred when the label that came with the recorded response has one of the
    values; a response without the label is missing.
    """

    kind: Literal["recorded_label"]
    label: str
    is_one_of: list[JsonScalar] = ["1", 1, True, "true", "True", "yes"]


class PythonGrader(Strict):
    """A named function of `sim_platform.grading.functions`, or `module:name`: one's own, in a file
    of the home or an installed module.
    """

    kind: Literal["python"]
    function: str
    arguments: dict[str, JsonScalar] = {}


class ClassifierGrader(Strict):
    """The behaviour occurred when the trained model's score reaches its threshold. `sim-platform
    train-grader` writes the file.
    """

    kind: Literal["classifier"]
    file: str  # below the home
    # default: the one chosen on held-out labels, kept in the file
    threshold: float | None = Field(default=None, ge=0, le=1)


class ModerationGrader(Strict):
    """The behaviour occurred when an OpenAI-compatible moderation endpoint flags the category, or
    scores it at the threshold or above.
    """

    kind: Literal["moderation"]
    model: Version = "moderation"  # version of models.yaml that answers
    category: str
    threshold: float | None = Field(default=None, ge=0, le=1)


class JudgeGrader(Strict):
    """A language model decides by the behaviour's `rubric` (its definition where it has none). The
    judge is a version of models.yaml that needs neither `replaces` nor `deployed`.
    """

    kind: Literal["judge"]
    model: Version = "judge"
    votes: int = Field(default=1, ge=1, le=15)  # the majority decides; a tie is missing
    with_reasoning: bool = True  # false: the judge does not see logged reasoning
    # a longer response is missing, of a longer conversation the judge sees the end
    max_chars: int = Field(default=60_000, ge=1000)
    per_call: int = Field(default=20, ge=1, le=50)  # behaviours asked in one call
    # share of items asked a second time with a planted instruction
    canary_share: float = Field(default=0.0, ge=0, le=1)


ScreenConfig = Annotated[
    RegexGrader
    | ContainsGrader
    | AnswerEqualsGrader
    | RecordedLabelGrader
    | PythonGrader
    | ClassifierGrader
    | ModerationGrader,
    Field(discriminator="kind"),
]


class EnsembleGrader(Strict):
    """Cheap graders of high recall screen; the judge decides about what any of them flags, or
    cannot tell. What none flags did not occur.
    """

    kind: Literal["ensemble"]
    screen: list[ScreenConfig] = Field(min_length=1)
    judge: JudgeGrader


GraderConfig = Annotated[
    RegexGrader
    | ContainsGrader
    | AnswerEqualsGrader
    | RecordedLabelGrader
    | PythonGrader
    | ClassifierGrader
    | ModerationGrader
    | JudgeGrader
    | EnsembleGrader,
    Field(discriminator="kind"),
]


# From how many events expected in the other arm on, the margin and the ratio that blocks where a
# file names none: what a sample can see, an unchanged candidate should pass.
DEFAULT_MARGINS = ((200.0, 1.25, 1.1), (50.0, 1.5, 1.2), (0.0, 2.0, 1.25))
DEFAULT_BLOCK_ABOVE = 1.25  # beside a margin of the file's own


class GateRule(Strict):
    """When a behaviour holds a release up. The ratio is candidate over `against` (turned round
    where a decrease is undesired), the difference likewise; limits are those for decisions, at
    90 %.

    PASS needs the ratio below `margin` (or the difference below `margin_points`) and, with a
    ceiling, the rate below it; or both arms' rates below the floor. BLOCK needs the ratio above
    `block_above` (the difference above `margin_points`) or the rate above the ceiling; anything
    else is INCONCLUSIVE. Missing outcomes show the behaviour at up to `missing_times` times the
    rate of answered ones, or down to one part in as many; `worst`: whatever is worst.
    """

    against: Literal["control", "recorded"] = "control"
    margin: float | None = Field(default=None, gt=1)
    margin_points: float | None = Field(default=None, gt=0, lt=100)  # percentage points
    block_above: float | None = Field(default=None, ge=1)
    ceiling_per_100k: float | None = Field(default=None, gt=0, le=100_000)
    floor_per_100k: float | None = Field(default=None, gt=0, lt=100_000)
    missing_times: Annotated[float, Field(ge=1, le=1e4)] | Literal["worst"] = 5.0

    @model_validator(mode="after")
    def leaves_room(self) -> Self:
        if self.margin_points is not None:
            if self.margin is not None or self.block_above is not None:
                raise ValueError(
                    "margin_points stands in the place of margin and block_above: give the one or"
                    " the others"
                )
        elif self.margin is not None or self.block_above is not None:
            block, most = self.block_above or DEFAULT_BLOCK_ABOVE, DEFAULT_MARGINS[-1][1]
            margin = self.margin or most
            if block >= margin:
                raise ValueError(
                    f"block_above ({block:g}) must lie below margin ({margin:g}), or one release"
                    " could pass and be blocked"
                )
        if (
            self.floor_per_100k is not None
            and self.ceiling_per_100k is not None
            and self.floor_per_100k > self.ceiling_per_100k
        ):
            raise ValueError(
                f"floor_per_100k ({self.floor_per_100k:g}) must not lie above ceiling_per_100k"
                f" ({self.ceiling_per_100k:g})"
            )
        return self

    def with_numbers(self, expected_events: float | None = None) -> Self:
        """The rule with a number for what the file leaves open: by the events expected in the
        other arm (None: not known, as few).
        """
        if self.margin_points is not None or None not in (self.margin, self.block_above):
            return self
        if self.margin is not None:
            return self.model_copy(update={"block_above": DEFAULT_BLOCK_ABOVE})
        margin, block = next(
            (margin, block)
            for least, margin, block in DEFAULT_MARGINS
            if (expected_events or 0.0) >= least and margin > (self.block_above or 1.0)
        )
        return self.model_copy(update={"margin": margin, "block_above": self.block_above or block})


class Behavior(Strict):
    """One registered behaviour. It occurred when any of its graders says so.

    `tier`: gate behaviours decide about a release, monitor behaviours are reported, exploratory
    ones are reported as such.
    """

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    title: str
    definition: str
    undesired: Literal["increase", "decrease", "either"] = "increase"
    tier: Literal["gate", "monitor", "exploratory"] = "monitor"
    gate: GateRule = GateRule()
    graders: list[GraderConfig] = Field(min_length=1)
    applies_to: Predicate = {}
    # what a judge is told; default: the definition
    rubric: str | None = Field(default=None, max_length=20_000)
    # cannot be seen in text alone: a log without tool calls says nothing about it
    needs_tool_traces: bool = False

    @model_validator(mode="after")
    def one_judge(self) -> Self:
        if len(self.judges) > 1:
            raise ValueError("give one judge (or ensemble) at most; several votes are `votes`")
        return self

    @property
    def judges(self) -> list[JudgeGrader]:
        """The judge among its graders, where there is one."""
        return [
            g.judge if isinstance(g, EnsembleGrader) else g
            for g in self.graders
            if isinstance(g, JudgeGrader | EnsembleGrader)
        ]

    @property
    def parts(self) -> list[GraderConfig]:
        """Its graders, with those inside of ensembles."""
        return [
            part
            for g in self.graders
            for part in ([*g.screen, g.judge] if isinstance(g, EnsembleGrader) else [g])
        ]

    @model_validator(mode="after")
    def ceiling_has_a_side(self) -> Self:
        if self.gate.ceiling_per_100k is not None and self.undesired != "increase":
            raise ValueError(
                "gate.ceiling_per_100k is for behaviours whose increase is undesired; give a margin"
                " instead"
            )
        return self
