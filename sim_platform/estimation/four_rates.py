"""The rates of one behaviour in one arm behind a grader that people checked.

Belongs here: apparent, verified, corrected and bounded rate of scored and labelled outcomes,
with what refuses each, and the sums that a corrected ratio takes. Does not: which outcomes are
labelled (flows.grading), how a rate and its limits are made (comparison), formulas (intervals,
judge), ratios (corrected).

One design for both: an outcome's share of all messages is what the comparison spreads on it
(strata, missing labels, repeats), a labelled outcome stands for others as its chance of being drawn
says, and every rate goes through the comparison's own function with prefixes as units and users as
clusters. So labels of everything by people who agree with the grader give the comparison's rate and
limits four times.
"""

import json
from dataclasses import dataclass

import numpy as np
import polars as pl

from sim_platform.estimation import corrected, intervals, judge
from sim_platform.estimation.comparison import GATE_CONF, rate_of, spread
from sim_platform.estimation.corrected import Labelled, LabelledArm
from sim_platform.estimation.intervals import Interval

LEAST_POSITIVES = 10  # known positives below which nothing is said to be trusted
CELLS = (("tp", True, True), ("fp", False, True), ("fn", True, False), ("tn", False, False))


def four_rates(outcomes: pl.DataFrame) -> dict[str, object]:
    """The four rates of one behaviour in one arm, with what refuses them.

    Args:
        outcomes: eligible ones: their prefix's `code`, `stratum`, `weight` and `cluster` (design),
            `label`; of those that were drawn for people, `label_probability` and `label_stratum`;
            where they labelled, `human`.

    apparent: weighted share of flags. verified: flags that people confirmed, weighted by 1 / chance
    of being labelled. corrected: all confirmed occurrences so weighted, missed ones among the
    unflagged included; its lower limit is the higher one of its own and verified's, its upper limit
    is bound. bound: upper limit of all confirmed occurrences, which assumes nothing about the
    grader.
    """
    labels = _labelled(outcomes)
    graded, known = labels.graded, labels.known
    row: dict[str, object] = {
        name: known.filter((pl.col("human") == h) & (pl.col("label") == f)).height
        for name, h, f in CELLS
    }
    row |= {
        "n": known.height,
        "abstained": outcomes.filter(
            pl.col("label").is_null() & pl.col("human").is_not_null()
        ).height,
    }
    refused: dict[str, str] = {}
    row |= _named("apparent", _rate(graded.with_columns(v="w"), "label"), cut=True)
    n_flags = graded.filter("label").height
    blind = _blind(labels)
    lacks = "no flag was labelled" if n_flags and not known["label"].any() else None
    if lacks:
        refused["verified"] = lacks
    else:
        row |= _named("verified", _verified(graded, known))
    if blind:
        refused["bound"] = f"{blind}: nothing bounds what the grader missed"
        refused["corrected"] = f"{blind}: the sensitivity is unknown"
    if lacks:
        refused["corrected"] = lacks
    if not lacks and not blind:
        found = _corrected(graded, known)
        row |= _named("corrected", found)
        row["bound"] = found.high
        arm = _arm(labels, 0.95)
        row |= _named("sensitivity", arm.sensitivity) | {"specificity": arm.specificity}
    row["status"] = _status(known, n_flags, graded.height, _arm(labels, GATE_CONF), refused)
    row["refused"] = json.dumps(refused, sort_keys=True)
    return row


def labelled_arm(outcomes: pl.DataFrame, conf: float = GATE_CONF) -> LabelledArm:
    """What the labels of one arm say of its grader, with limits for decisions; `outcomes` as for
    `four_rates`.
    """
    return _arm(_labelled(outcomes), conf)


@dataclass(frozen=True)
class _Labels:
    """Graded outcomes with `w`, the share of all messages that each stands for; the labelled ones
    (`known`) with `v`, the share that they stand for in place of those that nobody labelled; and
    those that were drawn for people.
    """

    graded: pl.DataFrame
    known: pl.DataFrame
    drawn: pl.DataFrame


