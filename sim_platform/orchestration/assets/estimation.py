"""Assets of the estimation stage: the comparison per release, and the table across releases.

Belongs here: what is read and written, what the UI shows. Does not: estimators (estimation).
"""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from sim_platform.contracts.tables import RateComparison, StratifiedSample
from sim_platform.estimation.comparison import LabelCounts, compare
from sim_platform.estimation.design import LABEL_COUNTS, design_of
from sim_platform.orchestration.metadata import column_docs, markdown, picture
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.progress import Progress
from sim_platform.orchestration.registration_flow import covered
from sim_platform.orchestration.resources import Deployment
from sim_platform.reporting.rates import forest_png, rate_rows
from sim_platform.warehouse.duckdb_file import publish
from sim_platform.warehouse.gates import EVERY_RATE_LIES_INSIDE_ITS_INTERVAL


@dg.asset(
    deps=["classifier_scores", "stratified_sample"],
    partitions_def=MODEL_VERSIONS,
    group_name="estimation",
    kinds={"duckdb", "scipy"},
    metadata=column_docs(RateComparison),
)
@guarded
def rate_comparison(context: dg.AssetExecutionContext, deployment: Deployment) -> dg.MaterializeResult[None]:
    """One behaviour in one arm a row: its weighted rate per message with a 95 % interval, and the paired ratio and difference of the candidate to control and recorded.

    Key: (model_version, behavior, arm). Missing labels are counted beside each rate. A rerun re-estimates from the stored scores.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    candidate, replaced = home.release(context.partition_key)
    registered = covered(home, warehouse, candidate.version)  # no record, no rates
    progress = Progress(context, "rate_comparison", total=len(home.behaviors))
    design = design_of(warehouse.read(StratifiedSample, {"model_version": candidate.version}, columns=["prefix_id", "stratum", "weight", "user_key"]), candidate.version)

    def labels() -> Iterator[LabelCounts]:
        for behavior in warehouse.query("select distinct behavior from classifier_scores where model_version = $release order by 1", {"release": candidate.version})[
            "behavior"
        ]:
            yield LabelCounts(behavior, warehouse.query(LABEL_COUNTS, {"release": candidate.version, "behavior": behavior}, {"design": design.prefixes}))
            progress.advance(1)

    rates = compare(
        labels(), design, release=candidate.version, replaces=replaced.version, undesired={b.id: b.undesired for b in home.behaviors}, measures=candidate.measures
    )
    rates = rates.with_columns(is_exploratory=~pl.col("behavior").is_in(list(registered.confirmatory)))
    with warehouse.transaction() as tx:
        tx.replace(RateComparison, rates, {"model_version": candidate.version})
        tx.pass_gates([EVERY_RATE_LIES_INSIDE_ITS_INTERVAL], candidate.version)
    publish(warehouse, home.published)
    return dg.MaterializeResult(metadata={"dagster/partition_row_count": len(rates), "rates_per_100k": markdown(rate_rows(rates)), "measures": candidate.measures})


@dg.asset(deps=["rate_comparison"], group_name="reporting", kinds={"duckdb"})
@guarded
def release_summary(deployment: Deployment) -> dg.MaterializeResult[None]:
    """Every release's rates side by side, with a plot of the ratios; publishes published.duckdb, which readers open without blocking a writer.

    Reads what is stored, also of releases whose last run failed. A rerun costs nothing.
    """
    home, warehouse = deployment.home(), deployment.warehouse()
    rates = warehouse.read(RateComparison).sort("model_version", "behavior", "arm")
    tables = publish(warehouse, home.published)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rates),
            "releases": ", ".join(rates["model_version"].unique().sort()) or "none",
            "rates_per_100k": markdown(rate_rows(rates)),
            "ratios": picture(forest_png(rates)),
            "published_tables": ", ".join(tables),
            "dagster/uri": home.published.as_uri(),
        }
    )
