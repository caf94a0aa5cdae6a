"""Rates and ratios behind an imperfect grader, with the truth known and the default label plan.

`rates`: coverage of `corrected`, the 95 % interval of a rate, over rate, sensitivity and sample
size, for graders without scores, with false flags, and with scores that put 0.8 of the missed
occurrences among the near misses. `ratios`: how often the gate says PASS and BLOCK on what the
grader says alone, and on what also stands after correction for people's labels. `powered`: what
the prediction-powered rate says where 15 missed occurrences were found, which was its condition.

Messages are independent, and only counts are drawn; a test holds the sums made of them here against
`four_rates` on outcomes one by one. `outcomes` is `rates` at 2,000 messages made of outcomes, by
way of the comparison itself: slower, and right whatever limits the comparison takes.

    python -m benchmarks.calibration --json
"""

import argparse
import itertools
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from sim_platform.estimation import corrected, intervals, paired
from sim_platform.estimation.comparison import GATE_CONF
from sim_platform.estimation.corrected import Labelled, LabelledArm
from sim_platform.estimation.four_rates import four_rates
from sim_platform.estimation.intervals import Array, Interval, Moments
from sim_platform.estimation.rates import Share, limits
from sim_platform.grading.label_sampling import NEAR_MISS_SHARE, LabelPlan

PLAN = LabelPlan()
Counts = npt.NDArray[np.int64]
GRADERS = {"labels only": (0.0, 0.0), "false flags": (0.0, 0.002), "scores": (0.8, 0.002)}


@dataclass(frozen=True)
class Drawn:
    """Outcomes and labels of repetitions, shape (repetitions,) or (repetitions, label strata of the
    unflagged): `size` outcomes, `labelled` of them, `found` occurrences among those.
    """

    n: int
    flags: Counts
    labelled_flags: Counts
    confirmed: Counts
    size: Counts
    labelled: Counts
    found: Counts

    @property
    def stands_for(self) -> tuple[Array, Array]:
        """Outcomes that one labelled flag, and one labelled unflagged outcome, stands for."""
        return (
            self.flags / np.maximum(self.labelled_flags, 1),
            self.size / np.maximum(self.labelled, 1),
        )


def draw(
    random: np.random.Generator,
    repetitions: int,
    n: int,
    rate: float,
    sensitivity: float,
    grader: tuple[float, float],
) -> Drawn:
    """`grader`: share of missed occurrences among the near misses (0: it gives no scores), and the
    rate of false flags.
    """
    near, false = grader
    occurred = random.binomial(n, rate, repetitions)
    true_flags = random.binomial(occurred, sensitivity)
    false_flags = random.binomial(n - occurred, false)
    missed, flags = occurred - true_flags, true_flags + false_flags
    unflagged = n - flags
    first = np.ceil(unflagged * NEAR_MISS_SHARE).astype(int) if near else 0 * unflagged
    missed_near = np.minimum(random.binomial(missed, near), first)
    size = np.stack([first, unflagged - first], axis=1)
    hidden = np.stack([missed_near, missed - missed_near], axis=1)
    wanted = (PLAN.near_misses, PLAN.rest) if near else (0, PLAN.near_misses + PLAN.rest)
    labelled = np.minimum(size, wanted)
    asked = np.minimum(flags, PLAN.flags)
    return Drawn(
        n,
        flags,
        asked,
        random.hypergeometric(true_flags, false_flags, asked),
        size,
        labelled,
        random.hypergeometric(hidden, size - hidden, labelled),
    )


