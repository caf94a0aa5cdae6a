"""The vault is always what a first run over today's files and today's ledger would give."""

import json
import multiprocessing
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.tables.extraction import (
    ConsentedLogExtract,
    ExtractionAccounting,
    QuarantinedRows,
    RowDispositions,
)
from sim_platform.extraction import consent as consent_module
from sim_platform.extraction import rows as rows_module
from sim_platform.extraction import rules as rules_module
from sim_platform.extraction.reasons import expected
from sim_platform.flows.extraction import ExtractionSummary, extract_log
from sim_platform.flows.results import attention, left_out, one_line
from sim_platform.registry.home import load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import RECORDED_MODELS, conversation, write_home, write_yaml

NOW = datetime(2026, 10, 1, tzinfo=UTC)
LEDGER = {
    "sources": [{"reader": "conversations", "path": "logs/*.jsonl"}],
    "consent": {"ledger": "consent.csv", "scope": "training"},
    "exclude": {"temporary": {"temporary": True}},
}


def extract(home: Path, now: datetime = NOW) -> ExtractionSummary:
    loaded = load_home(home)
    return extract_log(
        loaded,
        DuckDBFile(loaded.vault),
        DuckDBFile(loaded.warehouse),
        now=now,
        advance=lambda _: None,
    )


def ids(home: Path) -> list[str]:
    return sorted(DuckDBFile(home / "vault.duckdb").read(ConsentedLogExtract)["conversation_id"])


def accounting(home: Path) -> dict[str, int]:
    rows = (
        DuckDBFile(home / "warehouse.duckdb")
        .read(ExtractionAccounting)
        .group_by("disposition", "reason")
        .agg(pl.sum("n"))
        .rows()
    )
    return {f"{disposition} {reason}".strip(): n for disposition, reason, n in rows}


def ledger(home: Path, *lines: str) -> None:
    (home / "consent.csv").write_text(
        "\n".join(["user_id,scope,granted_at,revoked_at", *lines]) + "\n"
    )


def log(home: Path, name: str, *rows: object) -> None:
    (home / "logs" / name).write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    )


def test_every_row_is_extracted_dropped_for_a_reason_or_quarantined(tmp_path: Path) -> None:
    home = write_home(tmp_path, rows=[])
    good = [conversation(i) for i in range(17)]  # the 17th is temporary
    log(
        home,
        "log.jsonl",
        *good,
        "{broken",
        conversation(1),
        conversation(2, user_id="someone-else"),
        conversation(40, model_version="v9"),
    )
    extract(home)
    assert accounting(home) == {
        "rows_in": 21,
        "extracted": 16,
        "dropped duplicate": 1,
        "dropped excluded:temporary": 1,
        "dropped unregistered_version": 1,
        "quarantined bad_json": 1,
        "quarantined conflicting_duplicate": 1,
    }
    quarantined = (
        DuckDBFile(home / "warehouse.duckdb")
        .read(QuarantinedRows)
        .select("source_file", "source_line", "reason")
        .rows()
    )
    assert quarantined == [
        ("logs/log.jsonl", 18, "bad_json"),
        ("logs/log.jsonl", 20, "conflicting_duplicate"),
    ]


def test_an_empty_log_is_accounted_for(tmp_path: Path) -> None:
    home = write_home(tmp_path, rows=[])
    extract(home)
    assert accounting(home) == {"rows_in": 0}


def test_a_rerun_reads_only_new_and_changed_files(tmp_path: Path) -> None:
    home = write_home(tmp_path, rows=[conversation(1)])
    assert extract(home).files_read == 1
    assert extract(home).files_read == 0
    log(home, "second.jsonl", conversation(2))
    assert (extract(home).files_read, ids(home)) == (1, ["v1-1", "v1-2"])
    log(home, "second.jsonl", conversation(3))
    assert (extract(home).files_read, ids(home)) == (1, ["v1-1", "v1-3"])


