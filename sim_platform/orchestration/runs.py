"""Runs and reads a home without the UI: the same assets through Dagster's API, in this process.

Belongs here: what the command line asks for. Does not: printing (cli), the assets.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.estimation import RateComparison, ReleaseGate
from sim_platform.contracts.tables.forecasting import ForecastScorecard, RateForecast
from sim_platform.estimation.gates import release_verdict
from sim_platform.extraction.consent import read_ledger
from sim_platform.extraction.readers import source_files
from sim_platform.flows.forecasting import error_parts
from sim_platform.flows.grading.asking import refuse_unserved
from sim_platform.flows.ledger import last_link
from sim_platform.flows.registration import covered
from sim_platform.forecasting.scorecard import bootstrap_over_releases
from sim_platform.grading.rules import graders_of
from sim_platform.orchestration.build import LOG_ASSETS, RELEASE_ASSETS, build_definitions
from sim_platform.orchestration.partitions import register
from sim_platform.orchestration.resources import lock_wait_seconds
from sim_platform.registry.home import Home
from sim_platform.warehouse.duckdb_file import DuckDBFile


def run_releases(
    home: Home,
    releases: list[str],
    sample_size: int | None,
    *,
    say: Callable[[str], None],
    only_sample: bool = False,
    max_usd: float | None = None,
    max_tokens: int | None = None,
) -> list[str]:
    """Runs the log assets once, then each release, then what spans releases; returns the releases
    that failed.

    Args:
        only_sample: each release up to its sample, nothing is sent. max_usd, max_tokens: what this
            run may spend on each release, beside the release's own budget.
    """
    os.environ.setdefault("DAGSTER_HOME", str(dagster_home(home)))
    definitions = build_definitions(home=home.path)
    instance = dg.DagsterInstance.get()
    register(instance, home.releases)
    graph = definitions.resolve_asset_graph()
    every: list[Any] = [*(definitions.assets or []), *(definitions.asset_checks or [])]
    log_keys, release_keys = (
        [key for a in assets for key in a.keys] for assets in (LOG_ASSETS, RELEASE_ASSETS)
    )
    if only_sample:
        release_keys = [dg.AssetKey(name) for name in ("preregistration", "stratified_sample")]
    last_keys = [k for k in graph.get_all_asset_keys() if k not in {*log_keys, *release_keys}]

    def materialize(keys: list[dg.AssetKey], partition: str | None = None) -> bool:
        config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        if partition is not None:
            given: dict[str, dict[str, Any]] = {
                "stratified_sample": {"sample_size": sample_size},
                "candidate_completions": {"max_usd": max_usd, "max_tokens": max_tokens},
            }
            chosen = {
                name: {k: v for k, v in values.items() if v is not None}
                for name, values in given.items()
            }
            config["ops"] = {name: {"config": values} for name, values in chosen.items() if values}
        result = dg.materialize(
            every,
            selection=dg.AssetSelection.assets(*keys),
            partition_key=partition,
            instance=instance,
            run_config=config,
            resources=definitions.resources,
            raise_on_error=False,
        )
        for event in result.all_events:
            if event.event_type_value == "STEP_FAILURE":
                data: Any = event.event_specific_data
                failure = data.user_failure_data
                say(
                    f"{event.step_key}:"
                    f" {failure.description if failure else data.error_display_string.splitlines()[0]}"
                )
        for evaluation in result.get_asset_check_evaluations():
            if not evaluation.passed:
                facts = ", ".join(f"{k}={v.value}" for k, v in evaluation.metadata.items())
                say(
                    f"check failed: {evaluation.asset_key.to_user_string()}:"
                    f" {evaluation.check_name} ({facts})"
                )
        return result.success

    if not materialize(log_keys):
        raise SimPlatformError("the log assets failed; nothing was replayed")
    failed = []
    for release in releases:
        say(f"release {release} (replaces {home.by_version[release].replaces})")
        if not materialize(release_keys, release):
            failed.append(release)
    if not only_sample and len(failed) < len(releases) and not materialize(last_keys):
        raise SimPlatformError("the summary failed; the releases' tables are there")
    return failed


def dagster_home(home: Home) -> Path:
    """Dagster's history lives in the home; its first use brings the platform's settings along."""
    folder = home.path / "dagster_home"
    settings = Path(__file__).resolve().parents[2] / "data" / "dagster_home" / "dagster.yaml"
    try:
        folder.mkdir(exist_ok=True)
        if not (folder / "dagster.yaml").exists() and settings.exists():
            shutil.copy(settings, folder / "dagster.yaml")
    except OSError as error:
        raise SimPlatformError(
            f"{folder} cannot be written ({error.strerror}). Make the home writable, or set"
            " SIM_PLATFORM_HOME to a copy of it."
        ) from None
    return folder


def home_facts(home: Home) -> dict[str, Any]:
    """What `check` prints about a valid home; BadInputError where the ledger, a grader or a judge's
    model is not there.
    """
    if home.sources.consent.ledger:
        read_ledger(home.path / home.sources.consent.ledger)
    for behavior in home.graded:
        graders_of(behavior, home.path)
    refuse_unserved(home)
    missing = sorted(
        {m.api_key_env for m in home.models if m.api_key_env and m.api_key_env not in os.environ}
    )
    return {
        "home": str(home.path),
        "log files": sum(len(source_files(source, home.path)) for source in home.sources.sources),
        "consent": (
            home.sources.consent.all
            or f"ledger {home.sources.consent.ledger}, scope {home.sources.consent.scope}"
        ),
        "versions": [m.version for m in home.models],
        "releases": list(home.releases),
        "behaviours": [b.id for b in home.graded],
        "not graded": [f"{name} ({why})" for name, why in home.not_graded.items()],
        "variables not set": missing,
    }


def stored_rates(home: Home, release: str) -> pl.DataFrame:
    """Rows of `rate_comparison`; an error that names the way out where there are none, or no record
    of what was decided before.
    """
    warehouse = DuckDBFile(home.warehouse, lock_wait_seconds())
    stored = warehouse.read(RateComparison, {"model_version": release}).sort("behavior", "arm")
    if not len(stored):
        raise SimPlatformError(f"{release}: no rates yet; run `sim-platform run {release}` first")
    covered(
        home, warehouse, release
    )  # without a record of what was decided before, no rate is shown
    return stored


def stored_decisions(home: Home, release: str) -> pl.DataFrame:
    """Rows of `release_gate`; an error that names the way out where there are none."""
    stored = (
        DuckDBFile(home.warehouse, lock_wait_seconds())
        .read(ReleaseGate, {"model_version": release})
        .sort("behavior")
    )
    if not len(stored):
        raise SimPlatformError(
            f"{release}: no decision yet; run `sim-platform run {release}` first"
        )
    covered(home, DuckDBFile(home.warehouse, lock_wait_seconds()), release)
    return stored


def stored_verdict(home: Home, release: str) -> str:
    """The release's verdict with its reason, in one line."""
    verdict, why = release_verdict(stored_decisions(home, release))
    return f"{verdict}: {why}"


