"""Reads what a release's report says, and writes the files.

Belongs here: queries over the warehouse and the files in reports/. Does not: the
page (reporting.release_report).
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.escaping import csv_cell
from sim_platform.contracts.tables.deidentification import (
    Canaries,
    DeidAudits,
    DeidentificationEffect,
    StrataSuppression,
)
from sim_platform.contracts.tables.estimation import RateComparison, ReleaseGate
from sim_platform.contracts.tables.forecasting import ForecastScorecard, RateForecast
from sim_platform.contracts.tables.grading import Calibration
from sim_platform.estimation.intervals import binomial
from sim_platform.estimation.resemblance import in_words, unlike_the_log
from sim_platform.estimation.verdict import release_verdict, release_warnings, said
from sim_platform.flows.costs import spent_by_arm, spent_on_graders
from sim_platform.flows.files import warehouse_of
from sim_platform.flows.grading.asking import flip_rate
from sim_platform.flows.ledger import last_link
from sim_platform.flows.leftovers import remove_leftovers
from sim_platform.flows.private_files import write_private
from sim_platform.flows.registration import covered
from sim_platform.flows.results import looked_at_nothing
from sim_platform.flows.sampling import refuse_earlier_sample
from sim_platform.registry.home import Home
from sim_platform.registry.shipped import SQL_MODELS
from sim_platform.reporting.rates import marked, per_100k
from sim_platform.reporting.release_report import ReleaseFacts, report_html, report_json
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform.warehouse.sql_models import load_sql_models

EXAMPLE_CHARACTERS = 2_000
SAMPLE = """
    select count(*) as prefixes, count(distinct s.user_key) as users, count(distinct s.stratum)
      as strata, round(sum(s.weight))::bigint as eligible_messages,
           min(c.week) as first_week, max(c.week) as last_week
    from stratified_sample s join deidentified_corpus c using (conversation_key)
      where s.model_version = $release"""
OUTCOMES = """
    select arm, status, coalesce(reason, '') as reason, count(*) as n from candidate_completions
      where model_version = $release group by all order by all"""
SPEND = """
    select arm, count(*) as outcomes, count(reused_from) as reused, sum(prompt_tokens)::bigint
      as prompt_tokens, sum(completion_tokens)::bigint as completion_tokens,
           count(*) filter ({estimated}) as tokens_estimated,
           median(latency_s) as median_seconds,
             string_agg(distinct served_model, ', ') as served_as
    from candidate_completions where model_version = $release group by arm order by arm"""
STRATA = (
    "select * exclude (model_version) from rates_by_stratum where model_version = $release order by"
    " stratum, behavior, arm"
)
COVERAGE = (
    "select * from pipeline_coverage where model_version is null or model_version = $release order"
    " by model_version nulls first, stage_number"
)
HASHES = """
    select 'sample' as what, sample_id as value from stratified_sample
      where model_version = $release
    union select 'de-identification', deid_version from stratified_sample
      where model_version = $release
    union select 'grader of ' || behavior || case when is_exploratory then ' (exploratory)' else ''
      end, grader_hash from classifier_scores where model_version = $release
    union select 'registration ' || number || case when is_exploratory then ' (exploratory)' else ''
      end, sha256 from preregistration where model_version = $release
    union select 'estimator', estimator_version from rate_comparison where model_version = $release
      order by all"""
EXAMPLES = """
    select behavior || case when is_exploratory then ' (exploratory)' else '' end as behavior, turn,
      response from (
        select s.behavior, s.is_exploratory, p.prefix ->> '$[#-1].content' as turn, c.text
          as response,
               row_number() over (partition by s.behavior order by s.prefix_id, s.k) as place
        from classifier_scores s
          join candidate_completions c using (model_version, arm, prefix_id, k)
          join stratified_sample p using (model_version, prefix_id)
        where s.model_version = $release and s.arm = 'candidate' and s.label and c.text is not null)
    where place <= $examples order by behavior, place"""


def report_files(home: Home, release: str) -> tuple[Path, Path, Path]:
    """HTML, JSON and CSV of a release. By name and never by a pattern: v2.* is v2.1 too."""
    page, as_json, as_csv = (home.reports / f"{release}.{kind}" for kind in ("html", "json", "csv"))
    return page, as_json, as_csv


def write_report(home: Home, release: str, examples: int = 3) -> Path:
    """Writes reports/RELEASE.html, .json and .csv (mode 0600: they quote de-identified text) and
    returns the page's path.

    Raises:
        SimPlatformError: the release has not been compared yet.
    """
    remove_leftovers(home)
    facts = read_facts(home, release, examples)
    home.reports.mkdir(exist_ok=True)
    page, as_json, as_csv = report_files(home, release)
    write_private(page, report_html(facts))
    write_private(as_json, report_json(facts))
    write_private(as_csv, _csv(facts.rates))
    return page


def read_facts(home: Home, release: str, examples: int) -> ReleaseFacts:
    """What the warehouse holds about a release. The marts' statements are asked anew: their tables
    are made after the releases' runs.
    """
    candidate, replaced = home.release(release)
    warehouse = warehouse_of(home)
    rates, decisions = (
        warehouse.read(table, {"model_version": release}).sort("behavior")
        for table in (RateComparison, ReleaseGate)
    )
    if rates.is_empty() or decisions.is_empty():
        raise SimPlatformError(
            f"{release}: nothing to report yet; run `sim-platform run {release}` first"
        )
    refuse_earlier_sample(decisions, release)
    covered(home, warehouse, release)
    verdict, reason = release_verdict(decisions)
    unlike = in_words(unlike_the_log(rates))
    marts = {model.name: model.sql for model in load_sql_models(SQL_MODELS)}
    with warehouse.reading() as tx:
        is_marked = "tokens_estimated" in tx.columns("candidate_completions")
        spend_sql = SPEND.format(estimated="tokens_estimated" if is_marked else "false")
        sample = tx.query(SAMPLE, {"release": release}).to_dicts()[0]
        outcomes, spend, hashes = (
            tx.query(sql, {"release": release}).to_dicts() for sql in (OUTCOMES, spend_sql, HASHES)
        )
        strata, coverage = (
            tx.query(f"with {mart} as ({marts[mart]}) {sql}", {"release": release}).to_dicts()
            for mart, sql in (("rates_by_stratum", STRATA), ("pipeline_coverage", COVERAGE))
        )
        graders = spent_on_graders(tx, home, release)
        costs = spent_by_arm(tx, home, release)
        shown = (
            tx.query(EXAMPLES, {"release": release, "examples": examples})
            if examples
            else pl.DataFrame()
        )
    entries, chain = last_link(warehouse)
    if entries:
        hashes.append({"what": f"forecast ledger, chain of its entry {entries}", "value": chain})
    return ReleaseFacts(
        release=release,
        replaces=replaced.version,
        verdict=verdict,
        reason=reason,
        warnings=[*([unlike] if unlike else []), *release_warnings(decisions)],
        measures=candidate.measures,
        consent=home.sources.consent.all
        or f"per conversation, from the ledger, scope {home.sources.consent.scope}",
        sample=sample | {"cut": candidate.plan.cut.replace("_", " "), "salt": candidate.plan.salt},
        rates=rates,
        decisions=[{**row, "said": said(row)} for row in decisions.to_dicts()],
        examples=[
            {name: _clipped(value) for name, value in row.items()} for row in shown.to_dicts()
        ],
        outcomes=outcomes,
        spend=[
            *({**row, "cost_usd": costs[row["arm"]]} for row in spend),
            *(
                {
                    **dict.fromkeys(spend[0] if spend else ()),
                    "arm": f"grader {row['asked_by']}",
                    "outcomes": row["calls"],
                    "prompt_tokens": row["tokens"],
                    "tokens_estimated": row["tokens_estimated"],
                    "cost_usd": row["cost_usd"],
                }
                for row in graders
            ),
        ],
        strata=strata,
        coverage=coverage,
        hashes=hashes,
        calibration=warehouse.read(Calibration, {"model_version": release}).to_dicts(),
        further=_refusals(outcomes) | _further(warehouse, release),
    )


def _refusals(outcomes: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What the provider's filter refused, a quantity of its own: those outcomes are not missing at
    random.
    """
    rows = []
    for arm in sorted({row["arm"] for row in outcomes}):
        mine = [row for row in outcomes if row["arm"] == arm]
        n, refused = (
            sum(row["n"] for row in mine),
            sum(row["n"] for row in mine if row["status"] == "refused"),
        )
        limits = binomial(refused, n, "clopper-pearson")
        per = {"per_100k": refused / n, "low": float(limits.low), "high": float(limits.high)}
        rows.append(
            {"arm": arm, "outcomes": n, "refused": refused}
            | {name: per_100k(value) for name, value in per.items()}
        )
    title = "Refused by the provider's filter, per 100,000 outcomes, with 95 % limits"
    return {title: rows} if any(row["refused"] for row in rows) else {}


