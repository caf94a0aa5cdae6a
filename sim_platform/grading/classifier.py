"""Trained text classifiers: logistic regression over TF-IDF terms or over sentence embeddings, kept
as JSON that anyone can read, never as a pickle.

Belongs here: training on a user's own labels, the threshold on held-out labels, scoring. Does not:
embedding a text (embeddings), label files (labels), the home's files (commands).
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import canonical_json, sha256, text_of
from sim_platform.grading import embeddings
from sim_platform.grading.items import GradedItem
from sim_platform.grading.labels import HumanLabel
from sim_platform.grading.reasoning import answer_of

Features = Literal["tfidf", "minilm"]

VERSION = "1"  # raise it when the same file gives other scores
WORDS = re.compile(r"\w+|[?!]")
LEAST = 5  # labels of each kind
FOLDS = 5
MOST_TERMS = 20_000  # of each kind
KINDS = ("word", "char")
DESCRIBED: dict[Features, str] = {
    "tfidf": (
        "TF-IDF (words 1-2, characters 3-5 inside words, words of the last user turn; sublinear)"
    ),
    "minilm": (
        "all-MiniLM-L6-v2 (8-bit weights, whole text in windows, mean over tokens, length 1) of the"
        " response beside that of the last user turn"
    ),
}


@dataclass(frozen=True)
class TermWeights:
    """By term its inverse document frequency and weight: a weighted sum over L2-normalised TF-IDF,
    per kind of term.
    """

    features: ClassVar[Features] = "tfidf"
    terms: dict[str, tuple[float, float]]

    def contributions(self, item: GradedItem) -> Iterator[float]:
        """What each kind of term adds to the item's log odds."""
        for kind in KINDS:
            counts = Counter(term for term in _terms(item, kind) if term in self.terms)
            values = {term: (1 + math.log(n)) * self.terms[term][0] for term, n in counts.items()}
            norm = math.sqrt(sum(v * v for v in values.values()))
            if norm:
                yield sum(v * self.terms[t][1] for t, v in values.items()) / norm


@dataclass(frozen=True)
class EmbeddingWeights:
    """A weight for each of the 384 numbers of the response's embedding and of that of the last user
    turn, and the SHA-256 of the model that they belong to.
    """

    features: ClassVar[Features] = "minilm"
    response: tuple[float, ...]
    asked: tuple[float, ...]
    weights_sha256: str

    def contributions(self, item: GradedItem) -> Iterator[float]:
        """What the response and what was asked add to the item's log odds."""
        for weights, vector in zip((self.response, self.asked), _vectors(item), strict=True):
            yield float(np.dot(weights, vector))


@dataclass(frozen=True)
class Classifier:
    """Logistic regression: the score is the logistic of intercept + what the weighted features
    of an item add.
    """

    weights: TermWeights | EmbeddingWeights
    intercept: float
    threshold: float
    card: dict[str, Any]
    # fingerprints of items; files of before these were kept have none
    trained_on: frozenset[str] = frozenset()

    def score(self, item: GradedItem) -> float:
        """Between 0 and 1; how calibrated it is, the reliability curve shows."""
        total = self.intercept
        for part in self.weights.contributions(item):
            total += part
        return 1 / (1 + math.exp(-max(-500.0, min(500.0, total))))


def train(
    labels: Sequence[HumanLabel], *, features: Features = "tfidf", seed: int = 0
) -> Classifier:
    """A classifier from labelled responses: trained on all of them, its threshold the one with the
    best F1 on scores that were held out.

    In turn each fifth of the conversations is held out and scored by a model of the others, so that
    every label serves both and none its own score. A hash of the conversation and `seed` decides
    the fifth: one conversation is never on both sides.

    Raises:
        BadInputError: fewer than 5 labelled responses of a kind, or the packages of the embeddings
            are absent or others.
    """
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - heavy, training only

    usable = [
        (one.item, one.label) for one in labels if one.item is not None and one.label is not None
    ]
    counts = Counter(label for _, label in usable)
    if min(counts[True], counts[False]) < LEAST:
        raise BadInputError(
            f"{counts[True]} yes and {counts[False]} no among the labelled responses; training"
            f" needs {LEAST} of each. Label more, of the rarer kind above all."
        )
    fold = np.array(
        [int(sha256([seed, item.prefix or item.text])[:8], 16) % FOLDS for item, _ in usable]
    )
    truth = np.array([label for _, label in usable])
    measured = {"tfidf": _by_terms, "minilm": _by_embeddings}[features](
        [answer_of(item) or item for item, _ in usable]  # as they are scored
    )
    held = np.full(len(usable), np.nan)
    for out in np.unique(fold):
        if len(np.unique(truth[fold != out])) == 2:
            measure, model = _fit(measured, truth, fold != out)
            held[fold == out] = model.predict_proba(measure.matrix(fold == out))[:, 1]
    scored = ~np.isnan(held)
    if len(np.unique(truth[scored])) < 2:
        raise BadInputError(
            f"{len(usable)} labelled responses answer too few conversations to hold any out; label"
            " responses to more of them"
        )
    measure, model = _fit(measured, truth, np.full(len(usable), True))
    card = {
        "features": features,
        "kind": f"{DESCRIBED[features]} with logistic regression (L2, C=10, balanced classes)",
        "n_weights": int(model.coef_.size),
        "labels": {
            "n": len(usable),
            "positive": counts[True],
            "sha256": sha256([[one.item_id, one.label] for one in labels]),
        },
        "held_out_auc": round(float(roc_auc_score(truth[scored], held[scored])), 4),
        "threshold_rule": f"best F1 on scores held out in {FOLDS} turns",
        "seed": seed,
        "use": (
            "Grades responses like those it was trained on. Its recall moves with model and topic:"
            " calibrate on labels of each release before its rates are trusted."
        ),
    }
    threshold = _best_threshold(held[scored].tolist(), truth[scored].tolist())
    return Classifier(
        measure.weights(model.coef_[0]),
        round(float(model.intercept_[0]), 6),
        threshold,
        card,
        frozenset(fingerprint(item) for item, _ in usable),
    )


