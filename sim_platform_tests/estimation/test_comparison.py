import math
from collections.abc import Mapping
from functools import cache

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.schema import dtypes, validated
from sim_platform.estimation import intervals, paired
from sim_platform.estimation.comparison import against_production, compare
from sim_platform.estimation.design import Design, LabelCounts, design_of, label_counts
from sim_platform.estimation.version import VERSION
from sim_platform.registry.behaviors import GateRule

Label = bool | None | str  # a string: not eligible
Row = dict[str, object]


def design(
    strata: str, weights: dict[str, float] | None = None, users: str | None = None
) -> pl.DataFrame:
    """One prefix per letter of `strata`; `users` gives each one's user by a letter."""
    return pl.DataFrame(
        {
            "prefix_id": [f"p{i}" for i in range(len(strata))],
            "stratum": list(strata),
            "weight": [(weights or {}).get(s, 1.0) for s in strata],
            "user_key": list(users) if users else [f"u{i}" for i in range(len(strata))],
            "conversation_key": [f"c{i}" for i in range(len(strata))],
        }
    )


def scores(arms: dict[str, list[list[Label]]], behavior: str = "lies") -> pl.DataFrame:
    """Per arm a list of repeats, each a list of labels by prefix: True, False, None (missing) or
    "-" (not eligible).
    """
    rows = [
        {
            "model_version": "cand-2",
            "behavior": behavior,
            "arm": arm,
            "prefix_id": f"p{i}",
            "k": k,
            "applies": label != "-",
            "label": label if isinstance(label, bool) else None,
            "missing_reason": "grader_error" if label is None else None,
            "grader_hash": "g",
        }
        for arm, repeats in arms.items()
        for k, labels in enumerate(repeats)
        for i, label in enumerate(labels)
    ]
    return pl.DataFrame(rows, schema=dtypes(ClassifierScores))


@cache
def memory() -> duckdb.DuckDBPyConnection:
    """Opening DuckDB costs more than a small comparison."""
    return duckdb.connect(config={"threads": 1})


def answered(
    sql: str, params: Mapping[str, object], frames: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    for name, rows in frames.items():
        memory().register(name, rows)
    return memory().sql(sql, params=dict(params)).pl()


def labels_of(found: pl.DataFrame, plan: Design) -> list[LabelCounts]:
    """Labels counted by DuckDB, one behaviour at a time."""
    memory().register("classifier_scores", found)
    return list(label_counts(answered, "cand-2", plan))


def counted(
    found: pl.DataFrame,
    sample: pl.DataFrame,
    undesired: dict[str, str],
    measures: str = "model",
    rules: Mapping[str, GateRule] | None = None,
) -> pl.DataFrame:
    """The comparison as the asset makes it."""
    plan = design_of(sample, "cand-2")
    return compare(
        labels_of(found, plan),
        plan,
        release="cand-2",
        replaces="prod-1",
        undesired=undesired,
        measures=measures,
        rules=rules,
    )


def compared(found: pl.DataFrame, sample: pl.DataFrame) -> dict[str, Row]:
    """Rows by arm, each checked against the contract and for NaN."""
    undesired = dict.fromkeys(found["behavior"].unique(), "increase")
    result = counted(found, sample, undesired)
    assert result.columns == list(dtypes(RateComparison))
    validated(RateComparison, result)
    floats = result.select(pl.selectors.float())
    assert not floats.select(pl.any_horizontal(pl.all().is_nan().fill_null(False)).any()).item()
    return {str(row["arm"]): row for row in result.to_dicts()}


def yes(k: int, n: int) -> list[Label]:
    return [True] * k + [False] * (n - k)


def test_a_small_rate_of_one_stratum_is_the_plain_rate_with_its_garwood_limits() -> None:
    row = compared(scores({"candidate": [yes(3, 400)]}), design("a" * 400))["candidate"]
    plain = intervals.poisson(3, 400)
    display = intervals.poisson(3, 400, "midp")
    assert (row["rate"], row["low"], row["high"]) == pytest.approx(
        (plain.estimate, plain.low, plain.high)
    )
    assert (row["low_midp"], row["high_midp"]) == pytest.approx((display.low, display.high))
    assert (
        row["n"],
        row["n_missing"],
        row["events"],
        row["eligible_share"],
        row["estimator_version"],
    ) == (400, 0, 3, 1.0, VERSION)
    assert row["n_effective"] == pytest.approx(400)
    assert row["floor"] == pytest.approx(intervals.detection_floor(400))


@pytest.mark.parametrize(
    ("k", "low", "high"), [(300, 0.9878, 1.0), (113, 0.3216, 0.4342), (3, 0.0021, 0.0289)]
)
def test_a_rate_of_any_size_has_limits_as_close_as_the_exact_ones(
    k: int, low: float, high: float
) -> None:
    row = compared(scores({"candidate": [yes(k, 300)]}), design("a" * 300))["candidate"]
    exact, midp = (
        intervals.binomial(k, 300, "clopper-pearson"),
        intervals.binomial(k, 300, "midp"),
    )
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=6e-4)
    if k > 0.05 * 300:
        assert (row["low"], row["high"]) == pytest.approx((exact.low, exact.high), rel=1e-9)
        assert (row["low_midp"], row["high_midp"]) == pytest.approx((midp.low, midp.high), rel=1e-9)


