"""Outcomes as rows of candidate_completions.

Belongs here: that one mapping. Does not: writing them (warehouse), making them (engine).
"""

from collections.abc import Iterable

import polars as pl

from sim_platform.contracts.messages import canonical_json
from sim_platform.contracts.outcomes import Outcome
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.schema import frame
from sim_platform.replay.engine import THIS_RUN


def completions_frame(outcomes: Iterable[Outcome], release: str) -> pl.DataFrame:
    """One row an outcome, validated, for the candidate release `release`. Lone surrogates, which no
    table can hold, become U+FFFD.

    Raises:
        ContractError: an outcome does not fit the table; names column and rule.
    """
    return frame(CandidateCompletions, [_row(outcome, release) for outcome in outcomes])


def _row(outcome: Outcome, release: str) -> dict[str, object]:
    row: dict[str, object] = {
        **vars(outcome),
        "model_version": release,
        "tool_calls": canonical_json(outcome.tool_calls),
        "labels": canonical_json(outcome.labels),
        "logprobs": None if outcome.logprobs is None else canonical_json(outcome.logprobs),
        "reused_from": release if outcome.reused_from == THIS_RUN else outcome.reused_from,
    }
    return {
        name: _storable(value) if isinstance(value, str) else value for name, value in row.items()
    }


def _storable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
