import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import canonical_json
from sim_platform.extraction import readers
from sim_platform.extraction.conversation import conversation, utc
from sim_platform.extraction.readers import file_fingerprint, read, source_files
from sim_platform.extraction.rows import LogRow, UnreadableError
from sim_platform.registry.sources import ConversationsSource
from sim_platform_tests.extraction.written import (
    CONVERSATIONS,
    a_conversation,
    lines_of,
    read_all,
    reasons_of,
)

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "look_up", "arguments": '{"id": 1}'},
}

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def message(**keys: Any) -> dict[str, Any]:
    return a_conversation(messages=[{"role": "user", "content": "hello"}, keys])


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("bad_json", '{"conversation_id": "c1"'),
        ("bad_json", '{"n": ' + "9" * 5000 + "}"),
        ("not_an_object", [1, 2]),
        ("not_an_object", "null"),
        ("too_deep", "[" * 200_000),
        ("bad_encoding", json.dumps(a_conversation()).encode().replace(b"hello", b"h\xe9llo")),
        ("bad_encoding", a_conversation(messages=[{"role": "user", "content": "\ud83d"}])),
        ("bad_encoding", a_conversation(conversation_id="\udc00")),
        ("bad_encoding", a_conversation(metadata={"\ud800": 1})),
        *(
            ("missing_field", a_conversation(**{key: ...}))
            for key in ("conversation_id", "user_id", "model_version", "started_at", "messages")
        ),
        ("missing_field", a_conversation(user_id="")),
        ("bad_field_type", a_conversation(user_id=True)),
        ("bad_field_type", a_conversation(conversation_id=1.5)),
        ("bad_field_type", a_conversation(messages="hello")),
        ("bad_field_type", a_conversation(messages=["hello"])),
        ("bad_field_type", a_conversation(metadata={"nested": {"a": 1}})),
        ("bad_field_type", a_conversation(metadata={"share": float("nan")})),
        ("bad_field_type", json.dumps(a_conversation()).replace('"web"', "1e999")),
        ("bad_field_type", a_conversation(labels=["good"])),
        ("bad_time", a_conversation(started_at="yesterday")),
        ("bad_time", a_conversation(started_at=1714557600)),
        ("bad_time", a_conversation(started_at="0001-01-01T00:00:00+09:00")),
        ("empty_messages", a_conversation(messages=[])),
        ("missing_field", message(content="no role")),
        ("unknown_role", message(role="moderator", content="x")),
        ("unknown_role", message(role=["user"], content="x")),
        ("missing_field", message(role="assistant", content=None)),
        ("missing_field", message(role="user", content=[])),
        ("bad_field_type", message(role="assistant", content=7)),
        ("bad_field_type", message(role="assistant", content=[{"type": "text", "text": None}])),
        ("bad_field_type", message(role="assistant", content="x", name=7)),
        (
            "non_text_part",
            message(role="user", content=[{"type": "image_url", "image_url": {"url": "data:"}}]),
        ),
        ("bad_tool_call", message(role="tool", content="result")),
        ("bad_tool_call", message(role="user", content="x", tool_calls=[CALL])),
        (
            "bad_tool_call",
            message(role="assistant", content=None, tool_calls=[{**CALL, "type": "custom"}]),
        ),
        (
            "bad_tool_call",
            message(
                role="assistant",
                content=None,
                tool_calls=[{**CALL, "function": {"name": "look_up", "arguments": {"id": 1}}}],
            ),
        ),
        ("bad_tool_call", message(role="assistant", content=None, tool_calls="look_up")),
        ("hosted_tool", a_conversation(tools=[TOOL, {"type": "web_search"}])),
        ("hosted_tool", a_conversation(tools=["web_search"])),
        ("hosted_tool", a_conversation(tools=[{"function": TOOL["function"]}])),
        ("bad_tool", a_conversation(tools=TOOL)),
        ("bad_tool", a_conversation(tools=[TOOL, TOOL])),
        ("bad_tool", a_conversation(tools=[{"type": "function"}])),
        ("bad_tool", a_conversation(tools=[{"type": "function", "name": 7}])),
        (
            "bad_tool",
            json.dumps(a_conversation(tools=[TOOL])).replace('"type": "object"', '"a": NaN'),
        ),
        (
            "bad_encoding",
            a_conversation(tools=[{"type": "function", "name": "f", "description": "\ud800"}]),
        ),
    ],
)
def test_a_row_that_cannot_be_read_is_set_aside_with_its_reason_and_the_next_one_is_read(
    reason: str, row: object, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(lines_of(a_conversation(), row, a_conversation()))
    rows, unreadable = read_all(log)
    assert [row.source_line for row in rows] == [1, 3]
    assert [(row.source_line, row.reason) for row in unreadable] == [(2, reason)]


def test_every_shape_of_message_that_the_format_allows_is_kept_and_unknown_keys_are_left_out(
    tmp_path: Path,
) -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {
            "role": "developer",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        },
        {"role": "user", "content": "hello", "name": "customer"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "", "tool_call_id": "call_1", "name": "look_up"},
        {"role": "assistant", "content": None, "refusal": "no"},
    ]
    noise = [{**m, "audio": None, "id": 7, "tool_calls": m.get("tool_calls")} for m in messages]
    log = tmp_path / "log.jsonl"
    log.write_bytes(lines_of(a_conversation(messages=noise, extra=1)))
    assert read_all(log)[0][0].messages == messages


