"""Graders against people's labels: files of labels, what people are asked to label, and the rates
that follow.

Belongs here: the walk between files, stored scores, stored labels and the estimators. Does not:
counting (grading.calibration), formulas (estimation).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.contracts.tables.grading import (
    Calibration,
    ClassifierScores,
    HumanLabels,
    LabelDraws,
)
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import frame
from sim_platform.estimation import intervals, judge
from sim_platform.flows.grading.asking import Asking
from sim_platform.flows.registration import covered
from sim_platform.grading import calibration, classifier
from sim_platform.grading.calibration import Confusion, Graded
from sim_platform.grading.items import GradedItem, Verdict
from sim_platform.grading.label_sampling import LabelPlan, draw_for_labels
from sim_platform.grading.labels import Columns, HumanLabel, agreement, one_per_item, read_labels
from sim_platform.grading.rules import graders_of
from sim_platform.grading.scores import grader_hash, verdict
from sim_platform.orchestration.resources import lock_wait_seconds
from sim_platform.registry.behaviors import Behavior, ClassifierGrader
from sim_platform.registry.home import Home
from sim_platform.registry.schema import holds
from sim_platform.warehouse.duckdb_file import DuckDBFile

LEAST_POSITIVES = 10  # known positives below which a sensitivity is not divided by
# grader errors among random labels below which prediction-powered inference is over-optimistic
LEAST_ERRORS = 15
SHOWN = 5


def behavior_of(home: Home, name: str) -> Behavior:
    """The behaviour; BadInputError when the home has none of that id, or cannot grade it."""
    found = next((b for b in home.behaviors if b.id == name), None)
    if found is None:
        raise BadInputError(
            f'behaviors/: there is no behaviour "{name}" (behaviours:'
            f" {', '.join(b.id for b in home.behaviors)})"
        )
    if lack := home.lacks(found):
        raise BadInputError(f"behaviors/{name}.yaml: {lack}")
    return found


def calibrate(
    home: Home, behavior_id: str, file: Path, columns: Columns, earlier: Path | None = None
) -> dict[str, Any]:
    """The grader of one behaviour against the labels of a file: counts and shares with exact 95 %
    limits, and (under `detail`) everything else.

    Rows with a response are graded here (a judge is asked what it was not asked before); rows with
    an item id of `labels export` are looked up. `earlier`: labels of an
    earlier release, with which precision, recall and specificity are compared. `trained_on`:
    labelled items that a trained grader of the behaviour has learnt from.
    """
    graded, rows = graded_labels(home, behavior_id, file, columns)
    table = calibration.confusion(graded)
    learnt = {
        one
        for part in behavior_of(home, behavior_id).parts
        if isinstance(part, ClassifierGrader)
        for one in classifier.read_classifier(home.path / part.file).trained_on
    }
    before = (
        calibration.confusion(graded_labels(home, behavior_id, earlier, columns)[0])
        if earlier
        else None
    )
    labels = [one.label for one in graded]
    return {
        **shown(table),
        "detail": {
            "grader_hash": grader_hash(behavior_of(home, behavior_id), home),
            "trained_on": sum(
                one.label.item is not None and classifier.fingerprint(one.label.item) in learnt
                for one in graded
            ),
            "unlabelled": sum(one.label is None and not one.abstained for one in labels),
            "people_abstained": sum(one.abstained for one in labels),
            "abstained_by_reason": table.reasons,
            "auc": calibration.auc(graded),
            "agreement": asdict(agreement(rows)),
            "by_stratum": {
                name: shown(part)
                for name, part in calibration.confusion_by(graded, "stratum").items()
            },
            "by_arm": {
                name: shown(part) for name, part in calibration.confusion_by(graded, "arm").items()
            },
            "threshold_curve": calibration.threshold_curve(graded),
            "reliability_curve": calibration.reliability_curve(graded),
            "drift_p": drift(before, table) if before else None,
        },
    }


def graded_labels(
    home: Home, behavior_id: str, file: Path, columns: Columns
) -> tuple[list[Graded], list[HumanLabel]]:
    """Each item of a file of labels with what the behaviour's graders say, and the file's rows."""
    behavior = behavior_of(home, behavior_id)
    rows = read_labels(file, columns)
    labels = one_per_item(rows)
    items = [label.item for label in labels if label.item is not None]
    if behavior.judges or any(part.kind == "moderation" for part in behavior.parts):
        items = Asking(home, warehouse_of(home), f"calibrate.{behavior.id}")(items, [behavior])
    graders = graders_of(behavior, home.path)
    given = iter(items)
    verdicts = [
        _verdict(next(given), behavior, graders) if label.item is not None else None
        for label in labels
    ]
    stored = _stored_verdicts(
        home, behavior, [label for label in labels if label.item is None], file.name
    )
    graded = [
        Graded(label, said if said is not None else stored[label.item_id])
        for label, said in zip(labels, verdicts, strict=True)
    ]
    return graded, rows


def shown(table: Confusion) -> dict[str, Any]:
    """Counts, and precision, recall and specificity with Clopper-Pearson limits; a share of nothing
    is null between 0 and 1.
    """

    def share(k: int, n: int) -> dict[str, float | None]:
        if n == 0:
            return {"estimate": None, "low": 0.0, "high": 1.0}
        found = intervals.binomial(k, n, "clopper-pearson")
        return {
            "estimate": float(found.estimate),
            "low": float(found.low),
            "high": float(found.high),
        }

    cells = {"n": table.n, "tp": table.tp, "fp": table.fp, "fn": table.fn, "tn": table.tn}
    return {
        **cells,
        **{name: share(*part) for name, part in table.shares.items()},
        "abstained": table.abstained,
    }


def drift(before: Confusion, after: Confusion) -> dict[str, float]:
    """Two-sided p that precision, recall or specificity is the same in two tables (Fisher's exact
    test); a share of nothing is left out.
    """
    from scipy.stats import fisher_exact  # noqa: PLC0415 - heavy

    found = {}
    for name, (k, n) in before.shares.items():
        other_k, other_n = after.shares[name]
        if n and other_n:
            found[name] = float(
                fisher_exact(np.array([[k, n - k], [other_k, other_n - other_k]])).pvalue
            )
    return found


def train_grader(
    home: Home,
    behavior_id: str,
    file: Path,
    columns: Columns,
    seed: int,
    features: classifier.Features = "tfidf",
) -> tuple[Path, dict[str, Any]]:
    """Trains on the file's labels and writes `graders/<behaviour>.json` with its model card, or the
    file that the behaviour names. Returns path and card.
    """
    behavior = next((b for b in home.behaviors if b.id == behavior_id), None)
    name = (
        next((part.file for part in behavior.parts if isinstance(part, ClassifierGrader)), None)
        if behavior
        else None
    )
    trained = classifier.train(
        one_per_item(read_labels(file, columns)), features=features, seed=seed
    )
    path = home.path / (name or f"graders/{behavior_id}.json")
    card = {
        "behavior": behavior_id,
        "definition": behavior.definition if behavior else None,
        "threshold": trained.threshold,
        **trained.card,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(classifier.written(trained), encoding="utf-8")
        path.with_suffix(".card.json").write_text(
            json.dumps(card, indent=2) + "\n", encoding="utf-8"
        )
    except OSError as error:
        raise SimPlatformError(f"{path}: cannot be written ({error.strerror})") from None
    return path, card


def export_labels(
    home: Home, release: str, behaviors: Sequence[str], plan: LabelPlan
) -> list[dict[str, Any]]:
    """Draws what should be labelled, stores the drawing, and returns one row an item and label:
    item id, behaviour, its definition, conversation and response, an empty label.
    """
    warehouse = warehouse_of(home)
    home.release(release)
    covered(home, warehouse, release)
    names = list(behaviors) or [b.id for b in home.graded]
    definitions = {name: behavior_of(home, name).definition for name in names}
    scored = warehouse.read(ClassifierScores, {"model_version": release}).filter(
        pl.col("behavior").is_in(names)
    )
    if not len(scored):
        raise SimPlatformError(f"{release}: no scores yet; run `sim-platform run {release}` first")
    drawn = draw_for_labels(scored, plan)
    with warehouse.transaction() as tx:
        tx.upsert(LabelDraws, drawn)
        texts = tx.query(
            """select s.prefix_id, 'recorded' as arm, 0 as k, s.prefix, s.recorded as response, null as tool_calls from stratified_sample s where s.model_version = $release
               union all select c.prefix_id, c.arm, c.k, s.prefix, c.text, c.tool_calls from candidate_completions c
               join stratified_sample s on s.model_version = c.model_version and s.prefix_id = c.prefix_id where c.model_version = $release""",
            {"release": release},
        )
    found = {
        (arm, prefix_id, k): (prefix, response, calls)
        for prefix_id, arm, k, prefix, response, calls in texts.iter_rows()
    }
    rows = []
    for draw in drawn.sort(
        "item_id"
    ).to_dicts():  # by hash: neither arm nor flag shows in the order
        prefix, response, calls = found[draw["arm"], draw["prefix_id"], draw["k"]]
        said = (
            json.loads(response)
            if draw["arm"] == "recorded" and response
            else {"content": response, "tool_calls": json.loads(calls or "[]")}
        )
        row = {
            "item_id": draw["item_id"],
            "behavior": draw["behavior"],
            "definition": definitions[draw["behavior"]],
            "prompt": prefix,
            "response": said.get("content") or "",
            "tool_calls": said.get("tool_calls") or [],
            "label": None,
            "annotator": "",
            "grader_hash": draw["grader_hash"],
        }
        rows += [row, row] if draw["is_double"] else [row]
    return rows


def import_labels(
    home: Home, release: str, behavior: str | None, file: Path, columns: Columns
) -> dict[str, Any]:
    """Takes labels of drawn items back, all or nothing: those of one behaviour, or of every
    behaviour that the file's column names.

    Returns:
        `imported`, `abstained`, `left_out` (labels of other behaviours than the one that was asked
        for), and per behaviour the agreement of its annotators.

    Raises:
        BadInputError: a label of no behaviour, an item that was not drawn for this release and
            behaviour, or labels of other graders than those whose scores are stored.
    """
    warehouse = warehouse_of(home)
    given = [one for one in read_labels(file, columns) if one.label is not None or one.abstained]
    labels = [
        replace(one, behavior=one.behavior or behavior or "")
        for one in given
        if behavior in (None, one.behavior or behavior)
    ]
    nameless = [one for one in labels if not one.behavior]
    if nameless:
        raise BadInputError(
            f"{file.name}: {len(nameless)} labels name no behaviour ({_places(nameless)}); give"
            " --behavior, or the column behavior. Nothing was imported."
        )
    drawn = {
        (row["behavior"], row["item_id"]): row["grader_hash"]
        for row in warehouse.read(LabelDraws, {"model_version": release}).to_dicts()
    }
    unknown = [one for one in labels if (one.behavior, one.item_id) not in drawn]
    if unknown:
        raise BadInputError(
            f"{file.name}: {len(unknown)} items were not drawn for {_behaviors(unknown)} of"
            f" {release}: {_places(unknown)}; nothing was imported"
        )
    now = set(
        warehouse.read(
            ClassifierScores, {"model_version": release}, columns=["behavior", "grader_hash"]
        )
        .unique()
        .iter_rows()
    )
    foreign = [
        one
        for one in labels
        if {(one.behavior, h) for h in (drawn[one.behavior, one.item_id], one.grader_hash) if h}
        - now
    ]
    if foreign:
        raise BadInputError(
            f"{file.name}: {len(foreign)} labels belong to other graders of {_behaviors(foreign)}"
            f" than those whose scores are stored ({_places(foreign)}); export again. Nothing was"
            " imported."
        )
    rows = {(one.behavior, one.item_id, one.annotator): one for one in labels}
    stored = [
        {
            "model_version": release,
            "behavior": name,
            "item_id": item,
            "annotator": annotator,
            "label": one.label,
            "grader_hash": drawn[name, item],
        }
        for (name, item, annotator), one in rows.items()
    ]
    with warehouse.transaction() as tx:
        tx.upsert(HumanLabels, frame(HumanLabels, stored))
    agreed = {
        name: asdict(agreement(one for one in labels if one.behavior == name))
        for name in sorted({one.behavior for one in labels})
    }
    return {
        "imported": len(rows),
        "abstained": sum(one.abstained for one in rows.values()),
        "left_out": len(given) - len(labels),
        "agreement": agreed,
    }


def _behaviors(labels: Sequence[HumanLabel]) -> str:
    return ", ".join(sorted({one.behavior for one in labels}))


def calibrate_release(home: Home, release: str) -> pl.DataFrame:
    """Rows of `calibration`: every behaviour and arm of the release with people's labels."""
    warehouse = warehouse_of(home)
    labels = warehouse.read(HumanLabels, {"model_version": release})
    rows: list[dict[str, object]] = []
    if len(labels):
        scored = warehouse.read(ClassifierScores, {"model_version": release}).filter(
            pl.col("applies")
        )
        weights = warehouse.read(
            StratifiedSample, {"model_version": release}, columns=["prefix_id", "weight"]
        )
        said = labels.group_by("behavior", "item_id").agg(
            yes=(pl.col("label") == True).sum(),
            no=(pl.col("label") == False).sum(),  # noqa: E712 - a polars expression
        )
        draws = (
            warehouse.read(LabelDraws, {"model_version": release})
            .join(said, on=["behavior", "item_id"], how="left")
            .with_columns(
                human=pl.when(pl.col("yes") > pl.col("no"))
                .then(True)
                .when(pl.col("no") > pl.col("yes"))
                .then(False)
            )
        )
        joined = scored.join(weights, on="prefix_id").join(
            draws.select(
                "behavior", "arm", "prefix_id", "k", "label_probability", "label_stratum", "human"
            ),
            on=["behavior", "arm", "prefix_id", "k"],
            how="left",
        )
        for (behavior, arm), cell in joined.filter(
            pl.col("human").is_not_null().any().over("behavior", "arm")
        ).group_by("behavior", "arm", maintain_order=True):
            rows.append(
                {"model_version": release, "behavior": behavior, "arm": arm, **four_rates(cell)}
            )
    return frame(Calibration, sorted(rows, key=lambda row: (str(row["behavior"]), str(row["arm"]))))


