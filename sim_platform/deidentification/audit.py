"""A second look at a few conversations: what another detector finds that stayed, whether the same
keys give the same bytes, whether scanning the result again finds more.

Belongs here: the counts. Does not: which conversations are drawn, storing (orchestration).
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import polars as pl

from sim_platform.contracts.tables.deidentification import DeidAudits
from sim_platform.contracts.tables.schema import dtypes
from sim_platform.deidentification.deidentify import Keys, Replaced, masks_of, traced
from sim_platform.deidentification.known import Known
from sim_platform.deidentification.spans import Detector, Span
from sim_platform.deidentification.stoplist import NOT_A_NAME

# no person by themselves; whether they are masked is a policy's choice
_INDIRECT = ("DATE", "URL", "AGE", "POSTCODE", "CITY")


def audited(
    rows: pl.DataFrame,
    corpus: pl.DataFrame,
    detector: Detector,
    second: Detector,
    keys: Keys,
    known: Sequence[Sequence[Known]] = (),
) -> pl.DataFrame:
    """Counts over a draw of conversations that came through, as rows of DeidAudits without
    their deid_version.

    `second_detector`: by type, identifiers that it sees in the original, and how many of them were
    not masked whole. `determinism`: conversations done a second time, alone and in reverse order,
    and how many differ. `idempotence`: characters of the result outside surrogates, and how many of
    them the first detector would mask now.

    Args:
        rows, known: the drawn conversations, as they were given to `deidentify`.
        corpus: what it made of them.
        detector, keys: those that it used.
        second: another detector; its spans count where they lead to a person.
    """
    counts: Counter[tuple[str, str]] = Counter()
    bad: Counter[tuple[str, str]] = Counter()
    stored = {row["conversation_key"]: row for row in corpus.iter_rows(named=True)}
    done = [
        one
        for one in traced(rows.reverse(), detector, keys, list(reversed(known)))
        if one[0]["conversation_key"] in stored
    ]
    for row, _ in done:
        before = stored[row["conversation_key"]]
        counts["determinism", "conversations"] += 1
        bad["determinism", "conversations"] += any(
            row[column] != before[column] for column in ("messages", "metadata", "labels")
        )
    texts = [one for _, trace in done for one in trace]
    for one, spans in zip(texts, second.detect([one.text for one in texts]), strict=True):
        for span in spans:
            if span.type not in _INDIRECT:
                counts["second_detector", span.type] += 1
                bad["second_detector", span.type] += _stays(one, span)
    for one, spans in zip(texts, detector.detect([one.after for one in texts]), strict=True):
        inside = _characters(one.surrogates)
        counts["idempotence", "characters"] += len(one.after) - len(inside)
        bad["idempotence", "characters"] += len(
            _characters((a, b) for a, b, _ in masks_of(one.after, spans)) - inside
        )
    found = [
        {"deid_version": "", "measure": measure, "type": type, "n": n, "n_bad": bad[measure, type]}
        for (measure, type), n in sorted(counts.items())
    ]
    return pl.DataFrame(found, schema=dtypes(DeidAudits)).drop("deid_version")


def _stays(one: Replaced, span: Span) -> bool:
    """Whether a word of the span that says something was left as it was."""
    masked = _characters(one.masks)
    words = [
        m
        for m in re.finditer(r"[^\W_]+", one.text[span.start : span.end])
        if m[0].casefold() not in NOT_A_NAME
    ]
    return any(
        not set(range(span.start + m.start(), span.start + m.end())) <= masked for m in words
    )


def _characters(places: Iterable[tuple[int, int]]) -> set[int]:
    return {i for a, b in places for i in range(a, b)}
