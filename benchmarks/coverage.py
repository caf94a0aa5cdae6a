"""Coverage of the 95 % interval of a stratified rate: 60 designs of rare events,
2,000 samples each.

Eight strata (shares .45 to .005), 20,000 messages, five allocations, four profiles of how the
rate differs between strata, three levels (2, 5 and 20 events expected in a proportional sample).
Synthetic counts with a known rate; Tiwari is what cancer registries print, Wald what a
spreadsheet would do.

A repetition draws how many events there are and then in which strata. The numbers of events are
spread evenly over the quantiles of their Poisson distribution: drawn one by one, 2,000 repetitions
would leave a standard error of .006, and the worst of 60 designs would mostly be the unluckiest.

    python -m benchmarks.coverage --json
"""

import argparse
import itertools
import json

import numpy as np
from scipy import stats

from sim_platform.estimation import intervals, survey
from sim_platform.estimation.intervals import Array

SHARES = np.array([0.45, 0.25, 0.12, 0.08, 0.05, 0.03, 0.015, 0.005])
N = 20_000
EVENTS = (2, 5, 20)
PROFILES = {
    "flat": np.ones(8),
    "hot_small_strata": np.array([1, 1, 1, 2, 4, 10, 20, 40.0]),
    "hot_big_stratum": np.array([10, 1, 1, 1, 1, 1, 1, 1.0]),
    "half_right": np.array([1, 4, 1, 4, 1, 10, 1, 40.0]),
}


def allocations(prior: Array) -> dict[str, Array]:
    """Messages per stratum, adding up to about N; `prior` is the planner's belief about relative
    rates, which need not be true.
    """

    def of(size: Array, floor: int = 1) -> Array:
        return np.maximum(np.round(N * size / size.sum()), floor)

    neyman = SHARES * np.sqrt(prior)
    return {
        "proportional": of(SHARES),
        "sqrt": of(np.sqrt(SHARES)),
        "neyman_floor_200": of(neyman, 200),
        "defensive_mix": of(0.5 * SHARES + 0.5 * neyman / neyman.sum()),
        "equal": of(np.ones(8)),
    }


def coverage(repetitions: int = 2000, seed: int = 1) -> list[dict[str, object]]:
    """One row per design: share of samples whose interval holds the true rate, and how often the
    truth lies above or below it.
    """
    random, rows = np.random.default_rng(seed), []
    believed = PROFILES["hot_small_strata"]
    for (allocation, sizes), (profile, relative), events in itertools.product(
        allocations(believed).items(), PROFILES.items(), EVENTS
    ):
        rates = relative * events / N / float(SHARES @ relative)
        truth, weights = float(SHARES @ rates), SHARES / sizes
        expected = sizes * rates
        events_drawn = stats.poisson.ppf(
            (random.permutation(repetitions) + random.random(repetitions)) / repetitions,
            expected.sum(),
        ).astype(np.int64)
        counts = random.multinomial(events_drawn, expected / expected.sum())
        row: dict[str, object] = {"allocation": allocation, "profile": profile, "events": events}
        total, variance = counts @ weights, counts @ weights**2
        limits = {
            method: intervals.weighted(counts, weights, method)
            for method in ("fay-feuer", "fay-kim")
        }  # type: ignore[arg-type]  # literals
        limits["tiwari"] = survey.tiwari(counts, weights)
        bounds = {
            name: (np.asarray(found.low), np.asarray(found.high)) for name, found in limits.items()
        }
        bounds["wald"] = (total - 1.96 * np.sqrt(variance), total + 1.96 * np.sqrt(variance))
        for name, (low, high) in bounds.items():
            row |= {
                f"{name}_covers": float(((low <= truth) & (truth <= high)).mean()),
                f"{name}_above": float((truth > high).mean()),
                f"{name}_below": float((truth < low).mean()),
            }
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = coverage(asked.repetitions)
    methods = ("fay-feuer", "fay-kim", "tiwari", "wald")
    found = {
        name: {
            "worst": min(float(str(r[f"{name}_covers"])) for r in rows),
            "mean": float(np.mean([r[f"{name}_covers"] for r in rows])),
            "worst_above": max(float(str(r[f"{name}_above"])) for r in rows),
        }
        for name in methods
    }
    print(
        json.dumps(
            {"designs": len(rows), "repetitions": asked.repetitions} | found,
            indent=None if asked.json else 2,
        )
    )


if __name__ == "__main__":
    main()
