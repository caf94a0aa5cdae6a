"""Reads the tool calls of the corpus into `tool_pairs`, those of new and changed conversations.

Belongs here: which conversations are pending, storing their pairs. Does not: finding calls and
results (replay.tools).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from sim_platform.contracts.tables.deidentification import DeidentifiedCorpus
from sim_platform.contracts.tables.replay import ToolPairs
from sim_platform.contracts.tables.schema import validated
from sim_platform.replay.tools.pairs import PAIRS_VERSION, pairs_frame
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform.warehouse.gates import (
    EVERY_CALL_OF_A_STEP_STANDS_ONCE_AND_IN_ORDER,
    EVERY_PAIR_STANDS_IN_THE_CORPUS,
)

PAGE = 2_000  # conversations read and written together
# A conversation with calls has pairs; what replaced it in the corpus took its pairs along.
PENDING = """
    select conversation_key from deidentified_corpus c
    where contains(messages, '"tool_calls":') and not exists (
        select 1 from tool_pairs p where p.conversation_key = c.conversation_key
          and p.deid_version = c.deid_version and p.pairs_version = $version)
    order by conversation_key"""
TEXTS = """
    select conversation_key, messages, tool_set_hash, deid_version from deidentified_corpus
    where conversation_key in (select unnest($keys))"""
BY_TOOL = """
    select tool, count(*) as calls, count(*) filter (is_error) as errors,
           count(*) filter (problem is not null) as not_served, bool_or(is_write_guess) as writes
    from tool_pairs group by tool order by calls desc, tool"""


@dataclass(frozen=True)
class PairsSummary:
    """What one run did: conversations read now, pairs stored in all."""

    n_read: int
    n_pairs: int


def pair_calls(warehouse: DuckDBFile, *, advance: Callable[[int], None]) -> PairsSummary:
    """Brings `tool_pairs` to what the corpus holds now, a page of conversations a transaction.

    Raises:
        GateError: a pair without its conversation, or a step whose calls are not in order: the page
            is not written.
    """
    with warehouse.transaction() as tx:
        tx.ensure(DeidentifiedCorpus, ToolPairs)
        pending = tx.query(PENDING, {"version": PAIRS_VERSION})["conversation_key"]
    for start in range(0, len(pending), PAGE):
        keys = pending[start : start + PAGE].to_list()
        rows = [
            {**row, "messages": json.loads(row["messages"])}
            for row in warehouse.query(TEXTS, {"keys": keys}).to_dicts()
        ]
        made = validated(ToolPairs, pairs_frame(rows))
        with warehouse.transaction() as tx:
            tx.execute(
                "delete from tool_pairs where conversation_key in (select unnest($keys))",
                {"keys": keys},
            )
            tx.append(ToolPairs, made)
            tx.pass_gates(
                [EVERY_PAIR_STANDS_IN_THE_CORPUS, EVERY_CALL_OF_A_STEP_STANDS_ONCE_AND_IN_ORDER]
            )
        advance(len(keys))
    stored = warehouse.query("select count(*) as n from tool_pairs").item()
    return PairsSummary(len(pending), stored)


def pairs_by_tool(warehouse: DuckDBFile) -> pl.DataFrame:
    """Calls, errors, calls that are never served and the guess whether it writes, one tool a row;
    the most used first.
    """
    return warehouse.query(BY_TOOL)
