"""Sets of tool definitions on their way from the vault to the warehouse.

Belongs here: which are new, and refusing those with a direct identifier. Does not: looking for it
(deidentification.tool_sets), which conversation has which set (extraction).
"""

import json

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.tables.extraction import ConsentedLogExtract, ToolSets
from sim_platform.deidentification.tool_sets import identifiers_in
from sim_platform.warehouse.duckdb_file import DuckDBFile

SHOWN = 5  # places of one refusal
OFFERED = """
    select * from tool_sets where tool_set_hash in (
        select tool_set_hash from consented_log_extract)"""
UNUSED_IN_THE_WAREHOUSE = """
    delete from tool_sets where tool_set_hash not in (
        select tool_set_hash from deidentified_corpus where tool_set_hash is not null)"""


def take_tool_sets(vault: DuckDBFile, warehouse: DuckDBFile) -> int:
    """Copies the sets that the extract's conversations were offered and the warehouse has not;
    returns how many. Each is scanned once, when it is copied.

    Raises:
        BadInputError: one holds a direct identifier; names set, tool and path, never the value.
    """
    with vault.transaction() as tx:
        tx.ensure(ConsentedLogExtract, ToolSets)
        offered = tx.query(OFFERED)
    if offered.is_empty():
        return 0
    new = offered.join(warehouse.read(ToolSets), on="tool_set_hash", how="anti")
    for found, tools in new.sort("tool_set_hash").iter_rows():
        if places := list(identifiers_in(json.loads(tools))):
            listed = "; ".join(f"{tool}: {path} ({kind})" for tool, path, kind in places[:SHOWN])
            more = f"; {len(places) - SHOWN} more" if len(places) > SHOWN else ""
            raise BadInputError(
                f"tool set {found}: direct identifiers in its definitions ({listed}{more}). They"
                " would be sent with every request. Put an example from a reserved range there"
                " (example.com, 555-0100, 192.0.2.1) in the log's `tools`, or leave `tools` out of"
                " these rows, and run again."
            )
    with warehouse.transaction() as tx:
        tx.upsert(ToolSets, new)
    return len(new)
