"""Brings the corpus to what the vault holds now, de-identifying only what this version of the
detectors has not done.

Belongs here: which conversations are pending, the commit of one batch, what leaves with a
conversation. Does not: detection or surrogates (deidentification).

Batches are made here or in worker processes (deidentification_batch) and committed here as soon as
they are done, so a killed run resumes where it was.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.deidentification import Canaries, DeidAudits, DeidentifiedCorpus
from sim_platform.contracts.tables.estimation import RateComparison, ReleaseGate
from sim_platform.contracts.tables.extraction import (
    Erasures,
    ExtractionAccounting,
    QuarantinedRows,
    ToolSets,
)
from sim_platform.contracts.tables.forecasting import RateForecast
from sim_platform.contracts.tables.grading import (
    Calibration,
    ClassifierScores,
    GraderAnswers,
    HumanLabels,
    LabelDraws,
    ProductionScores,
)
from sim_platform.contracts.tables.replay import CandidateCompletions, ToolPairs
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import Table, frame, table_name
from sim_platform.deidentification.deidentify import content_of, deid_version, keyed_hash
from sim_platform.deidentification.spans import Detector
from sim_platform.flows.deidentification.batch import Batch, Bench, Done, all_done
from sim_platform.flows.deidentification.k_anonymity import suppress_rare_strata
from sim_platform.flows.deidentification.known_accounts import KnownOf, known_of, load_accounts
from sim_platform.flows.deidentification.tool_sets import (
    UNUSED_IN_THE_WAREHOUSE,
    take_tool_sets,
)
from sim_platform.flows.vault import epoch_of, keys_for_a_run, vault_key
from sim_platform.registry.home import Home
from sim_platform.warehouse.duckdb_file import DuckDBFile, Transaction
from sim_platform.warehouse.gates import (
    CANARIES_ARE_MASKED,
    DEIDENTIFICATION_IS_DETERMINISTIC,
    EVERY_ANSWER_BELONGS_TO_A_CONVERSATION_OF_THE_CORPUS,
    EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
    EVERY_PAIR_STANDS_IN_THE_CORPUS,
    LIVING_PREFIXES,
    NO_FORGOTTEN_USER_SURVIVES,
    QUARANTINE_STAYS_BELOW_TWO_PERCENT,
)

PAGE = 10_000  # conversation ids looked at together
BATCH = 512  # conversations de-identified and committed together
SHADOWS = 300  # conversations of a whole extract that are copied in memory and get canaries


@dataclass(frozen=True)
class DeidentificationSummary:
    """What one run did: conversations done now, found done, quarantined now, taken out because the
    extract no longer has them, and the releases whose sample held one of those.
    """

    deid_version: str
    done: int
    already_done: int
    quarantined: int
    removed: int
    releases_to_run_again: list[str]


def deidentify_extract(
    home: Home,
    vault: DuckDBFile,
    warehouse: DuckDBFile,
    detector: Detector,
    second: Callable[[], Detector],
    *,
    advance: Callable[[int], None],
) -> DeidentificationSummary:
    """Walks the extract in pages, commits per batch, and ends by accounting for every conversation
    and suppressing rare strata.

    Args:
        detector: of this process; with `workers` above 1 each worker builds its own
            from the policy.
        second: makes the detector of the second look, when it is needed.

    Raises:
        BadInputError: definitions of tools hold a direct identifier; nothing was done.
        GateError: a canary survived, the second look found other bytes, or more than 2 % are in
            quarantine: then what is done stays stored, and no release can be sampled.
    """
    settings = home.sources.deidentification
    take_tool_sets(vault, warehouse)
    load_accounts(home, vault)
    keys, known = keys_for_a_run(vault), known_of(home, vault)
    version = deid_version(detector)
    extracted = int(vault.query("select count(*) as n from consented_log_extract")["n"][0])
    current: list[pl.Series] = []
    counts = Counter[str]()

    def pending() -> Iterator[Batch]:
        for page in _pages(vault, keys.vault, known):
            current.append(page["conversation_key"])
            todo = page.join(
                _finished(warehouse, page, version),
                on=["conversation_key", "content_key"],
                how="anti",
            )
            counts["already"] += len(page) - len(todo)
            advance(len(page) - len(todo))
            for slice in todo.iter_slices(BATCH):
                rows = vault.query(
                    "select * from consented_log_extract where conversation_id in (select"
                    " unnest($ids))",
                    {"ids": slice["conversation_id"].to_list()},
                )
                yield Batch(
                    rows, tuple(known(rows)), min(1.0, SHADOWS / extracted), settings.audit_share
                )

    for done in all_done(pending(), Bench(detector, second, keys), settings, home.path):
        _commit(warehouse, done, version, epoch=len(keys.accounts))
        counts["done"] += len(done.corpus)
        counts["quarantined"] += len(done.refused)
        advance(len(done.corpus) + len(done.refused))
    removed, to_run_again = take_out_removed(
        warehouse, pl.concat(current) if current else pl.Series("conversation_key", [], pl.String)
    )
    suppress_rare_strata(home, vault, warehouse)
    with warehouse.transaction() as tx:
        tx.pass_gates([QUARANTINE_STAYS_BELOW_TWO_PERCENT])
    return DeidentificationSummary(
        version, counts["done"], counts["already"], counts["quarantined"], removed, to_run_again
    )


def _commit(warehouse: DuckDBFile, done: Done, version: str, epoch: int) -> None:
    with warehouse.transaction() as tx:
        if epoch_of(tx) != epoch:
            raise SimPlatformError(
                "the account key was rotated while conversations were being de-identified; nothing"
                " of this batch was written. Run the same command again."
            )
        tx.ensure(DeidentifiedCorpus, QuarantinedRows, Canaries, DeidAudits, ToolPairs)
        touched = {"keys": [*done.corpus["conversation_key"], *done.refused["conversation_key"]]}
        for table in ("deidentified_corpus", "tool_pairs"):  # pairs are read from it again
            tx.execute(
                f"delete from {table} where conversation_key in (select unnest($keys))",  # noqa: S608 - literals
                touched,
            )
        tx.execute(
            "delete from quarantined_rows where conversation_key in (select unnest($keys))", touched
        )
        tx.append(DeidentifiedCorpus, done.corpus)
        tx.append(QuarantinedRows, _quarantine(done.refused, version))
        _add(tx, Canaries, done.canaries, version)
        _add(tx, DeidAudits, done.audits, version)
        tx.pass_gates([CANARIES_ARE_MASKED, DEIDENTIFICATION_IS_DETERMINISTIC])


def extracted_keys(vault: DuckDBFile) -> pl.Series:
    """Keyed hashes of all extracted conversations."""
    pages = [
        page["conversation_key"]
        for page in _pages(vault, vault_key(vault), lambda rows: [()] * len(rows))
    ]
    return pl.concat(pages) if pages else pl.Series("conversation_key", [], pl.String)


def _pages(vault: DuckDBFile, key: bytes, known: KnownOf) -> Iterator[pl.DataFrame]:
    """Ids of the extract with their keyed hashes, in order of id, a page at a time. The content's
    hash covers what is known about the account.
    """
    last = ""
    while True:
        page = vault.query(
            "select conversation_id, content_hash, user_id, metadata from consented_log_extract"
            " where conversation_id > $last order by conversation_id limit $n",
            {"last": last, "n": PAGE},
        )
        if not len(page):
            return
        last = page["conversation_id"][-1]
        contents = [
            content_of(c, k) for c, k in zip(page["content_hash"], known(page), strict=True)
        ]
        yield page.select(
            "conversation_id",
            conversation_key=pl.Series(
                [keyed_hash(key, "conversation", c) for c in page["conversation_id"]],
                dtype=pl.String,
            ),
            content_key=pl.Series(
                [keyed_hash(key, "content", c) for c in contents], dtype=pl.String
            ),
        )


def _finished(warehouse: DuckDBFile, page: pl.DataFrame, version: str) -> pl.DataFrame:
    """Of a page, what this version has done: in the corpus as it is now, or quarantined."""
    with warehouse.transaction() as tx:
        tx.ensure(DeidentifiedCorpus, QuarantinedRows)
        return tx.query(
            """select conversation_key, content_key from deidentified_corpus
              where deid_version = $version and conversation_key in (select unnest($keys))
               union all select q.conversation_key, p.content_key from quarantined_rows q
               join (select unnest($keys) as conversation_key, unnest($contents) as content_key) p
                 using (conversation_key)
               where q.stage = 'deidentification' and q.made_by = $made_by""",
            {
                "version": version,
                "made_by": version,
                "keys": page["conversation_key"].to_list(),
                "contents": page["content_key"].to_list(),
            },
        )


def _add(tx: Transaction, table: type[Table], counted: pl.DataFrame, version: str) -> None:
    """Adds a batch's counts to those of the version's earlier batches."""
    new = counted.select(pl.lit(version).alias("deid_version"), pl.all())
    names = [c for c, dtype in new.schema.items() if dtype == pl.String]
    before = tx.query(
        f"select * from {table_name(table)} where deid_version = $version",  # noqa: S608 - the name comes from a contract
        {"version": version},
    ).select(new.columns)
    sums = pl.concat([before, new]).group_by(names).agg(pl.all().sum()).sort(names)
    tx.replace(table, frame(table, sums.to_dicts()), {"deid_version": version})


def _quarantine(refused: pl.DataFrame, version: str) -> pl.DataFrame:
    return refused.select(
        pl.lit("deidentification").alias("stage"),
        pl.lit(None, pl.String).alias("source_file"),
        pl.lit(None, pl.Int64).alias("source_line"),
        "conversation_key",
        "reason",
        pl.lit(version).alias("made_by"),
    )


def take_out_removed(warehouse: DuckDBFile, current: pl.Series) -> tuple[int, list[str]]:
    """What left the extract (consent revoked, person forgotten, file gone) leaves every table; then
    every conversation is accounted for, or nothing is written.

    A conversation's answers go with it, also those of older draws. A release whose sample held it
    loses sample, scores and everything computed from them as a whole: its next run draws again and
    pays only for the prefixes that are new.
    """
    with warehouse.transaction() as tx:
        tx.ensure(
            DeidentifiedCorpus,
            QuarantinedRows,
            ExtractionAccounting,
            Erasures,
            StratifiedSample,
            CandidateCompletions,
            ClassifierScores,
            RateComparison,
        )
        tx.ensure(
            Canaries,
            DeidAudits,
            ProductionScores,
            GraderAnswers,
            LabelDraws,
            HumanLabels,
            Calibration,
            ReleaseGate,
            RateForecast,
            ToolSets,
            ToolPairs,
        )
        tx.copy("current_keys", current.to_frame("conversation_key"))
        removed = int(
            tx.query(
                "select count(*) as n from deidentified_corpus anti join current_keys using"
                " (conversation_key)"
            )["n"][0]
        )
        tx.execute(
            "delete from deidentified_corpus where conversation_key not in (select conversation_key"
            " from current_keys)"
        )
        tx.execute(
            "delete from quarantined_rows where stage = 'deidentification' and conversation_key not"
            " in (select conversation_key from current_keys)"
        )
        for name in ("production_scores", "tool_pairs"):
            tx.execute(
                f"delete from {name} where conversation_key not in (select conversation_key"  # noqa: S608 - literals
                " from current_keys)"
            )
        tx.execute(f"create temp table living as {LIVING_PREFIXES}")
        for name in ("candidate_completions", "grader_answers", "label_draws"):
            tx.execute(f"delete from {name} where prefix_id not in (select prefix_id from living)")  # noqa: S608 - names come from contracts, values are parameters
        tx.execute(
            "delete from human_labels where item_id not in (select item_id from label_draws)"
        )
        releases = tx.query(
            "select distinct model_version from stratified_sample anti join current_keys using"
            " (conversation_key) order by all"
        )["model_version"].to_list()
        for table in (
            StratifiedSample,
            ClassifierScores,
            Calibration,
            RateComparison,
            ReleaseGate,
            RateForecast,
        ):
            tx.execute(
                f"delete from {table_name(table)} where model_version in (select"  # noqa: S608 - names come from contracts, values are parameters
                " unnest($releases))",
                {"releases": releases},
            )
        tx.execute(UNUSED_IN_THE_WAREHOUSE)
        tx.execute("drop table current_keys")
        tx.execute("drop table living")
        tx.pass_gates(
            [
                EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
                NO_FORGOTTEN_USER_SURVIVES,
                EVERY_ANSWER_BELONGS_TO_A_CONVERSATION_OF_THE_CORPUS,
                EVERY_PAIR_STANDS_IN_THE_CORPUS,
            ]
        )
    return removed, releases
