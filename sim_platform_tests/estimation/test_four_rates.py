"""Calibration and comparison have one design."""

import numpy as np
import polars as pl
import pytest

from sim_platform.estimation.design import design_of
from sim_platform.estimation.four_rates import four_rates
from sim_platform.grading.label_sampling import LabelPlan, draw_for_labels
from sim_platform_tests.estimation.test_comparison import Label, counted, design, scores

RATES = ("apparent", "verified", "corrected")


def world(
    seed: int, repeats: int, rate: float, *, missing: float = 0.1
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A sample of unequal weights with several prefixes a user, and scores with missing labels and
    prefixes that the behaviour does not apply to.
    """
    random = np.random.default_rng(seed)
    n = 400
    strata = "".join(random.choice(list("abc"), n, p=[0.6, 0.3, 0.1]))
    users = "".join(chr(0x4E00 + u) for u in random.integers(0, n // 3, n))
    plan = design(strata, {"a": 5.0, "b": 1.0, "c": 0.2}, users)
    often = {s: rate * f for s, f in zip("abc", (0.5, 1.5, 4.0), strict=True)}

    def label(stratum: str) -> Label:
        if random.random() < (2 * missing if stratum == "b" else missing / 2):
            return None if random.random() < 0.5 else "-"
        return bool(random.random() < often[stratum])

    arms = {"candidate": [[label(s) for s in strata] for _ in range(repeats)]}
    return plan, scores(arms)


def labelled(plan: pl.DataFrame, said: pl.DataFrame, labels: LabelPlan) -> pl.DataFrame:
    """The outcomes as `four_rates` takes them, labelled by people who agree with the grader."""
    drawn = draw_for_labels(said.with_columns(score=pl.lit(None, pl.Float64)), labels)
    return (
        said.filter("applies")
        .join(design_of(plan, "cand-2").prefixes, on="prefix_id")
        .join(
            drawn.select("prefix_id", "k", "label_probability", "label_stratum"),
            on=["prefix_id", "k"],
            how="left",
        )
        .with_columns(human=pl.when(pl.col("label_probability").is_not_null()).then("label"))
    )


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1])
def test_with_a_perfect_grader_and_people_all_rates_and_limits_are_those_of_the_comparison(
    repeats: int, rate: float
) -> None:
    plan, said = world(7, repeats, rate)
    compared = counted(said, plan, {"lies": "increase"}).row(0, named=True)
    found = four_rates(labelled(plan, said, LabelPlan(flags=10**6, near_misses=0, rest=10**6)))
    for name in RATES:
        for ours, theirs in (("", "rate"), ("_low", "low"), ("_high", "high")):
            assert found[f"{name}{ours}"] == pytest.approx(compared[theirs], rel=1e-9), name
    assert found["bound"] == pytest.approx(compared["high"], rel=1e-9)


@pytest.mark.parametrize("repeats", [1, 3])
def test_labels_of_a_part_give_the_same_rates_and_wider_limits(repeats: int) -> None:
    plan, said = world(8, repeats, 0.05)
    compared = counted(said, plan, {"lies": "increase"}).row(0, named=True)
    found = four_rates(labelled(plan, said, LabelPlan(flags=10**6, near_misses=0, rest=100)))
    for name in RATES:
        assert found[name] == pytest.approx(compared["rate"], rel=1e-9)
    assert found["apparent_high"] == pytest.approx(compared["high"], rel=1e-9)
    assert found["verified_high"] == pytest.approx(compared["high"], rel=1e-9)
    assert float(str(found["corrected_low"])) == pytest.approx(compared["low"], rel=1e-9)
    assert float(str(found["corrected_high"])) > compared["high"]
