"""The published drift of GPT-4 comes back from the public data, through the real command line.

All prompts go through a policy of rules, which takes seconds; the first prompts of each data set
also go through the shipped policy. All of them under the shipped policy (5,512 conversations,
minutes) give the same rates: docs/method.md.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
import yaml

from sim_platform.contracts.tables.deidentification import DeidentificationEffect
from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.forecasting.forecast import PRIOR_TAU, Counts, calibrated, persistence
from sim_platform.forecasting.scorecard import multiplicative_error
from sim_platform.orchestration.build import build_definitions
from sim_platform.orchestration.partitions import register
from sim_platform.sampling import unit_interval
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import without_models

ROOT = Path(__file__).resolve().parents[2]
EXACT = {
    "sensitive_question_answered": (0.21, 0.05),
    "jailbreak_answered": (0.78, 0.31),
    "code_directly_usable": (0.52, 0.10),
}
OUR_RULE = {"survey_answered_with_option": (0.979, 0.233), "prime_question_right": (0.84, 0.50)}
LABELS = {  # where the data carries the label: file and column
    "sensitive_question_answered": ("SENSITIVEQ_EVAL.csv", "Response Rate"),
    "jailbreak_answered": ("SENSITIVEQ_AIMATTACK_EVAL.csv", "Answer Rate"),
    "code_directly_usable": ("LEETCODE_EASY_EVAL.csv", "Directly Usable"),
}
PROMPTS = 15  # of each data set, under the shipped policy
SALTS = 10


def sim_platform(home: Path, *arguments: str) -> str:
    environment = {**os.environ, "SIM_PLATFORM_HOME": str(home)}
    environment.pop("DAGSTER_HOME", None)
    done = subprocess.run(
        [sys.executable, "-m", "sim_platform.commands.main", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def rates(home: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (row["behavior"], row["arm"]): row
        for row in json.loads(sim_platform(home, "rates", "gpt-4-0613", "--json"))
    }


def draw_and_compare(home: Path, sample_size: int) -> None:
    """The release's assets from registration to rates, in this process: the whole run took
    its time once.
    """
    definitions = build_definitions(home=home)
    size = {"sample_size": sample_size, "redraw": True}
    keys = [
        "preregistration",
        "stratified_sample",
        "candidate_completions",
        "classifier_scores",
        "rate_comparison",
    ]
    with dg.DagsterInstance.ephemeral(tempdir=str(home / "dagster_home")) as instance:
        register(instance, ("gpt-4-0613",))
        done = dg.materialize(
            definitions.assets or [],
            selection=keys,
            partition_key="gpt-4-0613",
            instance=instance,
            resources=definitions.resources,
            run_config={
                "ops": {"stratified_sample": {"config": size}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
        )
    assert done.success


def example(home: Path, data: Path) -> Path:
    shutil.copytree(
        ROOT / "examples" / "llmdrift",
        home,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("*.duckdb*", "dagster_home", "journal"),
    )
    sources = yaml.safe_load((home / "sources.yaml").read_text())
    for source in sources["sources"]:
        source["path"] = str(data / Path(source["path"]).name)
    (home / "sources.yaml").write_text(yaml.safe_dump(sources))
    return home


@pytest.fixture(scope="module")
def home(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's configuration, reading the data where it lies, run over everything."""
    home = without_models(example(tmp_path_factory.mktemp("llmdrift"), real_data / "llmdrift"))
    sim_platform(home, "run", "gpt-4-0613", "--sample-size", "100000")
    labels = DuckDBFile(home / "warehouse.duckdb").query(
        """select s.behavior, s.prefix_id,
               bool_or(s.label) filter (s.arm = 'candidate') as after,
               bool_or(s.label) filter (s.arm = 'recorded') as before
           from classifier_scores s where s.applies and s.label is not null group by all"""
    )
    labels.write_parquet(home / "labels_of_all_prompts.parquet")  # later tests draw smaller samples
    return home


