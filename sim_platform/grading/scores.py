"""Every behaviour of every outcome, in all arms alike.

Belongs here: eligibility, missing labels, the combination of several graders, the hash of what
graded. Does not: what a grader kind means (rules), asking a judge.
"""

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.messages import sha256
from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.schema import dtypes, empty, validated
from sim_platform.grading import classifier
from sim_platform.grading.functions import FUNCTIONS
from sim_platform.grading.items import GradedItem, Grader, Verdict
from sim_platform.grading.judge import call_hash, calls_of
from sim_platform.grading.moderation import moderation_hash
from sim_platform.grading.own_functions import is_own, own_function
from sim_platform.grading.reasoning import ONLY_REASONING, answer_of
from sim_platform.grading.rules import graders_of, patterns_of
from sim_platform.matching.patterns import TooManySlowTextsError
from sim_platform.matching.set_gate import SetGate
from sim_platform.registry.behaviors import (
    Behavior,
    ClassifierGrader,
    ModerationGrader,
    PythonGrader,
)
from sim_platform.registry.home import Home
from sim_platform.registry.schema import holds

Ask = Callable[[Sequence[GradedItem], Sequence[Behavior]], list[GradedItem]]
"""Fills `answered` of items for the behaviours whose graders are asked."""

VERSION = "1"  # raise it when the code of scores.py, rules.py or items.py gives other labels
ROWS_AT_ONCE = 20_000  # parsed conversations held in memory
ROWS_PER_WORKER = 2_000
ENOUGH_FOR_A_GATE = 500  # answers: to build it takes as long as to search so many


def grader_hash(behavior: Behavior, home: Home | None = None) -> str:
    """Hex SHA-256 of everything that decides the behaviour's labels: graders, `applies_to`,
    VERSION, the source of the Python functions it names (of one's own, the whole file), the content
    of trained graders, and of a judge its prompt, model and settings and what else the same call
    asks (`home` says which).
    """
    parts = behavior.parts
    functions = {
        g.function: FUNCTIONS[g.function]
        for g in parts
        if isinstance(g, PythonGrader) and g.function in FUNCTIONS
    }
    covered: dict[str, object] = {
        "version": VERSION,
        "graders": [g.model_dump(mode="json") for g in behavior.graders],
        "applies_to": behavior.applies_to,
        "source": {
            **{name: inspect.getsource(function) for name, function in functions.items()},
            **{
                g.function: own_function(
                    g.function, home.path if home else Path(), f"behaviors/{behavior.id}.yaml"
                )[1]
                for g in parts
                if isinstance(g, PythonGrader) and is_own(g.function)
            },
        },
    }
    if home is not None:
        if files := [g.file for g in parts if isinstance(g, ClassifierGrader)]:
            covered["files"] = {
                "version": classifier.VERSION,
                **{
                    name: hashlib.sha256((home.path / name).read_bytes()).hexdigest()
                    for name in files
                },
            }
        if behavior.judges:
            covered["asked"] = [
                call_hash(call, home.by_version[call.config.model])
                for call in calls_of(home.graded)
                if behavior in call.behaviors
            ]
        if moderated := {g.model for g in parts if isinstance(g, ModerationGrader)}:
            covered["moderation"] = {
                name: moderation_hash(home.by_version[name]) for name in moderated
            }
    return sha256(covered)


def scores(
    outcomes: pl.DataFrame,
    behaviors: Sequence[Behavior],
    *,
    release: str,
    home: Home | None = None,
    ask: Ask | None = None,
    exploratory: Collection[str] = (),
    workers: Executor | None = None,
) -> pl.DataFrame:
    """One row per behaviour and outcome, of contract ClassifierScores.

    An outcome that is not eligible has neither label nor reason. An eligible one has a label, or
    says why it has none: `no_response:<status>` (failed, refused), `no_response:only_reasoning`,
    `no_reference`, `no_label`, `undecided`, `pattern:too_slow`, or `grader_error:<exception type>`.
    Of several graders, one that says yes decides; otherwise one that is missing makes the label
    missing.

    Args:
        outcomes: one row per outcome with arm, prefix_id, k, status, text, refusal, possibly
            reasoning and graded_on, and as JSON text tool_calls, labels, prefix (messages) and
            metadata.
        behaviors: the registered behaviours.
        release: the candidate release.
        home: where trained graders and the versions that are asked stand.
        ask: asks judges and moderation endpoints; without it their labels are missing.
        exploratory: ids of behaviours whose rows are marked so.
        workers: processes that share the grading, where nothing is asked; the rows are the same.

    Raises:
        BadInputError: a grader that cannot be built; names behaviour file and key.
        SimPlatformError: an outcome whose JSON cannot be read; names arm, prefix and column.
    """
    path = home.path if home else Path()
    for behavior in behaviors:
        graders_of(behavior, path)  # what cannot be built is said before anything is graded
    fixed = (
        behaviors,
        {b.id: grader_hash(b, home) for b in behaviors},
        release,
        path,
        frozenset(exploratory),
    )
    if workers is None or ask is not None:
        parts = [_slice_scores(chunk, *fixed, ask) for chunk in outcomes.iter_slices(ROWS_AT_ONCE)]
    else:
        parts = list(
            workers.map(
                _slice_scores,
                outcomes.iter_slices(ROWS_PER_WORKER),
                *(repeat(value) for value in fixed),
            )
        )
    return validated(ClassifierScores, pl.concat([empty(ClassifierScores), *parts]))


