"""One truth per table: the pandera model gives the dtypes, the DDL, the column docs in the UI
and the check.

Belongs here: table names, keys, columns, their meaning and range. Does not: reading or writing
(warehouse), rules across tables (gates).

JSON columns are canonical JSON text.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any

import pandera.polars as pa
import polars as pl
from pandera.api.polars.model_config import BaseConfig
from pandera.errors import SchemaError, SchemaErrors

from sim_platform.contracts.errors import SimPlatformError

Utc = Annotated[pl.Datetime, "us", "UTC"]
STATUSES = ["completed", "refused", "failed", "truncated"]
EARLIER_SAMPLE = (
    "prefixes of the sample that this speaks of, where another was drawn since and is not complete;"
    " else null"
)
GRADED_ON = (
    "text of a recorded response that was graded: as in the log, inside the vault, or as in the"
    " corpus; null for what is not recorded, and in rows of an older version"
)
OFFERED_TOOLS = "the tools that were offered, in tool_sets; null where the log names none"
ARM_NAMES = ["candidate", "control", "recorded"]


class ContractError(SimPlatformError):
    """A frame does not fit its table's contract; names the table, column, rule and number of rows,
    never a value.
    """


class Table(pa.DataFrameModel):
    """A table: columns with meaning, and (in `Config.metadata`) the columns that identify a row."""

    class Config(BaseConfig):
        strict = True
        ordered = False


def table_name(table: type[Table]) -> str:
    """Name in DuckDB, which is also the asset key: the class name in snake case."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", table.__name__).lower()


def key_of(table: type[Table]) -> tuple[str, ...]:
    """Columns that identify a row."""
    metadata = table.Config.metadata or {}
    return tuple(metadata["key"])


def dtypes(table: type[Table]) -> dict[str, pl.DataType]:
    """Column name to polars dtype, in the contract's order."""
    return {name: column.dtype.type for name, column in table.to_schema().columns.items()}


def empty(table: type[Table]) -> pl.DataFrame:
    """A frame without rows that fits the contract."""
    return pl.DataFrame(schema=dtypes(table))


_CHECKS: Mapping[str, Callable[[pl.Expr, Mapping[str, Any]], pl.Expr]] = {
    "greater_than_or_equal_to": lambda column, limit: column >= limit["min_value"],
    "greater_than": lambda column, limit: column > limit["min_value"],
    "less_than_or_equal_to": lambda column, limit: column <= limit["max_value"],
    "isin": lambda column, limit: column.is_in(limit["allowed_values"]),
}


@cache
def _rules(table: type[Table]) -> pl.Expr | None:
    """Everything the contract asks of values, as one expression: pandera goes through a frame
    column by column and check by check, 40 ms a table, and is asked only where this says no.

    None where the contract has a check that is not known here; then pandera alone decides.
    """
    wanted = [pl.lit(True)]
    for name, column in table.to_schema().columns.items():
        values = pl.col(name)
        if not column.nullable:
            wanted.append(values.null_count() == 0)
            if column.dtype.type.is_float():
                wanted.append(values.is_nan().any().not_())
        if column.unique:
            wanted.append(values.n_unique() == pl.len())
        for check in column.checks:
            if check.name not in _CHECKS:
                return None
            wanted.append(_CHECKS[check.name](values, check.statistics).all(ignore_nulls=True))
    return pl.all_horizontal(wanted)


def frame(table: type[Table], rows: list[dict[str, object]]) -> pl.DataFrame:
    """Rows as a validated frame of `table`; columns in the contract's order."""
    try:
        data = pl.DataFrame(rows, schema=dtypes(table), orient="row")
    except (
        TypeError,
        ValueError,
        OverflowError,
        pl.exceptions.PolarsError,
    ) as error:  # its text quotes the value
        raise ContractError(
            f"{table_name(table)}: {len(rows)} rows do not fit the contract"
            f" ({type(error).__name__}: a value is not of its column's type)"
        ) from None
    return validated(table, data)


def validated(table: type[Table], data: pl.DataFrame) -> pl.DataFrame:
    """`data` with the contract's columns in order, or ContractError naming table, column, rule and
    number of rows (never a value).
    """
    if (
        dict(data.schema) == dtypes(table)
        and (rules := _rules(table)) is not None
        and data.select(rules).item()
    ):
        return data.select(list(dtypes(table)))
    try:
        table.validate(data, lazy=True)
    except SchemaErrors as error:
        broken = [
            f"{e.schema.name if e.schema is not None else ''}:"
            f" {e.reason_code.name if e.reason_code else e.check}"
            for e in error.schema_errors
        ]
    except SchemaError as error:
        broken = [
            f"{error.schema.name}: {error.reason_code.name if error.reason_code else 'invalid'}"
        ]
    else:
        return data.select(list(dtypes(table)))
    raise ContractError(
        f"{table_name(table)}: {len(data)} rows do not fit the contract"
        f" ({'; '.join(sorted(set(broken)))})"
    )
