import polars as pl
import pytest

from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.estimation.resemblance import in_words, unlike_the_log
from sim_platform_tests.estimation.test_comparison import counted, design, scores, yes


def rates(control: list[int], recorded: list[int], n: int = 200) -> pl.DataFrame:
    """Behaviours b0, b1, ... with these numbers of events in both arms."""
    found = pl.concat(
        scores({"candidate": [yes(0, n)], "control": [yes(a, n)], "recorded": [yes(b, n)]}, f"b{i}")
        for i, (a, b) in enumerate(zip(control, recorded, strict=True))
    )
    return counted(found, design("a" * n), {f"b{i}": "increase" for i in range(len(control))})


def test_a_behaviour_that_only_the_log_shows_is_named_with_both_rates() -> None:
    found = unlike_the_log(rates([0, 12], [75, 12]))
    assert found.rows() == [("b0", 0.0, pytest.approx(0.375))]
    said = in_words(found)
    assert said
    assert "does not resemble its log (b0 0 per 100k regenerated, 37,500 in the log)" in said


@pytest.mark.parametrize(
    ("control", "recorded"),
    [([12], [12]), ([14], [12]), ([0], [3]), ([180], [199])],
    ids=["equal", "chance", "few", "sure but within a fifth"],
)
def test_chance_and_small_differences_are_no_finding(
    control: list[int], recorded: list[int]
) -> None:
    found = unlike_the_log(rates(control, recorded))
    assert found.is_empty()
    assert in_words(found) is None


def test_many_findings_are_counted_and_three_are_named() -> None:
    said = in_words(unlike_the_log(rates([0] * 5, [75] * 5)))
    assert said
    assert "and 2 more" in said
    assert said.count("per 100k regenerated") == 3


@pytest.mark.parametrize("arm", ["control", "recorded"])
def test_without_one_of_the_arms_there_is_nothing_to_find(arm: str) -> None:
    assert unlike_the_log(rates([0], [75]).filter(pl.col("arm") != arm)).is_empty()
    old = rates([0], [75]).with_columns(
        pl.lit(None, pl.Float64).alias(name)
        for name in RateComparison.to_schema().columns
        if name in ("p_recorded_holm", "ratio_to_recorded_low", "ratio_to_recorded_high")
    )
    assert unlike_the_log(old).is_empty()  # a home of before has them on no control row
