"""Draws a release's sample from the corpus and stores it.

Belongs here: what is read and written, and what has to go with an older sample. Does not:
allocation, drawing, weighting, cutting (sampling).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl

from sim_platform.contracts.errors import BadInputError, SimPlatformError
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
HAS_CALLS = r'"tool_calls":|"role":"tool"'  # in canonical JSON no text of a message reads so
GO_WITH_THE_SAMPLE = (ClassifierScores, Calibration)
STAY_UNTIL_REPLACED = (RateComparison, ReleaseGate, RateForecast)  # what was decided on it


@dataclass(frozen=True)
class SampleSummary:
    """A draw that is stored: `prefixes` of `population` conversations."""

    draw: Draw
    population: int
    prefixes: int


@dataclass(frozen=True)
class SampleSize:
    """Prefixes that a draw asks for: `wanted` now, `stored` for the sample that is there (None:
    there is none). A log with fewer conversations gives fewer.
    """

    wanted: int
    stored: int | None

    @property
    def changes(self) -> bool:
        """Whether the stored sample would be drawn again at another size."""
        return self.stored not in (None, self.wanted)


def population_of(warehouse: DuckDBFile, replaced: ModelVersion) -> pl.DataFrame:
    """Conversations from which a release that replaces this version draws: its own, of the time of
    its deployment.
    """
    deployed = replaced.deployed or Deployed.model_validate({"from": "1970-01-01"})
    span = {"since": deployed.from_, "until": deployed.until}
    return warehouse.query(POPULATION, {"replaced": replaced.version, **span})


def size_of_sample(
    home: Home, warehouse: DuckDBFile, release: str, sample_size: int | None = None
) -> SampleSize:
    """The size of the release's next draw: `sample_size` where it is given, else that of the stored
    sample, else the plan's. A plan that was edited since the draw counts as given.
    """
    candidate, replaced = home.release(release)
    planned = candidate.plan.sample_size
    stored = warehouse.read(
        StratifiedSample, {"model_version": release}, ["asked_size", "planned_size"]
    )
    if stored.is_empty():
        return SampleSize(sample_size or planned, None)
    asked, planned_then = stored.row(0)
    if asked is None:  # drawn before sizes were kept: all that the log had, or as many as asked for
        eligible = population_of(warehouse, replaced).filter(pl.col("n_user_turns") > 0)
        has_all = len(stored) >= min(planned, len(eligible))
        asked, planned_then = (planned if has_all else len(stored)), planned
    return SampleSize(sample_size or (asked if planned_then == planned else planned), asked)


def refuse_another_size(size: SampleSize, release: str) -> None:
    """BadInputError where the stored sample would be drawn again at another size: another sample is
    another bill, and its decision is not the one that is there.
    """
    if size.changes:
        raise BadInputError(
            f"{release}: its sample was drawn at {size.stored} prefixes, and now {size.wanted} are"
            f" asked for. Give --sample-size {size.stored} to go on with the stored one, or --yes"
            f" to draw {size.wanted} (redraw=True in Python, redraw: true in the config of"
            " stratified_sample in Dagster). Answers that are there are kept either way; the stored"
            " decision stays until the new one is complete."
        )


def refuse_earlier_sample(rows: pl.DataFrame, release: str) -> None:
    """SimPlatformError where what was decided speaks of the sample before the present one."""
    kept = rows["earlier_sample"].drop_nulls().to_list()
    if kept:
        raise SimPlatformError(
            f"{release}: its rates speak of an earlier sample of {kept[0]} prefixes. Run"
            f" `sim-platform run {release}` to complete the one that was drawn since."
        )


def sample_release(
    home: Home,
    warehouse: DuckDBFile,
    release: str,
    sample_size: int | None = None,
    *,
    redraw: bool = False,
) -> SampleSummary:
    """Draws and stores the release's sample, at the size of the stored one where none is given.
    With another sample the scores of the one before go; what was decided on it stays, marked, until
    it is replaced.

    Args:
        sample_size: prefixes instead of the remembered or planned ones.
        redraw: a stored sample may give way to one of another size.

    Raises:
        BadInputError: the stored sample has another size, and `redraw` is not set.
        GateError: a conversation is missing from the corpus, too many are in quarantine, weights do
            not add up: nothing is written.
    """
    candidate, replaced = home.release(release)
    size = size_of_sample(home, warehouse, release, sample_size)
    if not redraw:
        refuse_another_size(size, release)
    population = population_of(warehouse, replaced)
    drawn = draw(
        population, candidate.plan, size.wanted, release=release, replaces=replaced.version
    )
    mine = {"release": release}
    before = warehouse.read(
        StratifiedSample,
        {"model_version": release},
        ["sample_id", "asked_size", "recorded_is_complete"],
    )
    is_new = set(before["sample_id"]) != {drawn.sample_id}
    sizes: dict[str, int | None] = {
        "asked_size": size.wanted,
        "planned_size": candidate.plan.sample_size,
    }
    if not is_new and before["asked_size"].has_nulls():  # an older version's stays as it is
        sizes = dict.fromkeys(sizes)
    is_older = not is_new and before["recorded_is_complete"].is_null().all()
    with parts(home.path, StratifiedSample) as cut:
        for page in row_pages(warehouse, "deidentified_corpus", PAGE):
            rows = _cut(warehouse, drawn, page, release)
            if is_older:  # drawn before turns were kept: only those with calls say more than before
                plain = ~pl.col("recorded_turn").str.contains(HAS_CALLS)
                rows = rows.with_columns(
                    pl.when(plain).then(None).otherwise(name).alias(name)
                    for name in ("recorded_turn", "recorded_is_complete")
                )
            cut.add(rows.with_columns(**{k: pl.lit(n, pl.Int64) for k, n in sizes.items()}))
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
            tx.ensure(StratifiedSample, *GO_WITH_THE_SAMPLE, *STAY_UNTIL_REPLACED)
            for table in (StratifiedSample, *(GO_WITH_THE_SAMPLE if is_new else ())):
                name = table_name(table)
                tx.execute(f"delete from {name} where model_version = $release", mine)  # noqa: S608 - names come from contracts, values are parameters
            for table in STAY_UNTIL_REPLACED if is_new else ():
                tx.execute(
                    f"update {table_name(table)} set earlier_sample = $n"  # noqa: S608 - names come from contracts, values are parameters
                    " where model_version = $release and earlier_sample is null",
                    {**mine, "n": max(1, len(before))},
                )
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
