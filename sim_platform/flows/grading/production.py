"""Recorded responses of a version in service, as outcomes that graders take, and their scores.

Belongs here: from stored conversations to recorded responses, grading those that are new. Does not:
graders (grading), asking (asking): a judge over the whole log is a bill.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from sim_platform.contracts.messages import canonical_json, text_of, user_turns
from sim_platform.contracts.tables.grading import ProductionScores
from sim_platform.flows.grading.scoring import asks, grading_processes
from sim_platform.flows.paging import row_pages
from sim_platform.grading.scores import grader_hash, scores
from sim_platform.registry.home import Home
from sim_platform.warehouse.duckdb_file import DuckDBFile

PAGE = 10_000  # conversations graded together
PENDING = """
    from deidentified_corpus c
    where c.model_version = $replaced and c.n_user_turns > 0
      and c.week >= date_trunc('week', $since::date)
      and c.week <= coalesce($until::date, date '9999-12-31')
      and not exists (select 1 from production_scores p where p.model_version = $release
                      and p.conversation_key = c.conversation_key)"""
ROWS = """
    select conversation_key, messages, metadata, labels from deidentified_corpus
    where rowid >= $start and rowid < $end"""
LABELS = """
    select behavior, count(*) filter (label is not null) as n,
           count(*) filter (label) as occurred, count(missing_reason) as missing
    from production_scores where model_version = $release group by all order by all"""
RESPONSES = dict.fromkeys(
    ("arm", "prefix_id", "status", "text", "tool_calls", "refusal", "labels", "prefix", "metadata"),
    pl.String,
) | {"k": pl.Int64}


def responses_of(row: dict[str, Any], *, every: bool) -> list[dict[str, Any]]:
    """The recorded responses of one conversation as outcomes; a user turn that nobody answered
    is a failed one.
    """
    messages = json.loads(row["messages"])
    turns = user_turns(messages)
    found = []
    for turn, at in list(enumerate(turns))[0 if every else -1 :]:
        answer = (
            messages[at + 1]
            if at + 1 < len(messages) and messages[at + 1]["role"] == "assistant"
            else None
        )
        found.append(
            {
                "arm": "recorded",
                "prefix_id": row["conversation_key"],
                "k": turn,
                "status": "completed" if answer else "failed",
                "text": text_of(answer) if answer else None,
                "tool_calls": canonical_json(answer.get("tool_calls") or []) if answer else "[]",
                "refusal": answer.get("refusal") if answer else None,
                "labels": row["labels"] if at == turns[-1] else "{}",
                "prefix": canonical_json(messages[: at + 1]),
                "metadata": row["metadata"],
            }
        )
    return found


@dataclass(frozen=True)
class ProductionSummary:
    """Stored scores of the version in service; `labels` counts them per behaviour."""

    n_scores: int
    labels: pl.DataFrame


def score_production(
    home: Home,
    warehouse: DuckDBFile,
    release: str,
    *,
    total: Callable[[int], None],
    advance: Callable[[int], None],
) -> ProductionSummary:
    """Grades the recorded responses of the version that the release replaces, in the weeks of its
    deployment: those that are new, or all of them when a grader changed. Behaviours whose graders
    are asked are left out.

    Args:
        total: told how many conversations there are to grade. advance: how many more are done.
    """
    candidate, replaced = home.release(release)
    behaviors = [b for b in home.graded if not asks(b)]
    mine = {"release": release}
    deployed = replaced.deployed
    span = {
        **mine,
        "replaced": replaced.version,
        "since": deployed.from_ if deployed else date(1970, 1, 1),
        "until": deployed.until if deployed else None,
    }
    _drop_outdated(
        warehouse, release, replaced.version, {(b.id, grader_hash(b, home)) for b in behaviors}
    )
    pending = warehouse.query(f"select c.conversation_key {PENDING}", span)
    total(len(pending))
    every = candidate.plan.cut == "uniform_user_turn"
    with grading_processes(behaviors, len(pending)) as workers:
        is_idle = pending.is_empty() or not behaviors
        for page in () if is_idle else row_pages(warehouse, "deidentified_corpus", PAGE):
            rows = warehouse.query(ROWS, page).join(pending, on="conversation_key", how="semi")
            said = [r for row in rows.to_dicts() for r in responses_of(row, every=every)]
            outcomes = pl.DataFrame(said, schema=RESPONSES)
            graded = scores(outcomes, behaviors, release=release, home=home, workers=workers)
            graded = graded.rename({"prefix_id": "conversation_key", "k": "turn"})
            with warehouse.transaction() as tx:
                tx.append(ProductionScores, graded.drop("arm", "is_exploratory"))
            advance(len(rows))
    with warehouse.reading() as tx:
        counted = "select count(*) as n from production_scores where model_version = $release"
        return ProductionSummary(int(tx.query(counted, mine)["n"][0]), tx.query(LABELS, mine))


def _drop_outdated(
    warehouse: DuckDBFile, release: str, replaced: str, hashes: set[tuple[str, str]]
) -> None:
    """Scores of conversations that are gone, or of all of them when a grader changed."""
    with warehouse.transaction() as tx:
        tx.ensure(ProductionScores)
        stored = tx.query(
            "select distinct behavior, grader_hash from production_scores"
            " where model_version = $release",
            {"release": release},
        )
        tx.execute(
            "delete from production_scores where model_version = $release and ($changed or"
            " conversation_key not in (select conversation_key from deidentified_corpus"
            " where model_version = $replaced))",
            {"release": release, "replaced": replaced, "changed": set(stored.rows()) != hashes},
        )
