"""One row per behaviour and outcome; a missing label is explicit and never a 0."""

from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.schema import empty, validated
from sim_platform.grading import functions
from sim_platform.grading import scores as scores_module
from sim_platform.grading.items import GradedItem
from sim_platform.grading.scores import ROWS_AT_ONCE, grader_hash, scores
from sim_platform_tests.grading.samples import behavior, outcomes

SORRY = {"kind": "regex", "pattern": "sorry"}
LABELLED = {"kind": "recorded_label", "label": "flag"}
STATUSES = ["completed", "truncated", "refused", "failed"]


def fails(item: GradedItem) -> bool:
    raise KeyError(item.text)


def undecided(item: GradedItem) -> None:
    return None


def talks(item: GradedItem) -> Any:
    return "yes"


def raises_on_a_word(item: GradedItem) -> bool:
    if item.text == "raise":
        raise LookupError(item.text)
    return True


@pytest.fixture
def odd_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (fails, undecided, talks, raises_on_a_word):
        monkeypatch.setitem(functions.FUNCTIONS, function.__name__, function)


def only(row: dict[str, Any], *graders: dict[str, Any], **more: Any) -> dict[str, Any]:
    return scores(outcomes(row), [behavior(*graders, **more)], release="r").row(0, named=True)


rows = st.fixed_dictionaries(
    {
        "arm": st.sampled_from(["candidate", "control", "recorded"]),
        "status": st.sampled_from(STATUSES),
        "text": st.none() | st.sampled_from(["", "sorry", "fine"]),
        "labels": st.sampled_from([{}, {"flag": 1}, {"flag": 0}]),
        "metadata": st.sampled_from([{}, {"topic": "a"}, {"topic": "b"}]),
    }
)


@given(table=st.lists(rows, max_size=12))
def test_every_behaviour_and_outcome_gives_exactly_one_row_with_a_label_or_the_reason_for_none(
    table: list[dict[str, Any]],
) -> None:
    given_outcomes = outcomes(*table)
    behaviors = [
        behavior(SORRY, id="b1"),
        behavior(LABELLED, id="b2"),
        behavior(SORRY, LABELLED, id="b3", applies_to={"topic": "a"}),
    ]
    result = scores(given_outcomes, behaviors, release="r")
    assert validated(ClassifierScores, result).equals(result)
    keys = sorted(result.select("behavior", "arm", "prefix_id", "k").rows())
    assert keys == sorted(
        (b.id, *key)
        for b, key in product(behaviors, given_outcomes.select("arm", "prefix_id", "k").rows())
    )
    unlabelled = result["label"].is_null()
    assert (unlabelled == (result["missing_reason"].is_not_null() | ~result["applies"])).all()
    assert result.filter(~pl.col("applies"))["missing_reason"].is_null().all()


def test_no_outcomes_give_an_empty_table() -> None:
    assert scores(outcomes(), [behavior(SORRY)], release="r").equals(empty(ClassifierScores))


def test_a_message_that_is_not_eligible_has_neither_label_nor_reason() -> None:
    for status in STATUSES:
        row = only(
            {"text": "sorry", "status": status, "metadata": {"topic": "b"}},
            SORRY,
            applies_to={"topic": "a"},
        )
        assert (row["applies"], row["label"], row["missing_reason"]) == (False, None, None)


@pytest.mark.parametrize("status", ["failed", "refused"])
def test_an_outcome_without_a_response_is_missing_with_its_status(status: str) -> None:
    row = only({"text": None, "status": status}, {**SORRY, "negate": True})
    assert (row["applies"], row["label"], row["missing_reason"]) == (
        True,
        None,
        f"no_response:{status}",
    )


def test_a_truncated_response_is_graded() -> None:
    assert only({"text": "I am sorry, but the", "status": "truncated"}, SORRY)["label"] is True


def test_a_grader_that_raises_gives_a_missing_label_without_its_message(
    odd_functions: None,
) -> None:
    row = only({"text": "a private word"}, {"kind": "python", "function": "fails"})
    assert (row["label"], row["missing_reason"]) == (None, "grader_error:KeyError")


def test_one_item_on_which_a_grader_raises_is_one_missing_label_and_the_others_are_graded(
    odd_functions: None,
) -> None:
    rows = outcomes(*({"text": "raise" if i % 1000 == 7 else "sorry"} for i in range(3000)))
    found = scores(
        rows, [behavior({"kind": "python", "function": "raises_on_a_word"})], release="r"
    )
    assert found["missing_reason"].value_counts().sort("count").rows() == [
        ("grader_error:LookupError", 3),
        (None, 2997),
    ]
    assert found["label"].sum() == 2997


