"""The rate that a candidate will have in service, from its simulated rate, the version in service's
two rates, and the errors of past forecasts.

Belongs here: the methods M0 to M7 on effective counts, and the forecast interval. Does not: making
effective counts (estimation), post-stratification weights (raking), scoring (scorecard).

Everything is on the log scale. A behaviour has the production rate theta of the version in service;
the simulator shifts every model's rate by kappa (shared discrepancy); the candidate differs by g.
Three counts measure them: production (theta), control arm (theta + kappa), candidate arm (theta +
kappa + g). The forecast is theta + g.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

Array: TypeAlias = npt.NDArray[np.float64]

# sd of g in the mixture: from "the same" to "another model altogether"
SCALES = np.array([0.05, 0.15, 0.4, 0.8, 1.5, 3.0])
# sd of kappa that are weighed against each other
SHARED = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2])
# a median error of 1.5, all of it discrepancy, worth one residual
PRIOR_TAU, PRIOR_WEIGHT = 0.60, 1.0
NOTHING = 1e9  # variance of a count that does not exist
Z90 = 1.6448536269514722


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
        posterior, discrepancy tau, Poisson noise of the count.

        Source: the specification's forecast interval, log-normal: variances added.
        """
        spread = Z90 * np.sqrt(
            self.log_variance
            + np.square(tau)
            + 1 / np.maximum(np.asarray(production_messages) * self.rate, 0.5)
        )
        return self.rate * np.exp(-spread), np.minimum(self.rate * np.exp(spread), 1.0)


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


def calibrated(candidate: Counts, production: Counts | None, control: Counts | None) -> Forecast:
    """M7: shrinkage of the change towards none, and the simulator's bias taken out by the control
    arm; all scales learned from the behaviours themselves.

    The change g has a mixture of normals around 0 whose weights are learned over the behaviours
    (empirical Bayes), kappa a normal whose scale is learned too. Counts enter as the mean and
    variance of the log of a gamma with half an event added.

    Args:
        candidate: candidate arm, post-stratified to the newest mix. production: version in service
            in production, to the same mix; None: unknown.
        control: the version in service, simulated; None: the bias of the simulator cannot be told
            from the change.

    Returns:
        Forecast of the candidate's shape.

    Source: linear Gaussian posterior of the three measurements; mixture weights by EM as in
    Stephens 2017, Biostatistics 18:275-294 (adaptive shrinkage).
    """
    shape = candidate.x.shape
    observed = [_log_moments(c, shape) for c in (production, control, candidate)]
    y = np.stack([mean for mean, _ in observed], axis=-1)  # (..., behaviours, 3)
    noise = np.stack([variance for _, variance in observed], axis=-1)
    centre, spread = _centre(y, noise)
    results = [_posterior(y, noise, centre, spread, tau) for tau in SHARED]
    # Scale of kappa: averaged over, by its marginal likelihood summed over the behaviours, with a
    # mild preference for the published size of discrepancy.
    evidence = (
        np.stack([result[0] for result in results])
        - 0.5 * (np.log(SHARED / 0.25)).reshape(-1, *([1] * (len(shape) - 1))) ** 2
    )
    share = np.exp(evidence - special.logsumexp(evidence, axis=0))
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


def discrepancy(residuals: npt.ArrayLike, sampling_variances: npt.ArrayLike) -> float:
    """Tau of the forecast interval, learned from past releases: .60 without any, and then what
    their residuals leave after sampling noise; a run of misses widens it.

    Args:
        residuals: ln(observed / forecast) of past release-behaviours. sampling_variances: what
            posterior and Poisson noise explain of each. Both may be empty.

    Raises:
        ValueError: unequal lengths, a value that is not finite, a negative variance.

    Source: posterior mode of tau^2 for residual ~ N(0, tau^2 + sampling variance), with a prior at
    .36 worth one residual. The weighting by likelihood, instead of subtracting sums, keeps coverage
    near nominal from 10,000 to 1.3 million messages (docs/decisions/0004).
    """
    squares, explained = (
        np.square(np.asarray(residuals, dtype=np.float64)),
        np.asarray(sampling_variances, dtype=np.float64),
    )
    if squares.shape != explained.shape:
        raise ValueError(
            f"residuals and sampling_variances must be of the same length: {squares.shape},"
            f" {explained.shape}"
        )
    if not (np.isfinite(squares).all() and np.isfinite(explained).all() and (explained >= 0).all()):
        raise ValueError("residuals must be finite and sampling_variances finite and not negative")
    candidates = np.exp(np.linspace(np.log(0.03), np.log(3.0), 400)) ** 2
    spread = candidates[:, None] + explained
    log_posterior = -0.5 * (np.log(spread) + squares / spread).sum(axis=1) - 0.5 * PRIOR_WEIGHT * (
        np.log(candidates) + PRIOR_TAU**2 / candidates
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


def _posterior(
    y: Array, noise: Array, centre: Array, spread: Array, tau: float
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """For one scale of kappa: log marginal likelihood, mixture weights, and mean and variance of
    theta + g and of g per component.
    """
    wide, g2 = np.broadcast_to(spread**2, (*y.shape[:-1], 1))[..., 0], SCALES**2
    shared = np.broadcast_to(wide[..., None], (*wide.shape, len(SCALES)))
    covariance = np.empty((*shared.shape, 3, 3))
    covariance[...] = shared[..., None, None]
    covariance[..., 1:, 1:] += tau**2
    covariance[..., 2, 2] += g2
    covariance[..., range(3), range(3)] += noise[..., None, :]
    target = np.repeat(shared[..., None], 3, axis=-1)
    target[..., 2] += g2
    change = np.zeros_like(target)
    change[..., 2] = g2
    off = np.broadcast_to((y - centre)[..., None, :], target.shape)
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
    mean = np.broadcast_to(centre, (*y.shape[:-1], 1)) + (target * fit).sum(axis=-1)
    variance = shared + g2 - (target * gain).sum(axis=-1)
    change_mean, change_variance = (
        (change * fit).sum(axis=-1),
        g2 - (change * change_gain).sum(axis=-1),
    )
    return (
        total.sum(axis=-1),
        np.exp(joint - total[..., None]),
        mean,
        np.maximum(variance, 1e-12),
        change_mean,
        np.maximum(change_variance, 1e-12),
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
