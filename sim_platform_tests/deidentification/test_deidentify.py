import json
import logging
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.tables.deidentification import DeidentifiedCorpus
from sim_platform.contracts.tables.schema import validated
from sim_platform.deidentification.deidentify import (
    DeidBatch,
    Keys,
    deid_version,
    deidentify,
    keyed_hash,
)
from sim_platform.deidentification.spans import Span
from sim_platform.deidentification.walking import MAX_CHARS
from sim_platform_tests.deidentification.corpora import (
    KEYS,
    RulesOnly,
    extract,
    messages_of,
    out,
    row,
    user,
)

MAIL = "quentin@corp.de"


def reasons(batch: DeidBatch) -> list[str]:
    return batch.quarantined["reason"].to_list()


def test_rows_in_are_rows_out_plus_quarantined() -> None:
    rows = [
        row("a", user("fine")),
        row("b", "not json"),
        row("c", user("boom")),
        row("d", user("x" * (MAX_CHARS + 1))),
    ]
    batch = deidentify(extract(*rows), RulesOnly(fails_on=lambda t: "boom" in t), KEYS)
    assert len(batch.corpus) + len(batch.quarantined) == len(rows)
    assert reasons(batch) == ["unreadable", "detector_error", "too_long"]
    assert batch.quarantined["conversation_key"].to_list() == [
        keyed_hash(KEYS.vault, "conversation", c) for c in "bcd"
    ]
    validated(DeidentifiedCorpus, batch.corpus)


def test_only_the_guilty_conversation_is_quarantined_and_the_error_stays_silent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [row(f"c{i}", user(f"text {i}")) for i in range(40)] + [
        row("bad", user("text bad quentin"))
    ]
    with caplog.at_level(logging.DEBUG):
        batch = deidentify(extract(*rows), RulesOnly(fails_on=lambda t: "bad" in t), KEYS)
    assert reasons(batch) == ["detector_error"]
    assert len(batch.corpus) == 40
    assert "quentin" not in caplog.text + str(batch.quarantined.to_dicts()) + str(batch.counts)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (user("half \ud83d a pair"), "lone_surrogates"),
        (user("Мария Петрова живёт в Москве"), "unsupported_script"),
        (user("王小明 please"), "unsupported_script"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
            "unsupported_content",
        ),
        ([{"role": "user", "content": "a", "surprise": "unscanned"}], "unsupported_content"),
        ([{"role": "wizard", "content": "a"}], "unsupported_content"),
        (
            [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}],
                }
            ],
            "unsupported_content",
        ),
        ({"role": "user"}, "unreadable"),
        (["text"], "unsupported_content"),
        (
            user(" ".join(f"02:00:00:00:{i // 256:02x}:{i % 256:02x}" for i in range(300))),
            "surrogates_exhausted",
        ),
    ],
)
def test_what_cannot_be_scanned_is_quarantined_with_a_code(messages: Any, reason: str) -> None:
    batch = deidentify(extract(row("a", messages), row("b", user("fine"))), RulesOnly(), KEYS)
    assert reasons(batch) == [reason]
    assert len(batch.corpus) == 1


@pytest.mark.parametrize(
    "spans",
    [
        [],
        [[Span(0, 999, "PERSON", 1, "x")]],
        [[Span(2, 2, "PERSON", 1, "x")]],
        [[Span(-1, 2, "ID", 1, "x")]],
        [[], []],
    ],
)
def test_a_detector_that_answers_nonsense_is_not_believed(spans: list[list[Span]]) -> None:
    class Nonsense(RulesOnly):
        def detect(self, texts: object) -> list[list[Span]]:
            return spans

    assert reasons(deidentify(extract(row("a", user("text"))), Nonsense(), KEYS)) == [
        "detector_error"
    ]


def test_a_detector_that_cannot_work_at_all_stops_the_run() -> None:
    class Missing(RulesOnly):
        def detect(self, texts: object) -> list[list[Span]]:
            raise BadInputError("no model")

    with pytest.raises(BadInputError, match="no model"):
        deidentify(extract(row("a", user("text"))), Missing(), KEYS)


