"""Replays one arm of one release: finds what is missing, reuses what is paid for, journals every
outcome and commits in batches.

Belongs here: which requests are pending, the journal's place, what the recorded provider serves.
Does not: sending (replay).

An outcome is durable in the journal before it counts. A rerun first commits what a killed run left
in the journal, then sends only what has no final outcome for the same request; transient failures
are tried again.
"""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import polars as pl

from sim_platform.contracts.messages import Message, answer_of, calls_of, turn_after, user_turns
from sim_platform.contracts.outcomes import Arm, Outcome
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.flows.replay.batches import batch_arms, batch_folder, replay_by_batch
from sim_platform.flows.replay.pending import (
    PAGE,
    WHOLE,
    ArmSummary,
    LiveArm,
    Share,
    final_outcomes,
    pages,
    store_outcomes,
)
from sim_platform.flows.replay.workers import replay_in_processes
from sim_platform.registry.home import Home
from sim_platform.registry.models import ModelVersion
from sim_platform.replay.batches import read_batches
from sim_platform.replay.budget import Budget
from sim_platform.replay.engine import Progress, run_replay
from sim_platform.replay.journal import Journal
from sim_platform.replay.limits import Limits
from sim_platform.replay.providers.build import build_provider
from sim_platform.replay.providers.recorded import RecordedResponse
from sim_platform.replay.requests import Request
from sim_platform.warehouse.duckdb_file import DuckDBFile, WarehouseError

COMMIT_EVERY = 2_000  # outcomes
COMMIT_SECONDS = 10.0
# stored outcomes: DuckDB keeps what it reads in memory until the file is detached, here 18 MB
ROWS_SEARCHED = 500_000


def replay_arm(
    home: Home,
    warehouse: DuckDBFile,
    candidate: ModelVersion,
    model: ModelVersion,
    arm: LiveArm,
    *,
    advance: Callable[[int], None],
    on_progress: Callable[[Progress], None] | None = None,
    run_budget: Budget | None = None,
    release_budget: Budget | None = None,
    share: Share = WHOLE,
) -> ArmSummary:
    """Every sampled prefix of `candidate`'s release (or of its `share`), answered by `model`, ends
    with one outcome per repeat.

    `on_progress` is called with the engine's live figures; `run_budget` counts over all arms of a
    run, beside the release's own (`release_budget`, by default its limits less what its stored
    outcomes and its batches that are out have cost).
    """
    release = candidate.version
    already = reused = 0
    one_at_a_time = threading.Lock()  # pages are read in one thread, outcomes committed in another

    def commit(outcomes: Sequence[Outcome]) -> None:
        if outcomes:
            with one_at_a_time:
                store_outcomes(warehouse, release, outcomes)

    def pending() -> Iterator[Request]:
        nonlocal already, reused
        for page in pages(warehouse, release, candidate, model, arm, one_at_a_time, share):
            with one_at_a_time:
                final = final_outcomes(warehouse, release, arm, page)
                rest = [r for r in page if (r.prefix_id, r.k, r.request_hash) not in final]
                paid = _paid_before(warehouse, rest) if model.provider != "recorded" else {}
                if places is not None:
                    served.update(
                        _recorded_responses(warehouse, places, [r.prefix_id for r in rest])
                    )
            copies = [
                replace(paid[r.request_hash], arm=arm, prefix_id=r.prefix_id, k=r.k)
                for r in rest
                if r.request_hash in paid
            ]
            commit(copies)
            already += len(page) - len(rest)
            reused += len(copies)
            advance(len(page) - len(rest) + len(copies))
            yield from (r for r in rest if r.request_hash not in paid)

    with warehouse.transaction() as tx:
        tx.ensure(CandidateCompletions)
    with _Outcomes(home, release, arm, commit, share) as outcomes:
        recovered = outcomes.recover()
        budgets = [
            release_budget or budget_of(home, warehouse, candidate),
            *([run_budget] if run_budget else []),
        ]

        def keep(outcome: Outcome) -> None:
            outcomes.keep(outcome)
            served.pop(outcome.prefix_id, None)
            advance(1)

        served: dict[str, list[RecordedResponse]] = {}  # of the prefixes that are on their way
        places = (
            _recorded_places(warehouse, candidate, model) if model.provider == "recorded" else None
        )
        limits = Limits(
            model.requests_per_minute, model.tokens_per_minute, path=limits_file(home, model)
        )
        seen = Progress()

        def online(requests: Iterable[Request]) -> None:
            nonlocal seen
            seen = run_replay(
                requests,
                build_provider(model, recorded=served, limits=limits),
                concurrency=model.concurrency,
                max_retries=model.max_retries,
                on_outcome=keep,
                progress=on_progress,
                on_error=model.on_error,
                limits=limits,
                budgets=budgets,
            )

        handed_over = 0
        try:
            if model.provider == "openai_batch":
                handed_over = replay_by_batch(
                    home, warehouse, release, arm, model, pending, online, budgets
                )
            elif model.workers > share.of:
                parts = replay_in_processes(
                    replay_arm,
                    home,
                    candidate,
                    model,
                    arm,
                    advance=advance,
                    on_progress=on_progress,
                    budgets=budgets,
                )
                return ArmSummary(
                    sum(p.sent for p in parts),
                    sum(p.already_done for p in parts),
                    recovered + sum(p.recovered for p in parts),
                    sum(p.reused for p in parts),
                    dict(sum((Counter(p.retries) for p in parts), Counter())),
                )
            else:
                online(pending())
        finally:
            limits.close()
    return ArmSummary(
        seen.sent, already, recovered, reused + seen.reused, dict(seen.retries), handed_over
    )