def corrected_rates(drawn: Drawn, conf: float = 0.95) -> Interval:
    """`corrected` of every repetition."""
    of_flag, of_other = drawn.stands_for
    of_flags = drawn.labelled_flags * of_flag**2
    parts = [
        (
            drawn.confirmed * of_flag,
            drawn.confirmed * of_flag**2,
            of_flags + drawn.n - drawn.flags,
            np.maximum(of_flag, 1.0),
        ),
        (
            drawn.confirmed * of_flag + (drawn.found * of_other).sum(1),
            drawn.confirmed * of_flag**2 + (drawn.found * of_other**2).sum(1),
            of_flags + (drawn.labelled * of_other**2).sum(1),
            np.maximum(of_flag, of_other.max(axis=1)),
        ),
    ]
    verified, whole = (
        limits(
            Share(
                total / drawn.n,
                squares / drawn.n**2,
                squares / drawn.n**2,
                units / drawn.n**2,
                largest / drawn.n,
            ),
            "fay-feuer",
            conf,
        )
        for total, squares, units, largest in parts
    )
    low = np.maximum(whole.low, verified.low)
    return Interval(np.maximum(whole.estimate, low), low, np.minimum(whole.high, 1.0))


def arms(drawn: Drawn) -> list[LabelledArm]:
    """What the gate is given of every repetition."""
    n, rates = drawn.n, corrected_rates(drawn, GATE_CONF)
    of_flag, of_other = drawn.stands_for
    share = drawn.confirmed / np.maximum(drawn.labelled_flags, 1)
    precision = intervals.binomial(
        drawn.confirmed, np.maximum(drawn.labelled_flags, 1), "clopper-pearson", GATE_CONF
    )
    unknown = drawn.flags - drawn.labelled_flags
    beside = of_other - 1
    is_open = drawn.size > drawn.labelled
    largest = np.maximum((beside * is_open).max(axis=1), 1e-12)
    rest = intervals.gamma_limits(
        Moments(
            (drawn.found * beside).sum(1),
            (drawn.found * beside**2).sum(1),
            largest,
            np.ones_like(largest),
        ),
        "fay-feuer",
        GATE_CONF,
    )
    found, heaviest = drawn.found.sum(1), np.where(drawn.labelled > 0, of_other, 0).max(axis=1)
    clean = drawn.labelled - drawn.found
    made = []
    for i in range(len(share)):
        whole, sure = drawn.flags[i] * share[i], float(drawn.flags[i] > 0)
        low, high = (
            whole + unknown[i] * (np.asarray(limit)[i] - share[i])
            for limit in (precision.low, precision.high)
        )
        is_known = not is_open[i].any()
        missed = [found[i] + (0 if is_known else np.asarray(x)[i]) for x in vars(rest).values()]
        made.append(
            LabelledArm(
                drawn.flags[i] / n,
                Interval(whole / n, sure * low / n, sure * high / n),
                Interval(*(float(x) / n for x in missed)),
                Interval(*(float(np.asarray(x)[i]) for x in vars(rates).values())),
                {
                    "tp": _cell(n, [drawn.confirmed[i]], [of_flag[i]], of_flag[i]),
                    "fp": _cell(
                        n, [drawn.labelled_flags[i] - drawn.confirmed[i]], [of_flag[i]], of_flag[i]
                    ),
                    "fn": _cell(n, drawn.found[i], of_other[i], heaviest[i]),
                    "tn": _cell(n, clean[i], of_other[i], heaviest[i]),
                },
                GATE_CONF,
            )
        )
    return made


def _cell(n: int, counts: npt.ArrayLike, each: npt.ArrayLike, one: float) -> Labelled:
    x, w = np.asarray(counts), np.asarray(each)
    total, squares = float((x * w).sum()), float((x * w**2).sum())
    return Labelled(int(x.sum()), total / n, total**2 / squares if squares else 0.0, one / n)


