"""How many tool calls could be answered without a model and without a tool, and how many of these
answers are the true ones.

Belongs here: answering the calls of conversations that ran against the real tools from another
conversation's log, call by call, the truth before each call known. Does not: which conversations
(flows), answering calls of a model (the turn loop).

Sources, the first that answers wins:

memo: the same call was answered before in this conversation, it was a read or it failed (which
    changes nothing), and nothing written since can have changed the answer.
recorded: a pair of the conversation that is replayed, by exact canonical call, the n-th for the
    n-th; only if fresh: no write that happened in one of the two conversations and not in the other
    can have changed it. A value that stands in the calls of many conversations is vocabulary (a
    cabin class, a day), not a thing.
declared: what one line of a declaration would answer, as far as the log shows it: a tool that has
    always given the same bytes whatever it was asked, and a calculator, recognised by its results.
log: the same call of another conversation, the newest, of tools whose repeated calls agree.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sim_platform.replay.tools.arithmetic import value_of
from sim_platform.replay.tools.calls import identifiers
from sim_platform.replay.tools.inference import is_shared, repeated
from sim_platform.replay.tools.pairs import Pair, is_successful_write

SOURCES = ("memo", "recorded", "declared", "log")
VOCABULARY_FROM, VOCABULARY_SHARE = 3, 0.05  # conversations, and their share of the log
LEAST_SHOWN = 8  # calls of the log by which a constant or a calculator is recognised
_FORMS: tuple[Callable[[float], str], ...] = (
    lambda value: str(int(value)) if value == int(value) else str(value),
    lambda value: str(value),
    lambda value: str(round(value, 2)),
    lambda value: f"{value:.2f}",
)
_spoken = lru_cache(maxsize=100_000)(identifiers)


@dataclass(frozen=True)
class Conversation:
    """The calls of one conversation, in order. `same_as` names the conversation of the log that it
    replays; None: the log has none.
    """

    key: str
    pairs: Sequence[Pair]
    same_as: str | None = None


@dataclass(frozen=True)
class Answer:
    """How one call was answered: the source (None: by none), and whether the result is the true
    one.
    """

    tool: str
    source: str | None
    is_exact: bool


def shared_tools(conversations: Iterable[Conversation]) -> frozenset[str]:
    """Tools whose equal calls give the same everywhere: 20 repeats, 95 % of them equal."""
    by_tool: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for conversation in conversations:
        for pair in conversation.pairs:
            if pair.problem is None:
                by_tool[pair.tool].append({"conversation_key": conversation.key, **vars(pair)})
    return frozenset(tool for tool, pairs in by_tool.items() if is_shared(*repeated(pairs)))


def answers(
    log: Sequence[Conversation], asked: Iterable[Conversation], shared: frozenset[str]
) -> list[Answer]:
    """Every call of `asked` whose true result is known, answered from `log`.

    Args:
        log: conversations that may be answered from, the oldest first. One of `asked` that is also
            here is never answered from itself, unless `same_as` names it.
        shared: tools that may be answered from any conversation.
    """
    everywhere: dict[str, list[tuple[str, Pair]]] = defaultdict(list)
    by_key = {conversation.key: conversation for conversation in log}
    for conversation in log:
        for pair in conversation.pairs:
            if pair.problem is None:
                everywhere[pair.canonical_hash].append((conversation.key, pair))
    vocabulary = _vocabulary(log)
    declared = _declared([pair for found in everywhere.values() for _, pair in found])
    made = []
    for conversation in asked:
        replayed = by_key.get(conversation.same_as or "")
        made += _of_one(conversation, replayed, everywhere, declared, shared, vocabulary)
    return made


def _of_one(
    conversation: Conversation,
    replayed: Conversation | None,
    everywhere: Mapping[str, Sequence[tuple[str, Pair]]],
    declared: Mapping[str, Callable[[str], str | None]],
    shared: frozenset[str],
    vocabulary: frozenset[str],
) -> list[Answer]:
    made: list[Answer] = []
    before: dict[str, tuple[int, Pair]] = {}  # the latest equal call, and the writes up to it
    n_equal: Counter[str] = Counter()
    writes: list[Pair] = []
    for pair in conversation.pairs:
        if pair.problem is not None:
            writes += [pair] if is_successful_write(pair) else []
            continue
        found: tuple[str, str] | None = None
        equal = before.get(pair.canonical_hash)
        if (
            equal
            and not is_successful_write(equal[1])
            and not _touched(equal[1], writes[equal[0] :], vocabulary)
            and equal[1].result is not None
        ):
            found = ("memo", equal[1].result)
        elif served := _recorded(pair, n_equal[pair.canonical_hash], replayed, writes, vocabulary):
            found = ("recorded", served)
        elif (compute := declared.get(pair.tool)) and (
            computed := compute(pair.arguments)
        ) is not None:
            found = ("declared", computed)
        elif pair.tool in shared:
            others = [
                p.result
                for key, p in everywhere.get(pair.canonical_hash, ())
                if key not in (conversation.key, conversation.same_as)
            ]
            found = ("log", others[-1] or "") if others else None
        source, result = found or (None, None)
        made.append(Answer(pair.tool, source, source is not None and result == pair.result))
        n_equal[pair.canonical_hash] += 1
        writes += [pair] if is_successful_write(pair) else []
        before[pair.canonical_hash] = (len(writes), pair)
    return made


def _recorded(
    call: Pair,
    n: int,
    replayed: Conversation | None,
    writes: Sequence[Pair],
    vocabulary: frozenset[str],
) -> str | None:
    """The result of the n-th equal call of the replayed conversation, if it is fresh."""
    if replayed is None:
        return None
    theirs: list[Pair] = []
    for pair in replayed.pairs:
        if pair.canonical_hash == call.canonical_hash and pair.problem is None:
            if n == 0:
                ours = {w.canonical_hash for w in writes}
                there = {w.canonical_hash for w in theirs}
                apart = [w for w in theirs if w.canonical_hash not in ours]
                apart += [w for w in writes if w.canonical_hash not in there]
                return None if _touched(pair, apart, vocabulary) else pair.result
            n -= 1
        if is_successful_write(pair):
            theirs.append(pair)
    return None


def _vocabulary(log: Sequence[Conversation]) -> frozenset[str]:
    """Values that stand in the calls of so many conversations that they name no one thing."""
    counted: Counter[str] = Counter()
    for conversation in log:
        counted.update({v for p in conversation.pairs for v in _spoken(p.arguments)})
    least = max(VOCABULARY_FROM, VOCABULARY_SHARE * len(log))
    return frozenset(value for value, n in counted.items() if n >= least)


def _touched(pair: Pair, writes: Sequence[Pair], vocabulary: frozenset[str]) -> bool:
    """Whether one of the writes can have changed what the pair says: its call names a thing that
    stands in the pair's call or result, or its result one that the pair asks for (it made it). What
    two results have in common, a customer's name say, is no sign of a change.
    """
    asked = _spoken(pair.arguments) - vocabulary
    told = asked | (_spoken(pair.result or "") - vocabulary)
    return any(told & _spoken(w.arguments) or asked & _spoken(w.result or "") for w in writes)


def _declared(pairs: Iterable[Pair]) -> dict[str, Callable[[str], str | None]]:
    """Tool to what computes its results, where the log shows that something does."""
    by_tool: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_tool[pair.tool].append(pair)
    found: dict[str, Callable[[str], str | None]] = {}
    for tool, mine in by_tool.items():
        if len(mine) < LEAST_SHOWN or any(p.is_error for p in mine):
            continue
        results = {p.result for p in mine}
        if len(results) == 1 and len({p.arguments for p in mine}) > 1:
            found[tool] = _always(results.pop())
            continue
        for form in _FORMS:
            compute = _calculator(form)
            if all(compute(p.arguments) == p.result for p in mine):
                found[tool] = compute
                break
    return found


def _always(result: str | None) -> Callable[[str], str | None]:
    return lambda _: result


def _calculator(form: Callable[[float], str]) -> Callable[[str], str | None]:
    def compute(arguments: str) -> str | None:
        values = list(json.loads(arguments).values())
        if len(values) != 1 or not isinstance(values[0], str):
            return None
        value = value_of(values[0])
        return None if value is None or value - value != 0 else form(value)

    return compute


def summary(made: Sequence[Answer]) -> dict[str, Any]:
    """calls, answered (share), exact (share of the answered that are the true result; None where
    none was), by_source and by_tool with the same counts.
    """
    n_answered = sum(a.source is not None for a in made)

    def counted(mine: Sequence[Answer]) -> dict[str, Any]:
        return {
            "calls": len(mine),
            "answered": sum(a.source is not None for a in mine),
            "exact": sum(a.is_exact for a in mine),
        }

    tools = Counter(a.tool for a in made)
    return {
        "calls": len(made),
        "answered": n_answered / len(made) if made else 0.0,
        "exact": sum(a.is_exact for a in made) / n_answered if n_answered else None,
        "by_source": {
            source: {"answered": len(mine), "exact": sum(a.is_exact for a in mine)}
            for source in SOURCES
            if (mine := [a for a in made if a.source == source])
        },
        "by_tool": {
            tool: counted([a for a in made if a.tool == tool]) for tool, _ in tools.most_common()
        },
    }
