"""Rates behind an imperfect grader: from flags and a validation set to the rate of the
behaviour itself.

Belongs here: Rogan-Gladen with Lang-Reiczigel limits, people's verification of flags divided by the
grader's sensitivity (melded limits), the prediction-powered mean, the bound that assumes nothing
about the grader, and the rule that says when a rate is judge-limited. Does not: who labels what
(grading), intervals of a plain rate (intervals).
"""

import numpy as np
from scipy import special

from sim_platform.estimation import intervals
from sim_platform.estimation.intervals import (
    Array,
    ArrayLike,
    Interval,
    Moments,
    nonnegative,
    positive,
    tail,
)

# midpoints of equal probability that stand for the sensitivity's distribution; doubling them moves
# a limit by less than 1e-4 of itself
_QUANTILES = 4000


def rogan_gladen(
    flagged: ArrayLike,
    n: ArrayLike,
    tp: ArrayLike,
    positives: ArrayLike,
    tn: ArrayLike,
    negatives: ArrayLike,
    conf: float = 0.95,
) -> Interval:
    """Prevalence from the share of flagged messages, corrected for sensitivity and specificity; per
    message, in [0, 1].

    Of use only where the rate is well above the false positive rate (5 times as a rule of thumb);
    below it the interval is honest and wide. The estimate is cut to [0, 1].

    Args:
        flagged: messages that the grader flagged, of n. tp: flagged among `positives` messages
            known to be positive. tn: not flagged among `negatives` known to be negative. Real
            counts are allowed; all broadcast.
        conf: two-sided confidence in (0, 1).

    Raises:
        ValueError: a count that is negative, infinite, NaN or greater than its total; an empty
            total; sensitivity + specificity not above 1 (no better than chance).

    Source: Rogan & Gladen 1978, American Journal of Epidemiology 107:71; limits of Lang & Reiczigel
    2014, Preventive Veterinary Medicine 113:13-22.
    """
    k, size = _part("flagged", flagged, "n", n)
    hit, known_positive = _part("tp", tp, "positives", positives)
    passed, known_negative = _part("tn", tn, "negatives", negatives)
    youden = hit / known_positive + passed / known_negative - 1
    if np.any(youden <= 0):
        raise ValueError(
            "sensitivity + specificity - 1 must be positive, the grader is no better than chance:"
            f" {float(np.min(youden)):g}"
        )
    z = special.ndtri(1 - tail(conf))
    # Each share with its own pseudo-counts: z^2 for the sample, one hit and one miss for the
    # validation sets.
    flags, se, sp = (
        (k + z**2 / 2) / (size + z**2),
        (hit + 1) / (known_positive + 2),
        (passed + 1) / (known_negative + 2),
    )
    rate = (flags + sp - 1) / (se + sp - 1)
    var_se, var_sp = se * (1 - se) / (known_positive + 2), sp * (1 - sp) / (known_negative + 2)
    shift = 2 * z**2 * (rate * var_se - (1 - rate) * var_sp)
    half = (
        z
        * np.sqrt(flags * (1 - flags) / (size + z**2) + rate**2 * var_se + (1 - rate) ** 2 * var_sp)
        / np.abs(se + sp - 1)
    )
    low, high = np.clip(rate + shift - half, 0, 1), np.clip(rate + shift + half, 0, 1)
    return intervals.interval(
        np.clip((k / size + passed / known_negative - 1) / youden, 0, 1), low, high
    )


def verified_over_sensitivity(
    verified: ArrayLike, n: ArrayLike, tp: ArrayLike, positives: ArrayLike, conf: float = 0.95
) -> Interval:
    """Rate from flags that people confirmed, divided by the grader's validated sensitivity; per
    message, >= 0, the upper limit may pass 1.

    False positives are gone, since people looked at the flags; what is left is one assumption: that
    the validated sensitivity holds here.

    Args:
        verified: confirmed flags, >= 0, among n messages (> 0). Where only a random part of the
            flags was looked at, or the sample is weighted, pass effective counts, or use `melded`.
        tp: flagged among `positives` (> 0) messages known to be positive. All broadcast.
        conf: two-sided confidence in (0, 1).

    Returns:
        The estimate is verified / n / (tp / positives). Without a single detected positive (tp = 0)
        nothing bounds the rate: the estimate and the high limit are infinite (0 and infinite where
        no flag was confirmed).

    Raises:
        ValueError: a count that is negative, infinite, NaN, or greater than its total; conf
            outside (0, 1).

    Source: melding of Fay, Proschan & Brittain 2015, Biometrics 71:146-156, as used by Bayer, Fay &
    Graubard 2023: gamma over beta, by quadrature instead of draws.
    """
    events, size = np.broadcast_arrays(nonnegative("verified", verified), positive("n", n))
    weight = 1 / size
    return melded(
        Moments(events * weight, events * weight**2, weight, np.ones_like(size)),
        tp,
        positives,
        conf,
    )


