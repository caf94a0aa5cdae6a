"""The tool calls of a conversation with their results, each at its place.

Belongs here: finding which result belongs to which call, in any log. Does not: the form of a call
(calls), storing pairs (flows).
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from sim_platform.contracts.messages import Message, text_of, user_turns
from sim_platform.contracts.tables.replay import ToolPairs
from sim_platform.contracts.tables.schema import dtypes
from sim_platform.replay.tools.calls import canonical_call, is_error, is_write_by_name

PAIRS_VERSION = 1  # of what is read from a conversation; another number reads all of them again
NO_RESULT: Final = "no_result"  # the log was cut between call and result
TWO_RESULTS: Final = "two_results"  # which one the model saw is not known


@dataclass(frozen=True)
class Pair:
    """A call and its result at (turn, step, position): the user turn it belongs to (-1: before the
    first), the assistant's message in that turn and the call in that message, each from 0.

    `result` is None where the log holds none. `problem` says why a pair is never served.
    `n_writes_before`: calls before it in the conversation that are guessed to have changed
    something, errors not counted.
    """

    turn: int
    step: int
    position: int
    tool: str
    canonical_hash: str
    arguments: str
    result: str | None
    is_error: bool
    is_write_guess: bool
    n_writes_before: int
    problem: str | None


def pairs_of(messages: Sequence[Message]) -> list[Pair]:
    """All calls of a conversation in their order. A result belongs to the latest call with its id
    that has none, so that ids may be used again; within one message calls with one id take results
    in order. A result without a call is passed over.
    """
    starts = set(user_turns(messages))
    found: list[Pair] = []
    open_calls: dict[str, deque[int]] = {}
    answered: dict[str, int] = {}
    turn, step, n_writes = -1, 0, 0
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            fresh: dict[str, deque[int]] = {}
            for position, call in enumerate(message.get("tool_calls") or ()):
                made = canonical_call(call["function"]["name"], call["function"]["arguments"])
                fresh.setdefault(call["id"], deque()).append(len(found))
                found.append(
                    Pair(
                        *(turn, step, position),
                        tool=made.tool,
                        canonical_hash=made.canonical_hash,
                        arguments=made.arguments,
                        result=None,
                        is_error=False,
                        is_write_guess=is_write_by_name(made.tool),
                        n_writes_before=0,
                        problem=made.problem or NO_RESULT,
                    )
                )
            open_calls |= fresh
            for key in fresh:
                answered.pop(key, None)
            step += 1
        elif message["role"] == "tool":
            key, text = message.get("tool_call_id", ""), text_of(message)
            if waiting := open_calls.get(key):
                at = answered[key] = waiting.popleft()
                pair = found[at]
                problem = None if pair.problem == NO_RESULT else pair.problem
                found[at] = replace(pair, result=text, is_error=is_error(text), problem=problem)
            elif key in answered:
                at = answered[key]
                found[at] = replace(found[at], problem=found[at].problem or TWO_RESULTS)
        if index in starts:
            turn, step = turn + 1, 0
    counted = []
    for pair in found:
        counted.append(replace(pair, n_writes_before=n_writes))
        n_writes += is_successful_write(pair)
    return counted


def is_successful_write(pair: Pair) -> bool:
    """Whether it may have changed the world: a call whose result is missing may have."""
    return pair.is_write_guess and not pair.is_error


def pairs_frame(conversations: Iterable[Mapping[str, object]]) -> pl.DataFrame:
    """Rows of ToolPairs.

    Args:
        conversations: rows with conversation_key, `messages` (already parsed), tool_set_hash and
            deid_version.
    """
    rows = [
        {
            "conversation_key": row["conversation_key"],
            "tool_set_hash": row["tool_set_hash"],
            "pairs_version": PAIRS_VERSION,
            "deid_version": row["deid_version"],
            **vars(pair),
        }
        for row in conversations
        for pair in pairs_of(row["messages"])  # type: ignore[arg-type]  # parsed messages
    ]
    return pl.DataFrame(rows, schema=dtypes(ToolPairs))
