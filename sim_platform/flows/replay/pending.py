"""The requests of a release's arm, which of them have their final outcome, and storing outcomes.

Belongs here: that walk over the sample, a page at a time, and back. Does not: sending, importing
(arm, batches, importing).
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

from sim_platform.contracts.outcomes import Arm, Outcome
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.flows.paging import key_pages
from sim_platform.registry.models import ModelVersion
from sim_platform.replay.engine import TRANSIENT_REASONS
from sim_platform.replay.outcomes import completions_frame
from sim_platform.replay.requests import Request, build_request
from sim_platform.warehouse.duckdb_file import DuckDBFile

PAGE = 1_000  # prefixes read together
# outcomes: each commit writes the last ones anew, and groups of DuckDB's own size took 40 MB more
# for it
ROWS_TOGETHER = 8_192
LiveArm = Literal["candidate", "control"]


@dataclass(frozen=True)
class Share:
    """The part of a release's prefixes that one of several processes answers: equal prefixes are in
    the same part.
    """

    index: int
    of: int


WHOLE = Share(0, 1)


@dataclass(frozen=True)
class ArmSummary:
    """What one run did for one arm. `handed_over`: requests in batches whose answers come later."""

    sent: int
    already_done: int
    recovered: int
    reused: int
    retries: dict[str, int]
    handed_over: int = 0


def replayed_arms(
    candidate: ModelVersion, replaced: ModelVersion
) -> list[tuple[LiveArm, ModelVersion]]:
    """The arms that are replayed and who answers: control only where the replaced version can
    regenerate (its log alone is the recorded arm).
    """
    arms: list[tuple[LiveArm, ModelVersion]] = [("candidate", candidate)]
    if "control" in candidate.plan.arms and replaced.provider != "recorded":
        arms.append(("control", replaced))
    return arms


def pages(
    warehouse: DuckDBFile,
    release: str,
    candidate: ModelVersion,
    model: ModelVersion,
    arm: Arm,
    lock: AbstractContextManager[object] | None = None,
    share: Share = WHOLE,
) -> Iterator[list[Request]]:
    """The requests of one arm, a page of prefixes at a time in the order of prefix ids; `lock` is
    held while a page is read.
    """
    mine = {"release": release, "of": share.of, "index": share.index}
    with lock or nullcontext():
        ids = warehouse.query(
            """select prefix_id from stratified_sample
               where model_version = $release and hash(turn_key) % $of = $index
               order by prefix_id""",
            mine,
        )["prefix_id"]
    for ends in key_pages(ids, PAGE):
        with lock or nullcontext():
            page = warehouse.query(
                """select prefix_id, prefix, turn_key from stratified_sample
                   where model_version = $release and prefix_id between $first and $last
                     and hash(turn_key) % $of = $index order by prefix_id""",
                {**mine, **ends},
            )
        yield [
            build_request(
                model,
                arm=arm,
                prefix_id=prefix_id,
                k=k,
                prefix=json.loads(prefix),
                turn_key=turn_key,
            )
            for prefix_id, prefix, turn_key in page.iter_rows()
            for k in range(candidate.plan.completions_per_prefix)
        ]


def final_outcomes(
    warehouse: DuckDBFile, release: str, arm: Arm, page: list[Request]
) -> set[tuple[str, int, str]]:
    """(prefix_id, k, request_hash) of stored outcomes that no rerun would try again."""
    if not page:
        return set()
    ids = [r.prefix_id for r in page]
    stored = warehouse.query(  # within its ends, or every row's id would be read for each page
        """select prefix_id, k, request_hash from candidate_completions
           where model_version = $release and arm = $arm and prefix_id between $first and $last
             and prefix_id in (select unnest($ids)) and not (status = 'failed' and reason
             in (select unnest($transient)))""",
        {
            "release": release,
            "arm": arm,
            "ids": ids,
            "first": min(ids),
            "last": max(ids),
            "transient": sorted(TRANSIENT_REASONS),
        },
    )
    return set(stored.rows())


def store_outcomes(warehouse: DuckDBFile, release: str, outcomes: Sequence[Outcome]) -> None:
    """Commits outcomes of a release, each in the place of what is stored for its prefix,
    arm and repeat.
    """
    with warehouse.transaction(row_group_size=ROWS_TOGETHER) as tx:
        tx.upsert(CandidateCompletions, completions_frame(outcomes, release))
