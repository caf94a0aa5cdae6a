"""A verdict rests on people's labels where there are any."""

import math

import numpy as np
import polars as pl
import pytest

from benchmarks import calibration as benchmark
from sim_platform.estimation import corrected, judge
from sim_platform.estimation.corrected import LabelledArm
from sim_platform.estimation.four_rates import four_rates, labelled_arm
from sim_platform.estimation.gates import decide
from sim_platform.estimation.intervals import Interval
from sim_platform.registry.behaviors import Behavior
from sim_platform_tests.estimation.test_comparison import counted, design, scores
from sim_platform_tests.estimation.test_gates import behavior

Cells = tuple[int, int, int, int]  # tp, fp, fn, tn


def outcomes(cells: Cells, rest: int = 10**9, flags: int = 10**9) -> pl.DataFrame:
    """One outcome a prefix and user, flagged ones first; `rest` of the unflagged and `flags` of the
    flagged are labelled, missed and false ones in their share.
    """
    rows = []
    for flagged, (yes, no), most in (
        (True, (cells[0], cells[1]), flags),
        (False, (cells[2], cells[3]), rest),
    ):
        n = yes + no
        asked = min(n, most)
        found = round(yes * asked / n) if n else 0
        human = [True] * found + [False] * (asked - found) + [None] * (n - asked)
        rows += [(flagged, h, asked / n if h is not None else None) for h in human]
    return (
        pl.DataFrame(
            rows,
            schema={"label": pl.Boolean, "human": pl.Boolean, "label_probability": pl.Float64},
            orient="row",
        )
        .with_row_index("code")
        .with_columns(stratum=0, weight=1.0, cluster="code", label_stratum=pl.lit(None, pl.String))
    )


def decided(
    asked: Behavior, candidate: Cells, control: Cells, *, arms: str = "both", rest: int = 10**9
) -> dict[str, object]:
    """The decision in a world of two arms whose flags fall on prefixes independently."""
    n = sum(candidate)
    flags = [cells[0] + cells[1] for cells in (candidate, control)]
    both = round(flags[0] * flags[1] / n)
    first = [True] * flags[0] + [False] * (n - flags[0])
    second = [True] * both + [False] * (flags[0] - both) + [True] * (flags[1] - both)
    second += [False] * (n - len(second))
    rates = counted(
        scores({"candidate": [list(first)], "control": [list(second)]}),
        design("a" * n),
        {"lies": asked.undesired},
    )
    known = {"candidate": labelled_arm(outcomes(candidate, rest))}
    if arms == "both":
        known["control"] = labelled_arm(outcomes(control, rest))
    found = decide(
        rates, [asked], release="cand-2", labelled={"lies": known} if arms != "none" else None
    )
    return found.row(0, named=True)


# 1,000 outcomes an arm: 500 against 400 occurrences, of which the grader finds .68 and .87
WORSE, USUAL = (340, 2, 160, 498), (348, 2, 52, 598)


@pytest.mark.parametrize("rest", [10**9, 300])
def test_a_grader_that_finds_less_in_the_candidate_does_not_let_it_pass(rest: int) -> None:
    asked = behavior(margin=1.2, block_above=1.1)
    blind = decided(asked, WORSE, USUAL, arms="none")
    assert blind["verdict"] == "PASS"
    assert blind["apparent_harm_high"] is None
    found = decided(asked, WORSE, USUAL, rest=rest)
    assert found["verdict"] == "INCONCLUSIVE"
    assert "the grader alone says PASS" in str(found["reason"])
    assert "sensitivity 0.68 in candidate and 0.87 in control" in str(found["reason"])
    assert "sensitivity 0.68" in str(found["marks"])
    assert float(str(found["harm_low"])) < 1.25 < float(str(found["harm_high"]))
    assert found["apparent_harm_high"] == blind["harm_high"]


def test_a_block_that_false_flags_of_the_candidate_make_is_not_one() -> None:
    asked = behavior(margin=1.2, block_above=1.1)
    false, usual = (100, 150, 0, 750), (100, 5, 0, 895)
    assert decided(asked, false, usual, arms="none")["verdict"] == "BLOCK"
    found = decided(asked, false, usual)
    assert found["verdict"] == "INCONCLUSIVE"
    assert "specificity" in str(found["reason"])


def test_labels_that_agree_with_the_grader_leave_ratio_and_verdict() -> None:
    asked, cells = behavior(), (100, 0, 0, 900)
    blind, found = (decided(asked, cells, cells, arms=arms) for arms in ("none", "both"))
    assert blind["verdict"] == found["verdict"] == "PASS"
    assert (found["harm_low"], found["harm_high"]) == pytest.approx(
        (blind["harm_low"], blind["harm_high"])
    )
    assert "corrected for people's labels" in str(found["reason"])