def drift_of_release(home: Home, release: str) -> list[dict[str, object]]:
    """Per behaviour and arm of the release: p that precision, recall and specificity are those of
    the last other release with labels, on the labelled outcomes as drawn.
    """
    every = (
        warehouse_of(home)
        .read(Calibration)
        .select("model_version", "behavior", "arm", "tp", "fp", "fn", "tn")
    )
    order = {version: i for i, version in enumerate(home.releases)}
    found: list[dict[str, object]] = []
    for row in every.filter(model_version=release).sort("behavior", "arm").to_dicts():
        same = [
            r
            for r in every.filter(behavior=row["behavior"], arm=row["arm"]).to_dicts()
            if order.get(r["model_version"], -1) < order.get(release, -1)
        ]
        if same:
            before = max(same, key=lambda r: order.get(r["model_version"], -1))
            tables = [Confusion(r["tp"], r["fp"], r["fn"], r["tn"]) for r in (before, row)]
            changes = {f"p {name}": round(p, 4) for name, p in drift(*tables).items()}
            found.append(
                {
                    "behaviour": row["behavior"],
                    "arm": row["arm"],
                    "earlier release": before["model_version"],
                    **changes,
                }
            )
    return found


def four_rates(cell: pl.DataFrame) -> dict[str, object]:
    """The four rates of one behaviour in one arm, and the prediction-powered one where its
    condition holds, with what refuses them.

    Args:
        cell: eligible outcomes with label, weight and score; of those that were drawn for people,
            label_probability and label_stratum; where they labelled, human.

    apparent: weighted share of flags. verified: flags that people confirmed, weighted by 1 / chance
    of being labelled. corrected: verified over the sensitivity that the labels
    show, melded. bound: Fay-Feuer upper limit of all confirmed occurrences, the sampled negatives'
    weights included, which assumes nothing about the grader.
    """
    graded = (
        cell.filter(pl.col("label").is_not_null())
        .with_columns(w=pl.col("weight") / pl.col("weight").sum())
        .with_row_index("place")
    )
    drawn = graded.filter(pl.col("label_probability").is_not_null()).with_columns(
        v=pl.col("w") / pl.col("label_probability"),
        group=pl.coalesce("label_stratum", pl.col("label").cast(pl.String)),
    )
    known = _labelled(graded, drawn)
    cells = {
        name: int(known.filter((pl.col("human") == h) & (pl.col("label") == f)).height)
        for name, h, f in CELLS
    }
    row: dict[str, object] = {
        **cells,
        "n": known.height,
        "abstained": cell.filter(pl.col("label").is_null() & pl.col("human").is_not_null()).height,
    }
    refused: dict[str, str] = {}
    apparent = _sum(graded.filter("label"), "w", graded)
    row |= {
        "apparent": min(1.0, apparent.estimate),
        "apparent_low": min(1.0, apparent.low),
        "apparent_high": min(1.0, apparent.high),
    }
    flags, negatives = known.filter("label"), known.filter(~pl.col("label"))
    n_flags = graded.filter("label").height
    unseen = sorted(set(drawn.filter(~pl.col("label"))["group"]) - set(negatives["group"]))
    blind = (
        "no unflagged outcome was labelled"
        if negatives.is_empty()
        else (
            f"none of the drawn unflagged outcomes of {', '.join(unseen)} was labelled"
            if unseen
            else None
        )
    )
    if n_flags and flags.is_empty():
        refused["verified"] = "no flag was labelled"
    else:
        found = _sum(
            flags.filter("human"), "v", flags if len(flags) else graded.with_columns(v=pl.col("w"))
        )
        row |= {"verified": found.estimate, "verified_low": found.low, "verified_high": found.high}
    if blind:
        refused["bound"] = f"{blind}: nothing bounds what the grader missed"
    elif "verified" not in refused:
        row["bound"] = _sum(known.filter("human"), "v", known).high
    positives = known.filter("human")
    if "verified" in refused:
        refused["corrected"] = refused["verified"]
    elif positives.height < LEAST_POSITIVES:
        refused["corrected"] = (
            f"{positives.height} known positives; a sensitivity needs {LEAST_POSITIVES}"
        )
    elif blind:
        refused["corrected"] = f"{blind}: the sensitivity is unknown"
    else:
        total, squares = float(positives["v"].sum()), float((positives["v"] ** 2).sum())
        effective, sensitivity = (
            total**2 / squares,
            float(positives.filter("label")["v"].sum()) / total,
        )
        confirmed = flags.filter("human")
        sums = (
            intervals.moments(
                np.ones(len(confirmed)), confirmed["v"].to_numpy(), None, _largest(flags, "v")
            )
            if len(confirmed)
            else None
        )
        if sums is None or sensitivity == 0:
            refused["corrected"] = "the grader found none of the known positives"
        else:
            melded = judge.melded(sums, sensitivity * effective, effective)
            row |= {
                "corrected": float(melded.estimate),
                "corrected_low": float(melded.low),
                "corrected_high": float(melded.high),
            }
    wrong = known.filter(pl.col("human") != pl.col("label"))
    effective_errors = judge.effective_errors(wrong["v"].to_numpy())
    if blind or "verified" in refused:
        refused["ppi"] = refused.get("verified") or str(blind)
    elif min(effective_errors, wrong.height) < LEAST_ERRORS:
        refused["ppi"] = (
            f"{wrong.height} grader errors among the labels, {effective_errors:.1f} after"
            f" weighting; below {LEAST_ERRORS} its interval is over-optimistic"
        )
    elif (
        missed := judge.effective_errors(wrong.filter(~pl.col("label"))["v"].to_numpy())
    ) < LEAST_ERRORS:  # false flags alone say little about what was missed
        refused["ppi"] = (
            f"{missed:.1f} missed occurrences among the labels, after weighting; below"
            f" {LEAST_ERRORS} its interval is over-optimistic"
        )
    else:
        powered = _powered(graded, known)
        row |= {
            "ppi": float(powered.estimate),
            "ppi_low": float(powered.low),
            "ppi_high": float(powered.high),
        }
    confirmed_share = (
        float(flags.filter("human")["v"].sum()) / float(flags["v"].sum()) if len(flags) else 0.0
    )
    limited = (
        judge.judge_limited(
            confirmed_share * n_flags,
            n_flags,
            (1 - confirmed_share) * n_flags / max(graded.height, 1),
            graded.height,
        )
        if n_flags
        else False
    )
    row["status"] = (
        "judge-limited"
        if limited
        else "trusted"
        if "corrected" not in refused
        else f"verified only: {refused['corrected']}"
    )
    row["refused"] = json.dumps(refused, sort_keys=True)
    return row


