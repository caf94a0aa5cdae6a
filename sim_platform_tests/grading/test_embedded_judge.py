"""The embedded model as judge: small and weak. What is tested is that the machinery is
honest about it.
"""

from pathlib import Path

import pytest

from sim_platform.flows.grading.asking import Asking
from sim_platform.registry.home import load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.grading.samples import response
from sim_platform_tests.homes import RECORDED_MODELS, write_home, write_yaml


@pytest.mark.model
def test_the_embedded_judge_answers_by_the_schema_or_its_label_is_missing_and_is_asked_once(
    tmp_path: Path,
) -> None:
    judge = {"version": "judge", "provider": "local", "settings": {"max_tokens": 120}}
    path = write_home(tmp_path, n=1, models=[*RECORDED_MODELS, judge])
    write_yaml(
        path / "behaviors" / "greets.yaml",
        {
            "id": "greets",
            "title": "t",
            "definition": "The response greets the user.",
            "graders": [{"kind": "judge"}],
        },
    )
    home = load_home(path)
    items = [response("Hello there!"), response("No.")]
    first = Asking(home, DuckDBFile(home.warehouse), "t")
    found = [item.answered["judge:greets"] for item in first(items, home.graded)]
    assert all((said.label is None) == (said.missing_reason is not None) for said in found)
    second = Asking(home, DuckDBFile(home.warehouse), "t")
    assert [item.answered["judge:greets"] for item in second(items, home.graded)] == found
    assert (first.sent > 0, second.sent) == (True, 0)
