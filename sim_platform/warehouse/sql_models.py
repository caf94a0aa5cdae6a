"""SQL models: one SELECT a file, its description, columns and checks in the header comment.

Belongs here: reading and checking the files, finding what they depend on. Does not: making them
assets (orchestration).

A file is `/* YAML */ SELECT ...`. Header keys: description, columns (name: meaning), checks (name:
a SELECT that gives the number of bad rows).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import yaml

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.yaml_text import parsed_yaml

HEADER = re.compile(r"\A\s*/\*(.*?)\*/(.*)\Z", re.DOTALL)
KEYS = {"description", "columns", "checks"}
# every other one may read files, settings or hidden tables
PURE_TABLE_FUNCTIONS = {"generate_series", "range", "unnest"}


@dataclass(frozen=True)
class SqlModel:
    """One model: table `name` in `schema` is the result of `sql`."""

    schema: str
    name: str
    description: str
    columns: dict[str, str]
    checks: dict[str, str]
    sql: str
    depends_on: tuple[str, ...]


def load_sql_models(folder: Path) -> tuple[SqlModel, ...]:
    """Every `<schema>/<name>.sql` below `folder`, in order of path; BadInputError names the file
    and what is wrong.
    """
    return tuple(_load(path) for path in sorted(folder.glob("*/*.sql")))


def _load(path: Path) -> SqlModel:
    where = f"{path.parent.name}/{path.name}"
    parts = HEADER.match(path.read_text(encoding="utf-8"))
    if parts is None:
        raise BadInputError(f"{where}: begins with no header comment /* description: ... */")
    try:
        header = parsed_yaml(parts[1]) or {}
    except yaml.YAMLError as error:
        raise BadInputError(
            f"{where}: the header is not YAML: {getattr(error, 'problem', None) or 'unreadable'}"
        ) from None
    if not isinstance(header, dict):
        raise BadInputError(f"{where}: the header is not a map (keys: {', '.join(sorted(KEYS))})")
    if unknown := {str(key) for key in header} - KEYS:
        raise BadInputError(
            f"{where}: unknown header keys {', '.join(sorted(unknown))} (allowed:"
            f" {', '.join(sorted(KEYS))})"
        )
    if not header.get("description"):
        raise BadInputError(f"{where}: the header has no description")
    for key in ("columns", "checks"):
        if not isinstance(header.get(key) or {}, dict):
            raise BadInputError(f"{where}: {key} is not a map of name to text")
    sql = parts[2].strip().rstrip(";")
    return SqlModel(
        path.parent.name,
        path.stem,
        str(header["description"]).strip(),
        header.get("columns") or {},
        header.get("checks") or {},
        sql,
        tables_read(sql, where),
    )


@cache
def tables_read(sql: str, where: str = "model") -> tuple[str, ...]:
    """Tables that one SELECT reads, CTE names left out; BadInputError for anything but one
    SELECT over tables.
    """
    with duckdb.connect() as connection:
        parsed = json.loads(
            connection.execute("select json_serialize_sql($sql)", {"sql": sql}).fetchall()[0][0]
        )
    if parsed.get("error"):
        raise BadInputError(
            f"{where}: not one SELECT: {parsed.get('error_message', 'cannot be parsed')}"
        )
    if len(parsed["statements"]) != 1:
        raise BadInputError(
            f"{where}: holds {len(parsed['statements'])} statements; one model is one SELECT"
        )
    nodes = list(_nodes(parsed["statements"]))
    functions = {
        node["function"]["function_name"] for node in nodes if node.get("type") == "TABLE_FUNCTION"
    }
    tables = [node for node in nodes if node.get("type") == "BASE_TABLE"]
    foreign = (functions - PURE_TABLE_FUNCTIONS) | {
        t["table_name"]
        for t in tables
        if t.get("schema_name") or not t["table_name"].isidentifier()
    }
    if foreign:
        raise BadInputError(
            f"{where}: reads {', '.join(sorted(foreign))}; a model reads no file and no function,"
            " only tables of the warehouse by their bare name"
        )
    named = {entry["key"] for node in nodes for entry in (node.get("cte_map") or {}).get("map", [])}
    return tuple(sorted({t["table_name"] for t in tables} - named))


def _nodes(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from _nodes(child)
    elif isinstance(value, list):
        for child in value:
            yield from _nodes(child)
