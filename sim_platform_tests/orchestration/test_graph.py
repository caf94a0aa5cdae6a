"""The graph is a reviewable fact: a changed dependency, check or partitioning shows as a changed
line of graph.json.
"""

import json
from pathlib import Path

import dagster as dg

from sim_platform.orchestration.build import build_definitions
from sim_platform.orchestration.jobs import batch_answers
from sim_platform.orchestration.sensors import batches_that_have_ended, model_versions_from_registry

SNAPSHOT = Path(__file__).with_name("graph.json")
SPINE = [
    "consented_log_extract",
    "deidentified_corpus",
    "stratified_sample",
    "candidate_completions",
    "classifier_scores",
    "rate_comparison",
]


def described(home: Path) -> dict[str, object]:
    graph = build_definitions(home=home).resolve_asset_graph()
    return {
        key.to_user_string(): {
            "group": graph.get(key).group_name,
            "needs": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            "partitioned_by": graph.get(key).partitions_def.name
            if isinstance(graph.get(key).partitions_def, dg.DynamicPartitionsDefinition)
            else None,
            "checks": sorted(check.name for check in graph.get(key).check_keys),
        }
        for key in sorted(graph.get_all_asset_keys())
    }


def test_the_graph_is_the_one_that_was_reviewed(tmp_path: Path) -> None:
    """After a wanted change, write the new graph: python -m
    sim_platform_tests.orchestration.test_graph.
    """
    assert described(tmp_path) == json.loads(SNAPSHOT.read_text())


def test_every_asset_of_the_spine_has_a_check_and_documented_columns(tmp_path: Path) -> None:
    graph = build_definitions(home=tmp_path).resolve_asset_graph()
    for name in SPINE:
        node = graph.get(dg.AssetKey(name))
        assert node.check_keys, name
        schema = node.metadata["dagster/column_schema"]
        assert all(column.description for column in schema.columns), name


def test_release_assets_have_no_backfill_policy_so_that_each_partition_is_one_run(
    tmp_path: Path,
) -> None:
    graph = build_definitions(home=tmp_path).resolve_asset_graph()
    assert {graph.get(key).backfill_policy for key in graph.get_all_asset_keys()} == {None}


def test_no_sensor_can_start_an_asset(tmp_path: Path) -> None:
    definitions = build_definitions(home=tmp_path)
    assert {sensor.name for sensor in definitions.sensors or []} == {
        "model_versions_from_registry",
        "batches_that_have_ended",
    }
    assert definitions.resolve_job_def("batch_answers").partitions_def is not None
    assert not model_versions_from_registry.has_jobs
    assert [job.name for job in batches_that_have_ended.jobs] == ["batch_answers"]
    assert [node.name for node in batch_answers.nodes] == ["bring_in_batches"]


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(described(Path()), indent=1) + "\n")
