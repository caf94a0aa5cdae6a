"""De-identification of whole conversations, failing closed: a conversation comes out with surrogates, or not at all.

Belongs here: what is scanned, how spans become text, keyed hashes, quarantine with reason codes. Does not: finding identifiers (detectors, rules), choosing
surrogates (surrogates), storing anything. No exception, log or result here carries text of a conversation that was refused.
"""

import hmac
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, TypeVar

import polars as pl

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import canonical_json, sha256, user_turns
from sim_platform.contracts.tables import DeidentifiedCorpus, frame
from sim_platform.deidentification import leaks, stoplist, surrogates
from sim_platform.deidentification.spans import Detector, Span
from sim_platform.deidentification.surrogates import NAME_TOKEN, Surrogates, fold

CODE_VERSION = "2"
MAX_CHARS = 200_000  # per text; longer ones are quarantined
MAX_NON_LATIN = 0.2  # share of letters in another script above which a text is quarantined: the model reads English
TEXTS_PER_CALL = 2_048
_PRIORITY = (
    "SECRET",
    "URL",
    "EMAIL",
    "IBAN",
    "CARD",
    "SSN",
    "PHONE",
    "MAC",
    "IP",
    "DATE_OF_BIRTH",
    "DATE",
    "ADDRESS",
    "CRYPTO",
    "ID",
    "USERNAME",
    "HANDLE",
    "POSTCODE",
    "AGE",
    "PERSON",
)
_MESSAGE_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id", "refusal"}

T = TypeVar("T")
R = TypeVar("R")
Visit = Callable[[str, str], str]
"""(text, label of the text or "") -> what stands in its place."""


@dataclass(frozen=True)
class Keys:
    """Secrets of at least 16 bytes, never stored beside the output.

    Args:
        run: random, in memory only, gone at the end of the run: without it nobody can link surrogates to values or between runs.
        vault: persistent, kept in the vault: finds the same conversation, account, content and prefix again.
    """

    run: bytes = field(repr=False)
    vault: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if min(len(self.run), len(self.vault)) < 16:
            raise BadInputError(f"keys for de-identification need at least 16 bytes (run has {len(self.run)}, vault has {len(self.vault)})")


@dataclass(frozen=True)
class DeidBatch:
    """Rows in = rows of `corpus` + rows of `quarantined`.

    Args:
        corpus: contract DeidentifiedCorpus.
        quarantined: conversation_key, reason (a code: lone_surrogates, too_long, unsupported_script, unreadable, unsupported_content, detector_error,
            surrogates_exhausted, or unexpected:<type of error>).
        counts: n_conversations, n_quarantined, n_messages, n_messages_changed, n_chars, n_chars_masked, n_spans, and `spans` by type (corpus only).
    """

    corpus: pl.DataFrame
    quarantined: pl.DataFrame
    counts: dict[str, Any]


class _Refused(Exception):
    """A conversation is quarantined; holds a reason code."""


@dataclass(frozen=True)
class _Conversation:
    row: dict[str, Any]
    messages: list[dict[str, Any]]
    metadata: dict[str, Any]
    labels: dict[str, Any]
    scanned: tuple[str, ...]  # message texts as the detector gets them
    properties: tuple[str, ...]  # values of metadata and labels


def keyed_hash(key: bytes, kind: str, value: str) -> str:
    """HMAC-SHA256 of `kind` and `value`, 32 hex characters. Equal values of different kinds give different hashes."""
    return hmac.digest(key, f"{kind}|{value}".encode("utf-8", "surrogatepass"), "sha256").hex()[:32]


def deid_version(detector: Detector) -> str:
    """16 hex characters that change when detector, code or surrogate policy changes."""
    return sha256([detector.version, CODE_VERSION, surrogates.POLICY_VERSION])[:16]