def _slice_scores(
    chunk: pl.DataFrame,
    behaviors: Sequence[Behavior],
    versions: Mapping[str, str],
    release: str,
    home: Path,
    exploratory: Collection[str],
    ask: Ask | None = None,
) -> pl.DataFrame:
    items = items_of(chunk)
    if ask is not None:
        items = ask(items, behaviors)
    answers = [answer_of(item) for item in items]  # once, and not for every behaviour
    every = range(len(items))
    parts = [empty(ClassifierScores)]
    graded_on = (
        chunk["graded_on"] if "graded_on" in chunk.columns else pl.lit(None, pl.String)
    ).alias("graded_on")
    may_occur = _may_occur(behaviors, answers)
    for behavior in behaviors:
        graders = graders_of(behavior, home)
        among = may_occur.get(behavior.id, every)
        applies = (
            [holds(behavior.applies_to, item.metadata) for item in items]
            if behavior.applies_to
            else [True] * len(items)
        )
        verdicts = [
            _verdict(item, answer, graders if i in among else ()) if eligible else Verdict(None)
            for i, (item, answer, eligible) in enumerate(zip(items, answers, applies, strict=True))
        ]
        parts.append(
            chunk.select(
                pl.lit(release).alias("model_version"),
                pl.lit(behavior.id).alias("behavior"),
                "arm",
                "prefix_id",
                pl.col("k").cast(pl.Int64),
                pl.Series("applies", applies, pl.Boolean),
                pl.Series("label", [v.label for v in verdicts], pl.Boolean),
                pl.Series("missing_reason", [v.missing_reason for v in verdicts], pl.String),
                pl.Series("score", [v.score for v in verdicts], pl.Float64),
                pl.lit(behavior.id in exploratory).alias("is_exploratory"),
                pl.lit(versions[behavior.id]).alias("grader_hash"),
                graded_on,
            ).select(list(dtypes(ClassifierScores)))
        )
    return pl.concat(parts)


def _may_occur(
    behaviors: Sequence[Behavior], answers: Sequence[GradedItem | None]
) -> dict[str, set[int]]:
    """Of behaviours that are expressions and nothing else: the answers in which one of them may be
    found, by one pass over each text. In the others none is.
    """
    owned = [(pattern, b.id) for b in behaviors for pattern in patterns_of(b) or ()]
    if not owned or len(answers) < ENOUGH_FOR_A_GATE:
        return {}
    gate = _set_gate(tuple(pattern for pattern, _ in owned))
    found: dict[str, set[int]] = {name: set() for _, name in owned}
    for i, answer in enumerate(answers):
        if answer is not None:
            for place, *_ in gate.possible(answer.text or ""):
                found[owned[place][1]].add(i)
    return found


@lru_cache(maxsize=2)
def _set_gate(patterns: tuple[re.Pattern[str], ...]) -> SetGate:
    return SetGate(patterns)


def verdict(item: GradedItem, graders: Sequence[Grader]) -> Verdict:
    """What the graders together say about the answer of one eligible response."""
    return _verdict(item, answer_of(item), graders)


def _verdict(item: GradedItem, answer: GradedItem | None, graders: Sequence[Grader]) -> Verdict:
    if item.status in ("failed", "refused"):
        return Verdict(None, f"no_response:{item.status}")
    if answer is None:
        return Verdict(None, ONLY_REASONING)
    missing: Verdict | None = None
    score = None
    for grader in graders:
        try:
            said = grader(answer)
        except TooManySlowTextsError:
            raise
        except Exception as error:
            # the message may quote the response
            said = Verdict(None, f"grader_error:{type(error).__name__}")
        if said.label:
            return said
        if said.label is None:
            missing = missing or said
        if said.score is not None:
            score = max(said.score, score or 0.0)
    return missing or Verdict(False, None, score)


def items_of(outcomes: pl.DataFrame) -> list[GradedItem]:
    """One item a row; columns as for `scores`."""
    return [_item(row) for row in outcomes.iter_rows(named=True)]


def _item(row: dict[str, Any]) -> GradedItem:
    """The columns are the platform's own, written under their contracts: that they are JSON is
    checked, their shape is not checked a second time.
    """

    def parsed(column: str) -> Any:
        try:
            return json.loads(row[column])
        except (TypeError, ValueError):
            raise SimPlatformError(
                f"outcome {row['arm']}/{row['prefix_id']}/{row['k']}: column {column} is not JSON"
            ) from None

    json_columns = {
        column: parsed(column) for column in ("prefix", "tool_calls", "metadata", "labels")
    }
    return GradedItem(
        text=row["text"],
        reasoning=row.get("reasoning"),
        refusal=row["refusal"],
        status=row["status"],
        key=row["prefix_id"],
        **json_columns,
    )
