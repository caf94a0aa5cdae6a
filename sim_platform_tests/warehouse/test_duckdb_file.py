"""The DuckDB file that several processes share: what is written, what rolls back, who waits for
whom, what errors say.
"""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.contracts.tables.deidentification import DeidentifiedCorpus
from sim_platform.contracts.tables.extraction import ExtractionAccounting, RowDispositions
from sim_platform.contracts.tables.schema import ContractError, dtypes, empty, frame
from sim_platform.warehouse.duckdb_file import DuckDBFile, Gate, GateError, WarehouseError, publish
from sim_platform.warehouse.instance import memory_limit

SECRET = "a user's words"
Row = dict[str, object]


def dispositions(*lines: int, reason: str = "no_consent") -> pl.DataFrame:
    return frame(
        RowDispositions,
        [
            {
                "source_file": "log.jsonl",
                "source_line": n,
                "disposition": "dropped",
                "reason": reason,
            }
            for n in lines
        ],
    )


@pytest.fixture
def file(tmp_path: Path) -> DuckDBFile:
    return DuckDBFile(tmp_path / "warehouse.duckdb", lock_wait_seconds=10)


def lines(file: DuckDBFile) -> list[int]:
    return sorted(file.read(RowDispositions)["source_line"])


def append(file: DuckDBFile, data: pl.DataFrame) -> None:
    with file.transaction() as tx:
        tx.append(RowDispositions, data)


# Writing


def test_what_was_appended_is_read_back(file: DuckDBFile) -> None:
    append(file, dispositions(1, 2))
    append(file, dispositions(3))
    assert file.read(RowDispositions).sort("source_line").equals(dispositions(1, 2, 3))


def test_any_error_rolls_the_whole_transaction_back(file: DuckDBFile) -> None:
    append(file, dispositions(1))

    def interrupted() -> None:
        with file.transaction() as tx:
            tx.append(RowDispositions, dispositions(2))
            tx.ensure(ExtractionAccounting)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert lines(file) == [1]
    with file.reading() as tx:
        assert tx.tables() == {"row_dispositions"}


def test_a_gate_that_does_not_hold_rolls_back_and_says_its_counts(file: DuckDBFile) -> None:
    gate = Gate(
        "rows_are_few",
        "At most one row.",
        "select greatest(count(*) - 1, 0) as n_bad, count(*) as n from row_dispositions",
    )
    append(file, dispositions(1))

    def write() -> None:
        with file.transaction() as tx:
            tx.append(RowDispositions, dispositions(2))
            tx.pass_gates([gate], "v2")

    with pytest.raises(
        GateError,
        match=(
            r"rows_are_few does not hold for v2 \(n_bad=1, n=2\); nothing was written\. At most one"
            r" row\."
        ),
    ):
        write()
    assert lines(file) == [1]
    with file.transaction() as tx:
        tx.pass_gates([gate])


def test_a_gate_that_counts_null_does_not_pass(file: DuckDBFile) -> None:
    assert not Gate("g", "", "select null::bigint as n_bad").check(file.query).passed
    assert Gate("g", "", "select 0 as n_bad").check(file.query).passed


def test_rows_are_matched_by_name_and_not_by_position(file: DuckDBFile) -> None:
    with file.transaction() as tx:
        tx.execute(
            "create table row_dispositions (reason varchar, disposition varchar, source_line"
            " bigint, source_file varchar)"
        )
    append(file, dispositions(1).select("reason", "source_line", "disposition", "source_file"))
    assert file.read(RowDispositions).equals(dispositions(1))


def test_rows_that_do_not_fit_the_contract_are_not_written(file: DuckDBFile) -> None:
    append(file, dispositions(1))
    with pytest.raises(ContractError):
        append(file, dispositions(2).with_columns(source_line=pl.lit(0)))
    assert lines(file) == [1]


def test_upsert_puts_a_row_in_the_place_of_the_one_with_its_key(file: DuckDBFile) -> None:
    append(file, dispositions(1, 2))
    with file.transaction() as tx:
        tx.upsert(RowDispositions, dispositions(2, 3, reason="revoked"))
    assert file.read(RowDispositions).sort("source_line")["reason"].to_list() == [
        "no_consent",
        "revoked",
        "revoked",
    ]


def test_small_commits_leave_no_group_larger_than_was_asked(file: DuckDBFile) -> None:
    append(file, dispositions(*range(1, 5_001)))
    for start in range(5_001, 15_001, 500):
        with file.transaction(row_group_size=2_048) as tx:
            tx.upsert(RowDispositions, dispositions(*range(start, start + 500)))
    groups = file.query(
        "select sum(count)::bigint as n from pragma_storage_info('row_dispositions') where"
        " column_name = 'source_line' and segment_type = 'BIGINT' group by row_group_id"
    )
    assert groups["n"].sum() == 15_000
    # the largest is the one that was there before
    assert sorted(groups["n"])[-2] <= 2_048 < sorted(groups["n"])[-1]
    assert lines(file) == list(range(1, 15_001))


