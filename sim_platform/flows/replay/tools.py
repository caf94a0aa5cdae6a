"""What a home's log says of its tools: inferred schemas, what is not defined, and how many calls
could be answered without a model.

Belongs here: reading pairs, definitions and conversations for that. Does not: inferring, answering
(replay.tools), printing (commands).

Schemas and facts come from the de-identified pairs. Coverage compares conversations with each
other, where surrogates differ, and what masking did to numbers can only be seen beside the log: for
these two the log's own text is read from the vault, in memory; counts and names of tools leave.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.contracts.tables.deidentification import DeidentifiedCorpus
from sim_platform.contracts.tables.extraction import ConsentedLogExtract, ToolSets
from sim_platform.contracts.tables.schema import table_name
from sim_platform.deidentification.deidentify import keyed_hash
from sim_platform.flows.files import vault_of, warehouse_of
from sim_platform.flows.paging import row_pages
from sim_platform.flows.private_files import write_private
from sim_platform.flows.replay.pairs import pair_calls
from sim_platform.flows.vault import vault_key
from sim_platform.registry.home import Home
from sim_platform.registry.tools import INFERRED, SCHEMAS, read_schemas
from sim_platform.replay.tools.calls import numbers_of
from sim_platform.replay.tools.coverage import Conversation, answers, shared_tools, summary
from sim_platform.replay.tools.inference import inferred_schemas, tool_facts
from sim_platform.replay.tools.pairs import pairs_of

FACTS = Path("tools") / "facts.inferred.json"
PAGE = 2_000  # conversations read together
MATCHED = 0.5  # of the conversations asked about, by a key that says which ones are the same
PAIRS = "select * from tool_pairs order by conversation_key, turn, step, position"
IN_LOG = """
    select p.tool, c.model_version, count(*) as calls, count(p.problem) as not_served,
           p.tool_set_hash
    from tool_pairs p join deidentified_corpus c using (conversation_key) group by all
    order by all"""
LOGGED = """
    select conversation_id, model_version, started_at, messages, metadata
    from consented_log_extract
    where rowid >= $start and rowid < $end and model_version in (select unnest($versions))"""


@dataclass(frozen=True)
class Inferred:
    """Where the schemas were written, of how many tools, and how each tool behaves in the log."""

    file: Path
    n_tools: int
    facts: list[dict[str, Any]]


def infer_tools(home: Home) -> Inferred:
    """Writes `tools/schemas.inferred.json`, and `tools/facts.inferred.json` beside it.

    Raises:
        SimPlatformError: the corpus has no tool call, or there is no corpus yet.
    """
    _bring_pairs_up_to_date(home)
    pairs = warehouse_of(home).query(PAIRS).to_dicts()
    if not pairs:
        raise SimPlatformError(
            "no conversation of the corpus calls a tool; there is nothing to infer from"
        )
    schemas = inferred_schemas((pair["tool"], pair["arguments"]) for pair in pairs)
    changed = _changed_numbers(home, pairs)
    facts = [{**row, "numbers_changed": changed.get(row["tool"])} for row in tool_facts(pairs)]
    (home.path / INFERRED).parent.mkdir(exist_ok=True)
    for file, value in ((INFERRED, schemas), (FACTS, facts)):
        text = json.dumps(value, indent=2, ensure_ascii=False)
        write_private(home.path / file, f"{text}\n")
    return Inferred(home.path / INFERRED, len(schemas), facts)


def _bring_pairs_up_to_date(home: Home) -> None:
    warehouse = warehouse_of(home)
    with warehouse.reading() as tx:
        if table_name(DeidentifiedCorpus) not in tx.tables():
            raise SimPlatformError(
                "no corpus yet: run `sim-platform prepare RELEASE` first (it asks no model and"
                " costs nothing)"
            )
    pair_calls(warehouse, advance=lambda _: None)


def _changed_numbers(home: Home, pairs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Tool to the share of its results in which de-identification changed a number: sums, check
    digits and dates that need no longer agree, so that such a result says little about a world.
    """
    vault = vault_of(home)
    secret = vault_key(vault)
    stored = {
        (pair["conversation_key"], pair["turn"], pair["step"], pair["position"]): pair
        for pair in pairs
        if pair["result"] is not None
    }
    changed: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for page in row_pages(vault, table_name(ConsentedLogExtract), PAGE):
        rows = vault.query(LOGGED, {**page, "versions": [m.version for m in home.models]})
        for one, messages in rows.select("conversation_id", "messages").iter_rows():
            key = keyed_hash(secret, "conversation", one)
            for raw in pairs_of(json.loads(messages)) if '"tool_calls":' in messages else ():
                pair = stored.get((key, raw.turn, raw.step, raw.position))
                if pair is not None and raw.result is not None:
                    seen[pair["tool"]] += 1
                    changed[pair["tool"]] += numbers_of(raw.result) != numbers_of(pair["result"])
    return {tool: changed[tool] / n for tool, n in seen.items()}


