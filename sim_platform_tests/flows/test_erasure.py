"""Forgetting people, on real files."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sim_platform.commands.main import app
from sim_platform.contracts.outcomes import Outcome
from sim_platform.contracts.tables.deidentification import DeidentifiedCorpus
from sim_platform.contracts.tables.estimation import ReleaseGate
from sim_platform.contracts.tables.extraction import Erasures
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.deidentification.deidentify import keyed_hash
from sim_platform.flows import erasure
from sim_platform.flows.erasure import forget, survivors
from sim_platform.flows.leftovers import remove_leftovers
from sim_platform.flows.vault import vault_key
from sim_platform.registry.home import load_home
from sim_platform.replay.journal import Journal, read_journal
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import conversation, write_home
from sim_platform_tests.running import run_once

Run = Callable[..., list[str]]


@pytest.fixture(scope="module")
def finished_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty conversations of each of two versions; every account has one of each."""
    rows = [
        conversation(i, v) | {"user_id": f"account-{i}"} for v in ("v1", "v2") for i in range(60)
    ]
    return run_once(write_home(tmp_path_factory.mktemp("accounts"), rows=rows), tmp_path_factory)


def someone_sampled(home: Path) -> str:
    """An account with a prefix in the sample: which ones these are depends on the vault's key."""
    loaded = load_home(home)
    key, sampled = vault_key(DuckDBFile(loaded.vault)), user_keys(home, StratifiedSample)
    return next(
        f"account-{i}" for i in range(60) if keyed_hash(key, "user", f"account-{i}") in sampled
    )


def user_keys(home: Path, table: type[DeidentifiedCorpus] | type[StratifiedSample]) -> set[str]:
    return set(DuckDBFile(home / "warehouse.duckdb").read(table)["user_key"])


def test_a_forgotten_person_is_in_no_file_of_the_home_but_the_log(home: Path) -> None:
    before = DuckDBFile(home / "warehouse.duckdb").read(CandidateCompletions)
    done = forget(load_home(home), [someone_sampled(home)])
    assert (done.users, done.conversations, done.releases_to_run_again, done.survivors) == (
        1,
        2,
        ["v2"],
        [],
    )
    assert [Path(p).name for p in done.still_in_sources] == ["log.jsonl"]
    assert "reports/v2.html" in done.files_removed
    stored = DuckDBFile(home / "warehouse.duckdb")
    assert len(stored.read(DeidentifiedCorpus)) == len(user_keys(home, DeidentifiedCorpus)) * 2
    assert stored.read(StratifiedSample).is_empty()
    assert stored.read(ReleaseGate).is_empty(), "nothing computed from the person decides anything"
    assert len(before) - len(stored.read(CandidateCompletions)) == 1, (
        "the others' answers stay paid for"
    )
    assert len(stored.read(Erasures)) == 1
    assert "user_key" not in DuckDBFile(home / "published.duckdb").query("from erasures").columns


def test_no_later_run_lets_a_forgotten_person_in_again(run: Run, home: Path) -> None:
    person = someone_sampled(home)
    forget(load_home(home), [person])
    (home / "logs" / "log.jsonl").touch()
    with (home / "logs" / "log.jsonl").open("a") as log:
        log.write("\n")  # a changed file is read again
    assert not [line for line in run(home) if "failed" in line]
    vault = DuckDBFile(home / "vault.duckdb")
    assert (
        vault.query(
            "select count(*) as n from consented_log_extract where user_id = $user",
            {"user": person},
        )["n"][0]
        == 0
    )
    assert (
        vault.query("select count(*) as n from row_dispositions where reason = 'forgotten'")["n"][0]
        == 2
    )
    assert not DuckDBFile(home / "warehouse.duckdb").read(ReleaseGate).is_empty()
    again = forget(load_home(home), [person])
    assert (again.conversations, again.releases_to_run_again, again.survivors) == (0, [], [])


def test_someone_who_was_never_seen_leaves_a_tombstone_and_costs_no_release_its_sample(
    home: Path,
) -> None:
    done = forget(load_home(home), ["account-of-nobody"])
    assert (done.users, done.conversations, done.releases_to_run_again, done.still_in_sources) == (
        1,
        0,
        [],
        [],
    )
    assert not DuckDBFile(home / "warehouse.duckdb").read(StratifiedSample).is_empty()