def test_a_file_that_is_gone_takes_its_rows_with_it(tmp_path: Path) -> None:
    home = write_home(tmp_path, rows=[conversation(1)])
    log(home, "second.jsonl", conversation(1), conversation(2))
    extract(home)
    assert accounting(home)["dropped duplicate"] == 1
    (home / "logs" / "log.jsonl").unlink()
    extract(home)
    assert ids(home) == ["v1-1", "v1-2"]
    assert accounting(home) == {"rows_in": 2, "extracted": 2}


def test_a_revoked_consent_takes_its_rows_out_and_a_grant_lets_them_in(tmp_path: Path) -> None:
    home = write_home(tmp_path, rows=[conversation(1), conversation(2)], sources=LEDGER)
    ledger(home, "user-1,training,2025-01-01T00:00:00Z,", "user-2,other,2025-01-01T00:00:00Z,")
    extract(home)
    assert ids(home) == ["v1-1"]
    assert accounting(home)["dropped no_consent_record"] == 1
    ledger(
        home,
        "user-1,training,2025-01-01T00:00:00Z,2026-09-01T00:00:00Z",
        "user-2,training,2025-01-01T00:00:00Z,",
    )
    extract(home)
    assert ids(home) == ["v1-2"]
    assert accounting(home) == {"rows_in": 2, "extracted": 1, "dropped consent_revoked": 1}


def test_a_consent_that_ends_later_is_asked_again_without_any_change(tmp_path: Path) -> None:
    home = write_home(tmp_path, rows=[conversation(1)], sources=LEDGER)
    ledger(home, "user-1,training,2025-01-01T00:00:00Z,2026-11-01T00:00:00Z")
    extract(home)
    assert ids(home) == ["v1-1"]
    summary = extract(home, now=datetime(2026, 12, 1, tzinfo=UTC))
    assert (summary.files_read, summary.revoked, ids(home)) == (0, 1, [])


def test_a_log_without_a_consented_user_gives_no_rows_and_says_why(tmp_path: Path) -> None:
    home = write_home(tmp_path, rows=[conversation(1)], sources=LEDGER)
    ledger(home)
    extract(home)
    assert accounting(home) == {"rows_in": 1, "dropped no_consent_record": 1}


def models(**deployed: str) -> list[dict[str, Any]]:
    return [{**RECORDED_MODELS[0], "deployed": deployed}, RECORDED_MODELS[1]]


def test_a_row_that_cannot_have_started_then_is_quarantined_by_its_reason(tmp_path: Path) -> None:
    times = {
        "2026-02-27T12:00:00Z": "quarantined before_deployment",
        "2026-02-28T12:00:00Z": "extracted",  # a day's tolerance
        "2026-05-01T20:00:00Z": "extracted",
        "2026-05-02T00:00:00Z": "quarantined after_deployment",
        "2031-01-01T00:00:00Z": "quarantined in_the_future",
    }
    home = write_home(
        tmp_path,
        rows=[conversation(i, started_at=at) for i, at in enumerate(times)],
        models=models(**{"from": "2026-03-01", "until": "2026-04-30"}),
    )
    extract(home)
    assert accounting(home) == {"rows_in": 5, **Counter(times.values())}
    write_yaml(home / "models.yaml", {"models": models(**{"from": "2026-01-01"})})
    extract(home)
    assert accounting(home) == {"rows_in": 5, "extracted": 4, "quarantined in_the_future": 1}


def test_rows_of_versions_without_days_of_service_are_only_held_against_today(
    tmp_path: Path,
) -> None:
    """A candidate that is served from the log has its answers of before in it."""
    rows = [conversation(i, "v2", started_at=f"20{20 + 11 * i}-01-01T00:00:00Z") for i in range(2)]
    released = {**RECORDED_MODELS[1], "deployed": {"from": "2026-01-01"}}
    for number, candidate in enumerate((RECORDED_MODELS[1], released)):
        home = write_home(tmp_path / str(number), rows=rows, models=[RECORDED_MODELS[0], candidate])
        extract(home)
        assert accounting(home) == {"rows_in": 2, "extracted": 1, "quarantined in_the_future": 1}


