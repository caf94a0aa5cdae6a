import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.estimation import intervals, survey

METHODS = ["beta", "korn-graubard", "wilson", "logit", "mean"]


@pytest.mark.parametrize("outcome", [0, 1])
@pytest.mark.parametrize("method", METHODS)
def test_without_variation_limits_are_finite_and_never_of_width_zero(
    outcome: int, method: str
) -> None:
    found = survey.linearised([outcome] * 12, np.ones(12), clusters=np.repeat(np.arange(4), 3))
    limits = survey.rate(found, method)  # type: ignore[arg-type]  # one of the literals
    assert limits.estimate == outcome
    assert 0 <= limits.low < limits.high <= 1  # type: ignore[operator]  # floats for one rate
    if method == "beta":  # every cluster counts as one unit
        plain = intervals.binomial(outcome * 4, 4, "clopper-pearson")
        assert abs(limits.high - limits.low) >= plain.high - plain.low - 1e-12  # type: ignore[operator]  # floats


@given(k=st.integers(1, 29), conf=st.sampled_from([0.9, 0.95]))
def test_equal_units_without_clusters_are_a_simple_sample(k: int, conf: float) -> None:
    found = survey.linearised([1] * k + [0] * (30 - k), np.full(30, 7.0))
    assert found.variance == pytest.approx(k / 30 * (1 - k / 30) / 29)
    assert found.design_effect == pytest.approx(1)
    assert (found.degrees, found.size, found.clusters) == (29, 30, 30)
    limits = survey.rate(found, "beta", conf)
    assert limits.low < k / 30 < limits.high  # type: ignore[operator]  # floats


@given(order=st.permutations(range(12)), scale=st.floats(0.1, 50))
def test_order_of_units_and_scale_of_weights_change_nothing(order: list[int], scale: float) -> None:
    y, w = np.array([1, 0, 0, 1, 1, 0] * 2), np.array([1.0, 2, 3] * 4)
    strata, clusters = np.array(["a", "b"] * 6), np.array([1, 1, 2, 2, 3, 3] * 2)
    first = survey.linearised(y, w, strata, clusters)
    second = survey.linearised(y[order], w[order] * scale, strata[order], clusters[order])
    assert (second.estimate, second.variance) == pytest.approx(
        (first.estimate, first.variance), rel=1e-9
    )


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: survey.linearised([], []), "at least one"),
        (lambda: survey.linearised([2], [1]), r"outcomes must lie in \[0, 1\]: 2"),
        (lambda: survey.linearised([1, 0], [1, -1]), r"weights\[1\]"),
        (lambda: survey.linearised([1, 0], [1, 1], strata=np.array(["a"])), "one label per unit"),
        (
            lambda: survey.linearised([1, 0, 1], [1, 1, 1], strata=np.array(["a", "a", "b"])),
            "stratum 'b' has a single cluster",
        ),
        (
            lambda: survey.linearised([1, 0], [1, 1], population={0: 1}),
            "2 clusters in the sample and 1 in the population",
        ),
        (lambda: survey.rate(survey.linearised([1, 0], [1, 1]), "best"), '"best" is not one of'),  # type: ignore[arg-type]  # the error is the point
    ],
)
def test_impossible_input_is_refused_by_name(call: object, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        call()  # type: ignore[operator]  # a lambda
