"""A world with known truth, written into the real tables, counted by DuckDB and compared by the
real comparison.
"""

from pathlib import Path

import numpy as np
import polars as pl

from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import dtypes
from sim_platform.estimation.comparison import against_production, compare
from sim_platform.estimation.design import design_of, label_counts
from sim_platform.warehouse.duckdb_file import DuckDBFile, ddl

# prefixes and design weight
SIZES = {"big": (700, 60.0), "middle": (250, 20.0), "small": (100, 2.0)}
ARMS = ("candidate", "control", "recorded")


def test_the_truth_lies_inside_the_intervals_of_a_world_written_into_the_tables(
    tmp_path: Path,
) -> None:
    """30 behaviours x 3 arms at nominal 95 %: at least 90 % inside, and so of 30 true ratios."""
    random = np.random.default_rng(11)
    strata = np.repeat(list(SIZES), [n for n, _ in SIZES.values()])
    weights = np.array([SIZES[s][1] for s in strata])
    behaviors, n = [f"b{i:02}" for i in range(30)], len(strata)
    base = np.exp(random.uniform(np.log(0.01), np.log(0.15), len(behaviors)))
    effect = {s: np.exp(random.normal(0, 0.5, len(behaviors))) for s in SIZES}
    change = np.exp(random.normal(0, 0.6, len(behaviors)))
    rates = {
        arm: np.stack(
            [
                np.minimum(base * effect[s] * (change if arm == "candidate" else 1), 0.6)
                for s in strata
            ]
        )
        for arm in ARMS
    }
    ids = [f"p{i:05}" for i in range(n)]
    scores = pl.concat(
        pl.DataFrame(
            {
                "behavior": behaviors[b],
                "arm": arm,
                "prefix_id": ids,
                "label": random.random(n) < rates[arm][:, b],
            }
        )
        for b in range(len(behaviors))
        for arm in ARMS
    ).with_columns(
        model_version=pl.lit("x"),
        k=pl.lit(0),
        applies=pl.lit(True),
        missing_reason=pl.lit(None, pl.String),
        grader_hash=pl.lit("g"),
    )
    file = DuckDBFile(tmp_path / "w.duckdb")
    with file.transaction() as tx:
        for table in (StratifiedSample, ClassifierScores):
            tx.execute(ddl(table).replace(" not null", ""))
        tx.copy(
            "stratified_sample",
            blank(StratifiedSample, n).with_columns(
                model_version=pl.lit("x"),
                prefix_id=pl.Series(ids),
                user_key=pl.Series(ids),
                stratum=pl.Series(strata),
                weight=pl.Series(weights),
            ),
        )
        tx.copy("classifier_scores", blank(ClassifierScores, len(scores)).with_columns(scores))
    design = design_of(
        file.read(StratifiedSample, columns=["prefix_id", "stratum", "weight", "user_key"]), "x"
    )
    found = compare(
        label_counts(file.query, "x", design),
        design,
        release="x",
        replaces="y",
        undesired=dict.fromkeys(behaviors, "increase"),
        measures="model",
    )
    truth = {
        (b, arm): float((weights * rates[arm][:, i]).sum() / weights.sum())
        for i, b in enumerate(behaviors)
        for arm in ARMS
    }
    inside = [
        row["low"] <= truth[row["behavior"], row["arm"]] <= row["high"] for row in found.to_dicts()
    ]
    assert len(inside) == 90
    assert np.mean(inside) >= 0.9
    candidates = found.filter(arm="candidate").to_dicts()
    assert (
        np.mean(
            [
                r["ratio_low"]
                <= truth[r["behavior"], "candidate"] / truth[r["behavior"], "control"]
                <= r["ratio_high"]
                for r in candidates
            ]
        )
        >= 0.9
    )
    log = pl.DataFrame(
        {"behavior": behaviors, "x": [1e5 * truth[b, "recorded"] for b in behaviors], "n": 1e5}
    ).with_columns(v=pl.col("x"))
    beside = against_production(found, log).filter(arm="candidate").to_dicts()
    assert (
        np.mean(
            [
                r["ratio_to_production_low"]
                <= truth[r["behavior"], "candidate"] / truth[r["behavior"], "recorded"]
                <= r["ratio_to_production_high"]
                for r in beside
            ]
        )
        >= 0.9
    )
    assert found.filter(pl.col("arm") != "candidate")["ratio_to_production"].null_count() == 60


def blank(table: type[StratifiedSample | ClassifierScores], n: int) -> pl.DataFrame:
    return pl.DataFrame(
        {name: pl.Series([None] * n, dtype=dtype) for name, dtype in dtypes(table).items()}
    )
