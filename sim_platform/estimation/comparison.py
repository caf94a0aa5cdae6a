"""Rates of one release per behaviour and arm, and the candidate against the other arms on the same prefixes.

Belongs here: from scores and design to the rows of `rate_comparison`. Does not: the formulas (intervals, paired), adjusted p-values and verdicts (gates).

How a rate is made. The unit is a prefix; its value is the share of its labelled repeats that show the behaviour. Within a stratum the design weight of all eligible
prefixes is spread over the labelled ones (labels missing at random within a stratum); a stratum without any label drops out and the others carry its share. The
clusters are users. The pseudo-event of the interval weighs as much as the heaviest prefix, repeats or not: with no event in sight nothing says that repeats differ.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.outcomes import ARMS
from sim_platform.contracts.tables import ClassifierScores, RateComparison, frame
from sim_platform.estimation import intervals, paired

VERSION = "1"

Row = dict[str, object]


def compare(scores: pl.DataFrame, design: pl.DataFrame, *, release: str, replaces: str, undesired: Mapping[str, str], measures: str, conf: float = 0.95) -> pl.DataFrame:
    """One row per behaviour and arm that occur in `scores`, sorted.

    `n`, `n_missing` and `events` count outcomes. `n_effective` is total / variance of the weighted sum; without events, what the weights alone leave (Kish).
    `floor` is the detection floor at Kish's size over the design effect. Ratios and differences stand on the candidate's row and are over prefixes that both arms have
    labels for; where neither arm showed the behaviour on them the ratio is null with limits (0, inf); where only one did, the ratio is made with half an event
    added on both sides. Without labels every estimate is null.

    Args:
        scores: rows of `classifier_scores` of this release, all arms.
        design: prefix_id, stratum, weight, user_key of the release's `stratified_sample`; other columns are ignored.
        release: candidate release. replaces: version in production.
        undesired: behaviour id to the direction in which a change is undesired; names every behaviour in `scores`.
        measures: model or system.
        conf: two-sided confidence in (0, 1).

    Returns:
        Rows of `rate_comparison`; no NaN, high limits may be infinite.

    Raises:
        SimPlatformError: repeated keys, scores of another release, prefixes without design, unusable weights, behaviours not registered, with counts and ids.
    """
    _refuse_what_does_not_fit(scores, design, release, undesired)
    user = pl.coalesce("user_key", "prefix_id").rank("dense").alias("cluster")
    values = (
        scores.group_by("behavior", "arm", "prefix_id")
        .agg(
            applies=pl.col("applies").any(),
            n=(pl.col("applies") & pl.col("label").is_not_null()).sum(),
            n_missing=(pl.col("applies") & pl.col("label").is_null()).sum(),
            events=(pl.col("applies") & pl.col("label")).sum(),
        )
        .join(design.select("prefix_id", "stratum", "weight", user), on="prefix_id")
        .with_columns(share=pl.when(pl.col("n") > 0).then(pl.col("events") / pl.col("n")))
        .sort("behavior", "arm", "prefix_id")
    )
    cells = {(str(behavior), str(arm)): cell for (behavior, arm), cell in values.partition_by("behavior", "arm", as_dict=True, maintain_order=True).items()}
    rows: list[Row] = []
    for behavior in sorted({behavior for behavior, _ in cells}):
        for arm in (arm for arm in ARMS if (behavior, arm) in cells):
            row: Row = {"model_version": release, "replaces": replaces, "behavior": behavior, "undesired": undesired[behavior], "arm": arm}
            row |= {"measures": measures, "estimator_version": VERSION} | _rate(cells[behavior, arm], conf)
            if arm == "candidate":
                row |= _against(cells[behavior, arm], cells.get((behavior, "control")), ("ratio_to_control", "ratio", "difference_to_control"), conf)
                row |= _against(cells[behavior, arm], cells.get((behavior, "recorded")), ("ratio_to_recorded", "ratio_to_recorded", "difference_to_recorded"), conf)
            rows.append(row)
    columns = RateComparison.to_schema().columns
    return frame(RateComparison, [{name: row.get(name) for name in columns} for row in rows])


def _rate(cell: pl.DataFrame, conf: float) -> Row:
    eligible = cell.filter("applies")
    row: Row = {name: int(eligible[name].sum()) for name in ("n", "n_missing", "events")}
    row["eligible_share"] = cell.select((pl.col("weight").filter("applies").sum() / pl.col("weight").sum()).clip(0, 1)).item()
    observed = _weighed(eligible, pl.col("share").is_not_null())
    if observed.is_empty():
        return row
    weights = observed["w"].to_numpy()
    # Prefixes without events only matter through the largest weight: the sums run over the few that have one.
    seen = observed.filter(pl.col("share") > 0)
    if seen.is_empty():
        seen = observed.head(1)
    sums = intervals.moments(seen["share"].to_numpy(), seen["w"].to_numpy(), seen["cluster"].to_numpy(), float(weights.max()))
    gate, display = intervals.gamma_limits(sums, "fay-feuer", conf), intervals.gamma_limits(sums, "fay-kim", conf)
    kish = 1 / float((weights**2).sum())
    # Limits of a Poisson sum may pass 1; a rate cannot, so cutting there keeps the coverage.
    row |= {"rate": gate.estimate, "low": min(gate.low, 1.0), "high": min(gate.high, 1.0), "low_midp": min(display.low, 1.0), "high_midp": min(display.high, 1.0)}
    row["n_effective"] = float(sums.total / sums.variance) if sums.total > 0 else kish
    row["floor"] = intervals.detection_floor(kish / float(sums.design_effect))
    return row


def _against(candidate: pl.DataFrame, other: pl.DataFrame | None, names: tuple[str, str, str], conf: float) -> Row:
    """Paired ratio and difference. With repeats a prefix has every pair of repeats, averaged, so that their numbering does not matter."""
    if other is None:
        return {}
    both = candidate.filter("applies").join(other.filter("applies").select("prefix_id", other_share="share"), on="prefix_id", how="left", maintain_order="left")
    shared = _weighed(both, pl.col("share").is_not_null() & pl.col("other_share").is_not_null())
    if shared.is_empty():
        return {}
    first, second, weights, clusters = (shared[name].to_numpy() for name in ("share", "other_share", "w", "cluster"))
    a, b, c = first * second, first * (1 - second), (1 - first) * second
    ratio = paired.weighted_ratio(a, b, c, weights, conf, clusters)
    difference = paired.weighted_difference(b, c, weights, conf, clusters)
    point, ratio_limits, difference_name = names
    return {
        point: ratio.estimate if np.any(a + b + c > 0) else None,
        f"{ratio_limits}_low": ratio.low,
        f"{ratio_limits}_high": ratio.high,
        difference_name: difference.estimate,
        f"{difference_name}_low": difference.low,
        f"{difference_name}_high": difference.high,
    }


def _weighed(eligible: pl.DataFrame, observed: pl.Expr) -> pl.DataFrame:
    """The observed rows with `w`: their stratum's whole eligible weight spread over them in proportion to their design weights; adds up to 1."""
    seen = eligible.with_columns(whole=pl.col("weight").sum().over("stratum")).filter(observed)
    spread = seen.with_columns(w=pl.col("weight") * (pl.col("whole") / pl.col("weight").sum().over("stratum")))
    return spread.with_columns(pl.col("w") / pl.col("w").sum())


