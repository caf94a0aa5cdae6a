"""The documents promise only what is there: commands, targets, files."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
from typer.testing import CliRunner

from sim_platform_tests.homes import conversation, without_models
from sim_platform_tests.replay.scripted_server import ScriptedServer, completion

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCUMENTS = [
    d
    for d in [
        README,
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "examples").rglob("*.md")),
    ]
    if d.exists()
]
NAMES = [str(d.relative_to(ROOT)) for d in DOCUMENTS]
CODE = re.compile(r"```.*?```|(?<=\n\n)(?: {4}[^\n]*\n)+|`[^`\n]+`", re.DOTALL)
MAKE = re.compile(r"\bmake ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)*)")
COMMAND = re.compile(r"\bsim-platform ([a-z][a-z-]*)([^\n`#|]*)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")


def code_of(document: Path) -> str:
    """Everything that a document shows as code: fenced, indented or between backticks."""
    return "\n".join(CODE.findall(document.read_text(encoding="utf-8")))


def links_of(document: Path) -> list[str]:
    """Targets of links and pictures that are neither addresses nor places in the same document."""
    found = [a or b for a, b in LINK.findall(CODE.sub("", document.read_text(encoding="utf-8")))]
    return [link for link in found if not re.match(r"[a-z][a-z+.-]*:|#", link)]


def make_targets() -> set[str]:
    return set(
        re.findall(
            r"^([a-z][a-z-]*):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
        )
    )


@pytest.fixture(scope="module")
def help_of() -> dict[str, str]:
    """Command to its help text; a group's is that of all its commands."""
    from sim_platform.commands.main import app

    def shown(*words: str) -> str:
        return CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"}).stdout

    def names_of(typed: typer.Typer) -> list[str]:
        # as typer names them
        return [
            c.name or c.callback.__name__.replace("_", "-")
            for c in typed.registered_commands
            if c.callback
        ]

    names = names_of(app)
    groups = {
        str(g.name): names_of(g.typer_instance) for g in app.registered_groups if g.typer_instance
    }
    return {n: shown(n) for n in names} | {
        group: "".join(shown(group, command) for command in commands)
        for group, commands in groups.items()
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    named = {target for words in MAKE.findall(code_of(document)) for target in words.split()}
    assert named <= make_targets()


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_command_and_option_that_is_named_exists(
    document: Path, help_of: dict[str, str]
) -> None:
    for command, rest in COMMAND.findall(code_of(document)):
        assert command in help_of, f"sim-platform {command}"
        for option in re.findall(r"--[a-z][a-z-]*", rest):
            assert option in help_of[command], f"sim-platform {command} {option}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_relative_link_and_picture_exists(document: Path) -> None:
    missing = [
        link
        for link in links_of(document)
        if not (document.parent / unquote(link.split("#")[0])).exists()
    ]
    assert missing == []


def test_the_readme_shows_the_two_commands() -> None:
    code = code_of(README)
    assert "make install" in code
    assert "make demo" in code


def test_the_lines_of_the_readme_run_as_they_are_written_and_end_in_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is put in the place of what is written: the log, the ledger, the endpoint's
    address, and detectors that are fast.
    """
    from sim_platform.commands.main import app

    section = README.read_text(encoding="utf-8").split("## Your own log in ten lines")[1]
    shown = "\n".join(
        line[4:] for line in section.split("\n## ")[0].splitlines() if line.startswith("    ")
    )
    files, _, lines = shown.partition("\nexport ")
    commands = [line.partition("#")[0].split() for line in lines.splitlines()]
    exported = dict(word.split("=", 1) for word in commands.pop(0))
    assert len(commands) < 10
    asked = re.compile(r"number (\d+)")

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        (n,) = asked.findall(str(body["messages"][-1]))
        return completion("Sorry, no." if int(n) % 4 == 0 else f"Here it is: {n}.")

    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    with ScriptedServer(answer=answer) as server:
        for part in re.split(r"^# (?=[a-z/]+\.yaml)", files, flags=re.MULTILINE)[1:]:
            name, _, content = part.partition("\n")
            file = home / name.partition(":")[0]
            file.parent.mkdir(exist_ok=True)
            file.write_text(content.replace("http://127.0.0.1:8000/v1", server.url))
        rows = [conversation(n, "prod-7") for n in range(120)]
        (home / "logs" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (home / "consent.csv").write_text(
            "user_id,scope,granted_at,revoked_at\n"
            + "".join(f"user-{n},model_improvement,2025-01-01T00:00:00Z,\n" for n in range(120))
        )
        without_models(home)
        monkeypatch.delenv("DAGSTER_HOME", raising=False)
        for name, value in (exported | {"SIM_PLATFORM_HOME": str(home), "COLUMNS": "200"}).items():
            monkeypatch.setenv(name, value)
        ended = {
            words[1]: CliRunner().invoke(app, words[1:], catch_exceptions=False)
            for words in commands
        }
        monkeypatch.delenv("DAGSTER_HOME", raising=False)
        assert server.requests.total() == 120
    for command, done in ended.items():
        assert done.exit_code == 0, f"{command}: {done.output}"
    assert "PASS: all 1 gate behaviours" in ended["gate"].output
    assert "not known" not in ended["plan"].output.split("what this sample can decide")[1]


def test_every_target_of_the_makefile_is_declared_and_explained() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    declared = set((re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE) or [""])[1].split())
    assert declared == make_targets()
    assert [t for t in declared if not re.search(rf"^{t}:.*## \S", text, re.MULTILINE)] == []


def test_links_and_commands_are_found_where_documents_have_them(tmp_path: Path) -> None:
    document = tmp_path / "d.md"
    document.write_text(
        'Use `make demo ui`.\n\n    sim-platform run X --all  # all\n\n[a](b.md#c) ![p](p.png "t")'
        ' <img src="q.png"> [w](https://x.y) [h](#h) `[n](o.md)` make up\n'
    )
    assert MAKE.findall(code_of(document)) == ["demo ui"]
    assert COMMAND.findall(code_of(document)) == [("run", " X --all  ")]
    assert links_of(document) == ["b.md#c", "p.png", "q.png"]
