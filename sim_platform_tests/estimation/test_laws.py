"""Laws that hold for every input, not only for published ones."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sim_platform.estimation import intervals, multiplicity, paired, rates, ratio
from sim_platform.estimation.intervals import Interval

Cells = tuple[list[int], list[float]]
BINOMIAL = ("midp", "clopper-pearson", "wilson", "jeffreys")
WEIGHTED = ("fay-feuer", "fay-kim")
counts = st.integers(0, 60)
exposures = st.floats(0.5, 1e6)
confidence = st.sampled_from([0.8, 0.9, 0.95, 0.99])
probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=25)


@st.composite
def cells(draw: st.DrawFn, *, top: int = 20) -> Cells:
    x = draw(st.lists(st.integers(0, top), min_size=1, max_size=12))
    return x, draw(st.lists(st.floats(1e-4, 1e3), min_size=len(x), max_size=len(x)))


def same(one: Interval, two: Interval, *, scale: float = 1.0) -> bool:
    return bool(
        np.allclose(
            [one.estimate, one.low, one.high],
            [scale * np.asarray(v) for v in (two.estimate, two.low, two.high)],
            rtol=1e-7,
            atol=1e-12 * max(scale, 1),
        )
    )


def in_order(found: Interval) -> bool:
    values = np.array([found.low, found.estimate, found.high])
    return (
        not np.isnan(values).any()
        and bool(np.all(np.diff(values, axis=0) >= 0))
        and bool(np.isfinite(values[:2]).all())
    )


# one rate


@pytest.mark.parametrize("method", BINOMIAL)
@given(k=counts, rest=counts, conf=confidence)
def test_binomial_limits_are_in_order_and_swap_with_the_complement(
    method: str, k: int, rest: int, conf: float
) -> None:
    if k + rest == 0:
        return
    found, mirrored = (
        intervals.binomial(k, k + rest, method, conf),
        intervals.binomial(rest, k + rest, method, conf),
    )  # type: ignore[arg-type]  # a parametrised literal
    assert in_order(found)
    assert 0 <= found.low <= found.high <= 1
    assert np.allclose(
        [found.low, found.high],
        [1 - np.asarray(mirrored.high), 1 - np.asarray(mirrored.low)],
        atol=1e-9,
    )


@pytest.mark.parametrize("method", BINOMIAL)
@given(n=st.integers(1, 80), conf=confidence)
def test_binomial_limits_rise_with_k(method: str, n: int, conf: float) -> None:
    found = intervals.binomial(np.arange(n + 1), n, method, conf)  # type: ignore[arg-type]  # a parametrised literal
    assert np.all(np.diff(found.low) > -1e-12)
    assert np.all(np.diff(found.high) > -1e-12)
    assert (np.asarray(found.low)[0], np.asarray(found.high)[-1]) == (0, 1)


@given(k=counts, exposure=exposures, conf=confidence)
def test_equal_weights_are_the_unweighted_interval(k: int, exposure: float, conf: float) -> None:
    ones, weights = np.repeat([1, 0], [k, 3]), np.full(k + 3, 1 / exposure)
    assert same(
        intervals.weighted(ones, weights, "fay-feuer", conf),
        intervals.poisson(k, exposure, "garwood", conf),
    )
    assert same(
        intervals.weighted(ones, weights, "fay-kim", conf),
        intervals.poisson(k, exposure, "midp", conf),
    )


@pytest.mark.parametrize("method", ["garwood", "midp"])
@given(k=st.floats(0, 1e12), exposure=st.floats(1e-300, 1e300), conf=confidence)
@example(k=5e-324, exposure=1.0, conf=0.95)
@example(k=1e-310, exposure=1e300, conf=0.95)
@example(k=0.0, exposure=5e-324, conf=0.95)
def test_the_smallest_count_and_any_exposure_have_limits_that_are_numbers(
    method: str, k: float, exposure: float, conf: float
) -> None:
    found = intervals.poisson(k, exposure, method, conf)  # type: ignore[arg-type]  # a parametrised literal
    assert 0 <= found.low <= found.estimate <= found.high  # not so of NaN
    assert found.high > 0
    if k < 1e-3:
        assert (found.low, found.high) == pytest.approx(
            (0, intervals.poisson(0, exposure, method, conf).high), rel=2e-3, abs=1e-3 / exposure
        )  # type: ignore[arg-type]


@pytest.mark.parametrize("method", WEIGHTED)
@given(data=cells(), conf=confidence, factor=st.floats(1e-6, 1e6))
def test_weighted_limits_are_in_order_and_scale_with_the_weights(
    method: str, data: Cells, conf: float, factor: float
) -> None:
    x, w = data
    found = intervals.weighted(x, w, method, conf)  # type: ignore[arg-type]  # a parametrised literal
    assert in_order(found)
    assert math.isfinite(float(np.asarray(found.high)))
    assert (found.low == 0) == (sum(x) == 0)
    assert same(intervals.weighted(x, np.array(w) * factor, method, conf), found, scale=factor)  # type: ignore[arg-type]  # a parametrised literal


@pytest.mark.parametrize("method", WEIGHTED)
@given(data=cells(top=6))
def test_splitting_a_cell_into_rows_and_reordering_change_nothing(method: str, data: Cells) -> None:
    x, w = data
    rows = [(one, weight) for k, weight in zip(x, w, strict=True) for one in [1] * k + [0]][::-1]
    found = intervals.weighted([r[0] for r in rows], [r[1] for r in rows], method)  # type: ignore[arg-type]  # a parametrised literal
    assert same(found, intervals.weighted(x, w, method))  # type: ignore[arg-type]  # a parametrised literal


@pytest.mark.parametrize("method", WEIGHTED)
@given(data=cells())
def test_one_event_more_of_the_largest_weight_raises_the_upper_limit(
    method: str, data: Cells
) -> None:
    x, w = data
    more = [*x]
    more[int(np.argmax(w))] += 1
    before, after = (intervals.weighted(v, w, method) for v in (x, more))  # type: ignore[arg-type]  # a parametrised literal
    assert float(np.asarray(after.high)) > float(np.asarray(before.high))


@given(data=cells(top=1))
def test_clusters_of_one_change_nothing(data: Cells) -> None:
    x, w = data
    assert same(intervals.weighted(x, w, clusters=np.arange(len(x))), intervals.weighted(x, w))


@given(data=cells(top=1), groups=st.integers(1, 4))
def test_clusters_never_raise_the_lower_or_lower_the_upper_limit(data: Cells, groups: int) -> None:
    x, w = data
    alone, clustered = (
        intervals.weighted(x, w),
        intervals.weighted(x, w, clusters=np.arange(len(x)) % groups),
    )
    assert float(np.asarray(clustered.low)) <= float(np.asarray(alone.low)) * (1 + 1e-9)
    assert float(np.asarray(clustered.high)) >= float(np.asarray(alone.high)) * (1 - 1e-9)


def test_several_behaviours_at_once_are_the_same_as_one_by_one() -> None:
    x, w, clusters = (
        np.array([[0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]),
        np.array([0.1, 0.2, 0.3, 0.4]),
        np.array(["a", "a", "b", "b"]),
    )
    for method in WEIGHTED:
        found = intervals.weighted(x, w, method, clusters=clusters)  # type: ignore[arg-type]  # a listed literal
        one_by_one = [intervals.weighted(row, w, method, clusters=clusters) for row in x]  # type: ignore[arg-type]  # a listed literal
        assert np.allclose(
            [found.estimate, found.low, found.high],
            np.transpose([[i.estimate, i.low, i.high] for i in one_by_one]),
        )


def test_the_engines_design_effect_is_the_one_of_its_formula() -> None:
    sums = intervals.moments([1, 1, 1, 0], np.full(4, 0.25), np.array([0, 0, 1, 1]))
    assert (
        float(sums.total),
        float(sums.variance),
        float(sums.design_effect),
        float(sums.largest_weight),
    ) == pytest.approx((0.75, 0.3125, 5 / 3, 0.25 * 5 / 3))


# one rate of known messages, small or not


def share_of(k: int, n: int) -> rates.Share:
    return rates.share(np.repeat([1.0, 0.0], [k, n - k]), np.ones(n))


@pytest.mark.parametrize(
    ("method", "small", "common"),
    [("fay-feuer", "garwood", "clopper-pearson"), ("fay-kim", "midp", "midp")],
)
@given(k=st.integers(0, 400), n=st.integers(1, 400), conf=confidence)
def test_equal_weights_have_poisson_limits_at_small_rates_and_binomial_ones_at_common_rates(
    method: str, small: str, common: str, k: int, n: int, conf: float
) -> None:
    k = min(k, n)
    found = rates.limits(share_of(k, n), method, conf)  # type: ignore[arg-type]  # a parametrised literal
    binomial = float(rates.share_of_binomial(k / n, 1 / n))
    if binomial == 0:
        plain = intervals.poisson(k, n, small, conf)  # type: ignore[arg-type]  # a parametrised literal
        assert (found.low, found.high) == pytest.approx((plain.low, min(1.0, float(plain.high))))
    elif binomial == 1:
        plain = intervals.binomial(k, n, common, conf)  # type: ignore[arg-type]  # a parametrised literal
        assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=1e-6)
    assert in_order(found)
    assert 0 <= found.low <= found.high <= 1


@pytest.mark.parametrize("method", WEIGHTED)
@pytest.mark.parametrize("n", [*range(1, 9), 12, 20, 40, 120, 1000])
def test_limits_of_a_rate_rise_with_the_estimate_through_the_switch(method: str, n: int) -> None:
    found = [rates.limits(share_of(k, n), method) for k in range(min(n, 70) + 1)]  # type: ignore[arg-type]  # a parametrised literal
    assert np.all(np.diff([float(i.low) for i in found]) > -1e-12)  # type: ignore[arg-type]  # floats
    assert np.all(np.diff([float(i.high) for i in found]) > -1e-12)  # type: ignore[arg-type]  # floats


@pytest.mark.parametrize("method", WEIGHTED)
@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_limits_of_a_rate_do_not_jump_where_binomial_ones_take_over(
    method: str, spread: float
) -> None:
    """The same sample with a rate that moves in steps of 5 per 100,000: no limit moves by
    more than a few such steps, and never back.
    """
    y = np.arange(0.005, 0.06, 5e-5)
    units = spread / 2000
    found = rates.limits(
        rates.Share(y, y * units, y * units, np.asarray(units), np.asarray(units)),
        method,  # type: ignore[arg-type]  # a parametrised literal
    )
    for limit in (found.low, found.high):
        steps = np.diff(np.asarray(limit)) / 5e-5
        assert steps.min() > 0
        assert steps.max() < 3


@st.composite
def messages(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    n = draw(st.integers(1, 40))
    of = [
        draw(st.lists(values, min_size=n, max_size=n))
        for values in (
            st.sampled_from([0.0, 0.0, 0.5, 1.0]),
            st.floats(0.1, 50),
            st.integers(0, 12),
            st.sampled_from("ab"),
        )
    ]
    return np.array(of[0]), np.array(of[1]), np.array(of[2]), np.array(of[3])


@given(rows=messages())
def test_limits_of_a_rate_are_nested_in_confidence_and_lie_between_0_and_1(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    x, w, users, strata = rows
    found = rates.share(x, w, users, strata, repeats=2)
    for method in WEIGHTED:
        limits = [rates.limits(found, method, conf) for conf in (0.5, 0.9, 0.95, 0.99)]  # type: ignore[arg-type]  # a listed literal
        assert all(in_order(i) and i.low >= 0 and i.high <= 1 for i in limits)  # type: ignore[operator]  # floats
        assert np.all(np.diff([float(i.low) for i in limits]) <= 1e-9)  # type: ignore[arg-type]  # floats
        assert np.all(np.diff([float(i.high) for i in limits]) >= -1e-9)  # type: ignore[arg-type]  # floats


@given(rows=messages(), scale=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_a_rate_ignores_order_names_and_scale_and_never_gains_from_users(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], scale: float, seed: int
) -> None:
    x, w, users, strata = rows
    found = rates.share(x, w, users, strata)
    order = np.random.default_rng(seed).permutation(len(x))
    names = np.array([f"user {i * 1_000_003}" for i in users])
    again = rates.share(x[order], w[order] * scale, names[order], strata[order])
    assert same(rates.limits(found), rates.limits(again))
    assert float(again.n_effective) == pytest.approx(float(found.n_effective), rel=1e-6)
    alone, apart = rates.share(x, w), rates.share(x, w, np.arange(len(x)), strata)
    assert same(rates.limits(alone), rates.limits(apart))
    one, two = rates.limits(alone), rates.limits(found)
    assert float(two.low) <= float(one.low) + 1e-9  # type: ignore[arg-type]  # floats
    assert float(two.high) >= float(one.high) - 1e-9  # type: ignore[arg-type]  # floats
    assert float(found.n_effective) <= float(alone.n_effective) * (1 + 1e-9)


@given(k=st.integers(20, 280), conf=confidence)
def test_a_common_rate_and_its_complement_have_the_same_limits(k: int, conf: float) -> None:
    w = np.tile([1.0, 2.0, 5.0], 100)
    x = (np.random.default_rng(k).permutation(300) < k).astype(float)
    found = [rates.limits(rates.share(v, w), "fay-feuer", conf) for v in (x, 1 - x)]
    if found[0].estimate > 0.05 and found[1].estimate > 0.05:  # type: ignore[operator]  # floats
        assert (found[0].low, found[0].high) == pytest.approx(
            (1 - np.asarray(found[1].high), 1 - np.asarray(found[1].low)), rel=1e-6
        )


def test_rows_that_stand_for_several_messages_are_as_many_users() -> None:
    x, w = np.array([0, 0, 1, 1, 0.0]), np.array([1.0, 2.0, 1.0, 1.0, 1.0])
    users, strata = np.array([0, 1, 2, 2, 3]), np.array([0, 1, 0, 1, 1])
    folded = rates.share(x, w, users, strata, np.array([4, 3, 1, 1, 1]))
    place = np.repeat(np.arange(5), [4, 3, 1, 1, 1])
    apart = np.array([10, 11, 12, 13, 14, 15, 16, 2, 2, 3])
    each = rates.share(x[place], w[place], apart, strata[place])
    assert same(rates.limits(folded), rates.limits(each))
    assert float(folded.n_effective) == pytest.approx(float(each.n_effective))


def test_users_with_many_messages_that_do_not_hang_together_cost_little() -> None:
    """Rate .15, twenty messages a user: the plain sums of users made 323 of 1,840."""
    random = np.random.default_rng(11)
    users, sizes = np.repeat(np.arange(92), 20), []
    for _ in range(20):
        x = (random.random(1840) < 0.15).astype(float)
        sizes.append(float(rates.share(x, np.ones(1840), users).n_effective))
    assert np.median(sizes) > 1500
    assert max(sizes) <= 1840 * (1 + 1e-9)


def test_a_share_that_every_repeat_halves_is_worth_no_more_than_its_completions() -> None:
    found = rates.share(np.full(10, 0.5), np.ones(10), np.arange(10), repeats=2)
    assert float(found.n_effective) == pytest.approx(20)


def test_all_events_of_one_user_are_one_event_and_a_sample_of_one_user_says_nothing_of_others() -> (
    None
):
    x, users = np.repeat([1.0, 0.0], [6, 194]), np.repeat([0, *range(1, 195)], [6, *[1] * 194])
    assert rates.share(x, np.ones(200), users).clustering.design_effect == pytest.approx(6)
    lone = rates.share(x, np.ones(200), np.zeros(200))
    assert lone.clustering.design_effect == pytest.approx(6)
    whole = rates.share(np.ones(8), np.ones(8), np.zeros(8))
    assert whole.clustering.design_effect == pytest.approx(8)


# two independent rates


@pytest.mark.parametrize("method", ["exact", "midp", "score"])
@given(x1=counts, t1=exposures, x2=counts, t2=exposures, conf=confidence)
def test_poisson_ratio_is_in_order_and_inverts_when_swapped(
    method: str, x1: int, t1: float, x2: int, t2: float, conf: float
) -> None:
    found, swapped = (
        ratio.poisson(x1, t1, x2, t2, conf, method),
        ratio.poisson(x2, t2, x1, t1, conf, method),
    )  # type: ignore[arg-type]  # a parametrised literal
    assert in_order(found)
    assert (found.low == 0, math.isinf(float(np.asarray(found.high)))) == (x1 == 0, x2 == 0)
    with np.errstate(divide="ignore"):
        inverted = 1 / np.array([swapped.estimate, swapped.high, swapped.low])
    assert np.allclose([found.estimate, found.low, found.high], inverted, rtol=1e-6)


@given(x1=counts, t1=exposures, x2=counts, t2=exposures, conf=confidence)
def test_the_p_of_two_rates_agrees_with_their_interval_and_does_not_change_when_swapped(
    x1: int, t1: float, x2: int, t2: float, conf: float
) -> None:
    p = float(ratio.poisson_test(x1, t1, x2, t2))
    assert p == pytest.approx(float(ratio.poisson_test(x2, t2, x1, t1)), abs=1e-9)
    assert 0 <= p <= 1
    found = ratio.poisson(x1, t1, x2, t2, conf, "midp")
    if abs(p - (1 - conf)) > 1e-6:
        assert (p > 1 - conf) == bool(found.low <= 1 <= found.high)


# two arms on the same prefixes


@pytest.mark.parametrize(
    ("method", "d"), [("bonett-price", None), ("score", None), ("mover-r", None), ("mover-r", 40)]
)
@given(a=counts, b=counts, c=counts, conf=confidence)
def test_paired_ratio_is_in_order_and_inverts_when_swapped(
    method: str, d: int | None, a: int, b: int, c: int, conf: float
) -> None:
    found, swapped = (
        paired.ratio(a, b, c, conf, method, d=d),
        paired.ratio(a, c, b, conf, method, d=d),
    )  # type: ignore[arg-type]  # a parametrised literal
    assert in_order(found)
    assert (found.low == 0, math.isinf(float(np.asarray(found.high)))) == (a + b == 0, a + c == 0)
    with np.errstate(divide="ignore"):
        inverted = 1 / np.array([swapped.estimate, swapped.high, swapped.low])
    assert np.allclose([found.estimate, found.low, found.high], inverted, rtol=1e-6)


@pytest.mark.parametrize("d", [None, 40])
def test_limits_for_decisions_about_a_ratio_are_nested_in_confidence(d: int | None) -> None:
    """With one event in an arm and more in the other, more confidence gave closer limits."""
    a, b, c = np.meshgrid(*[np.arange(9)] * 3, indexing="ij")
    tails = np.exp(np.linspace(np.log(0.45), np.log(1e-9), 40))
    found = [paired.ratio(a, b, c, 1 - 2 * t, "mover-r", d=d) for t in tails]
    for wide, near in zip(found[1:], found, strict=False):
        assert np.all(np.asarray(wide.low) <= np.asarray(near.low) * (1 + 1e-7))
        assert np.all(np.asarray(wide.high) >= np.asarray(near.high) * (1 - 1e-7))


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 0.5, 1]), st.sampled_from([0, 0.5, 1]), st.floats(0.1, 20)),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 4),
)
def test_limits_for_decisions_about_weighted_pairs_are_nested_in_confidence(
    rows: list[tuple[float, float, float]], groups: int
) -> None:
    first, second, w = np.array(rows, dtype=float).T
    cells = first * second, first * (1 - second), (1 - first) * second
    clusters = np.arange(len(rows)) // groups
    found = [
        paired.gate_ratio(*cells, w, conf, clusters) for conf in (0.5, 0.8, 0.9, 0.95, 0.99, 0.9999)
    ]
    assert np.all(np.diff([float(i.low) for i in found]) <= 1e-9)  # type: ignore[arg-type]  # floats
    highs = np.array([float(i.high) for i in found])  # type: ignore[arg-type]  # floats
    assert np.all(highs[1:] >= highs[:-1] * (1 - 1e-9))


def test_a_ratio_over_users_whose_messages_do_not_hang_together_is_as_sure_as_over_lone_ones() -> (
    None
):
    """Twenty messages a user, rate .15: the plain sums of users made the interval four times as
    wide.
    """
    random = np.random.default_rng(12)
    users, widths = np.repeat(np.arange(92), 20), []
    for _ in range(20):
        first, second = (random.random((2, 1840)) < 0.15).astype(float)
        cells = first * second, first * (1 - second), (1 - first) * second
        sets = [
            f(*cells, np.ones(1840), 0.9, clusters)
            for f in (paired.weighted_ratio, paired.gate_ratio)
            for clusters in (users, np.arange(1840))
        ]
        widths.append([math.log(float(i.high) / float(i.low)) for i in sets])  # type: ignore[arg-type]  # floats
    shown, shown_alone, gate, gate_alone = np.median(widths, axis=0)
    assert 1 <= shown / shown_alone < 1.15
    assert 1 <= gate / gate_alone < 1.15


@pytest.mark.parametrize("method", ["tango", "newcombe", "bonett-price"])
@given(a=counts, b=counts, c=counts, d=counts, conf=confidence)
def test_paired_difference_is_in_order_and_changes_sign_when_swapped(
    method: str, a: int, b: int, c: int, d: int, conf: float
) -> None:
    if a + b + c + d == 0:
        return
    found, swapped = (
        paired.difference(a, b, c, d, conf, method),
        paired.difference(a, c, b, d, conf, method),
    )  # type: ignore[arg-type]  # a parametrised literal
    assert in_order(found)
    assert -1 <= found.low <= found.high <= 1
    assert np.allclose(
        [found.estimate, found.low, found.high],
        [-np.asarray(swapped.estimate), -np.asarray(swapped.high), -np.asarray(swapped.low)],
        atol=1e-9,
    )


@given(b=counts, c=counts)
def test_mcnemar_is_a_probability_the_same_when_swapped_and_midp_below_exact(
    b: int, c: int
) -> None:
    midp, exact = paired.mcnemar(b, c), paired.mcnemar(b, c, "exact")
    assert 0 < midp <= exact <= 1
    assert (paired.mcnemar(c, b), paired.mcnemar(c, b, "exact")) == (midp, exact)
    if b == c:
        assert exact == 1
    if b + c < 6:
        assert exact > 0.05


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60), st.floats(0.01, 100)
)
def test_equal_weights_are_the_unweighted_pairs(
    pairs: list[tuple[bool, bool]], weight: float
) -> None:
    first, second = np.array(pairs, dtype=float).T
    a, b, c = first * second, first * (1 - second), (1 - first) * second
    weights = np.full(len(pairs), weight)
    assert same(paired.weighted_ratio(a, b, c, weights), paired.ratio(a.sum(), b.sum(), c.sum()))
    assert same(
        paired.weighted_difference(b, c, weights),
        paired.difference(a.sum(), b.sum(), c.sum(), len(pairs) - (a + b + c).sum()),
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0]), st.floats(0.1, 50)
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 5),
    st.floats(0.01, 100),
)
def test_weighted_pairs_are_in_order_swap_and_ignore_the_scale_of_weights(
    rows: list[tuple[float, float, float]], groups: int, factor: float
) -> None:
    first, second, w = np.array(rows).T
    a, b, c, clusters = (
        first * second,
        first * (1 - second),
        (1 - first) * second,
        np.arange(len(rows)) // groups,
    )
    found, swapped = (
        paired.weighted_difference(b, c, w, clusters=clusters),
        paired.weighted_difference(c, b, w, clusters=clusters),
    )
    assert in_order(found)
    assert found.low < found.high
    assert np.allclose(
        [found.estimate, found.low, found.high],
        [-np.asarray(swapped.estimate), -np.asarray(swapped.high), -np.asarray(swapped.low)],
        atol=1e-9,
    )
    assert same(paired.weighted_difference(b, c, w * factor, clusters=clusters), found)
    ratio_found = paired.weighted_ratio(a, b, c, w, clusters=clusters)
    assert in_order(ratio_found)
    scaled = paired.weighted_ratio(a, b, c, w * factor, clusters=clusters)
    assert np.allclose(
        [ratio_found.estimate, ratio_found.low, ratio_found.high],
        [scaled.estimate, scaled.low, scaled.high],
    )


# families


@given(p=probabilities, seed=st.integers(0, 99))
def test_adjusted_p_keep_the_order_and_do_not_depend_on_it(p: list[float], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(p))
    for adjust in (multiplicity.holm, multiplicity.bh):
        adjusted = adjust(p)
        assert np.all(adjusted >= np.array(p) * (1 - 1e-15))
        assert np.all(adjusted <= 1)
        assert np.allclose(adjust(np.array(p)[order]), adjusted[order])
        assert np.all(np.diff(adjusted[np.argsort(p)]) >= 0)
    assert np.all(multiplicity.bh(p) <= multiplicity.holm(p) * (1 + 1e-12))


# input that cannot be


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: intervals.binomial(3, 2), "k is greater than n: 3 of 2"),
        (lambda: intervals.binomial(0, 0), "n must be finite and positive: 0"),
        (lambda: intervals.binomial(1, 2, conf=1), "conf must lie between 0 and 1: 1"),
        (lambda: intervals.binomial(1, 2, "wald"), 'method: "wald"'),
        (lambda: intervals.poisson([1, -1], 2), r"k\[1\] must be finite and not negative: -1"),
        (lambda: intervals.poisson(1, math.inf), "exposure must be finite and positive: inf"),
        (lambda: intervals.poisson(1, 1, "wald"), 'method: "wald"'),
        (
            lambda: intervals.weighted([1, math.nan], [1, 1]),
            r"counts\[1\] must be finite and not negative: nan",
        ),
        (
            lambda: intervals.weighted([1, 1], [1, -2]),
            r"weights\[1\] must be finite and positive: -2",
        ),
        (
            lambda: intervals.weighted([1, 1], [math.inf, 1]),
            r"weights\[0\] must be finite and positive: inf",
        ),
        (lambda: intervals.weighted([1, 1], [1]), r"counts \(2,\), weights \(1,\)"),
        (lambda: intervals.weighted([], []), r"there must be a cell"),
        (
            lambda: intervals.weighted([1], [1], clusters=np.arange(2)),
            "clusters must have one label per cell",
        ),
        (lambda: intervals.weighted([1], [1], w_max=0), "w_max must be finite and positive: 0"),
        (lambda: intervals.weighted([1], [1], "tiwari"), 'method: "tiwari"'),
        (lambda: intervals.detection_floor(0), "n_effective must be finite and positive: 0"),
        (lambda: rates.share([], []), "at least one"),
        (lambda: rates.share([2], [1]), "outcomes must lie in \\[0, 1\\]: 2"),
        (lambda: rates.share([1, 0], [1, 0]), r"weights\[1\] must be finite and positive: 0"),
        (lambda: rates.share([1], [1], np.arange(2)), "clusters must have one label per row"),
        (lambda: ratio.poisson(1, 0, 1, 1), "t1 must be finite and positive: 0"),
        (lambda: ratio.poisson(1, 1, 1, 1, method="wald"), 'method: "wald"'),
        (lambda: paired.mcnemar(-1, 1), "b must be finite and not negative: -1"),
        (lambda: paired.mcnemar(1, 1, "yates"), 'method: "yates"'),
        (lambda: paired.ratio(1, 1, math.nan), "c must be finite and not negative: nan"),
        (lambda: paired.ratio(1, 1, 1, method="wald"), 'method: "wald"'),
        (lambda: paired.difference(0, 0, 0, 0), r"a \+ b \+ c \+ d must be finite and positive: 0"),
        (lambda: paired.difference(1, 1, 1, 1, method="wald"), 'method: "wald"'),
        (
            lambda: paired.weighted_difference([1], [0], [0]),
            r"weights\[0\] must be finite and positive: 0",
        ),
        (lambda: paired.weighted_difference([], [], []), "at least one"),
        (lambda: multiplicity.holm([0.1, 1.5]), r"p\[1\] must lie between 0 and 1: 1.5"),
        (lambda: multiplicity.bh([math.nan]), r"p\[0\] must lie between 0 and 1: nan"),
    ],
)
def test_impossible_input_is_named(call: Callable[[], object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        call()
