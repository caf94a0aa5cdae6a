"""What a release costs: the calls of its graders that are still to be made, and what was spent.

Belongs here: counting calls and dollars over the warehouse and the registry. Does not: what a
sample can show (planning), asking anybody (grading.asking), printing (commands, reporting).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import polars as pl

from sim_platform.contracts.messages import canonical_json
from sim_platform.flows.replay.pending import replayed_arms
from sim_platform.grading import judge, moderation
from sim_platform.grading.items import GradedItem
from sim_platform.registry.behaviors import Behavior, EnsembleGrader, ModerationGrader
from sim_platform.registry.home import Home
from sim_platform.registry.models import ModelVersion
from sim_platform.registry.schema import holds
from sim_platform.replay.requests import CHARACTERS_PER_TOKEN
from sim_platform.sampling.draw import Draw
from sim_platform.sampling.prefixes import prefix_id
from sim_platform.warehouse.duckdb_file import DuckDBFile, Transaction

ANSWER_TOKENS = (
    300  # assumed of an answer where the settings have no limit; whoever shows it says so
)
GRADE_TOKENS = 100  # the same, of a judge's answer about one behaviour
ARMS = """
    select arm, count(*) - count(reused_from) as paid, sum(cost_usd) as cost_usd
    from candidate_completions where model_version = $release group by arm order by arm"""
GRADERS = """
    select asked_by, count(distinct (question_hash, item_hash, vote, is_canary)) as calls,
           round(sum(tokens))::bigint as tokens,
           count(distinct (question_hash, item_hash, vote, is_canary)) filter ({estimated})
             as tokens_estimated, sum(cost_usd) as cost_usd
    from grader_answers
    where {asked_for} = $release or ({asked_for} is null and prefix_id in
      (select prefix_id from stratified_sample where model_version = $release))
    group by asked_by order by asked_by"""
ANSWERED = """
    select count(distinct (item_hash, vote, is_canary)) as n from grader_answers
    where question_hash = $question and question = $name and prefix_id in (select id from drawn)"""


@dataclass(frozen=True)
class _Question:
    """What one version is asked about an item: once a vote."""

    version: str
    hash: str
    names: tuple[str, ...]
    behaviors: tuple[Behavior, ...]
    votes: int
    canary_share: float
    characters: int  # of what is asked, without the conversation


def estimate(model: ModelVersion, requests: int, prompt: float, assumed: int) -> dict[str, Any]:
    """Tokens, US dollars and minutes of so many requests.

    `completion_tokens_at_most` is the limit of the settings, None where they have none: then
    `completion_tokens` takes `assumed` a request. `cost_usd` is None where the price is not known.

    Args:
        prompt: characters of a request. assumed: tokens of an answer without a limit.
    """
    limit = model.settings.max_completion_tokens or model.settings.max_tokens
    tokens_in = round(requests * prompt / CHARACTERS_PER_TOKEN)
    tokens_out = requests * (limit or assumed)
    share = model.batch.price_factor if model.provider == "openai_batch" else 1.0
    price = model.price
    cost = (
        share * (tokens_in * price.input_per_mtok + tokens_out * price.output_per_mtok) / 1e6
        if price
        else None
        if model.is_remote and requests
        else 0.0
    )
    limits = (
        (requests, model.requests_per_minute),
        (tokens_in + tokens_out, model.tokens_per_minute),
    )
    waits = [part / most for part, most in limits if most]
    return {
        "model": model.version,
        "provider": model.provider,
        "requests": requests,
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "completion_tokens_at_most": tokens_out if limit else None,
        "assumed_tokens_an_answer": None if limit else assumed,
        "cost_usd": cost,
        "minutes_at_limits": max(waits, default=None),
    }


def spent_on_answers(warehouse: DuckDBFile, release: str) -> tuple[float, int]:
    """US dollars and tokens of all answers that are stored for the release and were paid for it."""
    with warehouse.reading() as tx:
        if "candidate_completions" not in tx.tables():
            return 0.0, 0
        usd, tokens = tx.query(
            "select coalesce(sum(cost_usd), 0)::double as usd,"
            " coalesce(sum(prompt_tokens + completion_tokens), 0)::bigint as tokens"
            " from candidate_completions where model_version = $release and reused_from is null",
            {"release": release},
        ).row(0)
    return float(usd), int(tokens)


def grader_calls(
    home: Home, warehouse: DuckDBFile, release: str, population: pl.DataFrame, drawn: Draw
) -> list[dict[str, Any]]:
    """What judges and moderation endpoints will be asked about the drawn prefixes, a row a
    question: at most `requests` calls, beside the `answered` ones that are stored.

    At most, because a screen, a response that is empty and one that two arms share are not asked
    about; an unreadable answer is asked for once more.
    """
    candidate, replaced = home.release(release)
    repeats = len(replayed_arms(candidate, replaced)) * candidate.plan.completions_per_prefix
    items = len(drawn.sampled) * (repeats + ("recorded" in candidate.plan.arms))
    metadata = population["metadata"].value_counts()
    rows = []
    for question in _questions(home):
        applies = sum(
            n
            for text, n in metadata.iter_rows()
            if any(holds(b.applies_to, json.loads(text)) for b in question.behaviors)
        )
        eligible = ceil(items * applies / len(population))
        calls = eligible * question.votes + ceil(eligible * question.canary_share)
        answered = _answered(warehouse, question, drawn)
        characters = float(population["characters"].mean() or 0)  # type: ignore[arg-type]  # polars types a mean as of any column
        model = home.by_version[question.version]
        assumed = GRADE_TOKENS * len(question.names)
        left = max(0, calls - answered)
        rows.append(
            estimate(model, left, question.characters + characters, assumed)
            | {
                "behaviors": [b.id for b in question.behaviors],
                "answered": answered,
                "screened": any(
                    isinstance(g, EnsembleGrader) for b in question.behaviors for g in b.graders
                ),
            }
        )
    return rows


def spent_by_arm(tx: Transaction, home: Home, release: str) -> dict[str, float | None]:
    """US dollars by arm; None where a price is not known."""
    if "candidate_completions" not in tx.tables():
        return {}
    candidate, replaced = home.release(release)
    return {
        arm: _known(candidate if arm == "candidate" else replaced, paid, cost)
        for arm, paid, cost in tx.query(ARMS, {"release": release}).iter_rows()
    }


def spent_on_graders(tx: Transaction, home: Home, release: str) -> list[dict[str, Any]]:
    """Per version that graded for the release: calls, tokens, and US dollars (None: not known).
    Answers of an older version do not say for whom they were asked: those about its prefixes.
    """
    if not {"grader_answers", "stratified_sample"} <= tx.tables():
        return []
    columns = tx.columns("grader_answers")  # those of an older version have fewer
    sql = GRADERS.format(
        asked_for="asked_for" if "asked_for" in columns else "null::varchar",
        estimated="tokens_estimated" if "tokens_estimated" in columns else "false",
    )
    return [
        {
            **row,
            "cost_usd": _known(home.by_version.get(row["asked_by"]), row["calls"], row["cost_usd"]),
        }
        for row in tx.query(sql, {"release": release}).to_dicts()
    ]


def total(costs: Sequence[float | None]) -> float | None:
    """The sum; None where one of them is not known."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _known(model: ModelVersion | None, paid: int, cost: float) -> float | None:
    """What answers have cost; None where they came from a paid endpoint and no price says what."""
    if cost or not paid or (model is not None and not model.is_remote):
        return float(cost)
    price = model.price if model else None
    is_free = price is not None and not (price.input_per_mtok or price.output_per_mtok)
    return 0.0 if is_free else None