def fingerprint(item: GradedItem) -> str:
    """32 bits of a hash, to know an item again: whoever has its text can tell that it was among
    them, nobody can read it from here.
    """
    return sha256([item.prefix, item.text])[:8]


class _Measure(Protocol):
    """Items as numbers, by features that were chosen and scaled on some of them."""

    def matrix(self, rows: Any) -> Any:
        """Features of the items `rows` (a mask), shape (rows, features)."""

    def weights(self, coefficients: Any) -> TermWeights | EmbeddingWeights:
        """The regression's coefficients, shape (features,), in the form that scores an item."""


def _fit(measured: Callable[[Any], _Measure], truth: Any, rows: Any) -> tuple[_Measure, Any]:
    """Features and a logistic regression over them, both from the items `rows` (a mask) alone."""
    import threadpoolctl  # noqa: PLC0415 - with scikit-learn
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - heavy, training only

    measure = measured(rows)
    with threadpoolctl.threadpool_limits(
        1
    ):  # vectors this short are done before a second thread has started: 40 times as fast
        model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=2000).fit(
            measure.matrix(rows), truth[rows]
        )
    return measure, model


@dataclass(frozen=True)
class _Counted:
    """How often each term of a kind stands in each item: names, a sparse matrix (items, terms)."""

    names: Any
    counts: Any


@dataclass(frozen=True)
class _TermMeasure:
    """Per kind the columns that are used and their weighting, side by side."""

    counted: Sequence[_Counted]
    columns: Sequence[Any]
    weightings: Sequence[Any]

    def matrix(self, rows: Any) -> Any:
        from scipy.sparse import hstack  # noqa: PLC0415 - with scikit-learn

        parts = [
            weighting.transform(one.counts[rows][:, columns])
            for one, columns, weighting in zip(
                self.counted, self.columns, self.weightings, strict=True
            )
        ]
        return hstack(parts).tocsr()

    def weights(self, coefficients: Any) -> TermWeights:
        names = np.concatenate(
            [one.names[columns] for one, columns in zip(self.counted, self.columns, strict=True)]
        )
        idf = np.concatenate([weighting.idf_ for weighting in self.weightings])
        return TermWeights(
            {
                str(term): (round(float(a), 6), round(float(b), 6))
                for term, a, b in zip(names, idf, coefficients, strict=True)
            }
        )


@dataclass(frozen=True)
class _EmbeddingMeasure:
    """Embeddings of each item's response and last user turn side by side, shape (items, 768);
    nothing about them is fitted.
    """

    values: Any

    def matrix(self, rows: Any) -> Any:
        return self.values[rows]

    def weights(self, coefficients: Any) -> EmbeddingWeights:
        response, asked = (
            tuple(round(float(c), 6) for c in part) for part in np.split(coefficients, 2)
        )
        return EmbeddingWeights(response, asked, embeddings.WEIGHTS.sha256)


def _by_terms(items: Sequence[GradedItem]) -> Callable[[Any], _Measure]:
    """Terms are counted once; those of a turn are what two of its items have, the most frequent if
    there are too many.
    """
    from sklearn.feature_extraction.text import (  # noqa: PLC0415 - heavy, training only
        CountVectorizer,
        TfidfTransformer,
    )

    counted = []
    for kind in KINDS:
        vectorizer = CountVectorizer(analyzer=partial(_terms, kind=kind), min_df=2)
        counts = vectorizer.fit_transform(items)
        counted.append(_Counted(vectorizer.get_feature_names_out(), counts))

    def measured(rows: Any) -> _TermMeasure:
        columns, weightings = [], []
        for one in counted:
            mine = one.counts[rows]
            shared = np.flatnonzero(mine.getnnz(axis=0) > 1)
            often = np.argsort(-np.asarray(mine.sum(axis=0)).ravel()[shared], kind="stable")[
                :MOST_TERMS
            ]
            columns.append(np.sort(shared[often]))
            weightings.append(TfidfTransformer(sublinear_tf=True).fit(mine[:, columns[-1]]))
        return _TermMeasure(counted, columns, weightings)

    return measured


