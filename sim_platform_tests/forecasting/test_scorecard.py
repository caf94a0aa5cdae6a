import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.forecasting.scorecard import (
    bootstrap_over_releases,
    decomposition,
    log_score,
    multiplicative_error,
    poisson_limit,
    score,
)

rates = st.floats(1e-6, 0.5)


@given(a=rates, b=rates)
def test_the_error_is_symmetric_and_at_least_one(a: float, b: float) -> None:
    assert multiplicative_error(a, b) == multiplicative_error(b, a) >= 1
    assert multiplicative_error(0, b) == multiplicative_error(1 / 200_000, b)


def test_a_hand_made_release_is_scored_by_hand() -> None:
    """Two above the floor (errors 2 and 1), one at it; one moved, called rightly."""
    found = score(
        [2e-3, 1e-3, 1e-3],
        [100, 100, 0],
        [1e5] * 3,
        [5e-4, 1e-3, 1e-3],
        floor=1e-5,
        low=[1e-3, 5e-4, 0],
        high=[4e-3, 9e-4, 1],
    )
    assert (found.n, found.below_floor, found.median, found.mean) == (2, 1, 1.5, 1.5)
    seen = (found.within_2, found.within_5, found.n_moved, found.direction_right)
    assert seen == (1.0, 1.0, 1, 1.0)
    assert found.coverage == pytest.approx(2 / 3), "an interval must hold what was not seen, too"
    assert found.coverage_above_floor == 0.5
    assert found.regret is not None
    assert found.regret > 0


def test_nothing_above_the_floor_scores_nothing_and_says_so() -> None:
    found = score([1e-3], [0], [100], [1e-3], floor=1e-5)
    assert (found.n, found.below_floor, found.median, found.direction_right, found.log_score) == (
        0,
        1,
        None,
        None,
        None,
    )


@given(x=st.integers(0, 50), n=st.integers(50, 500), p=st.floats(0.001, 0.999))
def test_no_rate_has_a_better_log_score_than_the_observed_one(x: int, n: int, p: float) -> None:
    assert log_score(p, x, n, 1e-9) >= log_score(x / n, x, n, 1e-9) - 1e-6


@pytest.mark.parametrize(("events", "median"), [(5, 1.43), (10, 1.25), (20, 1.18), (50, 1.10)])
def test_counting_noise_alone_gives_the_published_limits_where_production_is_known(
    events: int, median: float
) -> None:
    """Rate known to 1e9 messages; below five events the median jumps with every whole count."""
    assert poisson_limit([events / 1e5] * 20, 1e5, 1e9, 1e-9) == pytest.approx(median, abs=0.09)


def test_releases_are_drawn_not_behaviours() -> None:
    mean, low, high = bootstrap_over_releases({"a": [1.1] * 20, "b": [1.9] * 20, "empty": []})
    assert (mean, low, high) == pytest.approx((1.5, 1.1, 1.9))
    with pytest.raises(ValueError, match="no release"):
        bootstrap_over_releases({})
    alone = bootstrap_over_releases({"a": [1.1, 1.3, 1.9], "empty": []})
    assert alone == (1.3, None, None), "one release says nothing about others"


@given(st.tuples(rates, rates, rates))
def test_the_parts_of_an_error_add_up(three: tuple[float, float, float]) -> None:
    parts = decomposition(*three)
    assert parts["environment"] + parts["prefix"] == pytest.approx(parts["full"], abs=1e-12)


def test_impossible_observations_are_refused() -> None:
    for bad in (
        ([0.1], [5], [0], [0.1]),
        ([0.1], [5], [4], [0.1]),
        ([2.0], [1], [4], [0.1]),
        ([0.1, 0.2], [1], [4], [0.1]),
    ):
        with pytest.raises(ValueError, match=r"forecast|events"):
            score(*bad, floor=1e-5)
    assert np.isfinite(log_score(0, 0, 10, 1e-5))
