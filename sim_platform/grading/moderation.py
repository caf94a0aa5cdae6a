"""A moderation endpoint as grader: what is sent, and the categories in what comes back.

Belongs here: the request body and its reading. Does not: sending (replay).
"""

import json
from dataclasses import dataclass
from typing import Any

from sim_platform.contracts.messages import sha256
from sim_platform.grading.items import GradedItem
from sim_platform.grading.judge import Answer
from sim_platform.grading.reasoning import split_reasoning
from sim_platform.registry.models import ModelVersion


@dataclass(frozen=True)
class ModerationCall:
    """One endpoint, asked once an item for all of its categories."""

    names: tuple[str, ...]


def moderation_hash(model: ModelVersion) -> str:
    """Hex SHA-256 of what decides an answer."""
    return sha256(
        {
            "version": "1",
            "model": model.model_dump(mode="json", include={"provider", "base_url", "model"}),
        }
    )


def moderation_body(model: ModelVersion, item: GradedItem) -> dict[str, Any]:
    """The request: the response's text alone, without reasoning that stands in it."""
    return {"model": model.model or model.version, "input": split_reasoning(item.text or "")[1]}


def read_moderation(text: str | None, names: tuple[str, ...]) -> dict[str, Answer]:
    """Per category its flag and score; a category that the endpoint does not know is missing."""
    try:
        result = json.loads(text or "")["results"][0]
        flags, scores = result["categories"], result.get("category_scores") or {}
        return {
            name: Answer(bool(flags[name]), _score(scores.get(name)))
            if isinstance(flags.get(name), bool)
            else Answer(None, missing_reason="moderation:no_such_category")
            for name in names
        }
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return dict.fromkeys(names, Answer(None, missing_reason="moderation:wrong_schema"))


def _score(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None