def rates(repetitions: int, seed: int = 1) -> list[dict[str, object]]:
    """One row a design."""
    random, rows = np.random.default_rng(seed), []
    for grader, n, rate, sensitivity in itertools.product(
        GRADERS, (2_000, 10_000, 50_000), (1e-4, 1e-3, 1e-2, 0.03, 0.1), (0.2, 0.5, 0.7, 0.9, 1.0)
    ):
        found = corrected_rates(draw(random, repetitions, n, rate, sensitivity, GRADERS[grader]))
        low, high = np.asarray(found.low), np.asarray(found.high)
        rows.append(
            {
                "grader": grader,
                "n": n,
                "rate": rate,
                "sensitivity": sensitivity,
                "covers": float(((low <= rate) & (rate <= high)).mean()),
                "below": float((rate < low).mean()),
                "above": float((rate > high).mean()),
                "mean": float(np.mean(found.estimate)) / rate,
                "width": float(np.median(high / np.maximum(low, 1e-12))),
            }
        )
    return rows


def outcomes_of(drawn: Drawn, i: int) -> pl.DataFrame:
    """One repetition, outcome by outcome, as `four_rates` takes it."""
    parts = [("flag", True, drawn.flags[i], drawn.labelled_flags[i], drawn.confirmed[i])]
    parts += [
        (name, False, drawn.size[i, j], drawn.labelled[i, j], drawn.found[i, j])
        for j, name in enumerate(("near_miss", "rest"))
    ]
    rows: list[tuple[object, ...]] = []
    for name, flag, size, asked, found in parts:
        known = [True] * int(found) + [False] * int(asked - found)
        rows += [(flag, human, asked / size, name) for human in known]
        rows += [(flag, None, None, None)] * int(size - asked)
    return (
        pl.DataFrame(
            rows,
            schema={
                "label": pl.Boolean,
                "human": pl.Boolean,
                "label_probability": pl.Float64,
                "label_stratum": pl.String,
            },
            orient="row",
        )
        .with_row_index("code")
        .with_columns(stratum=0, weight=1.0, cluster="code")
    )


def of_outcomes(repetitions: int, seed: int = 1) -> list[dict[str, object]]:
    """One row a design of 2,000 messages, through `four_rates`."""
    random, rows = np.random.default_rng(seed), []
    for grader, rate, sensitivity in itertools.product(
        ("labels only", "scores"), (1e-3, 1e-2, 0.03, 0.1), (0.2, 0.5, 1.0)
    ):
        drawn = draw(random, repetitions, 2_000, rate, sensitivity, GRADERS[grader])
        found = [four_rates(outcomes_of(drawn, i)) for i in range(repetitions)]
        held = [
            float(str(row["corrected_low"])) <= rate <= float(str(row["corrected_high"]))
            for row in found
            if row.get("corrected") is not None
        ]
        rows.append(
            {
                "grader": grader,
                "rate": rate,
                "sensitivity": sensitivity,
                "given": len(held) / repetitions,
                "covers": float(np.mean(held)),
            }
        )
    return rows


# rate in the other arm, true ratio, sensitivity in the candidate's and the other arm, n, margin
GATES = [
    (0.4, 1.25, 0.68, 0.87, 2_000, 1.2),
    (0.4, 1.25, 0.68, 0.87, 450, 1.2),
    (0.4, 1.0, 0.87, 0.87, 2_000, 1.2),
    (0.4, 1.2, 0.9, 0.9, 2_000, 1.2),
    (0.4, 1.2, 0.7, 0.9, 2_000, 1.2),
    (0.1, 1.0, 0.9, 0.9, 5_000, 1.5),
    (0.1, 1.5, 0.6, 0.9, 5_000, 1.5),
    (0.1, 1.5, 0.9, 0.9, 5_000, 1.5),
    (0.1, 1.25, 0.95, 0.6, 5_000, 1.5),
    (0.02, 1.0, 0.9, 0.9, 10_000, 2.0),
    (0.02, 2.0, 0.5, 1.0, 10_000, 2.0),
    (0.02, 2.0, 0.9, 0.9, 10_000, 2.0),
    (0.02, 1.0, 1.0, 0.5, 10_000, 2.0),
    (0.005, 1.0, 0.9, 0.9, 20_000, 2.0),
    (0.005, 2.0, 0.5, 1.0, 20_000, 2.0),
    (0.005, 3.0, 0.9, 0.9, 20_000, 2.0),
]


