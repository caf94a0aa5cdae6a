"""Coverage of the 95 % intervals of a rate and of a ratio: rare and common behaviours, messages
that stand alone and users with many.

`rare`: 60 designs of rare events. Eight strata (shares .45 to .005), 20,000 messages, five
allocations, four profiles of how the rate differs between strata, three levels (2, 5 and 20 events
expected in a proportional sample). Synthetic counts with a known rate; Tiwari is what cancer
registries print, Wald what a spreadsheet would do. A repetition draws how many events there are and
then in which strata. The numbers of events are spread evenly over the quantiles of their Poisson
distribution: drawn one by one, 2,000 repetitions would leave a standard error of .006, and the
worst of 60 designs would mostly be the unluckiest.

`common`: the same allocations and profiles at rates of 5 to 95 % and 300, 2,000 and 20,000
messages; events of a stratum are spread evenly over the quantiles of its binomial. Compared:
Korn-Graubard and Wilson on the effective sample, which is at most the messages or at most Kish's.

`users`: some 2,000 messages of users with 5, with 20, or with very different numbers of them, in
two strata of different rate and weight, users alike or not (correlation of two messages of one
user). `plain` is what was done before: sums of users, not centred.

`ratios`: two arms on the prefixes of the same users; true ratio 1 or 2.

    python -m benchmarks.coverage --json [--part rare|common|users|ratios]
"""

import argparse
import itertools
import json

import numpy as np
from scipy import special, stats

from sim_platform.estimation import intervals, paired, rates, survey
from sim_platform.estimation.intervals import Array, Interval

SHARES = np.array([0.45, 0.25, 0.12, 0.08, 0.05, 0.03, 0.015, 0.005])
N = 20_000
EVENTS = (2, 5, 20)
COMMON_RATES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95)
USER_RATES = (0.003, 0.01, 0.03, 0.1, 0.15, 0.4, 0.8, 0.95)
PROFILES = {
    "flat": np.ones(8),
    "hot_small_strata": np.array([1, 1, 1, 2, 4, 10, 20, 40.0]),
    "hot_big_stratum": np.array([10, 1, 1, 1, 1, 1, 1, 1.0]),
    "half_right": np.array([1, 4, 1, 4, 1, 10, 1, 40.0]),
}


