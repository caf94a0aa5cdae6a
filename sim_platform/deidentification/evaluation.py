"""How much of what is labelled a detector masks, and how much that is harmless it alters.

Belongs here: reading labelled sets, the measure. Does not: detection (detectors), commands. An
identifier counts as covered only when every word of it is masked, whatever the type that was given
to it: a leak is a leak.
"""

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

from sim_platform.contracts.errors import BadInputError
from sim_platform.deidentification.deidentify import masks_of
from sim_platform.deidentification.spans import Detector

Format = Literal["presidio-research", "asq-phi", "jsonl"]
_INDIRECT = re.compile(
    r"DATE|TIME|AGE|LOCATION|GPE|CITY|STATE|COUNTRY|COUNTY|ORG|COMPANY|NRP|NORP|TITLE|GENDER|SEX"
    r"|JOB|OCCUPATION|PROFESSION|FACILITY|HOSPITAL|ZIP|POSTCODE|POSTAL|URL|DOMAIN|CURRENCY|NATION"
    r"|ETHNIC|RELIG",
    re.I,
)
_DIRECT_ALL_THE_SAME = re.compile(
    r"ADDRESS|LICEN[CS]E|ACCOUNT|PASSPORT|(?:^|_)(?:ID|IDENTIFIER|NUMBER|NUM)$|STREET", re.I
)
_GENERIC = frozenset(
    """
    dr mr mrs ms miss mx prof professor sir madam jr sr md phd hospital clinic medical center centre
    suite apt apartment unit floor room mrn id ssn npi dob no number num street st avenue ave road
    rd lane drive the of and at in on a an account acct plan policy member patient po box phone tel
    fax email ext s
    """.split()
)


@dataclass(frozen=True)
class Labelled:
    """A text and its labelled identifiers as (start, end, type)."""

    text: str
    gold: tuple[tuple[int, int, str], ...]


def is_direct(type: str) -> bool:
    """Whether identifiers of that type lead to one person by themselves; dates, ages, places and
    organisations do not.
    """
    return _DIRECT_ALL_THE_SAME.search(type) is not None or _INDIRECT.search(type) is None


def parse(raw: str, format: Format) -> list[Labelled]:
    """Labelled texts of a file.

    Raises:
        BadInputError: the file is not in that format; quotes nothing of it.
    """
    try:
        if format == "presidio-research":
            rows = [
                (
                    r["full_text"],
                    [
                        (s["start_position"], s["end_position"], s["entity_type"])
                        for s in r["spans"]
                    ],
                )
                for r in json.loads(raw)
            ]
        elif format == "jsonl":
            rows = [
                (r["text"], [(s["start"], s["end"], s["type"]) for s in r["spans"]])
                for r in map(json.loads, filter(str.strip, raw.split("\n")))
            ]
        elif format == "asq-phi":
            rows = []
            for block in raw.split("===QUERY===\n")[1:]:
                text, _, tags = block.partition("\n===PHI_TAGS===")
                gold = [
                    (m.start(), m.end(), tag["identifier_type"])
                    for tag in map(json.loads, filter(str.strip, tags.split("\n")))
                    for m in [_first(tag["value"], text)]
                    if m
                ]
                rows.append((text.strip("\n"), gold))
        else:
            raise BadInputError(
                f'format: "{format}" is not known (formats: presidio-research, asq-phi, jsonl)'
            )
        return [
            Labelled(text, tuple((int(a), int(b), str(t)) for a, b, t in gold))
            for text, gold in rows
        ]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise BadInputError(
            f"the file is not in the format {format}: {type(error).__name__}"
        ) from None


def _first(value: str, text: str) -> re.Match[str] | None:
    return re.search(re.escape(value), text) or re.search(re.escape(value), text, re.I)


def wilson_low(hits: int, n: int) -> float:
    """Lower end of Wilson's 95 % interval for a share. Source: Wilson 1927, JASA 22:209-212."""
    if n == 0:
        return 0.0
    z, p = 1.959964, hits / n
    return (p + z * z / (2 * n) - z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n)


