"""The ledger of forecasts and observations: entries are added, never changed, and a change shows.

Belongs here: entering, reading what is scored, finding entries that were edited or taken out. Does
not: forecasts and scores (forecasting).

Each entry's id is a hash of its figures, and its chain a hash of its id, its time and the chain
before it (a hash chain). Entries taken from the end leave no trace in the ledger itself: compare
number and chain of the last entry, which every report and the check's metadata show, with a report
that was kept elsewhere.
"""

from datetime import UTC, datetime
from typing import Any

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.messages import sha256
from sim_platform.contracts.tables.forecasting import ForecastLedger
from sim_platform.contracts.tables.schema import frame
from sim_platform.warehouse.duckdb_file import DuckDBFile, GateResult

FIGURES = {
    "forecast": (
        "entry",
        "model_version",
        "behavior",
        "method",
        "rate",
        "low",
        "high",
        "log_variance",
        "prior_rate",
        "floor",
    ),
    "observation": ("entry", "model_version", "behavior", "rate", "events", "messages"),
}


def enter_forecasts(warehouse: DuckDBFile, made: pl.DataFrame) -> int:
    """Adds forecasts (rows of RateForecast) to the ledger; returns how many were new."""
    return _enter(warehouse, [{"entry": "forecast", **row} for row in made.to_dicts()])


def enter_observations(
    warehouse: DuckDBFile, release: str, observed: dict[str, tuple[float, float]]
) -> int:
    """Adds effective events and messages by behaviour; returns how many were new."""
    rows = (
        {"behavior": name, "rate": events / messages, "events": events, "messages": messages}
        for name, (events, messages) in observed.items()
    )
    return _enter(
        warehouse, [{"entry": "observation", "model_version": release, **row} for row in rows]
    )


def first_forecasts(ledger: pl.DataFrame) -> pl.DataFrame:
    """What is scored: the first forecast of each release, behaviour and method."""
    return (
        ledger.filter(entry="forecast")
        .sort("entered_at")
        .unique(["model_version", "behavior", "method"], keep="first", maintain_order=True)
    )


def last_observations(ledger: pl.DataFrame) -> pl.DataFrame:
    """The newest observation of each release and behaviour."""
    return (
        ledger.filter(entry="observation")
        .sort("entered_at")
        .unique(["model_version", "behavior"], keep="last", maintain_order=True)
    )


def the_ledger_is_whole(ledger: pl.DataFrame) -> GateResult:
    """Whether every entry is as it was entered and none is missing between two others; the facts
    hold the last chain, to be written down elsewhere.
    """
    edited = [row for row in ledger.to_dicts() if row["entry_id"] != _id_of(row)]
    chained = ledger.filter(pl.col("number").is_not_null()).sort("number").to_dicts()
    number, chain, broken = 0, "", 0
    for row in chained:
        broken += row["number"] != number + 1 or row["chain"] != _chain(chain, row)
        number, chain = row["number"], row["chain"] or ""
    return GateResult(
        not (edited or broken),
        {
            "n_bad": len(edited) + broken,
            "n_entries": len(ledger),
            "n_edited": len(edited),
            "n_breaks": broken,
            "last_chain": chain,
        },
        is_vacuous=ledger.is_empty(),
    )


def last_link(warehouse: DuckDBFile) -> tuple[int, str]:
    """How many entries are chained and the chain of the last one; 0 and no text without any."""
    links = warehouse.read(ForecastLedger, columns=["number", "chain"]).drop_nulls().sort("number")
    return (int(links["number"][-1]), str(links["chain"][-1])) if len(links) else (0, "")


def _enter(warehouse: DuckDBFile, rows: list[dict[str, Any]]) -> int:
    now = datetime.now(UTC)
    with warehouse.transaction() as tx:
        tx.ensure(ForecastLedger)
        ledger = tx.query("from forecast_ledger")
        whole = the_ledger_is_whole(ledger)
        if not whole.passed:
            raise SimPlatformError(
                f"forecast_ledger was changed after it was written ({whole.facts['n_edited']}"
                f" entries edited, {whole.facts['n_breaks']} breaks in its chain); nothing was"
                " entered. Bring the table back from a copy of the warehouse that was made before,"
                " or move it away: forecasts that cannot be trusted cannot be scored."
            )
        there = set(ledger["entry_id"])
        number, chain = int(ledger["number"].max() or 0), str(whole.facts["last_chain"])  # type: ignore[arg-type]  # a column of numbers
        entries = []
        for row in rows:
            figures = {name: row[name] for name in _figures(row)}
            entry = {
                **dict.fromkeys(ForecastLedger.to_schema().columns),
                **figures,
                "entry_id": _id_of(figures),
                "entered_at": now,
            }
            if entry["entry_id"] in there:
                continue
            there.add(entry["entry_id"])
            number, chain = number + 1, _chain(chain, entry)
            entries.append(entry | {"number": number, "chain": chain})
        tx.append(ForecastLedger, frame(ForecastLedger, entries))
    return len(entries)


def _figures(row: dict[str, Any]) -> tuple[str, ...]:
    """Names of the figures of an entry; tau where it has one, which entries of before have not.
    An entry of no kind has no figures, and so no id that fits.
    """
    return FIGURES.get(row["entry"], ()) + (("tau",) if row.get("tau") is not None else ())


def _id_of(row: dict[str, Any]) -> str:
    """Nine digits: sums of several threads differ in the last ones."""
    figures = ((name, row[name]) for name in _figures(row))
    return sha256(
        {name: f"{value:.9g}" if isinstance(value, float) else value for name, value in figures}
    )


def _chain(before: str, entry: dict[str, Any]) -> str:
    return sha256([before, entry["entry_id"], entry["entered_at"].astimezone(UTC).isoformat()])
