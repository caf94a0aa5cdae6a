import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim_platform.deidentification import rules
from sim_platform.matching.set_gate import SetGate

CASES = [
    (r"(?<!\d)\d{3}([- .])\d{2}\1\d{4}(?!\d)", "x 123-45-6789"),
    (r"\bmrn\b", "The MRN é"),
    (r"[^\W\d_]{2,}@", "éé@"),
    (r"(?i:straße)\s\d", "STRAßE\u00a05"),
    (r"a{2000,4000}", "a" * 2000),
    (r"[^\s,]{3}", "x,yyy"),
    (r"\d{2}", "٣٤"),
    (r"(a)(?i:\1)c", "aAc"),
    (r"(?:(x)|y)(?(1)z|w)", "xz"),
    (r"(?>ab?)c", "abc"),
    (r"(?i:[^a])b", "bb"),
    (r"[\x00-\x1f]!", "\x00!"),
]


def let_through(gate: SetGate, text: str) -> list[int]:
    return sorted(i for i, _, _ in gate.possible(text))


def assert_every_match_starts_where_one_can(
    pattern: re.Pattern[str], text: str, places: list[tuple[int, int, int]], i: int = 0
) -> None:
    for match in pattern.finditer(text):
        assert any(i == which and first <= match.start() < last for which, first, last in places)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("ſx", "sx"),
        ("[ſ]x", "sx"),
        ("\u212ax", "kx"),
        ("ıx", "ix"),
        ("İx", "ix"),
        ("sx", "ſx"),
        ("[^k]x", "ſx"),
        ("[^s]x", "kx"),
        ("É1", "é1"),
        ("a|ſ", "s"),
        ("ssn", "ſSN"),
    ],
)
def test_letters_whose_other_case_is_beyond_ascii_pass_the_gate_both_ways(
    pattern: str, text: str
) -> None:
    compiled = re.compile(pattern, re.I)
    assert compiled.search(text)
    assert let_through(SetGate([compiled]), text) == [0]


@pytest.mark.parametrize("pattern", [r"[^s]x", r"\wx", r"[^\W\d_]x", "ſx", "[a-\u212a]x", ".x"])
def test_a_letter_read_as_another_passes_where_its_case_counts(pattern: str) -> None:
    compiled = re.compile(pattern)
    assert compiled.search("ſx")
    assert let_through(SetGate([compiled]), "ſx") == [0]


@pytest.mark.parametrize(("pattern", "text"), CASES)
def test_what_python_finds_passes_the_gate_where_it_is(pattern: str, text: str) -> None:
    compiled = re.compile(pattern, re.I if "mrn" in pattern else 0)
    assert compiled.search(text)
    for before in ("", "é" * 300, "x" * 300):
        assert_every_match_starts_where_one_can(
            compiled, f"{before} {text}", SetGate([compiled]).possible(f"{before} {text}")
        )


def test_a_text_without_a_match_does_not_pass() -> None:
    assert (
        let_through(SetGate([re.compile(r"\bmrn\b"), re.compile(r"\d{3}")]), "no number of 12 é")
        == []
    )


def test_the_places_are_narrow() -> None:
    """Or nothing would be gained over reading the whole text."""
    [(_, first, last)] = SetGate([re.compile(r"card \d{4,16}(?: ok)?")]).possible(
        "x" * 500 + "card 1234567 ok" + "x" * 500
    )
    assert 480 <= first <= 500 < last <= 515


@given(st.text(alphabet="ab1 -.:@#/SNidmrtCard9é\n", max_size=80))
@example("ssn: 123-45-6789, card 4111 1111 1111 1111, mrn# ab-12345")
@example("the corner of Oak 7 and Elm Street, P.O. Box 12, apt 4, a@b.co, 10.1.2.3, fe80::1:2:3")
def test_rules_behind_the_gate_find_what_each_would_find_alone(text: str) -> None:
    places = rules.GATE.possible(text)
    for i, rule in enumerate(rules.RULES):
        assert_every_match_starts_where_one_can(rule.regex, text, places, i)


@pytest.mark.parametrize("i", range(len(rules.RULES)))
def test_whatever_a_rule_matches_passes_the_gate_where_it_is(i: int) -> None:
    @settings(max_examples=8)
    @given(st.from_regex(rules.RULES[i].regex))
    def matched(text: str) -> None:
        assert_every_match_starts_where_one_can(
            rules.RULES[i].regex, text, rules.GATE.possible(text), i
        )

    matched()


def test_an_expression_that_no_automaton_can_be_built_of_may_match_anywhere() -> None:
    too_large, empty, small = (
        re.compile("(?:(?:[ab]{150}[cd]){150}[ef]){150}"),
        re.compile("x*"),
        re.compile("y"),
    )
    assert SetGate([too_large, small, empty]).possible("yé") == [(1, 0, 1), (0, 0, 3), (2, 0, 3)]
    assert SetGate([]).possible("y") == []


def test_threads_share_one_gate() -> None:
    texts = [f"{'é' * (i % 7)} ssn: 123-45-{i:04}" for i in range(400)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(rules.GATE.possible, texts)) == [
            rules.GATE.possible(text) for text in texts
        ]


def test_a_long_run_of_matches_is_kept_as_two_places() -> None:
    [(_, first, last)] = SetGate([re.compile(r"\d{7}")]).possible("1" * 200_000)
    assert (first, last) == (0, 200_000)