def _further(warehouse: DuckDBFile, release: str) -> dict[str, list[dict[str, Any]]]:
    """Sections that stand where their table has rows."""
    made = warehouse.read(
        RateForecast,
        {"model_version": release, "method": "M7"},
        columns=[
            "behavior",
            "prior_rate",
            "prior_messages",
            "rate",
            "low",
            "high",
            "direction",
            "chance_of_increase",
            "tau",
            "is_exploratory",
        ],
    )
    scored = warehouse.read(ForecastScorecard, {"model_version": release})
    checked = warehouse.read(Calibration, {"model_version": release})
    forecasts = [
        {
            **row,
            "behavior": marked(row["behavior"], row.pop("is_exploratory")),
            **{name: round(1e5 * row[name], 2) for name in ("prior_rate", "rate", "low", "high")},
        }
        for row in made.sort("behavior").to_dicts()
    ]
    sections = {
        "Forecast of the rate in service, per 100,000 messages, with 90 % interval": forecasts,
        "Score of the forecast": scored.to_dicts(),
        "Graders against people: the four rates per 100,000 messages, with 95 % limits": [
            _against_people(row) for row in checked.sort("behavior", "arm").to_dicts()
        ],
        "Planted instructions that judges followed against their own answer": flip_rate(warehouse),
        "De-identification: made-up identifiers planted in shadow copies,"
        " and how many could be read afterwards": _canaries(warehouse, release),
        "De-identification: a second look at a random share": _audits(warehouse, release),
        "De-identification: strata that too few people share": (
            warehouse.read(StrataSuppression).to_dicts()
        ),
        "De-identification: the same recorded responses graded before and after,"
        " per 100,000 messages": _effects(warehouse, release),
    }
    with warehouse.reading() as tx:
        sections["Checks that looked at nothing: that they passed says nothing"] = [
            {"check": name.replace("_", " ")} for name in looked_at_nothing(tx)
        ]
    return {title: rows for title, rows in sections.items() if rows}


