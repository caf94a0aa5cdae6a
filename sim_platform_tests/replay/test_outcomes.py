from datetime import UTC, datetime

import pytest

from sim_platform.contracts.outcomes import Outcome
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.schema import ContractError, dtypes
from sim_platform.replay.engine import THIS_RUN
from sim_platform.replay.outcomes import completions_frame
from sim_platform_tests.replay.scripted_server import TOOL_CALL

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_each_outcome_is_one_row_of_candidate_completions() -> None:
    done = Outcome(
        "candidate",
        "p",
        0,
        "h",
        "completed",
        text="x",
        tool_calls=[TOOL_CALL],
        labels={"b": 1, "a": None},
        completed_at=NOW,
    )  # type: ignore[list-item]
    failed = Outcome("control", "p", 1, "h", "failed", reason="server_error", reused_from=THIS_RUN)
    frame = completions_frame([done, failed], "x-1")
    assert dict(frame.schema) == dtypes(CandidateCompletions)
    assert frame["model_version"].to_list() == ["x-1", "x-1"]
    assert frame["labels"].to_list() == ['{"a":null,"b":1}', "{}"]
    assert (
        frame["tool_calls"][0] == '[{"function":{"arguments":"{\\"really\\":'
        ' true}","name":"delete_everything"},"id":"call-1","type":"function"}]'
    )
    assert frame["completed_at"].to_list() == [NOW, None]
    assert frame["reused_from"].to_list() == [None, "x-1"]


def test_no_outcomes_are_an_empty_table() -> None:
    assert completions_frame([], "x-1").height == 0


def test_a_lone_surrogate_becomes_a_replacement_character() -> None:
    assert (
        completions_frame(
            [Outcome("candidate", "p", 0, "h", "completed", text="a\ud800b 😀 \0")], "x-1"
        )["text"][0]
        == "a\ufffdb 😀 \0"
    )


def test_an_outcome_that_does_not_fit_is_refused_without_its_text() -> None:
    with pytest.raises(ContractError) as failure:
        completions_frame([Outcome("recorded", "p", 0, "h", "completed", text="words")], "x-1")
    assert "words" not in str(failure.value)
