"""What was decided before any outcome was seen: one record a registration or amendment, chained by
hash, as files that can be published or committed.

Belongs here: what a record holds, writing and checking the chain, what of today's configuration a
release's records cover. Does not: when a record is needed (orchestration).

A record is canonical JSON in `preregistration/NNNN-<release>.json`, its SHA-256 beside it in the
format of `sha256sum`. `previous` is the hash of the record before it in this home, so that no
record can be changed, taken out or put in without breaking the ones after it.
"""

import errno
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256 as digest
from pathlib import Path
from typing import Any

from sim_platform.contracts.disk import disk_trouble
from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.contracts.messages import canonical_json
from sim_platform.registry.behaviors import GateRule
from sim_platform.registry.home import Home

FOLDER = "preregistration"
FORMAT = 1
RULES = {
    "alpha": 0.05,
    "stopping_rule": (
        "every sampled prefix is answered once per arm and repeat, then the release is compared; a"
        " plan with looks is decided at each of them with its share of alpha, spent as the power"
        " 3/2 of the share of the planned sample (Kim & DeMets 1987)"
    ),
    "rates": (
        "weighted rate per message with 95 % limits: Fay-Feuer gamma up to a rate of 1 %, binomial"
        " on the effective sample from 5 % on, in between both in proportion; clusters by centred"
        " residuals; missing labels counted beside it"
    ),
    "comparison": (
        "paired on the same prefixes, McNemar mid-P; Holm and Benjamini-Hochberg over the"
        " registered behaviours"
    ),
    "block": "Holm over all ways to block of the gate behaviours, ceilings included",
    "missing": (
        "decisions hold while missing outcomes show a behaviour at up to missing_times times the"
        " rate of the answered ones of their stratum and arm, or down to one part in as many"
    ),
}
# What a rule was that a record before there were more settings does not name: its numbers stand,
# and missing outcomes count at their worst.
EARLIER_DEFAULTS = {
    "against": "control",
    "margin": 2.0,
    "block_above": 1.25,
    "ceiling_per_100k": None,
}
MARGINS = ("margin", "margin_points", "block_above")  # chosen together


@dataclass(frozen=True)
class Record:
    """One record of the chain, as its file says."""

    number: int
    sha256: str
    content: dict[str, Any]
    path: Path

    @property
    def release(self) -> str:
        """The candidate release that it speaks of."""
        return str(self.content["release"])

    @property
    def is_exploratory(self) -> bool:
        """Made after outcomes were seen."""
        return bool(self.content["is_exploratory"])


@dataclass(frozen=True)
class Coverage:
    """What a release's records say about today's configuration, by behaviour id."""

    confirmatory: tuple[str, ...]
    exploratory: tuple[str, ...]
    refused: tuple[str, ...]  # neither registered nor declared exploratory
    gone: tuple[str, ...]  # registered as gates, and not graded any more
    # what of candidate, replaced and plan differs: then nothing is confirmatory
    changed: tuple[str, ...]
    # why a behaviour is exploratory although its tier does not say so
    why: Mapping[str, str] = field(default_factory=dict)
    # the rule of every graded behaviour, in numbers: the registered one where it is confirmatory
    rules: Mapping[str, GateRule] = field(default_factory=dict)


