"""Labels that people gave: reading a file of them, refusing what does not fit, several annotators
to one label, their agreement.

Belongs here: label files as they come (CSV, JSON Lines, JSON, also .gz) and what a label may say.
Does not: the shapes of annotation tools (annotation_tools), comparing labels with a grader
(calibration), who should label what (label_sampling).
"""

import csv
import gzip
import io
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.escaping import from_csv_cell
from sim_platform.contracts.messages import JsonScalar, Message, text_of
from sim_platform.grading.annotation_tools import rows_of
from sim_platform.grading.items import GradedItem

YES = {"1", "1.0", "true", "yes", "y", "positive", "occurred"}
NO = {"0", "0.0", "false", "no", "n", "negative", "not_occurred"}
ABSTAIN = {"abstain", "unsure", "unclear", "skip"}
UNKNOWN = {"", "null", "none", "nan"}
MAX_BYTES = 256 * 2**20  # of a label file, unpacked: a small archive may hold gigabytes
SHOWN = 5  # places that an error names


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a label file; a dot reads a nested object (`propositions.apology`).
    Values that are lists of chat messages are read as such.
    """

    label: str = "label"
    id: str = "item_id"
    response: str = "response"
    prompt: str = "prompt"
    annotator: str = "annotator"
    behavior: str = "behavior"
    stratum: str = "stratum"
    arm: str = "arm"
    is_inverted: bool = False  # the column says yes where the behaviour did not occur


@dataclass(frozen=True)
class HumanLabel:
    """One person's word on one item. Its repr holds no user text."""

    place: str  # line or entry of the file, for messages
    item_id: str
    label: bool | None
    abstained: bool = False
    annotator: str = ""
    stratum: str = ""
    arm: str = ""
    grader_hash: str = ""
    behavior: str = ""
    # where the file itself holds the response
    item: GradedItem | None = field(default=None, repr=False)


def read_labels(path: Path, columns: Columns | None = None) -> list[HumanLabel]:
    """Every row of the file. A label is yes (1, true, yes), no (0, false, no), ABSTAIN, or empty:
    unknown, which is never a no.

    A row without an item id is an item of its own, named by its place.

    Raises:
        BadInputError: no such file, not UTF-8, not CSV or JSON, no label column, a label that means
            nothing; names the lines.
    """
    names = columns or Columns()
    rows = [(place, row) for place, entry in _rows(path) for row in rows_of(entry, names.label)]
    if not rows:
        raise BadInputError(
            f"{path.name}: no rows; a label file has one item a row, with the columns {names.label}"
            f" and {names.id} or {names.response}"
        )
    if not any(_get(row, names.label) is not None for _, row in rows):
        raise BadInputError(
            f'{path.name}: no column "{names.label}" (columns: {", ".join(sorted(rows[0][1]))});'
            " name it with --label"
        )
    labels, unreadable = [], []
    for place, row in rows:
        said = str(value).strip().lower() if (value := _get(row, names.label)) is not None else ""
        if said not in YES | NO | ABSTAIN | UNKNOWN:
            unreadable.append(place)
            continue
        text = _response(_get(row, names.response))
        labels.append(
            HumanLabel(
                place=place,
                item_id=str(_get(row, names.id) or f"{path.name}:{place.split()[-1]}"),
                behavior=str(_get(row, names.behavior) or ""),
                label=(said in YES) != names.is_inverted if said in YES | NO else None,
                abstained=said in ABSTAIN,
                annotator=str(_get(row, names.annotator) or ""),
                stratum=str(_get(row, names.stratum) or ""),
                arm=str(_get(row, names.arm) or ""),
                grader_hash=str(row.get("grader_hash") or ""),
                item=(
                    None
                    if text is None
                    else GradedItem(
                        prefix=_prompt(_get(row, names.prompt)),
                        text=text,
                        tool_calls=_calls(row.get("tool_calls")),
                        metadata=_flat(row),
                    )
                ),
            )
        )
    if unreadable:
        raise BadInputError(
            f"{path.name}: {len(unreadable)} labels mean neither yes (1, true, yes), no (0, false,"
            f" no), ABSTAIN nor unknown (empty): {_some(unreadable)}"
        )
    return labels


