"""SQL models: one SELECT a file, its description, columns and checks in the header comment.

Belongs here: reading and checking the files, finding what they depend on. Does not: making them assets (orchestration).

A file is `/* YAML */ SELECT ...`. Header keys: description, columns (name: meaning), checks (name: a SELECT that gives the number of bad rows).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import yaml

from sim_platform.contracts.errors import BadInputError

HEADER = re.compile(r"\A\s*/\*(.*?)\*/(.*)\Z", re.DOTALL)
KEYS = {"description", "columns", "checks"}


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
    """Every `<schema>/<name>.sql` below `folder`, in order of path; BadInputError names the file and what is wrong."""
    return tuple(_load(path) for path in sorted(folder.glob("*/*.sql")))


def _load(path: Path) -> SqlModel:
    where = f"{path.parent.name}/{path.name}"
    parts = HEADER.match(path.read_text(encoding="utf-8"))
    if parts is None:
        raise BadInputError(f"{where}: begins with no header comment /* description: ... */")
    header = yaml.safe_load(parts[1]) or {}
    if unknown := set(header) - KEYS:
        raise BadInputError(f"{where}: unknown header keys {', '.join(sorted(unknown))} (allowed: {', '.join(sorted(KEYS))})")
    if not header.get("description"):
        raise BadInputError(f"{where}: the header has no description")
    sql = parts[2].strip().rstrip(";")
    return SqlModel(path.parent.name, path.stem, header["description"].strip(), header.get("columns") or {}, header.get("checks") or {}, sql, tables_read(sql, where))


def tables_read(sql: str, where: str = "model") -> tuple[str, ...]:
    """Tables that one SELECT reads, CTE names left out; BadInputError for anything but one SELECT over tables."""
    with duckdb.connect() as connection:
        parsed = json.loads(connection.execute("select json_serialize_sql($sql)", {"sql": sql}).fetchall()[0][0])
    if parsed.get("error"):
        raise BadInputError(f"{where}: not one SELECT: {parsed.get('error_message', 'cannot be parsed')}")
    if len(parsed["statements"]) != 1:
        raise BadInputError(f"{where}: holds {len(parsed['statements'])} statements; one model is one SELECT")
    nodes = list(_nodes(parsed["statements"]))
    if any(node.get("type") == "TABLE_FUNCTION" and "read_" in json.dumps(node.get("function", {})) for node in nodes):
        raise BadInputError(f"{where}: reads a file; a model reads tables of the warehouse only")
    named = {entry["key"] for node in nodes for entry in (node.get("cte_map") or {}).get("map", [])}
    return tuple(sorted({node["table_name"] for node in nodes if node.get("type") == "BASE_TABLE"} - named))


def _nodes(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from _nodes(child)
    elif isinstance(value, list):
        for child in value:
            yield from _nodes(child)
