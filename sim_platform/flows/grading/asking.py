"""Asks judges and moderation endpoints about items, each question once, ever.

Belongs here: which questions are new, the journal's place, what is stored. Does not: prompts and
reading (grading), sending (replay).

An answer is kept by the hash of the question (prompt, model, settings, all that is asked together)
and of the item. What a killed run received stands in the journal and is not asked again. A
transient failure is not kept: the label is missing, and the next run asks again. Neither is one
that may be everyone's, while no answer to the question has come; and an answer that could not be
read belongs to its request: asked otherwise, by another `response_format` say, it is asked again.

What nobody asked for (a response format, temperature 0) is left out where an endpoint refuses it,
and that is noted.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, get_args

import numpy as np

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.messages import sha256
from sim_platform.contracts.outcomes import Outcome
from sim_platform.contracts.tables.grading import GraderAnswers
from sim_platform.contracts.tables.schema import frame
from sim_platform.flows.replay.arm import limits_file
from sim_platform.grading import judge, moderation
from sim_platform.grading.items import GradedItem, Grader
from sim_platform.grading.judge import Answer, JudgeCall
from sim_platform.grading.reasoning import answer_of
from sim_platform.grading.rules import passes_screen, screen_of
from sim_platform.registry.behaviors import Behavior, ModerationGrader
from sim_platform.registry.home import Home
from sim_platform.registry.models import ModelVersion, ResponseFormat
from sim_platform.registry.schema import holds
from sim_platform.replay.budget import Budget
from sim_platform.replay.engine import TRANSIENT_REASONS, run_replay
from sim_platform.replay.journal import Journal, read_journal
from sim_platform.replay.limits import Limits
from sim_platform.replay.providers.build import build_provider
from sim_platform.replay.providers.moderation import ModerationProvider
from sim_platform.replay.providers.protocol import Provider, RefusedUnasked
from sim_platform.replay.requests import LOCAL_MODEL, Request, as_responses
from sim_platform.warehouse.duckdb_file import DuckDBFile

QUESTION = 12  # characters of a question's hash in a journal's name
MOST_ATTEMPTS = 2  # an unreadable answer is asked for once more
_Items = np.ndarray[Any, np.dtype[np.int64]]  # the first 60 bits of their hashes
UNREADABLE = {
    "judge:empty",
    "judge:not_json",
    "judge:wrong_schema",
    "judge:contradictory",
    "judge:no_answer",
}


# What a judge decided, or would not: no other way to ask changes it.
DECIDED = {None, "judge:refused", "judge:abstain"}
FORMATS: tuple[ResponseFormat, ...] = get_args(ResponseFormat)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Shape:
    """What is sent although models.yaml does not ask for it."""

    response_format: ResponseFormat = "json_schema"
    has_temperature: bool = True  # 0, where there is one vote


@dataclass(frozen=True)
class _Asked:
    """One request: an item, a vote, and the instruction that was planted, if any."""

    item: int
    vote: int
    planted: bool | None = None


@dataclass
class Asking:
    """Asks for one run; counts what it did. `name`, of its journal, is the release's (or says that
    it is a calibration); `progress` is called after each answer with how many came and how many
    that is of, as far as is known by then.
    """

    home: Home
    warehouse: DuckDBFile
    name: str
    progress: Callable[[int, int], None] = lambda came, total: None
    sent: int = 0
    cost_usd: float = 0.0
    has_known_cost: bool = True  # of what was sent
    known: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    _shapes: dict[str, _Shape] = field(default_factory=dict)  # by version, since it was refused
    _came: int = 0
    _expected: int = 0
    _screens: dict[str, list[Grader] | None] = field(default_factory=dict)
    _items: dict[str, tuple[int, _Items]] = field(default_factory=dict)  # last row, hashes

    def __call__(
        self, items: Sequence[GradedItem], behaviors: Sequence[Behavior]
    ) -> list[GradedItem]:
        """The items with `answered` filled for every behaviour whose graders ask."""
        answered = [dict(item.answered) for item in items]
        wanted = {b.id for b in behaviors}
        for call in judge.calls_of(
            self.home.graded
        ):  # all that are asked together, also where only some are wanted: the call is the question
            if wanted & set(call.names):
                model = self.home.by_version[call.config.model]
                chosen = [i for i, item in enumerate(items) if self._needs(call, item)]
                for i, answers in self._judged(call, model, items, chosen).items():
                    answered[i] |= {
                        f"judge:{name}": answer.verdict for name, answer in answers.items()
                    }
        for version, categories in self._moderated(behaviors).items():
            model = self.home.by_version[version]
            chosen = [
                i
                for i, item in enumerate(items)
                if item.status in ("completed", "truncated")
                and (said := answer_of(item)) is not None
                and (said.text or "").strip()
            ]
            for i, answers in self._flags(model, categories, items, chosen).items():
                answered[i] |= {
                    f"moderation:{version}:{name}": answer.verdict
                    for name, answer in answers.items()
                }
        return [replace(item, answered=found) for item, found in zip(items, answered, strict=True)]

    def _needs(self, call: JudgeCall, item: GradedItem) -> bool:
        """Whether there is an answer, and any behaviour of the call is eligible and passes
        its screen.
        """
        answer = answer_of(item) if item.status in ("completed", "truncated") else None
        return answer is not None and any(
            holds(b.applies_to, item.metadata)
            and ((screen := self._screen(b)) is None or passes_screen(answer, screen))
            for b in call.behaviors
        )

    def _screen(self, behavior: Behavior) -> list[Grader] | None:
        if behavior.id not in self._screens:
            self._screens[behavior.id] = screen_of(behavior, self.home.path)
        return self._screens[behavior.id]

    def _judged(
        self,
        call: JudgeCall,
        model: ModelVersion,
        items: Sequence[GradedItem],
        chosen: Sequence[int],
    ) -> dict[int, dict[str, Answer]]:
        reasons = {i: judge.refused_before_asking(call, items[i]) for i in chosen}
        found: dict[int, dict[str, Answer]] = {
            i: dict.fromkeys(call.names, Answer(None, missing_reason=r))
            for i, r in reasons.items()
            if r
        }
        asked = [
            _Asked(i, vote)
            for i in chosen
            if reasons[i] is None
            for vote in range(call.config.votes)
        ]
        asked += [
            _Asked(i, 0, planted)
            for i in chosen
            if reasons[i] is None
            and (planted := _canary(items[i], call.config.canary_share)) is not None
        ]

        def body(one: _Asked, attempt: int, shape: _Shape) -> dict[str, Any]:
            item = (
                items[one.item]
                if one.planted is None
                else judge.planted(items[one.item], one.planted)
            )
            settings = model.settings.model_dump(exclude_none=True)
            if call.config.votes == 1 and shape.has_temperature:
                settings.setdefault("temperature", 0.0)
            elif "seed" in settings:
                settings["seed"] += one.vote
            name = model.model or (LOCAL_MODEL if model.provider == "local" else model.version)
            wanted = judge.response_format(call, shape.response_format)
            chat = {
                "model": name,
                "messages": judge.messages_for(call, item, again=attempt > 0),
                **({"response_format": wanted} if wanted else {}),
                **settings,
            }
            return as_responses(chat) if model.api == "responses" else chat

        answers = self._ask(
            model,
            judge.call_hash(call, model),
            call.names,
            items,
            asked,
            body,
            lambda one, text: judge.read_answers(text, call.names, items[one.item]),
            lambda limits: build_provider(model, limits=limits),
        )
        by_item: dict[int, list[dict[str, Answer]]] = {}
        for one, answer in answers.items():
            if one.planted is None:
                by_item.setdefault(one.item, []).append(answer)
        return found | {
            i: {name: judge.majority([votes[name] for votes in many]) for name in call.names}
            for i, many in by_item.items()
        }

    def _moderated(self, behaviors: Sequence[Behavior]) -> dict[str, tuple[str, ...]]:
        parts = [part for b in behaviors for part in b.parts if isinstance(part, ModerationGrader)]
        return {
            version: tuple(sorted({p.category for p in parts if p.model == version}))
            for version in sorted({p.model for p in parts})
        }

    def _flags(
        self,
        model: ModelVersion,
        categories: tuple[str, ...],
        items: Sequence[GradedItem],
        chosen: Sequence[int],
    ) -> dict[int, dict[str, Answer]]:
        def body(one: _Asked, attempt: int, shape: _Shape) -> dict[str, Any]:
            return moderation.moderation_body(model, items[one.item])

        asked = [_Asked(i, 0) for i in chosen]
        answers = self._ask(
            model,
            moderation.moderation_hash(model),
            categories,
            items,
            asked,
            body,
            lambda _, text: moderation.read_moderation(text, categories),
            lambda limits: ModerationProvider(model, limits),
        )
        return {one.item: answer for one, answer in answers.items()}

    def _ask(
        self,
        model: ModelVersion,
        question_hash: str,
        names: tuple[str, ...],
        items: Sequence[GradedItem],
        asked: Sequence[_Asked],
        body: Callable[[_Asked, int, _Shape], dict[str, Any]],
        read: Callable[[_Asked, str | None], dict[str, Answer]],
        provider: Callable[[Limits], Provider],
    ) -> dict[_Asked, dict[str, Answer]]:
        """Every answer, from the warehouse where it was asked before."""
        hashes = {one: judge.item_hash(items[one.item]) for one in asked}

        def request(one: _Asked, attempt: int, shape: _Shape) -> Request:
            return _request(model, one, hashes[one], body(one, attempt, shape))

        def is_final(one: _Asked, found: dict[str, Answer], sent: str) -> bool:
            reasons = {answer.missing_reason for answer in found.values()}
            if reasons & DECIDED:
                return True
            if any(map(_blames_the_request, reasons)) and not self._has_answer(question_hash):
                return False
            ways = [(attempt, s) for attempt in range(MOST_ATTEMPTS) for s in _shapes(model)]
            return any(sent == request(one, *way).request_hash for way in ways)

        stored = self._stored(question_hash, names, hashes, items)
        answers = {
            one: found for one, (found, sent) in stored.items() if is_final(one, found, sent)
        }
        self.known += len(answers)
        pending = [one for one in asked if one not in answers]
        if not pending:
            return answers
        final: dict[_Asked, Outcome] = {}
        with Journal(
            self.home.path
            / "journal"
            / f"{self.name}.{model.version}.{question_hash[:QUESTION]}.jsonl"
        ) as journal:
            received = {
                outcome.request_hash: outcome
                for outcome in journal.read()
                if not _may_pass(outcome, nothing_came=True)
            }
            budget = self._budget(model)

            def keep(outcome: Outcome) -> None:
                journal.append(outcome)
                received[outcome.request_hash] = outcome
                self.sent += outcome.reused_from is None
                self.cost_usd += outcome.cost_usd
                self.has_known_cost &= model.has_known_cost
                self._came += 1
                self.progress(self._came, self._expected)

            def request_of(one: _Asked, attempt: int) -> Request:
                """As it was sent, where there is an outcome of it; else in the shape of now."""
                for shape in _shapes(model) if received else ():
                    if (sent := request(one, attempt, shape)).request_hash in received:
                        return sent
                return request(one, attempt, self._shape(model))

            for attempt in range(MOST_ATTEMPTS):
                requests = {one: request_of(one, attempt) for one in pending}
                while new := [r for r in requests.values() if r.request_hash not in received]:
                    try:
                        self._send(new, model, provider, keep, budget)
                    except RefusedUnasked as refused:
                        self._leave_out(model, refused)
                        requests = {one: request_of(one, attempt) for one in pending}
                for one, sent in requests.items():
                    final[one] = received[sent.request_hash]
                    answers[one] = _read(final[one], names, partial(read, one))
                pending = [
                    one
                    for one in pending
                    if all(a.missing_reason in UNREADABLE for a in answers[one].values())
                ]
                if not pending:
                    break
            all_failed = all(outcome.status == "failed" for outcome in final.values())
            nothing_came = all_failed and not self._has_answer(question_hash)
            self._store(
                question_hash,
                model,
                items,
                hashes,
                {
                    one: (answers[one], outcome)
                    for one, outcome in final.items()
                    if not _may_pass(outcome, nothing_came)
                },
            )
            journal.clear()
        self.failures.update(
            a.missing_reason for one in final for a in answers[one].values() if a.missing_reason
        )
        return answers

    def _send(
        self,
        requests: Sequence[Request],
        model: ModelVersion,
        provider: Callable[[Limits], Provider],
        keep: Callable[[Outcome], None],
        budget: Budget,
    ) -> None:
        self._expected = self._came + len(requests)
        limits = Limits(
            model.requests_per_minute,
            model.tokens_per_minute,
            path=limits_file(self.home, model),
        )
        try:
            run_replay(
                requests,
                provider(limits),
                concurrency=model.concurrency,
                max_retries=model.max_retries,
                on_outcome=keep,
                on_error=model.on_error,
                limits=limits,
                budgets=[budget],
            )
        finally:
            limits.close()

    def _shape(self, model: ModelVersion) -> _Shape:
        return self._shapes.get(model.version, _shapes(model)[0])

    def _leave_out(self, model: ModelVersion, refused: RefusedUnasked) -> None:
        """Asks from now on without what was refused; raises it again where that is left out."""
        now = self._shape(model)
        if refused.setting == "temperature" and now.has_temperature:
            self._shapes[model.version] = replace(now, has_temperature=False)
            note = f"{refused}. It is asked without one: equal questions may get other answers."
        elif refused.setting == "response_format" and now.response_format != FORMATS[-1]:
            weaker = FORMATS[FORMATS.index(now.response_format) + 1]
            self._shapes[model.version] = replace(now, response_format=weaker)
            note = (
                f"{refused}. It is asked for {weaker} in place of {now.response_format}; with"
                f" response_format: {weaker} in models.yaml it is so from the start."
            )
        else:
            raise refused
        self.notes.append(note)
        log.warning(note)

    def _budget(self, model: ModelVersion) -> Budget:
        """What the version may still spend as a grader: its `budget` is for all that it was ever
        asked in this home, answers that a killed run left in a journal too.
        """
        budget = Budget(model.budget.max_usd, model.budget.max_tokens)
        with self.warehouse.reading() as tx:
            if "grader_answers" in tx.tables():
                spent = (
                    "select coalesce(sum(cost_usd), 0) as usd, coalesce(sum(tokens), 0) as tokens"
                    " from grader_answers where asked_by = $version"
                )
                usd, tokens = tx.query(spent, {"version": model.version}).row(0)
                budget.spend(usd, round(tokens))
        for left in (self.home.path / "journal").glob(
            f"*.{model.version}.{'[0-9a-f]' * QUESTION}.jsonl"
        ):
            for outcome in read_journal(left):
                budget.spend(outcome.cost_usd, outcome.prompt_tokens + outcome.completion_tokens)
        return budget

    def _stored(
        self,
        question_hash: str,
        names: tuple[str, ...],
        hashes: Mapping[_Asked, str],
        items: Sequence[GradedItem],
    ) -> dict[_Asked, tuple[dict[str, Answer], str]]:
        """Answers that are there, and the hash of their request. Which items have any is known in
        memory, 8 bytes each: to scan all answers for every page would take longer than to ask.
        """
        there = self._known_items(question_hash, names)
        wanted = dict.fromkeys(hashes.values())
        short = np.array([_short(item) for item in wanted], dtype=np.int64)
        likely = [h for h, is_in in zip(wanted, np.isin(short, there), strict=True) if is_in]
        if not likely:
            return {}
        prefixes = [items[one.item].key for one in hashes]
        ask = {"question": question_hash, "first": min(prefixes), "last": max(prefixes)}
        select = (
            "select * from grader_answers where question_hash = $question"
            " and item_hash in (select unnest($items))"
        )
        with self.warehouse.reading() as tx:
            near = f"{select} and prefix_id between $first and $last"
            rows = tx.query(near, {**ask, "items": likely}).to_dicts()
            if elsewhere := set(likely) - {row["item_hash"] for row in rows}:  # of another prefix
                far = {"question": question_hash, "items": sorted(elsewhere)}
                rows += tx.query(select, far).to_dicts()
        by_key: dict[tuple[str, int, bool], dict[str, Answer]] = {}
        sent: dict[tuple[str, int, bool], str] = {}
        for row in rows:
            found = Answer(
                row["label"], row["score"], row["rationale"], row["evidence"], row["missing_reason"]
            )
            key = row["item_hash"], row["vote"], row["is_canary"]
            by_key.setdefault(key, {})[row["question"]] = found
            sent[key] = row["request_hash"]
        keys = {one: (item, one.vote, one.planted is not None) for one, item in hashes.items()}
        return {
            one: (by_key[key], sent[key])
            for one, key in keys.items()
            if set(names) <= by_key.get(key, {}).keys()
        }

    def _has_answer(self, question_hash: str) -> bool:
        """Whether the question was ever answered with a label."""
        with self.warehouse.reading() as tx:
            if "grader_answers" not in tx.tables():
                return False
            select = (
                "select count(*) as n from grader_answers where question_hash = $question"
                " and label is not null"
            )
            return bool(tx.query(select, {"question": question_hash})["n"][0])

    def _known_items(self, question_hash: str, names: tuple[str, ...]) -> _Items:
        """Items that have an answer, also those that another run stored a moment ago: only rows
        that are new since the last page are read.
        """
        seen, known = self._items.get(question_hash, (-1, np.empty(0, np.int64)))
        with self.warehouse.reading() as tx:
            if "grader_answers" not in tx.tables():
                return known
            last = int(tx.query("select coalesce(max(rowid), -1) as n from grader_answers")["n"][0])
            if last < seen:  # rows were removed, and the others moved towards the start
                seen, known = -1, known[:0]
            new = tx.query(
                "select distinct ('0x' || left(item_hash, 15))::bigint as item from grader_answers"
                " where rowid > $seen and question_hash = $question and question = $name",
                {"seen": seen, "question": question_hash, "name": names[0]},
            )
        known = np.union1d(known, new["item"].to_numpy())
        self._items[question_hash] = last, known
        return known

    def _store(
        self,
        question_hash: str,
        model: ModelVersion,
        items: Sequence[GradedItem],
        hashes: Mapping[_Asked, str],
        final: Mapping[_Asked, tuple[dict[str, Answer], Outcome]],
    ) -> None:
        rows: dict[tuple[object, ...], dict[str, object]] = {}
        for one, (answers, outcome) in final.items():
            for name, answer in answers.items():
                rows[hashes[one], name, one.vote, one.planted is not None] = {
                    "question_hash": question_hash,
                    "item_hash": hashes[one],
                    "question": name,
                    "vote": one.vote,
                    "is_canary": one.planted is not None,
                    "planted": one.planted,
                    "label": answer.label,
                    "score": answer.score,
                    "rationale": answer.rationale,
                    "evidence": (
                        answer.evidence if answer.evidence in (items[one.item].text or "") else ""
                    ),
                    "missing_reason": answer.missing_reason,
                    "prefix_id": items[one.item].key,
                    "asked_by": model.version,
                    "request_hash": outcome.request_hash,
                    "cost_usd": outcome.cost_usd / len(answers),
                    "tokens": (outcome.prompt_tokens + outcome.completion_tokens) / len(answers),
                    "answered_at": outcome.completed_at,
                    "tokens_estimated": outcome.tokens_estimated,
                    "asked_for": self.name,
                }
        if rows:
            with self.warehouse.transaction() as tx:
                tx.upsert(GraderAnswers, frame(GraderAnswers, list(rows.values())))


def _short(item_hash: str) -> int:
    return int(item_hash[:15], 16)


def flip_rate(warehouse: DuckDBFile) -> list[dict[str, Any]]:
    """Per version that judges: items with a planted instruction whose own answer differed from what
    was planted, and how many followed it.
    """
    with warehouse.reading() as tx:
        if "grader_answers" not in tx.tables():
            return []
        return tx.query(
            """select c.asked_by, count(*) as canaries, count(*) filter (c.label = c.planted)
              as flipped
               from grader_answers c join grader_answers a using (question_hash, item_hash,
                 question, vote)
               where c.is_canary and not a.is_canary and a.label is not null
                 and a.label <> c.planted group by all order by all"""
        ).to_dicts()


def _read(
    outcome: Outcome, names: tuple[str, ...], read: Callable[[str | None], dict[str, Answer]]
) -> dict[str, Answer]:
    if outcome.status == "failed":
        return dict.fromkeys(names, Answer(None, missing_reason=f"judge:{outcome.reason}"))
    if outcome.status == "refused" or outcome.refusal:
        return dict.fromkeys(names, Answer(None, missing_reason="judge:refused"))
    return read(outcome.text)


def _shapes(model: ModelVersion) -> list[_Shape]:
    """Every shape that the version's questions may have, the first to be tried first."""
    formats = (model.response_format,) if model.response_format else FORMATS
    return [_Shape(one, has) for one in formats for has in (True, False)]


