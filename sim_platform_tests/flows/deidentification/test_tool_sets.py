"""The tools that conversations were offered: kept once a set, scanned once, forgotten with the last
conversation, and never one that an endpoint would run.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from sim_platform.commands.main import app
from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.tables.deidentification import DeidentifiedCorpus
from sim_platform.contracts.tables.extraction import (
    ConsentedLogExtract,
    QuarantinedRows,
    ToolSets,
)
from sim_platform.deidentification.tool_sets import identifiers_in
from sim_platform.flows.deidentification import corpus as deidentification_flow
from sim_platform.flows.deidentification.corpus import deidentify_extract
from sim_platform.flows.erasure import forget
from sim_platform.flows.extraction import extract_log
from sim_platform.registry.home import load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import conversation, write_home
from sim_platform_tests.running import EmailDetector


@pytest.fixture(autouse=True)
def no_shadows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deidentification_flow, "SHADOWS", 0)


def tool(name: str = "find", **about: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **about}}


def files(home: Path) -> tuple[DuckDBFile, DuckDBFile]:
    return DuckDBFile(home / "vault.duckdb"), DuckDBFile(home / "warehouse.duckdb")


def extracted(home: Path) -> None:
    vault, warehouse = files(home)
    extract_log(load_home(home), vault, warehouse, now=datetime.now(UTC), advance=lambda _: None)


def deidentified(home: Path) -> int:
    extracted(home)
    vault, warehouse = files(home)
    detector = EmailDetector()
    return deidentify_extract(
        load_home(home), vault, warehouse, detector, lambda: detector, advance=lambda _: None
    ).done


def log(home: Path, rows: list[dict[str, Any]]) -> None:
    (home / "logs" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_set_of_tools_stands_once_and_every_conversation_names_its_own(tmp_path: Path) -> None:
    rows = [conversation(i) for i in range(6)]
    offered = [None, [tool()], [tool(), tool("buy")]]
    home = write_home(tmp_path, rows=[{**r, "tools": offered[i % 3]} for i, r in enumerate(rows)])
    assert deidentified(home) == 6
    vault, warehouse = files(home)
    sets, corpus = warehouse.read(ToolSets), warehouse.read(DeidentifiedCorpus)
    assert sorted(map(len, map(json.loads, sets["tools"]))) == [1, 2]
    named = corpus["tool_set_hash"].value_counts().to_dicts()
    assert sorted(row["count"] for row in named) == [2, 2, 2]
    assert set(corpus["tool_set_hash"].drop_nulls()) == set(sets["tool_set_hash"])
    changed = {**rows[1], "tools": [tool("other")]}
    log(home, [rows[0], changed, *({**r, "tools": None} for r in rows[2:])])
    assert deidentified(home) == 4, "what was offered is part of what a conversation is"
    for file in (vault, warehouse):
        assert [json.loads(t) for t in file.read(ToolSets)["tools"]] == [[tool("other")]]


def test_a_home_of_before_there_were_tool_sets_goes_on_and_does_nothing_again(
    tmp_path: Path,
) -> None:
    home = write_home(tmp_path, rows=[conversation(i) for i in range(4)])
    assert deidentified(home) == 4
    vault, warehouse = files(home)
    before = warehouse.read(DeidentifiedCorpus)
    for file, tables in ((vault, ("consented_log_extract", "staged_rows")), (warehouse, ())):
        with file.transaction() as tx:
            tx.execute("drop table tool_sets")
            for table in (*tables, *(("deidentified_corpus",) if not tables else ())):
                tx.execute(f"alter table {table} drop column tool_set_hash")
    with vault.transaction() as tx:
        tx.execute("update source_files set context = 'another reading'")
    assert deidentified(home) == 0
    assert warehouse.read(DeidentifiedCorpus).equals(before)
    assert before["tool_set_hash"].is_null().all()
    assert vault.read(ConsentedLogExtract)["tool_set_hash"].is_null().all()


def test_a_set_with_a_direct_identifier_is_refused_with_set_tool_and_path_and_without_the_value(
    tmp_path: Path,
) -> None:
    schema = {"type": "object", "properties": {"to": {"description": "as in jo@quandel.de"}}}
    bad = [tool(), tool("mail", parameters=schema, description="Call 415-237-1932.")]
    rows = [{**conversation(0), "tools": bad}, conversation(1)]
    home = write_home(tmp_path, rows=rows)
    with pytest.raises(BadInputError) as error:
        deidentified(home)
    text = str(error.value)
    assert "mail: description (PHONE)" in text
    assert "mail: parameters.properties.to.description (EMAIL)" in text
    assert "quandel" not in text
    assert "415" not in text
    assert files(home)[0].read(ToolSets)["tool_set_hash"][0] in text
    _, warehouse = files(home)
    assert warehouse.read(ToolSets).is_empty()
    assert warehouse.read(DeidentifiedCorpus).is_empty()
    log(home, [{**conversation(0), "tools": [tool("mail", description="To a@example.com.")]}])
    assert deidentified(home) == 1
    assert len(warehouse.read(ToolSets)) == 1


@pytest.mark.parametrize(
    ("function", "found"),
    [
        ({"name": "a@b.io"}, [("tool 0", "name", "EMAIL")]),
        ({"name": "f", "parameters": {"a@b.io": 1}}, [("f", "parameters.(key)", "EMAIL")]),
        ({"name": "f", "parameters": [1, "8.8.8.8"]}, [("f", "parameters[1]", "IPV4")]),
        ({"name": "f", "parameters": {"x": 4539578763621486}}, [("f", "parameters.x", "CARD")]),
        ({"name": "f", "strict": True, "description": "4242424242424242"}, []),
    ],
)  # fmt: skip
def test_every_text_key_and_number_of_a_definition_is_looked_at(
    function: dict[str, Any], found: list[tuple[str, str, str]]
) -> None:
    assert list(identifiers_in([{"type": "function", "function": function}])) == found  # type: ignore[typeddict-item]  # plain dicts


def test_a_set_leaves_both_files_with_the_last_person_whose_conversation_was_offered_it(
    tmp_path: Path,
) -> None:
    rows = [{**conversation(i), "tools": [tool()] if i < 2 else None} for i in range(4)]
    home = write_home(tmp_path, rows=rows)
    deidentified(home)
    vault, warehouse = files(home)
    forget(load_home(home), ["user-0"])
    assert len(warehouse.read(ToolSets)) == len(vault.read(ToolSets)) == 1
    forget(load_home(home), ["user-1"])
    assert warehouse.read(ToolSets).is_empty()
    assert vault.read(ToolSets).is_empty()


def test_conversations_that_were_offered_a_hosted_tool_are_named_by_check_and_go_no_further(
    tmp_path: Path,
) -> None:
    hosted = {"type": "mcp", "server_url": "https://tools.example", "require_approval": "never"}
    rows = [conversation(i) for i in range(40)]
    rows[7]["tools"] = [tool(), hosted]
    home = write_home(tmp_path, rows=rows)
    answered = CliRunner().invoke(app, ["check"], env={"SIM_PLATFORM_HOME": str(home)})
    assert "quarantined: hosted_tool (tools[1] mcp of v1), first in line 8" in answered.output
    assert "tools.example" not in answered.output
    assert deidentified(home) == 37  # two are left out by sources.yaml
    vault, warehouse = files(home)
    refused = warehouse.read(QuarantinedRows).filter(pl.col("reason") == "hosted_tool")
    assert refused["source_line"].to_list() == [8]
    assert b"tools.example" not in vault.path.read_bytes()
    for row in rows:
        row["tools"] = [hosted]
    log(home, rows)
    with pytest.raises(BadInputError, match="hosted_tool, first in line 1"):
        extracted(home)
