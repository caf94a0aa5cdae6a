"""Stored rows against their contract, in memory that does not grow with the table.

Belongs here: reading a table back and holding it against its contract and key. Does not: rules
across tables (gates).
"""

from collections.abc import Mapping

from sim_platform.contracts.tables.schema import ContractError, Table, key_of, table_name, validated
from sim_platform.warehouse.duckdb_file import DuckDBFile, GateResult, Transaction

ROWS_VALIDATED = 100_000  # rows read together


def contract_holds(file: DuckDBFile, table: type[Table], model_version: str | None) -> GateResult:
    """Whether every stored row (of a release) fits the contract, and each key is there once."""
    name = table_name(table)
    where = "model_version = $v" if model_version else "true"
    params = {"v": model_version} if model_version else {}
    n = 0
    with file.reading() as tx:
        select = f"select * from {name} where {where}"  # noqa: S608 - the name comes from a contract
        for batch in tx.batches(select, params, ROWS_VALIDATED):
            n += len(batch)
            try:
                validated(table, batch)
            except ContractError as error:
                return GateResult(False, {"n_bad": len(batch), "n_rows": n, "broken": str(error)})
        repeated = _repeated_keys(tx, table, where, params)
    return GateResult(repeated == 0, {"n_bad": repeated, "n_rows": n}, is_vacuous=n == 0)


def _repeated_keys(
    tx: Transaction, table: type[Table], where: str, params: Mapping[str, object]
) -> int:
    """Keys that stand more than once. Hashes are grouped first, which DuckDB does in one pass and
    in bounded memory; keys whose hashes repeat are then counted themselves, so that two keys of one
    hash are not taken for one.
    """
    name, keys = table_name(table), ", ".join(key_of(table))
    suspects = f"""
        select hash({keys}) as h from {name} where {where}
        group by h having count(*) > 1"""  # noqa: S608 - names come from contracts
    if not tx.query(f"select exists({suspects}) as repeated", params)["repeated"][0]:
        return 0
    repeated = f"""
        select count(*) as n from (
            select 1 from {name} where {where} and hash({keys}) in ({suspects})
            group by {keys} having count(*) > 1)"""  # noqa: S608 - names come from contracts
    return int(tx.query(repeated, params)["n"][0])
