"""Counts what is known of a release's graders: their own labels, their answers to equal questions,
and people's labels of the same outcomes.

Belongs here: queries over the warehouse. Does not: what the counts allow (estimation.graders).
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from sim_platform.estimation.graders import GraderEvidence
from sim_platform.grading import judge
from sim_platform.registry.home import Home
from sim_platform.warehouse.duckdb_file import DuckDBFile

SAID = """
    select behavior, any_value(grader_hash) as grader_hash, count(*) filter (label) as n_yes,
           count(*) filter (not label) as n_no
    from classifier_scores where model_version = $release and label is not null group by behavior"""
# Of whichever release: what counts is that the same grader labelled the outcome.
PEOPLE = """
    with said as (
        select h.behavior, s.grader_hash, avg(h.label::int) as share
        from human_labels h join label_draws d using (model_version, behavior, item_id)
          join classifier_scores s using (model_version, behavior, arm, prefix_id, k)
        where h.label is not null and s.label is not null
        group by h.model_version, h.behavior, h.item_id, s.grader_hash)
    select behavior, grader_hash, count(*) filter (share > 0.5) as people_yes,
           count(*) filter (share < 0.5) as people_no
    from said group by behavior, grader_hash"""
ASKED = """
    with asked as (
        select item_hash, count(*) as n, count(*) filter (label) as yes
        from grader_answers
        where question_hash = $question and question = $behavior and not is_canary
          and label is not null
        group by item_hash)
    select coalesce(sum(yes), 0)::bigint as judge_yes,
           coalesce(sum(n - yes), 0)::bigint as judge_no, count(*) filter (n > 1) as n_twice,
           count(*) filter (n > 1 and yes between 1 and n - 1) as n_differ
    from asked"""


def grader_evidence(
    home: Home, warehouse: DuckDBFile, release: str
) -> Mapping[str, GraderEvidence]:
    """By behaviour that has labels in the release."""
    questions = {
        b.id: judge.call_hash(call, home.by_version[call.config.model])
        for call in judge.calls_of(home.graded)
        for b in call.behaviors
    }
    with warehouse.reading() as tx:
        tables = tx.tables()
        if "classifier_scores" not in tables:
            return {}
        said = tx.query(SAID, {"release": release})
        if {"human_labels", "label_draws"} <= set(tables):
            said = said.join(tx.query(PEOPLE), on=["behavior", "grader_hash"], how="left")
        answers: dict[str, dict[str, Any]] = {}
        if "grader_answers" in tables:
            answers = {
                name: tx.query(ASKED, {"question": question, "behavior": name}).row(0, named=True)
                for name, question in questions.items()
            }
    rows = said.drop("grader_hash").with_columns(pl.col(pl.Int64).fill_null(0)).to_dicts()
    return {
        name: GraderEvidence(is_judged=name in questions, **row, **answers.get(name, {}))
        for row in rows
        for name in (row.pop("behavior"),)
    }