def one_per_item(labels: Iterable[HumanLabel]) -> list[HumanLabel]:
    """One label an item: what most annotators say; a tie abstains. The order is that of each
    item's first row.
    """
    by_item: dict[str, list[HumanLabel]] = defaultdict(list)
    for label in one_per_annotator(labels):
        by_item[label.item_id].append(label)
    return [_majority(group) for group in by_item.values()]


def one_per_annotator(labels: Iterable[HumanLabel]) -> list[HumanLabel]:
    """One label of each person about each item and behaviour: what they said most often of the
    repeats that they answered; a tie abstains. The order is that of first rows.
    """
    said: dict[tuple[str, str, str], list[HumanLabel]] = defaultdict(list)
    for label in labels:
        said[label.behavior, label.item_id, label.annotator].append(label)
    return [_settled(group) for group in said.values()]


@dataclass(frozen=True)
class Agreement:
    """How far people agree, with each other and with themselves. Kappa and alpha are None where
    they are not defined (no item with two annotators, or all labels are the same), `self_agreement`
    where nobody answered an item twice.
    """

    n_items: int
    n_agree: int
    cohen_kappa: float | None
    krippendorff_alpha: float | None
    n_repeats: int  # items that one person answered more than once
    n_alike: int  # of these, with the same answer each time
    self_agreement: float | None  # n_alike / n_repeats, in [0, 1]


def agreement(labels: Iterable[HumanLabel]) -> Agreement:
    """Over items with labels of two annotators or more, each with one label (`one_per_annotator`).
    Cohen's kappa takes each item's first two labels in the order of the annotators' names;
    Krippendorff's alpha takes all. Agreement with oneself is over the repeats in `labels`.

    Source: Cohen 1960 (scikit-learn's cohen_kappa_score); Krippendorff 2011 (the krippendorff
    package), nominal.
    """
    import krippendorff  # noqa: PLC0415 - only where agreement is asked for
    import numpy as np  # noqa: PLC0415 - only where agreement is asked for
    from sklearn.metrics import cohen_kappa_score  # noqa: PLC0415 - heavy

    labels = list(labels)
    answers: dict[tuple[str, str, str], list[tuple[bool | None, bool]]] = defaultdict(list)
    for label in labels:
        if label.label is not None or label.abstained:
            one = (label.behavior, label.item_id, label.annotator)
            answers[one].append((label.label, label.abstained))
    repeats = [given for given in answers.values() if len(given) > 1]
    alike = sum(len(set(given)) == 1 for given in repeats)
    themselves = (len(repeats), alike, alike / len(repeats) if repeats else None)

    by_item: dict[str, dict[str, bool]] = defaultdict(dict)
    for label in one_per_annotator(labels):
        if label.label is not None:
            by_item[label.item_id][label.annotator] = label.label
    twice = [[v for _, v in sorted(said.items())] for said in by_item.values() if len(said) > 1]
    if not twice:
        return Agreement(0, 0, None, None, *themselves)
    varied = len({value for values in twice for value in values}) > 1
    width = max(map(len, twice))
    table = np.array(
        [[float(v) for v in values] + [np.nan] * (width - len(values)) for values in twice]
    ).T
    return Agreement(
        n_items=len(twice),
        n_agree=sum(len(set(values)) == 1 for values in twice),
        cohen_kappa=(
            float(cohen_kappa_score([v[0] for v in twice], [v[1] for v in twice]))
            if varied
            else None
        ),
        krippendorff_alpha=(
            float(krippendorff.alpha(reliability_data=table, level_of_measurement="nominal"))
            if varied
            else None
        ),
        n_repeats=themselves[0],
        n_alike=themselves[1],
        self_agreement=themselves[2],
    )


