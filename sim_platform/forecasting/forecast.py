"""The rate that a candidate will have in service, from its simulated rate, the version in service's
two rates, and the errors of past forecasts.

Belongs here: the methods M0 to M7 on effective counts, and the forecast interval. Does not: making
effective counts (estimation), post-stratification weights (raking), scoring (scorecard).

Everything is on the log scale. A behaviour has the production rate theta of the version in service;
the simulator shifts every model's rate by kappa (shared discrepancy), and the candidate's by a part
of its own beside; the candidate differs by g. Three counts measure them: production (theta),
control arm (theta + kappa), candidate arm (theta + kappa + g + own part); a fourth measurement is
what earlier releases showed of kappa. The forecast is theta + g.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

Array: TypeAlias = npt.NDArray[np.float64]

VERSION = "2"  # raise it when a method gives other figures
# sd of g in the mixture: from "the same" to "another model altogether"
SCALES = np.array([0.05, 0.15, 0.4, 0.8, 1.5, 3.0])
# sd of kappa that are weighed against each other
SHARED = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2])
# share of the variance of kappa that stays from release to release, weighed against each other too
KEPT = np.array([0.0, 0.5, 0.8, 1.0])
# sd of the candidate's own part over that of kappa: what no count can tell from a change
OWN = 0.4
# how production, control arm, candidate arm and earlier releases see theta, kappa and g
THETA, KAPPA, CHANGE = np.array([[1.0, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 0]])
# a median error of 1.5, all of it discrepancy, worth one residual
PRIOR_TAU, PRIOR_WEIGHT = 0.60, 1.0
NOTHING = 1e9  # variance of a count that does not exist
Z90 = 1.6448536269514722
# of gammas, the log of their 95 % over their 5 % quantile, rising, and the log of their shape
_LOG_SHAPE = np.linspace(np.log(1e8), np.log(2e-2), 4000)
_LOG_WIDTH = np.log(
    np.diff(np.log(special.gammaincinv(np.exp(_LOG_SHAPE), [[0.05], [0.95]])), axis=0)[0]
)


@dataclass(frozen=True)
class Counts:
    """Effective events x (>= 0) and exposures e (messages, > 0) of a list of behaviours, each of
    shape (..., behaviours).
    """

    x: Array
    e: Array

    @property
    def rate(self) -> Array:
        """Events per message with half an event added, so that a logarithm exists."""
        return np.asarray((self.x + 0.5) / self.e)


@dataclass(frozen=True)
class Forecast:
    """Median of the deployed rate and its variance on the log scale, of shape (..., behaviours)."""

    rate: Array
    log_variance: Array
    # posterior probability that the candidate's rate is above the version in service's
    chance_of_increase: Array

    def interval(
        self, production_messages: float | Array, tau: float | Array
    ) -> tuple[Array, Array]:
        """90 % forecast interval of the rate that will be counted on `production_messages`:
        posterior, discrepancy tau, and the noise of the count; it holds the forecast itself.

        Limits are counts over messages, 5 % beyond each at most. Where no event at all is likely
        enough, the lower one is 0, and the interval covers more than 90 %.
        """
        messages = np.broadcast_to(
            np.maximum(np.floor(production_messages), 1.0), np.shape(self.rate)
        )
        shape, scale = _gamma(self.rate, self.log_variance + np.square(tau))
        low, high = (
            _count(level, shape, scale * messages, messages) / messages for level in (0.05, 0.95)
        )
        return np.minimum(low, self.rate), np.maximum(high, self.rate)


def persistence(production: Counts) -> Forecast:
    """Nothing changes: the rate of the version in service. The baseline that every forecast
    is shown beside.
    """
    return _plain(production)


def challenging(production: Counts, change: Array) -> Forecast:
    """The rate in service times the change seen on adversarial prompts (candidate's rate over the
    replaced version's, >= 0; NaN where nobody measured): the other baseline.
    """
    plain = _plain(production)
    return Forecast(
        np.minimum(plain.rate * change, 1.0),
        plain.log_variance,
        np.where(change > 1, 1.0, np.where(change < 1, 0.0, 0.5)),
    )


def simulated(candidate: Counts) -> Forecast:
    """The simulated rate as it is: M0 with plain counts, M2 with stratified, M3 with
    post-stratified ones.
    """
    return _plain(candidate)


def calibrated(
    candidate: Counts,
    production: Counts | None,
    control: Counts | None,
    earlier: Sequence[tuple[Counts, Counts]] = (),
) -> Forecast:
    """M7: shrinkage of the change towards none, and the simulator's bias taken out by the control
    arm; all scales learned from the behaviours themselves.

    The change g has a mixture of normals around 0 whose weights are learned over the behaviours
    (empirical Bayes), kappa a normal whose scale is learned too, and so is the share of it that
    stays from release to release. Counts enter as the mean and variance of the log of a gamma with
    half an event added.

    Args:
        candidate: candidate arm, post-stratified to the newest mix. production: version in service
            in production, to the same mix; None: unknown.
        control: the version in service, simulated; None: the bias of the simulator cannot be told
            from the change. The same object as production: both versions' answers are recorded,
            and no simulator stands between.
        earlier: of each earlier release of the same home and for the same behaviours, what the
            version in service really showed and what its control arm showed; (0 events, 0.5
            messages) in both where a behaviour was not graded.

    Returns:
        Forecast of the candidate's shape.

    Source: linear Gaussian posterior of the four measurements; mixture weights by EM as in
    Stephens 2017, Biostatistics 18:275-294 (adaptive shrinkage).
    """
    shape = candidate.x.shape
    recorded = control is production and control is not None
    arms = production, None if recorded else control, candidate
    observed = [_log_moments(c, shape) for c in arms]
    y = np.stack([mean for mean, _ in observed], axis=-1)  # (..., behaviours, 3)
    noise = np.stack([variance for _, variance in observed], axis=-1)
    centre, spread = _centre(y, noise)
    shifts = [[_log_moments(c, shape) for c in pair] for pair in earlier]
    z = np.array([there[0] - here[0] for here, there in shifts])  # (releases, ..., behaviours)
    z_noise = np.array([there[1] + here[1] for here, there in shifts])
    results, evidence = [], []
    for tau in SHARED[:1] if recorded else SHARED:
        own = noise + np.array([0, 0, (OWN * tau) ** 2])
        for kept in KEPT if earlier else KEPT[:1]:
            mean, variance, fit = _earlier_shift(z, z_noise, (1 - kept) * tau**2, shape)
            result = _posterior(
                np.concatenate([y, mean[..., None]], axis=-1),
                np.concatenate([own, variance[..., None]], axis=-1),
                centre,
                spread,
                tau,
                kept,
            )
            results.append(result)
            # averaged over, by the marginal likelihood summed over the behaviours, with a mild
            # preference for the published size of discrepancy
            evidence.append(result[0] + fit.sum(axis=-1) - 0.5 * np.log(tau / 0.25) ** 2)
    share = np.exp(np.stack(evidence) - special.logsumexp(np.stack(evidence), axis=0))
    weights = np.concatenate(
        [result[1] * share[i][..., None, None] for i, result in enumerate(results)], axis=-1
    )
    means, variances, changes, change_variances = (
        np.concatenate([result[part] for result in results], axis=-1) for part in (2, 3, 4, 5)
    )
    median = _mixture_median(weights, means, variances)
    mean = (weights * means).sum(axis=-1)
    variance = (weights * (variances + (means - mean[..., None]) ** 2)).sum(axis=-1)
    increase = (weights * special.ndtr(changes / np.sqrt(change_variances))).sum(axis=-1)
    return Forecast(np.minimum(np.exp(median), 1.0), variance, np.clip(increase, 0.0, 1.0))


def environment(served: Sequence[tuple[Counts, Counts]]) -> float:
    """What discrepancy() starts at: the sd of what the simulator does to a version in service,
    which its control arm shows before any release is scored. The candidate's own part, which
    nothing shows, is taken to be no larger. .60 without any such pair.

    Args:
        served: of one release or more what the version in service really showed, and what its
            control arm showed; behaviours with no more than half a message in either say nothing.
    """
    if not served:
        return PRIOR_TAU
    here, there = (
        Counts(np.concatenate([c.x for c in side]), np.concatenate([c.e for c in side]))
        for side in zip(*served, strict=True)
    )
    known = (here.e > 0.5) & (there.e > 0.5)
    return discrepancy(
        here.rate[known], special.polygamma(1, here.x[known] + 0.5), there.x[known], there.e[known]
    )


def discrepancy(
    rates: npt.ArrayLike,
    log_variances: npt.ArrayLike,
    events: npt.ArrayLike,
    messages: npt.ArrayLike,
    *,
    start: float = PRIOR_TAU,
) -> float:
    """Tau of the forecast interval, learned from past releases: `start` without any, and then what
    their forecasts missed beyond posterior and counting noise; a run of misses widens it.

    Args:
        rates, log_variances: forecasts of past release-behaviours. events, messages: what was
            counted of each, none seen included. All may be empty. start: the environment's part
            where it is known, else the published median error of 1.5.

    Raises:
        ValueError: unequal lengths, a value that is not finite, a rate or messages that are not
            positive, a negative variance or count.

    Source: posterior mode of tau^2 under the predictive distribution of the counts, with a prior at
    start^2 worth one residual. Behaviours that were never seen count too: leaving them out would
    keep of the rare ones only those that came out high (docs/decisions/0004).
    """
    p, variance, x, n = (
        np.asarray(values, dtype=np.float64) for values in (rates, log_variances, events, messages)
    )
    if not p.shape == variance.shape == x.shape == n.shape:
        raise ValueError(
            "rates, log_variances, events and messages must be of the same length:"
            f" {p.shape}, {variance.shape}, {x.shape}, {n.shape}"
        )
    if not (
        all(np.isfinite(values).all() for values in (p, variance, x, n))
        and (p > 0).all()
        and (n > 0).all()
        and (variance >= 0).all()
        and (x >= 0).all()
    ):
        raise ValueError(
            "rates and messages must be finite and positive, log_variances and events finite and"
            " not negative"
        )
    candidates = np.exp(np.linspace(np.log(0.03), np.log(3.0), 121)) ** 2
    shape, scale = _gamma(p, candidates[:, None] + variance)
    mean = scale * n
    log_likelihood = (
        special.gammaln(x + shape)
        - special.gammaln(shape)
        - shape * np.log1p(mean)
        + special.xlogy(x, mean / (1 + mean))
    )
    log_posterior = log_likelihood.sum(axis=1) - 0.5 * PRIOR_WEIGHT * (
        np.log(candidates) + start**2 / candidates
    )
    return float(np.sqrt(candidates[log_posterior.argmax()]))


def direction(chance_of_increase: float) -> str:
    """increase, decrease, or no call between .2 and .8: a shrunken point says nothing
    about the sign.
    """
    return (
        "increase"
        if chance_of_increase >= 0.8
        else "decrease"
        if chance_of_increase <= 0.2
        else "no call"
    )


def _gamma(median: Array, log_variance: Array) -> tuple[Array, Array]:
    """Shape and scale of the gamma with the 5 % and 95 % quantiles of the log-normal of this median
    and variance: a count of it is negative binomial.

    By quantiles and not by moments: a gamma with the same variance of the logarithm has too light
    an upper tail (8 to 10 % of a log-normal discrepancy lie above its 95 %).
    """
    reach = Z90 * np.sqrt(np.maximum(log_variance, 1e-7))
    shape = np.exp(np.interp(np.log(2 * reach), _LOG_WIDTH, _LOG_SHAPE))
    return shape, median * np.exp(reach) / special.gammaincinv(shape, 0.95)


def _count(level: float, shape: Array, mean: Array, most: Array) -> Array:
    """Quantile of the negative binomial of this shape and scale times messages, at most `most`:
    the smallest count that is not exceeded with probability `level`.
    """
    below, there = np.full(np.shape(mean), -1.0), np.array(most, dtype=np.float64)
    for _ in range(int(np.log2(float(np.max(most)) + 1)) + 2):
        middle = np.floor((below + there) / 2)
        enough = special.betainc(shape, np.maximum(middle, 0) + 1, 1 / (1 + mean)) >= level
        enough &= middle >= 0
        below, there = np.where(enough, below, middle), np.where(enough, middle, there)
    return there


def _plain(counts: Counts) -> Forecast:
    return Forecast(
        np.minimum(counts.rate, 1.0), 1 / np.maximum(counts.x, 0.5), np.full(counts.x.shape, 0.5)
    )


def _log_moments(counts: Counts | None, shape: tuple[int, ...]) -> tuple[Array, Array]:
    if counts is None:
        return np.zeros(shape), np.full(shape, NOTHING)
    x = counts.x + 0.5
    return np.asarray(special.digamma(x) - np.log(counts.e)), np.asarray(special.polygamma(1, x))


def _centre(y: Array, noise: Array) -> tuple[Array, Array]:
    """Where the behaviours' log rates lie and how far they spread (at least 1), by all three
    counts: a weak pull for those hardly seen.
    """
    weights = 1 / (noise + 4.0)
    centre = (weights * y).sum(axis=(-1, -2), keepdims=True) / weights.sum(
        axis=(-1, -2), keepdims=True
    )
    best = (y / noise).sum(axis=-1, keepdims=True) / (1 / noise).sum(axis=-1, keepdims=True)
    spread = (
        np.sqrt(np.maximum(np.mean((best - centre) ** 2, axis=-2, keepdims=True), 1.0))
        if y.shape[-2] > 1
        else np.full_like(centre, 3.0)
    )
    return centre, 1.5 * spread


def _earlier_shift(
    z: Array, noise: Array, wobble: float, shape: tuple[int, ...]
) -> tuple[Array, Array, Array]:
    """What earlier releases say together of the part of kappa that stays, where each differs from
    it by `wobble` (variance) beside its noise: mean, variance, and log likelihood of their spread.
    """
    if not len(z):
        return np.zeros(shape), np.full(shape, NOTHING), np.zeros(shape)
    weights = 1 / (noise + wobble)
    variance = 1 / weights.sum(axis=0)
    mean = variance * (weights * z).sum(axis=0)
    spread = (np.log(weights) - weights * (z - mean) ** 2).sum(axis=0)
    return mean, variance, 0.5 * (spread + np.log(variance))


def _posterior(
    y: Array, noise: Array, centre: Array, spread: Array, tau: float, kept: float
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """For one scale of kappa and one share that stays: log marginal likelihood, mixture weights,
    and mean and variance of theta + g and of g per component.
    """
    wide, g2 = np.broadcast_to(spread**2, (*y.shape[:-1], 1)), SCALES**2
    shared = tau**2 * np.outer(KAPPA, KAPPA)
    shared[3] *= kept
    shared[:3, 3] *= kept
    covariance = (
        (wide[..., None] * np.outer(THETA, THETA))[..., None, :, :]
        + shared
        + g2[:, None, None] * np.outer(CHANGE, CHANGE)
    )
    covariance[..., range(4), range(4)] += noise[..., None, :]
    change = np.broadcast_to(g2[:, None] * CHANGE, covariance.shape[:-1])
    target = wide[..., None] * THETA + change
    off = np.broadcast_to((y - centre * THETA)[..., None, :], target.shape)
    solved = np.linalg.solve(covariance, np.stack([off, target, change], axis=-1))
    fit, gain, change_gain = solved[..., 0], solved[..., 1], solved[..., 2]
    _, log_det = np.linalg.slogdet(covariance)
    log_likelihood = -0.5 * (log_det + (off * fit).sum(axis=-1))
    weights = np.full((*log_likelihood.shape[:-2], 1, len(SCALES)), 1 / len(SCALES))
    for _ in range(25):  # EM; one pseudo-behaviour spread evenly keeps every scale possible
        joint = log_likelihood + np.log(weights)
        responsibility = np.exp(joint - special.logsumexp(joint, axis=-1, keepdims=True))
        weights = (responsibility.sum(axis=-2, keepdims=True) + 1 / len(SCALES)) / (
            responsibility.shape[-2] + 1
        )
    joint = log_likelihood + np.log(weights)
    total = special.logsumexp(joint, axis=-1)
    return (
        total.sum(axis=-1),
        np.exp(joint - total[..., None]),
        centre + (target * fit).sum(axis=-1),
        np.maximum(wide + g2 - (target * gain).sum(axis=-1), 1e-12),
        (change * fit).sum(axis=-1),
        np.maximum(g2 - (change * change_gain).sum(axis=-1), 1e-12),
    )


def _mixture_median(weights: Array, means: Array, variances: Array) -> Array:
    deviation = np.sqrt(variances)
    low, high = (means - 8 * deviation).min(axis=-1), (means + 8 * deviation).max(axis=-1)
    for _ in range(50):
        middle = 0.5 * (low + high)
        below = (weights * special.ndtr((middle[..., None] - means) / deviation)).sum(
            axis=-1
        ) < 0.5 * weights.sum(axis=-1)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray(0.5 * (low + high))
