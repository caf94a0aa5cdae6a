"""The command line: what it prints, and its exit codes (0 done, 1 failed, 2 bad input)."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sim_platform.commands.main import app
from sim_platform.orchestration.assets import deidentification
from sim_platform_tests.homes import (
    RECORDED_MODELS,
    conversation,
    without_models,
    write_home,
    write_yaml,
)

Done = subprocess.CompletedProcess[str]
PROMISED = set(
    """
    model_version replaces behavior arm n n_missing events rate low high ratio_to_control ratio_low
    ratio_high ratio_to_recorded floor
    """.split()
)


def sim_platform(home: Path, *arguments: str, **environment: str) -> Done:
    """The command in this process: fast. `Done` as of a process."""
    result = CliRunner().invoke(
        app,
        list(arguments),
        env={
            "SIM_PLATFORM_HOME": str(home),
            "SIM_PLATFORM_LOCK_WAIT_SECONDS": None,
            "COLUMNS": "200",
            **environment,
        },
    )
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Done(arguments, result.exit_code, result.stdout, result.stderr)


def installed(home: Path, *arguments: str) -> Done:
    """The installed command in a process of its own, without a terminal."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if k not in ("DAGSTER_HOME", "SIM_PLATFORM_LOCK_WAIT_SECONDS")
    }
    command = [str(Path(sys.executable).with_name("sim-platform")), *arguments]
    return subprocess.run(
        command,
        env={**kept, "SIM_PLATFORM_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
    )


class NoDetector:
    """Finds nothing, at once."""

    version = "none"

    def detect(self, texts: Sequence[str]) -> list[list[Any]]:
        return [[] for _ in texts]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A home after one run of its release."""
    home = without_models(write_home(tmp_path_factory.mktemp("cli") / "home", n=30))
    return home, installed(home, "run", "v2", "--sample-size", "20")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_home(tmp_path / "home", n=2)


def refused(done: Done, code: int) -> str:
    """The message of a command that ended with `code`: on standard error, without a traceback,
    nothing on standard output.
    """
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    return done.stderr.split("error: ", 1)[1]


# Help


def test_help_teaches_every_command(home: Path) -> None:
    done = sim_platform(home, "--help")
    assert done.returncode == 0
    assert "SIM_PLATFORM_HOME" in done.stdout
    for command in ("check", "prepare", "plan", "run", "rates", "gate", "status"):
        assert f" {command} " in done.stdout
        own = sim_platform(home, command, "--help")
        assert own.returncode == 0
        assert "Usage" in own.stdout
        assert len(own.stdout.split("Usage")[1].split("╭")[0].strip().splitlines()) >= 2, (
            f"{command} --help says nothing of what it does"
        )
    assert "--sample-size" in sim_platform(home, "run", "--help").stdout


def test_help_does_not_wait_for_dagster() -> None:
    code = (
        "import sys, sim_platform.commands.main\n"
        "print([m for m in ('dagster', 'duckdb', 'polars') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


# check


def test_check_says_what_the_home_holds(home: Path) -> None:
    done = sim_platform(home, "check")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "ok")
    facts = json.loads(sim_platform(home, "check", "--json").stdout)
    assert (facts["log files"], facts["versions"], facts["releases"], facts["behaviours"]) == (
        1,
        ["v1", "v2"],
        ["v2"],
        ["apologises", "mentions_weather"],
    )


def test_check_writes_nothing(home: Path) -> None:
    before = sorted(home.rglob("*"))
    sim_platform(home, "check")
    sim_platform(home, "status")
    assert sorted(home.rglob("*")) == before


def test_check_names_the_variables_that_are_not_set_and_never_their_values(home: Path) -> None:
    api = {
        "version": "v3",
        "provider": "openai",
        "base_url": "http://127.0.0.1:1/v1",
        "model": "m",
        "replaces": "v1",
        "api_key_env": "A_KEY_OF_A_TEST",
    }
    write_yaml(home / "models.yaml", {"models": [*RECORDED_MODELS, api]})
    assert json.loads(sim_platform(home, "check", "--json").stdout)["variables not set"] == [
        "A_KEY_OF_A_TEST"
    ]
    done = sim_platform(home, "check", "--json", A_KEY_OF_A_TEST="sk-secret")
    assert json.loads(done.stdout)["variables not set"] == []
    assert "sk-secret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [["check"], ["status"], ["plan", "v2"], ["rates", "v2"], ["gate", "v2"], ["run", "v2"]],
)
def test_every_command_names_every_mistake_of_the_home(home: Path, command: list[str]) -> None:
    write_yaml(
        home / "models.yaml",
        {
            "models": [
                {**RECORDED_MODELS[0], "provider": "azure"},
                {**RECORDED_MODELS[1], "temprature": 1},
            ]
        },
    )
    text = refused(sim_platform(home, *command), 2)
    assert "models.yaml: models[0].provider" in text
    assert "models.yaml: models[1].temprature: unknown key" in text


@pytest.mark.parametrize(
    ("candidate", "named"),
    [
        ({**RECORDED_MODELS[1], "replaces": "v2"}, 'replaces itself ("v2")'),
        (
            {**RECORDED_MODELS[1], "replaces": "v0"},
            'replaces "v0", which is not a version in this file (versions: v1, v2)',
        ),
    ],
)
def test_a_candidate_that_replaces_itself_or_an_unknown_version_is_bad_input(
    home: Path, candidate: dict[str, Any], named: str
) -> None:
    write_yaml(home / "models.yaml", {"models": [RECORDED_MODELS[0], candidate]})
    assert named in refused(sim_platform(home, "check"), 2)


def test_a_home_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    assert "Set SIM_PLATFORM_HOME" in refused(sim_platform(tmp_path / "nowhere", "check"), 2)


def test_a_ledger_that_is_not_there_is_bad_input(home: Path) -> None:
    write_yaml(
        home / "sources.yaml",
        {
            "sources": [{"reader": "conversations", "path": "logs/*.jsonl"}],
            "consent": {"ledger": "consent.csv", "scope": "s"},
        },
    )
    assert "consent.csv" in refused(sim_platform(home, "check"), 2)


def test_log_files_that_are_not_there_are_bad_input(home: Path) -> None:
    (home / "logs" / "log.jsonl").unlink()
    assert "logs/*.jsonl" in refused(sim_platform(home, "check"), 2)


def test_the_installed_command_ends_with_the_same_code_and_text(home: Path, tmp_path: Path) -> None:
    good, bad = installed(home, "check"), installed(tmp_path / "nowhere", "check")
    assert (good.returncode, good.stdout.splitlines()[-1], good.stderr) == (0, "ok", "")
    assert "Set SIM_PLATFORM_HOME" in refused(bad, 2)


# What is asked for


def test_run_without_a_release_is_bad_input_and_names_the_releases(home: Path) -> None:
    assert "(releases: v2)" in refused(sim_platform(home, "run"), 2)
    assert "(releases: v2)" in refused(sim_platform(home, "run", "v2", "--all"), 2)


@pytest.mark.parametrize("command", ["run", "rates", "gate", "plan"])
@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("v9", '"v9" is not in the registry (releases: v2)'),
        ("v1", '"v1" replaces nothing in the registry (releases: v2)'),
    ],
)
def test_a_version_that_is_no_release_is_bad_input(
    home: Path, command: str, version: str, why: str
) -> None:
    assert why in refused(sim_platform(home, command, version), 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "v2", "--sample-size", "0"],
        ["run", "v2", "--sample-size", "many"],
        ["rates"],
        ["explode"],
        ["check", "--explode"],
    ],
)
def test_options_that_do_not_exist_or_fit_are_bad_input(home: Path, arguments: list[str]) -> None:
    done = sim_platform(home, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage" in done.stderr


def test_rates_before_a_run_fail_and_say_how_to_get_them(home: Path) -> None:
    assert (
        refused(sim_platform(home, "rates", "v2"), 1)
        == "v2: no rates yet; run `sim-platform run v2` first\n"
    )
    assert "run `sim-platform run v2` first" in refused(
        sim_platform(home, "rates", "v2", "--json"), 1
    )


def test_without_a_decision_the_gate_says_so_and_without_a_corpus_there_is_no_plan(
    home: Path,
) -> None:
    assert (
        refused(sim_platform(home, "gate", "v2"), 4)
        == "v2: no decision yet; run `sim-platform run v2` first\n"
    )
    assert "no corpus yet" in refused(sim_platform(home, "plan", "v2"), 1)


def test_status_before_a_run_counts_nothing(home: Path) -> None:
    facts = json.loads(sim_platform(home, "status", "--json").stdout)
    assert (facts["extracted"], facts["corpus"], facts["quarantined"]) == (0, 0, 0)
    assert facts["releases"] == [
        {
            "release": "v2",
            "replaces": "v1",
            "prefixes": 0,
            "outcomes": 0,
            "failed": 0,
            "scores": 0,
            "rates": 0,
            "grader_calls": 0,
            "cost_usd": 0.0,
            "verdict": None,
        }
    ]


# A run


def test_a_run_prints_the_rates_and_keeps_progress_on_standard_error(
    ran: tuple[Path, Done],
) -> None:
    _, done = ran
    assert done.returncode == 0, done.stderr
    assert "v2 against v1" in done.stdout
    assert "apologises" in done.stdout
    assert "Consent: synthetic conversations made for a test" in done.stdout
    assert "release v2 (replaces v1)" in done.stderr
    assert "deidentified_corpus: " in done.stderr
    assert "\x1b[" not in done.stdout + done.stderr
    assert "Warning" not in done.stderr, "nothing of a library that a user can do nothing about"


def test_no_text_of_the_log_is_printed(ran: tuple[Path, Done]) -> None:
    _, done = ran
    assert "Tell me about" not in done.stdout + done.stderr


def test_rates_as_json_have_the_promised_keys_and_are_per_message(ran: tuple[Path, Done]) -> None:
    home, _ = ran
    done = sim_platform(home, "rates", "v2", "--json")
    rows = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert done.returncode == 0
    assert {(r["behavior"], r["arm"]) for r in rows} == {
        (b, a) for b in ("apologises", "mentions_weather") for a in ("candidate", "recorded")
    }
    for row in rows:
        assert row.keys() >= PROMISED
        assert (row["model_version"], row["replaces"]) == ("v2", "v1")
        assert 0 <= row["low"] <= row["rate"] <= 1
        assert row["ratio_to_control"] is None
    candidate = next(r for r in rows if (r["behavior"], r["arm"]) == ("apologises", "candidate"))
    assert candidate["n"] + candidate["n_missing"] == 20
    assert candidate["ratio_to_recorded"] is not None


def test_status_counts_every_stage(ran: tuple[Path, Done]) -> None:
    home, _ = ran
    facts = json.loads(sim_platform(home, "status", "--json").stdout)
    (release,) = facts["releases"]
    assert facts["extracted"] == facts["corpus"] + facts["quarantined"] > 0
    assert {k: release[k] for k in ("release", "prefixes", "outcomes", "scores", "rates")} == {
        "release": "v2",
        "prefixes": 20,
        "outcomes": 20,
        "scores": 80,
        "rates": 4,
    }
    table = sim_platform(home, "status").stdout
    assert f"extracted: {facts['extracted']}" in table
    assert "v2" in table


def test_the_published_file_is_there_and_the_vault_is_private(ran: tuple[Path, Done]) -> None:
    home, _ = ran
    assert (home / "published.duckdb").exists()
    assert {(home / f).stat().st_mode & 0o077 for f in ("vault.duckdb", "warehouse.duckdb")} == {0}


def test_a_warehouse_that_another_process_holds_is_waited_for_and_named(
    ran: tuple[Path, Done],
) -> None:
    home, _ = ran
    code = (
        f"import duckdb, time; c = duckdb.connect({str(home / 'warehouse.duckdb')!r});"
        " print('held', flush=True); time.sleep(120)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            text = refused(sim_platform(home, "rates", "v2", SIM_PLATFORM_LOCK_WAIT_SECONDS="1"), 1)
        finally:
            holder.kill()
    assert f"held by another process (PID {holder.pid}" in text
    assert "for 1 s" in text


# Homes that cannot run


def test_a_home_that_cannot_be_written_fails_with_the_folder_and_the_way_out(home: Path) -> None:
    (home / "dagster_home").write_text("a file where the folder belongs")
    text = refused(sim_platform(home, "run", "v2"), 1)
    assert "dagster_home cannot be written" in text
    assert "SIM_PLATFORM_HOME" in text


@pytest.fixture
def no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deidentification, "stack_detector", lambda *_: NoDetector())


@pytest.mark.parametrize("case", ["empty log", "no consented user"])
def test_a_log_that_gives_nothing_fails_with_what_to_look_at(
    case: str, tmp_path: Path, no_detector: None
) -> None:
    home = write_home(
        tmp_path / "home", rows=[] if case == "empty log" else [conversation(i) for i in range(5)]
    )
    if case == "no consented user":
        (home / "consent.csv").write_text(
            "user_id,scope,granted_at,revoked_at\nsomebody-else,research,2025-01-01T00:00:00Z,\n"
        )
        write_yaml(
            home / "sources.yaml",
            {
                "sources": [{"reader": "conversations", "path": "logs/*.jsonl"}],
                "consent": {"ledger": "consent.csv", "scope": "research"},
            },
        )
    (home / "dagster_home").mkdir()
    done = sim_platform(home, "run", "v2", DAGSTER_HOME=str(home / "dagster_home"))
    assert refused(done, 1).startswith("failed: v2")
    assert "v2: nothing to sample, v1 has 0 de-identified conversations" in done.stderr
    assert "consent" in done.stderr
    facts = json.loads(sim_platform(home, "status", "--json").stdout)
    assert (facts["extracted"], facts["corpus"]) == (0, 0)


def test_the_gate_ends_with_its_verdict_as_exit_code_and_the_plan_writes_its_curve(
    ran: tuple[Path, Done], tmp_path: Path
) -> None:
    home, done = ran
    assert done.stdout.splitlines()[-2:] == [
        "Verdict: INCONCLUSIVE: no behaviour is registered with tier: gate",
        f"Report: {home / 'reports' / 'v2.html'}",
    ]
    gate = sim_platform(home, "gate", "v2", "--json")
    assert gate.returncode == 3
    found = json.loads(gate.stdout)
    assert (found["verdict"], [b["verdict"] for b in found["behaviors"]]) == (
        "INCONCLUSIVE",
        ["not gated"] * 2,
    )
    plan = json.loads(sim_platform(home, "plan", "v2", "--sample-size", "25", "--json").stdout)
    expected = ("v1", 25, 25, 0.0)
    assert (plan["replaces"], plan["prefixes"], plan["requests"], plan["cost_usd"]) == expected
    assert {b["behavior"] for b in plan["behaviors"]} == {"apologises", "mentions_weather"}
    web, mobile = sorted(plan["strata"], key=lambda row: row["stratum"], reverse=True)
    assert (
        web["stratum"],
        web["population"] + mobile["population"],
        web["sampled"] + mobile["sampled"],
    ) == ("surface=web", plan["population"], 25)
    assert web["boost"] > mobile["boost"] > 0, (
        "apologies come with every fourth conversation, all of them on the web"
    )
    assert plan["variance_by_repeats"]["2"] == {"0.3": 0.65, "0.7": 0.85}
    curve = tmp_path / "curve.png"
    printed = sim_platform(home, "plan", "v2", "--curve", str(curve)).stdout
    assert "what this sample can decide" in printed
    assert "where the sample goes" in printed
    assert "twice as many prefixes leave 50%" in printed
    assert curve.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", [["run"], ["export-requests", "--to", "out.jsonl"]])
def test_another_sample_size_without_anybody_to_ask_is_bad_input_and_changes_nothing(
    ran: tuple[Path, Done], command: list[str]
) -> None:
    home, _ = ran
    before = json.loads(sim_platform(home, "status", "--json").stdout)
    done = sim_platform(home, command[0], "v2", *command[1:], "--sample-size", "25")
    text = refused(done, 2)
    assert "drawn at 20 prefixes, and now 25 are asked for" in text
    assert "--sample-size 20" in text
    assert "--yes" in text
    assert json.loads(sim_platform(home, "status", "--json").stdout) == before


# register, registration


def test_register_writes_a_record_and_verify_finds_an_edit(home: Path) -> None:
    done = sim_platform(home, "register", "v2", "--json")
    assert done.returncode == 0
    record = Path(json.loads(done.stdout)["file"])
    assert "verified" in sim_platform(home, "registration", "v2", "--verify").stdout
    assert "nothing to amend" in refused(
        sim_platform(home, "register", "v2", "--reason", "again"), 2
    )
    assert sim_platform(home, "register", "v2", "--json").stdout == done.stdout
    record.write_text(record.read_text().replace("0.05", "0.5"))
    facts = sim_platform(home, "registration", "v2", "--verify", "--json")
    assert facts.returncode == 1
    assert any("was edited" in line for line in json.loads(facts.stdout)["problems"])


def test_registration_of_what_is_not_registered_fails_and_says_what_to_do(home: Path) -> None:
    assert "sim-platform register v2" in refused(sim_platform(home, "registration", "v2"), 1)
    assert "is not in the registry" in refused(sim_platform(home, "register", "v9"), 2)


# forget


def test_forget_says_whom_it_forgot_and_fails_while_a_file_still_names_them(
    home: Path, tmp_path: Path
) -> None:
    ledger = tmp_path / "requests.txt"
    ledger.write_text("account-a\n\naccount-b\n")
    facts = json.loads(sim_platform(home, "forget", "--file", str(ledger), "--json").stdout)
    assert (facts["users"], facts["conversations"], facts["survivors"]) == (2, 0, [])
    (home / "export.csv").write_text("account-a")
    done = sim_platform(home, "forget", "account-a")
    assert (done.returncode, "forgotten: 1 accounts" in done.stdout) == (1, True)
    assert "still named in: export.csv" in done.stderr
    assert "account-a" not in done.stdout + done.stderr


def test_forget_without_anybody_or_a_ledger_that_cannot_be_read_is_bad_input(home: Path) -> None:
    assert "name at least one account id" in refused(sim_platform(home, "forget"), 2)
    assert "FileNotFoundError" in refused(sim_platform(home, "forget", "--file", "nowhere.txt"), 2)
