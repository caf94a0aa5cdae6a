"""Schemas and facts from a log's calls alone."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from sim_platform.replay.tools.inference import inferred_schemas, tool_facts
from sim_platform.replay.tools.pairs import pairs_of

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "tau_bench" / "convert.py"


def schema(*arguments: dict[str, Any], times: int = 1) -> dict[str, Any]:
    [tool] = inferred_schemas(("f", json.dumps(a)) for a in arguments * times)
    return tool["function"]["parameters"]


def test_properties_are_the_union_and_required_what_stands_in_every_one_of_twenty_calls() -> None:
    few = schema({"a": 1}, {"a": 1, "b": "x"})
    assert set(few["properties"]) == {"a", "b"}
    assert ("required" in few, few["x-seen"]) == (False, 2)
    assert schema({"a": 1}, {"a": 1, "b": "x"}, times=10)["required"] == ["a"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], {"type": "integer"}),
        ([1, 2.5], {"type": "number"}),
        ([True], {"type": "boolean"}),
        ([None, "x"], {"type": ["null", "string"]}),
        ([1, "x"], {"type": ["integer", "string"]}),
        ([[]], {"type": "array"}),
        ([[1], [2.5]], {"type": "array", "items": {"type": "number", "x-seen": 2}}),
    ],
)
def test_a_type_is_the_union_of_what_was_seen(values: list[Any], expected: dict[str, Any]) -> None:
    found = schema(*({"a": value} for value in values))["properties"]["a"]
    assert found == {**expected, "x-seen": len(values)}


def test_values_are_named_where_there_are_few_in_many_calls() -> None:
    cabins = [{"cabin": c, "id": f"r{i}"} for i, c in enumerate(["economy", "business"] * 25)]
    found = schema(*cabins)["properties"]
    assert found["cabin"]["enum"] == ["business", "economy"]
    assert "enum" not in found["id"]
    assert "enum" not in schema(*cabins[:49])["properties"]["cabin"]


def test_objects_and_arrays_inside_are_read_alike() -> None:
    people = [{"people": [{"name": "x", "age": i}, {"name": "y"}]} for i in range(20)]
    found = schema(*people)["properties"]["people"]["items"]
    assert set(found["properties"]) == {"name", "age"}
    assert (found["required"], found["x-seen"]) == (["name"], 40)


def test_calls_without_an_object_teach_nothing() -> None:
    assert inferred_schemas([("f", "[1]"), ("f", "{"), ("g", "")]) == [
        {
            "type": "function",
            "function": {
                "name": "g",
                "description": "",
                "parameters": {"type": "object", "properties": {}, "x-seen": 1},
            },
        }
    ]


def pair(conversation: str, tool: str, arguments: str, result: str, **more: Any) -> dict[str, Any]:
    return {
        "conversation_key": conversation,
        "tool": tool,
        "arguments": arguments,
        "canonical_hash": tool + arguments,
        "result": result,
        "is_error": result.startswith("Error"),
        "problem": None,
        **more,
    }


def test_a_tool_after_which_the_same_read_gives_something_else_is_seen_to_write() -> None:
    read, order = '{"order": "A1234"}', '{"order": "A1234", "to": "Paris"}'
    pairs = [
        pair("c", "get_order", read, "to Rome"),
        pair("c", "look", read, "nothing"),
        pair("c", "move_order", order, "ok"),
        pair("c", "get_order", read, "to Paris"),
        pair("d", "get_order", read, "to Rome"),
        pair("d", "move_order", order, "Error: too late"),
        pair("d", "get_order", read, "to Rome"),
    ]
    facts = {row["tool"]: row for row in tool_facts(pairs)}
    assert facts["move_order"]["changes_later_reads"] == (1, 1)
    assert facts["move_order"]["error_forms"] == ["Error: too late"]
    assert facts["get_order"]["repeats"] == 2
    assert facts["get_order"]["agreement"] == 1.0
    assert not facts["get_order"]["shared"], "two repeats are no twenty"


@pytest.mark.parametrize(("odd", "shared"), [(0, True), (1, True), (2, False)])
def test_a_tool_is_shared_where_95_of_100_repeats_agree(odd: int, shared: bool) -> None:
    pairs = [pair(f"c{i}", "rate", "{}", "other" if 0 < i <= odd else "same") for i in range(26)]
    assert tool_facts(pairs)[0]["shared"] == shared


def test_the_schemas_of_tau_bench_can_be_read_off_its_calls(real_data: Path) -> None:
    rows = runpy.run_path(str(EXAMPLE))["conversations"](real_data / "tau_bench")
    calls = [(p.tool, p.arguments) for row in rows for p in pairs_of(row["messages"])]
    found = {t["function"]["name"]: t["function"]["parameters"] for t in inferred_schemas(calls)}
    tools = json.loads((real_data / "tau_bench_env" / "airline.tools.json").read_text())
    true = {t["function"]["name"]: t["function"]["parameters"] for t in tools}
    properties = [
        (found[name]["properties"].get(key, {}).get("type"), schema["type"])
        for name, parameters in true.items()
        for key, schema in parameters["properties"].items()
    ]
    assert len(properties) == 35
    # an amount that was always whole reads as an integer
    assert sum(a == b or (a, b) == ("integer", "number") for a, b in properties) == 35
    for name, parameters in true.items():
        assert set(found[name].get("required", ())) <= set(parameters["required"])
        if found[name]["x-seen"] >= 20:
            assert set(found[name].get("required", ())) == set(parameters["required"])