def _rows(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise BadInputError(
                f"{path.name}: holds more than {MAX_BYTES >> 20} MB; a label is some kilobytes,"
                " so split the file"
            )
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInputError(
            f"{path.name}: line {line} is not UTF-8; save the file in that encoding"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise BadInputError(f"{path.name}: cannot be read: {type(error).__name__}") from None
    if path.name.removesuffix(".gz").endswith(".csv"):
        csv.field_size_limit(10_000_000)
        try:
            reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            for row in reader:
                if None in row or None in row.values():
                    raise BadInputError(
                        f"{path.name}: line {reader.line_num} has another number of fields than the"
                        " header"
                    )
                yield (
                    f"line {reader.line_num}",
                    {name: from_csv_cell(cell) for name, cell in row.items()},
                )
        except csv.Error as error:
            raise BadInputError(
                f"{path.name}: line {reader.line_num} is not CSV: {error}"
            ) from None
        return
    if path.name.removesuffix(".gz").endswith(".json"):
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError):
            raise BadInputError(
                f"{path.name}: not JSON; a .json file is a list of entries, as annotation tools"
                " export it"
            ) from None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise BadInputError(
                f"{path.name}: not a list of JSON objects; a .json file is a list of entries, as"
                " annotation tools export it"
            )
        yield from ((f"entry {number}", entry) for number, entry in enumerate(entries, 1))
        return
    for number, written in enumerate(text.split("\n"), 1):
        if not written.strip():
            continue
        try:
            row = json.loads(written)
        except (ValueError, RecursionError):
            raise BadInputError(
                f"{path.name}: line {number} is not JSON; the file must be .csv, .json (a list), or"
                " JSON Lines"
            ) from None
        if not isinstance(row, dict):
            raise BadInputError(f"{path.name}: line {number} is not a JSON object")
        yield f"line {number}", row


def _get(row: dict[str, Any], name: str) -> Any:
    if name in row or "." not in name:
        return row.get(name)
    head, _, rest = name.partition(".")
    inner = row.get(head)
    return _get(inner, rest) if isinstance(inner, dict) else None


def _messages(value: Any) -> list[Message] | None:
    if isinstance(value, str) and value.startswith("[{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if (
        isinstance(value, list)
        and value
        and all(isinstance(m, dict) and "role" in m for m in value)
    ):
        return [cast(Message, {**m, "content": m.get("content")}) for m in value]
    return None


def _response(value: Any) -> str | None:
    messages = _messages(value)
    return text_of(messages[-1]) if messages else None if value is None else str(value)


def _prompt(value: Any) -> list[Message]:
    return _messages(value) or ([] if value is None else [{"role": "user", "content": str(value)}])


def _calls(value: Any) -> list[Any]:
    try:
        calls = json.loads(value) if isinstance(value, str) and value else value
    except (ValueError, RecursionError):
        return []
    return calls if isinstance(calls, list) else []


def _flat(row: dict[str, Any]) -> dict[str, JsonScalar]:
    return {k: v for k, v in row.items() if v is None or isinstance(v, str | int | float | bool)}


def _settled(group: Sequence[HumanLabel]) -> HumanLabel:
    answers = Counter(g.label for g in group if g.label is not None or g.abstained)
    if not answers:
        return group[0]  # unknown
    (label, most), *others = answers.most_common()
    if others and others[0][1] == most:
        label = None
    return replace(group[0], label=label, abstained=label is None)


def _majority(group: Sequence[HumanLabel]) -> HumanLabel:
    votes = Counter(label.label for label in group)
    yes, no = votes[True], votes[False]
    label = None if yes == no else yes > no
    abstained = label is None and (yes > 0 or any(g.abstained for g in group))
    return replace(group[0], label=label, abstained=abstained, annotator="")


def _some(values: Sequence[object]) -> str:
    return ", ".join(str(v) for v in values[:SHOWN]) + (
        f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    )