def _arm(labels: _Labels, conf: float) -> LabelledArm:
    graded, known = labels.graded, labels.known
    flagged = float(graded.filter("label")["w"].sum())
    blind = _blind(labels)
    unlabelled_flags = bool(flagged) and not known["label"].any()
    if unlabelled_flags or blind:
        low = 0.0 if unlabelled_flags else float(_verified(graded, known, conf).low)
        rate = Interval(low, low, 1.0)
    else:
        rate = _corrected(graded, known, conf)
    return LabelledArm(
        flagged,
        _confirmed(flagged, known.filter("label"), conf),
        Interval(0.0, 0.0, float("inf")) if blind else _missed(known, conf),
        rate,
        {name: _cell(known.filter(pl.col("label") == f), human=h) for name, h, f in CELLS},
        conf,
    )


def _labelled(outcomes: pl.DataFrame) -> _Labels:
    """A drawn outcome that nobody labelled counts as not drawn: the others of its label stratum
    stand for it too.
    """
    graded = outcomes.filter(pl.col("label").is_not_null())
    prefixes = outcomes.group_by("code", maintain_order=True).agg(
        pl.col("stratum", "weight").first(), n=pl.col("label").count()
    )
    graded = graded.join(
        spread(prefixes).select("code", "w", of="n"), on="code", maintain_order="left"
    ).with_columns(w=pl.col("w") / pl.col("of"))
    drawn = graded.filter(pl.col("label_probability").is_not_null()).with_columns(
        v=pl.col("w") / pl.col("label_probability"),
        group=pl.coalesce("label_stratum", pl.col("label").cast(pl.String)),
    )
    known = drawn.filter(pl.col("human").is_not_null()).join(
        drawn.group_by("group").agg(all=pl.col("v").sum()), on="group", maintain_order="left"
    )
    known = known.with_columns(v=pl.col("v") * pl.col("all") / pl.col("v").sum().over("group"))
    known = known.join(
        graded.group_by("label").agg(whole=pl.col("w").sum()), on="label", maintain_order="left"
    )
    known = known.with_columns(v=pl.col("v") * pl.col("whole") / pl.col("v").sum().over("label"))
    return _Labels(graded, known, drawn)


def _blind(labels: _Labels) -> str | None:
    """Why nothing is known of what the grader missed."""
    negatives = labels.known.filter(~pl.col("label"))
    if negatives.is_empty():
        return "no unflagged outcome was labelled"
    unseen = sorted(set(labels.drawn.filter(~pl.col("label"))["group"]) - set(negatives["group"]))
    if unseen:
        return f"none of the drawn unflagged outcomes of {', '.join(unseen)} was labelled"
    return None


def _rate(rows: pl.DataFrame, event: str, conf: float = 0.95) -> Interval:
    """Rate of outcomes that stand for `v`. Outcomes of a prefix that stand for as many others are
    one row: where all are labelled, a prefix is a row, as in the comparison.
    """
    return rate_of(
        rows.with_columns(factor=(pl.col("v") / pl.col("w")).round(9))
        .group_by("code", "stratum", "cluster", "factor", maintain_order=True)
        .agg(w=pl.col("v").sum(), n=pl.len(), events=pl.col(event).sum()),
        conf,
    )


def _verified(graded: pl.DataFrame, known: pl.DataFrame, conf: float = 0.95) -> Interval:
    """Confirmed flags. What was not flagged is none, labelled or not."""
    columns = ["code", "stratum", "cluster", "w", "v", "human"]
    others = graded.filter(~pl.col("label")).with_columns(v="w", human=pl.lit(False))
    return _rate(
        pl.concat([known.filter("label").select(columns), others.select(columns)]), "human", conf
    )


def _corrected(graded: pl.DataFrame, known: pl.DataFrame, conf: float = 0.95) -> Interval:
    """All confirmed occurrences. A few missed ones that stand for many others widen the lower limit
    below what the confirmed flags alone prove: then these give it.
    """
    whole = _rate(known, "human", conf)
    low = max(float(whole.low), float(_verified(graded, known, conf).low))
    estimate = max(float(whole.estimate), low)
    return Interval(estimate, low, max(float(whole.high), estimate))


