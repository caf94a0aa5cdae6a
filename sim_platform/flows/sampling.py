"""Draws a release's sample from the corpus and stores it.

Belongs here: what is read and written, and what has to go with an older sample. Does not:
allocation, drawing, weighting, cutting (sampling).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.estimation import RateComparison, ReleaseGate
from sim_platform.contracts.tables.forecasting import RateForecast
from sim_platform.contracts.tables.grading import Calibration, ClassifierScores
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import table_name
from sim_platform.flows.paging import row_pages
from sim_platform.flows.parts import parts
from sim_platform.registry.home import Home
from sim_platform.registry.models import Deployed, ModelVersion
from sim_platform.sampling.draw import Draw, draw
from sim_platform.sampling.prefixes import cut_prefixes
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform.warehouse.gates import (
    EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
    EVERY_PREFIX_ENDS_WITH_ITS_USER_TURN,
    QUARANTINE_STAYS_BELOW_TWO_PERCENT,
    WEIGHTS_ADD_UP_TO_THE_POPULATION,
)

PAGE = 5_000  # conversations cut together
POPULATION = """
    select conversation_key, user_key, n_user_turns, week, metadata, length(messages) as characters
    from deidentified_corpus
    where model_version = $replaced and week >= date_trunc('week', $since::date)
      and week <= coalesce($until::date, date '9999-12-31')"""
SPEAK_OF_THE_SAMPLE = (ClassifierScores, Calibration, RateComparison, ReleaseGate, RateForecast)


@dataclass(frozen=True)
class SampleSummary:
    """A draw that is stored: `prefixes` of `population` conversations."""

    draw: Draw
    population: int
    prefixes: int


def population_of(warehouse: DuckDBFile, replaced: ModelVersion) -> pl.DataFrame:
    """Conversations from which a release that replaces this version draws: its own, of the time of
    its deployment.
    """
    deployed = replaced.deployed or Deployed.model_validate({"from": "1970-01-01"})
    span = {"since": deployed.from_, "until": deployed.until}
    return warehouse.query(POPULATION, {"replaced": replaced.version, **span})


def sample_release(
    home: Home, warehouse: DuckDBFile, release: str, sample_size: int | None = None
) -> SampleSummary:
    """Draws and stores the release's sample; with another sample, what speaks of the
    one before goes.

    Args:
        sample_size: prefixes instead of the plan's.

    Raises:
        GateError: a conversation is missing from the corpus, too many are in quarantine, weights do
            not add up: nothing is written.
    """
    candidate, replaced = home.release(release)
    population = population_of(warehouse, replaced)
    drawn = draw(
        population, candidate.plan, sample_size, release=release, replaces=replaced.version
    )
    with parts(home.path, StratifiedSample) as cut:
        for page in row_pages(warehouse, "deidentified_corpus", PAGE):
            cut.add(_cut(warehouse, drawn, page, release))
        if cut.n_rows != len(drawn.sampled):
            raise SimPlatformError(
                f"{release}: {cut.n_rows} of {len(drawn.sampled)} drawn conversations are in"
                " deidentified_corpus; the corpus changed during the draw, run stratified_sample"
                " again"
            )
        with warehouse.transaction() as tx:
            # Or the population would be biased.
            tx.pass_gates(
                [
                    EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
                    QUARANTINE_STAYS_BELOW_TWO_PERCENT,
                ]
            )
            tx.ensure(StratifiedSample, *SPEAK_OF_THE_SAMPLE)
            mine = {"release": release}
            stored = tx.query(
                "select distinct sample_id from stratified_sample where model_version = $release",
                mine,
            )
            is_new = set(stored["sample_id"]) != {drawn.sample_id}
            for table in (StratifiedSample, *(SPEAK_OF_THE_SAMPLE if is_new else ())):
                name = table_name(table)
                tx.execute(f"delete from {name} where model_version = $release", mine)  # noqa: S608 - names come from contracts, values are parameters
            cut.insert(tx, "prefix_id")  # pages of the sample are read in this order
            tx.pass_gates(
                [WEIGHTS_ADD_UP_TO_THE_POPULATION, EVERY_PREFIX_ENDS_WITH_ITS_USER_TURN], release
            )
    return SampleSummary(drawn, len(population), cut.n_rows)


def _cut(warehouse: DuckDBFile, drawn: Draw, page: Mapping[str, int], release: str) -> pl.DataFrame:
    """The prefixes of the drawn conversations among these rows of the corpus."""
    rows = warehouse.query(
        "select * from deidentified_corpus where rowid >= $start and rowid < $end", page
    )
    mine = drawn.sampled.join(rows.select("conversation_key"), on="conversation_key", how="semi")
    return cut_prefixes(rows, replace(drawn, sampled=mine), release=release)
