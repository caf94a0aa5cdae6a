"""May the release go out: PASS, BLOCK or INCONCLUSIVE, per behaviour, on the registered rules.

Belongs here: the decisions on all behaviours together, and the chances that the rule decides
rightly at this many events. Does not: one behaviour's verdict (cases), its words (reasons), limits
and p-values (comparison), the rules (registry), the release's verdict (verdict).

A behaviour is judged on its harm: the ratio of candidate to the other arm, turned round where a
decrease is undesired, the worse of both where either change is; or the difference, where the margin
is in points. PASS shows non-inferiority: each behaviour at one-sided 5 % without correction, for
all of them must pass (an intersection). BLOCK shows harm beyond what the rule allows, or a rate
above its ceiling: a union of tests, so Holm goes over all ways to block and keeps the chance of any
false BLOCK at 5 %. Limits hold while missing outcomes show the behaviour at up to `missing_times`
times the rate of answered ones (missing). They hold for what the grader says: one that cannot gate
(graders) leaves its behaviour INCONCLUSIVE whatever the rates are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy import special

from sim_platform.contracts.tables.estimation import ReleaseGate
from sim_platform.contracts.tables.schema import frame
from sim_platform.estimation import multiplicity, paired
from sim_platform.estimation.cases import Case, tipping_point
from sim_platform.estimation.comparison import GATE_CONF
from sim_platform.estimation.corrected import LabelledArm, held
from sim_platform.estimation.graders import GraderEvidence
from sim_platform.estimation.missing import WORST
from sim_platform.estimation.reasons import advice, missing_in_words, missing_warnings, reason_of
from sim_platform.estimation.verdict import ALPHA
from sim_platform.registry.behaviors import Behavior


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
    prefixes: int | None = None,
) -> pl.DataFrame:
    """One row of `release_gate` per registered behaviour.

    Args:
        rates: rows of `rate_comparison` of the release, all arms, made with the same rules.
        behaviors: the registered behaviours with tier and rule.
        release: candidate release.
        not_graded: behaviour id to what the home lacks to grade it; a gate among them is
            INCONCLUSIVE, so that nothing passes unseen.
        graders: behaviour id to what is known of its grader: marked beside the verdict, and a
            grader that cannot gate makes it INCONCLUSIVE.
        labelled: behaviour id to its arms with people's labels, which correct the ratio; a verdict
            that the corrected ratio does not share is INCONCLUSIVE.
        not_counted: behaviour id to why it does not decide, although its file says tier: gate.
        prefixes: of the sample, for saying how many would decide; default: a behaviour's outcomes.
    """
    lacking = not_graded or {}
    by = {(row["behavior"], row["arm"]): row for row in rates.to_dicts()}
    cases = [
        Case(
            b,
            b.gate.with_numbers(),
            by.get((b.id, "candidate")),
            by.get((b.id, b.gate.against)),
            prefixes,
        )
        for b in sorted(behaviors, key=lambda b: b.id)
    ]
    gated = [case for case in cases if case.behavior.tier == "gate"]
    ways = {(case.behavior.id, way.name): way.p for case in gated for way in case.ways}
    adjusted = dict(zip(ways, multiplicity.holm([*ways.values()]).tolist(), strict=True))
    worse = [case for case in gated if case.p_differs is not None]
    p_worse = dict(
        zip(
            (case.behavior.id for case in worse),
            multiplicity.holm([case.p_differs or 0.0 for case in worse]),
            strict=True,
        )
    )
    rows = []
    for case in cases:
        name = case.behavior.id
        holm: dict[str, float] = {way: p for (of, way), p in adjusted.items() if of == name}
        decided = _decided(case, holm, lacking.get(name), (graders or {}).get(name))
        rows.append(
            held(decided, case, (labelled or {}).get(name, {}))
            | _surely_worse(case, p_worse.get(name))
            | {"model_version": release, "not_counted": (not_counted or {}).get(name)}
        )
    columns = ReleaseGate.to_schema().columns
    return frame(ReleaseGate, [{name: row.get(name) for name in columns} for row in rows])


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
    case: Case,
    holm: Mapping[str, float],
    lacking: str | None,
    grader: GraderEvidence | None,
) -> dict[str, object]:
    rule, behavior = case.rule, case.behavior
    row: dict[str, object] = {
        "behavior": behavior.id,
        "tier": behavior.tier,
        "against": rule.against,
        "margin": math.inf if rule.margin is None else rule.margin,
        "block_above": math.inf if rule.block_above is None else rule.block_above,
        "margin_points": rule.margin_points,
        "ceiling": case.ceiling,
        "floor": case.floor,
        "missing_times": None if math.isinf(case.times) else case.times,
        "marks": "; ".join(grader.marks) or None if grader else None,
        "p_block_holm": holm.get("harm"),
        "p_ceiling_holm": holm.get("ceiling"),
    }

    def ended(verdict: str, *reasons: str) -> dict[str, object]:
        said = "; ".join(reason for reason in reasons if reason)
        return row | {
            "verdict": verdict if behavior.tier == "gate" else "not gated",
            "reason": said,
        }

    if not case.is_graded:
        why = grader and grader.cannot_gate
        return ended(
            "INCONCLUSIVE",
            why or "",
            f"not graded: {lacking}" if lacking else "no graded outcome of the candidate",
        )
    times = case.times
    row["rate_low"], row["rate_high"] = case.rate(times)
    if case.is_compared:
        row["harm_low"], row["harm_high"] = case.ratio(times)
        row["worst_low"], row["worst_high"] = case.ratio(WORST)
        row |= {
            "p_block": case.of("p_block_{}"),
            "prior_events": case.events,
            "other_rate_high": case.other_high(times),
        }
        if rule.margin_points is not None:
            row["points_low"], row["points_high"] = case.points(times)
        elif rule.margin is not None and rule.block_above is not None:
            likely = chances(case.events, rule.margin, rule.block_above)
            row |= {
                "chance_pass_if_same": likely.pass_if_same,
                "chance_block_if_doubled": likely.block_if_doubled,
                "chance_pass_if_doubled": likely.pass_if_doubled,
            }
    verdict, by = case.verdict(times, holm)
    tipping = tipping_point(case, holm, verdict) if any(case.n_missing) else None
    row |= {"tipping": tipping, "worst_verdict": case.verdict(WORST, holm)[0]}
    row |= {"warnings": missing_warnings(case)}
    reason = reason_of(case, holm, verdict, by)
    if grader and grader.cannot_gate:
        return ended(
            "INCONCLUSIVE",
            grader.cannot_gate,
            "labels from people or another grader would decide",
            reason,
            missing_in_words(case, holm, "INCONCLUSIVE", None),
        )
    chance = row.get("chance_pass_if_same")
    return ended(
        verdict,
        reason,
        advice(case, holm, chance if isinstance(chance, float) else None)
        if verdict == "INCONCLUSIVE"
        else "",
        missing_in_words(case, holm, verdict, tipping),
    )


def _surely_worse(case: Case, p_holm: float | None) -> dict[str, object]:
    """The difference with its 95 % limits in the undesired direction, where that is beyond chance
    over all gate behaviours.
    """
    row: dict[str, object] = {"p_worse_holm": p_holm}
    by, low, high = (case.of(f"difference_to_{{}}{end}") for end in ("", "_low", "_high"))
    if p_holm is None or p_holm > ALPHA or by is None:
        return row
    if case.behavior.undesired == "decrease" or (case.behavior.undesired == "either" and by < 0):
        by, low, high = -by, -high, -low
    if low <= 0:
        return row
    return row | {"worse_by": by, "worse_by_low": low, "worse_by_high": high}