def deidentify(rows: pl.DataFrame, detector: Detector, keys: Keys) -> DeidBatch:
    """De-identifies a batch of conversations; each is done whole or quarantined whole.

    Args:
        rows: contract ConsentedLogExtract; some thousand rows at once are fine (memory: a few times their text).
        detector: gets each distinct text of the batch once. When it raises, only conversations with the texts that it raises on are quarantined.
        keys: same keys and rows give the same corpus, whatever else is in the batch.

    Returns:
        See DeidBatch; both frames in the order of `rows`.

    Raises:
        BadInputError: the detector itself cannot work (no model); nothing about a conversation raises.
    """
    version = deid_version(detector)
    read = [_guarded(_read, row) for row in rows.iter_rows(named=True)]
    conversations = [c for c in read if isinstance(c, _Conversation)]
    found = _detected(detector, list(dict.fromkeys(t for c in conversations for t in (*c.scanned, *c.properties))))
    counts: Counter[str] = Counter(n_conversations=len(rows))
    spans: Counter[str] = Counter()
    corpus: list[dict[str, object]] = []
    quarantined: list[dict[str, str]] = []
    for conversation, raw in zip(read, rows.iter_rows(named=True), strict=True):
        done = _guarded(lambda c: _Rewriting(c, found, keys).row(version), conversation) if isinstance(conversation, _Conversation) else conversation
        if isinstance(done, str):
            quarantined.append({"conversation_key": keyed_hash(keys.vault, "conversation", raw["conversation_id"]), "reason": done})
        else:
            row, row_counts, row_spans = done
            corpus.append(row)
            counts += row_counts
            spans += row_spans
    totals = ("n_messages", "n_messages_changed", "n_chars", "n_chars_masked")
    return DeidBatch(
        corpus=frame(DeidentifiedCorpus, corpus),
        quarantined=pl.DataFrame(quarantined, schema={"conversation_key": pl.String, "reason": pl.String}),
        counts={"n_conversations": len(rows), "n_quarantined": len(quarantined), **{k: counts[k] for k in totals}, "n_spans": spans.total(), "spans": dict(spans)},
    )


def _guarded(function: Callable[[T], R], value: T) -> R | str:
    """Result of `function`, or the reason code of why the conversation is quarantined."""
    try:
        return function(value)
    except _Refused as refused:
        return str(refused)
    except surrogates.SurrogatesExhausted:
        return "surrogates_exhausted"
    except Exception as error:
        return f"unexpected:{type(error).__name__}"


# Reading: everything that may hold text, in the one order that `_walk` gives


def _read(row: dict[str, Any]) -> _Conversation:
    try:
        messages, metadata, labels = (json.loads(row[column]) for column in ("messages", "metadata", "labels"))
    except (ValueError, RecursionError):
        raise _Refused("unreadable") from None
    if not isinstance(messages, list) or not isinstance(metadata, dict) or not isinstance(labels, dict):
        raise _Refused("unreadable")
    scanned: list[str] = []
    properties: list[str] = []

    def note(text: str, label: str) -> str:
        scanned.append(_labelled(text, label))
        return text

    def note_property(text: str, label: str) -> str:
        properties.append(_labelled(text, label))
        return text

    for message in messages:
        _walk_message(message, note, {})
    for values in (metadata, labels):
        _walk(values, note_property, keys_too=False)
    for text in (*scanned, *properties):
        _refuse_unscannable(text)
    return _Conversation(row, messages, metadata, labels, tuple(scanned), tuple(properties))


def _refuse_unscannable(text: str) -> None:
    if len(text) > MAX_CHARS:
        raise _Refused("too_long")
    if text.isascii():
        return
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise _Refused("lone_surrogates")
    words = [w for w in re.findall(r"[^\W\d_]+", text) if len(w) > 1 or ord(w) > 0x2E7F]  # a single Greek letter is a symbol, a single ideograph a word
    other = sum(not c.isascii() and not unicodedata.name(unicodedata.normalize("NFKC", c)[0], "").startswith("LATIN") for w in words for c in w)
    if other > MAX_NON_LATIN * sum(map(len, words)):
        raise _Refused("unsupported_script")


def _labelled(text: str, label: str) -> str:
    """A leaf of JSON as the detector sees it: its key says what the value is."""
    return f"{label}: {text}" if label else text


def _walk_message(message: Any, visit: Visit, call_ids: dict[str, str]) -> dict[str, Any]:
    """The message with every text replaced by what `visit` gives. Call ids become call_1, call_2 ... in order of appearance.

    Raises:
        _Refused: something is there that would go unscanned.
    """
    if not isinstance(message, dict) or message.keys() - _MESSAGE_KEYS or not isinstance(message.get("role"), str):
        raise _Refused("unsupported_content")
    if message["role"] not in ("system", "developer", "user", "assistant", "tool"):
        raise _Refused("unsupported_content")
    is_tool = message["role"] == "tool"
    out: dict[str, Any] = {}
    for key, value in message.items():
        if key == "role" or value is None:
            out[key] = value
        elif key == "content" and isinstance(value, list):
            if not all(isinstance(p, dict) and p.keys() == {"type", "text"} and p["type"] == "text" and isinstance(p["text"], str) for p in value):
                raise _Refused("unsupported_content")
            out[key] = [{"type": "text", "text": _walk_text(part["text"], visit, is_tool)} for part in value]
        elif key == "tool_calls" and isinstance(value, list):
            out[key] = [_walk_call(call, visit, call_ids) for call in value]
        elif not isinstance(value, str) or key == "tool_calls":
            raise _Refused("unsupported_content")
        elif key == "tool_call_id":
            out[key] = call_ids.setdefault(value, f"call_{len(call_ids) + 1}")
        else:
            out[key] = _walk_text(value, visit, is_tool and key == "content")
    return out


