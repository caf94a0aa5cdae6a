"""Detectors that a policy adds, and the ways in which Presidio by itself lets something through."""

import logging
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sim_platform.contracts.errors import BadInputError
from sim_platform.deidentification import plugins
from sim_platform.deidentification.deidentify import deidentify
from sim_platform.deidentification.detectors import stack_detector
from sim_platform.deidentification.plugins import GuardedDetector, build_plugin
from sim_platform.deidentification.policies import PresidioPlugin, PythonPlugin
from sim_platform.deidentification.presidio_host import build_presidio
from sim_platform.deidentification.spans import DetectionError, Span
from sim_platform_tests.deidentification.corpora import KEYS, extract, row, user

ALONE = {
    "name": "own",
    "version": 1,
    "models": False,
    "rampart": 0.1,
    "rampart_names": 0.1,
    "confirms": 0.03,
    "spacy_names": "off",
    "spacy_others": "off",
    "dates": True,
}
HERE = "sim_platform_tests.deidentification.test_plugins"


class Words:
    """A detector of somebody's own: finds given words. `mood` says how it misbehaves."""

    version = "words-1"

    def __init__(self, words: list[str], mood: str = "") -> None:
        self.words, self.mood = words, mood

    def detect(self, texts: Sequence[str]) -> Any:
        if self.mood == "hangs":
            time.sleep(5)
        if self.mood == "fails":
            raise RuntimeError(f"cannot read {texts}")
        if self.mood == "forgets":
            return []
        end = 10_000 if self.mood == "lies" else 0
        return [
            [
                Span(i, i + len(w) + end, "PERSON", 1.0, "words")
                for w in self.words
                if (i := text.find(w)) >= 0
            ]
            for text in texts
        ]


def words(words: list[str], mood: str = "") -> Words:
    return Words(words, mood)


def policy_file(folder: Path, *detectors: dict[str, Any]) -> Path:
    (folder / "own.yaml").write_text(yaml.safe_dump(ALONE | {"detectors": list(detectors)}))
    return folder


def registry(folder: Path, regex: str, **changes: Any) -> str:
    recognizer = {
        "name": "Badge",
        "supported_language": "en",
        "supported_entity": "BADGE",
        "patterns": [{"name": "badge", "regex": regex, "score": 0.3}],
        "context": ["badge"],
    }
    (folder / "registry.yaml").write_text(
        yaml.safe_dump(
            {
                "supported_languages": ["en"],
                "global_regex_flags": 26,
                "recognizers": [recognizer | changes],
            }
        )
    )
    return "registry.yaml"


def presidio(*recognizers: str, **settings: Any) -> Any:
    return build_presidio(
        PresidioPlugin(kind="presidio", recognizers=list(recognizers), **settings), Path()
    )


def test_a_policy_of_ones_own_adds_a_detector_by_its_name_alone(tmp_path: Path) -> None:
    policy_file(
        tmp_path,
        {"kind": "python", "factory": f"{HERE}:words", "arguments": {"words": ["Quillfeather"]}},
    )
    detector = stack_detector("own.yaml", tmp_path)
    assert [(s.start, s.end, s.source) for s in detector.detect(["it was Quillfeather"])[0]] == [
        (7, 19, "words")
    ]
    other = policy_file(
        tmp_path, {"kind": "python", "factory": f"{HERE}:words", "arguments": {"words": ["Other"]}}
    )
    assert stack_detector("own.yaml", other).version != detector.version


def test_a_registry_file_of_presidio_brings_its_recognizers(tmp_path: Path) -> None:
    policy_file(tmp_path, {"kind": "presidio", "registry": registry(tmp_path, r"\bZQ-[A-Z]{4}\b")})
    first = stack_detector("own.yaml", tmp_path)
    spans = first.detect(["his badge is ZQ-KLMN", "what is ZQ-KLMN"])
    assert [[s.type for s in found] for found in spans] == [["ID"], []], (
        "0.3 counts only with the word beside it"
    )
    registry(tmp_path, r"\bZX-[A-Z]{4}\b")
    assert stack_detector("own.yaml", tmp_path).version != first.version, (
        "another registry is another version"
    )


def test_an_expression_that_takes_too_long_quarantines_instead_of_passing(tmp_path: Path) -> None:
    plugin = PresidioPlugin(
        kind="presidio", registry=registry(tmp_path, r"(?:x[^y]*){6}(?=z)"), timeout_seconds=0.05
    )
    detector = build_plugin(plugin, tmp_path)
    with pytest.raises(DetectionError, match="took too long"):
        detector.detect(["x" * 3_000])
    batch = deidentify(
        extract(row("slow", user("x" * 3_000)), row("fine", user("hello"))), detector, KEYS
    )
    assert batch.quarantined["reason"].to_list() == ["detector_error"]
    assert len(batch.corpus) == 1