def stored_forecasts(home: Home, release: str) -> list[dict[str, Any]]:
    """Rows of `rate_forecast`; an error that names the way out where there are none."""
    stored = (
        DuckDBFile(home.warehouse, lock_wait_seconds())
        .read(RateForecast, {"model_version": release})
        .sort("behavior", "method")
    )
    if not len(stored):
        raise SimPlatformError(
            f"{release}: no forecast yet; run `sim-platform run {release}` first"
        )
    covered(home, DuckDBFile(home.warehouse, lock_wait_seconds()), release)
    return stored.to_dicts()


def stored_scores(home: Home, release: str) -> dict[str, Any]:
    """The release's scorecard, and per method the mean of all scored releases' median errors with
    its bootstrap interval; where the model was replayed on its own log, the parts
    of its error; how long the forecast ledger is and the chain of its last entry."""
    warehouse = DuckDBFile(home.warehouse, lock_wait_seconds())
    every = warehouse.read(ForecastScorecard)
    mine = every.filter(model_version=release)
    if not len(mine):
        raise SimPlatformError(
            f"{release}: not scored; its own log is not extracted yet. Add it to sources.yaml and"
            f" run `sim-platform run {release}` again"
        )
    covered(home, warehouse, release)
    medians = {
        method: {r["model_version"]: [r["median"]] for r in group.to_dicts() if r["median"]}
        for (method,), group in every.group_by(["method"], maintain_order=True)
    }
    entries, chain = last_link(warehouse)
    return {
        "model_version": release,
        "methods": mine.to_dicts(),
        "error_parts": error_parts(home, warehouse, release),
        "releases": every["model_version"].n_unique(),
        "over_releases": {
            str(method): bootstrap_over_releases(errors)
            for method, errors in medians.items()
            if errors
        },
        "ledger": {"entries": entries, "last_chain": chain},
    }


def status(home: Home) -> dict[str, Any]:
    """How far the home is: rows of the log stages, and of every stage per release; `cost_usd` is in
    US dollars.
    """
    with DuckDBFile(home.warehouse, lock_wait_seconds()).reading() as tx:
        tables = tx.tables()

        def count(
            table: str, condition: str = "true", value: str = "count(*)", **params: str
        ) -> Any:
            return (
                tx.query(f"select {value} as n from {table} where {condition}", params)["n"][0]  # noqa: S608 - literals of this function
                if table in tables
                else 0
            )

        def of(release: str) -> dict[str, Any]:
            mine = "model_version = $release"
            return {
                "release": release,
                "replaces": home.by_version[release].replaces,
                "prefixes": count("stratified_sample", mine, release=release),
                "outcomes": count("candidate_completions", mine, release=release),
                "failed": count(
                    "candidate_completions", f"{mine} and status = 'failed'", release=release
                ),
                "scores": count("classifier_scores", mine, release=release),
                "rates": count("rate_comparison", mine, release=release),
                "cost_usd": float(
                    count(
                        "candidate_completions", mine, "coalesce(sum(cost_usd), 0)", release=release
                    )
                ),
            }

        return {
            "home": str(home.path),
            "extracted": int(
                count(
                    "extraction_accounting",
                    "disposition = 'extracted'",
                    "coalesce(sum(n), 0)::bigint",
                )
            ),
            "corpus": count("deidentified_corpus"),
            "quarantined": count("quarantined_rows"),
            "releases": [of(release) for release in home.releases],
        }
