import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from sim_platform.forecasting.forecast import (
    Counts,
    Forecast,
    calibrated,
    direction,
    discrepancy,
    environment,
    persistence,
    simulated,
)
from sim_platform.forecasting.worlds import (
    BASE,
    OPTIMISTIC,
    PESSIMISTIC,
    WORLDS,
    World,
    draw,
    forecasts,
    taus,
    validate,
)


def counts(x: list[float], e: float) -> Counts:
    return Counts(np.array(x, dtype=np.float64), np.full(len(x), e))


def test_with_many_events_the_control_arm_takes_the_simulators_bias_out() -> None:
    """Simulated rates are all 1.6 times what production shows; the first behaviour doubles."""
    production, control = counts([1000] * 12, 1e6), counts([1600] * 12, 1e6)
    candidate = counts([3200] + [1600] * 11, 1e6)
    found = calibrated(candidate, production, control)
    assert found.rate[0] == pytest.approx(2e-3, rel=0.06)
    assert found.rate[1:] == pytest.approx(np.full(11, 1e-3), rel=0.03)
    assert simulated(candidate).rate[0] == pytest.approx(3.2e-3, rel=0.01)
    assert found.chance_of_increase[0] > 0.99


def test_with_few_events_the_forecast_stays_near_what_production_showed() -> None:
    production, candidate = counts([200] * 10, 1e6), counts([0] + [2] * 9, 1e4)
    found = calibrated(candidate, production, counts([2] * 10, 1e4))
    assert found.rate == pytest.approx(np.full(10, 2e-4), rel=0.4)
    assert direction(float(found.chance_of_increase[0])) == "no call"


def test_a_bias_that_earlier_releases_showed_is_taken_out_where_the_control_arm_saw_little() -> (
    None
):
    """The simulator doubles half of the behaviours and halves the others, in every release."""
    bias = np.exp(np.log(2) * np.where(np.arange(12) % 2, 1, -1))
    nothing = Counts(np.zeros(12), np.full(12, 0.5))
    earlier = [(counts([800.0] * 12, 1e6), Counts(800 * bias, np.full(12, 1e6)))] * 3
    arms = Counts(80 * bias, np.full(12, 1e5)), counts([4] * 12, 5e3), None
    learned, alone = calibrated(*arms, earlier), calibrated(*arms)
    assert learned.rate == pytest.approx(np.full(12, 8e-4), rel=0.15)
    assert np.abs(np.log(learned.rate / 8e-4)).max() < 0.5 * np.abs(np.log(alone.rate / 8e-4)).max()
    assert (learned.log_variance < alone.log_variance).all()
    unknown = calibrated(*arms, [(nothing, nothing)])
    assert unknown.rate == pytest.approx(alone.rate, rel=0.05)


def test_where_both_versions_answers_are_recorded_no_bias_of_a_simulator_is_sought() -> None:
    production, candidate = counts([200] * 4, 1e3), counts([400] * 3 + [200], 1e3)
    found = calibrated(candidate, production, production)
    assert found.rate == pytest.approx([0.4, 0.4, 0.4, 0.2], rel=0.03)
    # the same counts are no second measurement of what was in service
    assert (found.log_variance > 0.8 * special.polygamma(1, 400.5)).all()


def test_earlier_releases_that_contradict_each_other_are_hardly_listened_to() -> None:
    random = np.random.default_rng(8)
    now = np.exp(random.normal(0, 0.5, 20))
    production, candidate = counts([2000.0] * 20, 1e6), Counts(2000 * now, np.full(20, 1e6))
    control = Counts(2000 * now, np.full(20, 1e6))
    earlier = [
        (production, Counts(2000 * np.exp(random.normal(0, 0.5, 20)), production.e))
        for _ in range(3)
    ]
    found = calibrated(candidate, production, control, earlier)
    assert found.rate == pytest.approx(calibrated(candidate, production, control).rate, rel=0.02)


def test_the_discrepancy_starts_where_the_control_arms_of_the_home_put_it() -> None:
    """Fifteen behaviours against one residual of the published size."""
    random = np.random.default_rng(9)
    production, unknown = counts([1000] * 15, 1e6), counts([0] * 15, 0.5)
    assert environment([]) == pytest.approx(0.60)
    for sd in (0.1, 0.8):
        there = Counts(1000 * np.exp(random.normal(0, sd, 15)), production.e)
        start = environment([(production, there), (unknown, there), (production, unknown)])
        assert start == pytest.approx(np.sqrt((15 * sd**2 + 0.36) / 16), rel=0.3)
        assert start == environment([(production, there)])
        assert discrepancy([], [], [], [], start=start) == pytest.approx(start, rel=0.05)


