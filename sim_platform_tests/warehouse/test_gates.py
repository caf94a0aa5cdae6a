"""Every gate on the smallest stored example that keeps its rule, and on each way of breaking it."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim_platform.contracts.tables.deidentification import (
    Canaries,
    DeidAudits,
    DeidentifiedCorpus,
    StrataSuppression,
)
from sim_platform.contracts.tables.estimation import RateComparison, ReleaseGate
from sim_platform.contracts.tables.every import TABLES
from sim_platform.contracts.tables.extraction import Erasures, ExtractionAccounting, QuarantinedRows
from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.replay import CandidateCompletions, ToolPairs
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import Table, dtypes, table_name
from sim_platform.registry.models import Plan
from sim_platform.sampling.draw import draw
from sim_platform.sampling.prefixes import prefix_id
from sim_platform.warehouse import gates
from sim_platform.warehouse.duckdb_file import DuckDBFile, Gate, GateResult

Rows = list[dict[str, Any]]
Stored = dict[type[Table], Rows]

ZERO: dict[Any, Any] = {
    pl.String: "x",
    pl.Int64: 0,
    pl.Float64: 0.0,
    pl.Boolean: False,
    pl.Date: date(2026, 1, 5),
    pl.Datetime: datetime(2026, 1, 5, tzinfo=UTC),
}
ALL_GATES = [gate for gate in vars(gates).values() if isinstance(gate, Gate)]


def row(table: type[Table], **values: Any) -> dict[str, Any]:
    columns = table.to_schema().columns
    plain = {
        name: None if columns[name].nullable else ZERO[dtype.base_type()]
        for name, dtype in dtypes(table).items()
    }
    assert set(values) <= set(plain)
    return {**plain, **values}


def accounted(file: str = "log.jsonl", **n: int) -> Rows:
    """Rows of extraction_accounting: accounted(rows_in=3, extracted=2, dropped=1)."""
    return [
        row(
            ExtractionAccounting,
            source_file=file,
            disposition=d,
            reason="" if d in ("rows_in", "extracted") else "why",
            n=count,
        )
        for d, count in n.items()
    ]


def unread(line: int | None = 1, **values: Any) -> dict[str, Any]:
    return row(
        QuarantinedRows,
        **{
            "stage": "extraction",
            "source_file": "log.jsonl",
            "source_line": line,
            "reason": "bad_json",
            **values,
        },
    )


def refused(key: str | None, **values: Any) -> dict[str, Any]:
    return row(
        QuarantinedRows,
        **{"stage": "deidentification", "conversation_key": key, "reason": "detector", **values},
    )


def canary(**values: Any) -> dict[str, Any]:
    return row(Canaries, **{"deid_version": "x", "type": "EMAIL", "planted": 30, **values})


def audit(measure: str, n: int, n_bad: int) -> Rows:
    return [row(DeidAudits, deid_version="x", measure=measure, n=n, n_bad=n_bad)]


def people(surfaces: str, k: int = 2) -> Stored:
    """A corpus of one person a letter, whose surface is the letter, with the strata
    column `surface`.
    """
    rows = [
        corpus(str(i), user_key=f"u{i}", metadata=json.dumps({"surface": letter}))[0]
        for i, letter in enumerate(surfaces)
    ]
    return {
        DeidentifiedCorpus: rows,
        StrataSuppression: [row(StrataSuppression, strata_columns='["surface"]', k=k)],
    }


def corpus(*keys: str, **values: Any) -> Rows:
    return [
        row(
            DeidentifiedCorpus,
            **{"conversation_key": key, "model_version": "v1", "n_user_turns": 1, **values},
        )
        for key in keys
    ]


def call(key: str, position: int = 0, **values: Any) -> dict[str, Any]:
    """A tool call of conversation `key` with its result."""
    made = {"conversation_key": key, "tool": "t", "position": position, "result": "{}"}
    return row(ToolPairs, **made, **values)


def prefix(key: str, weight: float = 1.0, **values: Any) -> dict[str, Any]:
    text = json.dumps([{"role": "user", "content": "x"}])
    return row(
        StratifiedSample,
        **{
            "model_version": "v2",
            "prefix_id": f"p{key}",
            "conversation_key": key,
            "stratum": "all",
            "prefix": text,
            "weight": weight,
            "inclusion_probability": 1 / weight,
            **values,
        },
    )


def completion(key: str, arm: str = "candidate", k: int = 0, **values: Any) -> dict[str, Any]:
    return row(
        CandidateCompletions,
        **{
            "model_version": "v2",
            "prefix_id": f"p{key}",
            "arm": arm,
            "k": k,
            "status": "completed",
            **values,
        },
    )


def score(
    key: str, behavior: str = "b", arm: str = "candidate", k: int = 0, **values: Any
) -> dict[str, Any]:
    return row(
        ClassifierScores,
        **{
            "model_version": "v2",
            "prefix_id": f"p{key}",
            "behavior": behavior,
            "arm": arm,
            "k": k,
            "applies": True,
            "label": True,
            **values,
        },
    )


def rate(behavior: str = "b", arm: str = "candidate", **values: Any) -> dict[str, Any]:
    known = {
        "model_version": "v2",
        "replaces": "v1",
        "behavior": behavior,
        "arm": arm,
        "undesired": "increase",
        "measures": "model",
    }
    return row(
        RateComparison,
        **{
            **known,
            "n": 1,
            "n_missing": 0,
            "events": 1,
            "rate": 1.0,
            "low": 0.1,
            "high": 4.0,
            **values,
        },
    )


def decision(behavior: str = "b", **values: Any) -> dict[str, Any]:
    known = {
        "model_version": "v2",
        "behavior": behavior,
        "tier": "gate",
        "verdict": "PASS",
        "against": "control",
        "margin": 2.0,
        "block_above": 1.25,
        "harm_high": 1.5,
    }
    return row(ReleaseGate, **{**known, **values})


@pytest.fixture
def ask(tmp_path: Path) -> Callable[[Gate, Stored], GateResult]:
    def check(gate: Gate, stored: Stored) -> GateResult:
        path = tmp_path / "w.duckdb"
        path.unlink(missing_ok=True)
        file = DuckDBFile(path)
        with file.transaction() as tx:
            tx.ensure(*TABLES)
            for table, rows in stored.items():
                # repeated keys are the gates' business here, not the contracts'
                tx.copy(table_name(table), pl.DataFrame(rows, schema=dtypes(table), orient="row"))
        return gate.check(file.query, "v2")

    return check


KEEPS: dict[str, tuple[Gate, Stored]] = {
    "nothing extracted": (gates.EVERY_LOG_ROW_IS_ACCOUNTED_FOR, {}),
    "every row has its place": (
        gates.EVERY_LOG_ROW_IS_ACCOUNTED_FOR,
        {ExtractionAccounting: accounted(rows_in=6, extracted=3, dropped=2, quarantined=1)},
    ),
    "a file without rows": (
        gates.EVERY_LOG_ROW_IS_ACCOUNTED_FOR,
        {ExtractionAccounting: accounted(rows_in=0)},
    ),
    "a file of which all was dropped": (
        gates.EVERY_LOG_ROW_IS_ACCOUNTED_FOR,
        {ExtractionAccounting: accounted(rows_in=2, dropped=2)},
    ),
    "nothing quarantined": (
        gates.QUARANTINED_ROWS_HAVE_A_PLACE_AND_A_REASON,
        {ExtractionAccounting: accounted(rows_in=1, extracted=1)},
    ),
    "a quarantined row and a quarantined conversation": (
        gates.QUARANTINED_ROWS_HAVE_A_PLACE_AND_A_REASON,
        {
            ExtractionAccounting: accounted(rows_in=1, quarantined=1),
            QuarantinedRows: [unread(), refused("a")],
        },
    ),
    "zero extracted conversations": (
        gates.EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
        {ExtractionAccounting: accounted(rows_in=0)},
    ),
    "one in the corpus, one quarantined": (
        gates.EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
        {
            ExtractionAccounting: accounted(extracted=2),
            DeidentifiedCorpus: corpus("a"),
            QuarantinedRows: [refused("b"), unread()],
        },
    ),
    "canaries that are gone": (
        gates.CANARIES_ARE_MASKED,
        {DeidentifiedCorpus: corpus("a"), Canaries: [canary(planted=30)]},
    ),
    "one name in a hundred that can be read": (
        gates.CANARIES_ARE_MASKED,
        {
            DeidentifiedCorpus: corpus("a"),
            Canaries: [canary(type="PERSON", planted=300, survived=3)],
        },
    ),
    "canaries of a version that made nothing of the corpus": (
        gates.CANARIES_ARE_MASKED,
        {DeidentifiedCorpus: corpus("a"), Canaries: [canary(deid_version="old", survived=1)]},
    ),
    "the same bytes twice": (
        gates.DEIDENTIFICATION_IS_DETERMINISTIC,
        {DeidentifiedCorpus: corpus("a"), DeidAudits: audit("determinism", 9, 0)},
    ),
    "a little found by scanning again": (
        gates.SCANNING_AGAIN_FINDS_NEXT_TO_NOTHING,
        {DeidentifiedCorpus: corpus("a"), DeidAudits: audit("idempotence", 40_000, 199)},
    ),
    "too little scanned again to judge": (
        gates.SCANNING_AGAIN_FINDS_NEXT_TO_NOTHING,
        {DeidentifiedCorpus: corpus("a"), DeidAudits: audit("idempotence", 19_999, 500)},
    ),
    "one in twenty that a second detector saw": (
        gates.A_SECOND_DETECTOR_FINDS_LITTLE,
        {DeidentifiedCorpus: corpus("a"), DeidAudits: audit("second_detector", 1000, 50)},
    ),
    "strata of k people": (gates.EVERY_STRATUM_HAS_ENOUGH_USERS, people("aabbb")),
    "fewer people than k, all alike": (gates.EVERY_STRATUM_HAS_ENOUGH_USERS, people("aaa", k=10)),
    "someone forgotten who is gone": (
        gates.NO_FORGOTTEN_USER_SURVIVES,
        {
            Erasures: [row(Erasures, user_key="u")],
            DeidentifiedCorpus: corpus("a"),
            StratifiedSample: [prefix("a")],
        },
    ),
    "answers to what is in the corpus": (
        gates.EVERY_ANSWER_BELONGS_TO_A_CONVERSATION_OF_THE_CORPUS,
        {
            DeidentifiedCorpus: corpus("a", n_user_turns=2),
            CandidateCompletions: [
                {**completion("a"), "prefix_id": prefix_id("a", turn)} for turn in (0, 1)
            ],
        },
    ),
    "calls of what is in the corpus": (
        gates.EVERY_PAIR_STANDS_IN_THE_CORPUS,
        {DeidentifiedCorpus: corpus("a"), ToolPairs: [call("a"), call("a", 1)]},
    ),
    "calls of a step in order, one without a result": (
        gates.EVERY_CALL_OF_A_STEP_STANDS_ONCE_AND_IN_ORDER,
        {ToolPairs: [call("a"), call("a", 1) | {"result": None, "problem": "no_result"}]},
    ),
    "no conversation and no quarantine": (gates.QUARANTINE_STAYS_BELOW_TWO_PERCENT, {}),
    "exactly two percent": (
        gates.QUARANTINE_STAYS_BELOW_TWO_PERCENT,
        {
            DeidentifiedCorpus: corpus(*(str(i) for i in range(49))),
            QuarantinedRows: [refused("x"), unread(), unread(2)],
        },
    ),
    "a census": (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        {DeidentifiedCorpus: corpus("a", "b"), StratifiedSample: [prefix("a"), prefix("b")]},
    ),
    "one of three": (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        {DeidentifiedCorpus: corpus("a", "b", "c"), StratifiedSample: [prefix("a", 3.0)]},
    ),
    "strata of their own weights": (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        {
            DeidentifiedCorpus: corpus(*"abcde"),
            StratifiedSample: [
                prefix("a", 1.5, stratum="s"),
                prefix("b", 1.5, stratum="s"),
                prefix("d", 2.0, stratum="t"),
            ],
        },
    ),
    "a turn drawn within its conversation": (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        {
            DeidentifiedCorpus: corpus("a", "b", n_user_turns=3) + corpus("c"),
            StratifiedSample: [prefix("a", 4.5), prefix("b", 4.5)],
        },
    ),
    "conversations of another version and of other weeks": (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        {
            DeidentifiedCorpus: corpus("a")
            + corpus("b", model_version="v0")
            + corpus("c", week=date(2025, 1, 6))
            + corpus("d", n_user_turns=0),
            StratifiedSample: [prefix("a")],
        },
    ),
    "another release's sample": (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        {
            DeidentifiedCorpus: corpus("a"),
            StratifiedSample: [prefix("a"), prefix("z", 1.7, model_version="v3")],
        },
    ),
    "a prefix that ends with the user": (
        gates.EVERY_PREFIX_ENDS_WITH_ITS_USER_TURN,
        {StratifiedSample: [prefix("a")]},
    ),
    "one outcome for each arm and repeat": (
        gates.EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM,
        {
            StratifiedSample: [prefix("a")],
            CandidateCompletions: [
                completion("a"),
                completion("a", k=1),
                completion("a", "control"),
                completion("a", "control", 1),
            ],
        },
    ),
    "a failed outcome is an outcome": (
        gates.EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM,
        {
            StratifiedSample: [prefix("a")],
            CandidateCompletions: [completion("a", status="failed", reason="timeout")],
        },
    ),
    "outcomes that a smaller sample no longer needs": (
        gates.EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM,
        {StratifiedSample: [prefix("a")], CandidateCompletions: [completion("a"), completion("b")]},
    ),
    "one model behind each arm": (
        gates.ONE_MODEL_ANSWERED_EACH_ARM,
        {
            CandidateCompletions: [
                completion("a", served_model="m-1"),
                completion("b", served_model="m-1"),
                completion("a", "control", served_model="m-0"),
            ]
        },
    ),
    "answers that name no model": (
        gates.ONE_MODEL_ANSWERED_EACH_ARM,
        {CandidateCompletions: [completion("a"), completion("b", served_model="m-1")]},
    ),
    "a score for each outcome": (
        gates.EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR,
        {
            StratifiedSample: [prefix("a")],
            CandidateCompletions: [completion("a"), completion("b")],
            ClassifierScores: [
                score("a"),
                score("a", arm="recorded", label=None, missing_reason="no_response:failed"),
                score("a", "c", label=None, applies=False),
                score("a", "c", arm="recorded", label=False),
            ],
        },
    ),
    "arms without recorded": (
        gates.EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR,
        {
            StratifiedSample: [prefix("a")],
            CandidateCompletions: [completion("a")],
            ClassifierScores: [score("a"), score("z", model_version="v3")],
        },
    ),
    "a rate inside its interval": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {ClassifierScores: [score("a")], RateComparison: [rate()]},
    ),
    "no event": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {
            ClassifierScores: [score("a", label=False)],
            RateComparison: [rate(rate=0.0, low=0.0, high=3.7, events=0)],
        },
    ),
    "nothing eligible": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {
            ClassifierScores: [score("a", applies=False, label=None)],
            RateComparison: [rate(n=0, events=0, rate=None, low=None, high=None)],
        },
    ),
    "all missing": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {
            ClassifierScores: [score("a", label=None, missing_reason="x")],
            RateComparison: [rate(n=0, n_missing=1, events=0, rate=None, low=None, high=None)],
        },
    ),
    "a decision for each compared behaviour": (
        gates.EVERY_COMPARED_BEHAVIOUR_HAS_A_VERDICT,
        {
            RateComparison: [rate(), rate(arm="control")],
            ReleaseGate: [decision(), decision("never_graded", verdict="INCONCLUSIVE")],
        },
    ),
    "a pass by the ceiling": (
        gates.EVERY_COMPARED_BEHAVIOUR_HAS_A_VERDICT,
        {
            RateComparison: [rate()],
            ReleaseGate: [decision(harm_high=9.0, ceiling=0.01, rate_high=0.005)],
        },
    ),
    "nothing blocks": (
        gates.NO_GATE_BEHAVIOUR_BLOCKS_THE_RELEASE,
        {
            ReleaseGate: [
                decision(),
                decision("c", verdict="INCONCLUSIVE"),
                decision(model_version="v3", verdict="BLOCK"),
            ]
        },
    ),
    "another release's rates": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {
            ClassifierScores: [score("a"), score("a", model_version="v3")],
            RateComparison: [rate(), rate("c", model_version="v4")],
        },
    ),
}

BREAKS: dict[str, tuple[Gate, Stored]] = {
    "a compared behaviour without decision": (
        gates.EVERY_COMPARED_BEHAVIOUR_HAS_A_VERDICT,
        {RateComparison: [rate(), rate("c")], ReleaseGate: [decision()]},
    ),
    "two decisions for one behaviour": (
        gates.EVERY_COMPARED_BEHAVIOUR_HAS_A_VERDICT,
        {RateComparison: [rate()], ReleaseGate: [decision(), decision()]},
    ),
    "a pass beyond the margin": (
        gates.EVERY_COMPARED_BEHAVIOUR_HAS_A_VERDICT,
        {RateComparison: [rate()], ReleaseGate: [decision(harm_high=2.5)]},
    ),
    "a pass above the ceiling": (
        gates.EVERY_COMPARED_BEHAVIOUR_HAS_A_VERDICT,
        {RateComparison: [rate()], ReleaseGate: [decision(ceiling=0.01, rate_high=0.02)]},
    ),
    "a behaviour blocks": (
        gates.NO_GATE_BEHAVIOUR_BLOCKS_THE_RELEASE,
        {ReleaseGate: [decision(), decision("c", verdict="BLOCK")]},
    ),
    "a row is lost": (
        gates.EVERY_LOG_ROW_IS_ACCOUNTED_FOR,
        {ExtractionAccounting: accounted(rows_in=3, extracted=2)},
    ),
    "a row came twice": (
        gates.EVERY_LOG_ROW_IS_ACCOUNTED_FOR,
        {ExtractionAccounting: accounted(rows_in=1, extracted=1, dropped=1)},
    ),
    "a file's rows went to another file": (
        gates.EVERY_LOG_ROW_IS_ACCOUNTED_FOR,
        {
            ExtractionAccounting: accounted("a", rows_in=2, extracted=1)
            + accounted("b", rows_in=1, extracted=2)
        },
    ),
    "rows of a file that nobody counted": (
        gates.EVERY_LOG_ROW_IS_ACCOUNTED_FOR,
        {ExtractionAccounting: accounted(extracted=1)},
    ),
    "a file that was counted and of which nothing is known": (
        gates.EVERY_LOG_ROW_IS_ACCOUNTED_FOR,
        {ExtractionAccounting: accounted(rows_in=1)},
    ),
    "quarantined without a reason": (
        gates.QUARANTINED_ROWS_HAVE_A_PLACE_AND_A_REASON,
        {ExtractionAccounting: accounted(quarantined=1), QuarantinedRows: [unread(reason="")]},
    ),
    "quarantined without a line": (
        gates.QUARANTINED_ROWS_HAVE_A_PLACE_AND_A_REASON,
        {ExtractionAccounting: accounted(quarantined=1), QuarantinedRows: [unread(None)]},
    ),
    "quarantined without a file": (
        gates.QUARANTINED_ROWS_HAVE_A_PLACE_AND_A_REASON,
        {
            ExtractionAccounting: accounted(quarantined=1),
            QuarantinedRows: [unread(source_file=None)],
        },
    ),
    "a quarantined conversation without its key": (
        gates.QUARANTINED_ROWS_HAVE_A_PLACE_AND_A_REASON,
        {QuarantinedRows: [refused(None)]},
    ),
    "counted as quarantined and not listed": (
        gates.QUARANTINED_ROWS_HAVE_A_PLACE_AND_A_REASON,
        {ExtractionAccounting: accounted(rows_in=1, quarantined=1)},
    ),
    "listed as quarantined and not counted": (
        gates.QUARANTINED_ROWS_HAVE_A_PLACE_AND_A_REASON,
        {QuarantinedRows: [unread()]},
    ),
    "a conversation lost in de-identification": (
        gates.EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
        {ExtractionAccounting: accounted(extracted=2), DeidentifiedCorpus: corpus("a")},
    ),
    "a conversation that was not extracted": (
        gates.EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
        {DeidentifiedCorpus: corpus("a")},
    ),
    "one twice and one lost": (
        gates.EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
        {ExtractionAccounting: accounted(extracted=2), DeidentifiedCorpus: corpus("a", "a")},
    ),
    "one in both places and one lost": (
        gates.EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
        {
            ExtractionAccounting: accounted(extracted=2),
            DeidentifiedCorpus: corpus("a"),
            QuarantinedRows: [refused("a")],
        },
    ),
    "a canary that can be read": (
        gates.CANARIES_ARE_MASKED,
        {
            DeidentifiedCorpus: corpus("a"),
            Canaries: [canary(planted=300), canary(type="PHONE", planted=300, survived=1)],
        },
    ),
    "more than one name in a hundred that can be read": (
        gates.CANARIES_ARE_MASKED,
        {
            DeidentifiedCorpus: corpus("a"),
            Canaries: [canary(type="PERSON", planted=300, survived=4)],
        },
    ),
    "other bytes the second time": (
        gates.DEIDENTIFICATION_IS_DETERMINISTIC,
        {DeidentifiedCorpus: corpus("a"), DeidAudits: audit("determinism", 9, 1)},
    ),
    "much found by scanning again": (
        gates.SCANNING_AGAIN_FINDS_NEXT_TO_NOTHING,
        {DeidentifiedCorpus: corpus("a"), DeidAudits: audit("idempotence", 40_000, 200)},
    ),
    "one in ten that a second detector saw": (
        gates.A_SECOND_DETECTOR_FINDS_LITTLE,
        {DeidentifiedCorpus: corpus("a"), DeidAudits: audit("second_detector", 1000, 100)},
    ),
    "a stratum of one person": (gates.EVERY_STRATUM_HAS_ENOUGH_USERS, people("aab")),
    "someone forgotten in the corpus": (
        gates.NO_FORGOTTEN_USER_SURVIVES,
        {Erasures: [row(Erasures, user_key="u")], DeidentifiedCorpus: corpus("a", user_key="u")},
    ),
    "someone forgotten in a sample": (
        gates.NO_FORGOTTEN_USER_SURVIVES,
        {Erasures: [row(Erasures, user_key="u")], StratifiedSample: [prefix("a", user_key="u")]},
    ),
    "an answer without its conversation": (
        gates.EVERY_ANSWER_BELONGS_TO_A_CONVERSATION_OF_THE_CORPUS,
        {
            DeidentifiedCorpus: corpus("a"),
            CandidateCompletions: [{**completion("a"), "prefix_id": prefix_id("b", 0)}],
        },
    ),
    "an answer to a turn that is not there": (
        gates.EVERY_ANSWER_BELONGS_TO_A_CONVERSATION_OF_THE_CORPUS,
        {
            DeidentifiedCorpus: corpus("a"),
            CandidateCompletions: [{**completion("a"), "prefix_id": prefix_id("a", 1)}],
        },
    ),
    "a call without its conversation": (
        gates.EVERY_PAIR_STANDS_IN_THE_CORPUS,
        {DeidentifiedCorpus: corpus("a"), ToolPairs: [call("b")]},
    ),
    "a call of a turn that is not there": (
        gates.EVERY_PAIR_STANDS_IN_THE_CORPUS,
        {DeidentifiedCorpus: corpus("a"), ToolPairs: [call("a", turn=1)]},
    ),
    "a call of an earlier version of the conversation": (
        gates.EVERY_PAIR_STANDS_IN_THE_CORPUS,
        {DeidentifiedCorpus: corpus("a"), ToolPairs: [call("a", deid_version="older")]},
    ),
    "a position that is left out": (
        gates.EVERY_CALL_OF_A_STEP_STANDS_ONCE_AND_IN_ORDER,
        {ToolPairs: [call("a"), call("a", 2)]},
    ),
    "a call that stands twice": (
        gates.EVERY_CALL_OF_A_STEP_STANDS_ONCE_AND_IN_ORDER,
        {ToolPairs: [call("a"), call("a")]},
    ),
    "a call without a result that does not say so": (
        gates.EVERY_CALL_OF_A_STEP_STANDS_ONCE_AND_IN_ORDER,
        {ToolPairs: [call("a") | {"result": None}]},
    ),
    "more than two percent": (
        gates.QUARANTINE_STAYS_BELOW_TWO_PERCENT,
        {DeidentifiedCorpus: corpus(*(str(i) for i in range(48))), QuarantinedRows: [refused("x")]},
    ),
    "all of it quarantined": (
        gates.QUARANTINE_STAYS_BELOW_TWO_PERCENT,
        {QuarantinedRows: [refused("x")]},
    ),
    "an empty sample": (gates.WEIGHTS_ADD_UP_TO_THE_POPULATION, {DeidentifiedCorpus: corpus("a")}),
    "a sampled conversation that is not in the corpus": (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        {StratifiedSample: [prefix("a")]},
    ),
    "a weight that is not 1 / probability": (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        {
            DeidentifiedCorpus: corpus("a", "b"),
            StratifiedSample: [prefix("a", 2.0, inclusion_probability=1.0)],
        },
    ),
    "weights that stand for part of a conversation": (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        {DeidentifiedCorpus: corpus("a", "b"), StratifiedSample: [prefix("a", 1.5)]},
    ),
    "two strata whose parts add up to a whole": (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        {
            DeidentifiedCorpus: corpus("a", "b", "c"),
            StratifiedSample: [prefix("a", 1.5, stratum="s"), prefix("b", 1.5, stratum="t")],
        },
    ),
    "a sampled row that was lost on the way": (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        {DeidentifiedCorpus: corpus(*"abcd"), StratifiedSample: [prefix("a", 2.0)]},
    ),
    "weights for more than there is": (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        {DeidentifiedCorpus: corpus("a", "b"), StratifiedSample: [prefix("a", 3.0)]},
    ),
    "a conversation drawn twice": (
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION,
        {
            DeidentifiedCorpus: corpus("a", "b"),
            StratifiedSample: [prefix("a"), prefix("a", prefix_id="other")],
        },
    ),
    "a prefix that holds the answer": (
        gates.EVERY_PREFIX_ENDS_WITH_ITS_USER_TURN,
        {
            StratifiedSample: [
                prefix(
                    "a",
                    prefix=json.dumps(
                        [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
                    ),
                )
            ]
        },
    ),
    "a prefix without messages": (
        gates.EVERY_PREFIX_ENDS_WITH_ITS_USER_TURN,
        {StratifiedSample: [prefix("a", prefix="[]")]},
    ),
    "a prefix without any outcome": (
        gates.EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM,
        {StratifiedSample: [prefix("a")]},
    ),
    "no candidate": (
        gates.EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM,
        {StratifiedSample: [prefix("a")], CandidateCompletions: [completion("a", "control")]},
    ),
    "an arm that lacks a prefix": (
        gates.EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM,
        {
            StratifiedSample: [prefix("a"), prefix("b")],
            CandidateCompletions: [completion("a"), completion("b"), completion("a", "control")],
        },
    ),
    "a repeat that lacks a prefix": (
        gates.EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM,
        {
            StratifiedSample: [prefix("a"), prefix("b")],
            CandidateCompletions: [completion("a"), completion("b"), completion("a", k=1)],
        },
    ),
    "two outcomes of one request": (
        gates.EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM,
        {StratifiedSample: [prefix("a")], CandidateCompletions: [completion("a")] * 2},
    ),
    "outcomes of another release only": (
        gates.EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM,
        {
            StratifiedSample: [prefix("a")],
            CandidateCompletions: [completion("a", model_version="v3")],
        },
    ),
    "another model behind the same name": (
        gates.ONE_MODEL_ANSWERED_EACH_ARM,
        {
            CandidateCompletions: [
                completion("a", served_model="m-1"),
                completion("b", served_model="m-1"),
                completion("c", served_model="m-2"),
            ]
        },
    ),
    "outcomes and no score": (
        gates.EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR,
        {StratifiedSample: [prefix("a")], CandidateCompletions: [completion("a")]},
    ),
    "an outcome without a score": (
        gates.EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR,
        {
            StratifiedSample: [prefix("a"), prefix("b")],
            CandidateCompletions: [completion("a"), completion("b")],
            ClassifierScores: [score("a")],
        },
    ),
    "one score twice and one lost": (
        gates.EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR,
        {
            StratifiedSample: [prefix("a"), prefix("b")],
            CandidateCompletions: [completion("a"), completion("b")],
            ClassifierScores: [score("a")] * 2,
        },
    ),
    "one behaviour scored on another's outcome": (
        gates.EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR,
        {
            StratifiedSample: [prefix("a"), prefix("b")],
            CandidateCompletions: [completion("a"), completion("b")],
            ClassifierScores: [score("a"), score("x")],
        },
    ),
    "a recorded arm that lacks a prefix": (
        gates.EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR,
        {
            StratifiedSample: [prefix("a"), prefix("b")],
            CandidateCompletions: [completion("a"), completion("b")],
            ClassifierScores: [score("a"), score("b"), score("a", arm="recorded")],
        },
    ),
    "a missing label without a reason": (
        gates.EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR,
        {
            StratifiedSample: [prefix("a")],
            CandidateCompletions: [completion("a")],
            ClassifierScores: [score("a", label=None)],
        },
    ),
    "a label and a reason why there is none": (
        gates.EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR,
        {
            StratifiedSample: [prefix("a")],
            CandidateCompletions: [completion("a")],
            ClassifierScores: [score("a", missing_reason="x")],
        },
    ),
    "a label where the behaviour does not apply": (
        gates.EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR,
        {
            StratifiedSample: [prefix("a")],
            CandidateCompletions: [completion("a")],
            ClassifierScores: [score("a", applies=False)],
        },
    ),
    "a rate below its interval": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {ClassifierScores: [score("a")], RateComparison: [rate(low=1.1)]},
    ),
    "a rate above its interval": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {ClassifierScores: [score("a")], RateComparison: [rate(high=0.9)]},
    ),
    "a rate that is no number": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {ClassifierScores: [score("a")], RateComparison: [rate(rate=float("nan"))]},
    ),
    "a rate from nothing": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {
            ClassifierScores: [score("a", label=None, missing_reason="x")],
            RateComparison: [rate(n=0, n_missing=1, rate=0.0, low=0.0, high=1.0)],
        },
    ),
    "labels without a rate": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {ClassifierScores: [score("a")], RateComparison: [rate(rate=None, low=None, high=None)]},
    ),
    "missing labels that were forgotten": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {
            ClassifierScores: [score("a"), score("b", label=None, missing_reason="x")],
            RateComparison: [rate()],
        },
    ),
    "scores of a behaviour without its rate": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {ClassifierScores: [score("a"), score("a", "c")], RateComparison: [rate()]},
    ),
    "scores and no rate at all": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {ClassifierScores: [score("a")]},
    ),
    "a rate of what was not scored": (
        gates.EVERY_RATE_LIES_INSIDE_ITS_INTERVAL,
        {RateComparison: [rate()]},
    ),
}


@pytest.mark.parametrize("name", KEEPS)
def test_a_gate_lets_through_what_keeps_its_rule(
    ask: Callable[[Gate, Stored], GateResult], name: str
) -> None:
    result = ask(*KEEPS[name])
    assert result.passed, result.facts
    assert result.facts["n_bad"] == 0


@pytest.mark.parametrize("name", BREAKS)
def test_a_gate_stops_what_breaks_its_rule(
    ask: Callable[[Gate, Stored], GateResult], name: str
) -> None:
    result = ask(*BREAKS[name])
    assert not result.passed
    assert isinstance(result.facts["n_bad"], int), "a gate that cannot count says nothing to people"
    assert result.facts["n_bad"] > 0


@pytest.mark.parametrize("gate", ALL_GATES, ids=lambda g: g.name)
def test_every_gate_is_shown_passing_and_failing_here(gate: Gate) -> None:
    assert gate in [g for g, _ in BREAKS.values()]
    assert gate in [g for g, _ in KEEPS.values()]


@pytest.mark.parametrize("gate", ALL_GATES, ids=lambda g: g.name)
def test_a_gate_says_its_rule_and_its_counts(
    gate: Gate, ask: Callable[[Gate, Stored], GateResult]
) -> None:
    assert gate.description.endswith(".")
    assert gate.name == gate.name.lower()
    facts = ask(gate, {}).facts
    assert next(iter(facts)) == "n_bad"
    assert len(facts) >= 2
    assert all(isinstance(v, int | float | str) for v in facts.values())


NOTHING_IS_GOOD = {  # rules of which nothing to look at is the good case, or that count no rows
    "quarantined_rows_have_a_place_and_a_reason",
    "no_forgotten_user_survives",
    "every_answer_belongs_to_a_conversation_of_the_corpus",
    "every_pair_stands_in_the_corpus",  # a log without tools
    "every_call_of_a_step_stands_once_and_in_order",
    "every_compared_behaviour_has_a_verdict",
}


@pytest.mark.parametrize("gate", ALL_GATES, ids=lambda g: g.name)
def test_a_gate_that_looked_at_nothing_does_not_pass_as_one_that_saw_something(
    gate: Gate, ask: Callable[[Gate, Stored], GateResult]
) -> None:
    nothing = ask(gate, {})
    assert set(gate.seen) <= set(nothing.facts)
    assert bool(gate.seen) != (gate.name in NOTHING_IS_GOOD)
    assert nothing.is_vacuous == (nothing.passed and bool(gate.seen))
    kept = [ask(g, tables) for g, tables in KEEPS.values() if g is gate]
    assert not gate.seen or not all(result.is_vacuous for result in kept)


conversations = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["web", "mobile", "api"])), min_size=1, max_size=25
).filter(lambda c: any(t for t, _ in c))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn_from=conversations,
    size=st.integers(1, 30),
    floor=st.integers(1, 5),
    cut=st.sampled_from(["last_user_turn", "uniform_user_turn"]),
)
def test_every_sample_that_the_platform_draws_passes(
    ask: Callable[[Gate, Stored], GateResult],
    drawn_from: list[tuple[int, str]],
    size: int,
    floor: int,
    cut: str,
) -> None:
    rows = [
        corpus(str(i), n_user_turns=turns, metadata=json.dumps({"surface": surface}))[0]
        for i, (turns, surface) in enumerate(drawn_from)
    ]
    plan = Plan.model_validate(
        {"sample_size": size, "floor": floor, "strata": ["surface"], "cut": cut}
    )
    drawn = draw(pl.DataFrame(rows, schema=dtypes(DeidentifiedCorpus)), plan).sampled.to_dicts()
    sample = [
        prefix(
            d["conversation_key"],
            d["weight"],
            stratum=d["stratum"],
            turn=d["turn"],
            inclusion_probability=d["inclusion_probability"],
        )
        for d in drawn
    ]
    result = ask(
        gates.WEIGHTS_ADD_UP_TO_THE_POPULATION, {DeidentifiedCorpus: rows, StratifiedSample: sample}
    )
    assert result.passed, result.facts
