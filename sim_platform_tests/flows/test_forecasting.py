"""Forecast, ledger and scorecard on real tables."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from sim_platform.commands.forecast import SCORES
from sim_platform.commands.main import app
from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.forecasting import (
    ForecastLedger,
    ForecastScorecard,
    RateForecast,
)
from sim_platform.contracts.tables.grading import Calibration
from sim_platform.contracts.tables.schema import Table, dtypes, frame
from sim_platform.flows.forecasting import error_parts, limits_for
from sim_platform.flows.ledger import (
    enter_forecasts,
    enter_observations,
    last_link,
    the_ledger_is_whole,
)
from sim_platform.flows.report import write_report
from sim_platform.flows.results import stored_scores
from sim_platform.registry.home import load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import RECORDED_MODELS, conversation, write_home, write_yaml
from sim_platform_tests.replay.scripted_server import ScriptedServer

Run = Callable[..., list[str]]


def stored(home: Path, table: type[Table]) -> pl.DataFrame:
    return DuckDBFile(home / "warehouse.duckdb").read(table)


def released(home: Path) -> None:
    """The candidate goes into service."""
    models: list[dict[str, Any]] = [
        RECORDED_MODELS[0],
        {**RECORDED_MODELS[1], "deployed": {"from": "2026-01-01"}},
    ]
    write_yaml(home / "models.yaml", {"models": models})


def test_every_method_forecasts_every_graded_behaviour_and_the_ledger_keeps_it(
    run: Run, home: Path
) -> None:
    made = stored(home, RateForecast)
    assert set(made["method"]) == {"persistence", "M0", "M2", "M3", "M7"}
    assert set(made["behavior"]) == {"apologises", "mentions_weather"}
    full = made.filter(method="M7")
    assert full["low"].null_count() == 0
    assert ((full["low"] <= full["rate"]) & (full["rate"] <= full["high"])).all()
    assert full["tau"].to_list() == pytest.approx([0.6, 0.6], abs=0.01)
    ledger = stored(home, ForecastLedger)
    assert len(ledger) == len(made)
    run(home)
    assert stored(home, ForecastLedger).equals(ledger), "the same figures are entered once"
    assert stored(home, ForecastScorecard).is_empty(), (
        "not in service: its rows in the log are recorded responses"
    )


def test_a_row_of_a_far_year_does_not_change_the_rate_in_service(
    run: Run, home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [conversation(i, v) for v in ("v1", "v2") for i in range(60)]
    rows.append(conversation(100, started_at="2031-01-01T00:00:00Z"))  # it apologises
    other = write_home(tmp_path_factory.mktemp("far"), rows=rows)
    said = run(other)
    assert any("1 rows quarantined: in_the_future" in line for line in said)
    figures = ["behavior", "prior_rate", "prior_messages", "rate"]
    made, before = (
        stored(path, RateForecast).filter(method="M7").select(figures) for path in (other, home)
    )
    assert len(made) == 2
    # Each home has keys of its own for people, and sums run in the order of those keys.
    assert_frame_equal(made, before, rel_tol=1e-9, abs_tol=0)


def test_the_rate_in_service_has_a_least_number_of_messages_and_shows_it(
    run: Run, home: Path, tmp_path: Path
) -> None:
    """Of 57 messages of six months ten are of the newest weeks: too few to stand for them."""
    shown = stored(home, RateForecast).filter(method="M7", behavior="apologises")
    assert shown["prior_messages"].to_list() == [57.0]
    answered = CliRunner().invoke(
        app, ["forecast", "v2"], env={"SIM_PLATFORM_HOME": str(home), "COLUMNS": "200"}
    )
    assert " 57 " in answered.stdout
    newest = [conversation(i, started_at="2026-09-01T00:00:00Z") for i in range(100, 140)]
    rows = [*(conversation(i, v) for v in ("v1", "v2") for i in range(60)), *newest]
    many = write_home(tmp_path / "many", rows=rows)
    run(many)
    shown = stored(many, RateForecast).filter(method="M7", behavior="apologises")
    kept = sum(i % 17 != 16 for i in range(100, 140))
    assert shown["prior_messages"].to_list() == [kept]


def test_the_change_on_adversarial_prompts_is_a_baseline_where_models_yaml_has_it(
    run: Run, tmp_path: Path
) -> None:
    candidate = {
        **RECORDED_MODELS[1],
        "challenging": {"apologises": {"replaced": 0.2, "candidate": 0.3}},
    }
    home = write_home(tmp_path, models=[RECORDED_MODELS[0], candidate])
    run(home)
    made = {
        (row["behavior"], row["method"]): row["rate"]
        for row in stored(home, RateForecast).to_dicts()
    }
    assert made["apologises", "challenging"] == pytest.approx(
        min(1.0, made["apologises", "persistence"] * 1.5)
    )
    assert ("mentions_weather", "challenging") not in made


def test_once_in_service_the_first_forecast_is_scored_and_nothing_in_the_ledger_changes(
    run: Run, home: Path
) -> None:
    before = stored(home, ForecastLedger)
    released(home)
    run(home)
    card = {row["method"]: row for row in stored(home, ForecastScorecard).to_dicts()}
    assert set(card) == {"persistence", "M0", "M2", "M3", "M7"}
    assert (card["M7"]["n"], card["M7"]["below_floor"]) == (1, 1)  # v2 never speaks of the weather
    assert card["M7"]["median"] < card["persistence"]["median"]
    assert card["M7"]["coverage"] == 1.0
    ledger = stored(home, ForecastLedger)
    assert ledger.head(len(before)).equals(before)
    assert stored_scores(load_home(home), "v2")["ledger"] == {
        "entries": len(ledger),
        "last_chain": ledger.sort("number")["chain"][-1],
    }
    printed = CliRunner().invoke(app, ["score", "v2"], env={"SIM_PLATFORM_HOME": str(home)}).stdout
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for line in printed.splitlines()
        if len(cells := line.split("│")) > 2
    }
    assert list(rows) == list(SCORES.values())
    assert set(SCORES) == set(dtypes(ForecastScorecard)) - {"model_version", "method"}
    assert rows["median error"] == [f"{card[method]['median']:.3g}" for method in card]
    assert f"M7: median {card['M7']['median']:.2f} in the one scored release" in printed
    observed = {
        row["behavior"]: row["rate"] for row in ledger.filter(entry="observation").to_dicts()
    }
    kept = [i for i in range(60) if i % 17 != 16]
    assert observed["apologises"] == pytest.approx(sum(i % 2 == 0 for i in kept) / len(kept))


def test_an_edited_and_a_missing_entry_of_the_ledger_show_and_nothing_is_entered_after_them(
    home: Path,
) -> None:
    file = DuckDBFile(home / "warehouse.duckdb")
    ledger = stored(home, ForecastLedger)
    whole = the_ledger_is_whole(ledger)
    assert (whole.passed, whole.facts["n_entries"], whole.facts["last_chain"]) == (
        True,
        len(ledger),
        ledger.sort("number")["chain"][-1],
    )
    with file.transaction() as tx:
        tx.execute("update forecast_ledger set rate = rate / 2 where number = 3")
    assert the_ledger_is_whole(stored(home, ForecastLedger)).facts["n_edited"] == 1
    with pytest.raises(SimPlatformError, match="1 entries edited"):
        enter_observations(file, "v2", {"apologises": (1.0, 2.0)})
    with file.transaction() as tx:
        tx.execute("delete from forecast_ledger where number = 3")
    assert the_ledger_is_whole(stored(home, ForecastLedger)).facts["n_breaks"] == 1
    assert len(stored(home, ForecastLedger)) == len(ledger) - 1


def test_a_report_shows_the_last_chain_so_that_it_tells_when_entries_were_taken_from_the_end(
    home: Path,
) -> None:
    file = DuckDBFile(home / "warehouse.duckdb")
    number, chain = last_link(file)
    kept = (home / "reports" / "v2.html").read_text()
    assert f"chain of its entry {number}" in kept
    assert chain in kept
    with file.transaction() as tx:
        tx.execute(f"delete from forecast_ledger where number = {number}")
    assert the_ledger_is_whole(stored(home, ForecastLedger)).passed
    again = write_report(load_home(home), "v2").read_text()
    assert f"chain of its entry {number - 1}" in again
    assert chain not in again


def test_a_report_shows_graders_against_people_and_an_untrusted_rate_as_a_dash_with_its_reason(
    home: Path,
) -> None:
    rates = {"apparent": 0.02, "apparent_low": 0.01, "apparent_high": 0.03, "bound": 0.05}
    row = {
        **dict.fromkeys(dtypes(Calibration)),
        "model_version": "v2",
        "behavior": "apologises",
        "arm": "candidate",
        "n": 40,
        "tp": 9,
        "fp": 1,
        "fn": 2,
        "tn": 28,
        "abstained": 0,
        **rates,
        "status": "judge-limited",
        "refused": json.dumps({"corrected": "no labelled positive"}),
        "is_exploratory": True,
    }
    with DuckDBFile(home / "warehouse.duckdb").transaction() as tx:
        tx.append(Calibration, frame(Calibration, [row]))
    page = write_report(load_home(home), "v2")
    (shown,) = next(
        rows
        for title, rows in json.loads(page.with_suffix(".json").read_text()).items()
        if title.startswith("Graders against people")
    )
    assert (shown["behavior"], shown["status"], shown["refused"]) == (
        "apologises (exploratory)",
        "judge-limited",
        "corrected: no labelled positive",
    )
    assert (shown["apparent"], shown["corrected"], shown["at most (assumes nothing)"]) == (
        "2,000 [1,000, 3,000]",
        "–",
        "5,000",
    )
    assert [shown[name] for name in ("tp", "fp", "fn", "tn")] == [9, 1, 2, 28]
    assert "corrected: no labelled positive" in page.read_text()


def test_a_ledger_of_before_there_was_a_chain_is_read_and_goes_on(home: Path) -> None:
    file = DuckDBFile(home / "warehouse.duckdb")
    with file.transaction() as tx:
        tx.execute("alter table forecast_ledger drop column number")
        tx.execute("alter table forecast_ledger drop column chain")
    before = stored(home, ForecastLedger)
    assert before["chain"].null_count() == len(before)
    assert enter_observations(file, "v2", {"apologises": (1.0, 2.0)}) == 1
    assert enter_observations(file, "v2", {"apologises": (1.0, 2.0)}) == 0
    ledger = stored(home, ForecastLedger)
    assert ledger.filter(pl.col("number").is_not_null())["number"].to_list() == [1]
    assert the_ledger_is_whole(ledger).passed


def test_entries_of_before_the_discrepancy_was_kept_are_whole_and_scored_by_their_own_limits(
    run: Run, tmp_path: Path
) -> None:
    home = write_home(tmp_path)
    run(home)
    file = DuckDBFile(home / "warehouse.duckdb")
    made = stored(home, RateForecast).with_columns(
        tau=None, low=pl.col("low") * 0, high=pl.col("high") * 0
    )
    with file.transaction() as tx:
        tx.execute("drop table forecast_ledger")
    enter_forecasts(file, made)
    with file.transaction() as tx:
        tx.execute("alter table forecast_ledger drop column tau")
        tx.execute("alter table forecast_scorecard drop column coverage_above_floor")
        tx.execute("alter table rate_forecast drop column forecast_version")
    assert the_ledger_is_whole(stored(home, ForecastLedger)).passed
    released(home)
    run(home)
    card = stored(home, ForecastScorecard).filter(method="M7").to_dicts()[0]
    assert (card["coverage"], card["coverage_above_floor"]) == (0.5, 0.0)  # only zero is in [0, 0]
    assert the_ledger_is_whole(stored(home, ForecastLedger)).passed


def test_a_forecast_is_not_missed_where_fewer_messages_than_expected_were_counted() -> None:
    """Twenty events expected on 100,000 messages; none on the first thousand is no miss."""
    tau = {"rate": [2e-4] * 2, "low": [1e-4] * 2, "high": [4e-4] * 2, "log_variance": [0.01] * 2}
    made = pl.DataFrame({**tau, "tau": [0.2, None]})
    low, high = limits_for(made, np.full(2, 1000.0))
    assert low is not None
    assert high is not None
    assert low.tolist() == [0.0, 1e-4]
    assert high[0] >= 1e-3
    assert high[1] == 4e-4


def test_a_scored_release_narrows_the_next_forecast(run: Run, tmp_path: Path) -> None:
    rows = [conversation(i, v) for v in ("v1", "v2", "v3") for i in range(60)]
    third = {**RECORDED_MODELS[1], "version": "v3", "replaces": "v2"}
    second = {**RECORDED_MODELS[1], "deployed": {"from": "2026-01-01"}}
    home = write_home(tmp_path, rows=rows, models=[RECORDED_MODELS[0], second, third])
    run(home, "v2")
    run(home, "v3")
    tau = (
        stored(home, RateForecast).filter(method="M7", model_version="v3")["tau"].unique().to_list()
    )
    assert len(tau) == 1
    assert tau[0] != pytest.approx(0.60, abs=0.005)
    assert len(stored(home, ForecastScorecard).filter(model_version="v2")) == 5


def test_a_replay_on_its_own_log_splits_the_error_into_environment_and_prefixes(
    run: Run, tmp_path: Path
) -> None:
    with ScriptedServer() as server:
        asked = {
            "provider": "openai",
            "base_url": server.url,
            "model": "m",
            "plan": {"arms": ["candidate", "recorded"]},
        }
        second: dict[str, Any] = {
            "version": "v2",
            "replaces": "v1",
            "deployed": {"from": "2026-01-01"},
            **asked,
        }
        twin = {"version": "v2-on-own-log", "replaces": "v2", **asked}
        home = write_home(tmp_path, n=20, models=[RECORDED_MODELS[0], second, twin])
        run(home)
    loaded = load_home(home)
    parts = error_parts(loaded, DuckDBFile(loaded.warehouse), "v2")
    assert {row["behavior"] for row in parts} == {"apologises", "mentions_weather"}
    for row in parts:
        assert row["own_log_release"] == "v2-on-own-log"
        assert row["full"] == pytest.approx(row["environment"] + row["prefix"])
    assert error_parts(loaded, DuckDBFile(loaded.warehouse), "v2-on-own-log") == []