def test_without_production_or_control_it_still_forecasts_and_says_that_it_knows_less() -> None:
    candidate, production, control = (
        counts([50, 5, 0, 500], 1e5),
        counts([40, 4, 1, 400], 1e5),
        counts([42, 6, 0, 420], 1e5),
    )
    whole, no_control, alone = (
        calibrated(candidate, production, control),
        calibrated(candidate, production, None),
        calibrated(candidate, None, None),
    )
    for found in (whole, no_control, alone):
        assert np.all((found.rate > 0) & (found.rate < 0.05))
        assert np.all(np.isfinite(found.log_variance))
    assert no_control.log_variance[3] > whole.log_variance[3]
    assert alone.log_variance[3] > whole.log_variance[3]


cells = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300)),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40)
@given(rows=cells, seed=st.integers(0, 9))
def test_any_counts_give_rates_between_0_and_1_and_the_order_of_behaviours_does_not_matter(
    rows: list[tuple[int, int, int]], seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(rows))
    # Two releases at once: the second has the behaviours of the first in another order.
    x1, x0, q = (
        Counts(both, np.full(both.shape, 20_000.0))
        for both in (np.stack([x, x[order]]) for x in np.array(rows, dtype=np.float64).T)
    )
    found = calibrated(x1, q, x0)
    low, high = found.interval(20_000, 0.3)
    assert np.all((found.rate > 0) & (found.rate <= 1) & (low <= found.rate) & (found.rate <= high))
    assert np.all((found.chance_of_increase >= 0) & (found.chance_of_increase <= 1))
    assert found.rate[1] == pytest.approx(found.rate[0][order], rel=1e-6)


def test_rates_above_one_half_stay_rates() -> None:
    found = calibrated(counts([90, 100], 100), counts([80, 100], 100), counts([85, 100], 100))
    low, high = found.interval(100, 0.3)
    assert np.all((found.rate <= 1) & (high <= 1) & (low > 0))


@pytest.mark.parametrize("events", [0, 1])
def test_one_message_of_one_behaviour_is_forecast_as_barely_known(events: int) -> None:
    """A count on one message is nothing or all."""
    one = counts([events], 1)
    found = calibrated(one, one, one)
    low, high = found.interval(1, 0.6)
    assert 0 == low[0] < found.rate[0] <= high[0] == 1
    low, high = found.interval(1000, 0.6)
    assert low[0] < 0.5
    assert high[0] > 0.5


@pytest.mark.parametrize("expected", [0.1, 0.5, 1.0, 3.0, 30.0])
def test_with_nothing_wrong_in_the_world_the_interval_holds_nine_of_ten_counts(
    expected: float,
) -> None:
    """Nothing changes, the simulator is right, and every count has that many expected events:
    most counts of the rarest are zero.
    """
    random, n = np.random.default_rng(6), 10_000.0
    shape = (100, 20)
    candidate, production, control = (
        Counts(random.poisson(expected, shape).astype(np.float64), np.full(shape, n))
        for _ in range(3)
    )
    made = calibrated(candidate, production, control)
    observed = random.poisson(expected, shape) / n
    for tau in (0.03, 0.6):
        low, high = made.interval(n, tau)
        assert np.mean((low <= observed) & (observed <= high)) >= 0.9
        assert np.all((low <= made.rate) & (made.rate <= high))


def test_the_limits_of_a_few_expected_events_are_those_of_a_count_and_of_many_log_normal() -> None:
    few = Forecast(np.array([1e-5, 3e-4, 1e-3]), np.zeros(3), np.full(3, 0.5))
    limits = stats.poisson.ppf([[0.05], [0.95]], [0.1, 3, 10]) / 10_000
    assert np.array(few.interval(10_000, 1e-4)) == pytest.approx(limits)
    many = Forecast(np.array([1e-2, 1e-2]), np.array([0.0, 0.75]), np.full(2, 0.5))
    low, high = many.interval(1e8, 0.5)
    reach = np.exp(1.6449 * np.array([0.5, 1.0]))
    assert low == pytest.approx(1e-2 / reach, rel=2e-3)
    assert high == pytest.approx(1e-2 * reach, rel=2e-3)