def _questions(home: Home) -> list[_Question]:
    found = []
    for call in judge.calls_of(home.graded):
        version = call.config.model
        empty = judge.messages_for(call, GradedItem(prefix=[]))
        found.append(
            _Question(
                version,
                judge.call_hash(call, home.by_version[version]),
                call.names,
                call.behaviors,
                call.config.votes,
                call.config.canary_share,
                len(canonical_json([empty, judge.response_format(call)])),
            )
        )
    asked = [(b, p) for b in home.graded for p in b.parts if isinstance(p, ModerationGrader)]
    for version in sorted({part.model for _, part in asked}):
        mine = [(b, part) for b, part in asked if part.model == version]
        names = tuple(sorted({part.category for _, part in mine}))
        # an endpoint is asked about every item, whatever a behaviour applies to
        everyone = tuple({b.id: b.model_copy(update={"applies_to": {}}) for b, _ in mine}.values())
        found.append(
            _Question(
                version,
                moderation.moderation_hash(home.by_version[version]),
                names,
                everyone,
                1,
                0.0,
                0,
            )
        )
    return found


def _answered(warehouse: DuckDBFile, question: _Question, drawn: Draw) -> int:
    """Stored answers to the question about the drawn prefixes."""
    with warehouse.reading() as tx:
        if "grader_answers" not in tx.tables():
            return 0
        places = drawn.sampled.select("conversation_key", "turn").iter_rows()
        ids = pl.DataFrame({"id": [prefix_id(*place) for place in places]})
        wanted = {"question": question.hash, "name": question.names[0]}
        return int(tx.query(ANSWERED, wanted, frames={"drawn": ids})["n"][0])