def test_a_grader_that_cannot_tell_or_says_something_else_is_missing(odd_functions: None) -> None:
    assert only({}, {"kind": "python", "function": "undecided"})["missing_reason"] == "undecided"
    assert (
        only({}, {"kind": "python", "function": "talks"})["missing_reason"]
        == "grader_error:TypeError"
    )


def test_one_yes_decides_and_otherwise_one_missing_grader_makes_the_label_missing(
    odd_functions: None,
) -> None:
    broken = {"kind": "python", "function": "fails"}
    assert only({"text": "sorry"}, broken, SORRY)["label"] is True
    assert only({"text": "fine"}, broken, SORRY)["missing_reason"] == "grader_error:KeyError"
    assert only({"text": "fine"}, LABELLED, broken, SORRY)["missing_reason"] == "no_label"
    assert only({"text": "fine", "labels": {"flag": 0}}, LABELLED, SORRY)["label"] is False


def test_slices_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = outcomes(*({"text": text} for text in ("sorry", "fine", "sorry", "", "fine")))
    whole = scores(table, [behavior(SORRY)], release="r")
    monkeypatch.setattr(scores_module, "ROWS_AT_ONCE", 2)
    assert scores(table, [behavior(SORRY)], release="r").equals(whole)
    assert ROWS_AT_ONCE > 2


def test_an_outcome_whose_json_cannot_be_read_is_named_without_its_text() -> None:
    table = outcomes({"text": "x", "metadata": "{private"})
    with pytest.raises(
        SimPlatformError, match=r"^outcome candidate/p0/0: column metadata is not JSON$"
    ) as caught:
        scores(table, [behavior(SORRY)], release="r")
    assert caught.value.__cause__ is None


def test_the_hash_changes_with_what_decides_the_label_and_with_nothing_else() -> None:
    plain = behavior(SORRY)
    assert grader_hash(plain) == grader_hash(
        behavior(SORRY, id="other", title="another title", undesired="either")
    )
    others = [
        behavior({**SORRY, "negate": True}),
        behavior(SORRY, LABELLED),
        behavior(SORRY, applies_to={"topic": "a"}),
    ]
    assert len({grader_hash(b) for b in [plain, *others]}) == 4


def test_the_hash_changes_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    named, rule = behavior({"kind": "python", "function": "stops_mid_sentence"}), behavior(SORRY)
    before = grader_hash(named), grader_hash(rule)
    monkeypatch.setitem(functions.FUNCTIONS, "stops_mid_sentence", undecided)
    assert grader_hash(named) != before[0]
    assert grader_hash(rule) == before[1]
    monkeypatch.setattr(scores_module, "VERSION", "other")
    assert grader_hash(rule) != before[1]


def test_processes_that_share_the_work_change_nothing() -> None:
    table = outcomes(
        *({"text": text, "metadata": {"topic": "a"}} for text in ("sorry", "fine", "") * 4)
    )
    behaviors = [behavior(SORRY, id="b1"), behavior(LABELLED, id="b2", applies_to={"topic": "a"})]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
        assert scores(table, behaviors, release="r", workers=workers).equals(
            scores(table, behaviors, release="r")
        )


EXPRESSIONS = [
    "sorry",
    r"\bno+\b",
    r"(?i)ſtop",
    "^$",
    "x*",
    r"(?<!a)b",
    "é|ü",
    r"(?s)a.b",
    "(?m)^c$",
]


@given(
    texts=st.lists(
        st.none() | st.text(alphabet="abcxnorsy ſSTOPéü\n\u212a", max_size=12), max_size=8
    ),
    ignore_case=st.booleans(),
)
def test_the_pass_before_all_expressions_changes_no_label(
    texts: list[str | None], ignore_case: bool
) -> None:
    behaviors = [
        behavior({"kind": "regex", "pattern": one, "ignore_case": ignore_case}, id=f"b{i}")
        for i, one in enumerate(EXPRESSIONS)
    ]
    behaviors += [
        behavior({"kind": "regex", "pattern": "a", "negate": True}, id="negated"),
        behavior(SORRY, {"kind": "regex", "pattern": "no"}, id="two_kinds"),
    ]
    table = outcomes(*({"text": text} for text in texts))
    plain = scores(table, behaviors, release="r")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores_module, "ENOUGH_FOR_A_GATE", 0)
        assert scores(table, behaviors, release="r").equals(plain)
