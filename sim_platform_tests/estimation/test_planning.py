"""Planning figures against the specification's tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.estimation import planning


@pytest.mark.parametrize(
    ("n", "per_100k"),
    [
        (1000, (299.1, 532, 650, 1000)),
        (50_000, (6.0, 10.6, 13, 20)),
        (1_300_000, (0.23, 0.41, 0.5, 0.77)),
    ],
)
def test_detection_floors(n: int, per_100k: tuple[float, ...]) -> None:
    found = planning.floors(n)
    assert [
        1e5 * x
        for x in (
            found.none_seen_bound,
            found.three_events,
            found.published,
            found.within_factor_two,
        )
    ] == pytest.approx(list(per_100k), rel=0.02)


@pytest.mark.parametrize(("factor", "events"), [(3, 5), (2, 10), (1.5, 26), (1.25, 82), (1.1, 434)])
def test_events_for_an_interval_within_a_factor(factor: float, events: int) -> None:
    assert planning.events_for_factor(factor) == events
    assert planning.messages_for_factor(1e-3, factor) == events * 1000


@pytest.mark.parametrize(
    ("overlap", "known", "ratios"),
    [
        (0.0, False, (6.0, 3.6, 2.7, 2.1, 1.64)),
        (0.3, False, (5.6, 3.3, 2.5, 1.9, 1.55)),
        (0.6, False, (5.1, 3.0, 2.2, 1.8, 1.44)),
        (0.0, True, (4.0, 2.5, 2.0, 1.7, 1.43)),
    ],
)
def test_smallest_detectable_ratios(overlap: float, known: bool, ratios: tuple[float, ...]) -> None:
    found = [
        planning.detectable_ratio(events, overlap, known=known) for events in (2, 5, 10, 20, 50)
    ]
    assert found == pytest.approx(ratios, abs=0.051)


@given(ratio=st.floats(1.2, 4), events=st.floats(2, 60))
def test_power_grows_with_events_and_with_the_ratio(ratio: float, events: float) -> None:
    here = planning.power(events, ratio)
    assert 0 <= here <= 1 + 1e-9
    assert planning.power(2 * events, ratio) >= here - 0.03  # counts are whole: small dips are real
    assert planning.power(events, 1.5 * ratio) >= here - 0.03


@given(
    n=st.integers(1, 5000),
    strata=st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 0.2)), min_size=1, max_size=8),
    proportional=st.floats(0.5, 1),
)
def test_an_allocation_adds_up_keeps_its_floor_and_bounds_the_largest_weight(
    n: int, strata: list[tuple[float, float]], proportional: float
) -> None:
    shares, rates = (np.array(column) for column in zip(*strata, strict=True))
    sizes = planning.allocation(n, shares, rates, proportional, floor=5)
    assert sizes.min() >= 5
    assert sizes.sum() == max(n, 5 * len(strata))
    left = n - 5 * (sizes == 5).sum()
    if (
        n >= 50 * len(strata) and left > 0
    ):  # outside of the floors, W_h / n_h stays below 1 / (proportional * what is left)
        weights = (shares / shares.sum() / sizes)[sizes > 6]
        assert weights.size == 0 or weights.max() <= 1.35 / (proportional * left)


def test_without_a_belief_the_allocation_is_proportional() -> None:
    assert planning.allocation(1000, [5, 3, 2], floor=1).tolist() == [500, 300, 200]


@pytest.mark.parametrize(
    ("correlation", "relative"),
    [(0.1, (0.55, 0.325, 0.2125)), (0.3, (0.65, 0.475, 0.3875)), (0.6, (0.80, 0.70, 0.65))],
)
def test_repeats_buy_less_the_more_they_agree(
    correlation: float, relative: tuple[float, ...]
) -> None:
    assert planning.variance_with_repeats([2, 4, 8], correlation) == pytest.approx(relative)


def test_free_prefixes_ask_for_one_completion_each() -> None:
    assert planning.best_repeats(0, 1, 0.3) == 1
    assert planning.best_repeats(12, 1, 0.3) == pytest.approx((12 * 0.7 / 0.3) ** 0.5)


def test_flags_are_all_labelled_up_to_two_hundred_an_arm() -> None:
    assert planning.label_budget(50_000, 1e-4).flags == 2 * 55
    assert planning.label_budget(1_000_000, 1e-2) == planning.LabelBudget(400, 500, 100, 40)


def test_impossible_questions_are_refused_by_name() -> None:
    for call, name in [
        (lambda: planning.floors(0), "n"),
        (lambda: planning.events_for_factor(1), "factor"),
        (lambda: planning.power(5, 2, overlap=1), "overlap"),
        (lambda: planning.allocation(10, [1, 0]), "shares"),
        (lambda: planning.allocation(10, [1, 1], [0.1]), "prior_rates"),
        (lambda: planning.allocation(10, [1], None, 0.1), "proportional"),
        (lambda: planning.variance_with_repeats(2, 1.5), "correlation"),
        (lambda: planning.best_repeats(1, 1, 0), "correlation"),
    ]:
        with pytest.raises(ValueError, match=name):
            call()
