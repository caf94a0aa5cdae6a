import csv
import gzip
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sim_platform.contracts.errors import BadInputError
from sim_platform.extraction import readers
from sim_platform.extraction.readers import read
from sim_platform.registry.sources import TableSource
from sim_platform_tests.extraction.written import TABLE, read_all, reasons_of

COLUMNS = ["set", "n", "q", "a", "m", "t", "lang", "ok"]
ROW = ["math", "1", "2 + 2?", "4", "v1", "2024-05-01T10:00:00Z", "en", "1"]


def table(**changes: Any) -> TableSource:
    return TABLE.model_copy(update=changes)


def write_csv(path: Path, *rows: list[str], header: list[str] = COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_a_row_is_a_conversation_of_one_prompt_and_one_response(tmp_path: Path) -> None:
    rows, unreadable = read_all(
        write_csv(tmp_path / "t.csv", ROW),
        table(model_versions={"v1": "gpt-1"}, constants={"surface": "api", "lang": "xx"}),
    )
    assert unreadable == []
    row = rows[0]
    expected = (1, "math/1/gpt-1", "math/1/gpt-1", "gpt-1")
    assert (row.source_line, row.conversation_id, row.user_id, row.model_version) == expected
    assert row.started_at == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert row.messages == [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4"},
    ]
    assert row.metadata == {"surface": "api", "lang": "en"}
    assert row.labels == {"ok": "1"}


def test_an_unmapped_model_passes_as_it_is_and_a_user_column_is_used(tmp_path: Path) -> None:
    rows, _ = read_all(
        write_csv(tmp_path / "t.csv", ROW),
        table(user="lang", id="n", model_versions={"other": "x"}),
    )
    assert (rows[0].conversation_id, rows[0].user_id, rows[0].model_version) == ("1/v1", "en", "v1")


def test_quoted_newlines_empty_fields_and_gzip_are_read(tmp_path: Path) -> None:
    plain = write_csv(
        tmp_path / "t.csv",
        ["math", "1", 'two\r\nlines, "quoted"\n', "", "v1", "2024-05-01", "", ""],
        ROW,
    )
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + plain.read_bytes()))
    rows, unreadable = read_all(plain, TABLE)
    assert unreadable == []
    assert [row.source_line for row in rows] == [1, 2]
    assert rows[0].messages == [
        {"role": "user", "content": 'two\r\nlines, "quoted"\n'},
        {"role": "assistant", "content": ""},
    ]
    assert rows[0].metadata == rows[0].labels == {}
    assert read_all(packed, TABLE) == (rows, [])


def test_a_configured_time_format_is_read_as_utc(tmp_path: Path) -> None:
    log = write_csv(tmp_path / "t.csv", [*ROW[:5], "07/02/2023, 21:26:27", *ROW[6:]], ROW)
    rows, unreadable = read_all(log, table(timestamp_format="%m/%d/%Y, %H:%M:%S"))
    assert rows[0].started_at == datetime(2023, 7, 2, 21, 26, 27, tzinfo=UTC)
    assert [(row.source_line, row.reason) for row in unreadable] == [(2, "bad_time")]


def test_rows_that_cannot_be_read_are_set_aside_one_by_one(tmp_path: Path) -> None:
    log = write_csv(
        tmp_path / "t.csv",
        ROW[:-1],
        [*ROW, "more"],
        ["math", "", *ROW[2:]],
        ["math", "1", "", *ROW[3:]],
        [*ROW[:5], "soon", *ROW[6:]],
        ["math", "1", "h\u00e9", *ROW[3:]],
        ROW,
    )
    log.write_bytes(log.read_bytes().replace("h\u00e9".encode(), b"h\xe9"))
    assert reasons_of(log, TABLE) == [
        (1, "bad_field_count"),
        (2, "bad_field_count"),
        (3, "missing_field"),
        (4, "missing_field"),
        (5, "bad_time"),
        (6, "bad_encoding"),
    ]
    assert [row.source_line for row in read_all(log, TABLE)[0]] == [7]


