import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim_platform.deidentification import rules, set_gate

CASES = [
    (r"(?<!\d)\d{3}([- .])\d{2}\1\d{4}(?!\d)", "x 123-45-6789"),
    (r"\bmrn\b", "The MRN é"),
    (r"[^\W\d_]{2,}@", "éé@"),
    (r"(?i:straße)\s\d", "STRAßE\u00a05"),
    (r"a{2000,4000}", "a" * 2000),
    (r"[^\s,]{3}", "x,yyy"),
    (r"\d{2}", "٣٤"),
]


@pytest.mark.parametrize(
    ("pattern", "text"), [("ſx", "sx"), ("[ſ]x", "sx"), ("\u212ax", "kx"), ("ıx", "ix"), ("İx", "ix"), ("sx", "ſx"), ("[^k]x", "ſx"), ("É1", "é1"), ("a|ſ", "s")]
)
def test_letters_whose_other_case_is_beyond_ascii_pass_the_gate_both_ways(pattern: str, text: str) -> None:
    compiled = re.compile(pattern, re.I)
    assert compiled.search(text)
    assert list(set_gate.SetGate([compiled]).possible(text)) == [0]


@pytest.mark.parametrize(("pattern", "text"), CASES)
def test_what_python_finds_passes_the_gate(pattern: str, text: str) -> None:
    compiled = re.compile(pattern, re.I if "mrn" in pattern else 0)
    assert compiled.search(text)
    assert list(set_gate.SetGate([compiled]).possible(text)) == [0]


@given(st.text(alphabet="ab1 -.:@#/SNidmrtCard9é\n", max_size=80))
@example("ssn: 123-45-6789, card 4111 1111 1111 1111, mrn# ab-12345")
@example("the corner of Oak 7 and Elm Street, P.O. Box 12, apt 4, a@b.co, 10.1.2.3, fe80::1:2:3")
def test_rules_behind_the_gate_find_what_each_would_find_alone(text: str) -> None:
    passed = set(rules.GATE.possible(text))
    assert {i for i, p in enumerate(rules.RULES) if p.regex.search(text)} <= passed


@pytest.mark.parametrize("i", range(len(rules.RULES)))
def test_whatever_a_rule_matches_passes_the_gate(i: int) -> None:
    @settings(max_examples=8)
    @given(st.from_regex(rules.RULES[i].regex))
    def matched(text: str) -> None:
        assert i in rules.GATE.possible(text)

    matched()


def test_a_gate_that_gives_up_lets_every_rule_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """re2 reports an automaton that outgrew its memory like a text without a match."""

    class GaveUp:
        def Match(self, text: str) -> None:
            return None

    gate = set_gate.SetGate([rule.regex for rule in rules.RULES])
    monkeypatch.setattr(gate, "_first", [GaveUp()] * len(gate._first))
    monkeypatch.setattr(gate, "_second", [GaveUp()] * len(rules.RULES))
    assert list(gate.possible("text")) == list(range(len(rules.RULES)))
