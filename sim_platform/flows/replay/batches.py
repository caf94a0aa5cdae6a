"""Replays through a provider's Batch API: hands pending requests over in files, brings answers in,
and never sends a batch twice.

Belongs here: what goes into a batch, when one is looked for, where its answers go. Does not: HTTP
(replay.providers.openai_batch), files (replay.batches).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from sim_platform.contracts.outcomes import Arm
from sim_platform.flows.files import warehouse_of
from sim_platform.flows.replay.importing import store_completions
from sim_platform.flows.replay.pending import LiveArm
from sim_platform.registry.home import Home
from sim_platform.registry.models import ModelVersion
from sim_platform.replay.batches import Batch, BatchFolder, answered_lines, is_among, read_batches
from sim_platform.replay.budget import Budget
from sim_platform.replay.providers.openai_batch import BatchEndpoint, MaybeSubmitted, batch_outcomes
from sim_platform.replay.providers.protocol import StopRun
from sim_platform.replay.requests import Request, estimated_tokens
from sim_platform.warehouse.duckdb_file import DuckDBFile

# after a hand-over that nobody heard the end of: a provider's list may lag behind
SETTLE_SECONDS = 30.0
COMPLETION_TOKENS = 300  # of an answer, for estimates, where no limit is set
LOOK_SECONDS = 5.0  # for one question of `finished`: its caller asks again in a minute


class BatchesOut(StopRun):
    """Everything was handed over and the provider is not done: run again later."""


@dataclass(frozen=True)
class BatchLine:
    """One batch as people see it."""

    model_version: str
    arm: str
    key: str
    batch_id: str | None
    state: str
    status: str
    requests: int
    answered: int


def batch_arms(home: Home, release: str) -> list[tuple[LiveArm, ModelVersion]]:
    """The arms of a release that are asked in batches."""
    candidate, replaced = home.release(release)
    arms: list[tuple[LiveArm, ModelVersion]] = [("candidate", candidate)]
    if "control" in candidate.plan.arms:
        arms.append(("control", replaced))
    return [(arm, model) for arm, model in arms if model.provider == "openai_batch"]


def batch_folder(home: Home, release: str, arm: Arm) -> Path:
    return home.path / "batches" / f"{release}.{arm}"


def batches_of(home: Home, release: str) -> list[BatchLine]:
    """All batches of a release as they were last seen; asks nobody."""
    return [
        BatchLine(release, arm, b.key, b.batch_id, b.state, b.status, b.requests, b.answered)
        for arm, _ in batch_arms(home, release)
        for b in read_batches(batch_folder(home, release, arm))
    ]


def poll(home: Home, release: str) -> list[BatchLine]:
    """Asks the provider for the release's batches that are out and stores the answers of those that
    have ended. Sends no request to a model.

    Raises:
        SimPlatformError: the provider cannot be asked, or another process is at work on
            these batches.
    """
    warehouse = warehouse_of(home)
    for arm, model in batch_arms(home, release):
        if any(line.arm == arm and line.state != "ended" for line in batches_of(home, release)):
            with (
                BatchFolder(batch_folder(home, release, arm)) as folder,
                closing(BatchEndpoint(model)) as endpoint,
            ):
                bring_in(home, warehouse, release, arm, model, folder, endpoint)
    return batches_of(home, release)


def finished(home: Home, release: str) -> list[str]:
    """Keys of the release's batches that were handed over, once the provider is done with every one
    of them; empty before, and where none is out. Changes nothing, here or there.

    Raises:
        SimPlatformError: the provider cannot be asked, or a key is missing.
    """
    keys = []
    for arm, model in batch_arms(home, release):
        out = [b for b in read_batches(batch_folder(home, release, arm)) if b.state == "submitted"]
        if out:
            with closing(
                BatchEndpoint(model.model_copy(update={"timeout_seconds": LOOK_SECONDS}), retries=0)
            ) as endpoint:
                if not all(endpoint.state(b.batch_id or "").is_over for b in out):
                    return []
        keys += [b.key for b in out]
    return keys


def replay_by_batch(
    home: Home,
    warehouse: DuckDBFile,
    release: str,
    arm: LiveArm,
    model: ModelVersion,
    pending: Callable[[], Iterable[Request]],
    online: Callable[[Iterator[Request]], None],
    budgets: Sequence[Budget],
) -> int:
    """Brings in what is back, then hands over what is pending and not out; `online` asks one by one
    for what ended batches left, where so configured. Returns requests handed over.

    Raises:
        BatchesOut: answers are still to come.
        StopRun: the provider refuses, or the budget has no room for the next request.
    """
    with (
        BatchFolder(batch_folder(home, release, arm)) as folder,
        closing(BatchEndpoint(model)) as endpoint,
    ):
        bring_in(home, warehouse, release, arm, model, folder, endpoint)
        out = folder.hashes("written", "submitted")
        tried = (folder.hashes("ended") if model.batch.unfinished == "online" else set()) - out
        new = (r for r in pending() if not is_among(r, out) and not is_among(r, tried))
        sent, refusal = _hand_over(new, folder, endpoint, model, budgets)
        if tried:
            online(r for r in pending() if is_among(r, tried))
        if refusal is not None:
            raise StopRun(
                f"{refusal}. {sent} requests were handed over. Raise the limit, then run the same"
                " command again: it sends what is missing."
            )
        waiting = folder.batches("submitted")
        if waiting:
            raise BatchesOut(
                f"{release}: {len(waiting)} batches with {sum(b.requests for b in waiting)}"
                f" requests of arm {arm} are out at {endpoint.host}. Nothing is wrong: the answers"
                f" come within a day. `sim-platform batches {release} --wait` brings them in; then"
                " run the same command again."
            )
        return sent


def bring_in(
    home: Home,
    warehouse: DuckDBFile,
    release: str,
    arm: LiveArm,
    model: ModelVersion,
    folder: BatchFolder,
    endpoint: BatchEndpoint,
) -> None:
    """Finds out about every batch that is not over, and stores the answers of those that are.

    Raises:
        StopRun: the provider refused a batch as a whole, or cannot be asked.
    """
    for batch in folder.batches("ended"):
        if folder.has_texts(batch):
            _clear(folder, endpoint, batch)
    for batch in folder.batches("written"):
        _found_again(folder, endpoint, batch)
    for batch in folder.batches("submitted"):
        state = endpoint.state(batch.batch_id or "")
        batch = replace(
            batch,
            status=state.status,
            answered=state.answered,
            remote_files=tuple(f for f in (state.input_file, *state.files) if f),
        )
        if not state.is_over:
            folder.save(batch)
            continue
        if state.status == "failed":
            folder.drop(batch)
            raise StopRun(
                f"{model.version}: {endpoint.host} refused batch {batch.batch_id} as a whole"
                f" ({', '.join(state.errors) or 'no code'}); it cost nothing. Check model, quota"
                " and batch.max_requests in models.yaml, then run again: its requests are handed"
                " over anew."
            )
        files = [(file_id, folder.output(batch, n)) for n, file_id in enumerate(state.files)]
        for file_id, path in files:
            endpoint.download(file_id, path)
        store_completions(
            home,
            warehouse,
            release,
            arm,
            chain.from_iterable(answered_lines(path) for _, path in files),
            batch_outcomes(model),
        )
        # a crash before this line stores the same answers once more, to the same rows
        folder.save(replace(batch, state="ended"))
        _clear(folder, endpoint, batch)


def _clear(folder: BatchFolder, endpoint: BatchEndpoint, batch: Batch) -> None:
    """Removes the texts of an ended batch, there before here: what is still here shows that a crash
    came in between.
    """
    for file_id in batch.remote_files:
        endpoint.remove(file_id)
    folder.clear_texts(batch)


def _hand_over(
    requests: Iterable[Request],
    folder: BatchFolder,
    endpoint: BatchEndpoint,
    model: ModelVersion,
    budgets: Sequence[Budget],
) -> tuple[int, str | None]:
    """Requests handed over, and which limit ended it, if one did."""
    refusal: str | None = None

    def reserve(request: Request) -> tuple[float, int] | None:
        nonlocal refusal
        usd, tokens = _estimate(model, request)
        if full := next((b for b in budgets if not b.has_room(usd, tokens)), None):
            limit = (
                "max_usd"
                if full.max_usd is not None and full.usd + usd > full.max_usd
                else "max_tokens"
            )
            refusal = f"{limit}: the next request may cost more than is left"
            return None
        for budget in budgets:
            budget.spend(usd, tokens)
        return usd, tokens

    sent = 0
    config = model.batch
    for batch in folder.write(
        requests,
        url=endpoint.url,
        max_requests=config.max_requests,
        max_bytes=int(config.max_megabytes * 1e6),
        reserve=reserve,
    ):
        uploaded = endpoint.upload(folder.input(batch), batch.key)
        batch = replace(batch, written_at=time.time(), remote_files=(uploaded,))
        folder.save(batch)
        try:
            submitted = replace(
                batch, state="submitted", batch_id=endpoint.make(uploaded, batch.key)
            )
        except MaybeSubmitted:
            if not _found_again(folder, endpoint, batch):
                raise
        except StopRun:
            folder.drop(batch)  # the provider said no: there is nothing to look for
            endpoint.remove(uploaded)
            raise
        else:
            folder.save(submitted)
            folder.clear_texts(submitted)
        sent += batch.requests
    return sent, refusal


def _found_again(folder: BatchFolder, endpoint: BatchEndpoint, batch: Batch) -> bool:
    """Whether the provider has a batch of which nobody knows: then it is remembered, else dropped,
    and its requests are pending again.
    """
    # A clock that was set back, or forward, changes how long is waited, but never makes it longer
    # than a fresh hand-over would be waited for.
    left = batch.written_at + SETTLE_SECONDS - time.time()
    deadline = time.monotonic() + max(0.0, min(left, SETTLE_SECONDS))
    while (batch_id := endpoint.find(batch.key)) is None:
        left = deadline - time.monotonic()
        if left <= 0:
            for file_id in batch.remote_files:
                endpoint.remove(file_id)
            folder.drop(batch)
            return False
        time.sleep(min(left, 2.0))
    found = replace(batch, state="submitted", batch_id=batch_id)
    folder.save(found)
    folder.clear_texts(found)
    return True


def _estimate(model: ModelVersion, request: Request) -> tuple[float, int]:
    """Dollars at the batch's price, and tokens."""
    prompt, answer = estimated_tokens(request, unlimited=COMPLETION_TOKENS)
    price = model.price
    usd = (
        (prompt * price.input_per_mtok + answer * price.output_per_mtok)
        / 1e6
        * model.batch.price_factor
        if price
        else 0.0
    )
    return usd, prompt + answer