def test_answers_of_an_interrupted_run_go_too_and_the_others_stay(home: Path) -> None:
    sample = DuckDBFile(home / "warehouse.duckdb").read(StratifiedSample)
    loaded = load_home(home)
    key = vault_key(DuckDBFile(loaded.vault))
    person = someone_sampled(home)
    mine = sample.filter(user_key=keyed_hash(key, "user", person))["prefix_id"][0]
    other = next(p for p in sample["prefix_id"] if p != mine)
    with Journal(home / "journal" / "v2.candidate.jsonl") as journal:
        journal.append(Outcome("candidate", mine, 0, "h", "completed", text="x"))
        journal.append(Outcome("candidate", other, 0, "h", "completed", text="x"))
    with Journal(home / "journal" / "v2.judge-1.0123456789ab.jsonl") as journal:
        journal.append(Outcome("candidate", "hash of an item", 0, "h", "completed", text="x"))
    assert forget(loaded, [person]).survivors == []
    assert [o.prefix_id for o in read_journal(home / "journal" / "v2.candidate.jsonl")] == [other]
    assert list(read_journal(home / "journal" / "v2.judge-1.0123456789ab.jsonl")) == []


def test_a_file_that_somebody_exported_is_named(home: Path) -> None:
    (home / "notes.txt").write_text("asked by account-7, not by account-71")
    assert forget(load_home(home), ["account-7"]).survivors == ["notes.txt"]
    (home / "notes.txt").write_text("not by account-71")
    assert forget(load_home(home), ["account-7"]).survivors == []
    assert survivors(load_home(home), ["account-71"], []) != []


def test_a_mistyped_account_does_not_look_done(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIM_PLATFORM_HOME", str(home))
    person = someone_sampled(home)
    done = CliRunner().invoke(app, ["forget", person, f"{person}-mistyped"])
    assert done.exit_code == 1
    assert f"names {person}-mistyped: check the spelling" in done.stderr
    assert CliRunner().invoke(app, ["forget", person]).exit_code == 0, "done before is not unknown"


STEPS = ("publish_accounting", "take_out_removed", "suppress_rare_strata", "publish")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("is_done", [False, True])
def test_a_forgetting_that_ends_after_any_step_is_completed_by_the_next(
    home: Path, monkeypatch: pytest.MonkeyPatch, step: str, is_done: bool
) -> None:
    person = someone_sampled(home)
    report = home / "reports" / "v2.html"
    report.parent.mkdir(exist_ok=True)
    report.write_text("quotes somebody")
    real = getattr(erasure, step)

    def killed(*given: object) -> None:
        if is_done:
            real(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasure, step, killed)
        with pytest.raises(KeyboardInterrupt):
            forget(load_home(home), [person])
    done = forget(load_home(home), [person])
    assert not report.exists()
    assert (done.survivors, done.unknown) == ([], [])


def test_reports_of_a_release_whose_name_begins_like_another_stay(home: Path) -> None:
    reports = home / "reports"
    reports.mkdir(exist_ok=True)
    for name in ("v2.html", "v2.json", "v2.csv", "v2.1.html", "v2.1.json", "v2.1.csv"):
        (reports / name).write_text("{}")
    done = forget(load_home(home), [someone_sampled(home)])
    assert sorted(done.files_removed) == ["reports/v2.csv", "reports/v2.html", "reports/v2.json"]
    assert sorted(p.name for p in reports.iterdir()) == ["v2.1.csv", "v2.1.html", "v2.1.json"]


def test_drafts_of_dead_processes_go_and_those_of_living_ones_stay(home: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (home / "reports").mkdir(exist_ok=True)
    names = ("published.duckdb.{}.tmp", "vault.duckdb.{}.tmp.wal", "reports/.v2.html.{}.tmp")
    left = [home / name.format(dead.pid) for name in names]
    mine = home / f"published.duckdb.{os.getpid()}.tmp"
    for file in (*left, mine):
        file.write_text("text of somebody")
    assert remove_leftovers(load_home(home)) == sorted(file.name for file in left)
    assert mine.exists()
    assert not any(file.exists() for file in left)
