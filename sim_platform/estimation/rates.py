"""The limits of one rate whose every message is known, rare or common, from users with one message
or many.

Belongs here: the moments of a weighted share, how far events of one user hang together, and the
rule by which binomial limits take over from Poisson limits. Does not: weighted sums of which only
the events are known (intervals), what survey packages print (survey), reading tables (comparison).

Poisson limits (Fay-Feuer) hold where a rate is small and are too wide where it is not: they allow
more events than messages. Common rates take the binomial limits that have the same shape. A
weighted count of events and one of messages without the event, each a gamma as in Fay-Feuer, make
a share, which is a beta: Clopper-Pearson on an effective sample (Korn & Graubard), with the
heaviest message added as a pseudo-event on the side of the limit. Equal weights give
Clopper-Pearson (mid-P: the binomial mid-P) exactly, small rates Fay-Feuer (Fay-Kim), and a rate
and its complement have the same limits. Between `SMALL` and `COMMON` the limits pass from the one
to the other in a straight line, so nothing jumps.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from sim_platform.estimation.intervals import (
    Array,
    ArrayLike,
    FloatOrArray,
    Interval,
    Moments,
    gamma_limits,
    interval,
    nonnegative,
    positive,
    root,
    t_inflation,
    tail,
)

# Rates up to the first have Poisson limits, from the second on binomial ones; a quarter of the
# heaviest message is counted in, since a sample of a few messages has no small rates. Registered:
# another number is another estimator (version.VERSION).
SMALL, COMMON = 0.01, 0.05
# A stratum's own estimate is drawn to that of all as if it had so many average users more:
# a stratum of one user says nothing about how users differ.
_USERS_BORROWED = 3.0

Labels = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Clustering:
    """How far events of one cluster (user) hang together, in two forms; 1 where each stands alone.

    `poisson` is the design effect of the plain cluster sums, `poisson_users` the effective number
    of clusters with events behind it. It takes chance meetings in one cluster for dependence, so
    it is too large where events are common, and cannot be too small where they are rare. `centred`
    is the design effect of residuals, each cluster's from the estimate of all others, and
    `centred_users` the effective number of clusters that it rests on. The smaller one holds.
    """

    poisson: float = 1.0
    poisson_users: float = np.inf
    centred: float = 1.0
    centred_users: float = np.inf

    @property
    def design_effect(self) -> float:
        """Variance over that of the same messages from as many users, >= 1."""
        return max(1.0, min(self.poisson, self.centred))

    def inflation(self, conf: float) -> float:
        """`design_effect` with what it costs, at a confidence, to have learnt it from few
        clusters.
        """
        return max(
            1.0,
            min(
                _uncertain(self.poisson, self.poisson_users, conf),
                _uncertain(self.centred, self.centred_users, conf),
            ),
        )


@dataclass(frozen=True)
class Share:
    """A weighted share of messages and what its uncertainty depends on.

    `total` in [0, 1] is the estimate; `squares`, `firsts` and `units` are sum(w^2 x^2),
    sum(w^2 x) and sum(w^2) with weights that add up to 1, so that the variance of independent
    messages around a rate m is squares - 2 m firsts + m^2 units; `largest_weight` is that of the
    heaviest message; a message's outcome is a mean of at most `repeats` completions. They
    broadcast.
    """

    total: Array
    squares: Array
    firsts: Array
    units: Array
    largest_weight: Array
    repeats: float = 1.0
    clustering: Clustering = Clustering()

    @property
    def kish(self) -> Array:
        """Size of the equally weighted sample that is as good before any event is seen."""
        return np.asarray(1 / (self.units * self.clustering.design_effect))

    @property
    def n_effective(self) -> Array:
        """Size of the simple sample of messages with the same variance, p (1 - p) / variance; where
        all messages agree, `kish`.
        """
        y = self.total
        variance = self.clustering.design_effect * self.variance_around(y)
        varies = (y > 0) & (y < 1)
        found = y * (1 - y) / np.where(varies, variance, 1.0)
        return np.asarray(np.where(varies, found, self.kish))

    def variance_around(self, rate: Array) -> Array:
        """Variance of independent messages if the rate is `rate`; repeats lower it at most to that
        of as many independent messages.
        """
        own = self.squares - 2 * rate * self.firsts + rate**2 * self.units
        least = (self.firsts * (1 - 2 * rate) + rate**2 * self.units) / self.repeats
        return np.asarray(np.maximum(own, least))


def share(
    outcomes: ArrayLike,
    weights: ArrayLike,
    clusters: Labels | None = None,
    strata: Labels | None = None,
    times: ArrayLike | None = None,
    repeats: float = 1.0,
) -> Share:
    """The moments of a rate.

    Args:
        outcomes: per message, shape (rows,), 0 or 1, or means over repeats in [0, 1]; messages
            without the event included.
        weights: design weight of a message, shape (rows,), in any scale.
        clusters: label of the primary sampling unit (user) per row; None: messages are independent.
        strata: label per row, from whose rates residuals are taken; None: one stratum.
        times: how many messages, each a cluster of its own, a row stands for (default 1).
        repeats: most completions behind an outcome.

    Raises:
        ValueError: no message, an outcome outside [0, 1], a weight that is not finite and positive,
            unequal lengths.
    """
    x, w = nonnegative("outcomes", outcomes), positive("weights", weights)
    n = np.ones_like(w) if times is None else positive("times", times)
    if w.ndim != 1 or w.size == 0 or not x.shape == w.shape == n.shape:
        raise ValueError(
            "outcomes, weights and times must be lists of the same messages, at least one:"
            f" {x.shape}, {w.shape}, {n.shape}"
        )
    if np.any(x > 1):
        raise ValueError(f"outcomes must lie in [0, 1]: {float(x.max()):g}")
    w = w / (n * w).sum()
    marked = n * w * x
    # a sum of weights passes 1 by rounding
    total = 1.0 if np.all(x == 1) else min(float(marked.sum()), 1.0)
    return Share(
        np.asarray(total),
        np.asarray((marked * w * x).sum()),
        np.asarray((marked * w).sum()),
        np.asarray((n * w**2).sum()),
        np.asarray(w.max()),
        float(positive("repeats", repeats)),
        Clustering() if clusters is None else _clustering(x, w, n, total, clusters, strata),
    )


def limits(
    found: Share, method: Literal["fay-feuer", "fay-kim"] = "fay-feuer", conf: float = 0.95
) -> Interval:
    """Limits of a rate, in [0, 1]: Poisson up to `SMALL`, binomial from `COMMON` on, in between
    both in proportion.

    Args:
        method: fay-feuer for gates (Clopper-Pearson where weights are equal and the rate is
            common); fay-kim, its mid-P form, for display.
        conf: two-sided confidence in (0, 1).

    Source: Fay & Feuer 1997 and Fay & Kim 2017 as for `intervals.weighted`; Korn & Graubard 1998,
    Survey Methodology 24:193-201; chosen among them and Wilson by benchmarks/coverage.py.
    """
    y, inflation = found.total, found.clustering.inflation(conf)
    w = found.largest_weight * inflation
    rare = gamma_limits(Moments(y, found.squares * inflation, w, np.ones_like(y)), method, conf)
    low, high = (np.minimum(np.asarray(limit), 1.0) for limit in (rare.low, rare.high))
    common = share_of_binomial(y, found.largest_weight)
    if np.any(common > 0):
        other = _beta_limits(found, w, inflation, method, conf)
        low, high = ((1 - common) * a + common * b for a, b in zip((low, high), other, strict=True))
    return interval(y, low, high)


def share_of_binomial(rate: ArrayLike, largest_weight: ArrayLike) -> Array:
    """0 where limits are Poisson, 1 where they are binomial, in between the share of the latter."""
    size = np.asarray(rate) + np.asarray(largest_weight) / 4
    return np.asarray(np.clip((size - SMALL) / (COMMON - SMALL), 0.0, 1.0))


def _beta_limits(
    found: Share, w: Array, inflation: float, method: str, conf: float
) -> tuple[Array, Array]:
    a, y = tail(conf), found.total

    def shapes(events: Array, pseudo: float) -> tuple[Array, Array]:
        """Beta with the mean and the variance of the share of `events`, a pseudo-message of weight
        w and outcome `pseudo` included.
        """
        mean = events / (1 + w)
        variance = inflation * found.variance_around(mean) + w**2 * (pseudo - mean) ** 2
        size = mean * (1 - mean) * (1 + w) ** 2 / np.where(variance > 0, variance, 1.0)
        return mean * size, (1 - mean) * size

    (low_a, low_b), (up_a, up_b) = shapes(y, 0.0), shapes(y + w, 1.0)
    some, not_all = (y > 0) & (low_a > 0), (y < 1) & (up_b > 1e-12)  # below: rounding of 0
    low_a, up_b = np.where(some, low_a, 1.0), np.where(not_all, up_b, 1.0)

    def low_quantile(level: float) -> Array:
        return np.where(some, special.betaincinv(low_a, low_b, level), 0.0)

    def up_quantile(level: float) -> Array:
        return np.where(not_all, special.betaincinv(up_a, up_b, level), 1.0)

    if method == "fay-feuer":
        return low_quantile(a), up_quantile(1 - a)

    def mean_quantile(level: float) -> Array:
        def short(p: Array) -> Array:
            below = np.where(some, special.betainc(low_a, low_b, p), 1.0)
            return level - 0.5 * (below + np.where(not_all, special.betainc(up_a, up_b, p), 0.0))

        first, second = low_quantile(level), up_quantile(level)
        return root(short, np.minimum(first, second), np.maximum(first, second))

    return (
        np.where(some, mean_quantile(a), 0.0),
        np.where(not_all, mean_quantile(1 - a), 1.0),
    )


def _clustering(
    x: Array, w: Array, n: Array, total: float, clusters: Labels, strata: Labels | None
) -> Clustering:
    for name, labels in (("clusters", clusters), ("strata", strata)):
        if labels is not None and np.shape(labels) != w.shape:
            raise ValueError(
                f"{name} must have one label per row: {np.shape(labels)} for {w.shape}"
            )
    user, layer = codes(clusters), codes(strata) if strata is not None else np.zeros(len(w), int)
    if np.bincount(user).max() == 1:
        return Clustering()
    layers = int(layer.max()) + 1
    cells, cell = np.unique(user * layers + layer, return_inverse=True)
    user_of, layer_of = cells // layers, cells % layers
    # A row that stands for several messages is a cell of its own: each of them is one cluster.
    count = np.ones(int(user.max()) + 1)
    count[user] = n
    s, mass = summed(cell, w * x), summed(cell, w)
    user_s, user_mass = summed(user_of, s), summed(user_of, mass)
    layer_s, layer_mass = summed(layer, n * w * x), summed(layer, n * w)
    borrowed = _USERS_BORROWED * float((count * user_mass**2).sum())

    def of_others(s: Array, mass: Array, all_s: Array, all_mass: Array, layer: Labels) -> Array:
        """Rate in `layer` as all but one cluster show it, 0 where there is no other: `s` and `mass`
        are the cluster's own there, `all_s` and `all_mass` in all layers.
        """
        left = 1 - all_mass
        overall = np.divide(total - all_s, left, out=np.zeros_like(left), where=left > 1e-12)
        return np.asarray(
            (layer_s[layer] - s + borrowed * overall) / (layer_mass[layer] - mass + borrowed)
        )

    together = summed(
        user_of, s - mass * of_others(s, mass, user_s[user_of], user_mass[user_of], layer_of)
    )
    single = w * x - w * of_others(w * x, w, w * x, w, layer)
    plain = float((count * user_s**2).sum())
    return Clustering(
        over(plain, float((n * (w * x) ** 2).sum())),
        over(total**2, plain),
        over(float((count * together**2).sum()), float((n * single**2).sum())),
        effective_number(together**2, count),
    )


def summed(place: npt.NDArray[np.int64], values: Array) -> Array:
    """Sums of values by place 0, 1, 2 ..."""
    return np.asarray(np.bincount(place, values), dtype=np.float64)


def effective_number(contributions: Array, times: FloatOrArray = 1.0) -> float:
    """How many equal contributions make a sum as uncertain as these do: sum^2 / sum of squares."""
    largest = float(contributions.max(initial=0.0))
    parts = contributions / largest if largest > 0 else contributions  # squares leave the floats
    return over(float(np.sum(times * parts)) ** 2, float(np.sum(times * parts**2)))


def over(part: float, whole: float) -> float:
    """part / whole; of nothing 1, else infinite (below 1e-28: rounding of identical residuals)."""
    return part / whole if whole > 1e-28 else 1.0 if part <= 1e-28 else np.inf


def _uncertain(effect: float, users: float, conf: float) -> float:
    # 1.05: no widening for the noise of single coincidences
    return effect * float(t_inflation(np.asarray(users), conf)) if effect > 1.05 else effect


def codes(labels: Labels) -> npt.NDArray[np.int64]:
    """Small whole numbers for labels; sorting a million is dear, so numbers that are small enough
    stay as they are.
    """
    if np.issubdtype(labels.dtype, np.integer) and labels.size:
        least = int(labels.min())
        if int(labels.max()) - least <= 4 * labels.size + 1000:
            return labels.astype(np.int64) - least
    return np.asarray(np.unique(labels, return_inverse=True)[1], dtype=np.int64)
