"""The cut: a drawn conversation becomes a prefix, with the recorded response beside it
and never inside.

Belongs here: rows of `stratified_sample` from corpus rows and a draw. Does not: which conversation
and which turn (draw).
"""

import json

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.messages import (
    Message,
    answer_of,
    canonical_json,
    is_complete,
    sha256,
    turn_after,
    user_turns,
)
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import dtypes, validated
from sim_platform.sampling.draw import Draw


def cut_prefixes(corpus_rows: pl.DataFrame, draw: Draw, *, release: str) -> pl.DataFrame:
    """One prefix per drawn conversation: its messages up to and including the chosen user turn.

    `recorded_turn` is what follows up to the next user message, `recorded` the message of it that
    the user read (`answer_of`); both are null where nothing was answered. `recorded_labels` are the
    conversation's labels, which are those of its last response: empty unless the cut is at the last
    user turn and a response was recorded. Later turns are dropped.

    Args:
        corpus_rows: rows of `deidentified_corpus`; it must hold every drawn conversation,
            others are ignored.
        draw: the draw. release: candidate release.

    Returns:
        Rows of `stratified_sample`, sorted by prefix_id.

    Raises:
        SimPlatformError: a drawn conversation is absent, or its messages do not have the turn;
            names its key.
    """
    rows = draw.sampled.join(corpus_rows, on="conversation_key", how="left")
    absent = rows.filter(pl.col("messages").is_null())
    if len(absent):
        raise SimPlatformError(
            f"{release}: {len(absent)} of {len(rows)} drawn conversations are not in"
            f" deidentified_corpus, the first is {absent['conversation_key'][0]}; the corpus"
            " changed during the draw, run stratified_sample again"
        )
    cut = [
        {
            "model_version": release,
            "sample_id": draw.sample_id,
            "prefix_id": prefix_id(row["conversation_key"], row["turn"]),
        }
        | {
            name: row[name]
            for name in (
                "conversation_key",
                "user_key",
                "stratum",
                "turn",
                "metadata",
                "inclusion_probability",
                "weight",
                "deid_version",
            )
        }
        | {"tool_set_hash": row.get("tool_set_hash")}  # a corpus of before there were sets has none
        | _cut(
            row["conversation_key"], row["turn"], row["messages"], row["labels"], row["turn_keys"]
        )
        for row in rows.iter_rows(named=True)
    ]
    return validated(
        StratifiedSample, pl.DataFrame(cut, schema=dtypes(StratifiedSample)).sort("prefix_id")
    )


def prefix_id(conversation_key: str, turn: int) -> str:
    """Id of the conversation cut at a user turn: 16 hex digits."""
    return sha256([conversation_key, turn])[:16]


def _cut(
    key: str, turn: int, messages_json: str, labels: str, turn_keys_json: str
) -> dict[str, object]:
    try:
        messages: list[Message] = json.loads(messages_json)
        turns = user_turns(messages)
        end, turn_key = turns[turn] + 1, json.loads(turn_keys_json)[turn]
    except (ValueError, TypeError, KeyError, IndexError):
        # `from None`: these errors can quote the conversation.
        raise SimPlatformError(
            f"deidentified_corpus: conversation {key} cannot be cut at user turn {turn}; its row is"
            " not what the contract says"
        ) from None
    after = turn_after(messages, end)
    answer = answer_of(after)
    is_last = turn == len(turns) - 1
    return {
        "prefix": canonical_json(messages[:end]),
        "recorded": None if answer is None else canonical_json(answer),
        "recorded_turn": None if answer is None else canonical_json(after),
        "recorded_is_complete": None if answer is None else is_complete(after),
        "recorded_labels": labels if is_last and answer is not None else "{}",
        "turn_key": turn_key,
    }
