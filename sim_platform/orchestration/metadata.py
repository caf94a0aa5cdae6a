"""What the UI shows beside an asset: its columns, its row counts, its tables.

Belongs here: Dagster metadata values. Does not: reading the warehouse.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from sim_platform.contracts.escaping import markdown_cell
from sim_platform.contracts.tables.schema import Table, dtypes, table_name
from sim_platform.warehouse.duckdb_file import GateResult

VACUOUS = "vacuous"  # of a check that looked at nothing


def column_docs(table: type[Table]) -> dict[str, Any]:
    """Definition metadata: the table's name and its contract's columns."""
    columns = table.to_schema().columns
    docs = [
        dg.TableColumn(
            name,
            str(dtype),
            description=columns[name].description,
            constraints=dg.TableColumnConstraints(nullable=columns[name].nullable),
        )
        for name, dtype in dtypes(table).items()
    ]
    return {
        "dagster/table_name": table_name(table),
        "dagster/column_schema": dg.TableSchema(columns=docs),
    }


def check_result(
    result: GateResult, *, warns: bool = False, says: str | None = None
) -> dg.AssetCheckResult:
    """What a gate saw, for people. One that looked at nothing has passed, since it stops nobody,
    and says that this means nothing.
    """
    severity = dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR
    facts = {name: value for name, value in result.facts.items() if value is not None}
    return dg.AssetCheckResult(
        passed=result.passed,
        severity=severity,
        description="looked at nothing: it passed and says nothing" if result.is_vacuous else None,
        metadata=facts
        | ({VACUOUS: True} if result.is_vacuous else {})
        | ({"says": says} if says else {}),
    )


def counts(frame: pl.DataFrame, by: str) -> dict[str, int]:
    """Rows per value of a column, largest first."""
    rows = frame.group_by(by).len().sort(["len", by], descending=[True, False]).rows()
    return {str(value): int(n) for value, n in rows}


def markdown(rows: Sequence[Mapping[str, object]]) -> dg.MarkdownMetadataValue:
    """Rows of short values as a table."""
    if not rows:
        return dg.MetadataValue.md("(no rows)")
    names = list(rows[0])
    lines = ["| " + " | ".join(map(markdown_cell, names)) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(markdown_cell(row[n]) for n in names) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def picture(png: bytes) -> dg.MarkdownMetadataValue:
    """A PNG that the UI shows inline."""
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})")
