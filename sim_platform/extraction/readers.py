"""Log files as batches of rows, streaming: a file is never loaded whole.

Belongs here: finding files, decompressing, splitting into rows, the two formats `conversations` and
`table`. Does not: what a conversation must look like (conversation), what is kept (rules, consent).

A row that cannot be read becomes an UnreadableRow with a reason code and never stops the run; only
a mistake in the configuration (no file, a column that is not there) raises.
"""

import csv
import glob
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from io import BufferedReader
from pathlib import Path

import polars as pl
import zstandard

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import JsonScalar, Message
from sim_platform.extraction.conversation import conversation, identifier, log_row, scalars, utc
from sim_platform.extraction.rows import (
    BAD_ENCODING,
    BAD_FIELD_COUNT,
    BAD_FIELD_TYPE,
    BAD_JSON,
    CORRUPT_ARCHIVE,
    LINE_TOO_LONG,
    MISSING_FIELD,
    TOO_DEEP,
    LogRow,
    ReadBatch,
    UnreadableError,
    UnreadableRow,
)
from sim_platform.registry.sources import ConversationsSource, RowKey, Source, TableSource

MAX_LINE_BYTES = 64 * 2**20
BATCH_BYTES = 32 * 2**20  # a batch also ends here, so that long conversations do not add up
CHUNK_BYTES = 2**20
# of compressed input: zstd has no limit on the output of one step, and at most about 128 MiB come
# out of this
ZSTD_CHUNK_BYTES = 4096
FORMATS = {
    "conversations": (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"),
    "table": (".csv", ".csv.gz", ".csv.zst", ".parquet"),
}
# stands for a CSV line that was too long; cannot come from a file,
# whose bad bytes are decoded to \udc80-\udcff
TOO_LONG_MARK = "\ud800"

NESTED: tuple[RowKey, ...] = ("messages", "tools", "metadata", "labels")

Item = tuple[LogRow | UnreadableRow, int]  # a row and its size in bytes of the file (0 = not known)
Columns = Mapping[str, object]


def source_files(source: Source, home: Path) -> list[Path]:
    """Files that the source's glob finds, sorted. Relative patterns start at the home folder (`..`
    allowed), absolute ones stand for themselves.

    Raises:
        BadInputError: nothing found, or a file whose ending no reader knows; names
            pattern and home.
    """
    files = sorted(
        home / name
        for name in glob.glob(source.path, root_dir=home, recursive=True)
        if (home / name).is_file()
    )
    if not files:
        raise BadInputError(
            f'sources.yaml: path: no file matches "{source.path}" (relative paths start at {home}).'
            " Put the log there or correct the path."
        )
    for file in files:
        _check_format(source, file)
    return files


def file_fingerprint(path: Path) -> str:
    """Hex SHA-256 of the file's content, streamed: the same for the same bytes, whatever the
    name and the time.
    """
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(source: Source, path: Path, *, batch_rows: int = 2000) -> Iterator[ReadBatch]:
    """Rows of one file in its order, in batches of at most `batch_rows` rows (fewer where rows are
    long). Blank lines are not rows.

    Args:
        source: how to read the file.
        path: the file; .gz and .zst are decompressed on the way.
        batch_rows: largest number of rows in a batch, at least 1.

    Raises:
        BadInputError: the file cannot be opened or has an unknown ending, or a configured column is
            not in it; names file and columns.
    """
    _check_format(source, path)
    parquet = path.name.lower().endswith(".parquet")
    if isinstance(source, ConversationsSource):
        items = (
            _parquet(path, batch_rows, partial(_parquet_conversation, source))
            if parquet
            else _jsonl(path, source)
        )
    else:
        needed = _needed_columns(source)
        items = (
            _parquet(path, batch_rows, partial(_prompt_and_response, source), needed)
            if parquet
            else _csv(path, source, needed)
        )
    return _batches(items, batch_rows)


def _check_format(source: Source, path: Path) -> None:
    endings = FORMATS[source.reader]
    if not path.name.lower().endswith(endings):
        raise BadInputError(
            f"{path}: reader {source.reader} knows the endings {', '.join(endings)}. Rename or"
            " convert the file, or narrow the path in sources.yaml."
        )


def _batches(items: Iterator[Item], batch_rows: int) -> Iterator[ReadBatch]:
    batch, size = ReadBatch([], []), 0
    for row, n_bytes in items:
        if isinstance(row, LogRow):
            batch.rows.append(row)
        else:
            batch.unreadable.append(row)
        size += n_bytes
        if len(batch) >= batch_rows or size >= BATCH_BYTES:
            yield batch
            batch, size = ReadBatch([], []), 0
    if len(batch):
        yield batch


def _attempt(line: int, parse: Callable[[], LogRow]) -> LogRow | UnreadableRow:
    try:
        return parse()
    except UnreadableError as error:
        return UnreadableRow(line, error.reason, error.field, error.version)


# Bytes and lines


def _open(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise BadInputError(
            f"{path}: cannot be opened ({type(error).__name__}). Check that the file is there and"
            " that this user may read it."
        ) from None


def _chunks(path: Path) -> Iterator[bytes]:
    """Decompressed bytes of a file, piece by piece; UnreadableError(corrupt_archive) after the last
    good piece of a damaged archive.
    """
    name = path.name.lower()
    with _open(path) as file:
        if name.endswith(".gz"):
            yield from _gunzipped(file)
        elif name.endswith(".zst"):
            yield from _unzstded(file)
        else:
            yield from iter(partial(file.read, CHUNK_BYTES), b"")


def _gunzipped(file: BufferedReader) -> Iterator[bytes]:
    try:
        with gzip.open(file) as archive:
            # read1, not read: it hands out what came before the damage
            yield from iter(partial(archive.read1, CHUNK_BYTES), b"")
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise UnreadableError(CORRUPT_ARCHIVE) from None


def _unzstded(file: BufferedReader) -> Iterator[bytes]:
    """Frames one after the other. zstandard's own stream reader takes a file that ends early for a
    whole one; here it does not pass.
    """
    decompressor, frame = zstandard.ZstdDecompressor(), None
    try:
        while chunk := file.read(ZSTD_CHUNK_BYTES):
            while chunk:
                frame = frame or decompressor.decompressobj()
                yield frame.decompress(chunk)
                chunk, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    except zstandard.ZstdError:
        raise UnreadableError(CORRUPT_ARCHIVE) from None
    if frame is not None:
        raise UnreadableError(CORRUPT_ARCHIVE)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Lines without their newline; None for a line of more than MAX_LINE_BYTES, which is passed
    over without being kept.
    """
    pending, too_long = bytearray(), False
    for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            pending += end
            yield None if too_long or len(pending) > MAX_LINE_BYTES else bytes(pending)
            pending, too_long = bytearray(), False
        pending += rest
        if len(pending) > MAX_LINE_BYTES:
            pending, too_long = bytearray(), True
    if pending or too_long:
        yield None if too_long else bytes(pending)


# Reader `conversations`


def _jsonl(path: Path, source: ConversationsSource) -> Iterator[Item]:
    number = 0
    try:
        for number, line in enumerate(_lines(_chunks(path)), start=1):
            if line is None:
                yield UnreadableRow(number, LINE_TOO_LONG), 0
            elif line.strip():
                yield _attempt(number, partial(_json_conversation, source, line, number)), len(line)
    except UnreadableError as error:
        yield UnreadableRow(number + 1, error.reason), 0


def _json_conversation(source: ConversationsSource, line: bytes, number: int) -> LogRow:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise UnreadableError(BAD_ENCODING) from None
    return conversation(_parsed(text), number, source)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        raise UnreadableError(TOO_DEEP) from None
    except ValueError:
        raise UnreadableError(BAD_JSON) from None


def _parquet_conversation(source: ConversationsSource, columns: Columns, number: int) -> LogRow:
    """messages, metadata and labels are nested columns or JSON text."""
    as_json = {
        name: _parsed(value)
        for key in NESTED
        if isinstance(value := columns.get(name := source.keys.get(key, key)), str)
    }
    return conversation({**columns, **as_json}, number, source)


def _parquet(
    path: Path,
    batch_rows: int,
    parse: Callable[[Columns, int], LogRow],
    needed: Mapping[str, str] | None = None,
) -> Iterator[Item]:
    number = 0
    try:
        table = pl.scan_parquet(path, glob=False)
        if needed is not None:
            _check_columns(path, table.collect_schema().names(), needed)
            table = table.select(list(dict.fromkeys(needed.values())))
        for frame in table.collect_batches(chunk_size=batch_rows):
            for columns in frame.iter_rows(named=True):
                number += 1
                yield _attempt(number, partial(parse, columns, number)), 0
    except FileNotFoundError:
        raise BadInputError(
            f"{path}: cannot be opened (FileNotFoundError). Check that the file is there."
        ) from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):  # a panic is no Exception
        yield UnreadableRow(number + 1, CORRUPT_ARCHIVE), 0


# Reader `table`


def _needed_columns(source: TableSource) -> dict[str, str]:
    """Key in sources.yaml -> column in the file."""
    ids = (
        {"id": source.id}
        if isinstance(source.id, str)
        else {f"id[{i}]": column for i, column in enumerate(source.id)}
    )
    fixed = {
        "prompt": source.prompt,
        "response": source.response,
        "model": source.model,
        "timestamp": source.timestamp,
    }
    user = {} if source.user is None else {"user": source.user}
    named = {
        f"{kind}.{key}": column
        for kind, columns in (("metadata", source.metadata), ("labels", source.labels))
        for key, column in columns.items()
    }
    return {**ids, **fixed, **user, **named}


def _check_columns(path: Path, available: list[str], needed: Mapping[str, str]) -> None:
    missing = [f'{key}: "{column}"' for key, column in needed.items() if column not in available]
    if missing:
        raise BadInputError(
            f"{path}: sources.yaml names columns that the file does not have"
            f" ({', '.join(missing)}). Its columns are: {', '.join(available)}."
        )


def _csv(path: Path, source: TableSource, needed: Mapping[str, str]) -> Iterator[Item]:
    # the module's default of 128 KiB is shorter than a long answer
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    rows = csv.reader(_text_lines(path))
    number = 0
    try:
        try:
            header = next(rows, None)
        except csv.Error:
            raise BadInputError(
                f"{path}: its first line is no CSV header: it is too long, or its lines end in a"
                " bare carriage return. Write the file again with line ends \\n or \\r\\n."
            ) from None
        if header is None:
            return
        _check_columns(path, header, needed)
        while True:
            try:
                fields = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                # a field longer than the limit, most likely after a quote that is never closed; or
                # a carriage return outside of quotes that ends no line
                number += 1
                too_long = "limit" in str(error)
                yield UnreadableRow(number, LINE_TOO_LONG if too_long else BAD_FIELD_COUNT), 0
                continue
            if fields:
                number += 1
                yield (
                    _attempt(number, partial(_csv_row, source, header, fields, number)),
                    sum(map(len, fields)),
                )
    except UnreadableError as error:
        yield UnreadableRow(number + 1, error.reason), 0


def _text_lines(path: Path) -> Iterator[str]:
    """Lines with their newline, for the csv module. Bytes that are not UTF-8 become lone
    surrogates, which the row's encoding check then refuses.
    """
    for number, line in enumerate(_lines(_chunks(path))):
        yield (
            TOO_LONG_MARK
            if line is None
            else line.decode("utf-8-sig" if number == 0 else "utf-8", "surrogateescape")
        ) + "\n"


def _csv_row(source: TableSource, header: list[str], fields: list[str], number: int) -> LogRow:
    if any(TOO_LONG_MARK in field for field in fields):
        raise UnreadableError(LINE_TOO_LONG)
    if len(fields) != len(header):
        raise UnreadableError(BAD_FIELD_COUNT)
    return _prompt_and_response(source, dict(zip(header, fields, strict=True)), number)


def _prompt_and_response(source: TableSource, columns: Columns, number: int) -> LogRow:
    """A row of a table as a conversation of one prompt and one response, with the id
    `<id>/<version>`: one file may hold several versions' answers to a prompt.

    CSV values stay text; an empty metadata or label field is left out. An empty response
    is a response.
    """
    value = identifier(columns[source.model])
    version = source.model_versions.get(value, value)
    ids = [source.id] if isinstance(source.id, str) else source.id
    conversation_id = "/".join([*(identifier(columns[column]) for column in ids), version])
    messages: list[Message] = [
        {"role": "user", "content": _text(columns[source.prompt])},
        {"role": "assistant", "content": _text(columns[source.response], may_be_empty=True)},
    ]
    return log_row(
        number,
        conversation_id=conversation_id,
        user_id=conversation_id if source.user is None else identifier(columns[source.user]),
        model_version=version,
        started_at=utc(columns[source.timestamp], source.timestamp_format),
        messages=messages,
        metadata={**scalars(source.constants), **_chosen(source.metadata, columns)},
        labels=_chosen(source.labels, columns),
    )


def _text(value: object, *, may_be_empty: bool = False) -> str:
    if value is None or (value == "" and not may_be_empty):
        raise UnreadableError(MISSING_FIELD)
    if not isinstance(value, str):
        raise UnreadableError(BAD_FIELD_TYPE)
    return value


def _chosen(names: Mapping[str, str], columns: Columns) -> dict[str, JsonScalar]:
    return scalars(
        {name: columns[column] for name, column in names.items() if columns[column] != ""}
    )
