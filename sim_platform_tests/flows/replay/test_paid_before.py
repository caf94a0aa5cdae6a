"""What is paid for is found wherever it is stored, and searching for it reads a bounded part of the
table at a time.
"""

from pathlib import Path

import pytest

from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.flows.replay import arm as replay_flow
from sim_platform.flows.replay.arm import replay_arm
from sim_platform_tests.homes import sampled_home
from sim_platform_tests.replay.scripted_server import ScriptedServer


@pytest.mark.parametrize("rows", [1, 7, 20, 1000])
def test_an_answer_is_reused_from_every_part_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(replay_flow, "ROWS_SEARCHED", rows)
    with ScriptedServer() as server:
        home, warehouse = sampled_home(
            tmp_path, [f"text {n}" for n in range(20)], base_url=server.url
        )
        model = home.by_version["v2"]
        first = replay_arm(home, warehouse, model, model, "candidate", advance=lambda _: None)
        second = replay_arm(home, warehouse, model, model, "control", advance=lambda _: None)
        assert (server.requests.total(), first.sent, second.sent, second.reused) == (20, 20, 0, 20)
    stored = warehouse.read(CandidateCompletions).sort("prefix_id")
    sent, reused = (stored.filter(arm=arm) for arm in ("candidate", "control"))
    assert reused["text"].to_list() == sent["text"].to_list()
    assert (
        reused["reused_from"].unique().to_list(),
        reused["cost_usd"].sum(),
        reused["attempts"].sum(),
    ) == (["v2"], 0.0, 0)
