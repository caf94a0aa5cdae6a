"""Levels for looks at a growing sample keep the error of all looks together."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sim_platform.estimation.intervals import Array
from sim_platform.estimation.sequential import levels, spent

Spend = Callable[[float, Array], Array]


def obrien_fleming(alpha: float, share: Array) -> Array:
    return np.asarray(2 * stats.norm.sf(stats.norm.isf(alpha / 2) / np.sqrt(share)))


def pocock(alpha: float, share: Array) -> Array:
    return np.asarray(alpha * np.log(1 + (np.e - 1) * share))


@pytest.mark.parametrize(
    ("spend", "boundaries"),
    [
        # Jennison & Turnbull 2000, chapter 7; Lan & DeMets 1983: five equal looks, two-sided .05
        (obrien_fleming, [4.877, 3.357, 2.680, 2.290, 2.031]),
        (pocock, [2.438, 2.427, 2.410, 2.397, 2.386]),
    ],
)
def test_boundaries_are_the_published_ones(spend: Spend, boundaries: list[float]) -> None:
    found = stats.norm.isf(levels([1, 2, 3, 4, 5], 0.025, spend))
    assert found == pytest.approx(boundaries, abs=6e-4)


def test_over_all_looks_the_error_is_the_one_asked_for() -> None:
    sizes = np.array([250, 500, 1000, 2000])
    steps = np.sqrt(np.diff(sizes, prepend=0))
    scores = np.cumsum(np.random.default_rng(1).standard_normal((200_000, 4)) * steps, axis=1)
    boundaries = stats.norm.isf(levels([*sizes], 0.05))
    ever = (scores / np.sqrt(sizes) > boundaries).any(axis=1).mean()
    assert ever == pytest.approx(0.05, abs=0.0015)


@settings(max_examples=20)
@given(
    steps=st.lists(st.integers(1, 1000), min_size=1, max_size=6),
    alpha=st.floats(0.005, 0.1),
)
def test_no_look_has_more_than_the_whole_error(steps: list[int], alpha: float) -> None:
    found = levels([float(n) for n in np.cumsum(steps)], alpha)
    assert all(0 < level <= alpha * (1 + 1e-6) for level in found)
    total = float(spent(alpha, np.ones(1))[0])
    assert total == pytest.approx(alpha)
    if len(found) == 1:
        assert found[0] == pytest.approx(alpha)


@pytest.mark.parametrize("sizes", [[], [0, 1], [2, 1], [1, 1], [1, float("nan")]])
def test_sizes_that_do_not_grow_are_refused(sizes: list[float]) -> None:
    with pytest.raises(ValueError, match="sizes of looks must grow"):
        levels(sizes, 0.05)


@pytest.mark.parametrize("alpha", [0.0, 0.5, float("nan")])
def test_an_error_that_cannot_be_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must lie"):
        levels([1, 2], alpha)
