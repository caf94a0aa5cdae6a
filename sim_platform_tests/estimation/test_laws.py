"""Laws that hold for every input, not only for published ones."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sim_platform.estimation import intervals, multiplicity, paired, ratio
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
