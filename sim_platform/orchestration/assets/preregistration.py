"""Asset of the pre-registration: what was decided before any outcome.

Belongs here: the asset. Does not: the record (registry.preregistration), when one is
made (flows.registration).
"""

import dagster as dg

from sim_platform.contracts.tables.estimation import Preregistration
from sim_platform.flows.registration import ensure_registered
from sim_platform.orchestration.metadata import column_docs, markdown
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.resources import Deployment


@dg.asset(
    deps=["production_scores"],
    partitions_def=MODEL_VERSIONS,
    group_name="registration",
    kinds={"duckdb"},
    metadata=column_docs(Preregistration),
)
@guarded
def preregistration(
    context: dg.AssetExecutionContext, deployment: Deployment
) -> dg.MaterializeResult[None]:
    """One record a row: behaviours, grader hashes, sampling plan, rules and the rates known before,
    hashed and chained, as it stood before any outcome was seen.

    Key: number. A release that is not registered is registered here; a change before any outcome is
    amended here; after outcomes only `sim-platform register --reason` adds a record, which is
    exploratory. A rerun with nothing changed adds nothing.
    """
    home = deployment.home()
    records, done = ensure_registered(home, deployment.warehouse(), context.partition_key)
    last = records[-1]
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(records),
            "this_run": done,
            "sha256": last.sha256,
            "registered_at": last.content["registered_at"],
            "behaviors": markdown(
                [
                    {"behaviour": b["id"], "tier": b["tier"], "grader": b["grader_hash"][:12]}
                    for b in last.content["behaviors"]
                ]
            ),
            "not_graded": markdown(
                [{"behaviour": name, "why": why} for name, why in home.not_graded.items()]
            ),
        }
    )