def test_upsert_finds_a_key_with_null_in_it(file: DuckDBFile) -> None:
    from sim_platform.contracts.tables.extraction import QuarantinedRows

    row: Row = {
        "stage": "deidentification",
        "source_file": None,
        "source_line": None,
        "conversation_key": "c",
        "reason": "x",
        "made_by": "1",
    }
    for made_by in ("1", "2"):
        with file.transaction() as tx:
            tx.upsert(QuarantinedRows, frame(QuarantinedRows, [{**row, "made_by": made_by}]))
    assert file.read(QuarantinedRows)["made_by"].to_list() == ["2"]


def test_replace_touches_only_the_rows_that_it_names(file: DuckDBFile) -> None:
    append(file, dispositions(1, 2))
    with file.transaction() as tx:
        tx.replace(RowDispositions, dispositions(5), {"source_line": 2})
    assert lines(file) == [1, 5]
    with file.transaction() as tx:
        tx.replace(RowDispositions, dispositions(7))
    assert lines(file) == [7]


def test_values_are_parameters_and_never_sql(file: DuckDBFile) -> None:
    append(file, dispositions(1, 2))
    with file.transaction() as tx:
        tx.replace(RowDispositions, empty(RowDispositions), {"reason": "' or true --"})
    assert lines(file) == [1, 2]
    assert len(file.read(RowDispositions, {"reason": "' or true --"})) == 0


def test_copy_makes_the_table_and_adds_to_it(file: DuckDBFile) -> None:
    with file.transaction() as tx:
        tx.copy("anything", pl.DataFrame({"a": [1], "b": ["x"]}))
        tx.copy("anything", pl.DataFrame({"b": ["y"], "a": [2]}))
        assert tx.query("from anything order by a").rows() == [(1, "x"), (2, "y")]


# Reading


def test_a_table_or_file_that_is_not_there_reads_as_no_rows(file: DuckDBFile) -> None:
    assert file.read(RowDispositions).equals(empty(RowDispositions))
    assert not file.path.exists()
    append(file, dispositions(1))
    assert file.read(ExtractionAccounting).equals(empty(ExtractionAccounting))
    assert file.read(RowDispositions, columns=["source_line"]).columns == ["source_line"]


def test_reading_changes_nothing(file: DuckDBFile) -> None:
    append(file, dispositions(1))
    with pytest.raises(WarehouseError), file.reading() as tx:
        tx.execute("delete from row_dispositions")
    assert lines(file) == [1]


@pytest.mark.parametrize("n", [0, 1, 2500])
def test_batches_hold_every_row_once_and_no_batch_is_larger_than_asked(
    file: DuckDBFile, n: int
) -> None:
    append(file, dispositions(*range(1, n + 1)))
    with file.reading() as tx:
        batches = list(tx.batches("select * from row_dispositions order by source_line", rows=1000))
    assert all(len(b) <= 1000 and b.schema == pl.Schema(dtypes(RowDispositions)) for b in batches)
    assert pl.concat(batches)["source_line"].to_list() == list(range(1, n + 1))


