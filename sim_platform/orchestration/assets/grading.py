"""Assets of the grading stage.

Belongs here: which outcomes are graded, what the UI shows. Does not: graders (grading).
"""

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from datetime import date
from multiprocessing import get_context
from typing import Any

import dagster as dg
import polars as pl

from sim_platform.contracts.tables.grading import Calibration, ClassifierScores, ProductionScores
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import empty
from sim_platform.flows.grading.asking import Asking, flip_rate
from sim_platform.flows.grading.calibration import calibrate_release, drift_of_release
from sim_platform.flows.grading.production import RESPONSES, responses_of
from sim_platform.flows.registration import covered, refuse_unregistered
from sim_platform.grading.scores import grader_hash, scores
from sim_platform.orchestration.metadata import column_docs, markdown
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.progress import Progress
from sim_platform.orchestration.resources import Deployment
from sim_platform.registry.behaviors import Behavior, ModerationGrader
from sim_platform.registry.home import Home
from sim_platform.warehouse.gates import EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR

PAGE = 10_000  # prefixes graded together
ENOUGH_FOR_PROCESSES = 20_000  # prefixes
OUTCOMES = """
    with page as (select * from stratified_sample where model_version = $release and prefix_id > $last order by prefix_id limit $n)
    select c.arm, s.prefix_id, c.k, c.status, c.text, c.reasoning, c.tool_calls, c.refusal, c.labels, s.prefix, s.metadata
    from candidate_completions c join page s using (prefix_id) where c.model_version = $release
    union all
    select 'recorded', prefix_id, 0, case when recorded is null then 'failed' else 'completed' end,
           case json_type(recorded, '$.content') when 'ARRAY' then array_to_string(json_extract_string(recorded, '$.content[*].text'), chr(10))
                else json_extract_string(recorded, '$.content') end, null,
           coalesce(recorded::json ->> 'tool_calls', '[]'), json_extract_string(recorded, '$.refusal'), recorded_labels, prefix, metadata
    from page where $with_recorded
    order by prefix_id, arm, k"""


def asks(behavior: Behavior) -> bool:
    """Whether any of its graders is a call to somebody else."""
    return bool(behavior.judges) or any(
        isinstance(part, ModerationGrader) for part in behavior.parts
    )


@contextmanager
def grading_processes(home: Home, n: int) -> Iterator[Executor | None]:
    """A process a core where there is enough to grade and nothing is asked, else none: starting
    them takes seconds.
    """
    if n < ENOUGH_FOR_PROCESSES or (os.cpu_count() or 1) == 1 or any(asks(b) for b in home.graded):
        yield None
        return
    with ProcessPoolExecutor(
        mp_context=get_context("spawn")
    ) as workers:  # a fork would copy threads that hold locks
        yield workers


