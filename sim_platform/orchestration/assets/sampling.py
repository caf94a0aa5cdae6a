"""Asset of the sampling stage.

Belongs here: what the UI says and shows of it. Does not: the draw (flows.sampling, sampling).
"""

import dagster as dg

from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.flows.sampling import sample_release
from sim_platform.orchestration.metadata import column_docs, markdown
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.resources import Deployment


class SampleConfig(dg.Config):
    """Overrides of the release's plan for one run."""

    sample_size: int | None = None  # default: the stored sample's, else the plan's
    redraw: bool = False  # the stored sample may give way to one of another size


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
    replaces. Left out: conversations without a user turn. A rerun draws the same rows, at the size
    of the stored sample; a larger sample keeps the smaller one.
    """
    home = deployment.home()
    candidate, replaced = home.release(context.partition_key)
    done = sample_release(
        home,
        deployment.warehouse(),
        candidate.version,
        config.sample_size,
        redraw=config.redraw,
    )
    excluded = [{"reason": r, "conversations": n} for r, n in done.draw.excluded.items()]
    strata = done.draw.strata.select("stratum", "population", "sampled")
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": done.prefixes,
            "population": done.population,
            "excluded": markdown(excluded),
            "strata": markdown(strata.to_dicts()),
            "merged_strata": ", ".join(done.draw.merged) or "none",
            "replaces": replaced.version,
            "salt": candidate.plan.salt,
            "cut": candidate.plan.cut,
        }
    )