def _against_people(row: dict[str, Any]) -> dict[str, Any]:
    """A behaviour in one arm; a rate that cannot be trusted is a dash, with its
    reason in `refused`.
    """

    def rate(name: str) -> str:
        return (
            "–"
            if row[name] is None
            else (
                f"{per_100k(row[name])} [{per_100k(row[f'{name}_low'])},"
                f" {per_100k(row[f'{name}_high'])}]"
            )
        )

    return {
        "behavior": marked(row["behavior"], row["is_exploratory"]),
        "arm": row["arm"],
        "status": row["status"],
        **{name: rate(name) for name in ("apparent", "verified", "corrected")},
        "at most (assumes nothing)": per_100k(row["bound"]),
        **{name: _share(row, name) for name in ("sensitivity", "specificity")},
        **{name: row[name] for name in ("tp", "fp", "fn", "tn", "abstained")},
        "refused": "; ".join(f"{name}: {why}" for name, why in json.loads(row["refused"]).items()),
    }


def _share(row: dict[str, Any], name: str) -> str:
    """With what its limits are, and how surely it is not the candidate's."""
    if row[name] is None:
        return "–"
    limits = (
        f" [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]" if f"{name}_low" in row else ""
    )
    p = row[f"p_{name}"]
    return f"{row[name]:.4g}{limits}" + (f", p {p:.2g} against candidate" if p is not None else "")


def _canaries(warehouse: DuckDBFile, release: str) -> list[dict[str, Any]]:
    """Of the version that made the release's sample. `at most` is the 95 % bound 3/n where
    none survived.
    """
    versions = warehouse.query(
        "select distinct deid_version from stratified_sample where model_version = $release",
        {"release": release},
    )["deid_version"]
    rows = (
        warehouse.read(Canaries)
        .filter(pl.col("deid_version").is_in(versions.implode()))
        .group_by("type")
        .agg(pl.col("planted", "survived").sum())
        .sort("type")
    )
    whole = rows.select(pl.lit("all").alias("type"), pl.col("planted", "survived").sum())
    bound = pl.when((pl.col("survived") == 0) & (pl.col("planted") > 0)).then(
        (3 / pl.col("planted")).round(5)
    )
    return pl.concat([whole, rows]).with_columns(at_most=bound).to_dicts() if len(rows) else []


def _audits(warehouse: DuckDBFile, release: str) -> list[dict[str, Any]]:
    versions = warehouse.query(
        "select distinct deid_version from stratified_sample where model_version = $release",
        {"release": release},
    )["deid_version"]
    return (
        warehouse.read(DeidAudits)
        .filter(pl.col("deid_version").is_in(versions.implode()))
        .drop("deid_version")
        .sort("measure", "type")
        .to_dicts()
    )


def _effects(warehouse: DuckDBFile, release: str) -> list[dict[str, Any]]:
    per_100k = (
        pl.col("rate_raw", "rate_deidentified", "shift", "shift_low", "shift_high")
        .mul(100_000)
        .round(2)
    )
    rows = (
        warehouse.read(DeidentificationEffect, {"model_version": release})
        .drop("model_version", "deid_version")
        .with_columns(per_100k)
        .sort("behavior")
        .to_dicts()
    )
    exploratory = set(
        warehouse.read(RateComparison, {"model_version": release}).filter("is_exploratory")[
            "behavior"
        ]
    )
    return [
        {**row, "behavior": marked(row["behavior"], row["behavior"] in exploratory)} for row in rows
    ]


def _clipped(value: str | None) -> str:
    text = value or ""
    if text.startswith("["):  # content in parts
        with suppress(ValueError, AttributeError, TypeError):
            text = "\n".join(part.get("text", "") for part in json.loads(text))
    return (
        text
        if len(text) <= EXAMPLE_CHARACTERS
        else f"{text[:EXAMPLE_CHARACTERS]} … ({len(text)} characters)"
    )


def _csv(rows: pl.DataFrame) -> str:
    """Texts in quotes and without formulas; numbers stay numbers."""
    texts = pl.selectors.string().map_elements(csv_cell, return_dtype=pl.String)
    return rows.with_columns(texts).write_csv(quote_style="non_numeric")
