"""What a version in service answered, as outcomes that graders take.

Belongs here: recorded responses of conversations, as they stand in the log or in the corpus. Does
not: graders (grading), which behaviours (scoring, production).

Graders that ask nobody see the log's own text, as production monitoring does: a rule that takes
"seven ... drift" for an address would otherwise change what the version in service is said to do.
That text is read from the vault, graded in memory and forgotten: labels and keyed hashes leave.
Metadata is the corpus', so that eligibility means the same in every arm.

A turn with tool calls is graded on the text that ends it, which is what the user read, with all of
its calls. One that has no text at all keeps its first message: there are calls and nothing to read.
"""

import json
from collections.abc import Iterator
from typing import Any

import polars as pl

from sim_platform.contracts.messages import (
    Message,
    answer_of,
    calls_of,
    canonical_json,
    text_of,
    turn_after,
    user_turns,
)
from sim_platform.deidentification.deidentify import keyed_hash
from sim_platform.flows.paging import row_pages
from sim_platform.flows.vault import vault_key
from sim_platform.registry.home import Home
from sim_platform.warehouse.duckdb_file import DuckDBFile

PAGE = 5_000  # conversations read together
IDS = """
    select conversation_id from consented_log_extract
    where rowid >= $start and rowid < $end and model_version = $version"""
LOGGED = """
    select conversation_id, messages from consented_log_extract
    where rowid >= $start and rowid < $end and conversation_id in (select unnest($ids))"""
PROPERTIES = """
    select conversation_key, metadata, labels from deidentified_corpus
    where conversation_key in (select unnest($keys))"""
IN_CORPUS = """
    select conversation_key, messages, metadata, labels from deidentified_corpus
    where rowid >= $start and rowid < $end"""
RESPONSES = dict.fromkeys(
    (
        "arm",
        "prefix_id",
        "status",
        "text",
        "tool_calls",
        "refusal",
        "labels",
        "prefix",
        "metadata",
        "graded_on",
    ),
    pl.String,
) | {"k": pl.Int64}


def texts(
    home: Home, vault: DuckDBFile, warehouse: DuckDBFile, version: str, wanted: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """The text that graders see of these conversations, each read once, a page at a time.

    Args:
        version: version in service whose conversations they are.
        wanted: conversation_key and whatever belongs to it.

    Yields:
        `wanted`'s columns with messages, metadata, labels (JSON) and `graded_on`: "raw", or
        "deidentified" where sources.yaml says so. A conversation that is in the corpus and no
        longer in the log is left out.
    """
    if home.sources.deidentification.grade_recorded_on == "raw":
        return _logged(vault, warehouse, version, wanted)
    return _in_corpus(warehouse, wanted)


def _logged(
    vault: DuckDBFile, warehouse: DuckDBFile, version: str, wanted: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    secret = vault_key(vault)
    on = pl.lit("raw").alias("graded_on")
    for page in row_pages(vault, "consented_log_extract", PAGE) if len(wanted) else ():
        ids = vault.query(IDS, {**page, "version": version})["conversation_id"]
        keys = [keyed_hash(secret, "conversation", one) for one in ids]
        mine = pl.DataFrame(
            {"conversation_id": ids, "conversation_key": pl.Series(keys, dtype=pl.String)}
        ).join(wanted, on="conversation_key", maintain_order="left")
        if mine.is_empty():
            continue
        rows = vault.query(LOGGED, {**page, "ids": mine["conversation_id"].to_list()})
        properties = warehouse.query(PROPERTIES, {"keys": mine["conversation_key"].to_list()})
        found = mine.join(rows, on="conversation_id", maintain_order="left")
        yield found.join(properties, on="conversation_key", maintain_order="left").select(
            pl.exclude("conversation_id"), on
        )


def _in_corpus(warehouse: DuckDBFile, wanted: pl.DataFrame) -> Iterator[pl.DataFrame]:
    on = pl.lit("deidentified").alias("graded_on")
    for page in row_pages(warehouse, "deidentified_corpus", PAGE) if len(wanted) else ():
        rows = warehouse.query(IN_CORPUS, page)
        found = rows.join(wanted, on="conversation_key", maintain_order="left")
        if len(found):
            yield found.with_columns(on)


def responses_of(row: dict[str, Any], *, every: bool) -> list[dict[str, Any]]:
    """The recorded responses of one conversation as outcomes, of every user turn or of the last; a
    user turn that nobody answered is a failed one.
    """
    messages = json.loads(row["messages"])
    turns = user_turns(messages)
    first = 0 if every or not turns else len(turns) - 1
    return [_response(row, messages, turns, turn) for turn in range(first, len(turns))]


def response_at(row: dict[str, Any], turn: int) -> dict[str, Any] | None:
    """The recorded response at one user turn; None where the conversation has no such turn."""
    messages = json.loads(row["messages"])
    turns = user_turns(messages)
    return _response(row, messages, turns, turn) if turn < len(turns) else None


def _response(
    row: dict[str, Any], messages: list[Message], turns: list[int], turn: int
) -> dict[str, Any]:
    end = turns[turn] + 1
    after = turn_after(messages, end)
    answer = answer_of(after)
    return {
        "arm": "recorded",
        "prefix_id": row["conversation_key"],
        "k": turn,
        "status": "completed" if answer else "failed",
        "text": text_of(answer) if answer else None,
        "tool_calls": canonical_json(calls_of(after)) if answer else "[]",
        "refusal": answer.get("refusal") if answer else None,
        "labels": row["labels"] if turn == len(turns) - 1 else "{}",
        "prefix": canonical_json(messages[:end]),
        "metadata": row["metadata"],
        "graded_on": row.get("graded_on"),
    }
