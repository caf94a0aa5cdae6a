"""One asset a SQL model: its table in the warehouse, its checks, its place in the lineage.

Belongs here: turning models into assets. Does not: reading model files (warehouse.sql_models).
"""

from collections.abc import Sequence

import dagster as dg

from sim_platform.flows.registration import refuse_unblinded
from sim_platform.orchestration.checks import gate_check
from sim_platform.orchestration.metadata import markdown
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.resources import Deployment
from sim_platform.warehouse.duckdb_file import Gate, Transaction
from sim_platform.warehouse.sql_models import SqlModel

SHOWN_ROWS = 50
# tables that are no assets, by the last asset that writes them
WRITTEN_BY = {
    "extraction_accounting": "consented_log_extract",
    "quarantined_rows": "deidentified_corpus",
}


def build_sql_assets(models: Sequence[SqlModel]) -> list[dg.AssetsDefinition]:
    return [_asset(model) for model in models]


def build_sql_checks(models: Sequence[SqlModel]) -> list[dg.AssetChecksDefinition]:
    return [
        gate_check(model.name, gate, partitioned=False)
        for model in models
        for gate in _gates(model)
    ]


def _gates(model: SqlModel) -> list[Gate]:
    return [
        Gate(name, f"{model.name}: no row breaks the rule.", f"select ({sql})::bigint as n_bad")
        for name, sql in model.checks.items()
    ]


def build_model(tx: Transaction, model: SqlModel) -> None:
    """Builds the table anew inside the transaction; a broken check rolls back."""
    tx.execute(f"create or replace table {model.name} as {model.sql}")
    tx.pass_gates(_gates(model))


def _asset(model: SqlModel) -> dg.AssetsDefinition:
    columns = [dg.TableColumn(name, description=text) for name, text in model.columns.items()]

    @dg.asset(
        name=model.name,
        deps=sorted({WRITTEN_BY.get(table, table) for table in model.depends_on}),
        group_name=model.schema,
        kinds={"duckdb", "sql"},
        description=model.description,
        metadata={
            "dagster/table_name": model.name,
            "dagster/column_schema": dg.TableSchema(columns=columns),
        },
    )
    @guarded
    def build(deployment: Deployment) -> dg.MaterializeResult[None]:
        warehouse = deployment.warehouse()
        refuse_unblinded(deployment.home(), warehouse)
        with warehouse.transaction() as tx:
            build_model(tx, model)
            rows = tx.query(f"select count(*) as n from {model.name}")["n"][0]  # noqa: S608 - names come from contracts, values are parameters
            shown = tx.query(f"select * from {model.name} limit {SHOWN_ROWS}").to_dicts()  # noqa: S608 - names come from contracts, values are parameters
        return dg.MaterializeResult(
            metadata={"dagster/row_count": int(rows), "rows": markdown(shown)}
        )

    return build