def test_times_are_utc_and_ids_may_be_numbers(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    times = ["2024-05-01T12:00:00+02:00", "2024-05-01T10:00:00", "2024-05-01T10:00:00Z"]
    log.write_bytes(lines_of(*(a_conversation(started_at=time, user_id=17) for time in times)))
    rows, _ = read_all(log)
    assert {(row.started_at, row.user_id) for row in rows} == {
        (datetime(2024, 5, 1, 10, tzinfo=UTC), "17")
    }
    assert len({row.content_hash for row in rows}) == 1


def test_blank_lines_a_byte_order_mark_carriage_returns_and_a_missing_last_newline_are_no_rows(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(
        b"\xef\xbb\xbf"
        + lines_of(a_conversation(), b"", b"  \r").replace(b"\n", b"\r\n")
        + json.dumps(a_conversation()).encode()
    )
    rows, unreadable = read_all(log)
    assert [row.source_line for row in rows] == [1, 4]
    assert unreadable == []


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_an_empty_log_has_no_rows(ending: str, tmp_path: Path) -> None:
    log = tmp_path / f"log{ending}"
    if ending == ".parquet":
        pl.DataFrame({"conversation_id": []}).write_parquet(log)
    else:
        log.write_bytes(b"")
    assert list(read(CONVERSATIONS, log)) == []


def test_a_line_over_the_limit_is_passed_over_without_being_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(readers, "CHUNK_BYTES", 64)
    log = tmp_path / "log.jsonl"
    log.write_bytes(
        lines_of("x" * 990, a_conversation(), "x" * 5000, a_conversation()) + b"y" * 1001
    )
    assert [row.source_line for row in read_all(log)[0]] == [2, 4]
    assert reasons_of(log) == [(1, "bad_json"), (3, "line_too_long"), (5, "line_too_long")]


@given(
    lines=st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=12),
    size=st.integers(1, 9),
)
def test_lines_do_not_depend_on_how_the_file_is_cut_into_chunks(
    lines: list[bytes], size: int
) -> None:
    data = b"\n".join(lines)
    expected = data.split(b"\n") if not data.endswith(b"\n") else data[:-1].split(b"\n")
    assert list(readers._lines(data[i : i + size] for i in range(0, len(data), size))) == (
        expected if data else []
    )


def compressed(ending: str, data: bytes) -> bytes:
    return gzip.compress(data) if ending == ".gz" else zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_compressed_logs_of_several_parts_give_the_same_rows(ending: str, tmp_path: Path) -> None:
    log = tmp_path / f"log.jsonl{ending}"
    log.write_bytes(
        compressed(ending, lines_of(a_conversation()))
        + compressed(ending, lines_of(a_conversation(), a_conversation()))
    )
    rows, unreadable = read_all(log)
    assert [row.source_line for row in rows] == [1, 2, 3]
    assert unreadable == []


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "garbled"])
def test_rows_before_the_damage_in_an_archive_are_kept_and_the_rest_is_one_unreadable_row(
    ending: str, damage: str, tmp_path: Path
) -> None:
    first, second = (
        compressed(
            ending, lines_of(*(a_conversation(conversation_id=f"{part}-{i}") for i in range(200)))
        )
        for part in "ab"
    )
    broken = second[: len(second) // 2] if damage == "cut" else b"no archive"
    log = tmp_path / f"log.jsonl{ending}"
    log.write_bytes(first + broken)
    rows, unreadable = read_all(log)
    assert 200 <= len(rows) < 400
    assert [(row.source_line, row.reason) for row in unreadable] == [
        (len(rows) + 1, "corrupt_archive")
    ]


def test_parquet_reads_nested_columns_and_json_text_alike(tmp_path: Path) -> None:
    rows = [
        a_conversation(
            conversation_id=f"c{i}",
            messages=[{"role": "user", "content": "q", "name": None if i else "x"}],
            labels={"good": True},
            tools=[TOOL],
        )
        for i in range(7)
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "nested.parquet", row_group_size=3)
    as_text = [
        {
            key: canonical_json(value) if isinstance(value, list | dict) else value
            for key, value in row.items()
        }
        for row in rows
    ]
    pl.DataFrame(as_text).with_columns(
        pl.col("started_at").str.to_datetime(time_zone="UTC")
    ).write_parquet(tmp_path / "text.parquet")
    (tmp_path / "log.jsonl").write_bytes(lines_of(*rows))
    nested, text, jsonl = (
        read_all(tmp_path / name, batch_rows=2)
        for name in ("nested.parquet", "text.parquet", "log.jsonl")
    )
    assert nested == text == jsonl
    assert len(nested[0]) == 7


def test_a_damaged_parquet_file_is_one_unreadable_row(tmp_path: Path) -> None:
    log = tmp_path / "log.parquet"
    log.write_bytes(b"PAR1 and then something else")
    assert reasons_of(log) == [(1, "corrupt_archive")]


def test_parquet_rows_with_bad_content_are_set_aside_one_by_one(tmp_path: Path) -> None:
    log = tmp_path / "log.parquet"
    pl.DataFrame(
        [
            a_conversation(messages=text, metadata=...)
            for text in ("[]", "{", None, '[{"role": "user", "content": "q"}]')
        ]
    ).write_parquet(log)
    assert reasons_of(log) == [(1, "empty_messages"), (2, "bad_json"), (3, "missing_field")]


@given(batch_rows=st.integers(1, 12))
def test_batches_hold_every_row_once_whatever_their_size(
    batch_rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("log") / "log.jsonl"
    log.write_bytes(
        lines_of(*(a_conversation(conversation_id=f"c{i}") if i % 3 else "{" for i in range(10)))
    )
    batches = list(read(CONVERSATIONS, log, batch_rows=batch_rows))
    assert all(len(batch) <= batch_rows for batch in batches)
    assert sorted(
        row.source_line for batch in batches for row in [*batch.rows, *batch.unreadable]
    ) == list(range(1, 11))


def test_long_rows_end_a_batch_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BATCH_BYTES", 500)
    log = tmp_path / "log.jsonl"
    log.write_bytes(lines_of(*[a_conversation()] * 6))
    assert max(len(batch) for batch in read(CONVERSATIONS, log)) < 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    "role content tool_calls tool_call_id name refusal type text function parameters".split()
)


@given(
    row=st.fixed_dictionaries({}, optional=dict.fromkeys(a_conversation(), JSON))
    | st.lists(st.dictionaries(KEYS, JSON)).map(lambda ms: a_conversation(messages=ms))
    | st.lists(st.dictionaries(KEYS, JSON | st.just("function"))).map(
        lambda tools: a_conversation(tools=tools)
    )
    | JSON
)
def test_any_json_gives_a_row_or_a_reason_and_never_another_error(row: object) -> None:
    try:
        read_row = conversation(row, 1)
    except UnreadableError:
        return
    assert isinstance(read_row, LogRow)


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": "u2"},
        {"model_version": "v2"},
        {"started_at": "2024-05-02"},
        {"messages": [{"role": "user", "content": "x"}]},
        {"metadata": {}},
        {"labels": {"a": 1}},
        {"tools": [TOOL]},
    ],
)
def test_the_content_hash_tells_a_changed_conversation_from_a_repeated_one(
    change: dict[str, Any],
) -> None:
    repeated = conversation(
        a_conversation(conversation_id="other", metadata={"surface": "web", "absent": None}), 9
    )
    assert repeated.content_hash == conversation(a_conversation(), 1).content_hash
    assert conversation(a_conversation(**change), 1).content_hash != repeated.content_hash


