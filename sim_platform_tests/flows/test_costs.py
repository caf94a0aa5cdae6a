"""What a release costs is said before and after, graders included, and nothing unknown is 0."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.estimation import Preregistration
from sim_platform.contracts.tables.grading import GraderAnswers
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.flows.costs import estimate
from sim_platform.flows.planning import plan_facts
from sim_platform.flows.report import read_facts
from sim_platform.flows.results import status
from sim_platform.registry.home import load_home
from sim_platform.registry.models import ModelVersion
from sim_platform.reporting.release_report import report_html
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.flows.grading.test_asking import honest, judged_home
from sim_platform_tests.homes import write_yaml
from sim_platform_tests.replay.scripted_server import ScriptedServer, completion

Run = Callable[..., list[str]]
PRICE = {"input_per_mtok": 1000.0, "output_per_mtok": 1000.0}


def models(server: ScriptedServer, **judge: Any) -> list[dict[str, Any]]:
    live = {"provider": "openai", "base_url": server.url, "model": "m", "max_retries": 0}
    return [
        {"version": "v1", **live, "deployed": {"from": "2026-01-01"}, "price": PRICE},
        {
            "version": "v2",
            "replaces": "v1",
            **live,
            "settings": {"temperature": 0.5, "max_tokens": 40},
            "plan": {"sample_size": 20, "floor": 1},
            "price": PRICE,
        },
        {"version": "judge", **live, **judge},
    ]


def said(body: dict[str, Any]) -> dict[str, Any]:
    """A judge where there is something to judge, else a model with a mind of its own."""
    if "response_format" in body:
        return honest(body)
    return completion(f"Sorry for {len(str(body['messages']))}, {body.get('temperature')}.")


def test_a_plan_counts_the_calls_of_graders_and_not_those_that_are_answered(
    run: Run, tmp_path: Path
) -> None:
    with ScriptedServer(answer=said) as server:
        home = judged_home(tmp_path, server, n_behaviors=3, judge={"votes": 3})
        write_yaml(home / "models.yaml", {"models": models(server, price=PRICE)})
        run(home, "v2", only_sample=True)
        before = plan_facts(load_home(home), "v2")
        (grader,) = before["graders"]
        assert (before["prefixes"], before["requests"]) == (20, 40)
        assert (grader["requests"], grader["answered"], before["grader_calls"]) == (180, 0, 180)
        assert len(grader["behaviors"]) == 3
        assert before["cost_usd"] == pytest.approx(
            sum(row["cost_usd"] for row in [*before["arms"], *before["graders"]])
        )
        run(home, "v2")
        asked = server.requests.total() - 40
    loaded = load_home(home)
    after = plan_facts(loaded, "v2")["graders"][0]
    assert asked <= 180
    assert after["answered"] == asked
    assert after["requests"] == 180 - asked
    twice = plan_facts(loaded, "v2", 38)["graders"][0]
    assert (twice["requests"], twice["answered"]) == (38 * 9 - asked, asked)
    (release,) = status(loaded)["releases"]
    facts = read_facts(loaded, "v2", 0)
    assert release["grader_calls"] == asked
    assert [(row["arm"], row["outcomes"]) for row in facts.spend] == [
        ("candidate", 20),
        ("control", 20),
        ("grader judge", asked),
    ]
    assert release["cost_usd"] == pytest.approx(sum(row["cost_usd"] for row in facts.spend))
    assert facts.spend[2]["cost_usd"] == pytest.approx(asked * 15e-3)
    assert set(DuckDBFile(loaded.warehouse).read(GraderAnswers)["asked_for"]) == {"v2"}


def test_a_price_that_is_not_known_is_nowhere_0(run: Run, tmp_path: Path) -> None:
    with ScriptedServer(answer=said) as server:
        home = judged_home(tmp_path, server, n_behaviors=1)
        write_yaml(home / "models.yaml", {"models": models(server)})
        run(home, "v2", sample_size=5)
    loaded = load_home(home)
    facts = read_facts(loaded, "v2", 0)
    assert [row["cost_usd"] is None for row in facts.spend] == [False, False, True]
    assert "no price is known for grader judge" in report_html(facts)
    assert status(loaded)["releases"][0]["cost_usd"] is None
    plan = plan_facts(loaded, "v2", 10)
    assert (plan["cost_usd"], plan["graders"][0]["cost_usd"]) == (None, None)
    assert all(arm["cost_usd"] for arm in plan["arms"])


def test_rates_of_a_plan_come_from_production_once_it_is_graded(run: Run, tmp_path: Path) -> None:
    with ScriptedServer(answer=said) as server:
        home = judged_home(tmp_path, server, n_behaviors=1)
        write_yaml(home / "models.yaml", {"models": models(server)})
        with pytest.raises(SimPlatformError, match="sim-platform prepare v2"):
            plan_facts(load_home(home), "v2")
        run(home, "v2", sample_size=10)
    rates = {row["behavior"]: row for row in plan_facts(load_home(home), "v2")["behaviors"]}
    assert rates["apologises"]["rate"] == pytest.approx(9 / 38)
    assert rates["apologises"]["source"] == "38 responses in production"
    assert rates["says_sorry"]["source"] == "recorded arm of v2", "a judge is not asked about a log"


@pytest.mark.parametrize(
    ("settings", "most", "assumed"),
    [
        ({"max_tokens": 40}, 400, None),
        ({"max_completion_tokens": 70}, 700, None),
        ({}, None, 300),
    ],
)
def test_tokens_of_an_answer_are_at_most_its_limit_or_said_to_be_assumed(
    settings: dict[str, int], most: int | None, assumed: int | None
) -> None:
    live = {"provider": "openai", "base_url": "http://h/v1", "model": "m", "price": PRICE}
    model = ModelVersion.model_validate({"version": "m", **live, "settings": settings})
    row = estimate(model, 10, 400.0, 300)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (1000, most or 3000)
    assert (row["completion_tokens_at_most"], row["assumed_tokens_an_answer"]) == (most, assumed)
    assert row["cost_usd"] == pytest.approx((1000 + (most or 3000)) / 1000)


def test_prepare_asks_nobody_registers_nothing_and_is_enough_for_a_plan(
    run: Run, tmp_path: Path
) -> None:
    with ScriptedServer(answer=said) as server:
        home = judged_home(tmp_path, server, n_behaviors=2)
        keyed = [
            model | {"api_key_env": "A_KEY_THAT_IS_NOT_THERE"}
            for model in models(server, price=PRICE)
        ]
        write_yaml(home / "models.yaml", {"models": keyed})
        run(home, "v2", only_prepare=True)
        assert server.requests.total() == 0
    loaded = load_home(home)
    plan = plan_facts(loaded, "v2")
    assert (plan["prefixes"], plan["requests"], plan["grader_calls"]) == (20, 40, 60)
    rates = {row["behavior"]: row["rate"] for row in plan["behaviors"]}
    assert rates.pop("apologises") == pytest.approx(9 / 38)
    assert rates == {
        "mentions_weather": rates["mentions_weather"],
        "says_sorry": None,
        "says_cannot": None,
    }
    for table in (StratifiedSample, Preregistration, CandidateCompletions):
        assert DuckDBFile(loaded.warehouse).read(table).is_empty()
    assert not (home / "preregistration").exists()


def test_tokens_that_nobody_counted_are_marked_in_tables_and_report(
    run: Run, tmp_path: Path
) -> None:
    def silent(body: dict[str, Any]) -> dict[str, Any]:
        return {**said(body), "usage": None}

    with ScriptedServer(answer=silent) as server:
        home = judged_home(tmp_path, server, n_behaviors=1)
        write_yaml(home / "models.yaml", {"models": models(server, price=PRICE)})
        run(home, "v2", sample_size=5)
    loaded = load_home(home)
    warehouse = DuckDBFile(loaded.warehouse)
    answers = warehouse.read(GraderAnswers)
    assert answers["tokens_estimated"].all()
    assert answers["tokens"].min() > 0  # type: ignore[operator]  # polars types a minimum as of any column
    assert warehouse.read(CandidateCompletions)["tokens_estimated"].all()
    rows = read_facts(loaded, "v2", 0).spend
    assert [row["tokens_estimated"] == row["outcomes"] for row in rows] == [True] * 3
    assert all(row["cost_usd"] > 0 for row in rows)
