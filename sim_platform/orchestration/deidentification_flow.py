"""Brings the corpus to what the vault holds now, de-identifying only what this version of the detectors has not done.

Belongs here: which conversations are pending, the commit of one batch, what leaves with a conversation. Does not: detection or surrogates (deidentification).

A batch is committed as soon as it is done, so a killed run resumes where it was.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl

from sim_platform.contracts.tables import (
    Calibration,
    Canaries,
    CandidateCompletions,
    ClassifierScores,
    DeidentifiedCorpus,
    Erasures,
    ExtractionAccounting,
    GraderAnswers,
    HumanLabels,
    LabelDraws,
    ProductionScores,
    QuarantinedRows,
    RateComparison,
    RateForecast,
    ReleaseGate,
    StratifiedSample,
    frame,
    table_name,
)
from sim_platform.deidentification import canaries
from sim_platform.deidentification.deidentify import Keys, deid_version, deidentify, keyed_hash
from sim_platform.deidentification.leaks import reserved_range_leaks
from sim_platform.deidentification.spans import Detector
from sim_platform.orchestration.vault import vault_key
from sim_platform.warehouse.duckdb_file import DuckDBFile, Transaction
from sim_platform.warehouse.gates import (
    CANARIES_ARE_MASKED,
    EVERY_ANSWER_BELONGS_TO_A_CONVERSATION_OF_THE_CORPUS,
    EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED,
    LIVING_PREFIXES,
    NO_FORGOTTEN_USER_SURVIVES,
)

PAGE = 10_000  # conversation ids looked at together
BATCH = 512  # conversations de-identified and committed together
SHADOWS = 300  # conversations of a whole extract that are copied in memory and get canaries
CANARIES_PER_SHADOW = 10


@dataclass(frozen=True)
class DeidentificationSummary:
    """What one run did: conversations done now, found done, quarantined now, taken out because the extract no longer
    has them, and the releases whose sample held one of those."""

    deid_version: str
    done: int
    already_done: int
    quarantined: int
    removed: int
    releases_to_run_again: list[str]


def deidentify_extract(vault: DuckDBFile, warehouse: DuckDBFile, detector: Detector, *, advance: Callable[[int], None]) -> DeidentificationSummary:
    """Walks the extract in pages, commits per batch, and ends in one transaction that accounts for every conversation."""
    keys = Keys(run=secrets.token_bytes(32), vault=vault_key(vault))
    version = deid_version(detector)
    current: list[pl.Series] = []
    done = already = quarantined = 0
    extracted = int(vault.query("select count(*) as n from consented_log_extract")["n"][0])
    for page in _pages(vault, keys.vault):
        current.append(page["conversation_key"])
        pending = page.join(_finished(warehouse, page, version), on=["conversation_key", "content_key"], how="anti")
        already += len(page) - len(pending)
        advance(len(page) - len(pending))
        for batch in pending.iter_slices(BATCH):
            rows = vault.query("select * from consented_log_extract where conversation_id in (select unnest($ids))", {"ids": batch["conversation_id"].to_list()})
            result = deidentify(rows, detector, keys)
            corpus, leaking = _without_leaks(result.corpus)
            refused = pl.concat([result.quarantined, leaking])
            counted = _canaries(rows, detector, keys, share=min(1.0, SHADOWS / extracted))
            with warehouse.transaction() as tx:
                tx.ensure(DeidentifiedCorpus, QuarantinedRows, Canaries)
                touched = {"keys": [*corpus["conversation_key"], *refused["conversation_key"]]}
                tx.execute("delete from deidentified_corpus where conversation_key in (select unnest($keys))", touched)
                tx.execute("delete from quarantined_rows where conversation_key in (select unnest($keys))", touched)
                tx.append(DeidentifiedCorpus, corpus)
                tx.append(QuarantinedRows, _quarantine(refused, version))
                _add_canaries(tx, counted, version)
                tx.pass_gates([CANARIES_ARE_MASKED])
            done += len(corpus)
            quarantined += len(refused)
            advance(len(batch))
    removed, to_run_again = take_out_removed(warehouse, pl.concat(current) if current else pl.Series("conversation_key", [], pl.String))
    return DeidentificationSummary(version, done, already, quarantined, removed, to_run_again)


def extracted_keys(vault: DuckDBFile) -> pl.Series:
    """Keyed hashes of all extracted conversations."""
    pages = [page["conversation_key"] for page in _pages(vault, vault_key(vault))]
    return pl.concat(pages) if pages else pl.Series("conversation_key", [], pl.String)


def _pages(vault: DuckDBFile, key: bytes) -> Iterator[pl.DataFrame]:
    """Ids of the extract with their keyed hashes, in order of id, a page at a time."""
    last = ""
    while True:
        page = vault.query(
            "select conversation_id, content_hash from consented_log_extract where conversation_id > $last order by conversation_id limit $n",
            {"last": last, "n": PAGE},
        )
        if not len(page):
            return
        last = page["conversation_id"][-1]
        yield page.with_columns(
            conversation_key=pl.Series([keyed_hash(key, "conversation", c) for c in page["conversation_id"]], dtype=pl.String),
            content_key=pl.Series([keyed_hash(key, "content", c) for c in page["content_hash"]], dtype=pl.String),
        )


def _finished(warehouse: DuckDBFile, page: pl.DataFrame, version: str) -> pl.DataFrame:
    """Of a page, what this version has done: in the corpus with the same content, or quarantined."""
    with warehouse.transaction() as tx:
        tx.ensure(DeidentifiedCorpus, QuarantinedRows)
        return tx.query(
            """select conversation_key, content_key from deidentified_corpus where deid_version = $version and conversation_key in (select unnest($keys))
               union all select q.conversation_key, p.content_key from quarantined_rows q
               join (select unnest($keys) as conversation_key, unnest($contents) as content_key) p using (conversation_key)
               where q.stage = 'deidentification' and q.made_by = $made_by""",
            {"version": version, "made_by": version, "keys": page["conversation_key"].to_list(), "contents": page["content_key"].to_list()},
        )


def _without_leaks(corpus: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The gate on every batch: a structured identifier outside the reserved ranges sends its conversation to quarantine."""
    reasons = [next(iter(reserved_range_leaks([row["messages"], row["metadata"], row["labels"]])), None) for row in corpus.iter_rows(named=True)]
    marked = corpus.with_columns(reason=pl.Series([f"leak:{r}" if r else None for r in reasons], dtype=pl.String))
    return marked.filter(pl.col("reason").is_null()).drop("reason"), marked.filter(pl.col("reason").is_not_null()).select("conversation_key", "reason")


