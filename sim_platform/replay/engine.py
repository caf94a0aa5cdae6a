"""The engine: requests in, exactly one outcome each out, through a bounded number in flight.

Belongs here: concurrency, retries and back-off, the circuit breaker, the stop at the budget,
sharing the answer of identical requests, progress. Does not: HTTP (providers), durability
(journal), rates (limits), what is still to do (the caller).
"""

import asyncio
import logging
import random
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Literal

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.budget import Budget
from sim_platform.replay.limits import Limits
from sim_platform.replay.providers.protocol import PermanentFailure, Provider, Retryable, StopRun
from sim_platform.replay.requests import Request, estimated_tokens

Policy = Literal["retry", "fail", "stop"]

TRANSIENT_REASONS = frozenset(
    {
        "rate_limited",
        "overloaded",
        "server_error",
        "timeout",
        "connection_error",
        "conflict",
        "invalid_response",
        "internal_error",
        "forbidden",
    }
)
"""Reasons of failed outcomes that another run may cure: a rerun sends these rows again. The others
(empty_response too) belong to the request.
"""

THIS_RUN = "this run"
"""`reused_from` of an outcome whose identical request was sent for another prefix in the same run.
"""

FAILURES_IN_A_ROW = 20
FIRST_DELAY_S = 0.5
MAX_DELAY_S = 60.0
# requests whose outcome is kept for identical ones: bounds memory, not correctness
REMEMBERED = 4096
# requests taken from the source at a time, in a thread: it may wait for a disk or a database
PULLED = 64

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a run stands; the engine updates this one object. Costs are US dollars, including
    responses that could not be used.
    """

    total: int | None = None
    by_status: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    reused: int = 0
    in_flight: int = 0
    limit: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: int = 0  # outcomes whose tokens the provider did not count
    cost_usd: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Requests that have their outcome."""
        return sum(self.by_status.values())

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started


def run_replay(
    requests: Iterable[Request],
    provider: Provider,
    *,
    concurrency: int,
    max_retries: int,
    on_outcome: Callable[[Outcome], None],
    progress: Callable[[Progress], None] | None = None,
    on_error: Mapping[str, Policy] | None = None,
    limits: Limits | None = None,
    budgets: Sequence[Budget] = (),
    seed: int = 0,
) -> Progress:
    """`replay` for callers without an event loop. Closes the provider, however it ends."""

    async def run() -> Progress:
        try:
            return await replay(
                requests,
                provider,
                concurrency=concurrency,
                max_retries=max_retries,
                on_outcome=on_outcome,
                progress=progress,
                on_error=on_error,
                limits=limits,
                budgets=budgets,
                seed=seed,
            )
        finally:
            await provider.aclose()

    return asyncio.run(run())