def allocations(prior: Array, n: int = N) -> dict[str, Array]:
    """Messages per stratum, adding up to about n; `prior` is the planner's belief about relative
    rates, which need not be true.
    """

    def of(size: Array, floor: int = 1) -> Array:
        return np.maximum(np.round(n * size / size.sum()), floor)

    neyman = SHARES * np.sqrt(prior)
    return {
        "proportional": of(SHARES),
        "sqrt": of(np.sqrt(SHARES)),
        "neyman_floor_200": of(neyman, max(2, n // 100)),
        "defensive_mix": of(0.5 * SHARES + 0.5 * neyman / neyman.sum()),
        "equal": of(np.ones(8)),
    }


def rare(repetitions: int = 2000, seed: int = 1) -> list[dict[str, object]]:
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


def common(repetitions: int = 4000, seed: int = 1) -> list[dict[str, object]]:
    """One row per design, rate and number of messages; columns as in `rare`."""
    random, rows = np.random.default_rng(seed), []
    for n in (300, 2_000, 20_000):
        for (allocation, sizes), (profile, relative), rate in itertools.product(
            allocations(PROFILES["hot_small_strata"], n).items(), PROFILES.items(), COMMON_RATES
        ):
            chances = _of_odds(relative, rate)
            counts = np.stack(
                [
                    _even_binomial(random, int(size), chance, repetitions)
                    for size, chance in zip(sizes, chances, strict=True)
                ],
                axis=1,
            )
            row: dict[str, object] = {"allocation": allocation, "profile": profile, "n": n}
            rows.append(row | {"rate": rate} | _covered(_compared(counts, sizes), rate))
    return rows


def _compared(counts: Array, sizes: Array) -> dict[str, Interval]:
    weights = SHARES / sizes
    squares, units = counts @ weights**2, np.full(len(counts), float(sizes @ weights**2))
    largest = np.full(len(counts), weights.max())
    found = rates.Share(np.minimum(counts @ weights, 1.0), squares, squares, units, largest)
    y, effective = found.total, found.n_effective
    limits = {
        "now": rates.limits(found),
        "poisson": intervals.weighted(counts, weights),
    }
    for name, most in (("n", float(sizes.sum())), ("kish", 1 / units)):
        size = np.minimum(effective, most)
        for kind, method in (("korn_graubard", "clopper-pearson"), ("wilson", "wilson")):
            limits[f"{kind}_{name}"] = intervals.binomial(np.minimum(y * size, size), size, method)  # type: ignore[arg-type]  # literals
    return limits


def _of_odds(relative: Array, rate: float) -> Array:
    """Rates per stratum with these relative odds that average to `rate`."""
    level = intervals.root(
        lambda z: rate - special.expit(np.log(relative) + z) @ SHARES,
        np.asarray(-30.0),
        np.asarray(30.0),
    )
    return np.asarray(special.expit(np.log(relative) + level))


def _even_binomial(random: np.random.Generator, n: int, chance: float, repetitions: int) -> Array:
    levels = (random.permutation(repetitions) + random.random(repetitions)) / repetitions
    cumulated = stats.binom.cdf(np.arange(n + 1), n, chance)
    return np.minimum(np.searchsorted(cumulated, levels), n).astype(np.float64)


def _covered(limits: dict[str, Interval], truth: float) -> dict[str, float]:
    row = {}
    for name, found in limits.items():
        low, high = np.asarray(found.low), np.asarray(found.high)
        row |= {
            f"{name}_covers": float(((low <= truth) & (truth <= high)).mean()),
            f"{name}_above": float((truth > high).mean()),
            f"{name}_below": float((truth < low).mean()),
            f"{name}_width": float((high - low).mean()),
        }
    return row


def _users(random: np.random.Generator, kind: str) -> Array:
    """Messages per user."""
    if kind == "uneven":
        return np.asarray(np.clip(np.round(np.exp(random.normal(1.5, 1.0, 250))), 1, 100))
    each = int(kind)
    return np.full(2_000 // each, float(each))


def _propensities(
    random: np.random.Generator, chances: Array, correlation: float, repetitions: int
) -> Array:
    if not correlation:
        return np.broadcast_to(chances, (repetitions, len(chances)))
    k = 1 / correlation - 1
    return random.beta(chances * k, (1 - chances) * k, (repetitions, len(chances)))


def users(repetitions: int = 400, seed: int = 1) -> list[dict[str, object]]:
    """One row per design: coverage and width now and before, medians of the effective sample."""
    random, rows = np.random.default_rng(seed), []
    for kind, correlation, rate in itertools.product(
        ("5", "20", "uneven"), (0.0, 0.05, 0.3), USER_RATES
    ):
        sizes = _users(random, kind)
        second = np.arange(len(sizes)) % 4 == 0
        weight = np.where(second, 3.0, 1.0)
        chances = np.where(second, 0.6, 1.0)
        mass = weight * sizes / (weight * sizes).sum()
        chances = np.minimum(chances * rate / (mass @ chances), 0.995)
        truth = float(mass @ chances)
        events = random.binomial(
            sizes.astype(int), _propensities(random, chances, correlation, repetitions)
        )
        user = np.repeat(np.arange(len(sizes)), sizes.astype(int))
        place = np.arange(len(user)) - np.repeat(np.cumsum(sizes) - sizes, sizes.astype(int))
        now, before, effective = [], [], []
        for drawn in events:
            outcome = (place < drawn[user]).astype(float)
            found = rates.share(outcome, weight[user], user, second[user])
            w = weight[user] / weight[user].sum()
            sums = intervals.moments(outcome, w, user)
            now.append(rates.limits(found))
            before.append(intervals.gamma_limits(sums))
            n_before = float(sums.total / sums.variance) if sums.total > 0 else float(found.kish)
            effective.append((float(found.n_effective), n_before))
        limits = {
            name: Interval(*np.transpose([(i.estimate, i.low, min(i.high, 1.0)) for i in them]))  # type: ignore[type-var]  # floats
            for name, them in (("now", now), ("plain", before))
        }
        sizes_now, sizes_before = np.median(effective, axis=0)
        row: dict[str, object] = {"users": kind, "correlation": correlation, "rate": rate}
        row |= {"n_effective": float(sizes_now), "n_effective_plain": float(sizes_before)}
        rows.append(row | _covered(limits, truth))
    return rows


def ratios(repetitions: int = 300, seed: int = 1) -> list[dict[str, object]]:
    """One row per design: coverage of the paired ratio's limits, and its standard error on the log
    scale as the limits have it, over what it was.
    """
    random, rows = np.random.default_rng(seed), []
    z = special.ndtri(0.975)
    for kind, (correlation, alike), rate, truth in itertools.product(
        ("5", "20", "uneven"),
        ((0.0, True), (0.1, True), (0.1, False), (0.3, True), (0.3, False)),
        (0.003, 0.01, 0.05, 0.15, 0.4),
        (1, 2),
    ):
        sizes = _users(random, kind)
        chances = np.full(len(sizes), rate)
        other = _propensities(random, chances, correlation, repetitions)
        if alike:  # a user's rate in the other arm, as many times as high
            other = np.minimum(other, 1 / truth)
            mine = other * truth
        else:
            mine = _propensities(random, chances * truth, correlation, repetitions)
        n = sizes.astype(int)
        # half of the smaller rate, or what the two rates leave no other place for
        both = np.maximum(0.5 * np.minimum(mine, other), mine + other - 1)
        a = random.binomial(n, both)
        b = random.binomial(n - a, np.clip((mine - both) / (1 - both), 0, 1))
        c = random.binomial(n - a - b, np.clip((other - both) / np.maximum(1 - mine, 1e-9), 0, 1))
        found: dict[str, list[Interval]] = {"now": [], "plain": [], "gate": []}
        for counts in zip(a, b, c, strict=True):
            user = np.concatenate([np.repeat(np.arange(len(n)), cell) for cell in counts])
            marked = np.eye(3)[np.repeat(np.arange(3), [cell.sum() for cell in counts])]
            if not len(marked):
                continue
            columns, ones = marked.T, np.ones(len(user))
            found["now"].append(paired.weighted_ratio(*columns, ones, clusters=user))
            found["gate"].append(paired.gate_ratio(*columns, ones, 0.95, user))
            times = float((np.bincount(user) ** 2).sum()) / len(user)
            found["plain"].append(paired.ratio(*(columns.sum(axis=1) / times)))
        limits = {
            name: Interval(*np.transpose([(i.estimate, i.low, i.high) for i in them]))
            for name, them in found.items()
        }
        row: dict[str, object] = {"users": kind, "correlation": correlation, "alike": alike}
        row |= {"rate": rate, "ratio": truth} | _covered(limits, float(truth))
        seen = np.all([np.isfinite(i.high) & (np.asarray(i.low) > 0) for i in limits.values()], 0)  # type: ignore[arg-type]  # arrays
        spread = float(np.log(np.asarray(limits["now"].estimate)[seen]).std())
        for name, part in limits.items():
            logs = np.log(np.asarray(part.high)[seen] / np.asarray(part.low)[seen])
            row[f"{name}_error"] = float(np.median(logs)) / (2 * z * spread)
        rows.append(row)
    return rows


def summary(rows: list[dict[str, object]]) -> dict[str, object]:
    """Per method: worst and mean coverage, share of designs below .94, worst one-sided miss."""
    names = [name.removesuffix("_covers") for name in rows[0] if name.endswith("_covers")]

    def values(name: str) -> Array:
        return np.array([float(str(row[name])) for row in rows])

    found: dict[str, object] = {"designs": len(rows)}
    for name in names:
        covers = values(f"{name}_covers")
        found[name] = {
            "worst": float(covers.min()),
            "mean": float(covers.mean()),
            "below_94": float((covers < 0.94).mean()),
            "worst_above": float(values(f"{name}_above").max()),
            "worst_below": float(values(f"{name}_below").max()),
        }
    return found


def _by(rows: list[dict[str, object]], *columns: str) -> dict[str, object]:
    """`summary` of the rows that share the columns, with medians of what else a row holds."""
    parts: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        parts.setdefault(", ".join(f"{name} {row[name]}" for name in columns), []).append(row)
    return {
        key: summary(part)
        | {
            name: float(np.median([float(str(row[name])) for row in part]))
            for name in part[0]
            if name.startswith("n_effective") or name.endswith(("_error", "_width"))
        }
        for key, part in parts.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repetitions", type=int, help="2,000; common 4,000, users 400, ratios 300"
    )
    parser.add_argument("--part", choices=["rare", "common", "users", "ratios"], default="rare")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    part = {"rare": rare, "common": common, "users": users, "ratios": ratios}[asked.part]
    rows = part(asked.repetitions) if asked.repetitions else part()
    found: dict[str, object] = {"part": asked.part} | summary(rows)
    split = {"common": ("n",), "users": ("correlation", "rate"), "ratios": ("rate", "alike")}
    if asked.part in split:
        found["by"] = _by(rows, *split[asked.part])
    print(json.dumps(found, indent=None if asked.json else 2))


if __name__ == "__main__":
    main()
