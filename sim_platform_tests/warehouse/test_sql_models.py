"""SQL models: what a file may hold, what it depends on, and that the shipped ones give the columns
that they declare.
"""

from pathlib import Path

import pytest

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.tables.every import TABLES
from sim_platform.contracts.tables.schema import table_name
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform.warehouse.sql_models import SqlModel, load_sql_models, tables_read

SHIPPED = load_sql_models(Path(__file__).resolve().parents[2] / "dbt_like_sql")


def load(folder: Path, text: str) -> SqlModel:
    (folder / "marts").mkdir(exist_ok=True)
    (folder / "marts" / "m.sql").write_text(text)
    (model,) = load_sql_models(folder)
    return model


def test_a_model_is_read_with_its_description_columns_checks_and_tables(tmp_path: Path) -> None:
    text = (
        "/*\ndescription: One x a row.\ncolumns: {x: a number}\nchecks: {xs_are_there: select"
        " 0}\n*/\nselect x from t;\n"
    )
    assert load(tmp_path, text) == SqlModel(
        "marts",
        "m",
        "One x a row.",
        {"x": "a number"},
        {"xs_are_there": "select 0"},
        "select x from t",
        ("t",),
    )


def test_columns_and_checks_may_be_left_out(tmp_path: Path) -> None:
    model = load(tmp_path, "/* description: x */ select 1 as a")
    assert (model.columns, model.checks, model.depends_on) == ({}, {}, ())


def test_models_come_in_order_of_path(tmp_path: Path) -> None:
    for name in ("marts/b", "marts/a", "intermediate/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.sql").write_text("/* description: x */ select 1 as a")
    assert [f"{m.schema}/{m.name}" for m in load_sql_models(tmp_path)] == [
        "intermediate/c",
        "marts/a",
        "marts/b",
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("select 1", "begins with no header comment"),
        ("-- description: x\nselect 1", "begins with no header comment"),
        ("", "begins with no header comment"),
        ("/* */ select 1", "has no description"),
        ("/* columns: {a: b} */ select 1", "has no description"),
        (
            "/*\ndescription: x\nowner: me */ select 1",
            r"unknown header keys owner \(allowed: checks, columns, description\)",
        ),
        ("/* just words */ select 1", "header is not a map"),
        ("/* description: [x */ select 1", "header is not YAML"),
        ("/*\ndescription: x\ncolumns: [a, b] */ select 1", "columns is not a map"),
        ("/*\ndescription: x\nchecks: [a] */ select 1", "checks is not a map"),
        ("/* description: x */", "holds 0 statements"),
        ("/* description: x */ select 1; select 2", "holds 2 statements; one model is one SELECT"),
        ("/* description: x */ selec 1", "not one SELECT"),
        ("/* description: x */ drop table t", "not one SELECT"),
        ("/* description: x */ create table t as select 1", "not one SELECT"),
        ("/* description: x */ copy t to 'out.csv'", "not one SELECT"),
        ("/* description: x */ attach 'vault.duckdb'", "not one SELECT"),
        ("/* description: x */ delete from t", "not one SELECT"),
        (
            "/* description: x */ select * from read_csv('log.csv')",
            "reads read_csv; a model reads no file",
        ),
        ("/* description: x */ select * from read_text('key')", "reads read_text"),
        ("/* description: x */ select * from parquet_scan('log.parquet')", "reads parquet_scan"),
        ("/* description: x */ select * from glob('*')", "reads glob"),
        ("/* description: x */ select * from query('select 1')", "reads query"),
        ("/* description: x */ select * from 'log.csv'", r"reads log\.csv"),
        ("/* description: x */ select * from (select * from '/etc/passwd') p", "reads /etc/passwd"),
        ("/* description: x */ select (select count(*) from 'a.json')", r"reads a\.json"),
        ("/* description: x */ select * from vault.main.t", "by their bare name"),
    ],
)
def test_what_a_model_may_not_be_is_refused_with_its_file(
    tmp_path: Path, text: str, error: str
) -> None:
    with pytest.raises(BadInputError, match=error) as refused:
        load(tmp_path, text)
    assert str(refused.value).startswith("marts/m.sql: ")


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("select 1", ()),
        ("from t", ("t",)),
        ("select * from b join a using (x)", ("a", "b")),
        ("select * from t t1, t t2", ("t",)),
        ("with c as (select * from t) select * from c", ("t",)),
        (
            "with c as (select * from t), d as (select * from c join u using (x)) select * from d",
            ("t", "u"),
        ),
        (
            (
                "with recursive r as (select 1 as n union all select n + 1 from r where n < 3)"
                " select * from r join t on t.x = r.n"
            ),
            ("t",),
        ),
        ("select * from (with c as (select * from t) select * from c) x", ("t",)),
        ("select * from t where x in (select x from u)", ("t", "u")),
        ("select (select max(x) from u) from t where exists (select 1 from w)", ("t", "u", "w")),
        ("select * from t union all select * from u except select * from w", ("t", "u", "w")),
        ("select * from t semi join u using (x) anti join w using (x)", ("t", "u", "w")),
        ("select * from t, range(3) r, unnest([1, 2]) n", ("t",)),
        (
            (
                "select x, row_number() over (order by x) from t qualify row_number() over (order"
                " by x) = 1"
            ),
            ("t",),
        ),
    ],
)
def test_a_model_depends_on_the_tables_that_it_reads(sql: str, tables: tuple[str, ...]) -> None:
    assert tables_read(sql) == tables


def test_the_shipped_models_are_the_four_marts() -> None:
    assert [(m.schema, m.name) for m in SHIPPED] == [
        ("marts", name)
        for name in (
            "masking_by_stratum",
            "pipeline_coverage",
            "rates_by_model_version",
            "rates_by_stratum",
        )
    ]


@pytest.mark.parametrize("model", SHIPPED, ids=lambda m: m.name)
def test_a_shipped_model_reads_contract_tables_and_gives_the_columns_that_it_declares(
    model: SqlModel, tmp_path: Path
) -> None:
    file = DuckDBFile(tmp_path / "w.duckdb")
    assert set(model.depends_on) <= {table_name(t) for t in TABLES} - {
        "consented_log_extract",
        "row_dispositions",
    }
    with file.transaction() as tx:
        tx.ensure(*TABLES)
        tx.execute(f"create table {model.name} as {model.sql}")
        assert tx.query(f"from {model.name}").columns == list(model.columns)
        assert all(str(text).strip() for text in model.columns.values())


@pytest.mark.parametrize("model", SHIPPED, ids=lambda m: m.name)
def test_a_shipped_model_has_checks_that_hold_on_empty_tables(
    model: SqlModel, tmp_path: Path
) -> None:
    with DuckDBFile(tmp_path / "w.duckdb").transaction() as tx:
        tx.ensure(*TABLES)
        tx.execute(f"create table {model.name} as {model.sql}")
        assert model.checks
        assert {name: tx.query(sql).item() for name, sql in model.checks.items()} == dict.fromkeys(
            model.checks, 0
        )
