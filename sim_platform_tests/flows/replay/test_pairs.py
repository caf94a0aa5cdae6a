"""`tool_pairs` is what the corpus holds now: incremental, gated, and gone with the person."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sim_platform.contracts.tables.deidentification import DeidentifiedCorpus
from sim_platform.contracts.tables.replay import ToolPairs
from sim_platform.flows.deidentification import corpus as deidentification_flow
from sim_platform.flows.deidentification.corpus import deidentify_extract
from sim_platform.flows.erasure import forget
from sim_platform.flows.extraction import extract_log
from sim_platform.flows.replay.pairs import pair_calls, pairs_by_tool
from sim_platform.registry.home import load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile, GateError
from sim_platform_tests.homes import conversation, write_home
from sim_platform_tests.running import EmailDetector


@pytest.fixture(autouse=True)
def no_shadows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deidentification_flow, "SHADOWS", 0)


def agentic(n: int, tool: str = "find_user", mail: str = "zoe@private.test") -> dict[str, Any]:
    function = {"name": tool, "arguments": json.dumps({"mail": mail})}
    messages = [
        {"role": "user", "content": f"number {n}"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c", "content": f"found {mail}"},
        {"role": "assistant", "content": "done"},
    ]
    return conversation(n, messages=messages)


def prepared(home: Path, rows: list[dict[str, Any]], detector: Any = None) -> int:
    """Conversations whose calls were read in this run."""
    (home / "logs" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded, used = load_home(home), detector or EmailDetector()
    vault, warehouse = DuckDBFile(home / "vault.duckdb"), stored(home)
    extract_log(loaded, vault, warehouse, now=datetime.now(UTC), advance=lambda _: None)
    deidentify_extract(loaded, vault, warehouse, used, lambda: used, advance=lambda _: None)
    return pair_calls(warehouse, advance=lambda _: None).n_read


def stored(home: Path) -> DuckDBFile:
    return DuckDBFile(home / "warehouse.duckdb")


def test_pairs_follow_the_corpus_and_only_what_changed_is_read_again(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    rows = [agentic(i) if i < 4 else conversation(i) for i in range(8)]
    assert prepared(home, rows) == 4
    pairs, corpus = stored(home).read(ToolPairs), stored(home).read(DeidentifiedCorpus)
    assert set(pairs["deid_version"]) == set(corpus["deid_version"])
    assert set(pairs["conversation_key"]) <= set(corpus["conversation_key"])
    for row in pairs.to_dicts():
        mail = json.loads(row["arguments"])["mail"]
        assert row["result"] == f"found {mail}", "surrogates agree inside a conversation"
        assert "private" not in mail
    assert pairs_by_tool(stored(home)).rows() == [("find_user", 4, 0, 0, False)]
    assert prepared(home, rows) == 0
    rows[0], rows[1] = agentic(0, "drop_user"), conversation(1)
    assert prepared(home, rows) == 1
    assert sorted(stored(home).read(ToolPairs)["tool"]) == ["drop_user", "find_user", "find_user"]
    other = EmailDetector()
    other.version = "emails-2"
    assert prepared(home, rows, other) == 3
    assert len(stored(home).read(ToolPairs)) == 3
    assert prepared(home, rows[:1], other) == 0
    assert len(stored(home).read(ToolPairs)) == 1, "what left the extract left the pairs"


def test_no_pair_of_a_forgotten_person_survives(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    prepared(home, [agentic(i) for i in range(4)])
    done = forget(load_home(home), ["user-2"])
    assert done.survivors == []
    left = stored(home).read(ToolPairs)
    assert len(left) == 3
    assert set(left["conversation_key"]) == set(
        stored(home).read(DeidentifiedCorpus)["conversation_key"]
    )


@pytest.mark.parametrize(
    ("broken", "gate"),
    [
        ({"conversation_key": "elsewhere"}, "every_pair_stands_in_the_corpus"),
        ({"deid_version": "another"}, "every_pair_stands_in_the_corpus"),
        ({"turn": 9}, "every_pair_stands_in_the_corpus"),
        ({"position": 1}, "every_call_of_a_step_stands_once_and_in_order"),
        ({"result": None}, "every_call_of_a_step_stands_once_and_in_order"),
    ],
)
def test_a_pair_that_stands_nowhere_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any], gate: str
) -> None:
    from sim_platform.flows.replay import pairs as flow

    home = write_home(tmp_path)
    made = flow.pairs_frame

    def wrong(rows: Any) -> pl.DataFrame:
        return made(rows).with_columns(
            **{name: pl.lit(value, made(rows).schema[name]) for name, value in broken.items()}
        )

    monkeypatch.setattr(flow, "pairs_frame", wrong)
    with pytest.raises(GateError, match=gate):
        prepared(home, [agentic(0)])
    assert stored(home).read(ToolPairs).is_empty()
