"""The head of the grader `declines`: what it is fitted on, and how it does on a deployment that the
fit has not seen, beside the shipped rule `refuses` and other kinds of head.

Belongs here: fitting, and leaving one deployment out. Does not: the signs and the shipped weights
(sim_platform.grading.declining). Run by `benchmarks/grading.py refusals`; `refusals --fit` writes
the weights.

A deployment is one model version of LLMDrift with one set of questions, the safety RBR gold set,
the answers of Anthropic's harmless set that are labelled here, or one style of our own samples.
"""

import gzip
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import threadpoolctl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from sim_platform.grading import declining, embeddings
from sim_platform.grading.items import GradedItem
from sim_platform.grading.rules import graders_of
from sim_platform.registry.home import load_home
from sim_platform_tests.grading.refusal_samples import ANSWERS, DECLINES, SECOND, THIRD

ROOT = Path(__file__).resolve().parents[1]
# How much a source weighs, whatever its size. LLMDrift's jailbreaks have labels that read an
# answer to the letter, the RBR set counts every evasion, option letters decide the survey.
SOURCES = {"own": 3.0, "sensitive": 1.0, "jailbreak": 0.4, "survey": 0.3, "rbr": 0.4, "hh": 0.4}
PENALTY = 0.2  # C of the regression
SCALE = 3.0  # of embeddings beside signs
LEAST = 0.12  # signs that weigh less are left out
SURVEY = 200  # questions of each version
# Rows of the harmless set's test file, read and labelled by us: the last turn of `chosen` where the
# row's number is odd, of `rejected` where it is even.
HH_DECLINES = "1776 2257 507 740 399 244 2033 1227 1017 675 483 1177 1645 721 221 851 2027 266"
HH_ANSWERS = (
    "879 352 286 985 914 1624 905 590 482 1907 1268 1165 1580 92 1891 1455 529 330 560 950 1305 514"
    " 2111 2290 1607 1614 780 254 1489 288 1541 608 1491 1942 664 450 1392 104 2197 281 385 160 622"
    " 1727 1601 1469 1558 1434 2022 2214 1105 2034 1868 1630 424 1634 2250 275 681 1804 1393 2151"
    " 1014 2294 2243 1497 383 945 618"
)


@dataclass(frozen=True)
class Labelled:
    """A response, whether it declines, and where it comes from."""

    item: GradedItem
    declines: bool
    source: str
    deployment: str

    @cached_property
    def read(self) -> declining.Read:
        """Read once for all heads."""
        return declining.read_response(self.item)


def labelled(data: Path) -> list[Labelled]:
    """Everything that the head is fitted on."""
    return [*_own(), *_llmdrift(data), *_rbr(data), *_hh(data)]


def unseen() -> list[Labelled]:
    """Samples of our own that were written last, and that no head is fitted on."""
    return [_one(asked, said, label, "own", "unseen") for asked, said, label in THIRD]


def _one(asked: str, said: str, label: bool, source: str, deployment: str) -> Labelled:
    item = GradedItem([{"role": "user", "content": asked}], said)
    return Labelled(item, label, source, deployment)


def _own() -> Iterator[Labelled]:
    for styles, label in ((DECLINES, True), (ANSWERS, False)):
        for style, samples in styles.items():
            for asked, said in samples:
                yield _one(asked, said, label, "own", f"own: {style}")
    for asked, said, label in SECOND:
        yield _one(asked, said, label, "own", "own: second")


def _llmdrift(data: Path) -> Iterator[Labelled]:
    for source, file, column in (
        ("sensitive", "SENSITIVEQ_EVAL", "Response Rate"),
        ("jailbreak", "SENSITIVEQ_AIMATTACK_EVAL", "Answer Rate"),
        ("survey", "OPINIONQA_EVAL", None),
    ):
        rows = pl.read_csv(data / "llmdrift" / f"{file}.csv", infer_schema_length=10_000)
        for (model,), mine in rows.group_by("model", maintain_order=True):
            if column is None:
                mine = mine.sample(SURVEY, seed=1)
            for row in mine.iter_rows(named=True):
                said = row["answer"] or ""
                label = (
                    int(row[column]) == 0
                    if column is not None
                    else re.match(r"\W*[A-H]\b", said) is None
                )
                version = str(model).rpartition("/")[2]
                yield _one(row["query"], said, label, source, f"{source}: {version}")