def ratios(repetitions: int, grader: str, seed: int = 1) -> list[dict[str, object]]:
    """One row a design: shares of repetitions. BLOCK needs a lower limit above 1.25."""
    random, rows = np.random.default_rng(seed), []
    for rate, truth, se, other_se, n, margin in GATES:
        first = draw(random, repetitions, n, rate * truth, se, GRADERS[grader])
        other = draw(random, repetitions, n, rate, other_se, GRADERS[grader])
        shared = np.round(first.flags * other.flags / n)
        alone = paired.ratio(
            shared, first.flags - shared, other.flags - shared, GATE_CONF, "mover-r"
        )
        pairs = list(zip(arms(first), arms(other), strict=True))
        apparent = [
            Interval(*(float(np.asarray(x)[i]) for x in vars(alone).values()))
            for i in range(repetitions)
        ]
        found = [
            corrected.corrected_ratio(one, *pair) for one, pair in zip(apparent, pairs, strict=True)
        ]

        def share(said: list[bool]) -> float:
            return float(np.mean(said))

        rows.append(
            {
                "rate": rate,
                "ratio": truth,
                "sensitivities": [se, other_se],
                "n": n,
                "margin": margin,
                "covers_90": share([bool(x.low <= truth <= x.high) for x in found]),
                "covers_90_alone": share([bool(x.low <= truth <= x.high) for x in apparent]),
                "pass_alone": share([bool(x.high < margin) for x in apparent]),
                "pass": share(
                    [
                        bool(x.high < margin and y.high < margin)
                        for x, y in zip(found, apparent, strict=True)
                    ]
                ),
                "block_alone": share([bool(x.low > 1.25) for x in apparent]),
                "block": share(
                    [
                        bool(x.low > 1.25 and y.low > 1.25)
                        for x, y in zip(found, apparent, strict=True)
                    ]
                ),
                "sensitivity_differs": share(
                    [corrected.same_sensitivity(*pair) < corrected.DIFFERS for pair in pairs]
                ),
                "width": float(np.median([np.log(x.high / max(x.low, 1e-9)) for x in found])),
            }
        )
    return rows


def powered(repetitions: int, seed: int = 1) -> dict[str, float]:
    """Rate .1, sensitivity .8, n 10,000: the difference estimator over all samples, and over those
    in which 15 missed occurrences were found.
    """
    drawn = draw(np.random.default_rng(seed), repetitions, 10_000, 0.1, 0.8, GRADERS["labels only"])
    of_flag, of_other = drawn.stands_for
    estimate = (drawn.confirmed * of_flag + (drawn.found * of_other).sum(1)) / drawn.n
    is_shown = drawn.found.sum(1) >= 15
    return {
        "rate": 0.1,
        "mean": float(estimate.mean()),
        "shown": float(is_shown.mean()),
        "mean_where_shown": float(estimate[is_shown].mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=4000, help="a design of rates")
    parser.add_argument("--gates", type=int, default=300, help="repetitions a design of ratios")
    parser.add_argument("--outcomes", type=int, default=0, help="repetitions made of outcomes")
    parser.add_argument("--json", action="store_true", help="every design, not the worst alone")
    asked = parser.parse_args()
    covered = sorted(rates(asked.repetitions), key=lambda row: float(str(row["covers"])))
    found = {
        "designs": len(covered),
        "worst": covered if asked.json else covered[:5],
        "mean": float(np.mean([float(str(row["covers"])) for row in covered])),
        "outcomes": of_outcomes(asked.outcomes) if asked.outcomes else [],
        "powered": powered(asked.repetitions),
        "ratios": {grader: ratios(asked.gates, grader) for grader in ("labels only", "scores")},
    }
    print(json.dumps(found, indent=None if asked.json else 2))


if __name__ == "__main__":
    main()