def frozen(
    home: Home,
    release: str,
    grader_hashes: Mapping[str, str],
    estimator_version: str,
    *,
    expected: Mapping[str, float] | None = None,
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a record fixes for `release`: behaviours with their grader hashes and gate rules, both
    versions, sampling plan, estimator, rules. No secret is in it.

    Args:
        expected: behaviour id to the events expected in the other arm, which choose the margins
            that files leave open.
        before: the content of the record whose numbers stand where files leave them open still.
    """
    candidate, replaced = home.release(release)
    expected = expected or {}
    fixed = {b["id"]: b["gate"] for b in before["behaviors"]} if before else {}
    was_open = before.get("open_settings") if before else None
    # How fast and how dear answers are obtained decides no rate; a raised budget must not void a
    # registration. How a judge is made to answer in JSON is no part of what it is asked.
    hidden = set(
        """
        plan api_key_env price concurrency workers timeout_seconds max_retries requests_per_minute
        tokens_per_minute on_error budget batch deployed replaces response_format
        """.split()
    )
    return {
        "release": release,
        "replaces": replaced.version,
        "candidate": candidate.model_dump(mode="json", exclude=hidden),
        "replaced": replaced.model_dump(mode="json", exclude=hidden),
        "plan": candidate.plan.model_dump(mode="json"),
        "behaviors": [
            {
                "id": b.id,
                "title": b.title,
                "definition": b.definition,
                "undesired": b.undesired,
                "tier": b.tier,
                "gate": _gate(
                    b.gate,
                    expected.get(b.id),
                    fixed.get(b.id),
                    None if was_open is None else was_open.get(b.id, ()),
                ),
                "applies_to": b.applies_to,
                "grader_hash": grader_hashes[b.id],
            }
            for b in home.graded
        ],
        "open_settings": {b.id: _left_open(b.gate) for b in home.graded},
        "expected_events": {
            b.id: round(expected[b.id], 1) for b in home.graded if b.id in expected
        },
        "not_graded": home.not_graded,
        "rules": RULES,
        "estimator_version": estimator_version,
    }


def _left_open(rule: GateRule) -> list[str]:
    """What the file leaves to the platform."""
    return sorted(set(GateRule.model_fields) - rule.model_fields_set)


def _gate(
    rule: GateRule,
    expected: float | None,
    fixed: Mapping[str, Any] | None,
    was_open: Sequence[str] | None,
) -> dict[str, Any]:
    """The rule in numbers. What the file leaves open, and left open when `fixed` was recorded, is
    as recorded; what that record does not know is not asked.

    `was_open`: settings that were left open then; None: the record does not say.
    """
    now: dict[str, Any] = rule.with_numbers(expected).model_dump(mode="json")
    if fixed is None:
        return now
    said = rule.model_fields_set
    is_another_margin = any(now[name] != fixed.get(name) for name in MARGINS if name in said)
    for name in _left_open(rule):
        if name not in fixed:
            del now[name]
            continue
        is_as_then = (
            name in was_open if was_open is not None else EARLIER_DEFAULTS.get(name) == fixed[name]
        )
        if is_as_then and not (name in MARGINS and is_another_margin):
            now[name] = fixed[name]
    return now


def rule_of(gate: Mapping[str, Any]) -> GateRule:
    """A recorded rule."""
    return GateRule.model_validate({"missing_times": "worst", **gate})


def time_stamp(record: Record) -> str:
    """Whether a time-stamp token (RFC 3161) lies beside the record, and is for its bytes: "none",
    "of this record", "of another file". Who signed it, `openssl ts -verify` says.
    """
    try:
        token = record.path.with_name(f"{record.path.name}.tsr").read_bytes()
    except FileNotFoundError:
        return "none"
    return (
        "of this record"
        if digest(record.path.read_bytes()).digest() in token
        else "of another file"
    )


def register(
    home: Home,
    what: Mapping[str, Any],
    *,
    prior_rates: Sequence[Mapping[str, Any]],
    reason: str | None,
    outcomes_seen: bool,
    now: datetime | None = None,
) -> Record:
    """Appends a record. The first of a release is its registration, any other an amendment, which
    needs a reason; after outcomes were seen either is exploratory. The same call again, nothing
    having changed, returns the record that is there: it may have been killed before it said so.

    Raises:
        BadInputError: an amendment without reason, or one that changes nothing.
        SimPlatformError: the chain is broken, or the clock stands before the last record.
    """
    chain = read_chain(home.path)
    if problems := broken(chain):
        raise SimPlatformError(
            "the chain of pre-registrations is broken; nothing is added to it:\n"
            + "\n".join(problems)
        )
    mine = [r for r in chain if r.release == what["release"]]
    if mine and reason == mine[-1].content["reason"] and not differences(mine[-1].content, what):
        return mine[-1]
    if mine and not reason:
        raise BadInputError(
            f"{what['release']} is registered (record {mine[-1].number}). An amendment needs a"
            " reason: --reason TEXT"
        )
    if mine and not differences(mine[-1].content, what):
        raise BadInputError(
            f"{what['release']}: nothing differs from record {mine[-1].number}; there is nothing to"
            " amend"
        )
    at = now or datetime.now(UTC)
    if chain and at < (last := datetime.fromisoformat(chain[-1].content["registered_at"])):
        raise SimPlatformError(
            f"the clock says {at.isoformat()}, before the last record's {last.isoformat()}. Set the"
            " clock right, then register."
        )
    content = {
        **what,
        "format": FORMAT,
        "number": chain[-1].number + 1 if chain else 1,
        "kind": "amendment" if mine else "registration",
        "is_exploratory": outcomes_seen,
        "reason": reason,
        "registered_at": at.isoformat(timespec="microseconds"),
        "prior_rates": list(prior_rates),
        "previous": chain[-1].sha256 if chain else None,
    }
    text = canonical_json(content).encode()
    path = home.path / FOLDER / f"{content['number']:04d}-{what['release']}.json"
    name = digest(text).hexdigest()
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        _write(draft, f"{name}  {path.name}\n".encode())
        os.replace(draft, path.with_name(f"{path.name}.sha256"))
        # The record comes last and whole: without it the hash beside it is nothing.
        _write(draft, text)
        _appear(draft, path)
    except OSError as error:
        said = disk_trouble(error, str(path)) or f"{path}: cannot be written ({error.strerror})."
        raise SimPlatformError(f"{said} Nothing was registered.") from None
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return Record(content["number"], name, content, path)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _appear(draft: Path, path: Path) -> None:
    """Never over another record."""
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP) or path.exists():
            raise
        os.replace(draft, path)  # a file system without links


def read_chain(home: Path) -> list[Record]:
    """Every record of the home, by number.

    Raises:
        SimPlatformError: a file that is no record; names it.
    """
    records = []
    for path in sorted((home / FOLDER).glob("[0-9]*-*.json")):
        try:
            data = path.read_bytes()
            content = json.loads(data)
            if (
                not {"release", "behaviors", "registered_at", "is_exploratory", "previous"}
                <= content.keys()
            ):
                raise ValueError
            records.append(Record(int(content["number"]), digest(data).hexdigest(), content, path))
        except (OSError, ValueError, TypeError, AttributeError):
            raise SimPlatformError(
                f"{path.name}: is not a record of a pre-registration; restore it from where it was"
                " published"
            ) from None
    return sorted(records, key=lambda r: r.number)


def broken(chain: Sequence[Record], stored: Mapping[int, str] | None = None) -> list[str]:
    """What does not hold in the chain, one line each: a file edited, a record missing, put in or
    out of time. `stored`: hashes that the warehouse knows, by number.
    """
    problems = []
    before: Record | None = None
    for record in chain:
        name = record.path.name
        try:
            noted = record.path.with_name(f"{name}.sha256").read_text().split()[0]
        except (OSError, IndexError):
            noted = None
        if noted is None:
            problems.append(f"{name}: its .sha256 file is missing")
        elif noted != record.sha256:
            problems.append(
                f"{name}: was edited: its SHA-256 is {record.sha256[:12]}…, registered was"
                f" {noted[:12]}…"
            )
        if stored is not None and stored.get(record.number, record.sha256) != record.sha256:
            problems.append(f"{name}: differs from the record in the warehouse")
        if record.number != (before.number + 1 if before else 1):
            problems.append(
                f"{name}: record {before.number + 1 if before else 1} is missing before it"
            )
        if record.content["previous"] != (before.sha256 if before else None):
            problems.append(f"{name}: does not follow the record before it (the chain is broken)")
        if before and datetime.fromisoformat(
            record.content["registered_at"]
        ) < datetime.fromisoformat(before.content["registered_at"]):
            problems.append(f"{name}: is dated before the record before it")
        before = record
    for number in sorted(set(stored or {}) - {r.number for r in chain}):
        problems.append(f"record {number}: the warehouse knows it, its file is gone")
    return problems


def differences(record: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of today's configuration differs from the record, in words."""
    parts = ("candidate", "replaced", "plan", "estimator_version", "rules")
    found = [
        _in_words(part, record[part], now[part]) for part in parts if record[part] != now[part]
    ]
    then, today = ({b["id"]: b for b in side["behaviors"]} for side in (record, now))
    for name in sorted({*then, *today}):
        if name not in today:
            found.append(f"behaviour {name}: registered, not graded now")
        elif name not in then:
            found.append(f"behaviour {name}: not registered")
        elif changed := sorted(
            key for key in today[name] if then[name].get(key) != today[name][key]
        ):
            found.append(f"behaviour {name}: {', '.join(changed)}")
    return found


def _in_words(part: str, then: Any, now: Any) -> str:
    """A part that differs, with the keys that do; values of a plan alone, which hold no text."""
    if not (isinstance(then, Mapping) and isinstance(now, Mapping)):
        return part
    keys = sorted(key for key in {*then, *now} if then.get(key) != now.get(key))
    said = [
        f"{key}: {canonical_json(then.get(key))} registered, {canonical_json(now.get(key))} now"
        if part == "plan"
        else key
        for key in keys
    ]
    return f"{part} ({'; '.join(said)})"


def coverage(records: Sequence[Record], now: Mapping[str, Any]) -> Coverage:
    """Which of today's behaviours the release's records cover, and how.

    The last record from before outcomes decides what is confirmatory. A behaviour whose graders it
    does not name is exploratory where its tier says so, or where a later record names them;
    otherwise it is refused. Gate rules and definitions count as well: what was changed after the
    outcomes is not what was registered.
    """
    before = [r for r in records if not r.is_exploratory]
    fixed = {b["id"]: b for b in before[-1].content["behaviors"]} if before else {}
    later = {
        (b["id"], b["grader_hash"])
        for r in records
        if r.is_exploratory
        for b in r.content["behaviors"]
    }
    changed = tuple(
        part
        for part in ("candidate", "replaced", "plan")
        if before and before[-1].content[part] != now[part]
    )
    words = [_in_words(part, before[-1].content[part], now[part]) for part in changed]
    confirmatory, exploratory, refused = list[str](), list[str](), list[str]()
    why: dict[str, str] = {}
    for behavior in now["behaviors"]:
        name, grader = behavior["id"], behavior["grader_hash"]
        same_graders = fixed.get(name, {}).get("grader_hash") == grader
        if fixed.get(name) == behavior and behavior["tier"] != "exploratory" and not changed:
            confirmatory.append(name)
        elif same_graders or behavior["tier"] == "exploratory" or (name, grader) in later:
            exploratory.append(name)
            if behavior["tier"] != "exploratory":
                why[name] = (
                    "everything is exploratory: there is no registration from before outcomes were"
                    " seen"
                    if not before
                    else "everything is exploratory: what was registered has changed since,"
                    f" {', '.join(words)}"
                    if changed
                    else _why_alone(fixed.get(name), behavior)
                )
        else:
            refused.append(name)
    kept = {b["id"] for b in now["behaviors"]}
    gone = tuple(
        b["id"]
        for b in (records[-1].content["behaviors"] if records else [])
        if b["tier"] == "gate" and b["id"] not in kept
    )
    rules = {b["id"]: rule_of(b["gate"]) for b in now["behaviors"]}
    return Coverage(
        tuple(confirmatory), tuple(exploratory), tuple(refused), gone, changed, why, rules
    )


def _why_alone(fixed: Mapping[str, Any] | None, behavior: Mapping[str, Any]) -> str:
    if fixed is None:
        return "it was not registered before outcomes were seen"
    keys = sorted(key for key in behavior if fixed.get(key) != behavior[key])
    return f"it has changed since its registration ({', '.join(keys)})"