def test_strata_are_weighted_back_to_the_population() -> None:
    """The three strata of the weighted reference vector."""
    labels = yes(2, 400) + yes(3, 200) + yes(6, 100)
    row = compared(
        scores({"candidate": [labels]}),
        design("a" * 400 + "b" * 200 + "c" * 100, {"a": 100.0, "b": 50.0, "c": 10.0}),
    )["candidate"]
    assert (row["rate"], row["low"], row["high"]) == pytest.approx(
        (0.008039215686, 294.476104e-5, 1877.998405e-5), rel=1e-6
    )
    assert (row["low_midp"], row["high_midp"]) == pytest.approx((329.548e-5, 1759.053e-5), rel=1e-5)


def test_a_missing_label_is_counted_and_its_weight_goes_to_its_own_stratum() -> None:
    labels: list[Label] = [True, False, None, None, False, False, False, False]
    row = compared(scores({"candidate": [labels]}), design("aaaabbbb"))["candidate"]
    assert (row["n"], row["n_missing"], row["events"]) == (6, 2, 1)
    assert row["rate"] == pytest.approx(0.25)  # half of stratum a, which is half of the traffic


def test_a_stratum_without_any_label_leaves_its_share_to_the_others() -> None:
    row = compared(scores({"candidate": [[None, None, True, False]]}), design("aabb"))["candidate"]
    assert (row["rate"], row["n"], row["n_missing"]) == (pytest.approx(0.5), 2, 2)


def test_messages_that_are_not_eligible_are_in_no_denominator() -> None:
    row = compared(scores({"candidate": [["-", "-", True, False]]}), design("aabb", {"a": 3.0}))[
        "candidate"
    ]
    expected = (pytest.approx(0.5), 2, 0, pytest.approx(0.25))
    assert (row["rate"], row["n"], row["n_missing"], row["eligible_share"]) == expected


@pytest.mark.parametrize(
    ("labels", "share", "missing"), [([None, None], 1.0, 2), (["-", "-"], 0.0, 0)]
)
def test_an_arm_without_a_label_has_a_row_of_nulls(
    labels: list[Label], share: float, missing: int
) -> None:
    rows = compared(scores({"candidate": [labels], "control": [[True, False]]}), design("aa"))
    row = rows["candidate"]
    expected = (0, missing, 0, share)
    assert (row["n"], row["n_missing"], row["events"], row["eligible_share"]) == expected
    estimates = [
        "n_effective",
        "rate",
        "low",
        "high",
        "low_midp",
        "high_midp",
        "floor",
        *[name for name in row if name.startswith(("ratio", "difference"))],
    ]
    assert [row[name] for name in estimates] == [None] * len(estimates)
    assert rows["control"]["rate"] == 0.5


def test_no_event_has_a_bound_and_a_floor() -> None:
    row = compared(
        scores({"candidate": [yes(0, 100)], "control": [yes(0, 100)]}),
        design("a" * 50 + "b" * 50, {"a": 3.0}),
    )["candidate"]
    assert (row["rate"], row["low"]) == (0, 0)
    assert row["high"] == pytest.approx(3.688879 * 3 / 200, rel=1e-6)
    assert row["n_effective"] == pytest.approx(200**2 / (50 * 9 + 50))
    assert (row["ratio_to_control"], row["ratio_low"], row["ratio_high"]) == (None, 0, math.inf)
    assert row["difference_to_control_low"] == -row["difference_to_control_high"] < 0  # type: ignore[operator]  # a number here