def budget_of(home: Home, warehouse: DuckDBFile, candidate: ModelVersion) -> Budget:
    """The release's limits, with what its outcomes have cost and its batches that are out are
    expected to cost taken off.
    """
    usd, tokens = warehouse.query(
        """select coalesce(sum(cost_usd), 0) as usd,
          coalesce(sum(prompt_tokens + completion_tokens), 0)::bigint as tokens
           from candidate_completions where model_version = $release and reused_from is null""",
        {"release": candidate.version},
    ).row(0)
    out = [
        b
        for arm, _ in batch_arms(home, candidate.version)
        for b in read_batches(batch_folder(home, candidate.version, arm))
        if b.state != "ended"
    ]
    return Budget(
        candidate.budget.max_usd,
        candidate.budget.max_tokens,
        usd + sum(b.usd for b in out),
        tokens + sum(b.tokens for b in out),
    )


class _Outcomes:
    """Outcomes on their way to the warehouse: one journal takes them, while a thread commits the
    other's and empties it.
    """

    def __init__(
        self,
        home: Home,
        release: str,
        arm: Arm,
        commit: Callable[[Sequence[Outcome]], None],
        share: Share,
    ) -> None:
        name = home.path / "journal" / f"{release}.{arm}"
        self._commit = commit
        self._of_workers = [] if share.of > 1 else sorted(name.parent.glob(f"{name.name}.w*.jsonl"))
        self._taking = Journal(Path(f"{name}{f'.w{share.index}' if share.of > 1 else ''}.jsonl"))
        try:
            self._full = Journal(self._taking.path.with_suffix(".full.jsonl"))
        except BaseException:
            self._taking.close()
            raise
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._committing: Future[int] | None = None
        self._n, self._since = 0, time.monotonic()

    def recover(self) -> int:
        """Commits what a killed run left in the journals, those of its workers too; returns how
        many outcomes that were.
        """
        found = self._store(self._full) + self._store(self._taking)
        for path in self._of_workers:
            with Journal(path) as journal:
                found += self._store(journal)
            path.unlink()
        return found

    def keep(self, outcome: Outcome) -> None:
        """Survives the end of the process when it returns, and of the machine a moment later;
        committed after that.
        """
        self._taking.append(outcome)
        self._n += 1
        if self._n < COMMIT_EVERY and time.monotonic() - self._since < COMMIT_SECONDS:
            return
        if self._committing is None or self._committing.done():
            self._n, self._since = 0, time.monotonic()
            if self._committing is None or self._committing.exception() is None:
                self._taking, self._full = self._full, self._taking
            elif not isinstance(
                self._committing.exception(), WarehouseError
            ):  # a held file is tried again: the journal has everything
                self._committing.result()
            self._committing = self._thread.submit(self._store, self._full)

    def _store(self, journal: Journal) -> int:
        n, outcomes = 0, journal.read()
        while page := list(islice(outcomes, PAGE)):
            self._commit(page)
            n += len(page)
        journal.clear()
        return n

    def __enter__(self) -> "_Outcomes":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._thread.shutdown(wait=True)
            for journal in (self._full, self._taking):
                self._store(journal)
        finally:
            self._taking.close()
            self._full.close()


def limits_file(home: Home, model: ModelVersion) -> Path | None:
    """One small file an endpoint and key: all runs of this home wait for each other there."""
    if not model.is_remote:
        return None
    folder = home.path / "limits"
    folder.mkdir(exist_ok=True)
    return (
        folder
        / hashlib.sha256(
            f"{model.base_url} {model.model} {model.api_key_env}".encode()
        ).hexdigest()[:16]
    )


