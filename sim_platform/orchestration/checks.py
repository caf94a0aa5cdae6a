"""Asset checks: the gates again, asked of the stored tables, for people.

Belongs here: which gate is shown on which asset. Does not: the rules themselves
(warehouse.gates, contracts).
"""

import dagster as dg

from sim_platform.contracts.tables.deidentification import (
    DeidentificationEffect,
    DeidentifiedCorpus,
)
from sim_platform.contracts.tables.estimation import Preregistration, RateComparison, ReleaseGate
from sim_platform.contracts.tables.extraction import ConsentedLogExtract
from sim_platform.contracts.tables.forecasting import ForecastScorecard, RateForecast
from sim_platform.contracts.tables.grading import Calibration, ClassifierScores, ProductionScores
from sim_platform.contracts.tables.replay import CandidateCompletions, ToolPairs
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import Table, key_of, table_name
from sim_platform.deidentification.deidentify import keyed_hash
from sim_platform.estimation.verdict import release_verdict
from sim_platform.flows.deidentification.known_accounts import known_values_are_absent
from sim_platform.flows.vault import vault_key
from sim_platform.orchestration.metadata import check_result
from sim_platform.orchestration.partitions import MODEL_VERSIONS
from sim_platform.orchestration.privacy import guarded
from sim_platform.orchestration.resources import Deployment
from sim_platform.warehouse import gates
from sim_platform.warehouse.contract_check import contract_holds
from sim_platform.warehouse.duckdb_file import Gate

RELEASE_GATES: dict[type[Table], tuple[Gate, ...]] = {
    StratifiedSample: (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        gates.EVERY_PREFIX_ENDS_WITH_ITS_USER_TURN,
    ),
    CandidateCompletions: (
        gates.EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM,
        gates.ONE_MODEL_ANSWERED_EACH_ARM,
    ),
    ClassifierScores: (gates.EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR,),
    DeidentificationEffect: (),
    ProductionScores: (),
    Calibration: (),
    Preregistration: (),
    RateComparison: (gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,),
    RateForecast: (),
    ForecastScorecard: (),
    ReleaseGate: (
        gates.EVERY_COMPARED_BEHAVIOUR_HAS_A_VERDICT,
        gates.NO_GATE_BEHAVIOUR_BLOCKS_THE_RELEASE,
    ),
}
LOG_GATES: dict[type[Table], tuple[Gate, ...]] = {
    ConsentedLogExtract: (
        gates.EVERY_LOG_ROW_IS_ACCOUNTED_FOR,
        gates.QUARANTINED_ROWS_HAVE_A_PLACE_AND_A_REASON,
    ),
    DeidentifiedCorpus: (
        gates.EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
        gates.QUARANTINE_STAYS_BELOW_TWO_PERCENT,
        gates.NO_FORGOTTEN_USER_SURVIVES,
        gates.CANARIES_ARE_MASKED,
        gates.DEIDENTIFICATION_IS_DETERMINISTIC,
        gates.SCANNING_AGAIN_FINDS_NEXT_TO_NOTHING,
        gates.A_SECOND_DETECTOR_FINDS_LITTLE,
        gates.EVERY_STRATUM_HAS_ENOUGH_USERS,
        gates.EVERY_ANSWER_BELONGS_TO_A_CONVERSATION_OF_THE_CORPUS,
    ),
    ToolPairs: (
        gates.EVERY_PAIR_STANDS_IN_THE_CORPUS,
        gates.EVERY_CALL_OF_A_STEP_STANDS_ONCE_AND_IN_ORDER,
    ),
}
CONTRACT_CHECK = "rows_fit_the_contract_and_keys_are_unique"
WARNINGS = (
    gates.ONE_MODEL_ANSWERED_EACH_ARM,
    gates.SCANNING_AGAIN_FINDS_NEXT_TO_NOTHING,
    gates.A_SECOND_DETECTOR_FINDS_LITTLE,
)


def build_checks() -> list[dg.AssetChecksDefinition]:
    """Every asset's gates, and that its stored rows fit the contract with each key once."""
    checks = [
        gate_check(table_name(table), gate, partitioned=False)
        for table, many in LOG_GATES.items()
        for gate in many
    ]
    checks += [
        gate_check(table_name(table), gate, partitioned=True)
        for table, many in RELEASE_GATES.items()
        for gate in many
    ]
    checks += [_contract_check(table, partitioned=False) for table in LOG_GATES]
    checks += [_contract_check(table, partitioned=True) for table in RELEASE_GATES]
    return [*checks, no_known_value_of_an_account_is_left]


def gate_check(asset: str, gate: Gate, *, partitioned: bool) -> dg.AssetChecksDefinition:
    """The gate, asked of the stored tables."""

    @dg.asset_check(
        asset=asset,
        name=gate.name,
        description=gate.description,
        partitions_def=MODEL_VERSIONS if partitioned else None,
    )
    @guarded
    def check(
        context: dg.AssetCheckExecutionContext, deployment: Deployment
    ) -> dg.AssetCheckResult:
        warehouse = deployment.warehouse()
        says = None
        if gate is gates.NO_GATE_BEHAVIOUR_BLOCKS_THE_RELEASE:
            decisions = warehouse.read(ReleaseGate, {"model_version": context.partition_key})
            says = ": ".join(release_verdict(decisions))
        return check_result(
            gate.check(warehouse.query, context.partition_key if partitioned else None),
            warns=gate in WARNINGS,
            says=says,
        )

    return check


@dg.asset_check(
    asset="deidentified_corpus",
    description=(
        "The join on what is stored: no conversation holds a value that is known about its account"
        " (accounts file, metadata)."
    ),
)
@guarded
def no_known_value_of_an_account_is_left(
    context: dg.AssetCheckExecutionContext, deployment: Deployment
) -> dg.AssetCheckResult:
    vault = deployment.vault()
    secret = vault_key(vault)
    return check_result(
        known_values_are_absent(
            deployment.home(),
            vault,
            deployment.warehouse(),
            lambda c: keyed_hash(secret, "conversation", c),
        )
    )


def _contract_check(table: type[Table], *, partitioned: bool) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table_name(table),
        name=CONTRACT_CHECK,
        description=(
            f"Every stored row fits the contract; ({', '.join(key_of(table))}) identifies it."
        ),
        partitions_def=MODEL_VERSIONS if partitioned else None,
    )
    @guarded
    def check(
        context: dg.AssetCheckExecutionContext, deployment: Deployment
    ) -> dg.AssetCheckResult:
        file = deployment.vault() if table is ConsentedLogExtract else deployment.warehouse()
        return check_result(
            contract_holds(file, table, context.partition_key if partitioned else None)
        )

    return check
