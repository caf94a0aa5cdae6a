"""Trained text classifiers: TF-IDF of words and characters with logistic regression, kept as JSON that anyone can read, never as a pickle.

Belongs here: training on a user's own labels, the threshold on held-out labels, scoring. Does not: label files (labels), the home's files (commands).
"""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import canonical_json, sha256, text_of
from sim_platform.grading.items import GradedItem
from sim_platform.grading.labels import HumanLabel

VERSION = "1"  # raise it when the same file gives other scores
WORDS = re.compile(r"\w+|[?!]")
LEAST = 5  # labels of each kind
FOLDS = 5
MOST_TERMS = 20_000  # of each kind
KINDS = ("word", "char")


@dataclass(frozen=True)
class Classifier:
    """Terms with their inverse document frequency and weight; the score is the logistic of intercept + weighted sum over L2-normalised TF-IDF, per kind of term."""

    terms: dict[str, tuple[float, float]]
    intercept: float
    threshold: float
    card: dict[str, Any]

    def score(self, item: GradedItem) -> float:
        """Between 0 and 1; how calibrated it is, the reliability curve shows."""
        total = self.intercept
        for kind in KINDS:
            counts = Counter(term for term in _terms(item, kind) if term in self.terms)
            values = {term: (1 + math.log(n)) * self.terms[term][0] for term, n in counts.items()}
            norm = math.sqrt(sum(v * v for v in values.values()))
            if norm:
                total += sum(v * self.terms[t][1] for t, v in values.items()) / norm
        return 1 / (1 + math.exp(-max(-500.0, min(500.0, total))))


def train(labels: Sequence[HumanLabel], *, seed: int = 0) -> Classifier:
    """A classifier from labelled responses: trained on all of them, its threshold the one with the best F1 on scores that were held out.

    In turn each fifth of the conversations is held out and scored by a model of the others, so that every label serves both and none its own score. A hash of the conversation
    and `seed` decides the fifth: one conversation is never on both sides.

    Raises:
        BadInputError: fewer than 5 labelled responses of a kind.
    """
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - heavy, training only

    usable = [(one.item, one.label) for one in labels if one.item is not None and one.label is not None]
    counts = Counter(label for _, label in usable)
    if min(counts[True], counts[False]) < LEAST:
        raise BadInputError(
            f"{counts[True]} yes and {counts[False]} no among the labelled responses; training needs {LEAST} of each. Label more, of the rarer kind above all."
        )
    fold = np.array([int(sha256([seed, item.prefix or item.text])[:8], 16) % FOLDS for item, _ in usable])
    truth = np.array([label for _, label in usable])
    counted = [_counted([item for item, _ in usable], kind) for kind in KINDS]
    held = np.full(len(usable), np.nan)
    for out in np.unique(fold):
        if len(np.unique(truth[fold != out])) == 2:
            held[fold == out] = _fit(counted, truth, fold != out).scores(counted, fold == out)
    scored = ~np.isnan(held)
    if len(np.unique(truth[scored])) < 2:
        raise BadInputError(f"{len(usable)} labelled responses answer too few conversations to hold any out; label responses to more of them")
    fitted = _fit(counted, truth, np.full(len(usable), True))
    card = {
        "kind": "TF-IDF (words 1-2, characters 3-5 inside words, words of the last user turn; sublinear) with logistic regression (L2, C=10, balanced classes)",
        "labels": {"n": len(usable), "positive": counts[True], "sha256": sha256([[one.item_id, one.label] for one in labels])},
        "held_out_auc": round(float(roc_auc_score(truth[scored], held[scored])), 4),
        "threshold_rule": f"best F1 on scores held out in {FOLDS} turns",
        "seed": seed,
        "use": "Grades responses like those it was trained on. Its recall moves with model and topic: calibrate on labels of each release before its rates are trusted.",
    }
    threshold = _best_threshold(held[scored].tolist(), truth[scored].tolist())
    return Classifier(fitted.terms(counted), round(float(fitted.model.intercept_[0]), 6), threshold, card)


@dataclass(frozen=True)
class _Counted:
    """How often each term of a kind stands in each item: names, and a sparse matrix (items, terms)."""

    names: Any
    counts: Any


