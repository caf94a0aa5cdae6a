import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.extraction import ConsentedLogExtract, RowDispositions
from sim_platform.contracts.tables.schema import validated
from sim_platform.extraction.consent import LEDGER
from sim_platform.extraction.conversation import conversation
from sim_platform.extraction.extract import extract_batch
from sim_platform.extraction.rows import ReadBatch, UnreadableRow
from sim_platform.extraction.rules import drop_reason
from sim_platform.registry.sources import Sources
from sim_platform_tests.extraction.written import a_conversation

NOW = datetime(2024, 6, 1, tzinfo=UTC)
EXCLUDE = {"temporary": {"temporary": True}, "internal": {"tenant_class": ["employee", "test"]}}
GRANTED = pl.DataFrame(
    [("u1", "use", datetime(2024, 1, 1, tzinfo=UTC), None)], schema=LEDGER, orient="row"
)


def sources(consent: dict[str, str]) -> Sources:
    return Sources.model_validate(
        {
            "sources": [{"reader": "conversations", "path": "*.jsonl"}],
            "consent": consent,
            "exclude": EXCLUDE,
        }
    )


def extracted(
    batch: ReadBatch, consent: dict[str, str], ledger: pl.DataFrame | None = GRANTED
) -> tuple[pl.DataFrame, pl.DataFrame]:
    return extract_batch(
        batch,
        source_file="logs/a.jsonl",
        extract_id="x1",
        sources=sources(consent),
        versions={"v1", "v2"},
        ledger=ledger,
        now=NOW,
    )


LEDGER_POLICY = {"ledger": "consent.csv", "scope": "use"}
ALL_POLICY = {"all": "a public data set"}


def test_the_first_rule_that_holds_gives_the_reason() -> None:
    def reason(**changes: Any) -> str | None:
        return drop_reason(
            conversation(a_conversation(**changes), 1), versions={"v1"}, exclude=EXCLUDE
        )

    assert reason() is None
    assert reason(metadata={"temporary": False, "tenant_class": "customer"}) is None
    assert reason(model_version="v9", metadata={"temporary": True}) == "unregistered_version"
    assert reason(metadata={"tenant_class": "test", "temporary": True}) == "excluded:temporary"
    assert reason(metadata={"tenant_class": "test"}) == "excluded:internal"


CHANGES = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["u1", "u2"]),
        "model_version": st.sampled_from(["v1", "v2", "v9"]),
        "metadata": st.sampled_from([{}, {"temporary": True}, {"tenant_class": "employee"}]),
        "started_at": st.sampled_from(["2023-05-01", "2024-05-01"]),
    }
)


@given(
    changes=st.lists(CHANGES | st.none(), max_size=12),
    consent=st.sampled_from([LEDGER_POLICY, ALL_POLICY]),
)
def test_rows_in_are_rows_extracted_plus_rows_accounted_for(
    changes: list[dict[str, Any] | None], consent: dict[str, str]
) -> None:
    readable = [
        conversation(a_conversation(conversation_id=f"c{i}", **change), i)
        for i, change in enumerate(changes, start=1)
        if change is not None
    ]
    batch = ReadBatch(
        readable,
        [
            UnreadableRow(i, "bad_json")
            for i, change in enumerate(changes, start=1)
            if change is None
        ],
    )
    rows, left_out = extracted(batch, consent)
    assert sorted([*rows["source_line"], *left_out["source_line"]]) == list(
        range(1, len(changes) + 1)
    )
    validated(ConsentedLogExtract, rows)
    validated(RowDispositions, left_out)
    assert left_out.filter(pl.col("disposition") == "quarantined").height == len(batch.unreadable)


def test_an_extracted_row_carries_everything_and_a_dropped_one_only_its_reason() -> None:
    batch = ReadBatch(
        [conversation(a_conversation(), 4), conversation(a_conversation(user_id="u2"), 5)],
        [UnreadableRow(6, "bad_time")],
    )
    rows, left_out = extracted(batch, LEDGER_POLICY)
    row = rows.row(0, named=True)
    assert json.loads(row.pop("messages")) == a_conversation()["messages"]
    assert row == {
        "conversation_id": "c1",
        "user_id": "u1",
        "model_version": "v1",
        "started_at": datetime(2024, 5, 1, 10, tzinfo=UTC),
        "metadata": '{"surface":"web"}',
        "labels": "{}",
        "content_hash": batch.rows[0].content_hash,
        "source_file": "logs/a.jsonl",
        "source_line": 4,
        "extract_id": "x1",
        "tool_set_hash": None,
    }
    assert left_out.rows() == [
        ("logs/a.jsonl", 5, "dropped", "no_consent_record"),
        ("logs/a.jsonl", 6, "quarantined", "bad_time"),
    ]


def test_under_the_policy_all_no_ledger_is_needed_and_rules_still_hold() -> None:
    batch = ReadBatch(
        [
            conversation(a_conversation(user_id="u2"), 1),
            conversation(a_conversation(model_version="v9"), 2),
        ],
        [],
    )
    rows, left_out = extracted(batch, ALL_POLICY, ledger=None)
    assert rows["source_line"].to_list() == [1]
    assert left_out["reason"].to_list() == ["unregistered_version"]


def test_a_configured_ledger_that_was_not_read_stops_the_extract() -> None:
    with pytest.raises(SimPlatformError, match=r"consent\.csv"):
        extracted(ReadBatch([], []), LEDGER_POLICY, ledger=None)


def test_a_conversation_that_stands_twice_stays_twice_for_the_caller_to_judge() -> None:
    rows, _ = extracted(
        ReadBatch([conversation(a_conversation(), 1), conversation(a_conversation(), 2)], []),
        LEDGER_POLICY,
    )
    assert rows["source_line"].to_list() == [1, 2]
