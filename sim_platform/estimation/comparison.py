"""Rates of one release per behaviour and arm, and the candidate against the other arms on the same prefixes.

Belongs here: from counted labels and the design to the rows of `rate_comparison`. Does not: the formulas (intervals, paired), verdicts (gates), the counting (design says
how, the warehouse does it).

How a rate is made. The unit is a prefix; its value is the share of its labelled repeats that show the behaviour. Within a stratum the design weight of all eligible
prefixes is spread over the labelled ones (labels missing at random within a stratum); a stratum without any label drops out and the others carry its share. The
clusters are users. The pseudo-event of the interval weighs as much as the heaviest prefix, repeats or not: with no event in sight nothing says that repeats differ.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.outcomes import ARMS
from sim_platform.contracts.tables import RateComparison, frame
from sim_platform.estimation import intervals, multiplicity, paired
from sim_platform.estimation.design import Design

VERSION = "2"
GATE_CONF = 0.90  # two-sided: one-sided 5 % on the side that decides

Row = dict[str, object]


@dataclass(frozen=True)
class LabelCounts:
    """One behaviour's labels: the result of `design.LABEL_COUNTS`."""

    behavior: str
    counts: pl.DataFrame


def compare(
    labels: Iterable[LabelCounts], design: Design, *, release: str, replaces: str, undesired: Mapping[str, str], measures: str, conf: float = 0.95
) -> pl.DataFrame:  # fmt: skip
    """One row per behaviour and arm that occur in `labels`, sorted.

    `n`, `n_missing` and `events` count outcomes. `n_effective` is total / variance of the weighted sum; without events, what the weights alone leave (Kish).
    `floor` is the detection floor at Kish's size over the design effect. Ratios and differences stand on the candidate's row and are over prefixes that both arms have
    labels for; where neither arm showed the behaviour on them the ratio is null with limits (0, inf); where only one did, the ratio is made with half an event
    added on both sides. `p_*` are McNemar mid-P on effective counts, `p_*_holm` and `p_*_bh` adjusted over the behaviours. Without labels every estimate is null.

    Args:
        labels: one item a behaviour, taken one at a time, so that memory does not grow with the number of behaviours.
        design: the release's sample.
        release: candidate release. replaces: version in production.
        undesired: behaviour id to the direction in which a change is undesired; names every behaviour in `labels`.
        measures: model or system.
        conf: two-sided confidence in (0, 1).

    Returns:
        Rows of `rate_comparison`; no NaN, high limits may be infinite.

    Raises:
        SimPlatformError: repeated scores, scores of prefixes that the sample does not hold, behaviours that are not registered.
    """
    rows: list[Row] = []
    for item in labels:
        if item.behavior not in undesired:
            raise SimPlatformError(f"{release}: scores of behaviours that are not registered: {item.behavior}; add them to behaviors/ or grade again")
        counts = _checked(item, release).join(design.prefixes.select("code", "cluster"), on="code", how="left", maintain_order="left")
        # A row without code stands for prefixes that are clusters of their own.
        counts = counts.with_columns(pl.coalesce(pl.col("cluster").cast(pl.Int64), -1 - pl.int_range(pl.len())))
        for arm in (arm for arm in ARMS if counts[f"{arm}_rows"].sum()):
            row: Row = {"model_version": release, "replaces": replaces, "behavior": item.behavior, "undesired": undesired[item.behavior], "arm": arm}
            row |= {"measures": measures, "estimator_version": VERSION} | _rate(counts, arm, conf)
            if arm == "candidate":
                row |= _against(counts, "control", ("ratio_to_control", "ratio", "difference_to_control"), conf)
                row |= _against(counts, "recorded", ("ratio_to_recorded", "ratio_to_recorded", "difference_to_recorded"), conf)
            rows.append(row)
    for p in ("p_control", "p_recorded"):
        tested = [row for row in rows if row.get(p) is not None]
        values = [float(str(row[p])) for row in tested]
        for row, holm, bh in zip(tested, multiplicity.holm(values), multiplicity.bh(values), strict=True):
            row |= {f"{p}_holm": float(holm), f"{p}_bh": float(bh)}
    columns = RateComparison.to_schema().columns
    rows.sort(key=lambda row: (str(row["behavior"]), ARMS.index(row["arm"])))
    return frame(RateComparison, [{name: row.get(name) for name in columns} for row in rows])


