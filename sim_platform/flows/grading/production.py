"""Scores of what a version in service answered, over its whole log.

Belongs here: which conversations are new or changed, and storing their scores. Does not: recorded
responses (recorded), graders (grading), asking (asking): a judge over the whole log is a bill.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import polars as pl

from sim_platform.contracts.tables.grading import ProductionScores
from sim_platform.flows.grading.recorded import RESPONSES, responses_of, texts
from sim_platform.flows.grading.scoring import asks, grading_processes
from sim_platform.grading.scores import grader_hash, scores
from sim_platform.registry.home import Home
from sim_platform.warehouse.duckdb_file import DuckDBFile

# A conversation is graded again when its text is another one.
TEXT_KEY = "c.content_key || case when $on = 'raw' then '' else c.deid_version end"
PENDING = f"""
    select c.conversation_key, {TEXT_KEY} as text_key from deidentified_corpus c
    where c.model_version = $replaced and c.n_user_turns > 0
      and c.week >= date_trunc('week', $since::date)
      and c.week <= coalesce($until::date, date '9999-12-31')
      and not exists (select 1 from production_scores p where p.model_version = $release
                      and p.conversation_key = c.conversation_key)"""  # noqa: S608 - constants
OUTDATED = f"""
    delete from production_scores p where p.model_version = $release and ($changed or not exists (
        select 1 from deidentified_corpus c where c.model_version = $replaced
        and c.conversation_key = p.conversation_key and {TEXT_KEY} = p.text_key))"""  # noqa: S608 - constants
# Scores of an older version speak of the first message of a turn, in turns with calls a bare call.
FIRST_MESSAGES = """
    delete from production_scores p where p.model_version = $release and p.is_whole_turn is null
      and p.conversation_key in (
        select conversation_key from deidentified_corpus
        where model_version = $replaced and contains(messages, '"tool_calls":'))"""
LABELS = """
    select behavior, count(*) filter (label is not null) as n,
           count(*) filter (label) as occurred, count(missing_reason) as missing
    from production_scores where model_version = $release group by all order by all"""


@dataclass(frozen=True)
class ProductionSummary:
    """Stored scores of the version in service; `labels` counts them per behaviour."""

    n_scores: int
    labels: pl.DataFrame


def score_production(
    home: Home,
    vault: DuckDBFile,
    warehouse: DuckDBFile,
    release: str,
    *,
    total: Callable[[int], None],
    advance: Callable[[int], None],
) -> ProductionSummary:
    """Grades the recorded responses of the version that the release replaces, in the weeks of its
    deployment: those that are new or changed, or all of them when a grader changed. Behaviours
    whose graders are asked are left out.

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
    text = {"on": home.sources.deidentification.grade_recorded_on}
    hashes = {(b.id, grader_hash(b, home)) for b in behaviors}
    _drop_outdated(warehouse, {**mine, **text, "replaced": replaced.version}, hashes)
    pending = warehouse.query(PENDING, {**span, **text})
    total(len(pending))
    every = candidate.plan.cut == "uniform_user_turn"
    with grading_processes(behaviors, len(pending)) as workers:
        wanted = pending if behaviors else pending.clear()
        for rows in texts(home, vault, warehouse, replaced.version, wanted):
            said = [r for row in rows.to_dicts() for r in responses_of(row, every=every)]
            outcomes = pl.DataFrame(said, schema=RESPONSES)
            graded = scores(outcomes, behaviors, release=release, home=home, workers=workers)
            graded = graded.rename({"prefix_id": "conversation_key", "k": "turn"}).join(
                rows.select("conversation_key", "text_key"),
                on="conversation_key",
                maintain_order="left",
            )
            graded = graded.with_columns(is_whole_turn=pl.lit(True))
            with warehouse.transaction() as tx:
                tx.append(ProductionScores, graded.drop("arm", "is_exploratory"))
            advance(len(rows))
    with warehouse.reading() as tx:
        counted = "select count(*) as n from production_scores where model_version = $release"
        return ProductionSummary(int(tx.query(counted, mine)["n"][0]), tx.query(LABELS, mine))


def _drop_outdated(
    warehouse: DuckDBFile, release: dict[str, str], hashes: set[tuple[str, str]]
) -> None:
    """Scores of conversations that are gone or changed, or of all of them when a grader changed."""
    with warehouse.transaction() as tx:
        tx.ensure(ProductionScores)
        stored = tx.query(
            "select distinct behavior, grader_hash from production_scores"
            " where model_version = $release",
            {"release": release["release"]},
        )
        tx.execute(OUTDATED, {**release, "changed": set(stored.rows()) != hashes})
        mine = {"release": release["release"]}
        older = "from production_scores where model_version = $release and is_whole_turn is null"
        if tx.query(f"select count(*) as n {older}", mine).item():
            tx.execute(FIRST_MESSAGES, {**mine, "replaced": release["replaced"]})
            tx.execute(
                "update production_scores set is_whole_turn = true"
                " where model_version = $release and is_whole_turn is null",
                mine,
            )
