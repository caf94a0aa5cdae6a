"""`tools/schemas.json`: the functions that a home offers where neither a conversation nor a version
says which.

Belongs here: reading it, and what it must be. Does not: inferring one from a log (replay.tools).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.tools import FunctionTool, wrong_tool

SCHEMAS = Path("tools") / "schemas.json"
INFERRED = Path("tools") / "schemas.inferred.json"


def read_schemas(home: Path) -> tuple[FunctionTool, ...]:
    """The tools of the home's file, none where there is no file.

    Raises:
        BadInputError: not a JSON list of functions, a name twice, or a schema that refers to a file
            or an address; names file, index and rule.
    """
    try:
        value = json.loads((home / SCHEMAS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(f"{SCHEMAS}: cannot be read: {type(error).__name__}") from None
    if not isinstance(value, list):
        raise BadInputError(f"{SCHEMAS}: is no list of tools, as `tools infer` writes it")
    if wrong := wrong_tool(value):
        raise BadInputError(f"{SCHEMAS}: [{wrong.index}]: {wrong.what}")
    names = [tool["function"]["name"] for tool in value]
    for index, tool in enumerate(value):
        if (name := names[index]) in names[:index]:
            raise BadInputError(f'{SCHEMAS}: [{index}]: "{name}" stands twice')
        for path in _outside(tool["function"].get("parameters", {}), "parameters"):
            raise BadInputError(
                f"{SCHEMAS}: [{index}]: {name}: {path}: $ref to something outside of the schema;"
                " it is never fetched, so write the part here (#/...)"
            )
    return tuple(value)


def _outside(schema: Any, path: str) -> Iterator[str]:
    pending = [(schema, path)]
    while pending:
        value, place = pending.pop()
        if isinstance(value, dict):
            ref = value.get("$ref", "#")
            if not isinstance(ref, str) or not ref.startswith("#"):
                yield place
            pending += [(item, f"{place}.{key}") for key, item in value.items()]
        elif isinstance(value, list):
            pending += [(item, f"{place}[{i}]") for i, item in enumerate(value)]
