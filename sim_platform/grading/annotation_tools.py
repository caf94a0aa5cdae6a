"""What annotation tools show, and their results as rows of a label file.

Belongs here: the shapes that Label Studio and Argilla take and give back. Does not: what a label
may say (labels).

Label Studio: the JSON export (`data`, `annotations`), one annotation a row, a skipped task
abstains; its JSON_MIN and CSV exports are rows already. Argilla: records, nested (`fields`,
`responses`) or flat (`QUESTION.responses`), one response a row.
"""

import json
from collections.abc import Iterator
from typing import Any

from sim_platform.contracts.messages import text_of

SKIPPED = "skip"


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `labels export` as the tools show it: the prompt a list of messages whose content is
    text, tool calls one text (empty without any).
    """
    messages = [{**message, "content": text_of(message)} for message in json.loads(row["prompt"])]
    return {
        **row,
        "prompt": messages,
        "tool_calls": json.dumps(row["tool_calls"]) if row["tool_calls"] else "",
    }


def rows_of(entry: dict[str, Any], label: str) -> Iterator[dict[str, Any]]:
    """The rows of one entry of a file: one an annotation, or the entry itself where it is
    a row already.

    Args:
        label: name of the question or control that holds the label.
    """
    if isinstance(entry.get("annotations"), list) and isinstance(entry.get("data"), dict):
        yield from _label_studio(entry, label)
    elif isinstance(entry.get("responses"), dict) and isinstance(entry.get("fields"), dict):
        given = entry["responses"].get(label) or []
        yield from _answered(
            entry["fields"] | (entry.get("metadata") or {}),
            label,
            [(r.get("value"), r.get("user_id")) for r in given if isinstance(r, dict)],
        )
    elif isinstance(values := entry.get(f"{label}.responses"), list):
        users = entry.get(f"{label}.responses.users") or [None] * len(values)
        row = {
            name.removeprefix("metadata."): value
            for name, value in entry.items()
            if not name.startswith(f"{label}.")
        }
        yield from _answered(row, label, list(zip(values, users, strict=False)))
    elif isinstance(entry.get(label), dict):  # JSON_MIN of several choices
        yield {**entry, label: _choice(entry[label])}
    else:
        yield entry


def _label_studio(task: dict[str, Any], label: str) -> Iterator[dict[str, Any]]:
    given = []
    for one in (a for a in task["annotations"] if isinstance(a, dict)):
        by = one.get("completed_by")
        who = by.get("email") or by.get("id") if isinstance(by, dict) else by
        results = [
            r
            for r in one.get("result") or []
            if isinstance(r, dict) and r.get("from_name") == label
        ]
        given.append(
            (
                SKIPPED
                if one.get("was_cancelled")
                else _choice(results[0].get("value"))
                if results
                else None,
                who,
            )
        )
    yield from _answered(task["data"], label, given)


def _answered(
    row: dict[str, Any], label: str, given: list[tuple[Any, Any]]
) -> Iterator[dict[str, Any]]:
    if not given:
        yield {**row, label: ""}
    for value, who in given:
        yield {
            **row,
            label: "" if value is None else value,
            "annotator": "" if who is None else str(who),
        }


def _choice(value: Any) -> str:
    """What was chosen; several choices, and anything but choices, are no label and are refused by
    their place further on.
    """
    choices = value.get("choices") if isinstance(value, dict) else None
    return " and ".join(map(str, choices)) if isinstance(choices, list) else "no choices"