def test_a_bare_carriage_return_is_a_named_mistake_in_the_header_and_a_counted_row_below_it(
    tmp_path: Path,
) -> None:
    log = write_csv(tmp_path / "t.csv", ROW, ROW, ROW)
    lines = log.read_bytes().splitlines()
    log.write_bytes(b"\n".join([lines[0], lines[1].replace(b",", b"\r,", 1), *lines[2:]]))
    assert reasons_of(log, TABLE) == [(1, "bad_field_count")]
    assert [row.source_line for row in read_all(log, TABLE)[0]] == [2, 3]
    log.write_bytes(b"\r".join(lines))
    with pytest.raises(BadInputError, match=r"t\.csv: .*bare carriage return"):
        read_all(log, TABLE)


def test_a_panic_inside_of_polars_is_the_rest_of_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A panic is no Exception: nothing else would catch it."""

    def panics(*_: object, **__: object) -> None:
        raise pl.exceptions.PanicException("called `Result::unwrap()` on ...")

    monkeypatch.setattr(pl, "scan_parquet", panics)
    assert reasons_of(tmp_path / "t.parquet", TABLE) == [(1, "corrupt_archive")]


def test_a_line_over_the_limit_is_one_unreadable_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_LINE_BYTES", 200)
    log = write_csv(tmp_path / "t.csv", ROW, ["math", "2", "q" * 300, *ROW[3:]], ROW)
    assert [row.source_line for row in read_all(log, TABLE)[0]] == [1, 3]
    assert reasons_of(log, TABLE) == [(2, "line_too_long")]


def test_a_quote_that_is_never_closed_ends_at_the_limit_and_not_with_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_LINE_BYTES", 200_000)
    log = write_csv(tmp_path / "t.csv", ROW)
    log.write_bytes(log.read_bytes() + b'math,2,"open\n' + b"text without a quote\n" * 20_000)
    limit = csv.field_size_limit(200_000)
    try:
        rows, unreadable = read_all(log, TABLE)
    finally:
        csv.field_size_limit(limit)
    assert len(rows) == 1
    assert (unreadable[0].source_line, unreadable[0].reason) == (2, "line_too_long")


def test_a_truncated_archive_keeps_the_rows_before_it(tmp_path: Path) -> None:
    plain = write_csv(tmp_path / "t.csv", *[[*ROW[:1], str(i), *ROW[2:]] for i in range(3000)])
    log = tmp_path / "t.csv.gz"
    packed = gzip.compress(plain.read_bytes())
    log.write_bytes(packed[: len(packed) // 2])
    rows, unreadable = read_all(log, TABLE)
    assert 0 < len(rows) < 3000
    assert unreadable[-1].reason == "corrupt_archive"
    assert unreadable[-1].source_line == len(rows) + len(unreadable)


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"")
    assert (
        list(read(TABLE, tmp_path / "t.csv"))
        == list(read(TABLE, write_csv(tmp_path / "h.csv")))
        == []
    )


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_that_is_not_there_is_named_with_the_columns_that_are(
    ending: str, tmp_path: Path
) -> None:
    log = write_csv(tmp_path / "t.csv", ROW)
    if ending == "parquet":
        pl.read_csv(log).write_parquet(log := tmp_path / "t.parquet")
    with pytest.raises(BadInputError) as error:
        list(read(table(prompt="question", metadata={"lang": "language"}), log))
    for part in (
        str(log),
        'prompt: "question"',
        'metadata.lang: "language"',
        "set, n, q, a, m, t, lang, ok",
    ):
        assert part in str(error.value)


def test_parquet_keeps_typed_metadata_and_reads_typed_ids_and_times(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "set": ["math"] * 3,
            "n": [1, 2, 3],
            "q": ["x"] * 3,
            "a": ["y", "", None],
            "m": ["v1"] * 3,
            "t": [date(2024, 5, 1)] * 3,
            "lang": ["en", "", None],
            "ok": [True, False, None],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    rows, unreadable = read_all(tmp_path / "t.parquet", TABLE, batch_rows=1)
    assert [(row.conversation_id, row.metadata, row.labels) for row in rows] == [
        ("math/1/v1", {"lang": "en"}, {"ok": True}),
        ("math/2/v1", {}, {"ok": False}),
    ]
    assert rows[0].started_at == datetime(2024, 5, 1, tzinfo=UTC)
    assert [(row.source_line, row.reason) for row in unreadable] == [(3, "missing_field")]
