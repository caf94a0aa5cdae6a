"""What each grader kind means."""

import pytest

from sim_platform.contracts.errors import BadInputError
from sim_platform.grading.items import Verdict
from sim_platform.grading.rules import graders_of
from sim_platform_tests.grading.samples import behavior, graded, response

YES, NO = Verdict(True), Verdict(False)
CALL = [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}]


def test_a_pattern_is_found_anywhere_and_case_counts_only_when_asked() -> None:
    assert graded(response("Oh, SORRY!"), {"kind": "regex", "pattern": "sorry"}) == YES
    assert (
        graded(response("Oh, SORRY!"), {"kind": "regex", "pattern": "sorry", "ignore_case": False})
        == NO
    )


def test_negate_turns_a_pattern_around() -> None:
    assert graded(response("Sorry"), {"kind": "regex", "pattern": "sorry", "negate": True}) == NO
    assert graded(response("Fine"), {"kind": "regex", "pattern": "sorry", "negate": True}) == YES


def test_a_response_of_tool_calls_only_is_read_as_empty_text() -> None:
    calls_only = response(None, tool_calls=CALL)
    assert graded(calls_only, {"kind": "regex", "pattern": "."}) == NO
    assert graded(calls_only, {"kind": "regex", "pattern": "^$"}) == YES


def test_contains_needs_one_of_any_and_every_one_of_all() -> None:
    rule = {"kind": "contains", "any": ["red", "Blue"], "all": ["sky"]}
    assert graded(response("The SKY is blue"), rule) == YES
    assert graded(response("The sky is grey"), rule) == NO
    assert graded(response("A blue car"), rule) == NO
    assert graded(response("A blue car"), {**rule, "negate": True}) == YES
    assert graded(response("the SKY is red"), {**rule, "ignore_case": False}) == NO


def test_the_last_match_is_the_answer() -> None:
    rule = {"kind": "answer_equals", "reference": "ref", "extract": r"answer: (\w+)"}
    item = response("Answer: no. Wait. Answer: Yes", metadata={"ref": "yes"})
    assert graded(item, rule) == YES
    assert graded(item, {**rule, "negate": True}) == NO
    assert graded(item, {**rule, "ignore_case": False}) == NO


def test_without_extract_the_whole_response_is_the_answer() -> None:
    assert (
        graded(
            response(" 42\n", metadata={"ref": 42}), {"kind": "answer_equals", "reference": "ref"}
        )
        == YES
    )
    assert (
        graded(
            response("It is 42", metadata={"ref": 42}),
            {"kind": "answer_equals", "reference": "ref"},
        )
        == NO
    )


def test_a_response_that_gives_no_answer_does_not_equal_the_reference() -> None:
    rule = {"kind": "answer_equals", "reference": "ref", "extract": r"answer: (\w+)"}
    assert graded(response("I would rather not say", metadata={"ref": "yes"}), rule) == NO
    assert (
        graded(
            response("I would rather not say", metadata={"ref": "yes"}), {**rule, "negate": True}
        )
        == YES
    )


@pytest.mark.parametrize("metadata", [{}, {"ref": None}])
def test_without_a_reference_the_label_is_missing(metadata: dict[str, None]) -> None:
    for negate in (False, True):
        assert graded(
            response("yes", metadata=metadata),
            {"kind": "answer_equals", "reference": "ref", "negate": negate},
        ) == Verdict(None, "no_reference")


def test_a_recorded_label_counts_when_it_has_one_of_the_values() -> None:
    rule = {"kind": "recorded_label", "label": "harmful"}
    assert [graded(response(labels={"harmful": v}), rule) for v in (1, "1", True, "yes")] == [
        YES
    ] * 4
    assert [graded(response(labels={"harmful": v}), rule) for v in (0, "0", False, "no")] == [
        NO
    ] * 4
    assert graded(response(labels={"harmful": 0}), {**rule, "is_one_of": [0]}) == YES


def test_a_response_without_the_label_is_missing() -> None:
    rule = {"kind": "recorded_label", "label": "harmful"}
    assert (
        graded(response(labels={}), rule)
        == graded(response(labels={"harmful": None}), rule)
        == Verdict(None, "no_label")
    )


def test_a_named_function_gets_its_arguments() -> None:
    assert (
        graded(
            response("one two three"),
            {"kind": "python", "function": "longer_than", "arguments": {"words": 2}},
        )
        == YES
    )
    assert (
        graded(
            response("one two three"),
            {"kind": "python", "function": "longer_than", "arguments": {"words": 3}},
        )
        == NO
    )


def test_an_unknown_function_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(
        BadInputError,
        match=(
            r'behaviors/b\.yaml: graders\[0\]\.function: there is no grading function "eval"'
            r" \(functions: .*longer_than"
        ),
    ):
        graders_of(behavior({"kind": "python", "function": "eval"}))


@pytest.mark.parametrize("arguments", [{}, {"letters": 3}])
def test_arguments_that_a_function_does_not_take_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(
        BadInputError, match=r"graders\[0\]\.arguments: longer_than .*\(arguments: words\)"
    ):
        graders_of(behavior({"kind": "python", "function": "longer_than", "arguments": arguments}))


def test_an_extract_pattern_that_does_not_compile_is_refused() -> None:
    with pytest.raises(
        BadInputError, match=r"behaviors/b\.yaml: graders\[0\]\.extract: not a regular expression"
    ):
        graders_of(behavior({"kind": "answer_equals", "reference": "r", "extract": "("}))
