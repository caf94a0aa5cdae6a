"""The rates of one behaviour in one arm behind a grader that people checked.

Belongs here: apparent, verified, corrected and bounded rate of scored and labelled outcomes,
with what refuses each. Does not: which outcomes are labelled (flows.grading), formulas
(intervals, judge).
"""

import json
from typing import Any

import numpy as np
import polars as pl

from sim_platform.estimation import intervals, judge

LEAST_POSITIVES = 10  # known positives below which a sensitivity is not divided by
# grader errors among random labels below which prediction-powered inference is over-optimistic
LEAST_ERRORS = 15
CELLS = (("tp", True, True), ("fp", False, True), ("fn", True, False), ("tn", False, False))


def four_rates(cell: pl.DataFrame) -> dict[str, object]:
    """The four rates of one behaviour in one arm, and the prediction-powered one where its
    condition holds, with what refuses them.

    Args:
        cell: eligible outcomes with label, weight and score; of those that were drawn for people,
            label_probability and label_stratum; where they labelled, human.

    apparent: weighted share of flags. verified: flags that people confirmed, weighted by 1 / chance
    of being labelled. corrected: verified over the sensitivity that the labels show, melded. bound:
    Fay-Feuer upper limit of all confirmed occurrences, the sampled negatives' weights included,
    which assumes nothing about the grader.
    """
    graded = (
        cell.filter(pl.col("label").is_not_null())
        .with_columns(w=pl.col("weight") / pl.col("weight").sum())
        .with_row_index("place")
    )
    drawn = graded.filter(pl.col("label_probability").is_not_null()).with_columns(
        v=pl.col("w") / pl.col("label_probability"),
        group=pl.coalesce("label_stratum", pl.col("label").cast(pl.String)),
    )
    known = _labelled(graded, drawn)
    cells = {
        name: int(known.filter((pl.col("human") == h) & (pl.col("label") == f)).height)
        for name, h, f in CELLS
    }
    row: dict[str, object] = {
        **cells,
        "n": known.height,
        "abstained": cell.filter(pl.col("label").is_null() & pl.col("human").is_not_null()).height,
    }
    refused: dict[str, str] = {}
    apparent = _sum(graded.filter("label"), "w", graded)
    row |= {
        "apparent": min(1.0, apparent.estimate),
        "apparent_low": min(1.0, apparent.low),
        "apparent_high": min(1.0, apparent.high),
    }
    flags, negatives = known.filter("label"), known.filter(~pl.col("label"))
    n_flags = graded.filter("label").height
    unseen = sorted(set(drawn.filter(~pl.col("label"))["group"]) - set(negatives["group"]))
    blind = (
        "no unflagged outcome was labelled"
        if negatives.is_empty()
        else (
            f"none of the drawn unflagged outcomes of {', '.join(unseen)} was labelled"
            if unseen
            else None
        )
    )
    if n_flags and flags.is_empty():
        refused["verified"] = "no flag was labelled"
    else:
        found = _sum(
            flags.filter("human"), "v", flags if len(flags) else graded.with_columns(v=pl.col("w"))
        )
        row |= {"verified": found.estimate, "verified_low": found.low, "verified_high": found.high}
    if blind:
        refused["bound"] = f"{blind}: nothing bounds what the grader missed"
    elif "verified" not in refused:
        row["bound"] = _sum(known.filter("human"), "v", known).high
    positives = known.filter("human")
    if "verified" in refused:
        refused["corrected"] = refused["verified"]
    elif positives.height < LEAST_POSITIVES:
        refused["corrected"] = (
            f"{positives.height} known positives; a sensitivity needs {LEAST_POSITIVES}"
        )
    elif blind:
        refused["corrected"] = f"{blind}: the sensitivity is unknown"
    else:
        total, squares = float(positives["v"].sum()), float((positives["v"] ** 2).sum())
        effective, sensitivity = (
            total**2 / squares,
            float(positives.filter("label")["v"].sum()) / total,
        )
        confirmed = flags.filter("human")
        sums = (
            intervals.moments(
                np.ones(len(confirmed)), confirmed["v"].to_numpy(), None, _largest(flags, "v")
            )
            if len(confirmed)
            else None
        )
        if sums is None or sensitivity == 0:
            refused["corrected"] = "the grader found none of the known positives"
        else:
            melded = judge.melded(sums, sensitivity * effective, effective)
            row |= {
                "corrected": float(melded.estimate),
                "corrected_low": float(melded.low),
                "corrected_high": float(melded.high),
            }
    wrong = known.filter(pl.col("human") != pl.col("label"))
    effective_errors = judge.effective_errors(wrong["v"].to_numpy())
    if blind or "verified" in refused:
        refused["ppi"] = refused.get("verified") or str(blind)
    elif min(effective_errors, wrong.height) < LEAST_ERRORS:
        refused["ppi"] = (
            f"{wrong.height} grader errors among the labels, {effective_errors:.1f} after"
            f" weighting; below {LEAST_ERRORS} its interval is over-optimistic"
        )
    elif (
        missed := judge.effective_errors(wrong.filter(~pl.col("label"))["v"].to_numpy())
    ) < LEAST_ERRORS:  # false flags alone say little about what was missed
        refused["ppi"] = (
            f"{missed:.1f} missed occurrences among the labels, after weighting; below"
            f" {LEAST_ERRORS} its interval is over-optimistic"
        )
    else:
        powered = _powered(graded, known)
        row |= {
            "ppi": float(powered.estimate),
            "ppi_low": float(powered.low),
            "ppi_high": float(powered.high),
        }
    confirmed_share = (
        float(flags.filter("human")["v"].sum()) / float(flags["v"].sum()) if len(flags) else 0.0
    )
    limited = (
        judge.judge_limited(
            confirmed_share * n_flags,
            n_flags,
            (1 - confirmed_share) * n_flags / max(graded.height, 1),
            graded.height,
        )
        if n_flags
        else False
    )
    row["status"] = (
        "judge-limited"
        if limited
        else "trusted"
        if "corrected" not in refused
        else f"verified only: {refused['corrected']}"
    )
    row["refused"] = json.dumps(refused, sort_keys=True)
    return row