def _refuse_what_does_not_fit(scores: pl.DataFrame, design: pl.DataFrame, release: str, undesired: Mapping[str, str]) -> None:
    def some(values: Iterable[object]) -> str:
        names = sorted({str(v) for v in values})
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    missing = [c for c in ("model_version", "behavior", "arm", "prefix_id", "k", "applies", "label") if c not in scores.columns]
    missing += [c for c in ("prefix_id", "stratum", "weight", "user_key") if c not in design.columns]
    if missing:
        raise SimPlatformError(f"{release}: columns are missing for the comparison: {', '.join(missing)}")
    foreign = scores.filter(pl.col("model_version") != release)
    if len(foreign):
        raise SimPlatformError(f"{release}: {len(foreign)} scores belong to {some(foreign['model_version'])}; read the scores of one release")
    twice = scores.filter(scores.select(ClassifierScores.Config.metadata["key"]).is_duplicated())
    if len(twice):
        raise SimPlatformError(f"{release}: {len(twice)} scores share their key (behaviour, arm, prefix, repeat), prefixes {some(twice['prefix_id'])}")
    repeated = design.filter(pl.col("prefix_id").is_duplicated())
    if len(repeated):
        raise SimPlatformError(f"{release}: the sample has {some(repeated['prefix_id'])} more than once ({len(repeated)} rows); draw it again")
    unusable = design.filter(~pl.col("weight").is_finite().fill_null(False) | (pl.col("weight") <= 0) | pl.col("stratum").is_null())
    if len(unusable):
        raise SimPlatformError(f"{release}: {len(unusable)} sampled prefixes have no stratum or no finite positive weight: {some(unusable['prefix_id'])}")
    unknown = scores.join(design, on="prefix_id", how="anti")
    if len(unknown):
        raise SimPlatformError(f"{release}: {len(unknown)} scores are of prefixes that the sample does not hold: {some(unknown['prefix_id'])}; grade again")
    unregistered = scores.filter(~pl.col("behavior").is_in(list(undesired)))
    if len(unregistered):
        raise SimPlatformError(f"{release}: scores of behaviours that are not registered: {some(unregistered['behavior'])}; add them to behaviors/ or grade again")
