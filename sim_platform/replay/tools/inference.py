"""What a log's calls say of its tools: schemas, and how each tool behaves.

Belongs here: both, from pairs. Does not: reading them (flows). Nothing inferred is used unread: a
log shows what was called, not what may be, and no description can be read off it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sim_platform.replay.tools.calls import identifiers, is_write_by_name, parsed_arguments

REQUIRED_FROM = 20  # calls; below it "in every call" says little
ENUM_FROM, ENUM_MOST = 50, 8  # calls with the value, distinct texts
SHARED_REPEATS, SHARED_AGREEMENT = 20, 0.95
SHOWN_ERRORS = 3
ERROR_CHARACTERS = 80


def inferred_schemas(calls: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """A function tool for each tool that was called, from (tool, arguments) of its calls, sorted by
    name. `x-seen` is how many calls, objects or values the part was read from; calls whose
    arguments are no JSON object are left out. Descriptions are empty: nobody wrote one down.
    """
    by_tool: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for tool, arguments in calls:
        value = parsed_arguments(arguments)
        if value is not None:
            by_tool[tool].append(value)
    return [
        {
            "type": "function",
            "function": {"name": tool, "description": "", "parameters": _object(by_tool[tool])},
        }
        for tool in sorted(by_tool)
    ]


def _object(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    seen: dict[str, list[Any]] = {}
    for value in values:
        for key, item in value.items():
            seen.setdefault(key, []).append(item)
    required = sorted(key for key, items in seen.items() if len(items) == len(values))
    return {
        "type": "object",
        "properties": {key: _schema(seen[key]) for key in sorted(seen)},
        **({"required": required} if required and len(values) >= REQUIRED_FROM else {}),
        "x-seen": len(values),
    }


def _schema(values: Sequence[Any]) -> dict[str, Any]:
    types = {_type(value) for value in values}
    if "number" in types:
        types.discard("integer")
    named = sorted(types)
    found: dict[str, Any] = {"type": named[0] if len(named) == 1 else named}
    if named == ["object"]:
        return _object(values)
    if named == ["array"] and (items := [item for value in values for item in value]):
        found["items"] = _schema(items)
    if named == ["string"] and len(values) >= ENUM_FROM:
        distinct = sorted(set(values))
        if len(distinct) <= ENUM_MOST:
            found["enum"] = distinct
    return {**found, "x-seen": len(values)}


def _type(value: object) -> str:
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list, "array"),
        (dict, "object"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def tool_facts(pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How each tool behaves in the log, one row a tool, the most used first.

    Args:
        pairs: rows of ToolPairs in the order of each conversation.

    Returns:
        tool, calls, errors, error_share, writes_by_name, changes_later_reads (the same read of a
        thing that this tool spoke of gave something else afterwards, in how many cases of how
        many; None where no read was repeated), repeats (equal calls of another conversation) and
        their agreement, shared (at least 20 repeats, 95 % of them equal), error_forms (the most
        frequent, with every number as #).
    """
    by_tool: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for pair in pairs:
        by_tool[pair["tool"]].append(pair)
    changed = _changes_later_reads(pairs)
    facts = []
    for tool, mine in by_tool.items():
        answered = [p for p in mine if p["problem"] is None]
        errors = [p for p in answered if p["is_error"]]
        repeats, equal = repeated(answered)
        forms = Counter(_form(p["result"]) for p in errors)
        facts.append(
            {
                "tool": tool,
                "calls": len(mine),
                "errors": len(errors),
                "error_share": len(errors) / len(answered) if answered else None,
                "writes_by_name": is_write_by_name(tool),
                "changes_later_reads": changed.get(tool),
                "repeats": repeats,
                "agreement": equal / repeats if repeats else None,
                "shared": is_shared(repeats, equal),
                "error_forms": [form for form, _ in forms.most_common(SHOWN_ERRORS)],
            }
        )
    return sorted(facts, key=lambda row: (-row["calls"], row["tool"]))


def repeated(pairs: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """How many calls repeat one of an earlier conversation, and how many of them got the same."""
    first: dict[str, tuple[str, str]] = {}
    repeats = equal = 0
    for pair in pairs:
        found = first.get(pair["canonical_hash"])
        if found is None:
            first[pair["canonical_hash"]] = (pair["conversation_key"], pair["result"])
        elif found[0] != pair["conversation_key"]:
            repeats += 1
            equal += found[1] == pair["result"]
    return repeats, equal


def is_shared(repeats: int, equal: int) -> bool:
    """Whether equal calls of any two conversations may be taken to have one answer."""
    return repeats >= SHARED_REPEATS and equal / repeats >= SHARED_AGREEMENT


def _changes_later_reads(pairs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Per tool: reads that were made before and after one of its calls and speak of a thing that it
    spoke of: how many gave something else, of how many.
    """
    found: dict[str, list[int]] = {}
    earlier: dict[str, tuple[int, Mapping[str, Any]]] = {}
    between: list[tuple[str, frozenset[str]]] = []
    conversation = None
    for pair in pairs:
        if pair["conversation_key"] != conversation:
            conversation, earlier, between = pair["conversation_key"], {}, []
        if pair["problem"] is not None or pair["is_error"]:
            continue
        values = identifiers(pair["arguments"], pair["result"])
        if before := earlier.get(pair["canonical_hash"]):
            since, read = before
            for tool in {
                t for t, spoken in between[since:] if t != pair["tool"] and spoken & values
            }:
                counts = found.setdefault(tool, [0, 0])
                counts[0] += read["result"] != pair["result"]
                counts[1] += 1
        between.append((pair["tool"], values))
        earlier[pair["canonical_hash"]] = (len(between), pair)
    return {tool: (different, n) for tool, (different, n) in found.items()}


def _form(result: str) -> str:
    """An error's own words without what is particular to one call."""
    words = result.strip().splitlines()[0] if result.strip() else ""
    return "".join("#" if c.isdigit() else c for c in words)[:ERROR_CHARACTERS]