def test_times_are_utc_whatever_the_machine_says(
    file: DuckDBFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        day = "select cast('2026-01-05T00:30:00Z'::timestamptz as date)::varchar as d"
        with file.transaction() as tx:
            assert tx.query(day)["d"][0] == "2026-01-05"
        assert file.query(day)["d"][0] == "2026-01-05"
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


# Errors


def test_an_error_never_carries_a_value(file: DuckDBFile) -> None:
    append(file, dispositions(1))
    attempts: list[Callable[[DuckDBFile], object]] = [
        lambda f: f.query("select cast($v as integer)", {"v": SECRET}),
        lambda f: f.query("select error($v)", {"v": SECRET}),
        lambda f: f.query("select cast(reason as integer) from row_dispositions"),
    ]
    append(file, dispositions(2, reason=SECRET))
    for attempt in attempts:
        with pytest.raises(WarehouseError, match=r"warehouse\.duckdb: \w+ in: select ") as error:
            attempt(file)
        assert SECRET not in str(error.value)
        assert error.value.__cause__ is None
        assert error.value.__suppress_context__


def test_rows_that_duckdb_refuses_are_not_shown(file: DuckDBFile) -> None:
    with file.transaction() as tx:
        tx.execute(
            "create table row_dispositions (source_file varchar, source_line bigint, disposition"
            " varchar, reason varchar check (length(reason) < 3))"
        )
    with pytest.raises(WarehouseError, match="insert into row_dispositions") as error:
        append(file, dispositions(1, reason=SECRET))
    assert SECRET not in str(error.value)


def test_errors_while_batches_are_read_carry_no_value(file: DuckDBFile) -> None:
    append(file, dispositions(1, reason=SECRET))
    with file.reading() as tx, pytest.raises(SimPlatformError) as error:
        list(tx.batches("select cast(reason as integer) as n from row_dispositions"))
    assert SECRET not in str(error.value)


def test_a_table_of_another_version_is_refused_with_the_columns_that_differ(
    file: DuckDBFile,
) -> None:
    with file.transaction() as tx:
        tx.execute(
            "create table row_dispositions (source_file varchar, source_line bigint, why varchar,"
            " reason varchar)"
        )
    with (
        pytest.raises(
            WarehouseError, match=r"columns that differ: disposition, why\)\. Move the file away"
        ),
        file.transaction() as tx,
    ):
        tx.ensure(RowDispositions)


def test_what_is_not_a_duckdb_file_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.duckdb").write_text("not a database, but long enough to be read as one" * 500)
    with pytest.raises(WarehouseError, match=r"text\.duckdb cannot be opened"):
        DuckDBFile(tmp_path / "text.duckdb").query("select 1")
    with (
        pytest.raises(WarehouseError, match="Is the folder there and writable"),
        DuckDBFile(tmp_path / "nowhere" / "w.duckdb").transaction(),
    ):
        pass
    (tmp_path / "folder.duckdb").mkdir()
    with pytest.raises(WarehouseError, match=r"folder\.duckdb cannot be opened"):
        DuckDBFile(tmp_path / "folder.duckdb").query("select 1")


# Privacy of the file


def test_the_file_and_its_log_are_private_and_the_umask_is_given_back(file: DuckDBFile) -> None:
    before = os.umask(0o022)
    try:
        with file.transaction() as tx:
            tx.append(RowDispositions, dispositions(1))
            made = list(file.path.parent.iterdir())
            assert {stat.S_IMODE(p.stat().st_mode) for p in made} == {0o600}
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        with pytest.raises(ZeroDivisionError), file.transaction():
            _ = 1 / 0
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_statement_that_outgrows_memory_spills_into_the_files_folder_and_leaves_nothing_there(
    file: DuckDBFile,
) -> None:
    with file.transaction() as tx:
        tx.execute(
            "create table t as select i, md5(i::varchar) || md5((i + 1)::varchar) as s from"
            " range(1000000) r(i)"
        )
        tx.execute(
            # Of this folder's instance, which ends with the test; tighter, and the sort itself has
            # no room.
            "set memory_limit = '100MB'"
        )
        found = tx.query(
            "select max(place) as n from (select row_number() over (order by s) as place from t)"
        )
        assert (file.path.parent / "duckdb.tmp").exists(), "it did spill"
    assert found["n"][0] == 1_000_000
    assert [p for p in (file.path.parent / "duckdb.tmp").glob("*.tmp") if p.stat().st_size] == []


# Several processes

HOLDER = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("create table if not exists held (a int)")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
connection.close()
"""


@pytest.fixture
def hold(file: DuckDBFile) -> Iterator[Callable[[float], subprocess.Popen[str]]]:
    """hold(seconds): another process has the file open for so long."""
    started: list[subprocess.Popen[str]] = []

    def start(seconds: float) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(file.path), str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_file_held_by_another_process_is_waited_for(
    file: DuckDBFile, hold: Callable[[float], subprocess.Popen[str]]
) -> None:
    hold(1.0)
    append(file, dispositions(1))
    assert lines(file) == [1]


@pytest.mark.parametrize("access", ["transaction", "reading"])
def test_a_file_that_stays_held_is_named_with_its_holder(
    file: DuckDBFile, hold: Callable[[float], subprocess.Popen[str]], access: str
) -> None:
    holder = hold(60)
    impatient = DuckDBFile(file.path, lock_wait_seconds=0.5)
    started = time.monotonic()
    with (
        pytest.raises(
            WarehouseError,
            match=(
                rf"held by another process \(PID {holder.pid}, .+\) and stayed held for 0\.5"
                r" s.*published\.duckdb"
            ),
        ),
        getattr(impatient, access)(),
    ):
        pass
    assert time.monotonic() - started < 10


def test_what_a_killed_process_committed_is_there_and_what_it_did_not_is_not(
    file: DuckDBFile,
) -> None:
    code = f"""
import os
from pathlib import Path
from sim_platform.warehouse.duckdb_file import DuckDBFile
file = DuckDBFile(Path({str(file.path)!r}))
with file.transaction() as tx:
    tx.execute("create table t as select 1 as a")
with file.transaction() as tx:
    tx.execute("insert into t values (2)")
    tx.execute("commit")
    tx.execute("begin")
    tx.execute("insert into t values (3)")
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 9
    assert file.query("select a from t order by a")["a"].to_list() == [1, 2]
    with file.transaction() as tx:
        tx.execute("insert into t values (4)")
    assert file.query("select a from t order by a")["a"].to_list() == [1, 2, 4]


# Publishing


def corpus(key: str) -> Row:
    from datetime import date

    texts = {name: "x" for name, dtype in dtypes(DeidentifiedCorpus).items() if dtype == pl.String}
    return {
        **texts,
        "conversation_key": key,
        "user_key": "account",
        "week": date(2026, 1, 5),
        "n_user_turns": 1,
    }


@pytest.fixture
def stored(file: DuckDBFile) -> DuckDBFile:
    with file.transaction() as tx:
        tx.append(DeidentifiedCorpus, frame(DeidentifiedCorpus, [corpus("a"), corpus("b")]))
        tx.ensure(ExtractionAccounting)
    return file


def test_published_tables_are_complete_and_hold_no_account_key(
    stored: DuckDBFile, tmp_path: Path
) -> None:
    target = DuckDBFile(tmp_path / "published.duckdb")
    assert publish(stored, target.path) == ["deidentified_corpus", "extraction_accounting"]
    got = target.query("from deidentified_corpus order by conversation_key")
    assert got.equals(stored.read(DeidentifiedCorpus).sort("conversation_key").drop("user_key"))
    assert (
        target.query(
            "select count(*) as n from information_schema.columns where column_name = 'user_key'"
        )["n"][0]
        == 0
    )
    assert len(target.query("from extraction_accounting")) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"warehouse.duckdb", "published.duckdb"}