def melded(sums: Moments, tp: ArrayLike, positives: ArrayLike, conf: float = 0.95) -> Interval:
    """`verified_over_sensitivity` for a weighted sum of confirmed flags (`intervals.moments`): its
    Fay-Feuer gammas over the beta of the sensitivity.
    """
    hit, known = _part("tp", tp, "positives", positives)
    y, v, w, hit, known = np.broadcast_arrays(
        sums.total, sums.variance, sums.largest_weight, hit, known
    )
    a, seen = tail(conf), y > 0
    probabilities = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    y_up, v_up = y + w, v + w**2
    one = np.ones_like(y)
    low = _ratio_quantile(
        np.where(seen, y, one),
        np.where(seen, v, one),
        _beta_points(hit + 1, known - hit, probabilities),
        a,
    )
    high = _ratio_quantile(y_up, v_up, _beta_points(hit, known - hit + 1, probabilities), 1 - a)
    estimate = np.where(seen, y * known / np.where(hit > 0, hit, 1.0), 0.0)
    unbounded = hit == 0
    return intervals.interval(
        np.where(unbounded & seen, np.inf, estimate),
        np.where(seen, low, 0.0),
        np.where(unbounded, np.inf, high),
    )


def prediction_powered(
    labels: ArrayLike,
    scores: ArrayLike,
    unlabelled_scores: ArrayLike,
    power: float = 1.0,
    conf: float = 0.95,
) -> Interval:
    """Mean of people's labels, made more precise by grader scores of messages that nobody labelled:
    power * mean(scores everywhere else) + mean(label - power * score).

    Normal theory: of use only where the random label set holds at least 15 grader errors; at the
    rates that gates look at it promises far too much.

    Args:
        labels, scores: of the randomly labelled messages, shape (labelled,). unlabelled_scores: of
            the others, shape (unlabelled,). In any unit that labels are in.
        power: how far scores are trusted, 0 (labels only) to 1.
        conf: two-sided confidence in (0, 1).

    Raises:
        ValueError: an empty list, unequal lengths, a value that is negative or not finite, power
            outside [0, 1].

    Source: Angelopoulos et al. 2023, Science 382:669 (prediction-powered inference); with `power`,
    Angelopoulos, Duchi & Zrnic 2023.
    """
    y, known, others = (
        nonnegative("labels", labels),
        nonnegative("scores", scores),
        nonnegative("unlabelled_scores", unlabelled_scores),
    )
    if y.ndim != 1 or y.size == 0 or y.shape != known.shape or others.ndim != 1 or others.size == 0:
        raise ValueError(
            "labels and scores must be lists of the same messages, and there must be scores of"
            f" others: {y.shape}, {known.shape}, {others.shape}"
        )
    if not 0 <= power <= 1:
        raise ValueError(f"power must lie in [0, 1]: {power:g}")
    errors = y - power * known
    estimate = power * others.mean() + errors.mean()
    half = special.ndtri(1 - tail(conf)) * np.sqrt(
        power**2 * others.var() / others.size + errors.var() / y.size
    )
    return intervals.interval(
        np.asarray(estimate), np.asarray(estimate - half), np.asarray(estimate + half)
    )


def two_phase_powered(
    weights: ArrayLike,
    scores: ArrayLike,
    probability: ArrayLike,
    labels: ArrayLike,
    cells: ArrayLike,
    conf: float = 0.95,
) -> Interval:
    """`prediction_powered` where messages are weighted and people label with unequal chances: sum(w
    * score) + sum over labelled of w / p * (label - score); per message.

    Its variance is that of the weighted labels over the sampling of messages, plus that of
    the residuals over the drawing of labels (within cells). Normal theory: only where many
    grader errors are expected among the labels; where it is shown because many were found, it is
    biased.

    Args:
        weights: of every graded message, adding up to 1, shape (n,). scores: the grader's, in [0,
            1]. probability: chance in (0, 1] with which a message was labelled.
        labels: 1, 0, or NaN where nobody labelled. cells: integer names of the groups within which
            labels were drawn.
        conf: two-sided confidence in (0, 1).

    Raises:
        ValueError: unequal lengths, no label, a labelled message without a chance.

    Source: difference estimator in two-phase sampling, Sarndal, Swensson & Wretman 1992, ch. 9;
    stratified prediction-powered inference, Fisch et al. 2024.
    """
    w, f, p, y, cell = (
        np.asarray(value) for value in (weights, scores, probability, labels, cells)
    )
    known = ~np.isnan(y)
    if len({v.shape for v in (w, f, p, y, cell)}) != 1 or not known.any():
        raise ValueError(
            "weights, scores, probability, labels and cells must be lists of the same messages,"
            f" some of them labelled: {w.shape}, {known.sum()} labels"
        )
    w1, f1, p1, y1, cell1 = (v[known] for v in (w, f, p, y, cell))
    if not np.all((p1 > 0) & (p1 <= 1)):
        raise ValueError(
            "a labelled message needs the chance with which it was labelled, in (0, 1]"
        )
    errors, v = y1 - f1, w1 / p1
    estimate = float((w * f).sum() + (v * errors).sum())
    drawing = 0.0
    for name in np.unique(cell1):
        inside = cell1 == name
        drawing += float(
            (
                (1 - p1[inside])
                * (v[inside] * (errors[inside] - np.average(errors[inside], weights=v[inside])))
                ** 2
            ).sum()
        )
    sampling = float((v * w1 * (y1 - estimate) ** 2).sum())
    half = float(special.ndtri(1 - tail(conf))) * np.sqrt(sampling + drawing)
    return intervals.interval(
        np.asarray(np.clip(estimate, 0, 1)),
        np.asarray(np.clip(estimate - half, 0, 1)),
        np.asarray(np.clip(estimate + half, 0, 1)),
    )