@dataclass(frozen=True)
class ToolCheck:
    """What the log calls against what is defined.

    `undefined`: tools that the log calls and nothing defines, with their calls. `not_offered` and
    `unknown`, per release whose settings offer tools: tools of the log that it is not offered, and
    tools that it is offered and the log never calls.
    """

    n_sets: int
    n_calls: int
    n_not_served: int
    undefined: dict[str, int]
    not_offered: dict[str, list[str]]
    unknown: dict[str, list[str]]
    says: list[str]


def check_tools(home: Home) -> ToolCheck:
    """Compares the tools that the log calls with those that are defined: by conversations, by
    `settings.tools` of the versions, by tools/schemas.json.

    Raises:
        BadInputError: tools/schemas.json is not what it must be.
    """
    written = {tool["function"]["name"] for tool in read_schemas(home.path)}
    _bring_pairs_up_to_date(home)
    warehouse = warehouse_of(home)
    sets = {
        found: {tool["function"]["name"] for tool in json.loads(tools)}
        for found, tools in warehouse.read(ToolSets).iter_rows()
    }
    offered = {
        model.version: {tool["function"]["name"] for tool in model.settings.tools or ()}
        for model in home.models
    }
    called: Counter[str] = Counter()
    undefined: Counter[str] = Counter()
    n_not_served = 0
    for row in warehouse.query(IN_LOG).to_dicts():
        known = written | offered.get(row["model_version"], set())
        known |= sets.get(row["tool_set_hash"], set())
        called[row["tool"]] += row["calls"]
        n_not_served += row["not_served"]
        if row["tool"] not in known:
            undefined[row["tool"]] += row["calls"]
    releases = {name: offered[name] for name in home.releases if offered[name]}
    says = []
    if undefined:
        says.append(
            f"{len(undefined)} tools that the log calls are defined nowhere"
            f" ({', '.join(name for name, _ in undefined.most_common(5))}). Run `sim-platform tools"
            f" infer`, read {INFERRED}, write descriptions, and rename it to {SCHEMAS}."
        )
    check = ToolCheck(
        len(sets),
        called.total(),
        n_not_served,
        dict(undefined.most_common()),
        {name: left for name, mine in releases.items() if (left := sorted(called.keys() - mine))},
        {name: left for name, mine in releases.items() if (left := sorted(mine - called.keys()))},
        says,
    )
    for name, missing in check.not_offered.items():
        says.append(f"{name} is not offered what the log calls: {', '.join(missing)}")
    for name, more in check.unknown.items():
        says.append(f"{name} is offered what the log never calls: {', '.join(more)}")
    return check