@dataclass(frozen=True)
class _Fitted:
    """Per kind the columns that are used and their weighting, and a logistic regression over them side by side."""

    columns: list[Any]
    weightings: list[Any]
    model: Any

    def scores(self, counted: Sequence[_Counted], rows: Any) -> Any:
        """Scores of the items `rows` (a mask)."""
        parts = [weighting.transform(one.counts[rows][:, columns]) for one, columns, weighting in zip(counted, self.columns, self.weightings, strict=True)]
        return self.model.predict_proba(_side_by_side(parts))[:, 1]

    def terms(self, counted: Sequence[_Counted]) -> dict[str, tuple[float, float]]:
        """Inverse document frequency and weight by term."""
        names = np.concatenate([one.names[columns] for one, columns in zip(counted, self.columns, strict=True)])
        idf = np.concatenate([weighting.idf_ for weighting in self.weightings])
        return {str(term): (round(float(a), 6), round(float(b), 6)) for term, a, b in zip(names, idf, self.model.coef_[0], strict=True)}


def _counted(items: Sequence[GradedItem], kind: str) -> _Counted:
    from sklearn.feature_extraction.text import CountVectorizer  # noqa: PLC0415 - heavy, training only

    vectorizer = CountVectorizer(analyzer=partial(_terms, kind=kind), min_df=2)
    counts = vectorizer.fit_transform(items)
    return _Counted(vectorizer.get_feature_names_out(), counts)


def _fit(counted: Sequence[_Counted], truth: Any, rows: Any) -> _Fitted:
    """Trained on the items `rows` (a mask): terms that two of them have, the most frequent if there are too many."""
    import threadpoolctl  # noqa: PLC0415 - with scikit-learn
    from sklearn.feature_extraction.text import TfidfTransformer  # noqa: PLC0415 - heavy, training only
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - heavy, training only

    columns, weightings, parts = [], [], []
    for one in counted:
        mine = one.counts[rows]
        shared = np.flatnonzero(mine.getnnz(axis=0) > 1)
        often = np.argsort(-np.asarray(mine.sum(axis=0)).ravel()[shared], kind="stable")[:MOST_TERMS]
        columns.append(np.sort(shared[often]))
        weightings.append(TfidfTransformer(sublinear_tf=True))
        parts.append(weightings[-1].fit_transform(mine[:, columns[-1]]))
    with threadpoolctl.threadpool_limits(1):  # vectors this short are done before a second thread has started: 40 times as fast
        model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=2000).fit(_side_by_side(parts), truth[rows])
    return _Fitted(columns, weightings, model)


def _side_by_side(parts: Sequence[Any]) -> Any:
    from scipy.sparse import hstack  # noqa: PLC0415 - with scikit-learn

    return hstack(parts).tocsr()


def written(classifier: Classifier) -> str:
    """The file's text; equal classifiers give equal text."""
    return canonical_json({"version": VERSION, "terms": classifier.terms, "intercept": classifier.intercept, "threshold": classifier.threshold, "card": classifier.card})


@lru_cache(maxsize=64)
def _read(path: Path, changed_ns: int) -> Classifier:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        terms = {term: (float(idf), float(weight)) for term, (idf, weight) in found["terms"].items()}
        return Classifier(terms, float(found["intercept"]), float(found["threshold"]), found["card"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BadInputError(f"{path.name}: is not a trained grader; make it anew with `sim-platform train-grader`") from None


def read_classifier(path: Path) -> Classifier:
    """The classifier in the file; read once for as long as the file stays as it is."""
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError:
        raise BadInputError(f"{path.name}: no such trained grader; make it with `sim-platform train-grader`") from None


def _terms(item: GradedItem, kind: str) -> list[str]:
    text = (item.text or "").lower()
    words = WORDS.findall(text)
    if kind == "word":
        asked = WORDS.findall(text_of(item.prefix[-1]).lower()) if item.prefix else []
        return [*words, *(f"{a} {b}" for a, b in pairwise(words)), *(f"asked:{w}" for w in asked)]
    return [f"#{padded[i : i + n]}" for word in words for padded in (f" {word} ",) for n in range(3, 6) for i in range(len(padded) - n + 1)]


def _best_threshold(scores: Sequence[float], truth: Sequence[bool]) -> float:
    """The cut between two neighbouring scores with the best F1; of equals the one nearest to a half."""
    levels = sorted(set(scores))
    cuts = [(a + b) / 2 for a, b in pairwise(levels)] or [0.5]

    def f1(cut: float) -> float:
        tp = sum(s >= cut and y for s, y in zip(scores, truth, strict=True))
        wrong = sum((s >= cut) != y for s, y in zip(scores, truth, strict=True))
        return 2 * tp / (2 * tp + wrong) if tp else 0.0

    best: float = max(cuts, key=lambda cut: (round(f1(cut), 6), -abs(cut - 0.5)))
    return round(best, 6)