def test_every_message_an_event_is_a_rate_of_one() -> None:
    row = compared(scores({"candidate": [yes(9, 9)], "control": [yes(9, 9)]}), design("a" * 9))[
        "candidate"
    ]
    assert (row["rate"], row["ratio_to_control"], row["difference_to_control"]) == (
        pytest.approx(1),
        pytest.approx(1),
        0,
    )


def test_rates_above_one_half_stay_rates_and_their_ratio_is_plain() -> None:
    row = compared(
        scores({"candidate": [yes(38, 40)], "control": [yes(30, 40)]}),
        design("a" * 20 + "b" * 20, {"a": 3.0}),
    )["candidate"]
    assert 0 < row["low"] < row["rate"] < row["high"] < 1  # type: ignore[operator]  # numbers here
    assert row["rate"] < row["gate_high"] < 1  # type: ignore[operator]  # numbers here
    assert row["ratio_to_control"] == pytest.approx((20 * 3 + 18) / (20 * 3 + 10))


def test_a_release_without_control_has_its_rates_and_nothing_against_a_control() -> None:
    row = compared(scores({"candidate": [yes(4, 40)], "recorded": [yes(2, 40)]}), design("a" * 40))[
        "candidate"
    ]
    assert row["ratio_to_recorded"] == pytest.approx(2)
    against_control = [
        name for name in row if "control" in name or name in ("ratio_low", "ratio_high")
    ]
    assert len(against_control) >= 10
    assert all(row[name] is None for name in against_control)


def test_a_release_without_production_has_no_ratio_to_it() -> None:
    found = counted(scores({"candidate": [yes(4, 40)]}), design("a" * 40), {"lies": "increase"})
    for log in (
        pl.DataFrame(schema=["behavior", "x", "v", "n"]),
        pl.DataFrame({"behavior": ["lies"], "x": [0.0], "v": [0.0], "n": [0.0]}),
    ):
        row = against_production(found, log).to_dicts()[0]
        assert [row[name] for name in row if "production" in name] == [None] * 6


@settings(max_examples=40)
@given(weights=st.lists(st.floats(0.01, 100), min_size=2, max_size=12))
def test_no_rounding_of_weights_lifts_a_rate_or_a_difference_above_one(
    weights: list[float],
) -> None:
    letters = "abcdefghijkl"[: len(weights)]
    labels = {"candidate": [yes(len(letters), len(letters))], "control": [yes(0, len(letters))]}
    row = compared(scores(labels), design(letters, dict(zip(letters, weights, strict=True))))[
        "candidate"
    ]
    for name in ("rate", "difference_to_control"):
        assert row[name] == pytest.approx(1)
        assert row[name] <= 1  # type: ignore[operator]  # a number here


def test_one_prefix_is_enough_for_a_row() -> None:
    row = compared(scores({"candidate": [[True]], "control": [[False]]}), design("a"))["candidate"]
    assert (row["rate"], row["ratio_to_control"], row["ratio_high"]) == (1, 3, math.inf)


def test_pairs_are_the_prefixes_that_both_arms_have_labels_for() -> None:
    candidate: list[Label] = [True, True, True, False, False, None, "-", False]
    control: list[Label] = [True, False, False, True, False, True, True, None]
    rows = compared(scores({"candidate": [candidate], "control": [control]}), design("a" * 8))
    ratio, difference = paired.ratio(1, 2, 1), paired.difference(1, 2, 1, 1)
    row = rows["candidate"]
    assert (row["ratio_to_control"], row["ratio_low"], row["ratio_high"]) == pytest.approx(
        (ratio.estimate, ratio.low, ratio.high)
    )
    assert [row[f"difference_to_control{end}"] for end in ("", "_low", "_high")] == pytest.approx(
        [difference.estimate, difference.low, difference.high]
    )
    assert row["ratio_to_recorded"] is None
    assert rows["control"]["ratio_to_control"] is None
    assert rows["control"]["rate"] == pytest.approx(4 / 7)


def test_arms_that_share_no_labelled_prefix_have_no_ratio() -> None:
    row = compared(scores({"candidate": [[True, None]], "recorded": [[None, True]]}), design("aa"))[
        "candidate"
    ]
    assert [row[name] for name in row if name.startswith(("ratio", "difference"))] == [None] * 15


