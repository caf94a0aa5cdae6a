import datetime as dt
import json
from itertools import takewhile

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.messages import user_turns
from sim_platform.contracts.tables.deidentification import DeidentifiedCorpus
from sim_platform.contracts.tables.schema import frame
from sim_platform.registry.models import Plan
from sim_platform.sampling.draw import draw
from sim_platform.sampling.prefixes import cut_prefixes, prefix_id


def corpus(role_lists: list[list[str]]) -> pl.DataFrame:
    """One conversation per list of roles; message i says "i"."""
    rows: list[dict[str, object]] = []
    for i, roles in enumerate(role_lists):
        messages = [{"role": role, "content": str(n)} for n, role in enumerate(roles)]
        turns = len(user_turns(messages))  # type: ignore[arg-type]  # plain dicts
        rows.append(
            {
                "conversation_key": f"c{i}",
                "user_key": f"u{i}",
                "model_version": "prod-1",
                "week": dt.date(2026, 1, 5),
                "messages": json.dumps(messages),
                "metadata": "{}",
                "labels": '{"helpful":true}',
                "turn_keys": json.dumps([f"t{i}.{t}" for t in range(turns)]),
                "n_user_turns": turns,
                "content_key": "x",
                "deid_version": "d1",
            }
        )
    return frame(DeidentifiedCorpus, rows)


def sample(roles: list[list[str]], cut: str = "last_user_turn") -> list[dict[str, object]]:
    rows = corpus(roles)
    return cut_prefixes(rows, draw(rows, Plan(cut=cut)), release="cand-2").to_dicts()  # type: ignore[arg-type]  # a literal


def test_the_prefix_ends_at_the_last_user_turn_and_the_response_stands_beside_it() -> None:
    [row] = sample(
        [["system", "user", "assistant", "user", "user", "assistant", "tool", "assistant"]]
    )
    assert [m["content"] for m in json.loads(str(row["prefix"]))] == ["0", "1", "2", "3", "4"]
    assert json.loads(str(row["recorded"])) == {"role": "assistant", "content": "7"}
    turn = [("assistant", "5"), ("tool", "6"), ("assistant", "7")]
    assert [(m["role"], m["content"]) for m in json.loads(str(row["recorded_turn"]))] == turn
    assert row["recorded_is_complete"] is True
    expected = (1, "t0.1", '{"helpful":true}', prefix_id("c0", 1))
    assert (row["turn"], row["turn_key"], row["recorded_labels"], row["prefix_id"]) == expected


def test_a_turn_that_production_did_not_answer_has_no_response_and_no_labels() -> None:
    rows = sample([["user"], ["user", "assistant", "user", "system", "assistant"]])
    assert [(row["recorded"], row["recorded_labels"]) for row in rows] == [(None, "{}")] * 2


def test_labels_belong_to_the_last_turn_only() -> None:
    rows = sample([["user", "assistant", "user", "assistant"]] * 40, cut="uniform_user_turn")
    assert {row["turn"] for row in rows} == {0, 1}
    assert all((row["recorded_labels"] == "{}") == (row["turn"] == 0) for row in rows)
    assert all(row["recorded"] is not None for row in rows)


@given(
    st.lists(
        st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), min_size=1, max_size=9),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["last_user_turn", "uniform_user_turn"]),
)
def test_the_old_response_and_later_turns_are_never_inside_the_prefix(
    roles: list[list[str]], cut: str
) -> None:
    if not any("user" in r for r in roles):
        return
    rows = sample(roles, cut)
    assert len(rows) == sum("user" in r for r in roles)
    for row in rows:
        messages = roles[int(str(row["conversation_key"])[1:])]
        prefix = json.loads(str(row["prefix"]))
        end = user_turns([{"role": r, "content": ""} for r in messages])[int(str(row["turn"]))]  # type: ignore[typeddict-item]  # roles are strings here
        assert [m["content"] for m in prefix] == [str(i) for i in range(end + 1)]
        assert prefix[-1]["role"] == "user"
        turn = list(takewhile(lambda role: role != "user", messages[end + 1 :]))
        answered = "assistant" in turn if "tool" in turn else turn[:1] == ["assistant"]
        assert (row["recorded"] is not None) == answered
        after = json.loads(str(row["recorded_turn"])) if answered else []
        assert [m["role"] for m in after] == (turn if answered else [])


def test_a_drawn_conversation_that_left_the_corpus_is_named() -> None:
    rows = corpus([["user"], ["user"]])
    with pytest.raises(
        SimPlatformError,
        match="cand-2: 1 of 2 drawn conversations are not in deidentified_corpus, the first is c1",
    ):
        cut_prefixes(rows.head(1), draw(rows, Plan()), release="cand-2")


def test_a_row_that_does_not_have_the_turn_is_named_without_its_text() -> None:
    rows = corpus([["user"]])
    drawn = draw(rows, Plan())
    with pytest.raises(
        SimPlatformError, match="conversation c0 cannot be cut at user turn 0"
    ) as error:
        cut_prefixes(rows.with_columns(messages=pl.lit('["private')), drawn, release="cand-2")
    assert "private" not in str(error.value)
    assert error.value.__suppress_context__
