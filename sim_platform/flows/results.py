"""What is stored about a home's releases.

Belongs here: rates, decisions, forecasts, scores and how far each release is, read with a clear
error where something is not there yet. Does not: making any of it, printing it (commands).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.estimation import RateComparison, ReleaseGate
from sim_platform.contracts.tables.extraction import RowDispositions
from sim_platform.contracts.tables.forecasting import ForecastScorecard, RateForecast
from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import Table, key_of, table_name
from sim_platform.estimation.verdict import release_verdict, said
from sim_platform.extraction.reasons import expected
from sim_platform.flows.costs import spent_by_arm, spent_on_graders, total
from sim_platform.flows.files import vault_of, warehouse_of
from sim_platform.flows.ledger import last_link
from sim_platform.flows.registration import covered
from sim_platform.registry.home import Home
from sim_platform.warehouse.duckdb_file import DuckDBFile, Transaction, WarehouseError
from sim_platform.warehouse.gates import ON_A_SHARE

SAID: dict[type[Table], str] = {
    StratifiedSample: "sample",
    CandidateCompletions: "completions",
    ClassifierScores: "scores",
    RateComparison: "rates",
    ReleaseGate: "decision",
    RateForecast: "forecast",
}
# shares of the log's rows above which it is said aloud
MANY_QUARANTINED = 0.02
MANY_WITHOUT_CONSENT = 0.1
OF_A_SHARE = {"canaries", "deid_audits", "deidentified_corpus"}
WHILE_A_RUN_WRITES = 1.0  # seconds to wait for the warehouse before the published copy is read


def stored(home: Home, table: type[Table], release: str) -> pl.DataFrame:
    """Rows of a table for a release, in the order of their key: from the warehouse, or from the
    last published copy while a run writes.

    Raises:
        BadInputError: models.yaml has no such release.
        SimPlatformError: there are no rows yet, or no record of what was decided before.
    """
    home.release(release)
    try:
        warehouse = DuckDBFile(home.warehouse, WHILE_A_RUN_WRITES)
        return _rows(home, warehouse, table, release)
    except WarehouseError:
        if not home.published.exists():
            raise
        return _rows(home, DuckDBFile(home.published), table, release)


def _rows(home: Home, file: DuckDBFile, table: type[Table], release: str) -> pl.DataFrame:
    rows = file.read(table, {"model_version": release})
    if not len(rows):
        raise SimPlatformError(
            f"{release}: no {SAID[table]} yet; run `sim-platform run {release}` first"
        )
    covered(home, file, release)  # without a record of what was decided before, nothing is shown
    return rows.sort(key_of(table))


def stored_rates(home: Home, release: str) -> pl.DataFrame:
    """Rows of `rate_comparison`; an error that names the way out where there are none, or no record
    of what was decided before.
    """
    return _rows(home, warehouse_of(home), RateComparison, release)


def stored_decisions(home: Home, release: str) -> pl.DataFrame:
    """Rows of `release_gate`; an error that names the way out where there are none."""
    return _rows(home, warehouse_of(home), ReleaseGate, release)


def stored_verdict(home: Home, release: str) -> str:
    """The release's verdict with its reason, in one line."""
    verdict, why = release_verdict(stored_decisions(home, release))
    return f"{verdict}: {why}"


def undecided(home: Home, release: str) -> list[str]:
    """Gate behaviours about which nothing is decided yet."""
    decisions = stored_decisions(home, release)
    return decisions.filter(tier="gate", verdict="INCONCLUSIVE")["behavior"].sort().to_list()


def said_of(home: Home, release: str) -> dict[str, str]:
    """Gate behaviour to its verdict as it is said everywhere; empty where nothing is decided, or
    what is stored may not be shown.
    """
    try:
        decisions = stored_decisions(home, release)
    except SimPlatformError:
        return {}
    return {row["behavior"]: said(row) for row in decisions.filter(tier="gate").to_dicts()}


def earlier_sample(rows: Iterable[Mapping[str, Any]]) -> str:
    """What to say of rates, decisions or forecasts that are kept from the sample before; empty
    where there is nothing to say.
    """
    kept = next((row["earlier_sample"] for row in rows if row["earlier_sample"]), None)
    return (
        f"of an earlier sample of {kept} prefixes: the one that was drawn since is not complete"
        if kept
        else ""
    )