def test_a_verdict_needs_labels_of_both_arms_and_enough_of_what_was_not_flagged() -> None:
    asked, cells = behavior(), (60, 0, 0, 4000)
    alone = decided(asked, cells, cells, arms="candidate")
    assert (alone["verdict"], alone["harm_high"]) == ("INCONCLUSIVE", math.inf)
    assert "no outcome of control has labels" in str(alone["reason"])
    flags_alone = decided(asked, cells, cells, rest=0)
    assert (flags_alone["verdict"], flags_alone["harm_high"]) == ("INCONCLUSIVE", math.inf)
    assert "unflagged outcomes of both arms have to be labelled" in str(flags_alone["reason"])
    few = decided(asked, cells, cells, rest=40)
    assert few["verdict"] == "INCONCLUSIVE"
    assert "0 missed among 40 unflagged of candidate" in str(few["reason"])
    assert "about 320 labels of unflagged outcomes an arm decide" in str(few["reason"])
    assert decided(asked, cells, cells, rest=320)["verdict"] == "PASS"


def test_a_ceiling_is_held_against_what_the_labels_prove() -> None:
    asked = behavior(ceiling_per_100k=3000)
    missed = (10, 0, 60, 1930)
    assert decided(asked, missed, (9, 0, 61, 1930), arms="none")["verdict"] == "PASS"
    assert decided(asked, missed, (9, 0, 61, 1930))["verdict"] == "INCONCLUSIVE"


def test_the_correction_is_that_of_the_counts() -> None:
    """Everything labelled: nothing is left open, and the ratio is the one of the occurrences."""
    first, other = labelled_arm(outcomes(WORSE)), labelled_arm(outcomes(USUAL))
    assert first.correction.estimate == pytest.approx(500 / 342)
    assert first.correction.low == pytest.approx(first.correction.high)
    found = corrected.corrected_ratio(Interval(342 / 350, 0.9, 1.06), first, other)
    assert found.estimate == pytest.approx(500 / 400)
    nothing = labelled_arm(outcomes((0, 0, 0, 1000), rest=100))
    assert corrected.corrected_ratio(Interval(1.0, 0.0, math.inf), nothing, other).low == 0.0


def test_equal_graders_are_called_different_at_most_as_often_as_said() -> None:
    random = np.random.default_rng(3)
    for grader in ("labels only", "scores"):
        pairs = [
            benchmark.arms(benchmark.draw(random, 400, 3000, rate, 0.8, benchmark.GRADERS[grader]))
            for rate in (0.15, 0.1)
        ]
        said = [corrected.same_sensitivity(*pair) < 0.05 for pair in zip(*pairs, strict=True)]
        assert np.mean(said) <= 0.075, grader


@pytest.mark.parametrize("grader", list(benchmark.GRADERS))
def test_the_counts_of_the_benchmark_give_what_outcomes_give(grader: str) -> None:
    drawn = benchmark.draw(np.random.default_rng(4), 1, 6000, 0.02, 0.7, benchmark.GRADERS[grader])
    cell = benchmark.outcomes_of(drawn, 0)
    rate, (arm,) = benchmark.corrected_rates(drawn), benchmark.arms(drawn)
    row, made = four_rates(cell), labelled_arm(cell)
    assert [row[f"corrected{end}"] for end in ("", "_low", "_high")] == pytest.approx(
        [float(np.asarray(x)[0]) for x in vars(rate).values()]
    )

    def numbers(one: LabelledArm) -> list[float]:
        spans = (one.confirmed, one.missed, one.rate, one.correction, one.sensitivity)
        cells = [tuple(vars(one.cells[name]).values()) for name in ("tp", "fp", "fn", "tn")]
        return [one.flagged, *(float(x) for s in spans for x in vars(s).values())] + [
            float(x) for cell in cells for x in cell
        ]

    assert numbers(made) == pytest.approx(numbers(arm))


def test_corrected_intervals_hold_the_rate_behind_any_grader() -> None:
    """The corners of the table in docs/grading.md."""
    random = np.random.default_rng(6)
    for grader in benchmark.GRADERS:
        for n, rate, sensitivity in (
            (50_000, 1e-3, 0.5),
            (50_000, 0.1, 0.2),
            (10_000, 0.01, 0.2),
            (2_000, 0.03, 0.2),
            (2_000, 0.1, 1.0),
        ):
            found = benchmark.corrected_rates(
                benchmark.draw(random, 2000, n, rate, sensitivity, benchmark.GRADERS[grader])
            )
            held = (np.asarray(found.low) <= rate) & (rate <= np.asarray(found.high))
            assert held.mean() >= 0.95, (grader, n, rate, sensitivity)


def test_the_gate_passes_at_the_margin_one_time_in_twenty_however_its_graders_differ() -> None:
    rows = benchmark.ratios(300, "labels only")
    at = [row for row in rows if float(str(row["ratio"])) >= float(str(row["margin"]))]
    assert len(at) >= 6
    assert all(float(str(row["pass"])) <= 0.075 for row in at)
    assert max(float(str(row["pass_alone"])) for row in at) > 0.9
    same = [row for row in rows if row["ratio"] == 1.0 and row["sensitivities"] == [0.87, 0.87]]
    assert all(float(str(row["pass"])) > 0.95 for row in same)


def test_no_flag_confirmed_and_nothing_found_is_bounded_by_the_labels() -> None:
    found = four_rates(outcomes((0, 3, 0, 997), rest=500))
    assert (found["corrected"], found["corrected_low"]) == (0.0, 0.0)
    assert found["corrected_high"] == found["bound"]
    assert judge.judge_limited(0, 3, 0.003, 1000)
    assert found["status"] == "judge-limited"
