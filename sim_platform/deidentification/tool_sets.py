"""Definitions of tools, looked at once for direct identifiers before they leave the vault.

Belongs here: where in a definition one stands. Does not: storing sets (flows), masking: definitions
are configuration, the same for everybody, and a model that reads them needs them as they are.
"""

from collections.abc import Iterator, Sequence

from sim_platform.contracts.tools import FunctionTool
from sim_platform.deidentification.leaks import reserved_range_leaks


def identifiers_in(tools: Sequence[FunctionTool]) -> Iterator[tuple[str, str, str]]:
    """(tool, path, kind) of each text in the definitions that holds a direct identifier from
    outside the reserved ranges; the path is written as `parameters.properties.city.description`,
    a key that holds one as `(key)`. Never the value.
    """
    for index, tool in enumerate(tools):
        function = tool["function"]
        name = f"tool {index}" if reserved_range_leaks([function["name"]]) else function["name"]
        for path, text in _texts(function, ""):
            for kind in reserved_range_leaks([text]):
                yield name, path, kind


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            shown = "(key)" if reserved_range_leaks([key]) else key
            place = f"{path}.{shown}" if path else shown
            if shown != key:
                yield place, key
            yield from _texts(item, place)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _texts(item, f"{path}[{i}]")
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield path, str(value)