def _paid_before(warehouse: DuckDBFile, requests: list[Request]) -> dict[str, Outcome]:
    """Outcomes of the same requests that any release, arm or other prefix has already paid for, by
    request hash; failures are not reused.
    """
    if not requests:
        return {}
    hashes = [r.request_hash for r in requests]
    found: dict[str, Outcome] = {}
    stored = warehouse.query(
        "select coalesce(max(rowid) + 1, 0) as n from candidate_completions"
    ).item()
    for start in reversed(
        range(0, stored, ROWS_SEARCHED)
    ):  # from the end: a writer between two parts can only move rows towards the start
        # first where they are, by narrow columns: texts are read of those rows alone
        rows = warehouse.query(
            """select * from candidate_completions where rowid in (
                 select rowid from candidate_completions
                 where rowid >= $start and rowid < $end and request_hash in (select unnest($hashes))
                   and status <> 'failed'
                 qualify row_number() over (partition by request_hash order by completed_at) = 1
               )""",
            {"start": start, "end": start + ROWS_SEARCHED, "hashes": hashes},
        )
        found |= {row["request_hash"]: _outcome(row) for row in rows.to_dicts()}
    return found


def _outcome(row: dict[str, object]) -> Outcome:
    fields = {name: row[name] for name in Outcome.__dataclass_fields__}
    for name in ("tool_calls", "labels"):
        fields[name] = json.loads(str(fields[name]))
    if fields["logprobs"] is not None:
        fields["logprobs"] = json.loads(str(fields["logprobs"]))
    return replace(Outcome(**fields), reused_from=row["model_version"], cost_usd=0.0, attempts=0)  # type: ignore[arg-type]  # the columns are the fields


def _recorded_places(
    warehouse: DuckDBFile, candidate: ModelVersion, model: ModelVersion
) -> pl.DataFrame:
    """Conversation and turn of `model` in the log for each sampled prefix. The n-th conversation
    with a prefix meets the n-th one of the other version.
    """
    return warehouse.query(
        """with turns as (
             select model_version, conversation_key, unnest(json_extract_string(turn_keys, '$[*]'))
               as turn_key, generate_subscripts(json_extract_string(turn_keys, '$[*]'), 1) - 1
               as turn
             from deidentified_corpus where model_version in ($replaced, $version)),
           ranked as (
             select *, row_number() over same as nth, count(*) over (partition by model_version,
               turn_key) as n_same
             from turns window same as (partition by model_version, turn_key
               order by conversation_key, turn))
           select s.prefix_id, x.conversation_key, x.turn::bigint as turn
           from stratified_sample s
           join ranked y on y.model_version = $replaced and y.conversation_key = s.conversation_key
             and y.turn = s.turn
           join ranked x on x.model_version = $version and x.turn_key = s.turn_key
             and x.nth = (y.nth - 1) % x.n_same + 1
           where s.model_version = $release""",
        {"replaced": candidate.replaces, "version": model.version, "release": candidate.version},
    )


def _recorded_responses(
    warehouse: DuckDBFile, places: pl.DataFrame, prefixes: list[str]
) -> dict[str, list[RecordedResponse]]:
    """What stands at the places of these prefixes."""
    mine = places.filter(pl.col("prefix_id").is_in(prefixes))
    keys = {"keys": mine["conversation_key"].unique().to_list()}
    stored = warehouse.query(
        "select conversation_key, messages, labels from deidentified_corpus where conversation_key"
        " in (select unnest($keys))",
        keys,
    )
    conversations = {
        key: (json.loads(messages), json.loads(labels))
        for key, messages, labels in stored.iter_rows()
    }
    responses: dict[str, list[RecordedResponse]] = {}
    for prefix_id, key, turn in mine.iter_rows():
        messages, labels = conversations[key]
        if found := _response(messages, turn):
            message, is_last = found
            responses[prefix_id] = [
                RecordedResponse(message=message, labels=labels if is_last else {})
            ]
    return responses


def _response(messages: list[Message], turn: int) -> tuple[Message, bool] | None:
    """What the user read after a user turn, with all tool calls of the turn, and whether that was
    the last turn (labels speak of the last response).
    """
    turns = user_turns(messages)
    after = turn_after(messages, turns[turn] + 1)
    answer = answer_of(after)
    if answer is None:
        return None
    calls = calls_of(after)
    return ({**answer, "tool_calls": calls} if calls else answer), turn == len(turns) - 1
