"""Hostile values in every field that others fill (strata, behaviours, versions in the log, file
names, turns): nothing that reads a home's results obeys them.
"""

import csv
import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import MarkdownMetadataValue
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from sim_platform.commands.main import app
from sim_platform_tests.contracts.test_escaping import HOSTILE, SHOWN
from sim_platform_tests.homes import BEHAVIORS, RECORDED_MODELS, conversation, write_home
from sim_platform_tests.running import replaced_detector, run_with_its_own_detectors

ALL = " ".join(HOSTILE).replace("@", "＠")  # no e-mail address: this is about what is kept
# few, so that none is pooled with others as rare
STRATA = [" ".join(HOSTILE[n::3]).replace("@", "＠") for n in range(3)]
TABLE = {"table", "thead", "tbody", "tr", "th", "td"}
COMMANDS = [
    ("check",),
    ("status", "--why"),
    ("rates", "v2"),
    ("gate", "v2"),
    ("plan", "v2"),
    ("report", "v2"),
    ("registration", "v2"),
    ("forecast", "v2"),
    ("labels", "export", "v2", "--to", "LABELS"),
]


@pytest.fixture(scope="module")
def ran(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Path, dg.DagsterInstance, list[str]]]:
    """A home that has run, its history, and what the run said."""
    rows = []
    for n in range(48):
        for version in ("v1", "v2"):
            row = conversation(n, version)
            row["metadata"]["surface"] = STRATA[n % len(STRATA)]
            row["messages"][-1]["content"] = f"={row['messages'][-1]['content']} {ALL}"
            row["messages"][-2]["content"] += ALL
            rows.append(row)
    rows += [conversation(99, f"v1{ALL}"), conversation(98, surprise=ALL) | {"messages": ALL}]
    home = write_home(
        tmp_path_factory.mktemp("hostile") / "home",
        rows=rows,
        sources={
            "sources": [{"reader": "conversations", "path": "logs/*.jsonl"}],
            "consent": {"all": ALL},
            "exclude": {"temporary": {"temporary": True}},
        },
        models=[RECORDED_MODELS[0], {**RECORDED_MODELS[1], "plan": {"sample_size": 40}}],
    )
    plan = {"sample_size": 40, "strata": ["surface"], "floor": 2}
    registry: dict[str, Any] = {
        "models": [RECORDED_MODELS[0], {**RECORDED_MODELS[1], "plan": plan}]
    }
    (home / "models.yaml").write_text(json.dumps(registry))
    behavior = BEHAVIORS[0] | {"title": ALL, "definition": ALL, "tier": "gate"}
    (home / "behaviors" / "apologises.yaml").write_text(json.dumps(behavior))
    name = "<script>|`\x1b[31m=1\u202e].jsonl"
    (home / "logs" / name).write_text("no row\n" + json.dumps(conversation(97)) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        replaced_detector(patch)
        said = run_with_its_own_detectors(patch, tmp_path_factory)(home)
        yield home, dg.DagsterInstance.get(), said


@pytest.fixture(scope="module")
def outputs(
    ran: tuple[Path, dg.DagsterInstance, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What commands wrote, by command; their label files are beside."""
    home, _, _ = ran
    labels = tmp_path_factory.mktemp("labels") / "labels.csv"
    done = {}
    for command in COMMANDS:
        arguments = [str(labels) if part == "LABELS" else part for part in command]
        done[" ".join(command)] = CliRunner().invoke(
            app, arguments, env={"SIM_PLATFORM_HOME": str(home), "COLUMNS": "200"}
        )
    for arguments in (["status", "--why", "--json"], ["rates", "v2", "--json"]):
        done[" ".join(arguments)] = CliRunner().invoke(
            app, arguments, env={"SIM_PLATFORM_HOME": str(home)}
        )
    return {**done, "file": labels}


def test_no_command_writes_a_control_character(outputs: dict[str, Any]) -> None:
    for name, done in outputs.items():
        if name != "file":
            assert done.exit_code in (0, 1, 3, 4), (name, done.output)
            assert done.exception is None or isinstance(done.exception, SystemExit), name
            assert not SHOWN.search(done.output), name
    for name in ("status --why --json", "rates v2 --json"):
        json.loads(outputs[name].stdout)


def test_tables_of_the_user_interface_hold_text_only(
    ran: tuple[Path, dg.DagsterInstance, list[str]],
) -> None:
    _, instance, _ = ran
    found = [
        (name, value.value)
        for key in instance.all_asset_keys()
        for record in instance.fetch_materializations(key, limit=9).records
        if record.asset_materialization
        for name, value in record.asset_materialization.metadata.items()
        if isinstance(value, MarkdownMetadataValue)
    ]
    tables = [(name, text) for name, text in found if text and text.startswith("| ")]
    assert {"strata", "decisions", "accounting"} <= {name for name, _ in tables}
    strata = "".join(text for name, text in tables if name == "strata")
    assert "script" in strata
    for name, text in tables:
        assert not SHOWN.search(text), name
        page = MarkdownIt("commonmark").enable("table").render(text)
        assert set(re.findall(r"</?(\w+)", page)) == TABLE, name
        rows = [unescape(row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
        assert len(rows) == len(text.splitlines()) - 1, name
        assert not re.search(r"https?://|www\.\w", text), name


def test_pages_hold_text_only(outputs: dict[str, Any], ran: tuple[Path, Any, list[str]]) -> None:
    page = (ran[0] / "reports" / "v2.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    tags = re.findall(r"<(/?\w+)[^>]*>", page)
    assert not {"script", "img", "a", "b", "/script"} & set(tags)
    assert not SHOWN.search(page)
    assert outputs["report v2"].exit_code == 0


def test_no_cell_of_a_spreadsheet_is_a_formula_and_labels_come_back(
    outputs: dict[str, Any], ran: tuple[Path, Any, list[str]]
) -> None:
    from sim_platform.grading.labels import read_labels

    home, _, _ = ran
    n_escaped = 0
    for file in (outputs["file"], home / "reports" / "v2.csv"):
        with file.open(newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
        assert rows
        for row in rows:
            for cell in row.values():
                n_escaped += cell.startswith("'=")
                assert not re.match(r"[=+@\t\r]|-\D", cell), cell[:20]
    assert n_escaped >= 20
    texts = [label.item.text for label in read_labels(outputs["file"]) if label.item]
    assert any(text.startswith("=") and "=cmd|" in text for text in texts)
    assert not any(text.startswith("'=") for text in texts)


def test_every_command_writes_through_the_escaping_stream() -> None:
    """A command that does not is one whose output nobody looked at."""
    import inspect

    import typer.main

    def callbacks(group: Any) -> Iterator[Any]:
        for command in group.commands.values():
            if hasattr(command, "commands"):
                yield from callbacks(command)
            else:
                yield command.callback

    without = [
        one.__name__
        for one in callbacks(typer.main.get_command(app))
        if "with exit_codes(" not in inspect.getsource(inspect.unwrap(one))
    ]
    assert without == []