async def replay(
    requests: Iterable[Request],
    provider: Provider,
    *,
    concurrency: int,
    max_retries: int,
    on_outcome: Callable[[Outcome], None],
    progress: Callable[[Progress], None] | None = None,
    on_error: Mapping[str, Policy] | None = None,
    limits: Limits | None = None,
    budgets: Sequence[Budget] = (),
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    seed: int = 0,
) -> Progress:
    """Sends every request and hands each one's only outcome to `on_outcome`, in the order in
    which they end.

    Requests are pulled 64 at a time when there is room, so memory does not grow with their number.
    A retryable failure is sent again up to `max_retries` times, after 0.5 s doubling to 60 s with
    jitter (from `seed`), or after the provider's Retry-After (at most 60 s) where that is longer;
    then the outcome is `failed` with the last reason. Identical requests (same `request_hash`, at
    most 4096 apart) are sent once: the others get a copy with no attempts, no cost and
    `reused_from` = THIS_RUN. "Too many requests" and overload halve what may be in flight; it grows
    back by one a round.

    Args:
        concurrency: most requests in flight, at least 1.
        on_outcome: called in the event loop's thread; an error in it stops the run.
        progress: called after every outcome with the same, live object.
        on_error: by reason code: retry, fail (the row) or stop (the run) in place of the
            usual treatment.
        limits: rates and pauses, possibly shared with other processes.
        budgets: once one of them is used up nothing is sent any more, retries included; what is in
            flight is awaited and kept.

    Raises:
        StopRun: from the provider, from `on_error`, at the end of the budget, or after 20 failures
            in a row that were not the request's fault. What is in flight is cancelled (except at
            the end of the budget); outcomes handed out stand.
    """
    run = _Run(
        requests,
        provider,
        _Slots(concurrency),
        max_retries,
        on_outcome,
        progress,
        on_error or {},
        limits or Limits(),
        budgets,
        sleep,
        seed,
    )
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(run.work())
    except BaseExceptionGroup as stopped:
        raise next(
            (e for e in stopped.exceptions if isinstance(e, SimPlatformError)),
            stopped.exceptions[0],
        ) from None
    run.hand_out_held()
    if run.out_of_budget:
        raise StopRun(
            f"{run.out_of_budget}. The {run.progress.done} outcomes of this run are kept. Raise the"
            " limit, then run the same command again: it sends what is missing."
        )
    return run.progress


