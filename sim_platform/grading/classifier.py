"""Trained text classifiers: TF-IDF of words and characters with logistic regression, kept as JSON that anyone can read, never as a pickle.

Belongs here: training on a user's own labels, the threshold on held-out labels, scoring. Does not: label files (labels), the home's files (commands).
"""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import canonical_json, sha256, text_of
from sim_platform.grading.items import GradedItem
from sim_platform.grading.labels import HumanLabel

VERSION = "1"  # raise it when the same file gives other scores
WORDS = re.compile(r"(?u)\b\w+\b")
LEAST = 5  # labels of each kind, in training and held out


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


def train(labels: Sequence[HumanLabel], *, held_out: float = 0.3, seed: int = 0, max_terms: int = 20_000) -> Classifier:
    """A classifier from labelled responses. The threshold is the one with the best F1 on the held-out share, which no weight has seen.

    Which items are held out is decided by a hash of their conversation and `seed`, so that one conversation is never on both sides.

    Raises:
        BadInputError: labels without response, or fewer than 5 of a kind in training or held out.
    """
    import numpy as np  # noqa: PLC0415 - with scikit-learn
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - heavy, training only
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - heavy, training only
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - heavy, training only

    usable = [(one.item, one.label) for one in labels if one.item is not None and one.label is not None]
    side = [int(sha256([seed, item.prefix])[:8], 16) / 2**32 < held_out for item, _ in usable]
    train_set = [pair for pair, out in zip(usable, side, strict=True) if not out]
    test_set = [pair for pair, out in zip(usable, side, strict=True) if out]
    for name, part in (("training", train_set), ("held-out", test_set)):
        counts = Counter(label for _, label in part)
        if min(counts[True], counts[False]) < LEAST:
            raise BadInputError(
                f"{len(usable)} labelled responses give {counts[True]} yes and {counts[False]} no in the {name} part; training needs {LEAST} of each in both. Label more, of the rarer kind above all."
            )
    truth = np.array([label for _, label in train_set])
    vectorizers = {kind: TfidfVectorizer(analyzer=lambda item, k=kind: _terms(item, k), sublinear_tf=True, min_df=2, max_features=max_terms) for kind in ("word", "char")}
    from scipy.sparse import hstack  # noqa: PLC0415 - with scikit-learn

    features = hstack([v.fit_transform([item for item, _ in train_set]) for v in vectorizers.values()])
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=2000).fit(features, truth)
    weights = iter(model.coef_[0])
    terms = {term: (float(idf), float(next(weights))) for v in vectorizers.values() for term, idf in zip(v.get_feature_names_out(), v.idf_, strict=True)}
    rounded = {term: (round(idf, 6), round(weight, 6)) for term, (idf, weight) in terms.items()}
    draft = Classifier(rounded, round(float(model.intercept_[0]), 6), 0.5, {})
    scores = [draft.score(item) for item, _ in test_set]
    held = np.array([label for _, label in test_set])
    threshold = _best_threshold(scores, held.tolist())
    card = {
        "kind": "TF-IDF (words 1-2, characters 2-5 inside words, sublinear) with logistic regression (L2, C=10, balanced classes)",
        "training": {"n": len(train_set), "positive": int(truth.sum())},
        "held_out": {
            "n": len(test_set),
            "positive": int(held.sum()),
            "auc": round(float(roc_auc_score(held, scores)), 4),
            "threshold_rule": "best F1 on the held-out labels",
        },
        "seed": seed,
        "labels": sha256([[one.item_id, one.label] for one in labels]),
        "use": "Grades responses like those it was trained on. Its recall moves with model and topic: calibrate on labels of each release before its rates are trusted.",
    }
    return Classifier(rounded, draft.intercept, threshold, card)


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