def test_urls_are_left_to_the_linear_rule() -> None:
    detector = presidio("UrlRecognizer", "EmailRecognizer", timeout_seconds=5)
    assert [type(r).__name__ for r in detector._recognizers] == ["EmailRecognizer"]
    for unit in ("www.", "a.a.a."):
        assert detector.detect([unit * (20_000 // len(unit))]) == [[]]


def test_no_list_of_suffixes_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **_: asked.append(a) or [])
    monkeypatch.setattr(socket.socket, "connect", lambda *a: asked.append(a))
    assert [
        s.type for s in presidio("EmailRecognizer").detect(["write to quentin@corp.co.uk"])[0]
    ] == ["EMAIL"]
    assert asked == []


def test_no_model_is_downloaded_and_what_needs_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import spacy.cli

    asked: list[str] = []
    monkeypatch.setattr(spacy.cli, "download", lambda name, *_: asked.append(name))
    for name in ("SpacyRecognizer", "GLiNERRecognizer"):
        with pytest.raises(BadInputError, match=name):
            presidio(name)
    presidio("CreditCardRecognizer").detect(["4539 1488 0343 6467"])
    assert asked == []


def test_words_around_a_number_still_raise_its_score() -> None:
    """Without a lemmatizer Presidio gives 0.4 and 0.3 here, and a threshold above that
    lets both through.
    """
    found = presidio("PhoneRecognizer", "UsLicenseRecognizer", threshold=0.6).detect(
        ["my phone number is 212-555-5555", "my driver license is A1234567"]
    )
    assert [[s.type for s in spans] for spans in found] == [["PHONE"], ["ID"]]


def test_whatever_presidio_warns_about_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = presidio("CreditCardRecognizer")
    monkeypatch.setattr(
        detector._engine,
        "analyze",
        lambda *_, **__: logging.getLogger("presidio-analyzer").warning("skipped quentin"),
    )
    with pytest.raises(DetectionError) as error:
        detector.detect(["4539 1488 0343 6467"])
    assert "quentin" not in str(error.value)


def test_an_unknown_recognizer_names_those_there_are() -> None:
    with pytest.raises(BadInputError, match=r'"NoRecognizer" is not one of .*CreditCardRecognizer'):
        presidio("NoRecognizer")


@pytest.mark.parametrize("mood", ["fails", "forgets", "lies"])
def test_a_detector_that_misbehaves_quarantines_and_says_nothing_of_the_text(mood: str) -> None:
    guarded = GuardedDetector(PythonPlugin(kind="python", factory="a:b"), Words(["quentin"], mood))
    with pytest.raises(DetectionError) as error:
        guarded.detect(["quentin"])
    assert "quentin" not in str(error.value)
    assert deidentify(extract(row("c", user("quentin"))), guarded, KEYS).quarantined[
        "reason"
    ].to_list() == ["detector_error"]


def test_a_detector_that_never_answers_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "SILENT_CALLS", 2)
    guarded = GuardedDetector(
        PythonPlugin(kind="python", factory="a:b", timeout_seconds=0.01), Words([], "hangs")
    )
    with pytest.raises(BadInputError, match=r"a:b did not answer within 0\.01 s, 2 times in a row"):
        deidentify(extract(row("c", user("one")), row("d", user("two"))), guarded, KEYS)


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("no.such.module:f", "cannot be built"),
        (f"{HERE}:nothing", "cannot be built"),
        ("builtins:dict", "gave a dict; wanted an object with version"),
    ],
)
def test_a_plug_in_that_cannot_be_built_is_named(factory: str, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        build_plugin(PythonPlugin(kind="python", factory=factory), Path())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("models: [", "cannot be read as YAML"),
        (yaml.safe_dump(ALONE), "names to nobody"),
        (
            yaml.safe_dump({**ALONE, "models": True, "detectors": [{"kind": "presidio"}]}),
            "give recognizers",
        ),
        (yaml.safe_dump({**ALONE, "models": True, "treshold": 1}), "treshold"),
    ],
)
def test_a_policy_file_that_is_wrong_is_named_with_the_way_out(
    content: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(BadInputError, match=says):
        stack_detector("own.yaml", tmp_path)