def _rate(counts: pl.DataFrame, arm: str, conf: float) -> Row:
    times = pl.col("prefixes")
    mine = counts.filter(pl.col(f"{arm}_rows") > 0).with_columns(share=pl.col(f"{arm}_events") / pl.when(pl.col(f"{arm}_n") > 0).then(pl.col(f"{arm}_n")))
    eligible = mine.filter(f"{arm}_applies")
    row: Row = {name: int((eligible[f"{arm}_{part}"] * eligible["prefixes"]).sum()) for name, part in (("n", "n"), ("n_missing", "missing"), ("events", "events"))}
    whole = mine.select((pl.col("weight") * times).sum()).item()
    row["eligible_share"] = min(1.0, float(eligible.select((pl.col("weight") * times).sum()).item()) / whole)
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
    kish = 1 / float((observed["prefixes"].to_numpy() * weights**2).sum())
    # Limits of a Poisson sum may pass 1; a rate cannot, so cutting there keeps the coverage.
    row |= {"rate": gate.estimate, "low": min(gate.low, 1.0), "high": min(gate.high, 1.0), "low_midp": min(display.low, 1.0), "high_midp": min(display.high, 1.0)}
    row["n_effective"] = float(sums.total / sums.variance) if sums.total > 0 else kish
    row["floor"] = intervals.detection_floor(kish / float(sums.design_effect))
    return row


def _against(counts: pl.DataFrame, arm: str, names: tuple[str, str, str], conf: float) -> Row:
    """Paired ratio, difference and test. With repeats a prefix has every pair of repeats, averaged, so that their numbering does not matter."""
    both = counts.filter(pl.col("candidate_applies")).with_columns(
        share=pl.col("candidate_events") / pl.col("candidate_n"), other_share=pl.col(f"{arm}_events") / pl.col(f"{arm}_n")
    )
    shared = _weighed(both, pl.col(f"{arm}_applies") & (pl.col("candidate_n") > 0) & (pl.col(f"{arm}_n") > 0))
    if shared.is_empty():
        return {}
    first, second, weights, clusters, times = (shared[name].to_numpy() for name in ("share", "other_share", "w", "cluster", "prefixes"))
    a, b, c = first * second, first * (1 - second), (1 - first) * second
    seen = (first > 0) | (second > 0)  # the others only matter to the difference, and to the largest weight
    events = (a[seen], b[seen], c[seen], weights[seen])
    cells = paired.effective_cells(*events, clusters[seen])
    ratio, difference = paired.ratio(cells.a, cells.b, cells.c, conf), paired.weighted_difference(b, c, weights, conf, clusters, times)
    gate = paired.gate_ratio(*events, conf=GATE_CONF, clusters=clusters[seen], w_max=float(weights.max())) if seen.any() else ratio
    point, ratio_limits, difference_name = names
    return {
        point: ratio.estimate if seen.any() else None,
        f"{ratio_limits}_low": ratio.low,
        f"{ratio_limits}_high": ratio.high,
        f"gate_{arm}_low": gate.low,
        f"gate_{arm}_high": gate.high,
        f"p_{arm}": paired.mcnemar(cells.b, cells.c),
        difference_name: difference.estimate,
        f"{difference_name}_low": difference.low,
        f"{difference_name}_high": difference.high,
    }


def _weighed(eligible: pl.DataFrame, observed: pl.Expr) -> pl.DataFrame:
    """The observed rows with `w`, the weight of one prefix: their stratum's whole eligible weight spread over them in proportion to their design weights; over all
    prefixes `w` adds up to 1."""
    mass = pl.col("weight") * pl.col("prefixes")
    seen = eligible.with_columns(whole=mass.sum().over("stratum")).filter(observed)
    spread = seen.with_columns(w=pl.col("weight") * (pl.col("whole") / mass.sum().over("stratum")))
    return spread.with_columns(pl.col("w") / (pl.col("w") * pl.col("prefixes")).sum())


def _checked(item: LabelCounts, release: str) -> pl.DataFrame:
    strangers = item.counts.filter(pl.col("weight").is_null())
    if len(strangers):
        n = int(strangers.select(pl.sum_horizontal(f"{arm}_rows" for arm in ARMS).sum()).item())
        raise SimPlatformError(f"{release}: {n} scores of {item.behavior} are of prefixes that the sample does not hold; grade again")
    repeated = item.counts.filter(pl.any_horizontal(f"{arm}_repeated" for arm in ARMS))
    if len(repeated):
        raise SimPlatformError(
            f"{release}: {int(repeated['prefixes'].sum())} prefixes have scores of {item.behavior} that share their key (behaviour, arm, prefix, repeat), or repeats that are not numbered from 0; grade again"
        )
    return item.counts
