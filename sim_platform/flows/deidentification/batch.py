"""One batch of conversations on its way to the corpus, here or in worker processes.

Belongs here: what is made of a batch before it is stored, and by whom. Does not: which
conversations are pending, storing (corpus).

A worker writes nothing: text goes in and de-identified rows come out through a pipe.
"""

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.deidentification import DeidAudits
from sim_platform.contracts.tables.schema import dtypes
from sim_platform.deidentification import canaries
from sim_platform.deidentification.audit import audited
from sim_platform.deidentification.deidentify import Keys, deidentify, keyed_hash
from sim_platform.deidentification.detectors import stack_detector
from sim_platform.deidentification.known import Known
from sim_platform.deidentification.leaks import reserved_range_leaks
from sim_platform.deidentification.spans import Detector
from sim_platform.registry.sources import Deidentification

CANARIES_PER_SHADOW = 10


@dataclass(frozen=True)
class Batch:
    """Conversations of the extract with what is known about their accounts, and the shares of them
    that get canaries and a second look.
    """

    rows: pl.DataFrame
    known: tuple[tuple[Known, ...], ...]
    shadow_share: float
    audit_share: float


@dataclass(frozen=True)
class Done:
    """What a batch gave: rows of the corpus, refused conversations with their reason, canaries by
    type, counts of the second look.
    """

    corpus: pl.DataFrame
    refused: pl.DataFrame
    canaries: pl.DataFrame
    audits: pl.DataFrame


class Bench:
    """The detectors of one process. The second one is built when the first conversation
    is drawn for it.
    """

    def __init__(self, detector: Detector, second: Callable[[], Detector], keys: Keys) -> None:
        self.detector, self._second, self.keys = detector, second, keys

    @cached_property
    def second(self) -> Detector:
        return self._second()

    def do(self, batch: Batch) -> Done:
        """De-identifies a batch; one with an identifier's shape left in it is refused."""
        result = deidentify(batch.rows, self.detector, self.keys, batch.known)
        corpus, leaking = _without_leaks(result.corpus)
        drawn = [
            i
            for i, content in enumerate(batch.rows["content_hash"])
            if _unit(self.keys, "audit", content) < batch.audit_share
        ]
        audits = pl.DataFrame(schema=dtypes(DeidAudits)).drop("deid_version")
        if drawn:
            audits = audited(
                batch.rows[drawn],
                corpus,
                self.detector,
                self.second,
                self.keys,
                [batch.known[i] for i in drawn],
            )
        return Done(corpus, pl.concat([result.quarantined, leaking]), self._planted(batch), audits)

    def _planted(self, batch: Batch) -> pl.DataFrame:
        """Shadow copies of a share of the rows, de-identified like everything and thrown away:
        canaries planted and survived, by type.
        """
        rows, keys = batch.rows, self.keys
        drawn = [
            row
            for row in rows.to_dicts()
            if _unit(keys, "shadow", row["content_hash"]) < batch.shadow_share
        ]
        shadows = {
            row["conversation_id"]: made
            for row in drawn
            if (
                made := canaries.planted(
                    row, CANARIES_PER_SHADOW, _seed(keys, "shadow", row["content_hash"])
                )
            )
        }
        result = deidentify(
            pl.DataFrame([shadow for shadow, _ in shadows.values()], schema=rows.schema),
            self.detector,
            keys,
        )
        texts = {
            row["conversation_key"]: row["messages"] for row in result.corpus.iter_rows(named=True)
        }
        counts: list[dict[str, object]] = []
        for conversation_id, (_, inside) in shadows.items():
            if messages := texts.get(keyed_hash(keys.vault, "conversation", conversation_id)):
                found = canaries.survivors(
                    inside, "\n".join(str(m.get("content")) for m in json.loads(messages))
                )
                counts += [{"type": canary.type, "planted": 1, "survived": 0} for canary in inside]
                counts += [{"type": kind, "planted": 0, "survived": n} for kind, n in found.items()]
        schema = {"type": pl.String, "planted": pl.Int64, "survived": pl.Int64}
        return (
            pl.DataFrame(counts, schema=schema)
            .group_by("type")
            .agg(pl.col("planted", "survived").sum())
        )


def _seed(keys: Keys, kind: str, content_hash: str) -> int:
    return int(keyed_hash(keys.vault, kind, content_hash)[:12], 16)


def _unit(keys: Keys, kind: str, content_hash: str) -> float:
    return _seed(keys, kind, content_hash) / 16.0**12


def _without_leaks(corpus: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The gate on every batch: a structured identifier outside the reserved ranges sends its
    conversation to quarantine.
    """
    reasons = [
        next(iter(reserved_range_leaks([row["messages"], row["metadata"], row["labels"]])), None)
        for row in corpus.iter_rows(named=True)
    ]
    marked = corpus.with_columns(
        reason=pl.Series([f"leak:{r}" if r else None for r in reasons], dtype=pl.String)
    )
    return marked.filter(pl.col("reason").is_null()).drop("reason"), marked.filter(
        pl.col("reason").is_not_null()
    ).select("conversation_key", "reason")


def all_done(
    batches: Iterable[Batch], bench: Bench, settings: Deidentification, folder: Path
) -> Iterator[Done]:
    """Each batch done, in any order.

    With several workers each holds the models of the policy; a few batches are on their way at
    once, so memory does not grow with the log.

    Raises:
        SimPlatformError: a worker died. BadInputError: a detector cannot work. What was handed
            out before stays.
    """
    if settings.workers == 1:
        yield from map(bench.do, batches)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy threads that hold locks
    running: set[Future[Done]] = set()
    with ProcessPoolExecutor(
        settings.workers, context, _start, (settings, folder, bench.keys)
    ) as pool:
        try:
            for batch in batches:
                running.add(pool.submit(_do, batch))
                if len(running) > 2 * settings.workers:
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in finished)
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        except BrokenProcessPool:
            raise SimPlatformError(
                "a worker process of de-identification died (out of memory?). What was committed"
                " stays; run the same command again, with fewer `workers` in sources.yaml."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_BENCH: list[Bench] = []  # of a worker process


def _start(settings: Deidentification, folder: Path, keys: Keys) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _BENCH[:] = [
        Bench(
            stack_detector(settings.policy, folder),
            lambda: stack_detector(settings.audit_policy, folder),
            keys,
        )
    ]


def _end_with_the_parent() -> None:
    """A killed run must not leave processes behind that hold text."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _do(batch: Batch) -> Done:
    return _BENCH[0].do(batch)