def _by_embeddings(items: Sequence[GradedItem]) -> Callable[[Any], _Measure]:
    """Each text is embedded once, for all turns alike."""
    values = _EmbeddingMeasure(
        np.array([np.concatenate(_vectors(item)) for item in items], np.float64)
    )
    return lambda rows: values


def written(classifier: Classifier) -> str:
    """The file's text; equal classifiers give equal text."""
    head = {
        "version": VERSION,
        "features": classifier.weights.features,
        "intercept": classifier.intercept,
        "threshold": classifier.threshold,
        "card": classifier.card,
        "trained_on": sorted(classifier.trained_on),
    }
    return canonical_json(head | vars(classifier.weights))


@lru_cache(maxsize=64)
def _read(path: Path, changed_ns: int) -> Classifier:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        weights = _weights(found)
        classifier = Classifier(
            weights,
            float(found["intercept"]),
            float(found["threshold"]),
            found["card"],
            frozenset(found.get("trained_on", [])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BadInputError(
            f"{path.name}: is not a trained grader; make it anew with `sim-platform train-grader`"
        ) from None
    if isinstance(weights, EmbeddingWeights):
        if weights.weights_sha256 != embeddings.WEIGHTS.sha256:
            raise BadInputError(
                f"{path.name}: was trained on embeddings of other weights (sha256"
                f" {weights.weights_sha256}) than those of {embeddings.WEIGHTS.requirement}"
                f" ({embeddings.WEIGHTS.sha256}); train it again with `sim-platform train-grader"
                " --features minilm`"
            )
        # a missing package is said here, once, and not as an error of each item
        embeddings.minilm()
    return classifier


def _weights(found: dict[str, Any]) -> TermWeights | EmbeddingWeights:
    features = found.get("features", "tfidf")  # files of before there were two kinds do not say
    if features == TermWeights.features:
        return TermWeights(
            {term: (float(idf), float(weight)) for term, (idf, weight) in found["terms"].items()}
        )
    if features != EmbeddingWeights.features:
        raise ValueError
    response, asked = (tuple(map(float, found[name])) for name in ("response", "asked"))
    if {len(response), len(asked)} != {embeddings.LENGTH}:
        raise ValueError
    return EmbeddingWeights(response, asked, str(found["weights_sha256"]))


def read_classifier(path: Path) -> Classifier:
    """The classifier in the file; read once for as long as the file stays as it is."""
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError:
        raise BadInputError(
            f"{path.name}: no such trained grader; make it with `sim-platform train-grader`"
        ) from None


def _terms(item: GradedItem, kind: str) -> list[str]:
    text = (item.text or "").lower()
    words = WORDS.findall(text)
    if kind == "word":
        asked = WORDS.findall(text_of(item.prefix[-1]).lower()) if item.prefix else []
        return [*words, *(f"{a} {b}" for a, b in pairwise(words)), *(f"asked:{w}" for w in asked)]
    return [
        f"#{padded[i : i + n]}"
        for word in words
        for padded in (f" {word} ",)
        for n in range(3, 6)
        for i in range(len(padded) - n + 1)
    ]


def _vectors(item: GradedItem) -> tuple[Any, Any]:
    """Embeddings of the response and of the last user turn, (384,) each; zeros for what is
    empty or not there.
    """
    model = embeddings.minilm()
    asked = next(
        (text_of(message) for message in reversed(item.prefix) if message["role"] == "user"), ""
    )
    return model.vector(item.text or ""), model.vector(asked)


def _best_threshold(scores: Sequence[float], truth: Sequence[bool]) -> float:
    """The cut between two neighbouring scores with the best F1; of equals the one
    nearest to a half.
    """
    levels = sorted(set(scores))
    cuts = [(a + b) / 2 for a, b in pairwise(levels)] or [0.5]

    def f1(cut: float) -> float:
        tp = sum(s >= cut and y for s, y in zip(scores, truth, strict=True))
        wrong = sum((s >= cut) != y for s, y in zip(scores, truth, strict=True))
        return 2 * tp / (2 * tp + wrong) if tp else 0.0

    best: float = max(cuts, key=lambda cut: (round(f1(cut), 6), -abs(cut - 0.5)))
    return round(best, 6)