def test_discrepancy_starts_at_a_published_median_error_and_learns_from_counts() -> None:
    """Without any .60, a median error of 1.5: exp(.6745 x .60)."""
    random = np.random.default_rng(2)
    assert discrepancy([], [], [], []) == pytest.approx(0.60, abs=0.01)
    p, n = np.full(60, 1e-2), np.full(60, 1e6)
    exact, vague = np.full(60, 1e-3), np.full(60, 5.0)
    small, large = (random.poisson(p * n * np.exp(random.normal(0, sd, 60))) for sd in (0.15, 1.0))
    assert discrepancy(p, exact, small, n) == pytest.approx(0.17, abs=0.05)
    assert discrepancy(p, exact, large, n) == pytest.approx(1.0, abs=0.15)
    assert discrepancy(p, vague, small, n) > 0.05  # forecasts that knew nothing leave the start
    for bad in (
        ([0.1], [], [], []),
        ([0.0], [0.1], [1], [9]),
        ([np.nan], [0.1], [1], [9]),
        ([0.1], [-1.0], [1], [9]),
        ([0.1], [0.1], [1], [0]),
    ):
        with pytest.raises(ValueError, match="log_variances"):
            discrepancy(*bad)


def test_a_behaviour_that_was_never_seen_widens_the_discrepancy_where_it_was_expected() -> None:
    p, n = np.full(20, 1e-4), np.full(20, 1e5)
    right, rare = np.full(20, 10), np.full(20, 1e-7)
    known = np.full(20, 0.01)
    assert discrepancy(p, known, np.where(np.arange(20) < 5, 0, right), n) > 2 * discrepancy(
        p, known, right, n
    )
    with_rare = [np.concatenate(pair) for pair in ((p, rare), (known, known), (right, 0 * right))]
    assert discrepancy(*with_rare, np.concatenate([n, n])) == pytest.approx(
        discrepancy(p, known, right, n), rel=0.05
    )


def test_persistence_is_what_production_showed() -> None:
    assert persistence(counts([9.5], 1e4)).rate == pytest.approx([1e-3])


@pytest.mark.parametrize(
    ("chance", "call"), [(0.81, "increase"), (0.5, "no call"), (0.19, "decrease")]
)
def test_a_direction_is_called_only_when_it_is_likely(chance: float, call: str) -> None:
    assert direction(chance) == call


def test_in_synthetic_worlds_the_full_method_beats_the_simulated_rate_and_persistence() -> None:
    """60 worlds of 50,000 messages: the documented figures are of 200."""
    for world, limit in ((BASE, 1.34), (PESSIMISTIC, 1.48)):
        found = validate(world, 50_000, 60)
        full, naive, same = (found[name]["median"] for name in ("M7", "M0", "persistence"))  # type: ignore[index]  # dictionaries
        assert full <= limit
        assert full <= 0.95 * naive
        assert full <= same
        assert 0.87 <= float(str(found["coverage_90"])) <= 0.97


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_without_a_ledger_the_interval_holds_nine_of_ten_and_is_narrower_than_the_published_error(
    world: World,
) -> None:
    """What the control arms show stands for the discrepancy until a release is scored."""
    now = draw(world, 200_000, 40, np.random.default_rng(5))
    made, truth = forecasts(now)["M7"], now.deployed_events / now.messages
    low, high = made.interval(now.messages, taus([], now)[:, None])
    assert 0.9 <= ((low <= truth) & (truth <= high)).mean() <= 0.995
    _, published = made.interval(now.messages, 0.60)
    common = truth > 1e-4
    assert np.median(high[common] / made.rate[common]) < np.median(
        published[common] / made.rate[common]
    )


def test_earlier_releases_of_a_world_make_the_next_forecast_better_where_counts_are_few() -> None:
    for world, times in ((BASE, 0.99), (OPTIMISTIC, 1.0)):
        random = np.random.default_rng(3)
        lasting = random.normal(0, 1, (60, 20))
        *history, now = (draw(world, 50_000, 60, random, lasting) for _ in range(4))
        truth = now.deployed_events / now.messages
        seen = truth > 1e-5
        with_them, without = (
            np.abs(np.log(forecasts(now, past)["M7"].rate[seen] / truth[seen])).mean()
            for past in (history, [])
        )
        assert with_them < times * without


def test_a_world_is_the_same_each_time_and_its_counts_follow_its_rates() -> None:
    one, two = (draw(BASE, 200_000, 3, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one.candidate, two.candidate)
    assert one.candidate.shape == (3, 20, 24)
    assert one.deployed_events.sum() == pytest.approx(one.deployed_rate.sum() * 200_000, rel=0.05)
    assert set(forecasts(one)) == {"persistence", "M0", "M2", "M3", "M7"}
