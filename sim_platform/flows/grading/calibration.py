"""Graders against people's labels, and the rates that follow.

Belongs here: the walk between stored scores, labels and the estimators. Does not: counting
(grading.calibration), formulas (estimation).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.tables.grading import (
    Calibration,
    ClassifierScores,
    HumanLabels,
    LabelDraws,
)
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import frame
from sim_platform.estimation import corrected, intervals
from sim_platform.estimation.corrected import LabelledArm
from sim_platform.estimation.design import DESIGN, design_of
from sim_platform.estimation.four_rates import four_rates, labelled_arm
from sim_platform.flows.files import warehouse_of
from sim_platform.flows.grading.asking import Asking
from sim_platform.flows.grading.labels import behavior_of, places
from sim_platform.grading import calibration, classifier
from sim_platform.grading.calibration import Confusion, Graded
from sim_platform.grading.items import GradedItem, Verdict
from sim_platform.grading.labels import Columns, HumanLabel, agreement, one_per_item, read_labels
from sim_platform.grading.rules import graders_of
from sim_platform.grading.scores import grader_hash, verdict
from sim_platform.registry.behaviors import Behavior, ClassifierGrader
from sim_platform.registry.home import Home
from sim_platform.registry.schema import holds
from sim_platform.warehouse.duckdb_file import DuckDBFile


def calibrate(
    home: Home, behavior_id: str, file: Path, columns: Columns, earlier: Path | None = None
) -> dict[str, Any]:
    """The grader of one behaviour against the labels of a file: counts and shares with exact 95 %
    limits, and (under `detail`) everything else.

    Rows with a response are graded here (a judge is asked what it was not asked before); rows with
    an item id of `labels export` are looked up. `earlier`: labels of an earlier release, with which
    precision, recall and specificity are compared. `trained_on`: labelled items that a trained
    grader of the behaviour has learnt from.
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


def calibrate_release(home: Home, release: str) -> pl.DataFrame:
    """Rows of `calibration`: every behaviour and arm of the release with people's labels."""
    mine = {"model_version": release}
    rows: list[dict[str, object]] = []
    for behavior, arms in _labelled_outcomes(warehouse_of(home), release):
        known = {arm: labelled_arm(outcomes) for arm, outcomes in arms.items()}
        first = known.get("candidate")
        differ = {
            arm: said
            for arm, other in known.items()
            if first and arm != "candidate" and (said := corrected.difference(first, other, arm))
        }
        for arm, outcomes in arms.items():
            row = {**mine, "behavior": behavior, "arm": arm, **four_rates(outcomes)}
            if first and arm != "candidate":
                row["p_sensitivity"] = corrected.same_sensitivity(first, known[arm])
                row["p_specificity"] = corrected.same_specificity(first, known[arm])
            unlike = differ.values() if arm == "candidate" else [differ.get(arm, "")]
            if row["status"] == "trusted" and any(unlike):
                row["status"] = f"not the same in both arms: {'; '.join(unlike)}"
            rows.append(row)
    return frame(Calibration, sorted(rows, key=lambda row: (str(row["behavior"]), str(row["arm"]))))


def labelled_arms(
    warehouse: DuckDBFile, release: str, conf: float
) -> dict[str, dict[str, LabelledArm]]:
    """What people's labels say of the graders, by behaviour and arm, of those that have labels;
    `conf`: two-sided confidence of its limits.
    """
    return {
        behavior: {arm: labelled_arm(outcomes, conf) for arm, outcomes in arms.items()}
        for behavior, arms in _labelled_outcomes(warehouse, release)
    }


def _labelled_outcomes(
    warehouse: DuckDBFile, release: str
) -> Iterator[tuple[str, dict[str, pl.DataFrame]]]:
    """Behaviours with people's labels, one at a time (all scores are too many): by labelled arm,
    its eligible outcomes with the design of their prefixes.
    """
    mine = {"model_version": release}
    labels = warehouse.read(HumanLabels, mine)
    if labels.is_empty():
        return
    design = design_of(warehouse.read(StratifiedSample, mine, columns=DESIGN), release).prefixes
    yes, no = pl.col("label").sum(), (~pl.col("label")).sum()
    said = labels.group_by("behavior", "item_id").agg(human=pl.when(yes != no).then(yes > no))
    place = ["behavior", "arm", "prefix_id", "k"]
    draws = warehouse.read(LabelDraws, mine).join(said, on=["behavior", "item_id"], how="left")
    draws = draws.select(*place, "label_probability", "label_stratum", "human")
    for behavior in sorted(labels["behavior"].unique()):
        scored = warehouse.read(
            ClassifierScores, {**mine, "behavior": behavior}, columns=[*place, "applies", "label"]
        )
        joined = (
            scored.filter("applies")
            .join(design, on="prefix_id")
            .join(draws, on=place, how="left")
            .filter(pl.col("human").is_not_null().any().over("arm"))
        )
        if len(joined):
            yield behavior, {str(arm): cell for (arm,), cell in joined.group_by(["arm"])}


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
            f" {behavior.id}: {places(unknown)}"
        )
    with warehouse.reading() as tx:
        rows = tx.query(
            """select d.item_id, s.label, s.missing_reason, s.score, s.grader_hash = d.grader_hash
              as is_same from label_draws d
               join classifier_scores s using (model_version, behavior, arm, prefix_id, k)
                 where d.behavior = $behavior""",
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
            f" whose scores are stored: {places(foreign)}; export again"
        )
    return {
        one.item_id: Verdict(
            found[one.item_id]["label"],
            found[one.item_id]["missing_reason"],
            found[one.item_id]["score"],
        )
        for one in labels
    }
