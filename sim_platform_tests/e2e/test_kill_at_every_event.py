"""Drawn points of what `python -m sim_platform_tests.kills` does at every durable event."""

import random
from pathlib import Path

import pytest

from sim_platform_tests.kills import STORY, kill_through, server

pytestmark = pytest.mark.e2e

DRAWN = {"register": 1, "run": 3, "forget": 3}


def test_a_command_killed_anywhere_and_run_again_leaves_what_an_undisturbed_run_leaves(
    tmp_path: Path,
) -> None:
    draw = random.Random(20)
    story = [command for command in STORY if command.name in DRAWN]
    with server() as scripted:
        found = list(
            kill_through(
                tmp_path,
                scripted,
                lambda command, n: draw.sample(range(1, n + 1), DRAWN[command.name]),
                story,
            )
        )
    assert [killed.command for killed in found] == list(DRAWN)
    assert all(killed.events >= 5 for killed in found)
    assert [fault for killed in found for fault in killed.faults] == []
