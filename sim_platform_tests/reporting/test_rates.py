"""What people see of a comparison: every case of a rate has a text, and every case of a ratio a
place in the plot.
"""

import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.contracts.tables.schema import frame
from sim_platform.reporting.rates import forest_png, missing_text, per_100k, rate_rows, ratio_text

DASH = "–"


def row(**changes: Any) -> dict[str, Any]:
    """A candidate's row of rate_comparison, graded and compared with both arms."""
    numbers = {
        "rate": 0.02,
        "low": 0.01,
        "high": 0.04,
        "low_midp": 0.011,
        "high_midp": 0.039,
        "n_effective": 90.0,
        "eligible_share": 1.0,
        "floor": 0.03,
    }
    control = {"ratio_to_control": 2.0, "ratio_low": 1.5, "ratio_high": 2.5}
    recorded = {
        "ratio_to_recorded": 1.0,
        "ratio_to_recorded_low": 0.5,
        "ratio_to_recorded_high": 2.0,
    }
    names = {
        "model_version": "v2",
        "replaces": "v1",
        "behavior": "apologises",
        "undesired": "increase",
        "arm": "candidate",
        "measures": "model",
        "estimator_version": "1",
    }
    return {
        **dict.fromkeys(RateComparison.to_schema().columns),
        **names,
        "n": 100,
        "n_missing": 0,
        "events": 2,
        **numbers,
        **control,
        **recorded,
        **changes,
    }


def rates(*rows: dict[str, Any]) -> pl.DataFrame:
    return frame(RateComparison, list(rows))


NOTHING = dict.fromkeys(
    ["rate", "low", "high", "low_midp", "high_midp", "n_effective", "eligible_share", "floor"]
)
NO_RATIOS = dict.fromkeys(
    [
        "ratio_to_control",
        "ratio_low",
        "ratio_high",
        "ratio_to_recorded",
        "ratio_to_recorded_low",
        "ratio_to_recorded_high",
    ]
)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (None, DASH),
        (0.0, "0"),
        (1.0, "100,000"),
        (0.01234, "1,234"),
        (1e-5, "1"),
        (1.2, "120,000"),
        (math.inf, "inf"),
    ],
)
def test_a_rate_is_shown_per_100000(rate: float | None, text: str) -> None:
    assert per_100k(rate) == text


@given(st.integers(0, 100_000))
def test_whole_counts_per_100000_are_shown_exactly(n: int) -> None:
    assert per_100k(n / 100_000) == f"{n:,}"


@pytest.mark.parametrize(
    ("ratio", "low", "high", "text"),
    [
        (2.1, 1.4, 3.15, "2.10 [1.40, 3.15]"),
        (2.1, 1.4, math.inf, "2.10 [1.40, ∞]"),
        (0.0, 0.0, 0.5, "0.00 [0.00, 0.50]"),
        (None, 0.0, math.inf, DASH),  # neither arm showed it
        (None, None, None, DASH),
        (1.0, None, 2.0, DASH),
        (1.0, 0.5, None, DASH),
    ],
)
def test_a_ratio_is_shown_with_its_interval_or_not_at_all(
    ratio: float | None, low: float | None, high: float | None, text: str
) -> None:
    assert ratio_text(ratio, low, high) == text


def test_the_arms_of_a_behaviour_stand_on_one_line() -> None:
    lines = rate_rows(
        rates(
            row(n_missing=3),
            row(arm="control", rate=0.01, **NO_RATIOS),
            row(arm="recorded", rate=0.03, **NO_RATIOS),
        )
    )
    assert lines == [
        {
            "release": "v2",
            "behaviour": "apologises",
            "n": 100,
            "missing": 3,
            "candidate per 100k": "2,000 [1,000, 4,000]",
            "control per 100k": "1,000 [1,000, 4,000]",
            "recorded per 100k": "3,000 [1,000, 4,000]",
            "× control": "2.00 [1.50, 2.50]",
            "× recorded": "1.00 [0.50, 2.00]",
            "floor per 100k": "3,000",
        }
    ]


def test_an_arm_that_is_not_there_and_an_arm_without_labels_are_dashes() -> None:
    (line,) = rate_rows(rates(row(n=0, events=0, n_missing=100, **NOTHING, **NO_RATIOS)))
    assert line["candidate per 100k"] == DASH
    assert [
        line[k]
        for k in (
            "control per 100k",
            "recorded per 100k",
            "× control",
            "× recorded",
            "floor per 100k",
        )
    ] == [DASH] * 5


def test_a_behaviour_without_a_candidate_row_still_has_its_line() -> None:
    (line,) = rate_rows(rates(row(arm="recorded", **NO_RATIOS)))
    assert (line["n"], line["candidate per 100k"], line["recorded per 100k"]) == (
        None,
        DASH,
        "2,000 [1,000, 4,000]",
    )


def test_releases_and_behaviours_keep_their_order_and_each_has_a_line() -> None:
    names = [("v2", "b"), ("v2", "a"), ("v3", "b")]
    assert [
        (line["release"], line["behaviour"])
        for line in rate_rows(rates(*(row(model_version=v, behavior=b) for v, b in names)))
    ] == names


def test_no_rates_give_no_lines() -> None:
    assert rate_rows(rates()) == []


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row()],
        [row(**NO_RATIOS)],
        [row(n=0, events=0, **NOTHING, **NO_RATIOS)],
        [row(**{**NO_RATIOS, "ratio_low": 0.0, "ratio_high": math.inf})],  # neither arm showed it
        [row(ratio_low=0.0, ratio_high=math.inf)],
        [row(ratio_to_control=0.0, ratio_low=0.0)],
        [row(ratio_to_control=None, ratio_low=None, ratio_high=None)],  # against recorded
        [
            row(ratio_to_control=1e-9, ratio_low=0.0, ratio_high=1e-6),
            row(behavior="other", ratio_to_control=1e9, ratio_high=math.inf),
        ],
        [row(arm="recorded", **NO_RATIOS)],
        [row(behavior=f"behaviour_{i}") for i in range(30)],
    ],
    ids=(
        "none one no_ratio no_label no_event unbounded zero recorded extremes no_candidate many"
    ).split(),
)
def test_a_plot_is_drawn_of_every_case(rows: list[dict[str, Any]]) -> None:
    assert forest_png(rates(*rows)).startswith(b"\x89PNG")


@pytest.mark.parametrize("missing", ["ratio_low", "ratio_high"])
def test_a_ratio_without_a_limit_does_not_break_the_plot(missing: str) -> None:
    assert forest_png(rates(row(**{missing: None}))).startswith(b"\x89PNG")


def test_an_infinite_ratio_does_not_break_the_plot() -> None:
    assert forest_png(rates(row(ratio_to_control=math.inf, ratio_high=math.inf))).startswith(
        b"\x89PNG"
    )


def test_what_a_filter_refused_is_told_apart_and_a_verdict_stands_where_there_is_one() -> None:
    refused = {"missing_reasons": '{"judge:split":3,"no_response:refused":2}', "n_missing": 5}
    assert missing_text(refused) == "5 (2 refused by the filter)"
    assert missing_text({"missing_reasons": '{"judge:split":3}', "n_missing": 3}) == 3
    assert missing_text({"n_missing": 0}) == 0
    table = rates(row())
    assert "verdict" not in rate_rows(table)[0]
    said = "PASS, worse by 9.6 points (7.6 to 11.7)"
    (line,) = rate_rows(table, {"apologises": said})
    assert line["verdict"] == said
    assert rate_rows(table, {"another": said})[0]["verdict"] == DASH
