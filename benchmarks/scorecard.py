"""The scorecard when many releases are behind it: seconds of `sim-platform score` and of each step
that reads the whole forecast ledger.

Synthetic forecasts and observations (five methods, twenty behaviours a release), entered in a home
whose releases are all registered.

    python -m benchmarks.scorecard --releases 100
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from sim_platform.contracts.tables.forecasting import (
    ForecastLedger,
    ForecastScorecard,
    RateForecast,
)
from sim_platform.contracts.tables.schema import frame
from sim_platform.flows.forecasting import discrepancy_so_far
from sim_platform.flows.ledger import (
    enter_forecasts,
    enter_observations,
    first_forecasts,
    last_observations,
    the_ledger_is_whole,
)
from sim_platform.flows.registration import ensure_registered
from sim_platform.flows.results import stored_scores
from sim_platform.forecasting.scorecard import PUBLISHED_FLOOR, score
from sim_platform.registry.home import Home, load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import write_home, write_yaml

METHODS = ("persistence", "M0", "M2", "M3", "M7")
BEHAVIORS = [f"behavior_{i:02}" for i in range(20)]
MESSAGES = 1e6


def forecasts(release: str, random: np.random.Generator) -> pl.DataFrame:
    """Rows of rate_forecast: log-uniform rates, each method off by a factor of its own."""
    rates = np.exp(random.uniform(np.log(1e-5), np.log(1e-2), len(BEHAVIORS)))
    rows = []
    for method in METHODS:
        for behavior, rate in zip(
            BEHAVIORS,
            np.minimum(rates * np.exp(random.normal(0, 0.4, len(BEHAVIORS))), 1),
            strict=True,
        ):
            full = (
                {
                    "low": rate / 3,
                    "high": min(rate * 3, 1.0),
                    "log_variance": 0.1,
                    "tau": 0.6,
                    "chance_of_increase": 0.5,
                    "direction": "no call",
                }
                if method == "M7"
                else {}
            )
            rows.append(
                {
                    **dict.fromkeys(RateForecast.to_schema().columns),
                    "model_version": release,
                    "behavior": behavior,
                    "method": method,
                    "rate": float(rate),
                    "prior_rate": float(rate),
                    "floor": PUBLISHED_FLOOR,
                    "production_messages": MESSAGES,
                    "is_exploratory": False,
                    **full,
                }
            )
    return frame(RateForecast, rows)


def observed(random: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Events and messages of each behaviour."""
    return {
        name: (float(random.poisson(MESSAGES * rate)), MESSAGES)
        for name, rate in zip(
            BEHAVIORS, np.exp(random.uniform(-11, -5, len(BEHAVIORS))), strict=True
        )
    }


def scorecard(ledger: pl.DataFrame) -> pl.DataFrame:
    """Rows of forecast_scorecard of every release in the ledger."""
    rows = []
    for (release, method), group in (
        first_forecasts(ledger)
        .join(
            last_observations(ledger).select("model_version", "behavior", x="events", e="messages"),
            on=["model_version", "behavior"],
        )
        .group_by(["model_version", "method"], maintain_order=True)
    ):
        found = score(group["rate"], group["x"], group["e"], group["prior_rate"], PUBLISHED_FLOOR)
        rows.append(
            {"model_version": release, "method": method, **asdict(found), "poisson_limit": 1.1}
        )
    return frame(ForecastScorecard, rows)


def written(folder: Path, releases: int) -> tuple[Home, DuckDBFile, np.random.Generator]:
    """A home with that many scored releases."""
    random = np.random.default_rng(1)
    versions = [f"v{i}" for i in range(releases + 2)]
    models = [
        {
            "version": v,
            "provider": "recorded",
            **({"replaces": versions[i - 1]} if i else {}),
            "deployed": {"from": "2026-01-01"},
        }
        for i, v in enumerate(versions)
    ]
    write_home(folder, n=1, models=models)
    for name in BEHAVIORS:
        write_yaml(
            folder / "behaviors" / f"{name}.yaml",
            {
                "id": name,
                "title": name,
                "definition": name,
                "graders": [{"kind": "contains", "any": [name]}],
            },
        )
    home = load_home(folder)
    warehouse = DuckDBFile(home.warehouse)
    for version in versions[1:]:
        ensure_registered(home, warehouse, version)
    enter_forecasts(warehouse, pl.concat(forecasts(v, random) for v in versions[1:-1]))
    for version in versions[1:-1]:
        enter_observations(warehouse, version, observed(random))
    scored = scorecard(warehouse.read(ForecastLedger))
    with warehouse.transaction() as tx:
        tx.append(ForecastScorecard, scored)
    return home, warehouse, random


def seconds(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return round(time.perf_counter() - started, 3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--releases", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home, warehouse, random = written(Path(folder), asked.releases)
        newest = f"v{asked.releases + 1}"
        made, seen = forecasts(newest, random), observed(random)
        found = {
            "entries": len(warehouse.read(ForecastLedger)),
            "score_command": seconds(lambda: stored_scores(home, f"v{asked.releases}")),
            "score_all_releases_anew": seconds(lambda: scorecard(warehouse.read(ForecastLedger))),
            "check_of_the_ledger": seconds(
                lambda: the_ledger_is_whole(warehouse.read(ForecastLedger))
            ),
            "discrepancy_from_past_releases": seconds(
                lambda: discrepancy_so_far(warehouse, newest)
            ),
            "enter_forecasts": seconds(lambda: enter_forecasts(warehouse, made)),
            "enter_observations": seconds(lambda: enter_observations(warehouse, newest, seen)),
        }
    print(json.dumps(found, indent=None if asked.json else 2))


if __name__ == "__main__":
    main()
