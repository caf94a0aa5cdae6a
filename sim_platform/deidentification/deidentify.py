"""De-identification of whole conversations, failing closed: a conversation comes out with
surrogates, or not at all.

Belongs here: what is scanned, how spans become text, keyed hashes, quarantine with reason codes.
Does not: finding identifiers (detectors, rules), choosing surrogates (surrogates), storing
anything. No exception, log or result here carries text of a conversation that was refused.
"""

import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar

import polars as pl

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import canonical_json, sha256, user_turns
from sim_platform.contracts.tables.deidentification import DeidentifiedCorpus
from sim_platform.contracts.tables.schema import frame
from sim_platform.deidentification import stoplist, surrogates
from sim_platform.deidentification.known import Known, KnownValues
from sim_platform.deidentification.spans import Detector, Span
from sim_platform.deidentification.surrogates import NAME_TOKEN, Surrogates, fold
from sim_platform.deidentification.walking import (
    Conversation,
    Refused,
    labelled,
    read,
    walk,
    walk_message,
)

CODE_VERSION = "4"
TEXTS_PER_CALL = 2_048
_PRIORITY = tuple(
    """
    SECRET URL EMAIL IBAN CARD SSN PHONE MAC IP DATE_OF_BIRTH DATE ADDRESS CRYPTO ID USERNAME HANDLE
    POSTCODE AGE PERSON
    """.split()
)