@dg.asset(
    deps=["candidate_completions", "stratified_sample"],
    partitions_def=MODEL_VERSIONS,
    group_name="grading",
    kinds={"duckdb", "polars"},
    metadata=column_docs(ClassifierScores),
)
@guarded
def classifier_scores(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """One behaviour of one outcome a row, in every arm: whether it occurred, or why that is not
    known.

    Key: (model_version, behavior, arm, prefix_id, k). Nothing is left out: a grader that errs gives
    an explicit missing, never a 0. A rerun grades
    again from the stored outcomes and sends nothing to a candidate; a judge is asked each question
    once, ever. Graders that were not registered are refused, or marked exploratory.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    candidate, _ = home.release(context.partition_key)
    registered = covered(home, warehouse, candidate.version)
    refuse_unregistered(registered, candidate.version)
    ask = Asking(home, warehouse, candidate.version) if any(asks(b) for b in home.graded) else None
    with warehouse.transaction() as tx:
        tx.ensure(
            CandidateCompletions
        )  # outcomes of an older version of the platform have fewer columns
    parameters = {
        "release": candidate.version,
        "n": PAGE,
        "with_recorded": "recorded" in candidate.plan.arms,
    }
    progress = Progress(context, "classifier_scores")
    parts = [empty(ClassifierScores)]
    last = ""
    n_prefixes = len(
        warehouse.read(
            StratifiedSample, {"model_version": candidate.version}, columns=["prefix_id"]
        )
    )
    with grading_processes(home, n_prefixes) as workers:
        while len(outcomes := warehouse.query(OUTCOMES, {**parameters, "last": last})):
            parts.append(
                scores(
                    outcomes,
                    home.graded,
                    release=candidate.version,
                    home=home,
                    ask=ask,
                    exploratory=registered.exploratory,
                    workers=workers,
                )
            )
            last = outcomes["prefix_id"][-1]
            progress.advance(len(outcomes))
    progress.finish()
    graded = pl.concat(parts)
    with warehouse.transaction() as tx:
        tx.replace(ClassifierScores, graded, {"model_version": candidate.version})
        tx.pass_gates([EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR], candidate.version)
    summary = graded.group_by("behavior", "arm").agg(
        pl.col("applies").sum().alias("eligible"),
        pl.col("label").sum().alias("occurred"),
        pl.col("missing_reason").is_not_null().sum().alias("missing"),
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(graded),
            "labels": markdown(summary.sort("behavior", "arm").to_dicts()),
            "not_graded": markdown(
                [{"behaviour": name, "why": why} for name, why in home.not_graded.items()]
            ),
            "exploratory": ", ".join(registered.exploratory) or "none",
            "asked": markdown(
                [
                    {
                        "calls": ask.sent,
                        "known before": ask.known,
                        "cost USD": round(ask.cost_usd, 6),
                        "unanswered": str(dict(ask.failures) or ""),
                    }
                ]
                if ask
                else []
            ),
            "planted_instructions": markdown(flip_rate(warehouse)),
            "graders": markdown(
                graded.select("behavior", "grader_hash").unique().sort("behavior").to_dicts()
            ),
        }
    )


@dg.asset(
    deps=["deidentified_corpus"],
    partitions_def=MODEL_VERSIONS,
    group_name="grading",
    kinds={"duckdb", "polars"},
    metadata=column_docs(ProductionScores),
)
@guarded
def production_scores(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """One behaviour of one recorded response of the deployed version a row, over its whole log in
    the weeks of its deployment, by the release's graders.

    Key: (model_version, behavior, conversation_key, turn). Left out: behaviours whose graders are
    asked (a judge over the whole log is a bill; the recorded arm of the sample has
    them), and turns other than the last where the plan cuts there. A rerun grades only
    conversations that are new, or everything when a grader changed.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    candidate, replaced = home.release(context.partition_key)
    behaviors = [b for b in home.graded if not asks(b)]
    hashes = {(b.id, grader_hash(b, home)) for b in behaviors}
    deployed = replaced.deployed
    parameters: dict[str, Any] = {
        "replaced": replaced.version,
        "since": deployed.from_ if deployed else date(1970, 1, 1),
        "until": deployed.until if deployed else None,
        "release": candidate.version,
        "n": PAGE,
    }
    with warehouse.transaction() as tx:
        tx.ensure(ProductionScores)
        stored = set(
            tx.query(
                "select distinct behavior, grader_hash from production_scores where model_version ="
                " $release",
                {"release": candidate.version},
            ).rows()
        )
        gone = (
            "conversation_key not in (select conversation_key from deidentified_corpus where"
            " model_version = $replaced)"
        )
        tx.execute(
            f"delete from production_scores where model_version = $release and ({gone} or"  # noqa: S608 - a literal of this function
            " $changed)",
            {
                "release": candidate.version,
                "replaced": replaced.version,
                "changed": stored != hashes,
            },
        )
    n_pending = warehouse.query(
        f"select count(*) as n from ({PRODUCTION})",
        {**parameters, "n": 1 << 40},  # noqa: S608 - a literal of this module
    )["n"][0]
    progress = Progress(context, "production_scores", int(n_pending))
    with grading_processes(home, int(n_pending)) as workers:
        while behaviors and len(page := warehouse.query(PRODUCTION, parameters)):
            rows = [
                row
                for one in page.to_dicts()
                for row in responses_of(one, every=candidate.plan.cut == "uniform_user_turn")
            ]
            graded = scores(
                pl.DataFrame(rows, schema=RESPONSES),
                behaviors,
                release=candidate.version,
                home=home,
                workers=workers,
            )
            graded = graded.rename({"prefix_id": "conversation_key", "k": "turn"}).drop(
                "arm", "is_exploratory"
            )
            with warehouse.transaction() as tx:
                tx.append(ProductionScores, graded)
            progress.advance(len(page))
    with warehouse.reading() as tx:
        summary = tx.query(
            """select behavior, count(*) filter (label is not null) as n, count(*) filter (label) as occurred, count(missing_reason) as missing
               from production_scores where model_version = $release group by all order by all""",
            {"release": candidate.version},
        )
        n = tx.query(
            "select count(*) as n from production_scores where model_version = $release",
            {"release": candidate.version},
        )["n"][0]
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": int(n),
            "labels": markdown(summary.to_dicts()),
            "replaces": replaced.version,
        }
    )


@dg.asset(
    name="calibration",
    deps=["classifier_scores"],
    partitions_def=MODEL_VERSIONS,
    group_name="grading",
    kinds={"duckdb", "scipy"},
    metadata=column_docs(Calibration),
)
@guarded
def calibration(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """One behaviour in one arm a row: its graders against people's labels, and the four rates
    (apparent, verified, corrected, assumption-free bound) with what refuses them.

    Key: (model_version, behavior, arm). Only what people labelled (`sim-platform labels export` and
    `import`) is here. A rerun counts again and costs nothing.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    confirmatory = covered(home, warehouse, context.partition_key).confirmatory
    rows = calibrate_release(home, context.partition_key).with_columns(
        is_exploratory=~pl.col("behavior").is_in(list(confirmatory))
    )
    with warehouse.transaction() as tx:
        tx.replace(Calibration, rows, {"model_version": context.partition_key})
    shown = rows.select(
        "behavior",
        "arm",
        "n",
        "abstained",
        pl.col("apparent", "verified", "corrected", "bound")
        .mul(100_000)
        .round(2)
        .name.suffix(" per 100k"),
        "status",
        "is_exploratory",
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(rows),
            "rates": markdown(shown.to_dicts()),
            "drift": markdown(drift_of_release(home, context.partition_key)),
        }
    )


PRODUCTION = """
    select c.conversation_key, c.messages, c.metadata, c.labels from deidentified_corpus c
    where c.model_version = $replaced and c.n_user_turns > 0 and c.week >= date_trunc('week', $since::date) and c.week <= coalesce($until::date, date '9999-12-31')
      and not exists (select 1 from production_scores p where p.model_version = $release and p.conversation_key = c.conversation_key)
    order by c.conversation_key limit $n"""