def test_identical_texts_are_scanned_once() -> None:
    detector = RulesOnly()
    deidentify(extract(*(row(f"c{i}", user("the same")) for i in range(9))), detector, KEYS)
    assert detector.seen == ["the same"]


def test_a_name_found_once_is_masked_in_the_whole_conversation() -> None:
    first, second = out(
        RulesOnly("Priyanka Raghunathan"),
        "I am Priyanka Raghunathan.",
        "Dear Raghunathan, is this RAGHUNATHAN's or Priyanka's?",
    )
    assert "agh" not in second.lower()
    new_first, new_last = first.removeprefix("I am ").removesuffix(".").split()
    assert second == f"Dear {new_last}, is this {new_last.upper()}'s or {new_first}'s?"


def test_an_id_found_by_its_label_is_masked_where_it_stands_bare() -> None:
    first, second = out(RulesOnly(), "my account number: QX-4411", "so QX-4411 it is")
    assert "QX-4411" not in first + second
    assert first.removeprefix("my account number: ") == second.removeprefix("so ").removesuffix(
        " it is"
    )


def test_a_value_found_under_two_types_has_one_surrogate() -> None:
    first, second = out(RulesOnly(), "user id: quentin_q_9911", "quentin_q_9911 again")
    assert first.removeprefix("user id: ") == second.removesuffix(" again") != "quentin_q_9911"


def test_tool_calls_and_results_are_walked_and_stay_json() -> None:
    call = {
        "id": "toolu_77",
        "type": "function",
        "function": {
            "name": "find",
            "arguments": json.dumps(
                {"email": MAIL, "n": 3, "user_id": "mia_q_77x1", MAIL: [1234567890]}
            ),
        },
    }
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {
            "role": "tool",
            "tool_call_id": "toolu_77",
            "name": "find",
            "content": json.dumps(
                {"nested": json.dumps({"to": MAIL}), "rows": [{"first_name": "Zorblax"}]}
            ),
        },
        {
            "role": "tool",
            "tool_call_id": "toolu_78",
            "content": f'{{"a": "{MAIL}", "a": "hidden twice"}}',
        },
    ]
    batch = deidentify(extract(row("a", messages)), RulesOnly(), KEYS)
    new = messages_of(batch)
    arguments = json.loads(new[0]["tool_calls"][0]["function"]["arguments"])
    result = json.loads(new[1]["content"])
    address = arguments["email"]
    assert address.endswith(("@example.com", "@example.org"))
    assert json.loads(result["nested"])["to"] == address
    assert arguments["n"] == 3
    assert isinstance(arguments[address][0], int)
    assert (
        new[0]["tool_calls"][0]["id"]
        == new[1]["tool_call_id"]
        == "call_1"
        != new[2]["tool_call_id"]
    )
    everything = batch.corpus["messages"][0]
    assert not any(
        secret in everything for secret in (MAIL, "mia_q_77x1", "1234567890", "Zorblax", "toolu")
    )


def test_json_without_identifiers_keeps_its_very_bytes() -> None:
    content = '{ "status":  "on time", "seats": [1, 2], "price": 12.50 }'
    assert (
        messages_of(
            deidentify(
                extract(row("a", [{"role": "tool", "tool_call_id": "t", "content": content}])),
                RulesOnly(),
                KEYS,
            )
        )[0]["content"]
        == content
    )


def test_properties_with_an_identifier_become_its_type() -> None:
    batch = deidentify(
        extract(
            row(
                "a",
                user("hi"),
                {"surface": "web", "contact": MAIL, "beta": True},
                {"note": f"see {MAIL}", "ok": 1},
            )
        ),
        RulesOnly(),
        KEYS,
    )
    assert json.loads(batch.corpus["metadata"][0]) == {
        "surface": "web",
        "contact": "[EMAIL]",
        "beta": True,
    }
    assert json.loads(batch.corpus["labels"][0]) == {"note": "[EMAIL]", "ok": 1}