def unseen_bound(
    found: ArrayLike, looked_at: ArrayLike, unflagged: ArrayLike, n: ArrayLike, conf: float = 0.95
) -> tuple[Array, Array]:
    """Rate of occurrences that the grader missed and its one-sided upper bound, per message,
    assuming nothing about the grader.

    Args:
        found: occurrences among `looked_at` random unflagged messages that people labelled, of
            `unflagged` messages without flag, of n.
        conf: confidence of the bound (one-sided; 0.975 for the upper limit of a 95 % interval).

    Raises:
        ValueError: a count that is negative, infinite, NaN, or greater than its total.

    Source: Clopper & Pearson 1934 on the labelled part; no hit in m labels bounds the share at
    about 3/m (one-sided 95 %).
    """
    hits, labelled = _part("found", found, "looked_at", looked_at)
    silent, size = _part("unflagged", unflagged, "n", n)
    high = np.asarray(
        intervals.binomial(
            hits, labelled, "clopper-pearson", 2 * conf - 1 if conf > 0.5 else 0.0
        ).high
    )
    return hits / labelled * silent / size, high * silent / size


def judge_limited(
    verified: float, flagged: float, false_positive_rate: float | None, n: float
) -> bool:
    """Whether the grader, not the sample, decides the rate: more false flags expected than flags
    confirmed, or fewer than one flag in five confirmed.

    Source: the rule of the method's specification, on the arithmetic of rare behaviours: at a rate
    of 1e-4 and a specificity of .999, 12 of 13 flags are false.
    """
    expected_false = 0.0 if false_positive_rate is None else false_positive_rate * n
    return expected_false > verified or (flagged > 0 and verified / flagged < 0.2)


def _beta_points(alpha: Array, beta: Array, probabilities: Array) -> Array:
    """Quantiles of Beta(alpha, beta), shape (..., points). All mass at 1 without misses (beta = 0);
    alpha = 0 bounds nothing, which the caller says.
    """
    points = special.betaincinv(
        np.where(alpha > 0, alpha, 1.0)[..., None],
        np.where(beta > 0, beta, 1.0)[..., None],
        probabilities,
    )
    return np.asarray(
        np.where((alpha > 0)[..., None] & (beta > 0)[..., None], np.maximum(points, 1e-200), 1.0)
    )


def _ratio_quantile(total: Array, variance: Array, divisors: Array, level: float) -> Array:
    """Quantile of G / B: G gamma with this mean and variance, B equally likely at each of
    `divisors` (in (0, 1]).
    """
    shape, scale = (total**2 / variance)[..., None], (variance / total)[..., None]

    def excess(log_t: Array) -> Array:
        return np.asarray(
            level
            - special.gammainc(shape, np.exp(log_t)[..., None] * divisors / scale).mean(axis=-1)
        )

    # B <= 1: G / B is never below G
    least = np.log(np.maximum(special.gammaincinv(shape, level) * scale, 1e-200))[..., 0]
    return np.exp(intervals.root(excess, least - 1e-9, least - np.log(divisors.min(axis=-1))))


def _part(name: str, part: ArrayLike, total_name: str, total: ArrayLike) -> tuple[Array, Array]:
    counts, totals = np.broadcast_arrays(nonnegative(name, part), positive(total_name, total))
    if np.any(counts > totals):
        raise ValueError(
            f"{name} is greater than {total_name}: {counts[counts > totals][0]:g} of"
            f" {totals[counts > totals][0]:g}"
        )
    return counts, totals