def _labelled(graded: pl.DataFrame, drawn: pl.DataFrame) -> pl.DataFrame:
    """Labelled outcomes with `v`, the weight that each stands for. A drawn outcome that nobody
    labelled counts as not drawn: the others of its stratum stand for it too.
    """
    known = drawn.filter(pl.col("human").is_not_null()).join(
        drawn.group_by("group").agg(all=pl.col("v").sum()), on="group", maintain_order="left"
    )
    known = known.with_columns(v=pl.col("v") * pl.col("all") / pl.col("v").sum().over("group"))
    known = known.join(
        graded.group_by("label").agg(whole=pl.col("w").sum()), on="label", maintain_order="left"
    )
    return known.with_columns(v=pl.col("v") * pl.col("whole") / pl.col("v").sum().over("label"))


def _powered(graded: pl.DataFrame, known: pl.DataFrame) -> Any:
    """The prediction-powered rate; the label itself stands in for the score where some outcome has
    none.
    """
    rows = graded.join(
        known.select("place", "v", "group"), on="place", how="left", maintain_order="left"
    )
    score = pl.col("score") if rows["score"].null_count() == 0 else pl.col("label").cast(pl.Float64)
    rows = rows.select(
        "w",
        f=score,
        p=(pl.col("w") / pl.col("v")).clip(0, 1),
        y=pl.when(pl.col("v").is_not_null())
        .then(pl.col("human").cast(pl.Float64))
        .fill_null(np.nan),
        cell=pl.col("group").fill_null("").rank("dense"),
    )
    w, f, p, y, cells = (rows[name].to_numpy() for name in ("w", "f", "p", "y", "cell"))
    return judge.two_phase_powered(w, f, p, y, cells)


