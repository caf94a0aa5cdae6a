"""Rate comparison at scale: seconds and memory for a release's stored scores, against counting them
in a data frame in memory.

The scores are synthetic (three arms, log-spaced rates, one label in a thousand missing), written to
a DuckDB file as the platform writes them. Both ways end in the same estimators; what differs is who
counts 2 cores' worth of rows: DuckDB one behaviour at a time, or polars with everything loaded.

    python -m benchmarks.comparison --prefixes 1300000 --behaviors 20 --no-baseline
    python -m benchmarks.comparison --json
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl

from sim_platform.contracts.outcomes import ARMS
from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.estimation.comparison import compare
from sim_platform.estimation.design import LabelCounts, design_of, label_counts
from sim_platform.warehouse.duckdb_file import DuckDBFile, ddl

RELEASE = "candidate"


def write_scores(path: Path, prefixes: int, behaviors: int) -> None:
    """A warehouse with one release's sample and scores; pages of 5,000 prefixes, as the grading
    asset writes them.
    """
    with duckdb.connect(str(path)) as c:
        c.execute("set threads = 2; set preserve_insertion_order = false")
        c.execute(ddl(StratifiedSample).replace(" not null", ""))
        c.execute(ddl(ClassifierScores))
        c.execute(
            """insert into stratified_sample by name
               select $release as model_version, substr(sha256(i::varchar), 1, 32) as prefix_id,
                   's' || (i % 24) as stratum, 1 + (i % 24) as weight,
                   'u' || (i % ($n * 9 // 10)) as user_key
               from range($n) t(i)""",
            {"release": RELEASE, "n": prefixes},
        )
        c.execute(
            """insert into classifier_scores by name
               select $release as model_version, 'behavior_' || b as behavior, arm,
                   substr(sha256(i::varchar), 1, 32) as prefix_id, 0 as k, true as applies,
                   case when hash(i, b, arm) % 1000 = 0 then null
                       else hash(i, b, arm, 7) % 1000000 < 10 * pow(1.6, b) end as label,
                   case when hash(i, b, arm) % 1000 = 0 then 'grader_error' end as missing_reason,
                   'h' as grader_hash, false as is_exploratory
               from range($n) t(i), range($b) u(b),
                   (values ('candidate'), ('control'), ('recorded')) v(arm)
               order by i // 5000, b, arm, prefix_id""",
            {"release": RELEASE, "n": prefixes, "b": behaviors},
        )


def in_duckdb(path: Path) -> pl.DataFrame:
    """The platform's way: the same calls as the asset."""
    warehouse = DuckDBFile(path)
    design = design_of(
        warehouse.read(
            StratifiedSample,
            {"model_version": RELEASE},
            columns=["prefix_id", "stratum", "weight", "user_key"],
        ),
        RELEASE,
    )
    undesired = {f"behavior_{i}": "increase" for i in range(100)}
    return compare(
        label_counts(warehouse.query, RELEASE, design),
        design,
        release=RELEASE,
        replaces="prior",
        undesired=undesired,
        measures="model",
    )


def in_memory(path: Path) -> pl.DataFrame:
    """What a person writes in a notebook: load the table, group by prefix."""
    warehouse = DuckDBFile(path)
    sample, scores = (
        warehouse.read(StratifiedSample, columns=["prefix_id", "stratum", "weight", "user_key"]),
        warehouse.read(ClassifierScores),
    )
    design = design_of(sample, RELEASE)

    def of(arm: str) -> list[pl.Expr]:
        mine = pl.col("arm") == arm
        applies, label = pl.col("applies"), pl.col("label")
        return [
            mine.sum().alias(f"{arm}_rows"),
            (mine & applies).any().alias(f"{arm}_applies"),
            (mine & applies & label.is_not_null()).sum().alias(f"{arm}_n"),
            (mine & applies & label.is_null()).sum().alias(f"{arm}_missing"),
            (mine & applies & label).sum().alias(f"{arm}_events"),
            pl.lit(False).alias(f"{arm}_repeated"),
        ]

    wide = (
        scores.group_by("behavior", "prefix_id")
        .agg(*(e for arm in ARMS for e in of(arm)))
        .join(design.prefixes, on="prefix_id")
        .with_columns(prefixes=pl.lit(1))
    )
    parts = wide.drop("cluster").partition_by("behavior", as_dict=True)
    counted = [LabelCounts(str(name), part) for (name,), part in sorted(parts.items())]
    return compare(
        counted,
        design,
        release=RELEASE,
        replaces="prior",
        undesired={item.behavior: "increase" for item in counted},
        measures="model",
    )


def measured(way: Callable[[Path], pl.DataFrame], path: Path) -> dict[str, float]:
    """Seconds and peak MB of one way in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (way, path))


def _measure(way: Callable[[Path], pl.DataFrame], path: Path) -> dict[str, float]:
    started = time.perf_counter()
    rows = len(way(path))
    # Not getrusage: a new process inherits its parent's peak there.
    peak = next(
        int(line.split()[1])
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return {
        "rows": rows,
        "seconds": round(time.perf_counter() - started, 2),
        "peak_mb": peak // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prefixes", type=int, default=50_000)
    parser.add_argument("--behaviors", type=int, default=20)
    parser.add_argument(
        "--no-baseline",
        action="store_true",
        help="leave the in-memory way out; at 1.3 million prefixes it needs tens of GB",
    )
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "warehouse.duckdb"
        write_scores(path, asked.prefixes, asked.behaviors)
        found: dict[str, object] = {
            "scores": asked.prefixes * asked.behaviors * len(ARMS),
            "platform": (platform := measured(in_duckdb, path)),
        }
        if not asked.no_baseline:
            baseline = measured(in_memory, path)
            found |= {
                "in_memory": baseline,
                "times_faster": round(baseline["seconds"] / platform["seconds"], 2),
                "times_less_memory": round(baseline["peak_mb"] / platform["peak_mb"], 2),
            }
    print(json.dumps(found, indent=None if asked.json else 2))


if __name__ == "__main__":
    main()