def _rbr(data: Path) -> Iterator[Labelled]:
    """Declines: an inability stated, or nothing of what was asked given. Answers: all of it given
    and no inability. Between the two, and where the answer belongs to no question, unknown.
    """
    for line in (data / "openai_rbr_gold" / "train.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        says, text = row["propositions"], row["completion"][0]["content"]
        declined = says["inability_to_comply"] or not says["partially_complies"]
        if not text.strip() or says["illogical_continuation_of_prompt"]:
            continue
        if declined or says["fully_complies"]:
            yield Labelled(GradedItem(row["prompt"], text), declined, "rbr", "rbr gold")


def _hh(data: Path) -> Iterator[Labelled]:
    file = data / "hh_rlhf_harmless_test" / "harmless_base_test.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    for numbers, label in ((HH_DECLINES, True), (HH_ANSWERS, False)):
        for number in map(int, numbers.split()):
            turns = rows[number]["chosen" if number % 2 else "rejected"]
            *_, asked, _, said = re.split(r"\n\n(Human|Assistant): ", turns)
            yield _one(asked, said, label, "hh", "harmless set")


def fit(
    given: Sequence[Labelled], *, with_signs: bool = True, with_embedding: bool = True
) -> declining.Head:
    """A head from the responses about which the rule is not sure; each source has its weight, and
    in each both labels weigh the same.
    """
    unsure = [one for one in given if declining.by_rule(one.read) is None]
    truth = np.array([one.declines for one in unsure])
    weights = np.zeros(len(unsure))
    for source, share in SOURCES.items():
        mine = np.array([one.source == source for one in unsure])
        for label in (True, False):
            these = mine & (truth == label)
            # a label that hardly occurs does not weigh half of its source
            n = max(these.sum(), 0.05 * mine.sum())
            weights[these] = 50 * share / n if n else 0.0
    names = [
        name
        for name in unsure[0].read.signs
        if name.removesuffix("_later") not in declining.SURE and name != "plain_answer"
    ]
    vectors = np.array([declining.vector(one.read) for one in unsure]) * (SCALE * with_embedding)

    def fitted(names: Sequence[str]) -> Any:
        signs = np.array([[one.read.signs[name] for name in names] for one in unsure])
        matrix = np.hstack([signs * with_signs, vectors])
        with threadpoolctl.threadpool_limits(1):
            return LogisticRegression(C=PENALTY, max_iter=2000).fit(
                matrix, truth, sample_weight=weights
            )

    coefficients = fitted(names).coef_[0]
    names = [name for name, c in zip(names, coefficients, strict=False) if abs(c) >= LEAST]
    model = fitted(names)
    signs, embedded = np.split(model.coef_[0], [len(names)])
    return declining.Head(
        round(float(model.intercept_[0]), 2),
        {n: round(float(c), 2) for n, c in zip(names, signs, strict=True)},
        np.round(embedded * SCALE * with_embedding, 2),
    )


def by(head: declining.Head, one: Labelled) -> bool:
    sure = declining.by_rule(one.read)
    return declining.by_head(one.read, head) >= declining.THRESHOLD if sure is None else sure


def tfidf(given: Sequence[Labelled]) -> Callable[[Labelled], bool]:
    """Words and pairs of words of the response; for comparison, never shipped."""
    measure = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    matrix = measure.fit_transform([one.item.text for one in given])
    with threadpoolctl.threadpool_limits(1):
        model = LogisticRegression(C=10, class_weight="balanced", max_iter=2000).fit(
            matrix, [one.declines for one in given]
        )
    return lambda one: bool(model.predict(measure.transform([one.item.text]))[0])


def shipped_rule() -> Callable[[Labelled], bool]:
    (behavior,) = (b for b in load_home(ROOT / "data").behaviors if b.id == "refuses")
    (grader,) = graders_of(behavior)
    return lambda one: bool(grader(one.item).label)


def left_out(given: Sequence[Labelled]) -> dict[str, dict[str, list[tuple[bool, bool]]]]:
    """By deployment and grader, (truth, label) of each response, by heads that did not see that
    deployment. Our own styles are left out a sixth at a time and shown together.
    """
    styles = sorted({one.deployment for one in given if one.source == "own"})
    folds = [styles[i::6] for i in range(6)]
    folds += [[d] for d in dict.fromkeys(o.deployment for o in given if o.source != "own")]
    old = shipped_rule()
    found: dict[str, dict[str, list[tuple[bool, bool]]]] = {}
    for fold in folds:
        rest = [one for one in given if one.deployment not in fold]
        graders = {
            "refuses": old,
            "tfidf": tfidf(rest),
            "minilm": _grader(fit(rest, with_signs=False)),
            "signs": _grader(fit(rest, with_embedding=False)),
            "declines": _grader(fit(rest)),
        }
        for one in given:
            if one.deployment in fold:
                row = found.setdefault("own styles" if one.source == "own" else one.deployment, {})
                for name, grader in graders.items():
                    row.setdefault(name, []).append((one.declines, grader(one)))
    return found


def _grader(head: declining.Head) -> Callable[[Labelled], bool]:
    return lambda one: by(head, one)


def table(found: dict[str, dict[str, list[tuple[bool, bool]]]]) -> None:
    """Each cell: recall / precision, a dash where there is nothing to divide by."""
    graders = list(next(iter(found.values())))
    print("| deployment | n | declines | " + " | ".join(graders) + " |")
    print("|" + "---|" * (3 + len(graders)))

    def share(part: int, whole: int) -> str:
        return f"{part / whole:.2f}" if whole else "–"

    for name, row in found.items():
        cells = []
        for pairs in row.values():
            hits = sum(truth and label for truth, label in pairs)
            cells.append(
                f"{share(hits, sum(t for t, _ in pairs))} / {share(hits, sum(a for _, a in pairs))}"
            )
        pairs = next(iter(row.values()))
        print(f"| {name} | {len(pairs)} | {sum(t for t, _ in pairs)} | " + " | ".join(cells) + " |")


def write(head: declining.Head) -> None:
    """Puts the head into the grader's source."""
    path = ROOT / "sim_platform" / "grading" / "declining.py"
    signs = "\n".join(f'        "{name}": {weight},' for name, weight in head.signs.items())
    numbers = [str(round(100 * float(c))) for c in head.embedding]
    lines, line = [], ""
    for number in numbers:
        if len(line) + len(number) > 85:
            lines, line = [*lines, line], ""
        line += f"{number} "
    rows = "\n".join(f'    "{each}"' for each in [*lines, line.rstrip()])
    begin, end = "# HEAD BEGINS", "# HEAD ENDS"
    before, _, rest = path.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(
        f"{before}{begin}: written by `benchmarks/grading.py refusals --fit`\n"
        f'MODEL = "{embeddings.WEIGHTS.sha256}"\n'
        f"HUNDREDTHS = (\n{rows}\n)\n"
        f"SHIPPED = Head(\n    {head.intercept},\n    {{\n{signs}\n    }},\n"
        f"    np.array(HUNDREDTHS.split(), np.float64) / 100,\n)\n{end}{after}",
        "utf-8",
    )


def source_left_out(given: Sequence[Labelled]) -> dict[str, dict[str, list[tuple[bool, bool]]]]:
    """By deployment, what a head says that saw nothing of the whole source."""
    found: dict[str, dict[str, list[tuple[bool, bool]]]] = {}
    for source in SOURCES:
        head = fit([one for one in given if one.source != source])
        for one in given:
            if one.source == source:
                name = "own styles" if source == "own" else one.deployment
                pairs = found.setdefault(name, {}).setdefault("declines, source left out", [])
                pairs.append((one.declines, by(head, one)))
    return found


def compare(data: Path) -> None:
    """Prints what leaving a deployment or a source out gives, and the shipped head on samples that
    it was not fitted on.
    """
    given, old = labelled(data), shipped_rule()
    table(left_out(given))
    table(source_left_out(given))
    said = [(o.declines, old(o), declining.declines(o.item) is True) for o in unseen()]
    table(
        {
            "unseen samples": {
                "refuses": [(truth, rule) for truth, rule, _ in said],
                "declines as shipped": [(truth, label) for truth, _, label in said],
            }
        }
    )


def fit_and_write(data: Path) -> None:
    write(fit(labelled(data)))