def _may_pass(outcome: Outcome, nothing_came: bool) -> bool:
    """Whether a failure may pass: in time, or once a setting is right that makes every request fail
    (`nothing_came`: no answer says that it is right).
    """
    return outcome.status == "failed" and (
        outcome.reason in TRANSIENT_REASONS
        or (nothing_came and _blames_the_request(outcome.reason))
    )


def _blames_the_request(reason: str | None) -> bool:
    """Whether the endpoint found fault with a request, which may be one of all requests."""
    code = (reason or "").removeprefix("judge:")
    return code == "bad_request" or code.startswith("http_")


def _request(model: ModelVersion, one: _Asked, item: str, body: dict[str, Any]) -> Request:
    vote = one.vote if body.get("temperature", 1.0) > 0 and "seed" not in body else 0
    return Request(
        "candidate",
        item,
        one.vote,
        body,
        sha256(
            {"provider": model.provider, "base_url": model.base_url, "body": body, "vote": vote}
        ),
    )


def _canary(item: GradedItem, share: float) -> bool | None:
    """Which label a planted instruction asks for; None for an item that gets none. Decided by
    the item's hash.
    """
    drawn = int(judge.item_hash(item)[:8], 16)
    return bool(drawn & 1) if drawn / 2**32 < share else None


def refuse_unserved(home: Home) -> None:
    """SimPlatformError naming a behaviour that is asked of a version whose provider is `recorded`:
    a log answers nothing.
    """
    for behavior in home.graded:
        for config in behavior.judges:
            if home.by_version[config.model].provider == "recorded":
                raise SimPlatformError(
                    f'behaviors/{behavior.id}.yaml: version "{config.model}" is recorded and cannot'
                    " judge; name one that answers"
                )
