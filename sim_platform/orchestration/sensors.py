"""What happens by itself: partition keys follow the registry, and answers of batches are fetched.
No sensor starts a run that may cost money.
"""

import warnings
from datetime import UTC, datetime

import dagster as dg

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.messages import sha256
from sim_platform.flows.replay.batches import finished
from sim_platform.orchestration.jobs import batch_answers
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.resources import Deployment

# Dagster copies a sensor that has a job with a parameter of its own that is in beta.
warnings.filterwarnings(
    "ignore", category=dg.BetaWarning, message="Parameter `owners` of initializer `SensorDefinition"
)


@dg.sensor(minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING)
def model_versions_from_registry(
    context: dg.SensorEvaluationContext, deployment: Deployment
) -> dg.SensorResult | dg.SkipReason:
    """Adds a partition for every release in models.yaml that has none yet."""
    try:
        releases = deployment.home().releases
    except SimPlatformError as error:
        return dg.SkipReason(str(error))
    new = [r for r in releases if not context.instance.has_dynamic_partition("model_version", r)]
    if not new:
        return dg.SkipReason(f"all {len(releases)} releases of models.yaml are known")
    return dg.SensorResult(dynamic_partitions_requests=[MODEL_VERSIONS.build_add_request(new)])


@dg.sensor(
    job=batch_answers, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING
)
@guarded
def batches_that_have_ended(
    context: dg.SensorEvaluationContext, deployment: Deployment
) -> dg.SensorResult | dg.SkipReason:
    """Fetches a release's answers once all batches that were handed over for it have ended or
    expired. Hands nothing over, asks no model.
    """
    requests, troubles = [], []
    try:
        home = deployment.home()
    except SimPlatformError as error:
        return dg.SkipReason(str(error))
    for release in home.releases:
        if not context.instance.has_dynamic_partition("model_version", release):
            continue
        try:
            keys = finished(home, release)
        except SimPlatformError as error:
            troubles.append(str(error))
            continue
        if keys:
            # a fetch that failed is tried again, and not every minute
            hour = f"{datetime.now(UTC):%Y-%m-%dT%H}"
            requests.append(
                dg.RunRequest(
                    run_key=f"{release} {sha256(keys)[:16]} {hour}", partition_key=release
                )
            )
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SkipReason("; ".join(troubles) or "no release waits for batches that have all ended")
