"""`check` tells each mistake by itself, with the key that mends it, and shows no text of a row."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from sim_platform.commands.main import app
from sim_platform.flows.first_rows import FirstRows, first_rows
from sim_platform.registry.home import load_home
from sim_platform_tests.homes import conversation, write_home, write_yaml

NOW = datetime(2026, 10, 1, tzinfo=UTC)
LEDGER = {"ledger": "consent.csv", "scope": "training"}
Row = dict[str, Any]


def renamed(row: Row, **names: str) -> Row:
    return {names.get(key, key): value for key, value in row.items()}


def epoch(row: Row, units: int) -> Row:
    return {**row, "started_at": int(datetime.fromisoformat(row["started_at"]).timestamp()) * units}


def a_home(to: Path, rows: list[Row], *, consent: Row | None = None, **source: Any) -> Path:
    sources = {
        "sources": [{"reader": "conversations", "path": "logs/*.jsonl", **source}],
        "consent": consent or {"all": "synthetic conversations made for a test"},
    }
    (to / "consent.csv").write_text(
        "user_id,scope,granted_at,revoked_at\nuser-1,research,2025-01-01T00:00:00Z,\n"
    )
    return write_home(to, rows=rows, sources=sources)


def seen(home: Path) -> FirstRows:
    (only,) = first_rows(load_home(home), NOW)
    return only


MISTAKES: list[tuple[Callable[[Row], Row], Row, str]] = [
    (lambda row: epoch(row, 1), {}, "bad_time (started_at), first in line 1. Set timestamp_format:"
     " epoch_s"),
    (lambda row: epoch(row, 1000), {}, "Set timestamp_format: epoch_ms"),
    (lambda row: row, {"timestamp_format": "%d.%m.%Y"}, "Set timestamp_format: null (ISO 8601)"),
    (lambda row: renamed(row, conversation_id="id"), {}, "missing_field (conversation_id), first in"
     " line 1. Set keys: {conversation_id: id}"),
    (lambda row: renamed(row, user_id="x"), {}, "keys: {user_id: NAME IN THE FILE}"),
    (lambda row: {**row, "model_version": "vendor/v9"}, {}, 'under "model_version" is no version of'
     " models.yaml (versions: v1, v2)"),
    (lambda row: {**row, "started_at": "2031-01-01"}, {}, "in_the_future, first in line 1."),
    (lambda row: row, {"consent": LEDGER}, 'consent.scope: "training" stands in no row of the'
     " ledger (its scopes: research)"),
    (lambda row: row, {"consent": LEDGER | {"scope": "research"}}, "no row of these users with"
     ' scope "research"'),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "options", "told"), MISTAKES)
def test_every_mistake_has_its_own_message(
    broken: Callable[[Row], Row], options: Row, told: str, tmp_path: Path
) -> None:
    home = a_home(tmp_path, [broken(conversation(i)) for i in range(2, 150)], **options)
    found = seen(home)
    assert (found.n, found.extracted, len(found.left_out)) == (100, 0, 1)
    assert "100 of the first 100 rows" in found.left_out[0]
    assert told in found.left_out[0]
    others = [text for _, _, text in MISTAKES if text != told]
    assert not any(text in found.left_out[0] for text in others)
    answered = CliRunner().invoke(app, ["check"], env={"SIM_PLATFORM_HOME": str(home)})
    assert answered.exit_code == 2
    assert told in answered.output
    assert "number 3" not in answered.output + json.dumps(found.left_out)


def test_mistakes_that_hide_behind_each_other_are_told_in_one_go_and_what_is_advised_helps(
    tmp_path: Path,
) -> None:
    rows = [
        epoch(renamed(conversation(i), conversation_id="id", user_id="account"), 1000)
        for i in range(30)
    ]
    home = a_home(tmp_path, rows)
    told = seen(home).left_out
    assert [line.split(". Set ")[1].split(" for this")[0] for line in told] == [
        "keys: {conversation_id: id}",
        "keys: {conversation_id: id, user_id: account}",
        "timestamp_format: epoch_ms",
    ]
    fixed = a_home(
        tmp_path,
        rows,
        keys={"conversation_id": "id", "user_id": "account"},
        timestamp_format="epoch_ms",
    )
    assert seen(fixed) == FirstRows("logs/log.jsonl", 30, 30, [], False)


def test_few_bad_rows_among_good_ones_are_told_and_check_passes(tmp_path: Path) -> None:
    rows = [conversation(i, started_at="soon" if i == 7 else "2026-03-01") for i in range(40)]
    home = a_home(tmp_path, rows)
    answered = CliRunner().invoke(app, ["check"], env={"SIM_PLATFORM_HOME": str(home)})
    assert answered.exit_code == 0
    assert (
        "1 of the first 40 rows would be quarantined: bad_time (started_at), first in line 8"
        in (answered.output)
    )


def test_every_format_is_looked_at(tmp_path: Path) -> None:
    home = a_home(tmp_path, [conversation(0)], path="logs/*")
    row = json.dumps({**conversation(1), "started_at": 1_770_000_000}) + "\n"
    (home / "logs" / "b.jsonl.gz").write_bytes(gzip.compress(row.encode()))
    flat = {**conversation(2), "started_at": 1_770_000_000_000}
    nested = {key: json.dumps(flat[key]) for key in ("messages", "metadata")}
    pl.DataFrame([flat | nested]).write_parquet(home / "logs" / "c.parquet")
    by_file = {Path(found.file).name: found for found in first_rows(load_home(home), NOW)}
    assert "epoch_s" in by_file["b.jsonl.gz"].left_out[0]
    assert "epoch_ms" in by_file["c.parquet"].left_out[0]
    assert by_file["log.jsonl"].extracted == 1


def test_a_table_with_epochs_is_told_the_same(tmp_path: Path) -> None:
    home = write_home(tmp_path, rows=[])
    (home / "logs" / "t.csv").write_text("n,q,a,m,t\n1,ask,answer,v1,1770000000\n")
    source = {"reader": "table", "path": "logs/*.csv", "id": "n", "prompt": "q", "response": "a"}
    source |= {"model": "m", "timestamp": "t"}
    consent = {"all": "synthetic conversations made for a test"}
    write_yaml(home / "sources.yaml", {"sources": [source], "consent": consent})
    assert "Set timestamp_format: epoch_s" in seen(home).left_out[0]
    source["timestamp_format"] = "epoch_s"
    write_yaml(home / "sources.yaml", {"sources": [source], "consent": consent})
    assert seen(home).extracted == 1