def stored_forecasts(home: Home, release: str) -> list[dict[str, Any]]:
    """Rows of `rate_forecast`; an error that names the way out where there are none."""
    return _rows(home, warehouse_of(home), RateForecast, release).to_dicts()


def stored_scores(home: Home, release: str) -> dict[str, Any]:
    """The release's scorecard, and per method the mean of all scored releases' median errors, its
    bootstrap interval (null for one release) and how many they are; where the model was replayed on
    its own log, the parts of its error; how long the forecast ledger is and the chain of its last
    entry.
    """
    from sim_platform.flows.forecasting import error_parts  # noqa: PLC0415 - imports scipy
    from sim_platform.forecasting.scorecard import (  # noqa: PLC0415 - imports scipy
        bootstrap_over_releases,
    )

    warehouse = warehouse_of(home)
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
        "releases_of": {str(method): len(errors) for method, errors in medians.items()},
        "ledger": {"entries": entries, "last_chain": chain},
    }


def left_out(home: Home) -> list[dict[str, Any]]:
    """Rows of the log that were not extracted: per disposition and reason how many, where the first
    of them stands, and what is expected. No text of a row.
    """
    with vault_of(home).reading() as tx:
        if table_name(RowDispositions) not in tx.tables():
            return []
        rows = tx.query(
            """select disposition, reason, count(*) as n,
                      arg_min(source_file || ':' || source_line, (source_file, source_line))
                        as first
               from row_dispositions group by all order by disposition desc, n desc, reason"""
        )
    return [{**row, "expected": expected(row["reason"])} for row in rows.to_dicts()]


def one_line(row: dict[str, Any]) -> str:
    """A row of `left_out` in words."""
    what = f"{row['n']} rows {row['disposition']}: {row['reason']}, first {row['first']}"
    return f"{what} (expected: {row['expected']})" if row["expected"] else what


def attention(home: Home) -> list[str]:
    """A line where so many rows of the log were left out that the rest may speak for others."""
    with vault_of(home).reading() as tx:
        if not {table_name(RowDispositions), "source_files"} <= tx.tables():
            return []
        row = tx.query(
            """select (select coalesce(sum(rows_in), 0) from source_files)::bigint as n,
                      count(*) filter (disposition = 'quarantined') as quarantined,
                      count(*) filter (reason like '%consent%') as consent
               from row_dispositions"""
        ).to_dicts()[0]
    said = {
        "quarantined": (MANY_QUARANTINED, "stand in quarantine"),
        "consent": (MANY_WITHOUT_CONSENT, "were left out for consent"),
    }
    return [
        f"attention: {row[kind]:,} of {row['n']:,} rows of the log {what}"
        f" ({row[kind] / row['n']:.0%}); the rates speak of the rest alone"
        for kind, (share, what) in said.items()
        if row[kind] > share * row["n"]
    ]


def status(home: Home) -> dict[str, Any]:
    """How far the home is: rows of the log stages, and of every stage per release; `cost_usd` is
    in US dollars, graders included, and None where a price is not known; `verdict` with its reason,
    None where nothing is decided or what is stored may not be shown.
    """
    facts = _counted(home)
    for row in facts["releases"]:
        try:
            row["verdict"] = stored_verdict(home, row["release"])
        except SimPlatformError:
            row["verdict"] = None
    return facts


def _counted(home: Home) -> dict[str, Any]:
    with warehouse_of(home).reading() as tx:
        tables = tx.tables()

        def count(
            table: str, condition: str = "true", value: str = "count(*)", **params: str
        ) -> Any:
            return (
                tx.query(f"select {value} as n from {table} where {condition}", params)["n"][0]  # noqa: S608 - names come from contracts, values are parameters
                if table in tables
                else 0
            )

        def of(release: str) -> dict[str, Any]:
            mine = "model_version = $release"
            graders = spent_on_graders(tx, home, release)
            costs = spent_by_arm(tx, home, release)
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
                "grader_calls": sum(row["calls"] for row in graders),
                "cost_usd": total([*costs.values(), *(row["cost_usd"] for row in graders)]),
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
            "looked_at_nothing": looked_at_nothing(tx),
        }


def looked_at_nothing(tx: Transaction) -> list[str]:
    """Rules of de-identification whose random share held nothing to look at: that they passed says
    nothing. None before the corpus is there.
    """
    if not tx.tables() >= OF_A_SHARE:
        return []
    return [gate.name for gate in ON_A_SHARE if gate.check(tx.query).is_vacuous]