CELLS = (("tp", True, True), ("fp", False, True), ("fn", True, False), ("tn", False, False))


def _sum(events: pl.DataFrame, weight: str, everything: pl.DataFrame) -> Any:
    """Fay-Feuer interval of a sum of weights; `everything` gives the largest weight that an unseen
    event could have.
    """
    largest = _largest(everything, weight)
    if events.is_empty():
        return intervals.gamma_limits(intervals.moments([0.0], [largest], None, largest))
    return intervals.gamma_limits(
        intervals.moments(np.ones(events.height), events[weight].to_numpy(), None, largest)
    )


def _largest(rows: pl.DataFrame, weight: str) -> float:
    return max(rows[weight].to_list(), default=1.0)


def warehouse_of(home: Home) -> DuckDBFile:
    """The home's warehouse."""
    return DuckDBFile(home.warehouse, lock_wait_seconds())


def _verdict(item: GradedItem, behavior: Behavior, graders: Sequence[Any]) -> Verdict:
    return (
        verdict(item, graders)
        if holds(behavior.applies_to, item.metadata)
        else Verdict(None, "not_applicable")
    )


def _stored_verdicts(
    home: Home, behavior: Behavior, labels: Sequence[HumanLabel], file: str
) -> dict[str, Verdict]:
    if not labels:
        return {}
    warehouse = warehouse_of(home)
    drawn = {
        row["item_id"]: row
        for row in warehouse.read(LabelDraws, {"behavior": behavior.id}).to_dicts()
    }
    unknown = [one for one in labels if one.item_id not in drawn]
    if unknown:
        raise BadInputError(
            f"{file}: {len(unknown)} rows have neither a response nor the item id of an export for"
            f" {behavior.id}: {_places(unknown)}"
        )
    with warehouse.reading() as tx:
        rows = tx.query(
            """select d.item_id, s.label, s.missing_reason, s.score, s.grader_hash = d.grader_hash as is_same from label_draws d
               join classifier_scores s using (model_version, behavior, arm, prefix_id, k) where d.behavior = $behavior""",
            {"behavior": behavior.id},
        ).to_dicts()
    found = {row["item_id"]: row for row in rows}
    foreign = [
        one
        for one in labels
        if one.item_id not in found
        or not found[one.item_id]["is_same"]
        or (one.grader_hash and one.grader_hash != drawn[one.item_id]["grader_hash"])
    ]
    if foreign:
        raise BadInputError(
            f"{file}: {len(foreign)} labels belong to other graders of {behavior.id} than those"
            f" whose scores are stored: {_places(foreign)}; export again"
        )
    return {
        one.item_id: Verdict(
            found[one.item_id]["label"],
            found[one.item_id]["missing_reason"],
            found[one.item_id]["score"],
        )
        for one in labels
    }


def _places(labels: Sequence[HumanLabel]) -> str:
    return ", ".join(one.place for one in labels[:SHOWN]) + (
        f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    )
