import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.forecasting.drift import drift, mix_shift, two_sample_p
from sim_platform.forecasting.raking import (
    StratumSums,
    effective_counts,
    kept_size,
    mix_factors,
    rake,
)

shares = st.lists(st.floats(0.05, 1), min_size=2, max_size=6)


@given(
    pair=st.integers(2, 6).flatmap(
        lambda n: st.tuples(*[st.lists(st.floats(0.1, 1), min_size=n, max_size=n)] * 2)
    )
)
def test_post_stratified_shares_are_the_newest_mix(pair: tuple[list[float], list[float]]) -> None:
    sampled, newest = (np.array(mix) / sum(mix) for mix in pair)
    factors = mix_factors(sampled, newest, cap=1e9)
    assert factors * sampled == pytest.approx(newest)
    assert 0 < kept_size(sampled, factors) <= 1 + 1e-12
    assert mix_factors(sampled, sampled) == pytest.approx(np.ones(len(sampled)))


def test_a_stratum_without_a_sampled_unit_is_named_and_growth_is_capped() -> None:
    with pytest.raises(ValueError, match="stratum 1 has newest traffic and no sampled unit"):
        mix_factors([1, 0], [0.5, 0.5])
    assert (
        mix_factors([0.99, 0.01], [0.5, 0.5]).max() / mix_factors([0.99, 0.01], [0.5, 0.5]).min()
        <= 10.1
    )
    for bad in ([-1, 2], [np.nan, 1], [0, 0], [1]):
        with pytest.raises(ValueError, match=r"mix|shares"):
            mix_factors([0.5, 0.5], bad)


GRID = [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]  # levels of six strata, two by three


@given(
    st.lists(st.floats(0.1, 1), min_size=6, max_size=6),
    st.lists(st.floats(0.2, 1), min_size=2, max_size=2),
    st.lists(st.floats(0.2, 1), min_size=3, max_size=3),
)
def test_raked_strata_have_the_wanted_margins(
    strata: list[float], rows: list[float], columns: list[float]
) -> None:
    shares = np.array(strata) / sum(strata)
    fitted = (shares * rake(strata, GRID, [rows, columns], cap=1e9)).reshape(2, 3)
    assert fitted.sum(axis=1) == pytest.approx(np.array(rows) / sum(rows), rel=1e-4)
    assert fitted.sum(axis=0) == pytest.approx(np.array(columns) / sum(columns), rel=1e-4)


@given(
    pair=st.integers(2, 6).flatmap(
        lambda n: st.tuples(*[st.lists(st.floats(0.1, 1), min_size=n, max_size=n)] * 2)
    )
)
def test_raking_to_one_variable_is_post_stratification(
    pair: tuple[list[float], list[float]],
) -> None:
    sampled, newest = pair
    assert rake(sampled, [range(len(sampled))], [newest]) == pytest.approx(
        mix_factors(sampled, newest)
    )


def test_margins_that_do_not_fit_are_refused_by_number() -> None:
    levels = [[0, 1], [0, 0]]
    for margins, message in (
        ([[1, 1]], "one margin per variable"),
        ([[1], [1]], "margin 0 has 1 levels, the sample 2"),
        ([[1, 1], [1, 1]], "margin 1: level 1"),
    ):
        with pytest.raises(ValueError, match=message):
            rake([0.5, 0.5], levels, margins)


def sums(events: list[float], labelled: list[float], missing: list[float], w: float) -> StratumSums:
    """Prefixes of one weight, each of a user of its own."""
    x, n, lost = (np.array(part) for part in (events, labelled, missing))
    return StratumSums(w * x, w**2 * x, w * n, w**2 * n, w * (n + lost))


@pytest.mark.parametrize("w", [1.0, 40.0])
def test_effective_counts_of_equal_weights_are_the_counts_whatever_the_weight(w: float) -> None:
    some, none = [60.0, 40.0], [0.0, 0.0]
    found = effective_counts(
        {"lies": sums([3, 1], some, none, w), "begs": sums(none, some, none, w)}, np.ones(2)
    )
    assert (float(found["lies"].x), float(found["lies"].e)) == pytest.approx((4, 100))
    assert (float(found["begs"].x), float(found["begs"].e)) == pytest.approx((0, 100))


def test_missing_labels_are_made_up_for_inside_their_stratum() -> None:
    """Half of the first stratum is missing; the third has no label and leaves its share to both."""
    found = effective_counts(
        {"lies": sums([5, 2, 0], [50, 100, 0], [50, 0, 80], 3.0)}, np.array([1.0, 0.5, 2.0])
    )["lies"]
    rate = (0.1 * 100 + 0.02 * 50) / 150
    variance = (2**2 * 5 + 0.5**2 * 2) / 150**2
    assert (float(found.x), float(found.e)) == pytest.approx((rate**2 / variance, rate / variance))


def test_a_behaviour_whose_strata_the_newest_traffic_lacks_keeps_the_mix_of_the_sample() -> None:
    gone = {"lies": sums([3, 0], [60, 0], [0, 0], 1)}
    found = effective_counts(gone, np.array([0.0, 2.0]))["lies"]
    assert (float(found.x), float(found.e)) == pytest.approx((3, 60))
    with pytest.raises(ValueError, match="lies: no stratum has a labelled unit"):
        effective_counts({"lies": sums([0, 0], [0, 0], [0, 0], 1)}, np.ones(2))


def test_the_same_traffic_does_not_warn_and_other_traffic_does() -> None:
    random = np.random.default_rng(1)
    here, there = random.normal(0, 1, (300, 3)), random.normal(0, 1, (300, 3))
    calm = drift({"en": 0.7, "de": 0.3}, {"en": 0.68, "de": 0.32}, here, there)
    assert not calm.warns
    assert drift({"en": 0.7, "de": 0.3}, {"en": 0.4, "de": 0.6}, here, there).warns
    longer = drift({"en": 1.0}, {"en": 1.0}, here, there + np.array([0.6, 0, 0]))
    assert longer.warns
    assert "draw a new sample" in longer.words


def test_the_two_sample_test_keeps_its_level_and_does_not_depend_on_units() -> None:
    random = np.random.default_rng(3)
    found = [
        two_sample_p(
            random.exponential(1, (40, 2)), random.exponential(1, (40, 2)), permutations=99
        )
        for _ in range(60)
    ]
    assert np.mean(np.array(found) <= 0.1) <= 0.1 + 3 * (0.09 / 60) ** 0.5
    a, b = random.exponential(1, (50, 2)), random.exponential(2, (50, 2))
    assert two_sample_p(a, b) == two_sample_p(np.exp(a), np.exp(b))


def test_mixes_without_traffic_are_refused_and_total_variation_is_a_share() -> None:
    assert mix_shift({"a": 1}, {"b": 1}) == (1.0, "a")
    with pytest.raises(ValueError, match="traffic"):
        mix_shift({}, {"a": 1})
    with pytest.raises(ValueError, match="two rows"):
        two_sample_p([[1.0]], [[1.0], [2.0]])
