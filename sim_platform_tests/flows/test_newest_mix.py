"""What the forecast is weighted to, and whether the sample still looks like the newest weeks: a
small sample with known labels, in real tables.
"""

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from scipy import optimize

from sim_platform.contracts.tables.deidentification import DeidentifiedCorpus
from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import dtypes, frame
from sim_platform.flows.forecasting import MadeForecast, earlier_releases, forecast_release
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import sampled_home

Cells = dict[
    tuple[str, str], tuple[int, int, int]
    # surface and language to sampled prefixes, those in the newest weeks, those whose candidate
    # apologised
]
SPARSE: Cells = {
    ("web", "en"): (40, 24, 12),
    ("web", "de"): (25, 6, 2),
    ("app", "en"): (20, 12, 10),
    ("app", "de"): (6, 2, 3),
}
FULL: Cells = {
    ("web", "en"): (40, 24, 12),
    ("web", "de"): (25, 6, 2),
    ("app", "en"): (20, 12, 10),
    ("app", "de"): (20, 8, 3),
}


def forecast_of(
    path: Path,
    cells: Cells,
    newest_text: str = "hello",
    merged: str = "",
    missing: dict[tuple[str, str], int] | None = None,
) -> MadeForecast:
    """Every prefix has weight 1 and a user of its own; `newest_text` is what conversations of the
    newest weeks say; all strata of the surface `merged` are sampled as one; the last `missing`
    prefixes of a cell have no label.
    """
    lost = missing or {}
    units = [
        (
            surface,
            language,
            i < newest,
            i < yes if i < n - lost.get((surface, language), 0) else None,
        )
        for (surface, language), (n, newest, yes) in cells.items()
        for i in range(n)
    ]
    home, warehouse = sampled_home(
        path,
        ["x"],
        provider="recorded",
        plan={"sample_size": len(units), "strata": ["surface", "language"]},
    )
    rows = []
    for i, (surface, language, is_newest, label) in enumerate(units):
        text = newest_text if is_newest else "hello"
        stratum = (
            "merged(of one surface)"
            if surface == merged
            else f"surface={surface}, language={language}"
        )
        same = dict.fromkeys(("prefix_id", "conversation_key", "user_key"), f"p{i:03}")
        rows.append(
            {
                **same,
                "metadata": json.dumps({"surface": surface, "language": language}),
                "stratum": stratum,
                "label": label,
                "turn": 0,
                "turn_key": same["user_key"],
                "week": date(2026, 6, 15) if is_newest else date(2026, 1, 5),
                "messages": json.dumps([{"role": "user", "content": text}] * (1 + i % 3)),
                "n_user_turns": 1 + i % 3,
                "prefix": "[]",
                "recorded_labels": "{}",
                "labels": "{}",
                "turn_keys": "[]",
                "content_key": "c",
                "sample_id": "s",
                "deid_version": "d",
                "inclusion_probability": 1.0,
                "weight": 1.0,
                "behavior": "apologises",
                "arm": "candidate",
                "k": 0,
                "applies": True,
                "is_exploratory": False,
                "grader_hash": "g",
            }
        )
    rates = {
        "replaces": "v1",
        "behavior": "apologises",
        "undesired": "increase",
        "arm": "candidate",
        "measures": "model",
        "estimator_version": "2",
        "n": len(units),
        "n_missing": 0,
        "events": 1,
        "rate": 0.2,
        "model_version": "v2",
        "is_exploratory": False,
    }
    with warehouse.transaction() as tx:
        for table, version in (
            (StratifiedSample, "v2"),
            (ClassifierScores, "v2"),
            (DeidentifiedCorpus, "v1"),
        ):
            data = pl.DataFrame(
                [
                    {name: {**row, "model_version": version}.get(name) for name in dtypes(table)}
                    for row in rows
                ],
                schema=dtypes(table),
            )
            tx.replace(table, data)
        tx.append(
            RateComparison,
            frame(RateComparison, [{name: rates.get(name) for name in dtypes(RateComparison)}]),
        )
    return forecast_release(home, warehouse, "v2")


def m3(made: MadeForecast) -> float:
    return float(made.rows.filter(method="M3")["rate"].item())


def post_stratified(cells: Cells, shares: dict[tuple[str, str], float]) -> float:
    """Half an event added to the effective events: what M3 makes of a mix."""
    rate = sum(shares[cell] * yes / n for cell, (n, _, yes) in cells.items())
    variance = sum((shares[cell] / n) ** 2 * yes for cell, (n, _, yes) in cells.items())
    return (rate**2 / variance + 0.5) / (rate / variance)


def test_where_strata_have_newest_prefixes_enough_the_forecast_is_weighted_to_their_mix(
    tmp_path: Path,
) -> None:
    made = forecast_of(tmp_path, FULL)
    total = sum(newest for _, newest, _ in FULL.values())
    assert made.weighted_to == "the newest mix of the strata"
    assert m3(made) == pytest.approx(
        post_stratified(FULL, {cell: newest / total for cell, (_, newest, _) in FULL.items()})
    )
    assert 0 < made.kept < 1


