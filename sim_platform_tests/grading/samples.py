"""Behaviours and outcomes for the tests of grading."""

from typing import Any

import polars as pl

from sim_platform.contracts.messages import canonical_json
from sim_platform.grading.items import GradedItem, Verdict
from sim_platform.grading.rules import graders_of
from sim_platform.grading.scores import verdict
from sim_platform.registry.behaviors import Behavior

SCHEMA = dict.fromkeys(
    ("arm", "prefix_id", "status", "text", "tool_calls", "refusal", "labels", "prefix", "metadata"),
    pl.String,
) | {"k": pl.Int64}


def behavior(*graders: dict[str, Any], id: str = "b", **more: Any) -> Behavior:
    return Behavior.model_validate(
        {"id": id, "title": "t", "definition": "d", "graders": list(graders), **more}
    )


def response(text: str | None = None, *, says: str = "Hello", **more: Any) -> GradedItem:
    return GradedItem(prefix=[{"role": "user", "content": says}], text=text, **more)


def graded(item: GradedItem, *graders: dict[str, Any]) -> Verdict:
    return verdict(item, graders_of(behavior(*graders)))


def outcomes(*rows: dict[str, Any]) -> pl.DataFrame:
    """Outcome rows; what a row leaves out is an empty completed candidate response."""
    full = []
    for i, row in enumerate(rows):
        empty = {
            "arm": "candidate",
            "prefix_id": f"p{i}",
            "k": 0,
            "status": "completed",
            "text": "",
            "refusal": None,
        }
        given = {
            "tool_calls": [],
            "labels": {},
            "prefix": [{"role": "user", "content": "Hello"}],
            "metadata": {},
        } | row
        full.append(
            empty
            | {
                key: canonical_json(value) if isinstance(value, list | dict) else value
                for key, value in given.items()
            }
        )
    return pl.DataFrame(full, schema=SCHEMA)
