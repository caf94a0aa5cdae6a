"""A grader against people: confusion table, threshold and reliability curves, the same by any
split, drift between two sets of labels.

Belongs here: counts. Does not: intervals of the shares and corrected rates (estimation), reading
labels (labels).
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from sim_platform.contracts.errors import BadInputError
from sim_platform.grading.items import Verdict
from sim_platform.grading.labels import HumanLabel


@dataclass(frozen=True)
class Confusion:
    """Items with a person's yes or no, by what the grader said. `abstained`: the grader gave no
    label, by `reasons`; it stands in none of the four cells.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Items in the table."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def abstained(self) -> int:
        """Items on which the grader gave no label."""
        return sum(self.reasons.values())

    @property
    def shares(self) -> dict[str, tuple[int, int]]:
        """precision, recall and specificity as (k, n)."""
        return {
            "precision": (self.tp, self.tp + self.fp),
            "recall": (self.tp, self.tp + self.fn),
            "specificity": (self.tn, self.tn + self.fp),
        }


@dataclass(frozen=True)
class Graded:
    """One item with a person's label and what the grader says."""

    label: HumanLabel
    verdict: Verdict


def confusion(items: Iterable[Graded]) -> Confusion:
    """Counts of the items on which a person said yes or no; unknown and abstaining people
    count nowhere.

    Raises:
        BadInputError: no item has a person's yes or no.
    """
    cells: Counter[tuple[bool, bool]] = Counter()
    reasons: Counter[str] = Counter()
    for item in items:
        if item.label.label is None:
            continue
        if item.verdict.label is None:
            reasons[item.verdict.missing_reason or "not_applicable"] += 1
        else:
            cells[item.label.label, item.verdict.label] += 1
    if not cells and not reasons:
        raise BadInputError("no item has a person's yes or no; there is nothing to calibrate on")
    return Confusion(
        cells[True, True],
        cells[False, True],
        cells[True, False],
        cells[False, False],
        dict(reasons),
    )


def confusion_by(items: Sequence[Graded], key: str) -> dict[str, Confusion]:
    """The table for each value of the labels' `stratum` or `arm`."""
    groups: dict[Hashable, list[Graded]] = defaultdict(list)
    for item in items:
        if item.label.label is not None:
            groups[getattr(item.label, key)].append(item)
    return {
        str(name): confusion(group)
        for name, group in sorted(groups.items(), key=lambda pair: str(pair[0]))
    }


def threshold_curve(items: Sequence[Graded], points: int = 20) -> list[dict[str, float | int]]:
    """Cells at thresholds on the grader's score: flagged is score >= threshold. Empty where the
    grader gives no scores.
    """
    scored = [
        (i.verdict.score, i.label.label)
        for i in items
        if i.verdict.score is not None and i.label.label is not None
    ]
    levels = sorted({s for s, _ in scored})
    if len(levels) > points:
        levels = [levels[round(i * (len(levels) - 1) / (points - 1))] for i in range(points)]
    return [
        {
            "threshold": t,
            "tp": sum(s >= t and y for s, y in scored),
            "fp": sum(s >= t and not y for s, y in scored),
            "fn": sum(s < t and y for s, y in scored),
            "tn": sum(s < t and not y for s, y in scored),
        }
        for t in levels
    ]


def reliability_curve(items: Sequence[Graded], bins: int = 10) -> list[dict[str, float | int]]:
    """Per tenth of the score: items, mean score, share of positives. A calibrated score
    has them equal.
    """
    groups: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for item in items:
        if item.verdict.score is not None and item.label.label is not None:
            groups[min(bins - 1, int(item.verdict.score * bins))].append(
                (item.verdict.score, item.label.label)
            )
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "n": len(g),
            "mean_score": sum(s for s, _ in g) / len(g),
            "positive_share": sum(y for _, y in g) / len(g),
        }
        for b, g in sorted(groups.items())
    ]


def auc(items: Sequence[Graded]) -> float | None:
    """Chance that a positive item scores above a negative one (ties half); the label itself stands
    in for a score where there is none. None without both kinds.
    """
    positive = [_level(i) for i in items if i.label.label is True and i.verdict.label is not None]
    negative = [_level(i) for i in items if i.label.label is False and i.verdict.label is not None]
    if not positive or not negative:
        return None
    return sum((p > q) + 0.5 * (p == q) for p in positive for q in negative) / (
        len(positive) * len(negative)
    )


def _level(item: Graded) -> float:
    return item.verdict.score if item.verdict.score is not None else float(bool(item.verdict.label))