def _walk_call(call: Any, visit: Visit, call_ids: dict[str, str]) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.keys() != {"id", "type", "function"} or call["type"] != "function" or function.keys() != {"name", "arguments"}:
        raise _Refused("unsupported_content")
    if not all(isinstance(text, str) for text in (call["id"], function["name"], function["arguments"])):
        raise _Refused("unsupported_content")
    return {
        "id": call_ids.setdefault(call["id"], f"call_{len(call_ids) + 1}"),
        "type": "function",
        "function": {"name": visit(function["name"], ""), "arguments": _walk_text(function["arguments"], visit, may_be_json=True)},
    }


def _walk_text(text: str, visit: Visit, may_be_json: bool, label: str = "") -> str:
    """Text, or JSON in text: walked leaf by leaf, and written anew only where something changed."""
    if may_be_json and text.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(text, object_pairs_hook=_without_repeated_keys, parse_constant=_not_json)
            walked = _walk(value, visit)
        except (ValueError, RecursionError):
            return visit(text, label)
        return text if walked == value else json.dumps(walked, ensure_ascii=False)
    return visit(text, label)


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is repeated: reading it would hide a value")
    return dict(pairs)


def _not_json(_: str) -> None:
    raise ValueError("not a number in JSON")


def _walk(value: Any, visit: Visit, label: str = "", *, keys_too: bool = True) -> Any:
    """JSON with every string, whole number and (`keys_too`) key replaced by what `visit` gives."""
    if isinstance(value, str):
        return _walk_text(value, visit, keys_too, label)
    if isinstance(value, dict):
        walked = {(visit(key, "") if keys_too else key): _walk(item, visit, key, keys_too=keys_too) for key, item in value.items()}
        if len(walked) < len(value):
            raise _Refused("unsupported_content")
        return walked
    if isinstance(value, list):
        return [_walk(item, visit, label, keys_too=keys_too) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 999:
        text = visit(str(value), label)
        return value if text == str(value) else int(leaks.digits_of(text)) if leaks.digits_of(text) else text
    return value


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
        if len(spans) == len(texts) and all(0 <= s.start < s.end <= len(t) for t, found in zip(texts, spans, strict=True) for s in found):
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
    """What is masked in a text that stands alone: what was found in it, spread over it; (start, end, type) without overlaps."""
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
    """The union of all spans as (start, end, type) without overlaps: by rank of type, then the longest first; what sticks out of a taken place stays masked."""
    kept: list[tuple[int, int, str]] = []
    for span in sorted(spans, key=lambda s: (_PRIORITY.index(s.type) if s.type in _PRIORITY else len(_PRIORITY), s.start - s.end, s.start)):
        pieces = [(span.start, span.end)]
        for start, end, _ in kept:
            pieces = [p for a, b in pieces for p in ((a, min(b, start)), (max(a, end), b)) if p[0] < p[1]]
        kept += [(a, b, span.type) for a, b in pieces]
    return sorted(kept)


@dataclass(frozen=True)
class Spread:
    """What was found once in a conversation and is masked wherever it occurs in it: an echo in an answer has less context than the question had."""

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
                    tokens = [t for t in NAME_TOKEN.findall(value) if t.casefold() not in stoplist.TITLES | stoplist.PARTICLES]
                    surnames |= {fold(tokens[-1])} if len(tokens) > 1 else set()
                    names = [t for t in tokens if len(t) >= 4 and t.casefold() not in stoplist.NOT_A_NAME]
                    types |= {t.casefold(): "PERSON" for t in names}
                    lower |= {t for t in names if t.islower()}
                elif len(value) >= 5 and type not in ("AGE", "POSTCODE", "DATE"):
                    types.setdefault(value.casefold(), type)
        pattern = re.compile("|".join(rf"(?<![^\W_]){re.escape(w)}(?![^\W_])" for w in sorted(types, key=len, reverse=True)), re.I) if types else None
        return cls(types, pattern, frozenset(lower)), surnames

    def spans(self, text: str) -> list[Span]:
        """Where it occurs in `text`; a name counts capitalised, or as it was found."""
        matches = self.pattern.finditer(text) if self.pattern else ()
        typed = ((m, self.types.get(m[0].casefold())) for m in matches)
        return [Span(*m.span(), t, 1.0, "conversation") for m, t in typed if t and (t != "PERSON" or m[0][0].isupper() or m[0] in self.in_lower_case)]


# Rewriting


class _Rewriting:
    """One conversation on its way out: all its spans, what spreads from them, and its surrogates."""

    def __init__(self, conversation: _Conversation, found: dict[str, list[Span]], keys: Keys) -> None:
        texts = (*conversation.scanned, *conversation.properties)
        if any(t not in found for t in texts):
            raise _Refused("detector_error")
        self._conversation, self._found, self._keys = conversation, found, keys
        self.spans: Counter[str] = Counter()
        self.n_chars = self.n_chars_masked = 0
        self._spread, surnames = Spread.of({text: found[text] for text in texts})
        key = hmac.digest(keys.run, f"conv|{conversation.row['conversation_id']}".encode("utf-8", "surrogatepass"), "sha256")
        self._surrogates = Surrogates(key, "\n".join(texts), surnames)

    def row(self, version: str) -> tuple[dict[str, object], Counter[str], Counter[str]]:
        """The corpus row, its counts, and its spans by type."""
        c, vault = self._conversation, self._keys.vault
        call_ids: dict[str, str] = {}
        messages = [_walk_message(m, self._replaced, call_ids) for m in c.messages]
        changed = sum(_without_ids(a) != _without_ids(b) for a, b in zip(messages, c.messages, strict=True))
        turns = user_turns(c.messages)  # type: ignore[arg-type]  # checked key by key in _walk_message
        conversing = [canonical_json([m for m in c.messages[: i + 1] if m["role"] not in ("system", "developer")]) for i in turns]
        started: date = c.row["started_at"].date()
        row: dict[str, object] = {
            "conversation_key": keyed_hash(vault, "conversation", c.row["conversation_id"]),
            "user_key": keyed_hash(vault, "user", c.row["user_id"]),
            "model_version": c.row["model_version"],
            "week": started - timedelta(days=started.weekday()),
            "messages": canonical_json(messages),
            "metadata": canonical_json(_walk(c.metadata, self._tagged, keys_too=False)),
            "labels": canonical_json(_walk(c.labels, self._tagged, keys_too=False)),
            "turn_keys": canonical_json([keyed_hash(vault, "prefix", prefix) for prefix in conversing]),
            "n_user_turns": len(turns),
            "content_key": keyed_hash(vault, "content", c.row["content_hash"]),
            "deid_version": version,
        }
        counts = Counter(n_messages=len(messages), n_messages_changed=changed, n_chars=self.n_chars, n_chars_masked=self.n_chars_masked)
        return row, counts, self.spans

    def _own(self, text: str, label: str) -> list[Span]:
        """What was found in `text`, with its label in front."""
        shift = len(_labelled(text, label)) - len(text)
        return [Span(max(0, s.start - shift), s.end - shift, s.type, s.score, s.source) for s in self._found[_labelled(text, label)] if s.end > shift]

    def _replaced(self, text: str, label: str) -> str:
        out: list[str] = []
        done = 0
        for start, end, type in without_overlaps([*self._own(text, label), *self._spread.spans(text)]):
            value = text[start:end]
            if any(c.isalnum() for c in value):
                out += [text[done:start], self._surrogates.of(type, value)]
                done = end
                self.spans[type] += 1
                self.n_chars_masked += end - start
        self.n_chars += len(text)
        return "".join([*out, text[done:]])

    def _tagged(self, text: str, label: str) -> str:
        """A property with anything in it becomes its type: the same category in every conversation, so that strata stay coherent."""
        spread = self._spread.spans(text)
        in_lower_case = [s for s in spread if s.type == "PERSON" and text[s.start : s.end].islower()]
        if len(in_lower_case) < len(NAME_TOKEN.findall(text)):  # easy_questions is a category even where somebody is called easy
            spread = [s for s in spread if s not in in_lower_case]
        places = without_overlaps([*self._own(text, label), *spread])
        self.spans.update(type for _, _, type in places[:1])
        return f"[{places[0][2]}]" if places else text


def _without_ids(message: dict[str, Any]) -> dict[str, Any]:
    calls = [call["function"] for call in message.get("tool_calls") or []]
    return {**message, "tool_call_id": None, "tool_calls": calls}