def _canaries(rows: pl.DataFrame, detector: Detector, keys: Keys, share: float) -> pl.DataFrame:
    """Shadow copies of a share of the rows, de-identified like everything and thrown away: canaries planted and survived, by type."""
    seeds = {row["conversation_id"]: int(keyed_hash(keys.vault, "shadow", row["content_hash"])[:12], 16) for row in rows.iter_rows(named=True)}
    drawn = [row for row in rows.to_dicts() if seeds[row["conversation_id"]] / 16**12 < share]
    shadows = {row["conversation_id"]: shadow for row in drawn if (shadow := canaries.planted(row, CANARIES_PER_SHADOW, seeds[row["conversation_id"]]))}
    result = deidentify(pl.DataFrame([shadow for shadow, _ in shadows.values()], schema=rows.schema), detector, keys)
    texts = {row["conversation_key"]: row["messages"] for row in result.corpus.iter_rows(named=True)}
    counts: list[dict[str, object]] = []
    for conversation_id, (_, inside) in shadows.items():
        if messages := texts.get(keyed_hash(keys.vault, "conversation", conversation_id)):
            found = canaries.survivors(inside, "\n".join(str(m.get("content")) for m in json.loads(messages)))
            counts += [{"type": canary.type, "planted": 1, "survived": 0} for canary in inside]
            counts += [{"type": kind, "planted": 0, "survived": n} for kind, n in found.items()]
    schema = {"type": pl.String, "planted": pl.Int64, "survived": pl.Int64}
    return pl.DataFrame(counts, schema=schema).group_by("type").agg(pl.col("planted", "survived").sum())


def _add_canaries(tx: Transaction, counted: pl.DataFrame, version: str) -> None:
    before = tx.query("select type, planted, survived from canaries where deid_version = $version", {"version": version})
    sums = pl.concat([before, counted]).group_by("type").agg(pl.col("planted", "survived").sum()).sort("type")
    tx.replace(Canaries, frame(Canaries, [{"deid_version": version, **row} for row in sums.to_dicts()]), {"deid_version": version})


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
    """What left the extract (consent revoked, person forgotten, file gone) leaves every table; then every conversation is accounted for, or nothing is written.

    A conversation's answers go with it, also those of older draws. A release whose sample held it loses sample, scores and everything computed from them as a whole: its
    next run draws again and pays only for the prefixes that are new.
    """
    with warehouse.transaction() as tx:
        tx.ensure(DeidentifiedCorpus, QuarantinedRows, ExtractionAccounting, Erasures, StratifiedSample, CandidateCompletions, ClassifierScores, RateComparison)
        tx.ensure(Canaries, ProductionScores, GraderAnswers, LabelDraws, HumanLabels, Calibration, ReleaseGate, RateForecast)
        tx.copy("current_keys", current.to_frame("conversation_key"))
        removed = int(tx.query("select count(*) as n from deidentified_corpus anti join current_keys using (conversation_key)")["n"][0])
        tx.execute("delete from deidentified_corpus where conversation_key not in (select conversation_key from current_keys)")
        tx.execute("delete from quarantined_rows where stage = 'deidentification' and conversation_key not in (select conversation_key from current_keys)")
        tx.execute("delete from production_scores where conversation_key not in (select conversation_key from current_keys)")
        tx.execute(f"create temp table living as {LIVING_PREFIXES}")
        for name in ("candidate_completions", "grader_answers", "label_draws"):
            tx.execute(f"delete from {name} where prefix_id not in (select prefix_id from living)")  # noqa: S608 - a literal of this loop
        tx.execute("delete from human_labels where item_id not in (select item_id from label_draws)")
        releases = tx.query("select distinct model_version from stratified_sample anti join current_keys using (conversation_key) order by all")[
            "model_version"
        ].to_list()
        for table in (StratifiedSample, ClassifierScores, Calibration, RateComparison, ReleaseGate, RateForecast):
            tx.execute(f"delete from {table_name(table)} where model_version in (select unnest($releases))", {"releases": releases})  # noqa: S608 - the name comes from a contract
        tx.execute("drop table current_keys")
        tx.execute("drop table living")
        tx.pass_gates([
            EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED, NO_FORGOTTEN_USER_SURVIVES, EVERY_ANSWER_BELONGS_TO_A_CONVERSATION_OF_THE_CORPUS
        ])  # fmt: skip
    return removed, releases
