"""How often the version in service shows each behaviour, as far as it is known before a candidate
answers, and how many events a sample of it will hold.

Belongs here: reading graded logs and earlier comparisons for it. Does not: what follows from it
(planning, registration).
"""

import polars as pl

from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.flows.sampling import population_of, size_of_sample
from sim_platform.grading.scores import grader_hash
from sim_platform.registry.home import Home
from sim_platform.warehouse.duckdb_file import DuckDBFile

PRODUCTION_RATES = """
    select behavior, grader_hash, count(*) filter (label) as events, count(label) as n,
           count(*) filter (applies) / count(*) as eligible_share
    from production_scores where model_version = $release group by all"""


def known_rates(
    home: Home, warehouse: DuckDBFile, release: str
) -> dict[str, tuple[float, float, str]]:
    """Rate and eligible share of the version in service, and where they come from: its graded log,
    else the recorded arm of the largest comparison of a release that replaces it.
    """
    version = home.release(release)[1].version
    stored = warehouse.read(
        RateComparison,
        {"replaces": version, "arm": "recorded"},
        columns=["model_version", "behavior", "rate", "eligible_share", "n"],
    ).sort("n")
    known = {
        row["behavior"]: (
            row["rate"],
            row["eligible_share"],
            f"recorded arm of {row['model_version']}",
        )
        for row in stored.to_dicts()
        if row["rate"] is not None
    }
    with warehouse.reading() as tx:
        there = "production_scores" in tx.tables()
        graded = tx.query(PRODUCTION_RATES, {"release": release}).to_dicts() if there else []
    todays = {(b.id, grader_hash(b, home)) for b in home.graded}
    return known | {
        row["behavior"]: (
            row["events"] / row["n"],
            row["eligible_share"],
            f"{row['n']:,} responses in production",
        )
        for row in graded
        if row["n"] and (row["behavior"], row["grader_hash"]) in todays
    }


def expected_events(home: Home, warehouse: DuckDBFile, release: str) -> dict[str, float]:
    """Behaviour id to the events that one repeat of the release's sample is expected to hold in the
    version in service; without those whose rate nobody knows.
    """
    with warehouse.reading() as tx:
        if "deidentified_corpus" not in tx.tables():
            return {}
    replaced = home.release(release)[1]
    eligible = population_of(warehouse, replaced).filter(pl.col("n_user_turns") > 0)
    n = min(size_of_sample(home, warehouse, release).wanted, len(eligible))
    return {
        name: n * rate * (1.0 if eligible_share is None else eligible_share)
        for name, (rate, eligible_share, _) in known_rates(home, warehouse, release).items()
    }