def test_where_a_stratum_has_a_handful_the_forecast_is_raked_to_the_mix_of_each_variable(
    tmp_path: Path,
) -> None:
    """Two by two: raking keeps the odds ratio of the sample and takes the newest margins, which
    leaves one table.
    """
    made = forecast_of(tmp_path, SPARSE)
    total = sum(newest for _, newest, _ in SPARSE.values())
    web, english = (
        sum(newest for cell, (_, newest, _) in SPARSE.items() if level in cell) / total
        for level in ("web", "en")
    )
    odds = 40 * 6 / (25 * 20)
    both = optimize.brentq(
        lambda t: t * (1 - web - english + t) - odds * (web - t) * (english - t),
        max(0, web + english - 1),
        min(web, english),
        xtol=1e-15,
    )
    raked = {
        ("web", "en"): both,
        ("web", "de"): web - both,
        ("app", "en"): english - both,
        ("app", "de"): 1 - web - english + both,
    }
    assert made.weighted_to == "the newest mix of each variable of the strata (raked)"
    assert m3(made) == pytest.approx(post_stratified(SPARSE, raked), rel=1e-9)


def test_strata_that_were_sampled_as_one_are_a_level_of_their_own(tmp_path: Path) -> None:
    """With the merged stratum as a level of both variables the margins determine the whole mix."""
    made = forecast_of(tmp_path, {**SPARSE, ("web", "de"): (6, 2, 2)}, merged="app")
    strata: Cells = {
        ("web", "en"): (40, 24, 12),
        ("web", "de"): (6, 2, 2),
        ("app", ""): (26, 14, 13),
    }
    assert made.weighted_to.endswith("(raked)")
    assert m3(made) == pytest.approx(
        post_stratified(strata, {cell: newest / 40 for cell, (_, newest, _) in strata.items()})
    )


def test_with_too_few_newest_prefixes_the_forecast_keeps_the_mix_of_the_window(
    tmp_path: Path,
) -> None:
    made = forecast_of(
        tmp_path, {cell: (n, newest // 4, yes) for cell, (n, newest, yes) in FULL.items()}
    )
    assert made.weighted_to.startswith("the whole window: fewer than 30")
    assert (m3(made), made.kept) == (
        pytest.approx(float(made.rows.filter(method="M2")["rate"].item())),
        pytest.approx(1),
    )


def test_the_weight_of_missing_outcomes_stays_in_their_stratum_in_every_method(
    tmp_path: Path,
) -> None:
    """A third of the stratum in which most apologise failed: its rate counts for all of it."""
    lost = {("app", "en"): 7}
    labelled: Cells = {
        cell: (n - lost.get(cell, 0), newest, yes) for cell, (n, newest, yes) in FULL.items()
    }
    for name, cells, place in (
        ("M2", {cell: (n, newest // 4, yes) for cell, (n, newest, yes) in FULL.items()}, 0),
        ("M3", FULL, 1),
    ):
        made = forecast_of(tmp_path / name, cells, missing=lost).rows
        whole = sum(cell[place] for cell in FULL.values())
        shares = {cell: counts[place] / whole for cell, counts in FULL.items()}
        assert made.filter(method=name)["rate"].item() == pytest.approx(
            post_stratified(labelled, shares)
        )


def test_earlier_releases_are_one_of_each_other_version_that_was_in_service(
    tmp_path: Path,
) -> None:
    """Two candidates for v1 share the control arm's answers, and so does the release itself."""
    warehouse = DuckDBFile(tmp_path / "w.duckdb")
    blank = dict.fromkeys(dtypes(RateComparison))
    given = {"undesired": "increase", "measures": "model", "estimator_version": "2"}
    counts = {"n": 1, "n_missing": 0, "events": 0}
    rows = [
        {
            **blank,
            **given,
            **counts,
            "model_version": release,
            "replaces": replaced,
            "behavior": behavior,
            "arm": arm,
            "rate": rate,
            "n_effective": 100.0,
        }
        for release, replaced, rate in (
            ("v1", "v0", 0.1),
            ("v2", "v1", 0.2),
            ("v3", "v1", 0.3),
            ("v4", "v3", 0.4),
        )
        for behavior, arm in (("lies", "recorded"), ("lies", "control"), ("begs", "recorded"))
    ]
    with warehouse.transaction() as tx:
        tx.append(RateComparison, frame(RateComparison, rows))
    found = earlier_releases(warehouse, "v3", ["begs", "lies"])
    assert [[(c.x.tolist(), c.e.tolist()) for c in pair] for pair in found] == [
        [([0.0, pytest.approx(x)], [0.5, 100.0])] * 2 for x in (10, 30)
    ]
    assert earlier_releases(warehouse, "v3", ["begs"]) == []
    assert earlier_releases(DuckDBFile(tmp_path / "none.duckdb"), "v3", ["lies"]) == []


def test_without_production_and_control_there_is_a_forecast_and_no_baseline(tmp_path: Path) -> None:
    made = forecast_of(tmp_path, FULL).rows
    assert made["method"].to_list() == ["M0", "M2", "M3", "M7"]
    assert made.filter(method="M7")["direction"].to_list() == ["no call"]


def test_the_drift_of_a_release_names_the_stratum_that_moved_and_sees_longer_messages(
    tmp_path: Path,
) -> None:
    calm: Cells = {cell: (n, n // 2, yes) for cell, (n, _, yes) in FULL.items()}
    same, moved, longer = (
        forecast_of(tmp_path / name, cells, text).moved
        for name, cells, text in (
            ("same", calm, "hello"),
            ("moved", {**calm, ("web", "en"): (40, 39, 12)}, "hello"),
            ("longer", calm, "hello " * 40),
        )
    )
    assert same is not None
    assert moved is not None
    assert longer is not None
    assert not same.warns
    assert moved.warns
    assert moved.most_moved == "surface=web, language=en"
    assert longer.warns
    assert longer.total_variation < 0.05
    assert longer.p_features < 0.01
