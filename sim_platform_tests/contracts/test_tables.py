"""Contracts: one truth gives dtypes, DDL and the check; its errors never show a value."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import polars as pl
import pytest
from pandera.errors import SchemaErrors

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.every import TABLES
from sim_platform.contracts.tables.extraction import RowDispositions
from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.schema import (
    ContractError,
    Table,
    _rules,
    dtypes,
    empty,
    frame,
    key_of,
    table_name,
    validated,
)
from sim_platform.warehouse.duckdb_file import ddl

NAMES = [table_name(t) for t in TABLES]
VALUES: dict[Any, Any] = {
    pl.String: "x",
    pl.Int64: 1,
    pl.Float64: 1.0,
    pl.Boolean: True,
    pl.Date: date(2026, 1, 5),
    pl.Datetime: datetime(2026, 1, 5, tzinfo=UTC),
}
CHOSEN = {
    "disposition": "dropped",
    "stage": "extraction",
    "arm": "candidate",
    "status": "completed",
    "undesired": "increase",
    "measures": "model",
    "kind": "amendment",
    "label_stratum": "rest",
    "against": "control",
    "margin": 2.0,
    "tier": "gate",
    "verdict": "PASS",
    "worst_verdict": "PASS",
    "direction": "increase",
    "method": "persistence",
    "entry": "forecast",
    "measure": "determinism",
    "graded_on": "raw",
    "recorded_on": "raw",
    "gate_level": 0.05,
}


def a_row(table: type[Table]) -> dict[str, Any]:
    return {
        name: CHOSEN.get(name, VALUES[dtype.base_type()]) for name, dtype in dtypes(table).items()
    }


def test_a_table_is_named_after_its_class() -> None:
    names = (
        "consented_log_extract row_dispositions quarantined_rows extraction_accounting erasures"
        " tool_sets canaries deidentified_corpus deid_audits strata_suppression"
        " deidentification_effect stratified_sample tool_pairs candidate_completions"
        " classifier_scores production_scores grader_answers label_draws human_labels calibration"
        " preregistration rate_comparison release_gate rate_forecast forecast_ledger"
        " forecast_scorecard"
    )
    assert names.split() == NAMES


@pytest.mark.parametrize("table", TABLES, ids=NAMES)
def test_a_key_is_made_of_columns(table: type[Table]) -> None:
    assert key_of(table)
    assert set(key_of(table)) <= set(dtypes(table))


@pytest.mark.parametrize("table", TABLES, ids=NAMES)
def test_a_column_name_holds_no_sql(table: type[Table]) -> None:
    assert all(name.isidentifier() and name == name.lower() for name in dtypes(table))


@pytest.mark.parametrize("table", TABLES, ids=NAMES)
@pytest.mark.filterwarnings("error")
def test_a_frame_goes_into_duckdb_and_comes_back_with_the_same_types(table: type[Table]) -> None:
    rows = frame(table, [a_row(table)])
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(ddl(table))
        connection.execute(f"insert into {table_name(table)} by name select * from rows")
        stored = connection.sql(f"select * from {table_name(table)}").pl()
    assert stored.schema == pl.Schema(dtypes(table))
    assert validated(table, stored).equals(rows)


@pytest.mark.parametrize("table", TABLES, ids=NAMES)
def test_the_ddl_forbids_null_exactly_where_the_contract_does(table: type[Table]) -> None:
    with duckdb.connect() as connection:
        connection.execute(ddl(table))
        nullable = dict(
            connection.execute(
                "select column_name, is_nullable = 'YES' from information_schema.columns"
            ).fetchall()
        )
    assert nullable == {name: column.nullable for name, column in table.to_schema().columns.items()}


@pytest.mark.parametrize("table", TABLES, ids=NAMES)
def test_a_frame_without_rows_fits(table: type[Table]) -> None:
    assert validated(table, empty(table)).schema == pl.Schema(dtypes(table))


def test_columns_are_matched_by_name_and_come_out_in_the_contracts_order() -> None:
    row = a_row(RowDispositions)
    backwards = pl.DataFrame([row], schema=dtypes(RowDispositions)).select(
        list(reversed(list(row)))
    )
    assert validated(RowDispositions, backwards).columns == list(row)


SECRET = "a user's words"


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"disposition": [SECRET]}, "disposition"),
        ({"source_line": [0]}, "source_line"),
        ({"source_line": [SECRET]}, "source_line"),
        ({"reason": [None]}, "reason"),
        ({SECRET.replace(" ", "_"): [SECRET]}, "1 rows"),
        ({"source_line": [1.5]}, "source_line"),
    ],
)
def test_a_broken_frame_is_refused_without_its_values(
    data: dict[str, list[Any]], named: str
) -> None:
    good = pl.DataFrame([a_row(RowDispositions)], schema=dtypes(RowDispositions))
    broken = good.with_columns(**{name: pl.Series(name, values) for name, values in data.items()})
    with pytest.raises(ContractError) as error:
        validated(RowDispositions, broken)
    assert named in str(error.value)
    assert "row_dispositions" in str(error.value)
    assert SECRET not in str(error.value)
    assert error.value.__cause__ is None
    assert isinstance(error.value, SimPlatformError)


def test_a_missing_column_is_refused_and_named() -> None:
    good = frame(RowDispositions, [a_row(RowDispositions)])
    with pytest.raises(ContractError, match="row_dispositions: 1 rows do not fit"):
        validated(RowDispositions, good.drop("reason"))


def test_a_repeated_key_of_a_one_column_table_is_refused() -> None:
    table = TABLES[NAMES.index("deidentified_corpus")]
    twice = pl.DataFrame([a_row(table)] * 2, schema=dtypes(table))
    with pytest.raises(ContractError, match="conversation_key"):
        validated(table, twice)


def test_a_missing_label_stays_missing() -> None:
    rows = frame(ClassifierScores, [{**a_row(ClassifierScores), "label": None}])
    assert rows["label"].to_list() == [None]


@pytest.mark.parametrize(
    "wrong", [{"source_line": SECRET}, {"source_line": 2**70}, {"reason": ["x", SECRET]}]
)
def test_rows_with_a_value_of_the_wrong_type_are_refused_without_it(wrong: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match="row_dispositions: 1 rows do not fit") as error:
        frame(RowDispositions, [{**a_row(RowDispositions), **wrong}])
    assert SECRET not in str(error.value)
    assert error.value.__cause__ is None


AWKWARD: dict[Any, list[Any]] = {
    pl.String: [None, "", "zz"],
    pl.Int64: [None, -1, 0, 2],
    pl.Float64: [None, -0.1, 0.0, 1.5, float("nan"), float("inf")],
    pl.Boolean: [None],
    pl.Date: [None],
    pl.Datetime: [None],
}


def _kinds() -> dict[str, tuple[type[Table], str]]:
    """One column of each kind that there is (type, null, unique, checks), in the narrowest table
    that has it: pandera takes its time for wide ones.
    """
    found = {}
    for table in sorted(TABLES, key=lambda t: -len(dtypes(t))):
        for name, column in table.to_schema().columns.items():
            found[f"{column.dtype} {column.nullable} {column.unique} {column.checks}"] = (
                table,
                name,
            )
    return found


@pytest.mark.parametrize(("table", "name"), _kinds().values())
def test_the_one_expression_lets_through_exactly_what_pandera_does(
    table: type[Table], name: str
) -> None:
    row = a_row(table)
    for value in AWKWARD[dtypes(table)[name].base_type()]:
        for rows in ([row | {name: value}], [row | {name: value}, row]):
            data = pl.DataFrame(rows, schema=dtypes(table))
            assert _is_refused(lambda data=data: validated(table, data)) == _is_refused(
                lambda data=data: table.validate(data, lazy=True)
            ), value


def _is_refused(check: Callable[[], object]) -> bool:
    try:
        check()
    except (ContractError, SchemaErrors):
        return True
    return False


def test_no_table_has_a_check_that_is_left_to_pandera_alone() -> None:
    assert [table for table in TABLES if _rules(table) is None] == []
