"""Canonical JSON, its hash, and the turns at which a conversation can be cut."""

import hashlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.messages import (
    Message,
    answer_of,
    calls_of,
    canonical_json,
    is_complete,
    sha256,
    text_of,
    turn_after,
    user_turns,
)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
conversations = st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), max_size=12).map(
    lambda roles: [{"role": r, "content": ""} for r in roles]
)


def shuffled(value: Any) -> Any:
    """The same value with the keys of every object in the opposite order."""
    if isinstance(value, dict):
        return {k: shuffled(v) for k, v in reversed(value.items())}
    return [shuffled(v) for v in value] if isinstance(value, list) else value


@given(values)
def test_canonical_json_reads_back_as_the_same_value(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


@given(values)
def test_the_order_of_keys_does_not_matter(value: Any) -> None:
    assert canonical_json(shuffled(value)) == canonical_json(value)
    assert sha256(shuffled(value)) == sha256(value)


@given(values)
def test_canonical_json_is_its_own_canonical_form(value: Any) -> None:
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


def test_the_canonical_form_and_its_hash_are_what_they_always_were() -> None:
    """Hashes are stored: a change here makes every paid response unfindable."""
    assert (
        canonical_json({"b": [1, 2.5, None, True], "a": "é\n"})
        == '{"a":"é\\n","b":[1,2.5,null,true]}'
    )
    assert sha256({"b": 1, "a": "é"}) == hashlib.sha256('{"a":"é","b":1}'.encode()).hexdigest()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json([value])


def test_a_lone_surrogate_has_a_hash() -> None:
    assert sha256("\ud800") != sha256("\ud801")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("", ""),
        ("a", "a"),
        ([], ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
    ],
)
def test_the_text_of_a_message_is_all_of_its_parts(content: Any, text: str) -> None:
    assert text_of({"role": "user", "content": content}) == text


@given(conversations)
def test_every_run_of_user_messages_is_one_turn_and_its_last_message_counts(
    messages: list[Message],
) -> None:
    roles = [m["role"] for m in messages]
    turns = user_turns(messages)
    assert turns == sorted(set(turns))
    assert all(roles[i] == "user" and roles[i + 1 : i + 2] != ["user"] for i in turns)
    assert len(turns) == sum(
        r == "user" and (i == 0 or roles[i - 1] != "user") for i, r in enumerate(roles)
    )


@given(conversations)
def test_what_follows_an_answer_does_not_move_earlier_turns(messages: list[Message]) -> None:
    answered: list[Message] = [*messages, {"role": "assistant", "content": ""}]
    assert (
        user_turns([*answered, {"role": "user", "content": ""}])[:-1]
        == user_turns(answered)
        == user_turns(messages)
    )


def step(content: str | None = None, *calls: str, **keys: Any) -> Any:
    made = [{"id": c, "type": "function", "function": {"name": c, "arguments": ""}} for c in calls]
    return {
        "role": "assistant",
        "content": content,
        **({"tool_calls": made} if made else {}),
        **keys,
    }


def result(call: str) -> Any:
    return {"role": "tool", "tool_call_id": call, "content": "done"}


USER: Any = {"role": "user", "content": "please"}
SYSTEM: Any = {"role": "system", "content": "now"}


@pytest.mark.parametrize(
    ("turn", "answer", "calls", "complete"),
    [
        # without tools nothing changes: the message that follows the user's
        ([step("one")], 0, [], True),
        ([step("one"), step("two")], 0, [], True),
        ([], None, [], False),
        ([SYSTEM, step("late")], None, [], True),
        # what the user read, and every call of the turn
        ([step(None, "a"), result("a"), step("done")], 2, ["a"], True),
        ([step("wait", "a", "b"), result("a"), result("b"), step("done")], 3, ["a", "b"], True),
        ([step("", "a"), result("a"), step("", "b"), result("b"), step("x")], 4, ["a", "b"], True),
        ([step(None, "a"), step("x"), step("y")], 2, ["a"], True),
        ([SYSTEM, step(None, "a"), result("a"), step("done")], 3, ["a"], True),
        ([step(None, "a"), result("a"), step(None, refusal="no")], 2, ["a"], True),
        # cut between call and answer
        ([step(None, "a")], 0, ["a"], False),
        ([step(None, "a"), result("a")], 0, ["a"], False),
        ([step("wait", "a"), result("a"), step(None, "b")], 0, ["a", "b"], False),
        # an empty text at the end is no text
        ([step("wait", "a"), result("a"), step(" ")], 0, ["a"], True),
        ([step(None, "a"), result("a"), step("")], 0, ["a"], True),
        # a result without a call
        ([result("a")], None, [], False),
        ([result("a"), step("done")], 1, [], True),
    ],
)  # fmt: skip
def test_the_answer_of_a_turn_is_what_the_user_read(
    turn: list[Any], answer: int | None, calls: list[str], complete: bool
) -> None:
    messages = [USER, *turn, USER, step("of the next turn", "z")]
    assert turn_after(messages, 1) == turn
    assert answer_of(turn) == (None if answer is None else turn[answer])
    assert [call["id"] for call in calls_of(turn)] == calls
    assert is_complete(turn) == complete