def tool_coverage(
    home: Home, *, log: str | None = None, of: Sequence[str] = (), same: str | None = None
) -> dict[str, Any]:
    """How many calls could be answered without a model, and how many of these answers are true.

    Where versions that replace `log` have conversations of their own, their calls are answered from
    its log; `same` is the metadata key whose value says which conversation of it each one replays.
    Without such versions, the calls of the log itself are answered from its other conversations.

    Args:
        log: version whose log answers; default: the one in service with most conversations.
        of: versions whose calls are answered; default: all that replace it.
        same: default: the metadata key by which most conversations of both are the same, if any.

    Returns:
        `replay.tools.coverage.summary`, with `log`, `of`, `same`, `conversations` and `shared` (the
        tools whose equal calls agree over all versions looked at).

    Raises:
        BadInputError: no such version or key. SimPlatformError: no log of it, or no call.
    """
    for name in (*([log] if log else ()), *of):
        if name not in home.by_version:
            raise BadInputError(
                f'models.yaml: "{name}" is not in the registry (versions:'
                f" {', '.join(home.by_version)})"
            )
    found = _conversations(home, [m.version for m in home.models])
    if log is None:
        served = [version for version in home.in_service if found.get(version)]
        log = max(served, key=lambda version: len(found[version]), default=None)
    if log is None or not found.get(log):
        raise SimPlatformError(
            f"{log or 'no version'} in service has a log in the vault; run `sim-platform prepare"
            " RELEASE` first"
        )
    wanted = of or [m.version for m in home.models if m.replaces == log and found.get(m.version)]
    own = found[log]
    asked = [one for version in wanted for one in found.get(version, ())]
    key = same or _same_key(own, asked)
    if same and not any(same in one.metadata for one in asked):
        raise BadInputError(f'no conversation of {", ".join(wanted)} has metadata "{same}"')
    by_value = {one.metadata[key]: one.key for one in own if key and key in one.metadata}
    if asked:
        conversations = [
            Conversation(one.key, one.pairs, by_value.get(one.metadata.get(key or "")))
            for one in asked
        ]
    else:
        conversations = [Conversation(one.key, one.pairs) for one in own]
    of_log = [Conversation(one.key, one.pairs) for one in own]
    shared = shared_tools([*of_log, *(conversations if asked else ())])
    made = answers(of_log, conversations, shared)
    if not made:
        raise SimPlatformError(
            f"no tool call with a result in the log of {', '.join(wanted) or log}"
        )
    return {
        "log": log,
        "of": list(wanted),
        "same": key if asked else None,
        "conversations": len(conversations),
        "shared": sorted(shared),
        **summary(made),
    }


@dataclass(frozen=True)
class _Logged:
    key: str
    started_at: Any
    metadata: Mapping[str, Any]
    pairs: Any


def _conversations(home: Home, versions: Sequence[str]) -> dict[str, list[_Logged]]:
    """The calls of each version's conversations as they stand in the log, the oldest first."""
    vault = vault_of(home)
    with vault.reading() as tx:
        if table_name(ConsentedLogExtract) not in tx.tables():
            return {}
    found: dict[str, list[_Logged]] = defaultdict(list)
    for page in row_pages(vault, table_name(ConsentedLogExtract), PAGE):
        rows = vault.query(LOGGED, {**page, "versions": list(versions)})
        for key, version, started_at, messages, metadata in rows.iter_rows():
            pairs = pairs_of(json.loads(messages))
            found[version].append(_Logged(key, started_at, json.loads(metadata), pairs))
    for mine in found.values():
        mine.sort(key=lambda one: (one.started_at, one.key))
    return found


def _same_key(own: Sequence[_Logged], asked: Sequence[_Logged]) -> str | None:
    """The metadata key that stands for one conversation each of the log and matches most of those
    that are asked about.
    """
    best: tuple[float, str] | None = None
    for key in sorted({key for one in own for key in one.metadata}):
        values = Counter(one.metadata[key] for one in own if key in one.metadata)
        if values and max(values.values()) > 1:
            continue
        share = sum(one.metadata.get(key) in values for one in asked) / max(1, len(asked))
        if share >= MATCHED and (best is None or share > best[0]):
            best = (share, key)
    return best[1] if best else None
