"""Every behaviour of every outcome, in all arms alike.

Belongs here: eligibility, missing labels, the combination of several graders, the hash of what graded. Does not: what a grader kind means (rules).
"""

import inspect
import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.messages import sha256
from sim_platform.contracts.tables import ClassifierScores, dtypes, empty, validated
from sim_platform.grading.functions import FUNCTIONS
from sim_platform.grading.items import GradedItem, Grader, Verdict
from sim_platform.grading.rules import graders_of
from sim_platform.registry.home import Behavior, PythonGrader, holds

VERSION = "1"  # raise it when the code of scores.py, rules.py or items.py gives other labels
ROWS_AT_ONCE = 20_000  # parsed conversations held in memory


def grader_hash(behavior: Behavior) -> str:
    """Hex SHA-256 of everything that decides the behaviour's labels: graders, `applies_to`, VERSION, and the source of the Python functions it names."""
    functions = {g.function: FUNCTIONS[g.function] for g in behavior.graders if isinstance(g, PythonGrader) and g.function in FUNCTIONS}
    return sha256(
        {
            "version": VERSION,
            "graders": [g.model_dump(mode="json") for g in behavior.graders],
            "applies_to": behavior.applies_to,
            "source": {name: inspect.getsource(function) for name, function in functions.items()},
        }
    )


def scores(outcomes: pl.DataFrame, behaviors: Sequence[Behavior], *, release: str) -> pl.DataFrame:
    """One row per behaviour and outcome, of contract ClassifierScores.

    An outcome that is not eligible has neither label nor reason. An eligible one has a label, or says why it has none: `no_response:<status>` (failed,
    refused), `no_reference`, `no_label`, `undecided`, or `grader_error:<exception type>`. Of several graders, one that says yes decides; otherwise one that is
    missing makes the label missing.

    Args:
        outcomes: one row per outcome with arm, prefix_id, k, status, text, refusal, and as JSON text tool_calls, labels, prefix (messages) and metadata.
        behaviors: the registered behaviours.
        release: the candidate release.

    Raises:
        BadInputError: a grader that cannot be built; names behaviour file and key.
        SimPlatformError: an outcome whose JSON cannot be read; names arm, prefix and column.
    """
    graded = [(behavior, graders_of(behavior), grader_hash(behavior)) for behavior in behaviors]
    parts = [empty(ClassifierScores)]
    for chunk in outcomes.iter_slices(ROWS_AT_ONCE):
        items = [_item(row) for row in chunk.iter_rows(named=True)]
        for behavior, graders, version in graded:
            applies = [holds(behavior.applies_to, item.metadata) for item in items]
            verdicts = [verdict(item, graders) if eligible else Verdict(None) for item, eligible in zip(items, applies, strict=True)]
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
                    pl.lit(version).alias("grader_hash"),
                ).select(list(dtypes(ClassifierScores)))
            )
    return validated(ClassifierScores, pl.concat(parts))


def verdict(item: GradedItem, graders: Sequence[Grader]) -> Verdict:
    """What the graders together say about one eligible response."""
    if item.status in ("failed", "refused"):
        return Verdict(None, f"no_response:{item.status}")
    missing = None
    for grader in graders:
        try:
            said = grader(item)
        except Exception as error:
            said = Verdict(None, f"grader_error:{type(error).__name__}")  # the message may quote the response
        if said.label:
            return said
        if said.label is None:
            missing = missing or said
    return missing or Verdict(False)


def _item(row: dict[str, Any]) -> GradedItem:
    """The columns are the platform's own, written under their contracts: that they are JSON is checked, their shape is not checked a second time."""

    def parsed(column: str) -> Any:
        try:
            return json.loads(row[column])
        except (TypeError, ValueError):
            raise SimPlatformError(f"outcome {row['arm']}/{row['prefix_id']}/{row['k']}: column {column} is not JSON") from None

    json_columns = {column: parsed(column) for column in ("prefix", "tool_calls", "metadata", "labels")}
    return GradedItem(text=row["text"], refusal=row["refusal"], status=row["status"], **json_columns)
