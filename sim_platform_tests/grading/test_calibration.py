"""A grader against people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.errors import BadInputError
from sim_platform.grading.calibration import (
    Graded,
    auc,
    confusion,
    confusion_by,
    reliability_curve,
    threshold_curve,
)
from sim_platform.grading.items import Verdict
from sim_platform.grading.labels import HumanLabel


def graded(
    human: bool | None, said: bool | None, score: float | None = None, **more: str
) -> Graded:
    return Graded(
        HumanLabel("", "i", human, **more),
        Verdict(said, None if said is not None else "judge:refused", score),
    )  # type: ignore[arg-type]


items = st.lists(
    st.tuples(st.sampled_from([True, False, None]), st.sampled_from([True, False, None])),
    max_size=40,
)


@given(pairs=items)
def test_every_known_label_stands_in_one_cell_or_is_counted_as_abstained(
    pairs: list[tuple[bool | None, bool | None]],
) -> None:
    known = [pair for pair in pairs if pair[0] is not None]
    if not known:
        with pytest.raises(BadInputError, match="nothing to calibrate on"):
            confusion([graded(*pair) for pair in pairs])
        return
    table = confusion([graded(*pair) for pair in pairs])
    assert table.n + table.abstained == len(known)
    assert table.tp == known.count((True, True))
    assert table.fn == known.count((True, False))


def test_a_judge_that_refuses_is_counted_with_its_reason() -> None:
    assert confusion([graded(True, None), graded(True, True)]).reasons == {"judge:refused": 1}


@pytest.mark.parametrize("human", [True, False])
def test_labels_of_one_kind_give_a_table_and_no_auc(human: bool) -> None:
    one_kind = [graded(human, True), graded(human, False)]
    assert confusion(one_kind).n == 2
    assert auc(one_kind) is None


def test_tables_by_arm_and_stratum_add_up() -> None:
    rows = [
        graded(True, True, arm="candidate"),
        graded(False, True, arm="control"),
        graded(True, False, arm="candidate"),
    ]
    parts = confusion_by(rows, "arm")
    assert {name: part.n for name, part in parts.items()} == {"candidate": 2, "control": 1}


def test_auc_is_the_chance_that_a_positive_scores_above_a_negative() -> None:
    rows = [
        graded(True, True, 0.9),
        graded(True, True, 0.4),
        graded(False, True, 0.4),
        graded(False, False, 0.1),
    ]
    assert auc(rows) == pytest.approx((1 + 1 + 0.5 + 1) / 4)


def test_curves_use_scores_only_and_count_every_scored_item() -> None:
    rows = [graded(True, True, 0.95), graded(False, False, 0.05), graded(True, True)]
    assert [(p["threshold"], p["tp"], p["fp"]) for p in threshold_curve(rows)] == [
        (0.05, 1, 1),
        (0.95, 1, 0),
    ]
    assert [(p["n"], p["positive_share"]) for p in reliability_curve(rows)] == [(1, 0.0), (1, 1.0)]