class _Slots:
    """How many requests may be in flight: halved by "too many requests", one more after each full
    round of answers.
    """

    def __init__(self, ceiling: int) -> None:
        self.ceiling = self.limit = ceiling
        self.in_flight = self._answers = self._cuts = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> int:
        """Waits for a slot; returns the number of cuts so far, for `cut`."""
        while self.in_flight >= self.limit:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        self.in_flight += 1
        return self._cuts

    def give_back(self) -> None:
        self.in_flight -= 1
        for _ in range(min(len(self._waiting), self.limit - self.in_flight)):
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def cut(self, taken_at: int) -> None:
        """Halves the limit, once for all requests that were in flight together."""
        if taken_at == self._cuts:
            self._cuts += 1
            self._answers = 0
            self.limit = max(1, self.limit // 2)

    def answered(self) -> None:
        self._answers += 1
        if self._answers >= self.limit:
            self._answers = 0
            self.limit = min(self.ceiling, self.limit + 1)


class _OutOfBudget(Exception):
    """The request was given up without an outcome: another run sends it."""


class _Run:
    def __init__(
        self,
        requests: Iterable[Request],
        provider: Provider,
        slots: _Slots,
        max_retries: int,
        on_outcome: Callable[[Outcome], None],
        on_progress: Callable[[Progress], None] | None,
        on_error: Mapping[str, Policy],
        limits: Limits,
        budgets: Sequence[Budget],
        sleep: Callable[[float], Awaitable[object]],
        seed: int,
    ) -> None:
        self.progress = Progress(limit=slots.limit)
        self.out_of_budget: str | None = None
        self._source, self._pulled, self._pulling = iter(requests), deque[Request](), asyncio.Lock()
        self._provider, self._slots, self._max_retries = provider, slots, max_retries
        self._on_outcome, self._on_progress, self._on_error, self._sleep = (
            on_outcome,
            on_progress,
            on_error,
            sleep,
        )
        self._limits, self._budgets = limits, budgets
        self._random = random.Random(seed)
        self._sent: OrderedDict[str, asyncio.Future[Outcome | None]] = OrderedDict()
        self._failures_in_a_row: list[str] = []
        self._held: list[Outcome] = []
        self._has_succeeded = False

    async def work(self) -> None:
        while (request := await self._next()) is not None:
            first = self._sent.get(request.request_hash)
            if first is None:
                try:
                    outcome = await self._send_and_share(request)
                except _OutOfBudget:
                    return
            else:
                # what comes back is remembered from here on
                self._sent.move_to_end(request.request_hash)
                shared = await first
                if shared is None:  # given up at the end of the budget
                    return
                outcome = replace(
                    shared,
                    arm=request.arm,
                    prefix_id=request.prefix_id,
                    k=request.k,
                    attempts=0,
                    cost_usd=0.0,
                    latency_s=0.0,
                    reused_from=THIS_RUN,
                )
            if self._is_in_doubt(outcome):
                self._held.append(outcome)
                self._break_if_all_are_refused()
                continue
            if self._has_succeeded:  # a failure that may pass says nothing about the others
                self.hand_out_held()
            self._hand_out(outcome)
            if first is None:
                self._break_if_down(outcome)

    def _hand_out(self, outcome: Outcome) -> None:
        self._on_outcome(outcome)
        self._count(outcome)

    def _is_in_doubt(self, outcome: Outcome) -> bool:
        """Whether a permanent failure may be everyone's and not the request's: until one request
        has succeeded, such outcomes are held back, so that a fault of key, address or settings
        leaves its rows open.
        """
        if outcome.status != "failed":
            self._has_succeeded = True
        reason = outcome.reason or ""
        return not self._has_succeeded and (reason == "bad_request" or reason.startswith("http_"))

    def hand_out_held(self) -> None:
        """What was held back belongs to its requests after all."""
        for outcome in self._held:
            self._hand_out(outcome)
        self._held.clear()

    def _break_if_all_are_refused(self) -> None:
        if len(self._held) < FAILURES_IN_A_ROW:
            return
        codes = Counter(outcome.reason or "" for outcome in self._held)
        raise StopRun(
            f"{self._provider.endpoint} refused the first {len(self._held)} requests"
            f" ({', '.join(f'{code}: {n}' for code, n in codes.most_common())}) and answered none:"
            " that is no fault of the prompts. Check base_url, model and settings in models.yaml,"
            " then run the same command again: all of them are still to be sent."
        )

    async def _next(self) -> Request | None:
        # a provider that never waits would keep the loop, and Ctrl-C, from everyone else
        await asyncio.sleep(0)
        if not self._pulled:
            async with self._pulling:
                if not self._pulled:
                    self._pulled.extend(
                        await asyncio.to_thread(lambda: list(islice(self._source, PULLED)))
                    )
        return self._pulled.popleft() if self._pulled and not self.out_of_budget else None

    async def _send_and_share(self, request: Request) -> Outcome:
        future = self._sent[request.request_hash] = asyncio.get_running_loop().create_future()
        try:
            outcome = await self._send(request)
        except _OutOfBudget:
            future.set_result(None)
            raise
        future.set_result(outcome)
        if outcome.reason in TRANSIENT_REASONS:
            self._sent.pop(request.request_hash, None)  # a later identical request may fare better
        if len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)  # whoever waits for it holds the future itself
        return outcome

    async def _send(self, request: Request) -> Outcome:
        wasted_usd = 0.0
        for attempt in range(1, self._max_retries + 2):
            cuts = await self._slots.take()
            try:
                estimate = await self._wait_for_the_rate(request)
                self.progress.sent += 1
                outcome = await self._provider.complete(request)
            except Retryable as failure:
                code, retry_after, may_retry = failure.code, failure.retry_after, True
                wasted_usd += failure.cost_usd
                self._spend(failure.cost_usd, failure.tokens, estimate)
                if code in ("rate_limited", "overloaded"):
                    self._slots.cut(cuts)
                    self._limits.refused(retry_after)
            except PermanentFailure as failure:
                code, retry_after, may_retry = failure.code, None, False
            except (SimPlatformError, _OutOfBudget):
                raise
            except (
                Exception
            ) as error:  # the row fails, not the run; an unknown error's text may quote the prompt
                log.warning(
                    "prefix %s: %s in the provider", request.prefix_id, type(error).__name__
                )
                return _failed(request, "internal_error", attempt, wasted_usd)
            else:
                self._slots.answered()
                self._limits.accepted()
                self._spend(
                    outcome.cost_usd, outcome.prompt_tokens + outcome.completion_tokens, estimate
                )
                return replace(outcome, attempts=attempt, cost_usd=outcome.cost_usd + wasted_usd)
            finally:
                self._slots.give_back()
            policy = self._on_error.get(code, "retry" if may_retry else "fail")
            if policy == "stop":
                raise StopRun(
                    f"{self._provider.endpoint} answered {code}, which stops the run (on_error)."
                    f" The {self.progress.done} outcomes so far are kept; run the same command"
                    " again."
                )
            # While connections fail for everyone, one attempt a request is enough to find out, and
            # the breaker below stops the run in seconds.
            if (
                policy == "fail"
                or attempt > self._max_retries
                or (code == "connection_error" and code in self._failures_in_a_row)
            ):
                return _failed(request, code, attempt, wasted_usd)
            self.progress.retries[code] += 1
            await self._sleep(self._delay(attempt, retry_after))
        raise AssertionError("max_retries is negative")

    async def _wait_for_the_rate(self, request: Request) -> int:
        """Returns the tokens that were booked."""
        self._check_budget()
        estimate = sum(estimated_tokens(request)) if self._limits.counts_tokens else 0
        wait = self._limits.reserve(estimate)
        while wait > 0 or (wait := self._limits.paused()) > 0:
            await self._sleep(wait + self._random.uniform(0, 0.05 * wait))
            wait = 0.0
            self._check_budget()
        return estimate

    def _check_budget(self) -> None:
        if self.out_of_budget is None:
            self.out_of_budget = next((b.used_up for b in self._budgets if b.used_up), None)
        if self.out_of_budget is not None:
            raise _OutOfBudget

    def _spend(self, usd: float, tokens: int, estimate: int) -> None:
        for budget in self._budgets:
            budget.spend(usd, tokens)
        self._limits.settle(tokens - estimate)

    def _delay(self, attempt: int, retry_after: float | None) -> float:
        delay = min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** (attempt - 1)) * self._random.uniform(
            0.5, 1.0
        )
        if retry_after is None:
            return delay
        # never earlier than asked; a little later, so that not all come back at once
        wish = min(MAX_DELAY_S, retry_after)
        return max(delay, wish + self._random.uniform(0, 0.1 * wish))

    def _count(self, outcome: Outcome) -> None:
        now = self.progress
        now.by_status[outcome.status] += 1
        if outcome.status == "failed":
            now.failures[outcome.reason or ""] += 1
        if outcome.reused_from is None:
            now.cost_usd += outcome.cost_usd
            now.prompt_tokens += outcome.prompt_tokens
            now.completion_tokens += outcome.completion_tokens
            now.estimated += bool(outcome.tokens_estimated)
        else:
            now.reused += 1
        now.in_flight, now.limit = self._slots.in_flight, self._slots.limit
        if self._on_progress is not None:
            self._on_progress(now)

    def _break_if_down(self, outcome: Outcome) -> None:
        if outcome.status != "failed" or outcome.reason not in TRANSIENT_REASONS:
            self._failures_in_a_row.clear()
            return
        self._failures_in_a_row.append(outcome.reason or "")
        if len(self._failures_in_a_row) >= FAILURES_IN_A_ROW:
            codes = ", ".join(
                f"{code}: {n}" for code, n in Counter(self._failures_in_a_row).most_common()
            )
            raise StopRun(
                f"{len(self._failures_in_a_row)} requests in a row failed at"
                f" {self._provider.endpoint} ({codes}). The {self.progress.done} outcomes so far"
                " are kept. Check the provider, then run the same command again: it sends what is"
                " missing."
            )


def _failed(request: Request, code: str, attempts: int, cost_usd: float) -> Outcome:
    return Outcome(
        request.arm,
        request.prefix_id,
        request.k,
        request.request_hash,
        "failed",
        reason=code,
        attempts=attempts,
        cost_usd=cost_usd,
        completed_at=datetime.now(UTC),
    )