_CATEGORY = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*|[a-z]{2,3}[-_][A-Z]{2}")
_OF_SOMEBODY = frozenset(
    """
    account agent author by client contact customer employee for from guest holder login member name
    nick owner patient person recipient sender to user who
    """.split()
)

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Keys:
    """Secrets of at least 16 bytes, never stored beside the output.

    Args:
        run: random, in memory only, gone at the end of the run: without it nobody can link
            surrogates to values or between runs.
        vault: persistent, kept in the vault: finds the same conversation, account, content
            and prefix again.
        accounts: further keys for account ids, one a rotation.
    """

    run: bytes = field(repr=False)
    vault: bytes = field(repr=False)
    accounts: tuple[bytes, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if min(map(len, (self.run, self.vault, *self.accounts))) < 16:
            raise BadInputError(
                f"keys for de-identification need at least 16 bytes (run has {len(self.run)}, vault"
                f" has {len(self.vault)})"
            )


@dataclass(frozen=True)
class DeidBatch:
    """Rows in = rows of `corpus` + rows of `quarantined`.

    Args:
        corpus: contract DeidentifiedCorpus.
        quarantined: conversation_key, reason (a code: lone_surrogates, too_long,
            unsupported_script, unreadable, unsupported_content, detector_error,
            surrogates_exhausted, leak:KNOWN, or unexpected:<type of error>).
        counts: n_conversations, n_quarantined, n_messages, n_messages_changed, n_chars,
            n_chars_masked, n_spans, and `spans` by type (corpus only).
    """

    corpus: pl.DataFrame
    quarantined: pl.DataFrame
    counts: dict[str, Any]


def keyed_hash(key: bytes, kind: str, value: str) -> str:
    """HMAC-SHA256 of `kind` and `value`, 32 hex characters. Equal values of different kinds give
    different hashes.
    """
    return hmac.digest(key, f"{kind}|{value}".encode("utf-8", "surrogatepass"), "sha256").hex()[:32]


def account_key(keys: Keys, user_id: str) -> str:
    """An account's key in every table: its hash under the vault's key, hashed again under each key
    that a rotation added.
    """
    key = keyed_hash(keys.vault, "user", user_id)
    for link in keys.accounts:
        key = relinked(link, key)
    return key


def relinked(link: bytes, key: str) -> str:
    """An account's key after one more rotation."""
    return keyed_hash(link, "user", key)


def deid_version(detector: Detector) -> str:
    """16 hex characters that change when detector, code or surrogate policy changes."""
    return sha256([detector.version, CODE_VERSION, surrogates.POLICY_VERSION])[:16]


def content_of(content_hash: str, known: Sequence[Known]) -> str:
    """What a corpus row was made from: the log's row, and what was known about its account. A
    change of either does the conversation again.
    """
    return sha256([content_hash, *map(list, known)]) if known else content_hash


def deidentify(
    rows: pl.DataFrame, detector: Detector, keys: Keys, known: Sequence[Sequence[Known]] = ()
) -> DeidBatch:
    """De-identifies a batch of conversations; each is done whole or quarantined whole.

    Args:
        rows: contract ConsentedLogExtract; some thousand rows at once are fine (memory: a few
            times their text).
        detector: gets each distinct text of the batch once. When it raises, only conversations with
            the texts that it raises on are quarantined.
        keys: same keys and rows give the same corpus, whatever else is in the batch.
        known: what is known about each row's account, masked wherever it stands in the
            conversation; one entry a row, or none at all.

    Returns:
        See DeidBatch; both frames in the order of `rows`.

    Raises:
        BadInputError: the detector itself cannot work (no model); nothing about a
            conversation raises.
    """
    version = deid_version(detector)
    readings = [_guarded(read, row) for row in rows.iter_rows(named=True)]
    conversations = [c for c in readings if isinstance(c, Conversation)]
    found = _detected(
        detector, list(dict.fromkeys(t for c in conversations for t in (*c.scanned, *c.properties)))
    )
    counts: Counter[str] = Counter(n_conversations=len(rows))
    spans: Counter[str] = Counter()
    corpus: list[dict[str, object]] = []
    quarantined: list[dict[str, str]] = []
    for conversation, raw, about in zip(
        readings, rows.iter_rows(named=True), known or [()] * len(rows), strict=True
    ):
        done = (
            _guarded(lambda c, k: _Rewriting(c, found, keys, k).row(version), conversation, about)
            if isinstance(conversation, Conversation)
            else conversation
        )
        if isinstance(done, str):
            quarantined.append(
                {
                    "conversation_key": keyed_hash(
                        keys.vault, "conversation", raw["conversation_id"]
                    ),
                    "reason": done,
                }
            )
        else:
            row, row_counts, row_spans = done
            corpus.append(row)
            counts += row_counts
            spans += row_spans
    totals = ("n_messages", "n_messages_changed", "n_chars", "n_chars_masked")
    return DeidBatch(
        corpus=frame(DeidentifiedCorpus, corpus),
        quarantined=pl.DataFrame(
            quarantined, schema={"conversation_key": pl.String, "reason": pl.String}
        ),
        counts={
            "n_conversations": len(rows),
            "n_quarantined": len(quarantined),
            **{k: counts[k] for k in totals},
            "n_spans": spans.total(),
            "spans": dict(spans),
        },
    )


def _guarded(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | str:
    """Result of `function`, or the reason code of why the conversation is quarantined."""
    try:
        return function(*args, **kwargs)
    except Refused as refused:
        return str(refused)
    except surrogates.SurrogatesExhausted:
        return "surrogates_exhausted"
    except Exception as error:
        return f"unexpected:{type(error).__name__}"


# Detecting


def _detected(detector: Detector, texts: Sequence[str]) -> dict[str, list[Span]]:
    """Spans by text; a text that the detector cannot scan is absent."""
    found: dict[str, list[Span]] = {}
    for start in range(0, len(texts), TEXTS_PER_CALL):
        found |= _halving(detector, texts[start : start + TEXTS_PER_CALL])
    return found


def _halving(detector: Detector, texts: Sequence[str]) -> dict[str, list[Span]]:
    """A call that fails is split until only the texts that fail by themselves are left out."""
    try:
        spans = detector.detect(texts)
        if len(spans) == len(texts) and all(
            0 <= s.start < s.end <= len(t)
            for t, found in zip(texts, spans, strict=True)
            for s in found
        ):
            return dict(zip(texts, spans, strict=True))
    except BadInputError:
        raise
    except Exception:  # whatever it says may quote a text
        pass
    if len(texts) == 1:
        return {}
    half = len(texts) // 2
    return _halving(detector, texts[:half]) | _halving(detector, texts[half:])


def masks_of(text: str, spans: Sequence[Span]) -> list[tuple[int, int, str]]:
    """What is masked in a text that stands alone: what was found in it, spread over it; (start,
    end, type) without overlaps.
    """
    return without_overlaps([*spans, *Spread.of({text: spans})[0].spans(text)])


def replaced_alone(text: str, masks: Sequence[tuple[int, int, str]], key: bytes) -> str:
    """A text that stands alone with surrogates for its masks (see masks_of), keyed by `key`."""
    names = [NAME_TOKEN.findall(text[a:b]) for a, b, type in masks if type == "PERSON"]
    given = Surrogates(key, text, {fold(tokens[-1]) for tokens in names if len(tokens) > 1})
    out, done = [], 0
    for start, end, type in masks:
        out += [text[done:start], given.of(type, text[start:end])]
        done = end
    return "".join([*out, text[done:]])


def without_overlaps(spans: Iterable[Span]) -> list[tuple[int, int, str]]:
    """The union of all spans as (start, end, type) without overlaps: by rank of type, then the
    longest first; what sticks out of a taken place stays masked.
    """
    kept: list[tuple[int, int, str]] = []
    for span in sorted(
        spans,
        key=lambda s: (
            _PRIORITY.index(s.type) if s.type in _PRIORITY else len(_PRIORITY),
            s.start - s.end,
            s.start,
        ),
    ):
        pieces = [(span.start, span.end)]
        for start, end, _ in kept:
            pieces = [
                p for a, b in pieces for p in ((a, min(b, start)), (max(a, end), b)) if p[0] < p[1]
            ]
        kept += [(a, b, span.type) for a, b in pieces]
    return sorted(kept)


@dataclass(frozen=True)
class Spread:
    """What was found once in a conversation and is masked wherever it occurs in it: an echo in an
    answer has less context than the question had.
    """

    types: Mapping[str, str]
    pattern: re.Pattern[str] | None
    in_lower_case: frozenset[str]

    @classmethod
    def of(cls, found: Mapping[str, Sequence[Span]]) -> tuple["Spread", set[str]]:
        """From the spans of each text; also the folded words that end a name of several words."""
        surnames: set[str] = set()
        types: dict[str, str] = {}
        lower: set[str] = set()
        for text, spans in found.items():
            for start, end, type in without_overlaps(spans):
                value = text[start:end].strip()
                if type == "PERSON":
                    tokens = [
                        t
                        for t in NAME_TOKEN.findall(value)
                        if t.casefold() not in stoplist.TITLES | stoplist.PARTICLES
                    ]
                    surnames |= {fold(tokens[-1])} if len(tokens) > 1 else set()
                    names = [
                        t for t in tokens if len(t) >= 4 and t.casefold() not in stoplist.NOT_A_NAME
                    ]
                    types |= {t.casefold(): "PERSON" for t in names}
                    lower |= {t for t in names if t.islower()}
                elif len(value) >= 5 and type not in ("AGE", "POSTCODE", "DATE"):
                    types.setdefault(value.casefold(), type)
        pattern = (
            re.compile(
                "|".join(
                    rf"(?<![^\W_]){re.escape(w)}(?![^\W_])"
                    for w in sorted(types, key=len, reverse=True)
                ),
                re.I,
            )
            if types
            else None
        )
        return cls(types, pattern, frozenset(lower)), surnames

    def spans(self, text: str) -> list[Span]:
        """Where it occurs in `text`; a name counts capitalised, or as it was found."""
        matches = self.pattern.finditer(text) if self.pattern else ()
        typed = ((m, self.types.get(m[0].casefold())) for m in matches)
        return [
            Span(*m.span(), t, 1.0, "conversation")
            for m, t in typed
            if t and (t != "PERSON" or m[0][0].isupper() or m[0] in self.in_lower_case)
        ]


# Rewriting


@dataclass(frozen=True)
class Replaced:
    """One text before and after: which characters of it were masked, and which of the new one are
    surrogates. In memory only.
    """

    text: str
    masks: tuple[tuple[int, int], ...]
    after: str
    surrogates: tuple[tuple[int, int], ...]


def traced(
    rows: pl.DataFrame, detector: Detector, keys: Keys, known: Sequence[Sequence[Known]] = ()
) -> list[tuple[dict[str, Any], list[Replaced]]]:
    """As `deidentify`, one conversation at a time and with every text of it: for audits.
    Conversations that would be quarantined are absent.
    """
    done: list[tuple[dict[str, Any], list[Replaced]]] = []
    for raw, about in zip(rows.iter_rows(named=True), known or [()] * len(rows), strict=True):
        conversation = _guarded(read, raw)
        if isinstance(conversation, Conversation):
            found = _detected(
                detector, list(dict.fromkeys((*conversation.scanned, *conversation.properties)))
            )
            rewriting = _guarded(_Rewriting, conversation, found, keys, about)
            made = (
                _guarded(rewriting.row, deid_version(detector))
                if isinstance(rewriting, _Rewriting)
                else rewriting
            )
            if isinstance(rewriting, _Rewriting) and not isinstance(made, str):
                done.append((made[0], rewriting.trace))
    return done


@lru_cache(maxsize=4_096)
def known_values(about: tuple[Known, ...]) -> KnownValues:
    """The expression of one account's values, made once for all its conversations in sight."""
    return KnownValues.of(about)


def _account_id(user_id: str) -> list[Known]:
    """The account's id counts as known where it is more than a word: people and tools write it."""
    if len(user_id) < 5 or re.search(r"\s", user_id) or not re.search(r"[\d@._-]", user_id):
        return []
    return [Known("EMAIL" if "@" in user_id else "USERNAME", user_id)]


class _Rewriting:
    """One conversation on its way out: its spans, what spreads from them, and its surrogates."""

    def __init__(
        self,
        conversation: Conversation,
        found: dict[str, list[Span]],
        keys: Keys,
        known: Sequence[Known] = (),
    ) -> None:
        texts = (*conversation.scanned, *conversation.properties)
        if any(t not in found for t in texts):
            raise Refused("detector_error")
        self._conversation, self._found, self._keys = conversation, found, keys
        self._given = known
        self._about = (*known, *_account_id(conversation.row["user_id"]))
        self._known = known_values(self._about)
        self.trace: list[Replaced] = []
        self.spans: Counter[str] = Counter()
        self.n_chars = self.n_chars_masked = 0
        self._spread, surnames = Spread.of(
            {text: found[text] for text in conversation.scanned}
            | {text: _property_spans(text, found[text]) for text in conversation.properties}
        )
        key = hmac.digest(
            keys.run,
            f"conv|{conversation.row['conversation_id']}".encode("utf-8", "surrogatepass"),
            "sha256",
        )
        names = (NAME_TOKEN.findall(k.value) for k in known if k.type == "PERSON")
        surnames |= {fold(tokens[-1]) for tokens in names if len(tokens) > 1}
        # no surrogate is a known value either
        self._surrogates = Surrogates(
            key, "\n".join([*texts, *(k.value for k in self._about)]), surnames
        )

    def row(self, version: str) -> tuple[dict[str, Any], Counter[str], Counter[str]]:
        """The corpus row, its counts, and its spans by type."""
        c, vault = self._conversation, self._keys.vault
        call_ids: dict[str, str] = {}
        messages = [walk_message(m, self._replaced, call_ids) for m in c.messages]
        changed = sum(
            _without_ids(a) != _without_ids(b) for a, b in zip(messages, c.messages, strict=True)
        )
        turns = user_turns(c.messages)  # type: ignore[arg-type]  # checked key by key in walk_message
        conversing = [
            canonical_json(
                [m for m in c.messages[: i + 1] if m["role"] not in ("system", "developer")]
            )
            for i in turns
        ]
        started: date = c.row["started_at"].date()
        row: dict[str, Any] = {
            "conversation_key": keyed_hash(vault, "conversation", c.row["conversation_id"]),
            "user_key": account_key(self._keys, c.row["user_id"]),
            "model_version": c.row["model_version"],
            "week": started - timedelta(days=started.weekday()),
            "messages": canonical_json(messages),
            "metadata": canonical_json(walk(c.metadata, self._tagged, keys_too=False)),
            "labels": canonical_json(walk(c.labels, self._tagged, keys_too=False)),
            "turn_keys": canonical_json(
                [keyed_hash(vault, "prefix", prefix) for prefix in conversing]
            ),
            "n_user_turns": len(turns),
            "content_key": keyed_hash(
                vault, "content", content_of(c.row["content_hash"], self._given)
            ),
            "deid_version": version,
            "tool_set_hash": c.row.get("tool_set_hash"),
        }
        counts = Counter(
            n_messages=len(messages),
            n_messages_changed=changed,
            n_chars=self.n_chars,
            n_chars_masked=self.n_chars_masked,
        )
        return row | dict(counts), counts, self.spans

    def _own(self, text: str, label: str) -> list[Span]:
        """What was found in `text`, with its label in front."""
        shift = len(labelled(text, label)) - len(text)
        return [
            Span(max(0, s.start - shift), s.end - shift, s.type, s.score, s.source)
            for s in self._found[labelled(text, label)]
            if s.end > shift
        ]

    def _replaced(self, text: str, label: str) -> str:
        out: list[str] = []
        masks: list[tuple[int, int]] = []
        surrogates: list[tuple[int, int]] = []
        done = length = 0
        for start, end, type in without_overlaps(
            [*self._own(text, label), *self._known.spans(text), *self._spread.spans(text)]
        ):
            value = text[start:end]
            if any(c.isalnum() for c in value):
                given = self._surrogates.of(type, value)
                out += [text[done:start], given]
                masks.append((start, end))
                length += start - done
                surrogates.append((length, length + len(given)))
                length += len(given)
                done = end
                self.spans[type] += 1
                self.n_chars_masked += end - start
        self.n_chars += len(text)
        after = "".join([*out, text[done:]])
        if self._known.spans(after):
            raise Refused("leak:KNOWN")
        self.trace.append(Replaced(text, tuple(masks), after, tuple(surrogates)))
        return after

    def _tagged(self, text: str, label: str) -> str:
        """A property with anything in it becomes its type: the same category in every conversation,
        so that strata stay coherent.
        """
        spread = self._spread.spans(text)
        in_lower_case = [
            s for s in spread if s.type == "PERSON" and text[s.start : s.end].islower()
        ]
        if is_category(text, label) or len(in_lower_case) < len(
            NAME_TOKEN.findall(text)
        ):  # easy_questions is a category even where somebody is called easy
            spread = [s for s in spread if s not in in_lower_case]
        own = [
            s for s in self._own(text, label) if s.type != "PERSON" or not is_category(text, label)
        ]
        places = without_overlaps([*own, *self._known.spans(text), *spread])
        self.spans.update(type for _, _, type in places[:1])
        return f"[{places[0][2]}]" if places else text


def is_category(text: str, label: str) -> bool:
    """Whether a property is one lower-case word or a language tag under a key that speaks of
    nobody: in "topic: arithmetic" no name is looked for, whatever a model sees in it.
    """
    return bool(_CATEGORY.fullmatch(text)) and not _OF_SOMEBODY & set(
        re.findall(r"[a-z]+", re.sub(r"name\b", " name", label.casefold()))
    )


def _property_spans(labelled_text: str, spans: Sequence[Span]) -> list[Span]:
    label, _, text = labelled_text.rpartition(": ")
    return [s for s in spans if s.type != "PERSON" or not is_category(text, label)]


def _without_ids(message: dict[str, Any]) -> dict[str, Any]:
    calls = [call["function"] for call in message.get("tool_calls") or []]
    return {**message, "tool_call_id": None, "tool_calls": calls}