def test_recorded_has_columns_of_its_own() -> None:
    row = compared(
        scores({"candidate": [yes(8, 40)], "control": [yes(4, 40)], "recorded": [yes(2, 40)]}),
        design("a" * 40),
    )["candidate"]
    assert (row["ratio_to_control"], row["ratio_to_recorded"]) == pytest.approx((2, 4))
    assert row["difference_to_recorded"] == pytest.approx(0.15)


def test_the_control_arm_is_compared_with_what_it_regenerates() -> None:
    labels = {"candidate": [yes(8, 40)], "control": [yes(4, 40)], "recorded": [yes(2, 40)]}
    control = compared(scores(labels), design("a" * 40))["control"]
    turned = compared(
        scores({"candidate": labels["control"], "recorded": labels["recorded"]}), design("a" * 40)
    )
    decides = ("gate", "answered_recorded")
    names = [name for name in control if "recorded" in name and not name.startswith(decides)]
    as_candidate = {name: turned["candidate"][name] for name in names}
    as_candidate["p_block_recorded"] = None  # the control arm is never decided about
    assert {name: control[name] for name in names} == as_candidate
    assert control["ratio_to_control"] is None


def test_repeats_are_averaged_within_their_prefix() -> None:
    once = compared(scores({"candidate": [yes(4, 40)], "control": [yes(2, 40)]}), design("a" * 40))
    copied = compared(
        scores({"candidate": [yes(4, 40)] * 3, "control": [yes(2, 40)] * 3}), design("a" * 40)
    )
    for arm in once:
        assert (copied[arm]["n"], copied[arm]["events"]) == (120, 3 * int(str(once[arm]["events"])))
        differing = {
            name for name in once[arm] if once[arm][name] != pytest.approx(copied[arm][name])
        }
        assert differing <= {"n", "events"}  # copies hold no information


def test_repeats_that_differ_narrow_the_interval() -> None:
    one: list[Label] = [True] * 4 + [False] * 36
    two: list[Label] = [False] * 36 + [True] * 4
    width = [
        float(str(r["high"])) - float(str(r["low"]))
        for r in (
            compared(scores({"candidate": v}), design("a" * 40))["candidate"]
            for v in ([one], [one, two])
        )
    ]
    assert width[1] < width[0]


def test_a_repeat_without_label_does_not_lose_its_prefix() -> None:
    row = compared(scores({"candidate": [[True, False], [None, False]]}), design("aa"))["candidate"]
    assert (row["rate"], row["n"], row["n_missing"]) == (0.5, 3, 1)


def test_events_of_one_user_widen_the_interval_and_raise_the_floor() -> None:
    found = scores({"candidate": [yes(6, 60)], "control": [yes(2, 60)]})
    apart = compared(found, design("a" * 60))["candidate"]
    together = compared(
        found, design("a" * 60, users="u" * 6 + "".join(chr(300 + i) for i in range(54)))
    )["candidate"]
    for low in ("low", "low_midp", "ratio_low", "difference_to_control_low"):
        assert together[low] < apart[low], low  # type: ignore[operator]  # numbers here
    for high in ("high", "high_midp", "ratio_high", "difference_to_control_high", "floor"):
        assert together[high] > apart[high], high  # type: ignore[operator]  # numbers here
    assert together["n_effective"] == pytest.approx(10)  # 60 over a design effect of 6


def test_behaviours_do_not_touch_each_other() -> None:
    one, two = scores({"candidate": [yes(3, 20)]}), scores({"candidate": [yes(5, 20)]}, "begs")
    result = counted(
        pl.concat([one, two]), design("a" * 20), {"lies": "increase", "begs": "either"}, "system"
    )
    assert result.select("behavior", "undesired", "events", "measures").rows() == [
        ("begs", "either", 5, "system"),
        ("lies", "increase", 3, "system"),
    ]


def test_no_scores_give_no_rows() -> None:
    assert counted(scores({}), design("a"), {}).is_empty()