def test_a_row_of_tomorrow_is_taken_once_its_day_has_come(tmp_path: Path) -> None:
    home = write_home(tmp_path, rows=[conversation(1, started_at="2026-10-05T00:00:00Z")])
    extract(home)
    assert (ids(home), extract(home).files_read) == ([], 0)
    assert extract(home, now=datetime(2026, 10, 4, 1, tzinfo=UTC)).files_read == 1
    assert ids(home) == ["v1-1"]
    assert extract(home, now=datetime(2026, 10, 5, 1, tzinfo=UTC)).files_read == 0


def test_a_changed_exclusion_reads_the_file_again(tmp_path: Path) -> None:
    home = write_home(tmp_path, rows=[conversation(16)])
    extract(home)
    assert ids(home) == []
    text = (home / "sources.yaml").read_text()
    (home / "sources.yaml").write_text(text.replace("temporary: true", "temporary: never"))
    extract(home)
    assert ids(home) == ["v1-16"]


def test_what_a_killed_run_staged_is_cleared_and_what_a_living_one_staged_is_kept(
    tmp_path: Path,
) -> None:
    home = write_home(tmp_path, rows=[conversation(1)])
    extract(home)
    gone = multiprocessing.get_context("fork").Process(target=lambda: None)
    gone.start()
    gone.join()
    vault = DuckDBFile(home / "vault.duckdb")
    with vault.transaction() as tx:
        for pid in (gone.pid, os.getpid()):
            tx.execute(
                "insert into staged_rows by name select *, $run as run from consented_log_extract",
                {"run": f"{pid}:x"},
            )
    extract(home)
    assert vault.query("select run from staged_rows")["run"].to_list() == [f"{os.getpid()}:x"]


def _extract_in_process(home: str) -> None:
    extract(Path(home))


@pytest.mark.e2e
def test_two_runs_at_once_leave_each_row_once(tmp_path: Path) -> None:
    home = write_home(tmp_path, n=40)
    log(home, "second.jsonl", *(conversation(i) for i in range(30, 70)))
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_extract_in_process, args=(str(home),)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [p.exitcode for p in both] == [0, 0]
    found = ids(home)
    assert len(found) == len(set(found)) == 38 + 38 + 30 - 2  # temporary ones left out
    assert accounting(home)["rows_in"] == 120
    assert (
        DuckDBFile(home / "vault.duckdb").query("select count(*) as n from staged_rows")["n"][0]
        == 0
    )


def test_dispositions_hold_no_text(tmp_path: Path) -> None:
    home = write_home(tmp_path, rows=[])
    log(
        home, "log.jsonl", '{"conversation_id": "SECRET", "messages"', {"conversation_id": "SECRET"}
    )
    extract(home)
    stored = str(DuckDBFile(home / "vault.duckdb").read(RowDispositions).rows()) + str(
        DuckDBFile(home / "warehouse.duckdb").read(QuarantinedRows).rows()
    )
    assert "SECRET" not in stored


def test_a_file_that_two_sources_match_is_refused(tmp_path: Path) -> None:
    twice = {
        "sources": [
            {"reader": "conversations", "path": "logs/*.jsonl"},
            {"reader": "conversations", "path": "logs/log.jsonl"},
        ],
        "consent": LEDGER["consent"],
    }
    home = write_home(tmp_path, rows=[conversation(1)], sources=twice)
    ledger(home)
    with pytest.raises(BadInputError, match=r"logs/log\.jsonl is matched by two sources"):
        extract(home)