def test_a_name_found_in_a_text_leaves_a_category_that_contains_the_word() -> None:
    metadata = {"dataset": "questions_easy", "by": "wolfe easy", "for": "Wolfe", "level": "easy"}
    batch = deidentify(
        extract(row("a", user("easy wolfe asks"), metadata)), RulesOnly("easy wolfe"), KEYS
    )
    assert json.loads(batch.corpus["metadata"][0]) == {
        "dataset": "questions_easy",
        "by": "[PERSON]",
        "for": "[PERSON]",
        "level": "easy",
    }


def test_a_category_is_no_name_whatever_a_model_sees_and_a_name_is_one_where_the_key_says_so() -> (
    None
):
    metadata = {
        "topic": "arithmetic",
        "language": "en-US",
        "customer": "arithmetic",
        "userName": "arithmetic",
        "told": "Arithmetic",
    }
    batch = deidentify(
        extract(row("a", user("some arithmetic"), metadata)),
        RulesOnly("arithmetic", "en-US", "Arithmetic"),
        KEYS,
    )
    masked = {
        "topic": "arithmetic",
        "language": "en-US",
        "customer": "[PERSON]",
        "userName": "[USERNAME]",
        "told": "[PERSON]",
    }
    assert json.loads(batch.corpus["metadata"][0]) == masked


def test_the_same_prefix_has_the_same_key_in_another_conversation() -> None:
    prefix = [
        *user(f"I am {MAIL}"),
        {"role": "assistant", "content": "hello"},
        *user("next"),
        *user("and this"),
    ]
    one = row("a", [{"role": "system", "content": "old"}, *prefix])
    two = row(
        "b",
        [
            {"role": "system", "content": "new"},
            *prefix,
            {"role": "assistant", "content": "bye"},
            *user("more"),
        ],
    )
    batch = deidentify(extract(one, two), RulesOnly(), KEYS)
    first, second = (json.loads(k) for k in batch.corpus["turn_keys"])
    assert batch.corpus["n_user_turns"].to_list() == [2, 3]
    assert second[:2] == first


def test_ids_leave_only_as_keyed_hashes_and_times_as_weeks() -> None:
    batch = deidentify(extract(row("a", user("hi"))), RulesOnly(), KEYS)
    made = batch.corpus.row(0, named=True)
    assert made["week"] == date(2026, 3, 2)
    assert made["user_key"] == keyed_hash(KEYS.vault, "user", "user of a")
    assert made["content_key"] == keyed_hash(
        KEYS.vault, "content", row("a", user("hi"))["content_hash"]
    )
    assert "user of a" not in str(made)


def test_the_same_keys_give_the_same_bytes_whatever_else_is_in_the_batch() -> None:
    rows = [row(f"c{i}", user(f"mail a{i}@corp.de, again quentin{i}@corp.de")) for i in range(5)]
    together = deidentify(extract(*rows), RulesOnly(), KEYS).corpus
    assert together.row(3) == deidentify(extract(rows[3]), RulesOnly(), KEYS).corpus.row(0)


def test_another_run_key_changes_surrogates_and_no_key_column() -> None:
    one, two = (
        deidentify(
            extract(row("a", user(f"I am {MAIL}"))), RulesOnly(), Keys(run, KEYS.vault)
        ).corpus
        for run in (b"1" * 32, b"2" * 32)
    )
    assert one["messages"][0] != two["messages"][0]
    keys = ["conversation_key", "user_key", "turn_keys", "content_key"]
    assert one.select(keys).equals(two.select(keys))


def test_the_version_changes_with_the_detector() -> None:
    class Other(RulesOnly):
        version = "other"

    assert deid_version(RulesOnly()) != deid_version(Other())


def test_keys_are_never_printed_and_never_short() -> None:
    assert "rrr" not in repr(KEYS)
    with pytest.raises(BadInputError, match="at least 16 bytes"):
        Keys(run=b"", vault=b"v" * 32)


@given(texts=st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_every_conversation_comes_out_once(texts: list[str]) -> None:
    batch = deidentify(
        extract(row("a", [{"role": "user", "content": t} for t in texts])), RulesOnly(), KEYS
    )
    assert len(batch.corpus) + len(batch.quarantined) == 1
    assert not any(r.startswith("unexpected") for r in reasons(batch))
