"""`tools/schemas.json`: functions, each once, that refer to nothing outside."""

import json
from pathlib import Path

import pytest

from sim_platform.contracts.errors import BadInputError
from sim_platform.registry.home import load_home
from sim_platform.registry.tools import read_schemas
from sim_platform_tests.homes import write_home

F = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def with_schema(schema: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": "f", "parameters": schema}}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{", "cannot be read: JSONDecodeError"),
        ("[" * 100_000, "cannot be read: RecursionError"),
        (F, "is no list of tools"),
        ([F, {"type": "mcp", "server_url": "https://x.example"}], "[1]: type mcp is run by"),
        ([F, F], '[1]: "f" stands twice'),
        ([with_schema({"$ref": "file:///etc/passwd"})], "[0]: f: parameters: $ref to something"),
        (
            [with_schema({"properties": {"a": {"items": [{"$ref": "https://x.example/s"}]}}})],
            "[0]: f: parameters.properties.a.items[0]: $ref",
        ),
        ([with_schema({"$ref": 7})], "$ref"),
    ],
)
def test_what_is_no_schema_of_functions_is_refused_when_the_home_is_read(
    value: object, says: str, tmp_path: Path
) -> None:
    home = write_home(tmp_path, n=1)
    (home / "tools").mkdir()
    text = value if isinstance(value, str) else json.dumps(value)
    (home / "tools" / "schemas.json").write_text(text)
    with pytest.raises(BadInputError) as error:
        load_home(home)
    assert f"tools/schemas.json: {says}" in str(error.value) or says in str(error.value)
    assert "passwd" not in str(error.value)


def test_a_home_needs_no_schemas_and_a_reference_inside_is_one(tmp_path: Path) -> None:
    assert read_schemas(tmp_path) == ()
    (tmp_path / "tools").mkdir()
    inside = with_schema(
        {"$defs": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a"}}}
    )
    (tmp_path / "tools" / "schemas.json").write_text(json.dumps([inside]))
    assert list(read_schemas(tmp_path)) == [inside]
