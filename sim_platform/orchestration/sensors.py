"""Keeps the partition keys equal to the registry. Starts nothing: no run, least of all a paid one."""

import dagster as dg

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.resources import Deployment


@dg.sensor(minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING)
def model_versions_from_registry(context: dg.SensorEvaluationContext, deployment: Deployment) -> dg.SensorResult | dg.SkipReason:
    """Adds a partition for every release in models.yaml that has none yet."""
    try:
        releases = deployment.home().releases
    except SimPlatformError as error:
        return dg.SkipReason(str(error))
    new = [r for r in releases if not context.instance.has_dynamic_partition("model_version", r)]
    if not new:
        return dg.SkipReason(f"all {len(releases)} releases of models.yaml are known")
    return dg.SensorResult(dynamic_partitions_requests=[MODEL_VERSIONS.build_add_request(new)])
