"""Calls and results of any log, each at its place; equal calls are equal and others are not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.replay.tools.calls import (
    canonical_call,
    identifiers,
    is_error,
    is_write_by_name,
)
from sim_platform.replay.tools.pairs import Pair, pairs_of

USER = {"role": "user", "content": "please"}


def calls(*made: tuple[str, str], arguments: str = "{}") -> Any:
    """A step with calls, given as (id, tool)."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": i, "type": "function", "function": {"name": tool, "arguments": arguments}}
            for i, tool in made
        ],
    }


def result(call: str, content: str = "ok") -> Any:
    return {"role": "tool", "tool_call_id": call, "content": content}


def said(text: str = "done") -> Any:
    return {"role": "assistant", "content": text}


def places(pairs: list[Pair]) -> list[tuple[int, int, int, str | None, str | None]]:
    return [(p.turn, p.step, p.position, p.result, p.problem) for p in pairs]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([USER, said()], []),
        # steps of a turn and calls of a step
        (
            [USER, calls(("a", "x"), ("b", "x")), result("b", "2"), result("a", "1"), said(),
             calls(("c", "x")), result("c", "3"), said(), USER, calls(("d", "x")), result("d")],
            [(0, 0, 0, "1", None), (0, 0, 1, "2", None), (0, 2, 0, "3", None),
             (1, 0, 0, "ok", None)],
        ),
        # before the first user message; two user messages are one turn
        (
            [calls(("a", "x")), result("a"), USER, USER, calls(("b", "x")), result("b")],
            [(-1, 0, 0, "ok", None), (0, 0, 0, "ok", None)],
        ),
        # the log was cut
        ([USER, calls(("a", "x"))], [(0, 0, 0, None, "no_result")]),
        ([USER, calls(("a", "x")), said(), USER, said()], [(0, 0, 0, None, "no_result")]),
        # a result without its call, and a result of a call of before the next user message
        ([USER, result("a"), said()], []),
        ([USER, calls(("a", "x")), USER, result("a")], [(0, 0, 0, "ok", None)]),
        # two results: which one the model saw is not known
        (
            [USER, calls(("a", "x")), result("a", "1"), result("a", "2")],
            [(0, 0, 0, "1", "two_results")],
        ),
        # ids that repeat across turns, and in one message
        (
            [USER, calls(("a", "x")), result("a", "1"), said(),
             USER, calls(("a", "x")), result("a", "2")],
            [(0, 0, 0, "1", None), (1, 0, 0, "2", None)],
        ),
        (
            [USER, calls(("a", "x")), USER, calls(("a", "x")), result("a", "2")],
            [(0, 0, 0, None, "no_result"), (1, 0, 0, "2", None)],
        ),
        (
            [USER, calls(("a", "x"), ("a", "y")), result("a", "1"), result("a", "2")],
            [(0, 0, 0, "1", None), (0, 0, 1, "2", None)],
        ),
    ],
)  # fmt: skip
def test_a_result_belongs_to_the_call_that_it_answers(messages: Any, expected: Any) -> None:
    assert places(pairs_of(messages)) == expected


def test_two_hundred_calls_of_one_message_are_two_hundred_places() -> None:
    ids = [(f"c{i}", "x") for i in range(200)]
    messages = [USER, calls(*ids), *(result(i, i) for i, _ in reversed(ids))]
    found = pairs_of(messages)
    assert [(p.position, p.result) for p in found] == [(i, f"c{i}") for i in range(200)]