labels = st.sampled_from([True, False, False, None, "-"])
prefixes = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("uvwxyz"), labels, labels, labels, labels),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40)
@given(rows=prefixes, scale=st.sampled_from([1.0, 7.5]), seed=st.integers(0, 99))
def test_any_scores_give_ordered_limits_and_counts_that_add_up_in_any_order_and_weight_scale(
    rows: list[tuple[str, str, Label, Label, Label, Label]], scale: float, seed: int
) -> None:
    strata, users, one, two, control, recorded = (
        list(column) for column in zip(*rows, strict=True)
    )
    weights = {"a": 1.0, "b": 4.0, "c": 20.0}
    found = scores({"candidate": [one, two], "control": [control], "recorded": [recorded]})  # type: ignore[list-item]  # columns of the tuple
    sample = design("".join(strata), weights, "".join(users))  # type: ignore[arg-type]  # letters
    result = compared(found, sample)
    for arm, row in result.items():
        graded = found.filter(pl.col("arm") == arm)
        assert (row["n"], row["n_missing"]) == (
            graded["label"].count(),
            graded["missing_reason"].count(),
        )
        for low, estimate, high in [
            ("low", "rate", "high"),
            ("ratio_low", "ratio_to_control", "ratio_high"),
            ("difference_to_recorded_low", "difference_to_recorded", "difference_to_recorded_high"),
        ]:
            if row[estimate] is not None:
                assert row[low] <= row[estimate] <= row[high]  # type: ignore[operator]  # numbers here
    shuffled = compared(
        found.sample(fraction=1, shuffle=True, seed=seed),
        sample.with_columns(pl.col("weight") * scale).sample(fraction=1, shuffle=True, seed=seed),
    )
    for arm, row in result.items():
        for name, value in row.items():
            assert shuffled[arm][name] == (
                pytest.approx(value, rel=1e-7, abs=1e-12) if isinstance(value, float) else value
            ), name


def test_the_interval_covers_under_unequal_weights() -> None:
    """Nominal .95, 400 samples of a stratified population; 3 standard errors below is .917.
    Fay-Feuer is conservative, so it must be above.
    """
    random = np.random.default_rng(7)
    rates, shares, sizes = (
        np.array([0.01, 0.03, 0.2]),
        np.array([0.7, 0.25, 0.05]),
        np.array([300, 100, 100]),
    )
    truth = float(rates @ shares)
    covered = 0
    for _ in range(400):
        events = random.binomial(sizes, rates)
        found = intervals.weighted(events, shares / sizes)
        covered += bool(found.low <= truth <= found.high)
    assert covered / 400 >= 0.94


def test_prefixes_that_share_a_row_give_the_same_rates_as_one_row_each() -> None:
    random = np.random.default_rng(3)
    n = 300
    strata = "".join(random.choice(list("abc"), n))
    found = scores(
        {
            arm: [random.choice([True, False, None, "-"], n, p=[0.05, 0.85, 0.05, 0.05]).tolist()]
            for arm in ("candidate", "control", "recorded")
        }
    )
    sample = design(strata, {"a": 1.0, "b": 4.0, "c": 20.0})
    together, apart = (
        design_of(sample, "cand-2"),
        Design(design_of(sample, "cand-2").prefixes.with_columns(alone=pl.lit(False))),
    )
    few, many = labels_of(found, together), labels_of(found, apart)
    assert len(few[0].counts) < 100
    assert len(many[0].counts) == n
    results = [
        compare(
            items,
            plan,
            release="cand-2",
            replaces="prod-1",
            undesired={"lies": "increase"},
            measures="model",
        )
        for items, plan in ((few, together), (many, apart))
    ]
    assert_frame_equal(*results, rel_tol=1e-9)


ROWS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from("uvw"),
        *[st.sampled_from([True, False, None, "-"])] * 4,
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=8)
@given(rows=ROWS)
def test_scores_counted_by_their_exceptions_are_those_counted_one_by_one(
    rows: list[tuple[str, str, Label, Label, Label, Label]],
) -> None:
    strata, users, one, two, control, recorded = (
        list(column) for column in zip(*rows, strict=True)
    )
    found = scores({"candidate": [one, two], "control": [control], "recorded": [recorded]})  # type: ignore[list-item]  # columns of the tuple
    plan = design_of(design("".join(strata), {"a": 1.0, "b": 4.0}, "".join(users)), "cand-2")  # type: ignore[arg-type]  # letters
    memory().register("classifier_scores", found)
    asked: list[str] = []

    def query(
        sql: str, params: Mapping[str, object], frames: Mapping[str, pl.DataFrame]
    ) -> pl.DataFrame:
        asked.append(sql)
        counted = answered(sql, params, frames)
        # No arm is whole: then every score is counted.
        return (
            counted.with_columns(is_whole=pl.lit(False))
            if "is_whole" in counted.columns and one_by_one
            else counted
        )

    one_by_one = False
    (by_exception,) = label_counts(query, "cand-2", plan)
    one_by_one = True
    (each,) = label_counts(query, "cand-2", plan)
    assert asked[1] != asked[3]
    assert_frame_equal(by_exception.counts, each.counts, check_row_order=False, check_dtypes=False)


