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

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import canonical_json, sha256, text_of
from sim_platform.grading.items import GradedItem
from sim_platform.grading.labels import HumanLabel

VERSION = "1"  # raise it when the same file gives other scores
WORDS = re.compile(r"\w+|[?!]")
LEAST = 5  # labels of each kind
FOLDS = 5
MOST_TERMS = 20_000  # of each kind


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
        for kind in ("word", "char"):
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
    fold = [int(sha256([seed, item.prefix or item.text])[:8], 16) % FOLDS for item, _ in usable]
    held: list[tuple[float, bool]] = []
    for out in sorted(set(fold)):
        rest = [pair for pair, f in zip(usable, fold, strict=True) if f != out]
        if len({label for _, label in rest}) == 2:
            terms, intercept = _fit(rest)
            model = Classifier(terms, intercept, 0.5, {})
            held += [(model.score(item), label) for (item, label), f in zip(usable, fold, strict=True) if f == out]
    if len({label for _, label in held}) < 2:
        raise BadInputError(f"{len(usable)} labelled responses answer too few conversations to hold any out; label responses to more of them")
    terms, intercept = _fit(usable)
    card = {
        "kind": "TF-IDF (words 1-2, characters 3-5 inside words, words of the last user turn; sublinear) with logistic regression (L2, C=10, balanced classes)",
        "labels": {"n": len(usable), "positive": counts[True], "sha256": sha256([[one.item_id, one.label] for one in labels])},
        "held_out_auc": round(float(roc_auc_score([y for _, y in held], [s for s, _ in held])), 4),
        "threshold_rule": f"best F1 on scores held out in {FOLDS} turns",
        "seed": seed,
        "use": "Grades responses like those it was trained on. Its recall moves with model and topic: calibrate on labels of each release before its rates are trusted.",
    }
    return Classifier(terms, intercept, _best_threshold([s for s, _ in held], [y for _, y in held]), card)


def _fit(pairs: Sequence[tuple[GradedItem, bool]]) -> tuple[dict[str, tuple[float, float]], float]:
    import threadpoolctl  # noqa: PLC0415 - with scikit-learn
    from scipy.sparse import hstack  # noqa: PLC0415 - with scikit-learn
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - heavy, training only
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - heavy, training only

    items = [item for item, _ in pairs]
    vectorizers = [TfidfVectorizer(analyzer=partial(_terms, kind=kind), sublinear_tf=True, min_df=2, max_features=MOST_TERMS) for kind in ("word", "char")]
    features = hstack([vectorizer.fit_transform(items) for vectorizer in vectorizers])
    with threadpoolctl.threadpool_limits(1):  # vectors this short are done before a second thread has started: 40 times as fast
        model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=2000).fit(features, [label for _, label in pairs])
    weights = iter(model.coef_[0])
    terms = {str(t): (round(float(idf), 6), round(float(next(weights)), 6)) for v in vectorizers for t, idf in zip(v.get_feature_names_out(), v.idf_, strict=True)}
    return terms, round(float(model.intercept_[0]), 6)


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