def test_writes_before_a_call_are_counted_without_those_that_failed() -> None:
    messages = [
        USER,
        calls(("a", "book_flight"), ("b", "get_user"), ("c", "cancel_flight")),
        *(result("a"), result("b"), result("c", "Error: not found")),
        *(calls(("d", "find_flight")), result("d"), calls(("e", "frobnicate")), result("e")),
        *(calls(("f", "search")), result("f")),
    ]
    found = pairs_of(messages)  # type: ignore[arg-type]  # plain dicts
    assert [p.n_writes_before for p in found] == [0, 1, 1, 1, 1, 2]
    assert [p.is_write_guess for p in found] == [True, False, True, False, True, False]
    assert [p.is_error for p in found] == [False, False, True, False, False, False]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1, "b": [2, 3]}', ' {"b":[2,3],"a":1.0}'),
        ("", "{}"),
        ('"{\\"a\\": 25.0}"', '{"a": 25}'),
        ('{"a": "\u00e9"}', '{"a": "e\u0301"}'),
        ('{"a": "\\u00e9"}', '{"a": "\u00e9"}'),
        ('{"a": {"x": -0.0}}', '{"a": {"x": 0}}'),
    ],
)
def test_calls_that_say_the_same_are_the_same(one: str, other: str) -> None:
    first, second = canonical_call("f", one), canonical_call("f", other)
    assert first == second
    assert first.problem is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": "x"}', '{"a": "X"}'),
        ('{"a": "x"}', '{"a": "x "}'),
        ('{"a": [1, 2]}', '{"a": [2, 1]}'),
        ('{"a": 1}', '{"a": "1"}'),
        ('{"a": 1}', '{"a": true}'),
        ('{"a": null}', "{}"),
        ('{"a": 0.1}', '{"a": 0.10000001}'),
    ],
)
def test_calls_that_a_program_could_tell_apart_are_not_the_same(one: str, other: str) -> None:
    assert canonical_call("f", one).canonical_hash != canonical_call("f", other).canonical_hash
    assert canonical_call("f", one).canonical_hash != canonical_call("g", one).canonical_hash


@pytest.mark.parametrize(
    "arguments",
    [
        *("[1]", "1", "null", "true", "{", '{"a": NaN}', '{"a": 1, "a": 2}', "look up Anna"),
        *(
            '{"a":' * 2_000 + "1" + "}" * 2_000,
            '{"a":' * 700 + "1" + "}" * 700,
            '{"a": 1e999}',
            '"text"',
            '"[1]"',
            '{"a": "\ud800"',
        ),
    ],
)
def test_arguments_that_are_no_object_keep_their_text_and_say_so(arguments: str) -> None:
    call = canonical_call("f", arguments)
    assert (call.arguments, call.problem) == (arguments, "arguments")
    assert call.canonical_hash == canonical_call("f", arguments).canonical_hash


def test_ten_megabytes_lone_surrogates_and_strange_names_are_calls_too() -> None:
    big = json.dumps({"a": "x" * 10_000_000})
    assert len(canonical_call("f", big).arguments) > 10_000_000
    lone = canonical_call("f", '{"a": "\\ud800"}')
    assert (len(lone.canonical_hash), lone.problem) == (32, None)
    names = [*("__class__", "a/b", "a\0b", "", "名前")]
    assert len({canonical_call(name, "{}").canonical_hash for name in names}) == len(names)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.text() | JSON.map(json.dumps))
def test_a_canonical_call_is_its_own_canonical_form(arguments: str) -> None:
    call = canonical_call("f", arguments)
    again = canonical_call("f", call.arguments)
    assert again == call
    identifiers(arguments)
    assert is_error(arguments) in (True, False)


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        *(("Error: user not found", True), ("  error", True), ("Traceback (most recent", True)),
        *(("HTTP 404 Not Found", True), ("HTTP/1.1 503", True), ("ValueError: no", True)),
        *(('{"error": "no such id"}', True), ('{"is_error": true}', True)),
        *(('{"status": 500}', True), ('{"status": "error", "error": {"code": 1}}', True)),
        *(('{"error": null}', False), ('{"error": ""}', False), ('{"status": 200}', False)),
        *(('{"status": true}', False), ("", False), ("No errors were found", False)),
        *(("[1, 2]", False), ('"Error"', False), ("{broken", False), ("HTTP 200 OK", False)),
    ],
)
def test_a_result_that_says_that_the_call_failed_is_an_error(text: str, failed: bool) -> None:
    assert is_error(text) == failed


@pytest.mark.parametrize(
    ("tool", "writes"),
    [
        *(("get_user_details", False), ("searchDirectFlight", False), ("list-files", False)),
        *(("get_order_status", False), ("find_book", False), ("open_account", True)),
        *(("calculate", False), ("think", False), ("mcp__github__get_issue", False)),
        *(("book_reservation", True), ("get_or_create_user", True), ("doMagic", True)),
        *(("__init__", True), ("", True), ("transfer_to_human_agents", True)),
    ],
)
def test_a_tool_writes_unless_its_name_says_that_it_reads(tool: str, writes: bool) -> None:
    assert is_write_by_name(tool) == writes


def test_identifiers_are_long_texts_and_long_numbers_of_call_and_result() -> None:
    found = identifiers('{"id": "EHGLP3", "n": 12, "year": 2024, "ok": true}', "saw HAT001 in NYC")
    assert found == {"EHGLP3", "2024", "HAT001"}