def test_every_reason_is_told_with_its_first_place_and_what_is_expected(tmp_path: Path) -> None:
    home = write_home(tmp_path, rows=[])
    log(
        home,
        "log.jsonl",
        conversation(0),
        conversation(1, started_at=1_770_000_000),  # epoch seconds
        conversation(2, model_version="v9"),
        conversation(3, started_at=1_770_000_001),
        {"id": "c-4", **{k: v for k, v in conversation(4).items() if k != "conversation_id"}},
    )
    extract(home)
    told = {row["reason"]: one_line(row) for row in left_out(load_home(home))}
    assert told.keys() == {"bad_time", "unregistered_version", "missing_field"}
    assert "2 rows quarantined: bad_time, first logs/log.jsonl:2" in told["bad_time"]
    assert "seconds since 1970" in told["bad_time"]
    assert "first logs/log.jsonl:3" in told["unregistered_version"]
    assert "is a version of models.yaml" in told["unregistered_version"]
    assert "conversation_id" in told["missing_field"]
    assert all("number 1" not in line for line in told.values()), "no text of a row"


def test_a_file_that_mostly_cannot_be_used_stops_the_run_and_leaves_the_extract_as_it_was(
    tmp_path: Path,
) -> None:
    home = write_home(tmp_path, rows=[conversation(i) for i in range(10)])
    extract(home)
    before = ids(home)
    broken = [conversation(i, started_at=1_770_000_000) for i in range(50, 71)]
    log(home, "second.jsonl", *(conversation(i) for i in range(20, 40)), *broken)
    for _ in range(2):
        with pytest.raises(BadInputError) as refused:
            extract(home)
        assert ids(home) == before
    assert "logs/second.jsonl: 21 of 41 rows cannot be used: 21 bad_time, first in line 21" in str(
        refused.value
    )
    assert "extraction.max_quarantined" in str(refused.value)
    assert DuckDBFile(home / "vault.duckdb").query("from staged_rows").is_empty()
    sources = yaml.safe_load((home / "sources.yaml").read_text())
    write_yaml(home / "sources.yaml", sources | {"extraction": {"max_quarantined": 0.9}})
    extract(home)
    assert accounting(home)["quarantined bad_time"] == 21
    write_yaml(home / "sources.yaml", sources | {"extraction": {"max_quarantined": 0.1}})
    with pytest.raises(BadInputError, match="more than 10%"):
        extract(home)


def test_rows_outside_of_service_and_few_rows_stop_nothing(tmp_path: Path) -> None:
    old = [conversation(i, started_at="2020-01-01", metadata={}) for i in range(40)]
    home = write_home(tmp_path, rows=[*old, conversation(49)])
    log(home, "small.jsonl", *["{broken"] * 19)
    extract(home)
    assert accounting(home) == {
        "rows_in": 60,
        "extracted": 1,
        "quarantined before_deployment": 40,
        "quarantined bad_json": 19,
    }


def test_many_rows_in_quarantine_or_without_consent_are_said_aloud(tmp_path: Path) -> None:
    rows = [conversation(i, metadata={}) for i in range(49)]
    home = write_home(tmp_path, rows=rows, sources=LEDGER)
    assert attention(load_home(home)) == []
    granted = [f"user-{i},training,2025-01-01T00:00:00Z," for i in range(60)]
    ledger(home, *granted[:45])
    extract(home)
    assert attention(load_home(home)) == []
    ledger(home, *granted[:43])
    log(home, "log.jsonl", *rows, "{broken", "{broken")
    extract(home)
    assert attention(load_home(home)) == [
        "attention: 2 of 51 rows of the log stand in quarantine (4%); the rates speak of the rest"
        " alone",
        "attention: 6 of 51 rows of the log were left out for consent (12%); the rates speak of the"
        " rest alone",
    ]


def test_every_reason_code_has_its_sentence() -> None:
    codes = {v for k, v in vars(rows_module).items() if k.isupper() and isinstance(v, str)}
    codes |= {v for k, v in vars(consent_module).items() if k.isupper() and isinstance(v, str)}
    codes |= {v for k, v in vars(rules_module).items() if k.isupper() and isinstance(v, str)}
    assert {code for code in codes if not expected(code)} == set()