def test_a_reader_of_the_old_file_goes_on_and_does_not_block_the_next(
    stored: DuckDBFile, tmp_path: Path
) -> None:
    target = tmp_path / "published.duckdb"
    publish(stored, target)
    with duckdb.connect(str(target), read_only=True) as reader:
        assert reader.execute("select count(*) from deidentified_corpus").fetchall() == [(2,)]
        with stored.transaction() as tx:
            tx.append(DeidentifiedCorpus, frame(DeidentifiedCorpus, [corpus("c")]))
        publish(stored, target)
        assert reader.execute("select count(*) from deidentified_corpus").fetchall() == [(2,)]
    assert DuckDBFile(target).query("select count(*) as n from deidentified_corpus")["n"][0] == 3


def test_publishing_that_fails_leaves_the_old_file_and_no_draft(
    stored: DuckDBFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "published.duckdb"
    publish(stored, target)
    before = target.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="disk full"):
        publish(stored, target)
    assert target.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"warehouse.duckdb", "published.duckdb"}


def test_an_empty_warehouse_publishes_no_tables(file: DuckDBFile, tmp_path: Path) -> None:
    assert publish(file, tmp_path / "published.duckdb") == []
    assert (tmp_path / "published.duckdb").exists()


def test_the_log_that_a_killed_writer_left_beside_the_old_published_file_does_not_break_the_new_one(
    stored: DuckDBFile, tmp_path: Path
) -> None:
    target = tmp_path / "published.duckdb"
    publish(stored, target)
    code = (
        f"import duckdb, os; c = duckdb.connect({str(target)!r}); c.execute('create table mine as"
        " select 1 as a'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], timeout=60)
    assert (tmp_path / "published.duckdb.wal").exists()
    publish(stored, target)
    assert DuckDBFile(target).query("select count(*) as n from deidentified_corpus")["n"][0] == 2


def test_a_statement_without_memory_names_the_setting_and_no_value(file: DuckDBFile) -> None:
    with file.transaction() as tx:
        tx.execute("set memory_limit = '2MB'")  # of this folder's instance, as above
        sql = "select list(md5(i::varchar)) as secrets from range(1000000) r(i)"
        with pytest.raises(WarehouseError, match="Raise SIM_PLATFORM_DUCKDB_MEMORY"):
            tx.query(sql)


@pytest.mark.parametrize(("given", "is_size"), [("2GB", True), ("300 MiB", True), ("lots", False)])
def test_the_memory_that_duckdb_may_hold_is_a_size(
    monkeypatch: pytest.MonkeyPatch, given: str, is_size: bool
) -> None:
    monkeypatch.setenv("SIM_PLATFORM_DUCKDB_MEMORY", given)
    if is_size:
        assert memory_limit() == given
    else:
        with pytest.raises(BadInputError, match=r'"lots" is no size such as 512MB or 2GB'):
            memory_limit()
