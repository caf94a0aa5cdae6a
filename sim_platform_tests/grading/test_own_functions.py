"""Grading functions from a file of the home or an installed module."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sim_platform.contracts.errors import BadInputError
from sim_platform.flows.readiness import home_facts
from sim_platform.grading.items import GradedItem, Verdict
from sim_platform.grading.rules import graders_of
from sim_platform.grading.scores import grader_hash, verdict
from sim_platform.registry.home import Home, load_home
from sim_platform_tests.grading.samples import behavior, response
from sim_platform_tests.homes import write_home

HERE = __name__
TONE = """
import re
from dataclasses import dataclass

@dataclass
class Word:
    text: "str"

RUDE = re.compile("stupid")

def is_rude(item, times=1):
    return len(RUDE.findall(item.text or "")) >= times

def fails(item):
    raise ValueError(item.text)

def ends(item):
    raise SystemExit(item.text)

def quotes(item):
    return item.text
"""


def is_short(item: GradedItem) -> bool:
    """An installed module's function, as far as the tests go."""
    return len(item.text or "") < 10


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_home(tmp_path, n=2)
    (tmp_path / "graders").mkdir()
    (tmp_path / "graders" / "tone.py").write_text(TONE)
    return tmp_path


def own(function: str, **arguments: Any) -> dict[str, Any]:
    return {"kind": "python", "function": function, "arguments": arguments}


def said(home: Path, text: str, function: str, **arguments: Any) -> Verdict:
    graders = graders_of(behavior(own(function, **arguments)), home)
    return verdict(response(text), graders)


def hashed(home: Path, function: str) -> str:
    return grader_hash(behavior(own(function)), replace(load_home(home), behaviors=()))


def test_a_function_stands_in_a_file_of_the_home_or_in_an_installed_module(home: Path) -> None:
    assert said(home, "how stupid", "graders.tone:is_rude") == Verdict(True)
    assert said(home, "how stupid", "graders.tone:is_rude", times=2) == Verdict(False)
    assert said(home, "short", f"{HERE}:is_short") == Verdict(True)


def test_the_whole_file_counts_towards_the_hash_and_an_edited_file_is_what_runs(
    home: Path,
) -> None:
    before = hashed(home, "graders.tone:is_rude"), hashed(home, f"{HERE}:is_short")
    (home / "graders" / "tone.py").write_text(TONE.replace('"stupid"', '"clever"'))
    assert hashed(home, "graders.tone:is_rude") != before[0]
    assert hashed(home, f"{HERE}:is_short") == before[1]
    assert said(home, "how clever", "graders.tone:is_rude") == Verdict(True)
    assert said(home, "how stupid", "graders.tone:is_rude") == Verdict(False)


@pytest.mark.parametrize(
    ("function", "reason"),
    [("fails", "ValueError"), ("ends", "RuntimeError"), ("quotes", "TypeError")],
)
def test_a_function_that_fails_leaves_its_label_missing_and_quotes_nothing(
    home: Path, function: str, reason: str
) -> None:
    missing = Verdict(None, f"grader_error:{reason}")
    assert said(home, "a secret", f"graders.tone:{function}") == missing


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("graders.tone:is_kind", r'no function "is_kind" in graders.tone \(functions: ends, fails'),
        ("graders.tone:Word", r'no function "Word"'),
        ("graders.mood:is_rude", r"neither a file .*mood.py nor an installed module graders.mood"),
        ("../x:is_rude", "is not module:name"),
        ("os:system", 'no function "system"'),
        ("graders.outside:is_rude", "leads out of the home"),
        ("graders.broken:f", r"broken.py cannot be loaded \(SyntaxError, line 2\)"),
        ("graders.raises:f", r"raises.py cannot be loaded \(KeyError, line 2\)"),
        ("graders.leaves:f", r"leaves.py cannot be loaded \(RuntimeError"),
        ("is_rude", r"there is no grading function .* one of your own is module:name"),
    ],
)
def test_what_cannot_be_a_grader_is_named_with_its_place(
    home: Path, function: str, says: str
) -> None:
    folder = home / "graders"
    (folder / "broken.py").write_text("import re\ndef f(:\n")
    (folder / "raises.py").write_text("x = {}\nx['a secret']\n")
    (folder / "leaves.py").write_text("raise SystemExit(3)\n")
    away = home.parent / f"{home.name}-outside.py"
    away.write_text(TONE)
    (folder / "outside.py").symlink_to(away)
    with pytest.raises(BadInputError, match=says) as error:
        graders_of(behavior(own(function), id="tone"), home)
    assert str(error.value).startswith("behaviors/tone.yaml: graders[0].function")
    assert "secret" not in str(error.value)


def test_arguments_that_it_does_not_take_are_named(home: Path) -> None:
    with pytest.raises(BadInputError, match=r"unexpected keyword .*\(arguments: times\)"):
        graders_of(behavior(own("graders.tone:is_rude", often=1)), home)


def test_check_loads_it(home: Path) -> None:
    def registered(function: str) -> Home:
        return replace(load_home(home), behaviors=(behavior(own(function), id="tone"),))

    assert home_facts(registered("graders.tone:is_rude"))["behaviours"] == ["tone"]
    with pytest.raises(BadInputError, match="no function"):
        home_facts(registered("graders.tone:nothing"))


def test_nothing_is_written_beside_the_file(home: Path) -> None:
    said(home, "x", "graders.tone:is_rude")
    assert [p.name for p in (home / "graders").iterdir()] == ["tone.py"]
    assert "graders" not in sys.modules
