"""Grades every outcome of a release, a page of prefixes at a time.

Belongs here: which outcomes are graded, in which processes, and storing their scores. Does not:
graders and verdicts (grading), asking judges (asking).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import polars as pl

from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.flows.grading.asking import Asking
from sim_platform.flows.grading.recorded import RESPONSES, response_at, texts
from sim_platform.flows.paging import key_pages
from sim_platform.flows.parts import parts
from sim_platform.flows.registration import covered, refuse_unregistered
from sim_platform.grading.scores import scores
from sim_platform.registry.behaviors import Behavior, ModerationGrader
from sim_platform.registry.home import Home
from sim_platform.registry.preregistration import Coverage
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform.warehouse.gates import EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR

PAGE = 4_000  # prefixes graded together: with their texts they are held in memory
ENOUGH_FOR_PROCESSES = 20_000  # prefixes
OUTCOMES = """
    with page as (
        select * from stratified_sample
        where model_version = $release and prefix_id between $first and $last)
    select c.arm, s.prefix_id, c.k, c.status, c.text, c.reasoning, c.tool_calls, c.refusal,
           c.labels, s.prefix, s.metadata, null as graded_on
    from candidate_completions c join page s using (prefix_id)
    where c.model_version = $release and c.prefix_id between $first and $last
    union all
    select 'recorded', prefix_id, 0,
           case when recorded is null then 'failed' else 'completed' end,
           case json_type(recorded, '$.content')
                when 'ARRAY'
                then array_to_string(json_extract_string(recorded, '$.content[*].text'), chr(10))
                else json_extract_string(recorded, '$.content') end, null,
           case when recorded_turn is null then coalesce(recorded::json ->> 'tool_calls', '[]')
                else to_json(json_extract(recorded_turn, '$[*].tool_calls[*]'))::varchar end,
           json_extract_string(recorded, '$.refusal'), recorded_labels, prefix, metadata,
           'deidentified'
    from page where $with_recorded
    order by prefix_id, arm, k"""
SAMPLE = """
    select prefix_id, conversation_key, turn, recorded is not null as is_answered
    from stratified_sample where model_version = $release order by prefix_id"""
LABELS = """
    select behavior, arm, count(*) filter (applies) as eligible,
           count(*) filter (label) as occurred, count(missing_reason) as missing
    from classifier_scores where model_version = $release group by all order by all"""
GRADERS = """
    select distinct behavior, grader_hash from classifier_scores
    where model_version = $release order by all"""


@dataclass(frozen=True)
class ScoringSummary:
    """What was graded: `labels` counts per behaviour and arm, `graders` the hash per behaviour."""

    n_scores: int
    labels: pl.DataFrame
    graders: pl.DataFrame
    registered: Coverage
    asked: Asking | None


def asks(behavior: Behavior) -> bool:
    """Whether any of its graders is a call to somebody else."""
    return bool(behavior.judges) or any(isinstance(p, ModerationGrader) for p in behavior.parts)


@contextmanager
def grading_processes(behaviors: Sequence[Behavior], n: int) -> Iterator[Executor | None]:
    """A process a core where there is enough to grade, else none: starting them takes seconds."""
    if n < ENOUGH_FOR_PROCESSES or (os.cpu_count() or 1) == 1 or not behaviors:
        yield None
        return
    spawned = get_context("spawn")  # a fork would copy threads that hold locks
    with ProcessPoolExecutor(mp_context=spawned) as workers:
        yield workers


def _recorded_in(conversations: pl.DataFrame) -> pl.DataFrame:
    """The recorded arm of the sample, from the conversations as they are now. A turn that is no
    longer there, or answered where it was not, is left to the sample's own text.
    """
    found = [
        {**response, "prefix_id": row["prefix_id"], "k": 0}
        for row in conversations.iter_rows(named=True)
        if (response := response_at(row, row["turn"]))
        and (response["status"] == "completed") == row["is_answered"]
    ]
    return pl.DataFrame(found, schema=RESPONSES)


def score_release(
    home: Home,
    vault: DuckDBFile,
    warehouse: DuckDBFile,
    release: str,
    *,
    advance: Callable[[int], None],
    on_answer: Callable[[int, int], None],
) -> ScoringSummary:
    """Grades all outcomes of the release and stores the scores in the place of earlier ones.

    What is graded here is shared among processes; what is asked is asked from this one. Recorded
    responses are graded on the log's text by graders that ask nobody (recorded says why).

    Args:
        advance: called with the number of outcomes that were graded. on_answer: called after each
            answer of a judge with how many came, and of how many that are known to be asked.

    Raises:
        SimPlatformError: no record of what was decided before, or graders that it does not name.
        GateError: an outcome without a score, or a score without an outcome.
    """
    candidate, replaced = home.release(release)
    registered = covered(home, warehouse, release)
    refuse_unregistered(registered, release)
    asking = [b for b in home.graded if asks(b)]
    others = [b for b in home.graded if not asks(b)]
    ask = Asking(home, warehouse, release, on_answer) if asking else None
    with warehouse.transaction() as tx:
        # those of an older version have fewer columns
        tx.ensure(CandidateCompletions, StratifiedSample)
    mine = {"release": release}
    with_recorded = "recorded" in candidate.plan.arms
    sample = warehouse.query(SAMPLE, mine)
    ids = sample["prefix_id"]
    graded = partial(scores, release=release, home=home, exploratory=registered.exploratory)
    with parts(home.path, ClassifierScores) as made, grading_processes(others, len(ids)) as pool:
        done = [pl.DataFrame(schema={"arm": pl.String, "prefix_id": pl.String})]
        wanted = sample if with_recorded and others else sample.clear()
        for rows in texts(home, vault, warehouse, replaced.version, wanted):
            outcomes = _recorded_in(rows)
            made.add(graded(outcomes, others, workers=pool))
            done.append(outcomes.select("arm", "prefix_id"))
            advance(len(outcomes))
        graded_already = pl.concat(done)
        for page in key_pages(ids, PAGE):
            outcomes = warehouse.query(OUTCOMES, {**mine, **page, "with_recorded": with_recorded})
            others_of_page = outcomes.join(
                graded_already, on=["arm", "prefix_id"], how="anti", maintain_order="left"
            )
            made.add(graded(others_of_page, others, workers=pool))
            if asking:
                made.add(graded(outcomes, asking, ask=ask))
            advance(len(others_of_page))
        with warehouse.transaction() as tx:
            tx.ensure(ClassifierScores)
            tx.execute("delete from classifier_scores where model_version = $release", mine)
            made.insert(tx)
            tx.pass_gates([EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR], release)
    labels, graders = warehouse.query(LABELS, mine), warehouse.query(GRADERS, mine)
    return ScoringSummary(made.n_rows, labels, graders, registered, ask)