def _labelled(graded: pl.DataFrame, drawn: pl.DataFrame) -> pl.DataFrame:
    """Labelled outcomes with `v`, the weight that each stands for. A drawn outcome that nobody
    labelled counts as not drawn: the others of its stratum stand for it too.
    """
    known = drawn.filter(pl.col("human").is_not_null()).join(
        drawn.group_by("group").agg(all=pl.col("v").sum()), on="group", maintain_order="left"
    )
    known = known.with_columns(v=pl.col("v") * pl.col("all") / pl.col("v").sum().over("group"))
    known = known.join(
        graded.group_by("label").agg(whole=pl.col("w").sum()), on="label", maintain_order="left"
    )
    return known.with_columns(v=pl.col("v") * pl.col("whole") / pl.col("v").sum().over("label"))


def _powered(graded: pl.DataFrame, known: pl.DataFrame) -> Any:
    """The prediction-powered rate; the label itself stands in for the score where some
    outcome has none.
    """
    rows = graded.join(
        known.select("place", "v", "group"), on="place", how="left", maintain_order="left"
    )
    score = pl.col("score") if rows["score"].null_count() == 0 else pl.col("label").cast(pl.Float64)
    rows = rows.select(
        "w",
        f=score,
        p=(pl.col("w") / pl.col("v")).clip(0, 1),
        y=pl.when(pl.col("v").is_not_null())
        .then(pl.col("human").cast(pl.Float64))
        .fill_null(np.nan),
        cell=pl.col("group").fill_null("").rank("dense"),
    )
    w, f, p, y, cells = (rows[name].to_numpy() for name in ("w", "f", "p", "y", "cell"))
    return judge.two_phase_powered(w, f, p, y, cells)


def _sum(events: pl.DataFrame, weight: str, everything: pl.DataFrame) -> Any:
    """Fay-Feuer interval of a sum of weights; `everything` gives the largest weight that an unseen
    event could have.
    """
    largest = _largest(everything, weight)
    if events.is_empty():
        return intervals.gamma_limits(intervals.moments([0.0], [largest], None, largest))
    return intervals.gamma_limits(
        intervals.moments(np.ones(events.height), events[weight].to_numpy(), None, largest)
    )


def _largest(rows: pl.DataFrame, weight: str) -> float:
    return max(rows[weight].to_list(), default=1.0)