def test_files_are_found_from_the_home_sorted_and_only_files(tmp_path: Path) -> None:
    home = tmp_path / "home [1]"
    (home / "logs" / "dir.jsonl").mkdir(parents=True)
    for name in ("b.jsonl", "a.jsonl", "c.csv"):
        (home / "logs" / name).touch()
    expected = [home / "logs" / "a.jsonl", home / "logs" / "b.jsonl"]
    assert (
        source_files(ConversationsSource(reader="conversations", path="logs/*.jsonl"), home)
        == expected
    )
    assert (
        source_files(
            ConversationsSource(
                reader="conversations", path=str(tmp_path / "*" / "logs" / "a.jsonl")
            ),
            home,
        )
        == expected[:1]
    )
    assert [
        file.resolve()
        for file in source_files(
            ConversationsSource(reader="conversations", path="../*/**/*.jsonl"), home
        )
    ] == expected


def test_a_pattern_without_a_file_and_a_file_without_a_reader_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r'"logs/\*\.jsonl"') as error:
        source_files(ConversationsSource(reader="conversations", path="logs/*.jsonl"), tmp_path)
    assert str(tmp_path) in str(error.value)
    (tmp_path / "log.xlsx").touch()
    with pytest.raises(
        BadInputError, match=r"log\.xlsx: reader conversations knows the endings \.jsonl"
    ):
        source_files(ConversationsSource(reader="conversations", path="*"), tmp_path)
    with pytest.raises(BadInputError, match="cannot be opened"):
        list(read(CONVERSATIONS, tmp_path / "gone.jsonl"))
    with pytest.raises(BadInputError, match="cannot be opened"):
        list(read(CONVERSATIONS, tmp_path / "gone.parquet"))


