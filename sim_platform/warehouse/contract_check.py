"""Stored rows against their contract, in memory that does not grow with the table.

Belongs here: reading a table back and holding it against its contract and key. Does not: rules
across tables (gates).
"""

from collections.abc import Mapping

from sim_platform.contracts.tables.schema import ContractError, Table, key_of, table_name, validated
from sim_platform.warehouse.duckdb_file import DuckDBFile, GateResult, Transaction

ROWS_VALIDATED = 100_000  # rows read together
KEYS_COUNTED = 2_000_000  # hashes of keys grouped together, some 100 MB


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
        repeated = _repeated_keys(tx, table, where, params, n)
    return GateResult(repeated == 0, {"n_bad": repeated, "n_rows": n})


def _repeated_keys(
    tx: Transaction, table: type[Table], where: str, params: Mapping[str, object], n: int
) -> int:
    """Keys that stand more than once. Keys whose hashes repeat are counted themselves, so that two
    keys of one hash are not taken for one; the hashes are grouped a part at a time.
    """
    name, keys = table_name(table), ", ".join(key_of(table))
    parts = n // KEYS_COUNTED + 1
    repeated = f"""
        with suspects as (
            select hash({keys}) as h from {name} where {where} and hash({keys}) % $parts = $part
            group by h having count(*) > 1)
        select count(*) as n from (
            select 1 from {name} where {where} and hash({keys}) in (select h from suspects)
            group by {keys} having count(*) > 1)"""  # noqa: S608 - names come from contracts
    return sum(
        int(tx.query(repeated, {**params, "parts": parts, "part": part})["n"][0])
        for part in range(parts)
    )