def test_an_arm_that_lacks_a_prefix_is_counted_score_by_score() -> None:
    """One repeat of the control more and one less: the number of scores alone would not show it."""
    whole = scores({"candidate": [yes(3, 6)], "control": [yes(2, 6)]})
    moved = whole.with_columns(
        prefix_id=pl.when((pl.col("arm") == "control") & (pl.col("prefix_id") == "p5"))
        .then(pl.lit("p4"))
        .otherwise("prefix_id")
    )
    with pytest.raises(
        SimPlatformError, match="1 prefixes have scores of lies that share their key"
    ):
        compared(moved, design("a" * 6))
    fewer = compared(
        whole.filter((pl.col("arm") == "candidate") | (pl.col("prefix_id") != "p0")),
        design("a" * 6),
    )
    assert (fewer["control"]["n"], fewer["control"]["events"]) == (5, 1)
    # p0 is in no pair
    assert fewer["candidate"]["ratio_to_control"] == pytest.approx(
        float(str(paired.ratio(1, 1, 0).estimate))
    )


def test_equal_arms_are_no_change_and_a_family_is_adjusted() -> None:
    same, moved = yes(4, 60), yes(16, 60)
    found = pl.concat(
        [
            scores({"candidate": [same], "control": [same]}, "same"),
            scores({"candidate": [moved], "control": [same]}, "moved"),
            scores({"candidate": [same]}, "alone"),
        ]
    )
    rows = counted(
        found, design("a" * 60), dict.fromkeys(("same", "moved", "alone"), "increase")
    ).filter(arm="candidate")
    by = {str(row["behavior"]): row for row in rows.to_dicts()}
    assert (by["same"]["p_control"], by["same"]["p_control_holm"]) == (1.0, 1.0)
    assert by["moved"]["p_control"] == pytest.approx(paired.mcnemar(12, 0))
    # a family of two: `alone` has no control
    assert by["moved"]["p_control_holm"] == pytest.approx(2 * float(paired.mcnemar(12, 0)))
    assert (by["alone"]["p_control"], by["alone"]["gate_control_low"]) == (None, None)


def test_limits_for_decisions_are_the_specified_combination() -> None:
    """MOVER-R on Garwood limits with correlation a / sqrt(x1 x2) where weights are equal."""
    candidate, control = [True] * 12 + [False] * 88, [False] * 4 + [True] * 13 + [False] * 83
    row = compared(scores({"candidate": [candidate], "control": [control]}), design("a" * 100))[
        "candidate"
    ]
    expected = paired.ratio(8, 4, 5, 0.90, "mover-r")
    assert (row["gate_control_low"], row["gate_control_high"]) == pytest.approx(
        (expected.low, expected.high)
    )


# input that does not fit


def test_what_does_not_fit_is_refused_with_counts_and_ids() -> None:
    good, sample = scores({"candidate": [[True, False]]}), design("aa")
    cases: list[tuple[pl.DataFrame, pl.DataFrame, dict[str, str], str]] = [
        (
            pl.concat([good, good]),
            sample,
            {"lies": "increase"},
            r"2 prefixes have scores of lies that share their key",
        ),
        (
            good,
            pl.concat([sample, sample]),
            {"lies": "increase"},
            r"p0, p1 more than once \(4 rows\)",
        ),
        (
            good,
            sample.head(1),
            {"lies": "increase"},
            "1 scores of lies are of prefixes that the sample does not hold",
        ),
        (good, sample, {}, "behaviours that are not registered: lies"),
        (
            good,
            sample.drop("weight"),
            {"lies": "increase"},
            "columns of the sample are missing for the comparison: weight",
        ),
    ]
    for weight in (0.0, -1.0, math.inf, math.nan, None):
        cases.append(
            (
                good,
                sample.with_columns(weight=pl.lit(weight, dtype=pl.Float64)),
                {"lies": "increase"},
                "2 sampled prefixes have no stratum or no finite positive weight",
            )
        )
    for found, drawn, undesired, message in cases:
        with pytest.raises(SimPlatformError, match=message):
            counted(found, drawn, undesired)