def test_the_fingerprint_changes_with_the_content_and_with_nothing_else(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"x" * 100)
    b.write_bytes(b"x" * 100)
    assert file_fingerprint(a) == file_fingerprint(b)
    b.write_bytes(b"x" * 50 + b"y" + b"x" * 49)
    assert file_fingerprint(a) != file_fingerprint(b)


@pytest.mark.parametrize(
    ("form", "good"),
    [
        ("epoch_s", (1714557600, 1714557600.5, "1714557600")),
        ("epoch_ms", (1714557600000, "1714557600000", 1714557600999.9)),
    ],
)
def test_times_are_numbers_where_the_source_says_so(form: str, good: tuple[object, ...]) -> None:
    for value in good:
        assert utc(value, form).replace(microsecond=0) == datetime(2024, 5, 1, 10, tzinfo=UTC)
    bad: tuple[object, ...] = (True, "soon", "nan", 10**400, -1, 0, [1], "2024-05-01T10:00:00Z")
    for value in (*bad, *((1714557600,) if form == "epoch_ms" else (1714557600000,))):
        with pytest.raises(UnreadableError, match="bad_time"):
            utc(value, form)
    assert utc(datetime(2024, 5, 1), form) == datetime(2024, 5, 1, tzinfo=UTC)


def test_a_function_call_of_before_there_were_tools_is_a_tool_call() -> None:
    function = {"name": "look_up", "arguments": '{"q": 1}'}
    row = a_conversation(
        messages=[
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": None, "function_call": function},
            {"role": "function", "name": "look_up", "content": "found"},
            {"role": "assistant", "content": "again", "function_call": function, "tool_calls": []},
            {"role": "function", "name": "look_up", "content": "found more"},
            {"role": "assistant", "content": "Here.", "function_call": None},
        ]
    )
    found = conversation(row, 1).messages
    calls = [found[i]["tool_calls"][0] for i in (1, 3)]
    assert [call["function"] for call in calls] == [function, function]
    assert [found[i]["tool_call_id"] for i in (2, 4)] == [call["id"] for call in calls]
    assert calls[0]["id"] != calls[1]["id"]
    assert found[2] == {
        "role": "tool",
        "name": "look_up",
        "content": "found",
        "tool_call_id": calls[0]["id"],
    }
    assert found[5] == {"role": "assistant", "content": "Here."}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "function", "name": "look_up", "content": "found"},  # of no call
        {"role": "assistant", "content": "x", "function_call": "auto"},
        {"role": "assistant", "content": "x", "function_call": {"name": "f"}},
        {"role": "user", "content": "x", "function_call": {"name": "f", "arguments": "{}"}},
        {
            "role": "assistant",
            "content": "x",
            "function_call": {"name": "f", "arguments": "{}"},
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
    ],
)
def test_a_function_call_that_cannot_be_read_is_quarantined_and_never_left_out(
    message: dict[str, Any],
) -> None:
    with pytest.raises(UnreadableError, match="bad_tool_call"):
        conversation(a_conversation(messages=[message]), 1)


def test_tools_are_read_in_the_form_of_either_api_and_a_row_without_them_has_none() -> None:
    flat = {"type": "function", "server_url": "x", "description": None, **TOOL["function"]}
    for form in (TOOL, flat, {**TOOL, "cache_control": {}}):
        assert conversation(a_conversation(tools=[form]), 1).tools == [TOOL]
    other = ConversationsSource(reader="conversations", path="", keys={"tools": "functions"})
    assert conversation(a_conversation(functions=[flat]), 1, other).tools == [TOOL]
    plain = conversation(a_conversation(), 1)
    for none in (None, []):
        same = conversation(a_conversation(tools=none), 1)
        assert (same.tools, same.content_hash) == (None, plain.content_hash)


def test_the_hash_of_a_row_without_tools_is_that_of_before_they_were_read() -> None:
    assert conversation(a_conversation(), 1).content_hash == (
        "d2bdb97c5c2bb120f0045c29f65954ecb21a6b5adb81d59c6ca72ef29c76c16b"
    )


def test_a_hosted_tool_is_named_with_its_index_type_and_version() -> None:
    with pytest.raises(UnreadableError) as error:
        conversation(a_conversation(tools=[TOOL, {"type": "mcp", "server_url": "x"}]), 1)
    assert (error.value.field, error.value.version) == ("tools[1] mcp", "v1")
