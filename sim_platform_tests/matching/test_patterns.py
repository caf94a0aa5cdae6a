"""No pattern of a behaviour file holds grading up for ever, and the limit changes no label."""

import re
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.errors import BadInputError
from sim_platform.flows.readiness import home_facts
from sim_platform.grading.items import Verdict
from sim_platform.grading.rules import graders_of, slow_patterns
from sim_platform.grading.scores import verdict
from sim_platform.matching import patterns
from sim_platform.matching.patterns import Limited, degree
from sim_platform.registry.behaviors import AnswerEqualsGrader, RegexGrader
from sim_platform.registry.home import load_home
from sim_platform_tests.grading.samples import behavior, graded, response
from sim_platform_tests.homes import write_home, write_yaml

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = {
    r"(a+)+$": "a" * 60 + "b",
    r"(a|aa)+$": "a" * 80 + "b",
    r"(a|b|ab)*c": "ab" * 60,
    r"(?:x.*){6}z": "x" * 5_000,
    r"(.*?,){12}P": ",".join("0123456789" * 4),
    r"(?:a{1,40}){1,40}b": "a" * 200,
    r"(?i)(a*)*b": "A" * 60,
    r"a.*b.*c.*d.*e": "abcd" * 1_500,
}
SHIPPED = sorted(
    {
        part.pattern
        for home in ("data", "examples/llmdrift", "examples/hh_rlhf", "examples/tau_bench")
        for b in load_home(ROOT / home).behaviors
        for part in b.parts
        if isinstance(part, RegexGrader)
    }
)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 0.05)


@pytest.mark.parametrize("pattern", HOSTILE)
def test_a_text_that_takes_too_long_is_missing_with_a_reason(pattern: str, soon: None) -> None:
    rules = [
        {"kind": "regex", "pattern": pattern},
        {"kind": "answer_equals", "reference": "r", "extract": pattern},
    ]
    started = time.process_time()
    for rule in rules:
        item = response(HOSTILE[pattern], metadata={"r": "x"})
        assert graded(item, rule) == Verdict(None, "pattern:too_slow")
    assert time.process_time() - started < 5
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


@pytest.mark.parametrize("pattern", HOSTILE)
def test_check_names_a_pattern_that_may_be_slow(pattern: str, tmp_path: Path) -> None:
    home = write_home(tmp_path, n=1)
    slow = behavior({"kind": "regex", "pattern": pattern}, id="slow")
    write_yaml(home / "behaviors" / "slow.yaml", slow.model_dump(mode="json"))
    (named,) = home_facts(load_home(home))["patterns that may be slow"]
    assert named.startswith("behaviors/slow.yaml: regex.pattern")


def test_no_shipped_pattern_is_named() -> None:
    for home in ("data", "examples/llmdrift", "examples/hh_rlhf", "examples/tau_bench"):
        assert [p for b in load_home(ROOT / home).behaviors for p in slow_patterns(b)] == []


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"\bsorry\b|\bapolog(?:y|ies)\b", 0),
        (r"\?\s*$", 1),
        (r"a.*b.*c", 2),
        (r"(?:\w+ ){0,2}x", 2),
        (r"(?:ab)+c", 1),
        (r"a++b", 1),
        (r"(?>a+)b", 1),
        (r"(?:oh|ah)? well", 0),
        (r"(?=(a+)+)b", float("inf")),
        (r"(x)(?(1)a+|b)", 1),
    ],
)
def test_the_degree_counts_repeats_that_can_give_way(pattern: str, expected: float) -> None:
    assert degree(re.compile(pattern)) == expected


@pytest.mark.parametrize("pattern", SHIPPED)
@given(text=st.text(st.sampled_from("I’m sory'cantwilmgdeqe?!. \n\"()AS1"), max_size=60))
def test_the_limit_changes_no_label(pattern: str, text: str) -> None:
    limited = Limited(re.compile(pattern, re.IGNORECASE), "here")
    expected = re.compile(pattern, re.IGNORECASE).search(text)
    found = limited.run(re.compile(pattern, re.IGNORECASE).search, text)
    assert (found and found.span()) == (expected and expected.span())


@given(st.lists(st.sampled_from(["1", "22", " ", "x", "Answer: "]), max_size=8).map("".join))
def test_the_last_match_is_the_answer(text: str) -> None:
    config = AnswerEqualsGrader(kind="answer_equals", reference="r", extract=r"(\d+)")
    last = re.findall(r"\d+", text)[-1:]
    for reference in ("1", "22", "122"):
        said = graded(response(text, metadata={"r": reference}), config.model_dump())
        assert said == Verdict(last == [reference])


def test_a_pattern_that_is_slow_on_every_text_ends_the_grading(
    soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "SLOW_TEXTS", 3)
    graders = graders_of(behavior({"kind": "regex", "pattern": "(a+)+$"}, id="slow"))
    item = response("a" * 60 + "b")
    assert [verdict(item, graders).missing_reason for _ in range(2)] == ["pattern:too_slow"] * 2
    with pytest.raises(BadInputError, match=r"behaviors/slow.yaml: graders\[0\].pattern: took"):
        verdict(item, graders)


def test_in_another_thread_a_label_is_the_same() -> None:
    said: list[Verdict] = []
    work = threading.Thread(
        target=lambda: said.append(graded(response("b aaa"), {"kind": "regex", "pattern": "a+$"}))
    )
    work.start()
    work.join()
    assert said == [Verdict(True)]
