"""Adjusted p-values for a family of behaviours.

Belongs here: Holm (a BLOCK decision) and Benjamini-Hochberg (exploration). Does not: which
behaviours form the family (registry).
"""

import numpy as np

from sim_platform.estimation.intervals import Array, ArrayLike


def holm(p: ArrayLike) -> Array:
    """Holm's adjusted p, shape (tests,): rejecting where it is <= alpha keeps the family-wise error
    at alpha. Source: Holm 1979.

    Raises:
        ValueError: not a list of probabilities.
    """
    values, order = _sorted(p)
    adjusted = np.maximum.accumulate(values * np.arange(len(values), 0, -1))
    return _restored(adjusted, order)


def bh(p: ArrayLike) -> Array:
    """Benjamini-Hochberg adjusted p, shape (tests,): rejecting where it is <= q keeps the false
    discovery rate at q. Source: Benjamini & Hochberg 1995.

    Raises:
        ValueError: not a list of probabilities.
    """
    values, order = _sorted(p)
    scaled = values * len(values) / np.arange(1, len(values) + 1)
    return _restored(np.minimum.accumulate(scaled[::-1])[::-1], order)


def _sorted(p: ArrayLike) -> tuple[Array, np.ndarray[tuple[int], np.dtype[np.intp]]]:
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"p must be a list of probabilities: shape {values.shape}")
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise ValueError(f"p[{wrong[0]}] must lie between 0 and 1: {values[wrong[0]]:g}")
    order = np.argsort(values, kind="stable")
    return values[order], order


def _restored(adjusted: Array, order: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Array:
    result = np.empty_like(adjusted)
    result[order] = np.minimum(adjusted, 1.0)
    return result
