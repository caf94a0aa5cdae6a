import json
import zipfile
import zlib
from pathlib import Path

import pytest
import zstandard

from sim_platform.contracts.errors import BadInputError
from sim_platform.replay.imports import (
    IMPORTED,
    ZIP_ZSTANDARD,
    Line,
    custom_id,
    imported,
    read_completions,
)
from sim_platform.replay.requests import Request

REQUEST = Request("candidate", "p1", 0, {"model": "m", "messages": []}, "hash")
ANSWER = {
    "id": "chatcmpl-1",
    "model": "m-2026",
    "choices": [{"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9},
}


def read(path: Path, *lines: object, name: str = "answers.jsonl") -> list[Line | tuple[int, str]]:
    file = path / name
    file.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    return list(read_completions(file))


def test_batch_output_names_its_request_by_custom_id_and_keeps_what_the_provider_said(
    tmp_path: Path,
) -> None:
    (line,) = read(
        tmp_path,
        {
            "custom_id": custom_id(REQUEST),
            "response": {"status_code": 200, "body": ANSWER},
            "error": None,
        },
    )
    assert isinstance(line, Line)
    assert (line.arm, line.prefix_id, line.k) == ("candidate", "p1", 0)
    done = imported(line, REQUEST)
    assert not isinstance(done, str)
    assert (
        done.text,
        done.served_model,
        done.prompt_tokens,
        done.provider_request_id,
        done.request_hash,
    ) == ("Hello.", "m-2026", 9, "chatcmpl-1", "hash")
    assert (done.reused_from, done.attempts, done.cost_usd) == (IMPORTED, 0, 0.0)


def test_plain_lines_hold_a_text(tmp_path: Path) -> None:
    first, second = read(
        tmp_path, {"prefix_id": "p1", "text": "Hello."}, {"id": "p1", "k": 2, "text": "Again."}
    )
    assert first == Line(1, "p1", 0, None, "Hello.")
    assert second == Line(2, "p1", 2, None, "Again.")
    assert isinstance(first, Line)
    done = imported(first, REQUEST)
    assert not isinstance(done, str)
    assert (done.status, done.text) == ("completed", "Hello.")


def test_an_inspect_log_gives_a_line_a_sample_and_epoch(tmp_path: Path) -> None:
    output = {
        "model": "m",
        "choices": [
            {"message": {"role": "assistant", "content": "Cut o"}, "stop_reason": "max_tokens"}
        ],
        "usage": {"input_tokens": 4, "output_tokens": 5},
    }
    log = {
        "eval": {"task": "replay"},
        "samples": [
            {"id": "p1", "epoch": 1, "output": output},
            {"id": "p1", "epoch": 2, "output": None},
        ],
    }
    first, second = read(tmp_path, log, name="log.json")
    assert second == (2, "no_completion")
    assert isinstance(first, Line)
    done = imported(first, REQUEST)
    assert not isinstance(done, str)
    expected = ("truncated", "Cut o", 4, 5)
    assert (done.status, done.text, done.prompt_tokens, done.completion_tokens) == expected


TOLD = [
    {"type": "reasoning", "reasoning": "two and two"},
    {"type": "text", "text": "Four."},
    {"type": "reasoning", "reasoning": "gAAA", "redacted": True},
]
CALL = {"id": "c1", "type": "function", "function": "look_up", "arguments": {"q": "4"}}
SAMPLES = [
    {
        "id": "p1",
        "epoch": 1,
        "output": {
            "model": "m",
            "choices": [{"message": {"role": "assistant", "content": TOLD}, "stop_reason": "stop"}],
        },
    },
    {
        "id": "p1",
        "epoch": 2,
        "output": {
            "choices": [
                {
                    "message": {"role": "assistant", "content": "", "tool_calls": [CALL]},
                    "stop_reason": "tool_calls",
                }
            ]
        },
    },
    {"id": "p2", "epoch": 1, "error": {"message": "m"}, "output": {"model": "m", "choices": []}},
]


def archive(path: Path, *samples: object, method: int) -> Path:
    """A binary log. What Python's zipfile cannot pack is stored, and called packed in the
    directory at the end.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as log:
        log.writestr("header.json", "{}")
        for n, sample in enumerate(samples):
            content = sample.encode() if isinstance(sample, str) else json.dumps(sample).encode()
            is_known = method == zipfile.ZIP_DEFLATED
            log.writestr(
                f"samples/{n}_epoch_1.json",
                content if is_known else zstandard.compress(content),
                None if is_known else zipfile.ZIP_STORED,
            )
            if not is_known:
                info = log.filelist[-1]
                info.compress_type, info.CRC, info.file_size = (
                    method,
                    zlib.crc32(content),
                    len(content),
                )
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, ZIP_ZSTANDARD])
def test_a_binary_inspect_log_gives_the_same_lines_as_one_in_json(
    method: int, tmp_path: Path
) -> None:
    lines = list(read_completions(archive(tmp_path / "log.eval", *SAMPLES, "{", method=method)))
    assert lines == [*read(tmp_path, {"samples": SAMPLES}, name="log.json"), (4, "not_json")]
    first, second, third = (imported(line, REQUEST) for line in lines[:3] if isinstance(line, Line))
    assert not isinstance(first, str)
    assert (first.text, first.reasoning, first.served_model) == ("Four.", "two and two", "m")
    assert not isinstance(second, str)
    assert (second.text, second.tool_calls) == (
        None,
        [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "look_up", "arguments": '{"q": "4"}'},
            }
        ],
    )
    assert third == "invalid_response"


@pytest.mark.parametrize("damage", ["packed otherwise", "torn", "changed"])
def test_a_binary_log_that_cannot_be_unpacked_names_the_way_out(
    damage: str, tmp_path: Path
) -> None:
    log = archive(
        tmp_path / "log.eval",
        *SAMPLES,
        method=99 if damage == "packed otherwise" else ZIP_ZSTANDARD,
    )
    content = log.read_bytes()
    if damage == "torn":
        log.write_bytes(content[: len(content) // 2])
    if damage == "changed":
        packed = zstandard.compress(json.dumps(SAMPLES[0]).encode())
        log.write_bytes(
            content.replace(packed, zstandard.compress(b"x" * 9).ljust(len(packed), b"\0"))
        )
    with pytest.raises(BadInputError, match="inspect log convert --to json"):
        list(read_completions(log))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not_json"),
        ("[1]", "not_json"),
        ({"text": "x"}, "no_id"),
        ({"prefix_id": "p1", "k": "0", "text": "x"}, "no_id"),
        ({"custom_id": "candidate.p1.x", "response": {"body": ANSWER}}, "no_id"),
        ({"prefix_id": "p1"}, "no_completion"),
        (
            {"custom_id": "candidate.p1.0", "response": {"status_code": 500, "body": {}}},
            "error_of_the_provider",
        ),
        (
            {"custom_id": "candidate.p1.0", "response": None, "error": {"code": "batch_expired"}},
            "error_of_the_provider",
        ),
    ],
)
def test_a_line_that_is_of_no_use_is_counted_with_its_reason(
    tmp_path: Path, line: object, reason: str
) -> None:
    assert read(tmp_path, line, "", {"prefix_id": "p1", "text": "x"}) == [
        (1, reason),
        Line(3, "p1", 0, None, "x"),
    ]


def test_a_response_that_holds_no_completion_is_no_outcome() -> None:
    assert imported(Line(1, "p1", 0, None, {"object": "list"}), REQUEST) == "invalid_response"
    assert imported(Line(1, "p1", 0, None, ""), REQUEST) == "no_completion"


def test_a_file_that_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        list(read_completions(tmp_path / "nothing.jsonl"))
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "caf\xe9"}')
    with pytest.raises(BadInputError, match="UTF-8"):
        list(read_completions(tmp_path / "latin.jsonl"))
