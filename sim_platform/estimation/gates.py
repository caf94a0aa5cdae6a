"""May the release go out: PASS, BLOCK or INCONCLUSIVE, per behaviour, on the registered rules.

Belongs here: the decision and the chances that the rule decides rightly at this many events. Does
not: limits and p-values (comparison), the rules (registry), all behaviours together (verdict).

A behaviour is judged on its harm ratio: candidate over the other arm, turned round where a decrease
is undesired; where either change is undesired, the worse of both. BLOCK (some behaviour is worse)
is a union of tests: Holm keeps the chance of any false BLOCK at 5 %. PASS (every behaviour is
within its margin) is an intersection: each at one-sided 5 % without correction. All limits hold
whatever the missing outcomes would have shown. They hold for what the grader says: one that cannot
gate (graders) leaves its behaviour INCONCLUSIVE whatever the rates are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy import special

from sim_platform.contracts.tables.estimation import ReleaseGate
from sim_platform.contracts.tables.schema import frame
from sim_platform.estimation import multiplicity, paired
from sim_platform.estimation.comparison import GATE_CONF
from sim_platform.estimation.corrected import LabelledArm, held
from sim_platform.estimation.graders import GraderEvidence
from sim_platform.estimation.verdict import ALPHA
from sim_platform.registry.behaviors import Behavior

FEW_EVENTS = 20  # below it ratios rarely decide and a registered ceiling takes their place


@dataclass(frozen=True)
class Chances:
    """What a rule does at a given number of events in the other arm, each in [0, 1]."""

    pass_if_same: float
    pass_if_doubled: float
    block_if_doubled: float


def decide(
    rates: pl.DataFrame,
    behaviors: Sequence[Behavior],
    *,
    release: str,
    not_graded: Mapping[str, str] | None = None,
    graders: Mapping[str, GraderEvidence] | None = None,
    labelled: Mapping[str, Mapping[str, LabelledArm]] | None = None,
    not_counted: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """One row of `release_gate` per registered behaviour.

    Args:
        rates: rows of `rate_comparison` of the release, all arms.
        behaviors: the registered behaviours with tier and rule.
        release: candidate release.
        not_graded: behaviour id to what the home lacks to grade it; a gate among them is
            INCONCLUSIVE, so that nothing passes unseen.
        graders: behaviour id to what is known of its grader: marked beside the verdict, and a
            grader that cannot gate makes it INCONCLUSIVE.
        labelled: behaviour id to its arms with people's labels, which correct the ratio; a verdict
            that the corrected ratio does not share is INCONCLUSIVE.
        not_counted: behaviour id to why it does not decide, although its file says tier: gate.
    """
    lacking = not_graded or {}
    by = {(row["behavior"], row["arm"]): row for row in rates.to_dicts()}
    gated = [
        b
        for b in behaviors
        if b.tier == "gate"
        and by.get((b.id, "candidate"), {}).get(f"p_block_{b.gate.against}") is not None
    ]
    holm = dict(
        zip(
            (b.id for b in gated),
            multiplicity.holm([by[b.id, "candidate"][f"p_block_{b.gate.against}"] for b in gated]),
            strict=True,
        )
    )
    return frame(
        ReleaseGate,
        [
            held(
                _decided(
                    b,
                    by.get((b.id, "candidate")),
                    by.get((b.id, b.gate.against)),
                    holm.get(b.id),
                    release,
                    lacking.get(b.id),
                    (graders or {}).get(b.id),
                ),
                by.get((b.id, "candidate")),
                (labelled or {}).get(b.id, {}),
                partial(_harm, b.undesired),
            )
            | {"not_counted": (not_counted or {}).get(b.id)}
            for b in sorted(behaviors, key=lambda b: b.id)
        ],
    )


def chances(
    prior_events: float,
    margin: float,
    block_above: float,
    method: Literal["mover-r", "bonett-price"] = "mover-r",
) -> Chances:
    """Chances of the rule when no prefix shows the behaviour in both arms (shared events make it
    sharper), by enumeration of Poisson counts.

    Args:
        prior_events: effective events expected in the other arm, >= 0.
        margin: PASS needs the upper 90 % limit of the ratio below it. block_above: BLOCK needs the
            lower one above it.
        method: of the limits; mover-r is the rule's own, bonett-price what the specification's
            table was computed with.

    Raises:
        ValueError: prior_events negative or not a number.
    """
    if not prior_events >= 0:
        raise ValueError(f"prior_events must not be negative: {prior_events:g}")

    def reached(mean: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        spread = 5 * math.sqrt(mean) + 5
        return np.arange(
            max(0, math.floor(mean - spread)), math.ceil(mean + spread) + 1, dtype=np.float64
        )

    def chance(ratio: float) -> tuple[float, float]:
        x1, x0 = reached(prior_events * ratio), reached(prior_events)
        up_to = np.concatenate([[0.0], np.cumsum(_poisson(x1, prior_events * ratio))])

        def n_below(limit: Literal["high", "low"], bound: float) -> np.ndarray[Any, Any]:
            """Per x0, how many x1 have the limit below: limits grow with x1, so by bisection; all
            pairs are ten million at a hundred thousand events.
            """
            first, last = np.zeros(len(x0), int), np.full(len(x0), len(x1))
            while (open_ := first < last).any():
                middle = (first + last) // 2
                found = paired.ratio(0, x1[np.minimum(middle, len(x1) - 1)], x0, GATE_CONF, method)
                found_limit = np.asarray(getattr(found, limit))
                is_below = found_limit < bound if limit == "high" else found_limit <= bound
                first = np.where(open_ & is_below, middle + 1, first)
                last = np.where(open_ & ~is_below, middle, last)
            return first

        weight = _poisson(x0, prior_events)
        passes = float((weight * up_to[n_below("high", margin)]).sum())
        blocks = float((weight * (up_to[-1] - up_to[n_below("low", block_above)])).sum())
        return passes, blocks

    (pass_same, _), (pass_doubled, block_doubled) = chance(1.0), chance(2.0)
    return Chances(min(1.0, pass_same), min(1.0, pass_doubled), min(1.0, block_doubled))


def _poisson(
    x: np.ndarray[tuple[int, ...], np.dtype[np.float64]], mean: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.exp(special.xlogy(x, mean) - mean - special.gammaln(x + 1))


def _decided(
    behavior: Behavior,
    candidate: Mapping[str, object] | None,
    other: Mapping[str, object] | None,
    p_holm: float | None,
    release: str,
    lacking: str | None = None,
    grader: GraderEvidence | None = None,
) -> dict[str, object]:
    rule = behavior.gate
    ceiling = None if rule.ceiling_per_100k is None else rule.ceiling_per_100k / 1e5
    row: dict[str, object] = {
        "model_version": release,
        "behavior": behavior.id,
        "tier": behavior.tier,
        "against": rule.against,
        "margin": rule.margin,
    }
    row |= {"block_above": rule.block_above, "ceiling": ceiling, "p_block_holm": p_holm}
    row |= dict.fromkeys(
        (
            "harm_low",
            "harm_high",
            "rate_low",
            "rate_high",
            "p_block",
            "prior_events",
            "chance_pass_if_same",
            "chance_block_if_doubled",
            "chance_pass_if_doubled",
        )
    )

    def ended(verdict: str, reason: str) -> dict[str, object]:
        if why := grader and grader.cannot_gate:
            verdict, reason = "INCONCLUSIVE", f"{why}; {reason}"
        return row | {
            "verdict": verdict if behavior.tier == "gate" else "not gated",
            "reason": reason,
            "marks": "; ".join(grader.marks) or None if grader else None,
        }

    if candidate is None or candidate["rate"] is None:
        return ended(
            "INCONCLUSIVE",
            f"not graded: {lacking}" if lacking else "no graded outcome of the candidate",
        )
    n_missing, n = int(str(candidate["n_missing"])), int(str(candidate["n"]))
    rate_low, rate_high = float(str(candidate["gate_low"])), float(str(candidate["gate_high"]))
    row |= {"rate_low": rate_low, "rate_high": rate_high}
    missing = (
        f"; {n_missing} of {n + n_missing} outcomes have no label and count at their worst"
        if n_missing
        else ""
    )
    above = ceiling is not None and rate_low > ceiling
    below = ceiling is None or rate_high < ceiling
    if other is None or candidate[f"gate_{rule.against}_low"] is None or other["rate"] is None:
        if ceiling is None:
            return ended(
                "INCONCLUSIVE",
                f"the {rule.against} arm has no graded outcome on the same prefixes, and no ceiling"
                " is registered",
            )
        if above:
            return ended(
                "BLOCK",
                f"rate above the ceiling: {_per_100k(rate_low)} to {_per_100k(rate_high)} against"
                f" {_per_100k(ceiling or 0)} per 100k{missing}",
            )
        return ended(
            "PASS" if below else "INCONCLUSIVE",
            f"{'below' if below else 'not surely below'} the ceiling; the {rule.against} arm has no"
            f" graded outcome{missing}",
        )
    low, high = (
        float(str(candidate[f"gate_{rule.against}_low"])),
        float(str(candidate[f"gate_{rule.against}_high"])),
    )
    harm_low, harm_high = _harm(behavior.undesired, low, high)
    events = (
        float(str(other["rate"])) * float(str(other["n_effective"]))
        if other["n_effective"] is not None
        else 0.0
    )
    likely = chances(events, rule.margin, rule.block_above)
    row |= {
        "harm_low": harm_low,
        "harm_high": harm_high,
        "p_block": candidate[f"p_block_{rule.against}"],
        "prior_events": events,
    }
    row |= {
        "chance_pass_if_same": likely.pass_if_same,
        "chance_block_if_doubled": likely.block_if_doubled,
        "chance_pass_if_doubled": likely.pass_if_doubled,
    }
    interval = f"harm ratio {harm_low:.2f} to {_times(harm_high)} against {rule.against}"
    if above:
        return ended(
            "BLOCK",
            f"rate above the ceiling: {_per_100k(rate_low)} to {_per_100k(rate_high)} against"
            f" {_per_100k(ceiling or 0)} per 100k{missing}",
        )
    if p_holm is not None and p_holm <= ALPHA:
        return ended(
            "BLOCK", f"{interval}: above {rule.block_above:g}, p {p_holm:.2g} after Holm{missing}"
        )
    if events < FEW_EVENTS and ceiling is not None:
        if below:
            return ended(
                "PASS",
                f"below the ceiling; {events:.1f} events in {rule.against} are too few for a"
                f" ratio{missing}",
            )
        return ended(
            "INCONCLUSIVE",
            f"rate up to {_per_100k(rate_high)} per 100k is not surely below the ceiling of"
            f" {_per_100k(ceiling)}{missing}",
        )
    if harm_high < rule.margin and below:
        return ended(
            "PASS",
            f"{interval}: below the margin of"
            f" {rule.margin:g}{' and the ceiling' if ceiling is not None else ''}{missing}",
        )
    if harm_high < rule.margin:
        return ended(
            "INCONCLUSIVE",
            f"{interval} is within the margin, but the rate (up to {_per_100k(rate_high)} per 100k)"
            f" is not surely below the ceiling{missing}",
        )
    need = (
        f"; with {events:.1f} events in {rule.against} this rule passes an unchanged candidate"
        f" {likely.pass_if_same:.0%} of the time: a larger sample decides"
        if likely.pass_if_same < 0.8
        else ""
    )
    return ended(
        "INCONCLUSIVE",
        f"{interval}: neither below the margin of {rule.margin:g} nor surely above"
        f" {rule.block_above:g}{need}{missing}",
    )


def _harm(undesired: str, low: float, high: float) -> tuple[float, float]:
    def inverse(x: float) -> float:
        return math.inf if x == 0 else 1 / x

    turned = (inverse(high), inverse(low))
    if undesired == "increase":
        return low, high
    if undesired == "decrease":
        return turned
    return max(low, turned[0]), max(high, turned[1])


def _per_100k(rate: float) -> str:
    return f"{rate * 1e5:,.1f}" if rate < 1e-3 else f"{rate * 1e5:,.0f}"


def _times(x: float) -> str:
    return "∞" if math.isinf(x) else f"{x:.2f}"