def evaluate(
    rows: Sequence[Labelled], detector: Detector, *, lowercase: bool = False
) -> dict[str, Any]:
    """Recall of direct identifiers, precision of spans, and alteration of texts without any
    identifier; one process, shares in [0, 1], None where nothing can be said.
    """
    # a letter whose small form has another length keeps its size, so that the labels stay in place
    if lowercase:
        rows = [
            Labelled("".join(c.lower() if len(c.lower()) == 1 else c for c in row.text), row.gold)
            for row in rows
        ]
    start = time.process_time()
    found = detector.detect([row.text for row in rows])
    seconds = time.process_time() - start
    total: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    true = n_spans = n_benign = n_altered = 0
    for row, spans in zip(rows, found, strict=True):
        masks = masks_of(row.text, spans)
        masked = bytearray(len(row.text))
        for a, b, _ in masks:
            masked[a:b] = b"\1" * (b - a)
        n_spans += len(masks)
        true += sum(any(a < end and begin < b for begin, end, _ in row.gold) for a, b, _ in masks)
        n_benign += not row.gold
        n_altered += not row.gold and bool(masks)
        for a, b, type in row.gold:
            total[type] += 1
            hits[type] += is_covered(row.text, a, b, masked)
    direct = [t for t in total if is_direct(t)]
    n, h = sum(total[t] for t in direct), sum(hits[t] for t in direct)
    size = sum(len(row.text.encode("utf-8", "replace")) for row in rows)
    return {
        "n_direct": n,
        "recall_direct": h / n if n else None,
        "recall_low": wilson_low(h, n) if n else None,
        "by_type": {
            t: {
                "n": total[t],
                "recall": hits[t] / total[t],
                "recall_low": wilson_low(hits[t], total[t]),
                "direct": is_direct(t),
            }
            for t in sorted(total)
        },
        "precision": true / n_spans if n_spans else None,
        "benign_altered": n_altered / n_benign if n_benign else None,
        "kb_per_s": size / 1024 / seconds if seconds else None,
        "deid_detector": detector.version,
    }


def is_covered(text: str, start: int, end: int, masked: bytearray) -> bool:
    """Whether every word of [start, end) that says anything is masked as a whole."""
    return all(
        all(masked[m.start() : m.end()])
        for m in re.finditer(r"[^\W_]+", text[:end])
        if m.start() >= start and m[0].lower() not in _GENERIC
    )


def benign(texts: Sequence[str], detector: Detector) -> dict[str, Any]:
    """Share of texts that would be altered at all, and of characters masked, by type of
    the first reason.
    """
    types: Counter[str] = Counter()
    altered = chars = 0
    for text, spans in zip(texts, detector.detect(texts), strict=True):
        masks = masks_of(text, spans)
        altered += bool(masks)
        chars += sum(b - a for a, b, _ in masks)
        types.update({t for _, _, t in masks})
    n_chars = sum(map(len, texts))
    return {
        "n": len(texts),
        "altered": altered,
        "benign_altered": altered / len(texts) if texts else None,
        "chars_masked": chars / n_chars if n_chars else None,
        "texts_by_type": dict(types),
    }


def misses(rows: Sequence[Labelled], detector: Detector) -> dict[str, list[tuple[str, str]]]:
    """Direct identifiers of a development set that stay, with their texts. For people who work on
    detectors; never for real logs.
    """
    missed: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for row, spans in zip(rows, detector.detect([row.text for row in rows]), strict=True):
        masked = bytearray(len(row.text))
        for a, b, _ in masks_of(row.text, spans):
            masked[a:b] = b"\1" * (b - a)
        for a, b, type in row.gold:
            if is_direct(type) and not is_covered(row.text, a, b, masked):
                missed[type].append((row.text[a:b], row.text))
    return missed
