"""Rate ratio of two independent samples: a simulated rate against a known production rate.

Belongs here: estimators for independent counts. Does not: two arms on the same prefixes (paired).
"""

from typing import Literal

import numpy as np
from scipy import special

from sim_platform.estimation import intervals
from sim_platform.estimation.intervals import Array, ArrayLike, Interval, nonnegative, positive

_METHODS: dict[str, Literal["midp", "clopper-pearson", "wilson"]] = {
    "exact": "clopper-pearson",
    "midp": "midp",
    "score": "wilson",
}


def poisson(
    x1: ArrayLike,
    t1: ArrayLike,
    x2: ArrayLike,
    t2: ArrayLike,
    conf: float = 0.95,
    method: Literal["exact", "midp", "score"] = "exact",
) -> Interval:
    """Ratio of rates (x1 / t1) / (x2 / t2), conditional on x1 + x2.

    No event in the first sample: low is 0. None in the second: high is infinite. In both cases
    the estimate is made with x + 1/2, for display; without any event the limits are (0, inf):
    no information.

    Args:
        x1, x2: events, >= 0, real (effective counts) allowed. t1, t2: exposures (messages), > 0.
            They broadcast.
        conf: two-sided confidence in (0, 1).
        method: exact for gates, midp for display, score for comparison with other software.

    Raises:
        ValueError: a negative count, an exposure that is not finite and positive, conf outside (0,
            1), with the value.

    Source: Przyborowski & Wilenski 1940 (conditioning on the sum); Clopper-Pearson, mid-P or Wilson
    limits of the share.
    """
    if method not in _METHODS:
        raise ValueError(f'method: "{method}" is not one of exact, midp, score')
    first, time1, second, time2 = np.broadcast_arrays(
        nonnegative("x1", x1), positive("t1", t1), nonnegative("x2", x2), positive("t2", t2)
    )
    total = first + second
    share = intervals.binomial(first, np.where(total > 0, total, 1.0), _METHODS[method], conf)
    low, high = np.asarray(share.low), np.where(second > 0, share.high, 0.0)
    half = np.where((first > 0) & (second > 0), 0.0, 0.5)
    scale = time2 / time1
    return intervals.interval(
        (first + half) / (second + half) * scale,
        np.where(first > 0, low / (1 - np.where(low < 1, low, 0.0)) * scale, 0.0),
        np.where(second > 0, high / np.where(high < 1, 1 - high, 1.0) * scale, np.inf),
    )


def poisson_test(x1: ArrayLike, t1: ArrayLike, x2: ArrayLike, t2: ArrayLike) -> Array:
    """Two-sided mid-P that both rates are equal, conditional on x1 + x2: below 1 - conf exactly
    where the mid-P interval of `poisson` leaves out 1; 1 without any event.

    Args and errors: as for `poisson`.
    """
    first, time1, second, time2 = np.broadcast_arrays(
        nonnegative("x1", x1), positive("t1", t1), nonnegative("x2", x2), positive("t2", t2)
    )
    share = time1 / (time1 + time2)
    # P(X >= x1)
    reached = np.where(
        first > 0, special.betainc(np.where(first > 0, first, 1.0), second + 1, share), 1.0
    )
    # P(X > x1)
    exceeded = np.where(
        second > 0, special.betainc(first + 1, np.where(second > 0, second, 1.0), share), 0.0
    )
    upper = (reached + exceeded) / 2
    return np.asarray(
        np.where(first + second > 0, np.minimum(1.0, 2 * np.minimum(upper, 1 - upper)), 1.0)
    )
