"""What people are asked to label, and their labels coming back.

Belongs here: drawing outcomes for people, storing labels of drawn items. Does not: reading label
files (grading.labels), what follows from labels (calibration).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import polars as pl

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.contracts.tables.grading import ClassifierScores, HumanLabels, LabelDraws
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import frame
from sim_platform.flows.files import warehouse_of
from sim_platform.flows.registration import covered
from sim_platform.grading.label_sampling import LabelPlan, draw_for_labels
from sim_platform.grading.labels import (
    Columns,
    HumanLabel,
    agreement,
    one_per_annotator,
    read_labels,
)
from sim_platform.grading.reasoning import split_reasoning
from sim_platform.registry.behaviors import Behavior
from sim_platform.registry.home import Home

SHOWN = 5


def behavior_of(home: Home, name: str) -> Behavior:
    """The behaviour; BadInputError when the home has none of that id, or cannot grade it."""
    found = next((b for b in home.behaviors if b.id == name), None)
    if found is None:
        raise BadInputError(
            f'behaviors/: there is no behaviour "{name}" (behaviours:'
            f" {', '.join(b.id for b in home.behaviors)})"
        )
    if lack := home.lacks(found):
        raise BadInputError(f"behaviors/{name}.yaml: {lack}")
    return found


def export_labels(
    home: Home, release: str, behaviors: Sequence[str], plan: LabelPlan
) -> list[dict[str, Any]]:
    """Draws what should be labelled, stores the drawing, and returns one row an item and label:
    item id, behaviour, its definition, conversation and response, an empty label. What stands twice
    stands half of the rows apart, so that nobody answers the second from memory of the first.
    """
    warehouse = warehouse_of(home)
    home.release(release)
    covered(home, warehouse, release)
    names = list(behaviors) or [b.id for b in home.graded]
    definitions = {name: behavior_of(home, name).definition for name in names}
    scored = warehouse.read(ClassifierScores, {"model_version": release}).filter(
        pl.col("behavior").is_in(names)
    )
    if not len(scored):
        raise SimPlatformError(f"{release}: no scores yet; run `sim-platform run {release}` first")
    drawn = draw_for_labels(scored, plan)
    with warehouse.transaction() as tx:
        tx.ensure(StratifiedSample)  # one of an older version has fewer columns
        tx.upsert(LabelDraws, drawn)
        texts = tx.query(
            """select s.prefix_id, 'recorded' as arm, 0 as k, s.prefix, s.recorded as response,
                 case when s.recorded_turn is not null
                      then to_json(json_extract(s.recorded_turn, '$[*].tool_calls[*]'))::varchar
                 end as tool_calls
               from stratified_sample s where s.model_version = $release
               union all select c.prefix_id, c.arm, c.k, s.prefix, c.text, c.tool_calls
                 from candidate_completions c
               join stratified_sample s on s.model_version = c.model_version
                 and s.prefix_id = c.prefix_id where c.model_version = $release""",
            {"release": release},
        )
    found = {
        (arm, prefix_id, k): (prefix, response, calls)
        for prefix_id, arm, k, prefix, response, calls in texts.iter_rows()
    }
    rows: list[tuple[dict[str, Any], bool]] = []
    for draw in drawn.sort(
        "item_id"
    ).to_dicts():  # by hash: neither arm nor flag shows in the order
        prefix, response, calls = found[draw["arm"], draw["prefix_id"], draw["k"]]
        said = (
            json.loads(response)
            if draw["arm"] == "recorded" and response
            else {"content": response, "tool_calls": json.loads(calls or "[]")}
        )
        row = {
            "item_id": draw["item_id"],
            "behavior": draw["behavior"],
            "definition": definitions[draw["behavior"]],
            "prompt": prefix,
            "response": _answer(said.get("content") or ""),
            "tool_calls": json.loads(calls) if calls else said.get("tool_calls") or [],
            "label": None,
            "annotator": "",
            "grader_hash": draw["grader_hash"],
        }
        rows.append((row, draw["is_double"]))
    again = len(rows) // 2
    placed = [(float(place), row) for place, (row, _) in enumerate(rows)]
    placed += [
        ((place + again) % len(rows) + 0.5, row)
        for place, (row, is_double) in enumerate(rows)
        if is_double
    ]
    return [row for _, row in sorted(placed, key=itemgetter(0))]


def _answer(content: str | list[dict[str, str]]) -> str | list[dict[str, str]]:
    """What graders see: reasoning in a text is no part of the response."""
    return split_reasoning(content)[1] if isinstance(content, str) else content


def import_labels(
    home: Home, release: str, behavior: str | None, file: Path, columns: Columns
) -> dict[str, Any]:
    """Takes labels of drawn items back, all or nothing: those of one behaviour, or of every
    behaviour that the file's column names.

    Returns:
        `imported`, `abstained`, `left_out` (labels of other behaviours than the one that was asked
        for), and per behaviour the agreement of its annotators with each other and of each with
        what they said of the same item before. Who contradicts themselves abstains on that item.

    Raises:
        BadInputError: a label of no behaviour, an item that was not drawn for this release and
            behaviour, or labels of other graders than those whose scores are stored.
    """
    warehouse = warehouse_of(home)
    given = [one for one in read_labels(file, columns) if one.label is not None or one.abstained]
    labels = [
        replace(one, behavior=one.behavior or behavior or "")
        for one in given
        if behavior in (None, one.behavior or behavior)
    ]
    nameless = [one for one in labels if not one.behavior]
    if nameless:
        raise BadInputError(
            f"{file.name}: {len(nameless)} labels name no behaviour ({places(nameless)}); give"
            " --behavior, or the column behavior. Nothing was imported."
        )
    drawn = {
        (row["behavior"], row["item_id"]): row["grader_hash"]
        for row in warehouse.read(LabelDraws, {"model_version": release}).to_dicts()
    }
    unknown = [one for one in labels if (one.behavior, one.item_id) not in drawn]
    if unknown:
        raise BadInputError(
            f"{file.name}: {len(unknown)} items were not drawn for {_behaviors(unknown)} of"
            f" {release}: {places(unknown)}; nothing was imported"
        )
    now = set(
        warehouse.read(
            ClassifierScores, {"model_version": release}, columns=["behavior", "grader_hash"]
        )
        .unique()
        .iter_rows()
    )
    foreign = [
        one
        for one in labels
        if {(one.behavior, h) for h in (drawn[one.behavior, one.item_id], one.grader_hash) if h}
        - now
    ]
    if foreign:
        raise BadInputError(
            f"{file.name}: {len(foreign)} labels belong to other graders of {_behaviors(foreign)}"
            f" than those whose scores are stored ({places(foreign)}); export again. Nothing was"
            " imported."
        )
    settled = one_per_annotator(labels)
    stored = [
        {
            "model_version": release,
            "behavior": one.behavior,
            "item_id": one.item_id,
            "annotator": one.annotator,
            "label": one.label,
            "grader_hash": drawn[one.behavior, one.item_id],
        }
        for one in settled
    ]
    with warehouse.transaction() as tx:
        tx.upsert(HumanLabels, frame(HumanLabels, stored))
    agreed = {
        name: asdict(agreement(one for one in labels if one.behavior == name))
        for name in sorted({one.behavior for one in labels})
    }
    return {
        "imported": len(settled),
        "abstained": sum(one.abstained for one in settled),
        "left_out": len(given) - len(labels),
        "agreement": agreed,
    }


def _behaviors(labels: Sequence[HumanLabel]) -> str:
    return ", ".join(sorted({one.behavior for one in labels}))


def places(labels: Sequence[HumanLabel]) -> str:
    """Where the first of these labels stand in their file, and how many more there are."""
    return ", ".join(one.place for one in labels[:SHOWN]) + (
        f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    )
