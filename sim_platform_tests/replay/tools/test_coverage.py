"""Calls answered from a log: fresh or not at all, by match and occurrence."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sim_platform.commands.main import app
from sim_platform.flows.extraction import extract_log
from sim_platform.registry.home import load_home
from sim_platform.replay.tools.arithmetic import value_of
from sim_platform.replay.tools.coverage import Answer, Conversation, answers, summary
from sim_platform.replay.tools.pairs import pairs_of
from sim_platform.warehouse.duckdb_file import DuckDBFile

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
NONE: frozenset[str] = frozenset()


def conversation(
    key: str, *made: tuple[str, dict[str, Any], str], same_as: str | None = None
) -> Any:
    messages: list[Any] = [{"role": "user", "content": "please"}]
    for i, (tool, arguments, result) in enumerate(made):
        function = {"name": tool, "arguments": json.dumps(arguments)}
        call = {"id": f"c{i}", "type": "function", "function": function}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"c{i}", "content": result},
        ]
    return Conversation(key, pairs_of(messages), same_as)


def got(log: list[Any], asked: Any, shared: frozenset[str] = NONE) -> list[tuple[str | None, bool]]:
    return [(a.source, a.is_exact) for a in answers(log, [asked], shared)]


READ = ("get_order", {"id": "A1234"}, "to Rome")
MOVED = ("get_order", {"id": "A1234"}, "to Paris")
MOVE = ("move_order", {"id": "A1234", "to": "Paris"}, "ok")
OTHER = ("move_order", {"id": "B9876", "to": "Paris"}, "ok")


def test_a_recorded_pair_is_matched_by_its_arguments_and_then_by_occurrence() -> None:
    log = [conversation("l", READ, MOVE, MOVED, ("get_order", {"id": "Z0000"}, "lost"))]
    asked = conversation(
        "a", ("get_order", {"id": "Z0000"}, "lost"), READ, MOVE, MOVED, same_as="l"
    )
    assert got(log, asked) == [("recorded", True)] * 4
    assert got(log, conversation("a", *[READ] * 2)) == [(None, False), ("memo", True)]


@pytest.mark.parametrize(
    ("theirs", "ours", "source"),
    [
        ([READ], [READ], "recorded"),
        ([OTHER, READ], [READ], "recorded"),  # what was written speaks of something else
        ([MOVE, MOVED], [MOVED], None),  # it was written there and not here
        ([READ], [MOVE, READ], None),  # and the other way round
        ([MOVE, MOVED], [MOVE, MOVED], "recorded"),
        ([("move_order", {"id": "A1234"}, "Error: no"), READ], [READ], "recorded"),
    ],
)
def test_a_recorded_pair_is_served_only_where_it_is_fresh(
    theirs: list[Any], ours: list[Any], source: str | None
) -> None:
    found = got([conversation("l", *theirs)], conversation("a", *ours, same_as="l"))
    assert found[-1][0] == source


def test_what_a_write_made_is_not_read_from_before_it() -> None:
    made = ("create_order", {"of": "roses"}, '{"id": "N5555"}')
    read = ("get_order", {"id": "N5555"}, "new")
    assert got([conversation("l", read)], conversation("a", made, read, same_as="l"))[1][0] is None


def test_a_memo_ends_with_a_write_that_touches_it_and_a_failed_call_fails_again() -> None:
    failed = ("move_order", {"id": "A1234"}, "Error: closed")
    asked = conversation("a", READ, OTHER, READ, MOVE, MOVED, failed, failed, MOVE)
    sources = [source for source, _ in got([], asked)]
    assert sources == [None, None, "memo", None, None, None, "memo", None]


def test_another_conversation_answers_for_shared_tools_alone_the_newest_first() -> None:
    log = [conversation("old", READ), conversation("new", MOVED), conversation("a", READ)]
    asked = conversation("a", MOVED)
    assert got(log, asked) == [(None, False)]
    assert got(log, asked, frozenset({"get_order"})) == [("log", True)], "and never itself"


def test_constants_and_calculators_are_recognised_by_what_the_log_shows() -> None:
    sums = [("calculate", {"e": f"{n} / 4"}, str(round(n / 4, 2))) for n in range(8)]
    thoughts = [("think", {"t": f"hm {n}"}, "") for n in range(8)]
    log = [conversation("l", *sums, *thoughts)]
    asked = conversation(
        "a", ("calculate", {"e": "(2 + 3) * 10"}, "50.0"), ("think", {"t": "new"}, "")
    )
    assert got(log, asked) == [("declared", True)] * 2
    fewer = [conversation("l", *sums[:7], *thoughts[:7])]
    assert got(fewer, asked) == [(None, False)] * 2
    unlike = [conversation("l", *sums[:7], ("calculate", {"e": "1"}, "2"), *thoughts)]
    assert got(unlike, asked) == [(None, False), ("declared", True)]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        *(("2 + 3 * 4", 14.0), ("-(1.5 - 2) ** 2", -0.25), ("7 // 2 % 2", 1.0), (" 1e3 ", 1000.0)),
        *(("1/0", None), ("2 ** 5000", None), ("9**9**9", None), ("__import__('os')", None)),
        *(("a + 1", None), ("True", None), ("'1'", None), ("1,000", None), ("", None)),
        *(("(" * 400 + "1" + ")" * 400, None), ("1" * 2_000, None), ("(-8) ** 0.5", None)),
    ],
)
def test_arithmetic_is_computed_and_nothing_else(expression: str, value: float | None) -> None:
    assert value_of(expression) == value


def test_a_summary_counts_by_source_and_by_tool() -> None:
    made = [Answer("f", "memo", True), Answer("f", "log", False), Answer("g", None, False)]
    found = summary(made)
    assert (found["calls"], found["answered"], found["exact"]) == (3, 2 / 3, 0.5)
    assert found["by_source"]["log"] == {"answered": 1, "exact": 0}
    assert found["by_tool"]["f"] == {"calls": 2, "answered": 2, "exact": 1}
    assert summary([])["exact"] is None


def test_three_quarters_of_tau_benchs_calls_are_answered_from_one_trial_and_truly(
    real_data: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(EXAMPLES / "tau_bench", home, ignore=shutil.ignore_patterns("converted"))
    subprocess.run(
        [sys.executable, home / "convert.py", real_data / "tau_bench", "--to", home / "converted"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    loaded = load_home(home)
    vault, warehouse = DuckDBFile(loaded.vault), DuckDBFile(loaded.warehouse)
    extract_log(loaded, vault, warehouse, now=datetime.now(UTC), advance=lambda _: None)
    answered = CliRunner().invoke(
        app, ["tools", "coverage", "--json"], env={"SIM_PLATFORM_HOME": str(home)}
    )
    assert answered.exit_code == 0, answered.output
    found = json.loads(answered.stdout)
    assert (found["log"], found["same"], found["calls"]) == ("gpt-4o-trial-0", "task", 882)
    assert found["answered"] >= 0.745
    assert found["exact"] >= 0.99
