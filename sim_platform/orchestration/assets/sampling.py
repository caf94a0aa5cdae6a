"""Asset of the sampling stage.

Belongs here: what the stage reads, which pure calls it makes, what it writes, what the UI shows.
Does not: allocation, drawing or weighting (sampling).
"""

import dagster as dg
import polars as pl

from sim_platform.contracts.tables.estimation import RateComparison, ReleaseGate
from sim_platform.contracts.tables.forecasting import RateForecast
from sim_platform.contracts.tables.grading import Calibration, ClassifierScores
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.orchestration.metadata import column_docs, markdown
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.resources import Deployment
from sim_platform.registry.models import Deployed, ModelVersion
from sim_platform.sampling.draw import draw
from sim_platform.sampling.prefixes import cut_prefixes
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform.warehouse.gates import (
    EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
    EVERY_PREFIX_ENDS_WITH_ITS_USER_TURN,
    QUARANTINE_STAYS_BELOW_TWO_PERCENT,
    WEIGHTS_ADD_UP_TO_THE_POPULATION,
)

POPULATION = """
    select conversation_key, user_key, n_user_turns, week, metadata, length(messages) as characters from deidentified_corpus
    where model_version = $replaced and week >= date_trunc('week', $since::date) and week <= coalesce($until::date, date '9999-12-31')"""


def population_of(warehouse: DuckDBFile, replaced: ModelVersion) -> pl.DataFrame:
    """Conversations from which a release that replaces this version draws: its own, of the time of
    its deployment.
    """
    deployed = replaced.deployed or Deployed.model_validate({"from": "1970-01-01"})
    return warehouse.query(
        POPULATION, {"replaced": replaced.version, "since": deployed.from_, "until": deployed.until}
    )


class SampleConfig(dg.Config):
    """Overrides of the release's plan for one run."""

    sample_size: int | None = None


@dg.asset(
    deps=["deidentified_corpus"],
    partitions_def=MODEL_VERSIONS,
    group_name="sampling",
    kinds={"duckdb", "polars"},
    metadata=column_docs(StratifiedSample),
)
@guarded
def stratified_sample(
    context: dg.AssetExecutionContext, deployment: Deployment, config: SampleConfig
) -> dg.MaterializeResult[None]:
    """One prefix a row: the conversation up to and including the user turn at which it was cut, its
    stratum and its design weight.

    Key: (model_version, prefix_id). Drawn from the production log of the version that the release
    replaces. Left out: conversations without a user
    turn. A rerun draws the same rows; a larger sample keeps the smaller one.
    """
    candidate, replaced = deployment.home().release(context.partition_key)
    warehouse = deployment.warehouse()
    population = population_of(warehouse, replaced)
    drawn = draw(
        population,
        candidate.plan,
        config.sample_size,
        release=candidate.version,
        replaces=replaced.version,
    )
    rows = warehouse.query(
        "select * from deidentified_corpus where conversation_key in (select unnest($keys))",
        {"keys": drawn.sampled["conversation_key"].to_list()},
    )
    sample = cut_prefixes(rows, drawn, release=candidate.version)
    with warehouse.transaction() as tx:
        tx.pass_gates(
            [
                EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
                QUARANTINE_STAYS_BELOW_TWO_PERCENT,
            ]
        )  # or the population would be biased
        tx.ensure(
            StratifiedSample,
            ClassifierScores,
            Calibration,
            RateComparison,
            ReleaseGate,
            RateForecast,
        )
        if set(
            tx.query(
                "select distinct sample_id from stratified_sample where model_version = $v",
                {"v": candidate.version},
            )["sample_id"]
        ) != {drawn.sample_id}:
            for table in (
                "classifier_scores",
                "calibration",
                "rate_comparison",
                "release_gate",
                "rate_forecast",
            ):  # they speak of the sample that goes
                tx.execute(
                    f"delete from {table} where model_version = $v",
                    {"v": candidate.version},  # noqa: S608 - a literal of this line
                )
        tx.replace(StratifiedSample, sample, {"model_version": candidate.version})
        tx.pass_gates(
            [WEIGHTS_ADD_UP_TO_THE_POPULATION, EVERY_PREFIX_ENDS_WITH_ITS_USER_TURN],
            candidate.version,
        )
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(sample),
            "population": len(population),
            "excluded": markdown(
                [{"reason": r, "conversations": n} for r, n in drawn.excluded.items()]
            ),
            "strata": markdown(drawn.strata.select("stratum", "population", "sampled").to_dicts()),
            "merged_strata": ", ".join(drawn.merged) or "none",
            "replaces": replaced.version,
            "salt": candidate.plan.salt,
            "cut": candidate.plan.cut,
        }
    )