@pytest.fixture(scope="module")
def everything(home: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return rates(home)


@pytest.mark.e2e
@pytest.mark.model
def test_under_the_shipped_policy_published_labels_come_back_and_no_grade_changes(
    real_data: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "data"
    cut.mkdir()
    published: dict[str, list[float]] = {}
    for file in sorted((real_data / "llmdrift").glob("*.csv")):
        rows = pl.read_csv(file, infer_schema=False)
        rows = rows.filter(
            pl.col("id").is_in(rows["id"].unique(maintain_order=True).head(PROMPTS).implode())
        )
        rows.write_csv(cut / file.name)
        for behavior, (name, label) in LABELS.items():
            if file.name == name:
                published[behavior] = [
                    rows.filter(pl.col("model") == f"openaichat/{version}")[label]
                    .cast(pl.Float64)
                    .mean()
                    for version in ("gpt-4-0314", "gpt-4-0613")
                ]  # type: ignore[misc]  # a mean of numbers
    home = example(tmp_path / "home", cut)
    sim_platform(home, "run", "gpt-4-0613", "--sample-size", "100000")
    found = rates(home)
    for behavior, both in published.items():
        assert [found[behavior, arm]["rate"] for arm in ("recorded", "candidate")] == pytest.approx(
            both
        ), behavior
    effect = DuckDBFile(home / "warehouse.duckdb").read(DeidentificationEffect)
    assert dict(effect.select("behavior", "n").iter_rows()) == dict.fromkeys(
        [*EXACT, *OUR_RULE], PROMPTS
    )
    assert effect.select("n_appeared", "n_vanished").sum().row(0) == (0, 0)


@pytest.mark.e2e
@pytest.mark.parametrize("behavior", [*EXACT, *OUR_RULE])
def test_the_published_shift_comes_back(
    everything: dict[tuple[str, str], dict[str, Any]], behavior: str
) -> None:
    tolerance = 1e-9 if behavior in EXACT else 0.02
    march, june = (EXACT | OUR_RULE)[behavior]
    assert everything[behavior, "recorded"]["rate"] == pytest.approx(march, abs=tolerance)
    assert everything[behavior, "candidate"]["rate"] == pytest.approx(june, abs=tolerance)
    assert everything[behavior, "candidate"]["n_missing"] == 0


@pytest.mark.e2e
def test_intervals_from_thirty_percent_of_the_prompts_hold_the_full_rates_for_nine_of_ten_salts(
    home: Path, everything: dict[tuple[str, str], dict[str, Any]]
) -> None:
    models = yaml.safe_load((home / "models.yaml").read_text())
    held = dict.fromkeys(everything, 0)
    for salt in range(SALTS):
        models["models"][1]["plan"]["salt"] = f"salt-{salt}"
        (home / "models.yaml").write_text(yaml.safe_dump(models))
        draw_and_compare(home, math.ceil(0.3 * 2756))
        for row in DuckDBFile(home / "warehouse.duckdb").read(RateComparison).to_dicts():
            key = (row["behavior"], row["arm"])
            held[key] += row["low"] <= everything[key]["rate"] <= row["high"]
    assert min(held.values()) >= 9, held


@pytest.mark.e2e
def test_a_forecast_from_thirty_percent_of_the_prompts_beats_persistence_on_the_rest(
    home: Path,
) -> None:
    """30 % of the prompts are the simulation, the other 70 % the candidate's "production". No past
    release, so the interval is at its widest.

    Two hundred salts: prompts have other keys in every home, and the median over ten salts moves by
    .03 from home to home.
    """
    labels = pl.read_parquet(home / "labels_of_all_prompts.parquet")
    inside, errors, errors_if_nothing_changed = [], [], []
    for salt in range(20 * SALTS):
        simulated = labels["prefix_id"].map_elements(
            lambda key, salt=salt: unit_interval(f"salt-{salt}", key) < 0.3, return_dtype=pl.Boolean
        )
        first, rest = (
            part.group_by("behavior")
            .agg(pl.col("before", "after").sum(), n=pl.len())
            .sort("behavior")
            for part in (labels.filter(simulated), labels.filter(~simulated))
        )
        production = Counts(
            first["before"].to_numpy().astype(float), first["n"].to_numpy().astype(float)
        )
        # recorded answers on both sides: no simulator between them
        made = calibrated(
            Counts(first["after"].to_numpy().astype(float), production.e), production, production
        )
        observed = (rest["after"] / rest["n"]).to_numpy()
        low, high = made.interval(rest["n"].to_numpy().astype(float), PRIOR_TAU)
        inside.append((low <= observed) & (observed <= high))
        errors.append(multiplicative_error(made.rate, observed))
        errors_if_nothing_changed.append(
            multiplicative_error(persistence(production).rate, observed)
        )
    assert np.mean(inside) >= 0.9
    assert np.median(errors) < 1.25
    assert np.median(errors) < 0.5 * np.median(errors_if_nothing_changed)
