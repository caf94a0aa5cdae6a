"""Does the replayed sample still look like the newest traffic?

Belongs here: mix and two-sample comparisons that need no embedding. Does not: what to do about it
(raking), reading the corpus.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim_platform.forecasting.forecast import Array

# total variation that is worth a warning, and the level of the two-sample test
WARN_SHIFT, WARN_P = 0.10, 0.01


@dataclass(frozen=True)
class Drift:
    """What moved: share of traffic that would have to change stratum, the stratum that moved most,
    and p of the features.
    """

    total_variation: float
    most_moved: str | None
    p_features: float
    warns: bool
    words: str


def mix_shift(
    sampled: Mapping[str, float], newest: Mapping[str, float]
) -> tuple[float, str | None]:
    """Total variation in [0, 1] of two mixes, and the stratum that moved most."""
    names = sorted({*sampled, *newest})
    p, q = (np.array([float(mix.get(name, 0.0)) for name in names]) for mix in (sampled, newest))
    if not names or p.sum() <= 0 or q.sum() <= 0:
        raise ValueError("both mixes must have a stratum with traffic")
    moved = np.abs(p / p.sum() - q / q.sum())
    return float(moved.sum() / 2), names[int(moved.argmax())] if moved.max() > 0 else None


def two_sample_p(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    permutations: int = 499,
    seed: int = 1,
    most: int = 600,
) -> float:
    """Permutation p that two samples of feature rows have one distribution: energy distance over
    ranks, so that the unit of a feature does not matter.

    Args:
        first, second: shape (rows, features), at least two rows each; of more than `most` rows a
            fixed random part is used.

    Source: Szekely & Rizzo 2004, InterStat 5; p = (1 + count) / (1 + permutations).
    """
    a, b = (np.atleast_2d(np.asarray(x, dtype=np.float64)) for x in (first, second))
    if a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"both samples need at least two rows of the same features: {a.shape}, {b.shape}"
        )
    random = np.random.default_rng(seed)
    a, b = (x if len(x) <= most else x[random.choice(len(x), most, replace=False)] for x in (a, b))
    together = np.concatenate([a, b])
    ranks = np.apply_along_axis(
        lambda column: (
            np.searchsorted(np.sort(column), column, "left")
            + np.searchsorted(np.sort(column), column, "right")
        ),
        0,
        together,
    ) / (2.0 * len(together))
    distance = np.sqrt(((ranks[:, None, :] - ranks[None, :, :]) ** 2).sum(axis=-1))
    labels = np.zeros((permutations + 1, len(together)))
    labels[0, : len(a)] = 1
    for i in range(1, permutations + 1):
        labels[i, random.permutation(len(together))[: len(a)]] = 1
    energies = _energies(distance, labels)
    return float((1 + (energies[1:] >= energies[0] - 1e-12).sum()) / (1 + permutations))


def drift(
    sampled_mix: Mapping[str, float],
    newest_mix: Mapping[str, float],
    sampled: npt.ArrayLike,
    newest: npt.ArrayLike,
) -> Drift:
    """Mix and features together; warns where a tenth of the traffic moved between strata or the
    features differ at p < .01.
    """
    shift, most = mix_shift(sampled_mix, newest_mix)
    p = two_sample_p(sampled, newest)
    warns = shift > WARN_SHIFT or p < WARN_P
    words = (
        f"{shift:.0%} of the traffic moved between strata{f', most in {most}' if most else ''};"
        f" lengths and turns: p {p:.2g}"
    )
    return Drift(
        shift,
        most,
        p,
        warns,
        words + ("; draw a new sample, or read the post-stratified forecast" if warns else ""),
    )


def _energies(distance: Array, labels: Array) -> Array:
    ones, zeros = labels, 1 - labels
    n, m = ones.sum(axis=1), zeros.sum(axis=1)
    left = ones @ distance
    across, within_one = (left * zeros).sum(axis=1), (left * ones).sum(axis=1)
    within_two = ((zeros @ distance) * zeros).sum(axis=1)
    return np.asarray(2 * across / (n * m) - within_one / n**2 - within_two / m**2)