def _confirmed(flagged: float, flags: pl.DataFrame, conf: float) -> Interval:
    """Share of all messages that are flagged and occurred: labelled flags are known, the others lie
    within the binomial limits of their precision.
    """
    if flags.is_empty():
        return Interval(flagged, 0.0, flagged)
    share = float(flags.filter("human")["v"].sum()) / float(flags["v"].sum())
    size = _effective(flags)
    limits = intervals.binomial(min(share, 1.0) * size, size, "clopper-pearson", conf)
    unknown = max(0.0, flagged - float(flags["w"].sum()))
    return Interval(
        flagged * share,
        max(0.0, flagged * share - unknown * (share - float(limits.low))),
        flagged * share + unknown * max(0.0, float(limits.high) - share),
    )


def _missed(known: pl.DataFrame, conf: float) -> Interval:
    """Share of all messages that occurred unflagged: what was labelled is known, what it stands for
    beside itself is a weighted sum.
    """
    negatives = known.filter(~pl.col("label")).with_columns(beside=pl.col("v") - pl.col("w"))
    counted = float(negatives.filter("human")["w"].sum())
    standing = negatives.filter(pl.col("beside") > 1e-9 * pl.col("w"))
    if standing.is_empty():
        return Interval(counted, counted, counted)
    largest = float(standing["beside"].to_numpy().max())
    events = standing.filter("human")
    sums = (
        intervals.moments(
            np.ones(len(events)),
            events["beside"].to_numpy(),
            events["cluster"].to_numpy(),
            largest,
        )
        if len(events)
        else intervals.moments([0.0], [largest])
    )
    rest = intervals.gamma_limits(sums, "fay-feuer", conf)
    return Interval(*(counted + float(x) for x in (rest.estimate, rest.low, rest.high)))


def _cell(side: pl.DataFrame, *, human: bool) -> Labelled:
    mine = side.filter(pl.col("human") == human)
    return Labelled(
        mine.height,
        float(mine["v"].sum()),
        _effective(mine),
        max(side["v"].to_list(), default=1.0),
    )


def _effective(rows: pl.DataFrame) -> float:
    """How many equally weighted independent outcomes say as much; users are clusters."""
    total = float(rows["v"].sum())
    squares = float((rows.group_by("cluster").agg(pl.col("v").sum())["v"] ** 2).sum())
    return total**2 / squares if squares > 0 else 0.0


def _status(
    known: pl.DataFrame, n_flags: int, n: int, arm: LabelledArm, refused: dict[str, str]
) -> str:
    """Whether the corrected rate can be relied upon."""
    flags = known.filter("label")
    precision = (
        float(flags.filter("human")["v"].sum()) / float(flags["v"].sum()) if len(flags) else 0.0
    )
    if n_flags and judge.judge_limited(
        precision * n_flags, n_flags, (1 - precision) * n_flags / max(n, 1), n
    ):
        return "judge-limited"
    if "corrected" in refused:
        return f"verified only: {refused['corrected']}"
    positives = int(known["human"].sum())
    if positives < LEAST_POSITIVES:
        return f"verified only: {positives} known positives; {LEAST_POSITIVES} are the least"
    least = corrected.LEAST_SENSITIVITY
    if arm.sensitivity.low < least:
        found, looked = arm.cells["fn"].n, arm.cells["fn"].n + arm.cells["tn"].n
        return (
            f"not trusted: sensitivity {arm.sensitivity.low:.2f} to {arm.sensitivity.high:.2f}, of"
            f" which {least:g} is the least; {found} of {positives} known positives were found"
            f" among {looked} unflagged outcomes, the others because they were flagged"
        )
    return "trusted"


def _named(name: str, found: Interval, *, cut: bool = False) -> dict[str, float]:
    top = 1.0 if cut else float("inf")
    return {
        name: min(top, float(found.estimate)),
        f"{name}_low": min(top, float(found.low)),
        f"{name}_high": min(top, float(found.high)),
    }
