"""The one partitioning: candidate releases, whose truth is models.yaml."""

import warnings

import dagster as dg

# Checks carry the partitions too; measured to work, and dagster is capped.
warnings.filterwarnings(
    "ignore", category=dg.PreviewWarning, message="Specifying a partitions_def on an AssetCheckSpec"
)

MODEL_VERSIONS = dg.DynamicPartitionsDefinition(name="model_version")


def register(instance: dg.DagsterInstance, releases: tuple[str, ...]) -> list[str]:
    """Adds the releases that Dagster does not know yet and returns them. Keys are never removed:
    their rows stay.
    """
    new = [r for r in releases if not instance.has_dynamic_partition("model_version", r)]
    if new:
        instance.add_dynamic_partitions("model_version", new)
    return new
