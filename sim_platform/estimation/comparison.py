"""Rates of one release per behaviour and arm, the candidate against the other arms on the same
prefixes, and the control arm against what it regenerates.

Belongs here: from counted labels and the design to the rows of `rate_comparison`. Does not:
the formulas (rates, paired), verdicts (gates), the counting (design says how, the
warehouse does it).

How a rate is made. The unit is a prefix; its value is the share of its labelled repeats that show
the behaviour. Within a stratum the design weight of all eligible prefixes is spread over the
labelled ones (labels missing at random within a stratum); a stratum without any label drops out and
the others carry its share. The clusters are users; how far they hang together is seen around what
the other users show. The pseudo-event of the interval weighs as much as the heaviest prefix,
repeats or not: with no event in sight nothing says that repeats differ.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.outcomes import ARMS
from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.contracts.tables.schema import frame
from sim_platform.estimation import intervals, multiplicity, paired, rates, ratio
from sim_platform.estimation.design import Design, LabelCounts
from sim_platform.estimation.intervals import Array
from sim_platform.estimation.missing import (
    WORST,
    Hidden,
    difference_limits,
    rate_limits,
    ratio_limits,
)
from sim_platform.estimation.verdict import ALPHA
from sim_platform.estimation.version import VERSION
from sim_platform.registry.behaviors import GateRule

OTHER_ARMS = {
    "control": ("ratio_to_control", "ratio", "difference_to_control"),
    "recorded": ("ratio_to_recorded", "ratio_to_recorded", "difference_to_recorded"),
}
GATE_CONF = 1 - 2 * ALPHA  # two-sided: one-sided 5 % on the side that decides

Row = dict[str, object]


def compare(
    labels: Iterable[LabelCounts],
    design: Design,
    *,
    release: str,
    replaces: str,
    undesired: Mapping[str, str],
    measures: str,
    rules: Mapping[str, GateRule] | None = None,
    level: float = ALPHA,
    conf: float = 0.95,
) -> pl.DataFrame:
    """One row per behaviour and arm that occur in `labels`, sorted.

    `n`, `n_missing` and `events` count outcomes. `n_effective` is the size of the simple sample
    with the same variance; where all outcomes agree, what the weights alone leave (Kish). `floor`
    is the detection floor at Kish's size over the design effect. Ratios and differences stand on
    the row of their first arm (the control arm is compared with the recorded one) and are over
    prefixes that both arms have labels for; where neither arm showed the behaviour on them the
    ratio is null with limits (0, inf); where only one did, the ratio is made with half an event
    added on both sides. `gate_*` are limits for decisions: they hold whatever the missing outcomes
    would have shown; `answered_*` are the same limits of the answered outcomes alone, and
    `missing_share` what lies between them (missing). `p_block_*` and `p_ceiling` hold while missing
    outcomes stay within what the behaviour's rule registers. `p_control` and `p_recorded` are
    McNemar mid-P on effective counts, `_holm` and `_bh` adjusted over the behaviours of one arm.
    Without labels every estimate is null.

    Args:
        labels: one item a behaviour, taken one at a time, so that memory does not grow with the
            number of behaviours.
        design: the release's sample.
        release: candidate release. replaces: version in production.
        undesired: behaviour id to the direction in which a change is undesired; names every
            behaviour in `labels`.
        measures: model or system.
        rules: behaviour id to its registered rule; a rule without any setting where a behaviour is
            not named.
        level: one-sided error of the limits for decisions; smaller where a run looks several times
            (sequential).
        conf: two-sided confidence in (0, 1).

    Returns:
        Rows of `rate_comparison`; no NaN, high limits may be infinite.

    Raises:
        SimPlatformError: repeated scores, scores of prefixes that the sample does not hold,
            behaviours that are not registered.
    """
    rows: list[Row] = []
    for item in labels:
        if item.behavior not in undesired:
            raise SimPlatformError(
                f"{release}: scores of behaviours that are not registered: {item.behavior}; add"
                " them to behaviors/ or grade again"
            )
        counts = _checked(item, release)
        # A code is a prefix's place in the design. A row without one stands for prefixes that are
        # clusters of their own.
        cluster = design.prefixes["cluster"].gather(counts["code"]).cast(pl.Int64)
        counts = counts.with_columns(cluster=pl.coalesce(cluster, -1 - pl.int_range(pl.len())))
        for arm in (arm for arm in ARMS if counts[f"{arm}_rows"].sum()):
            row: Row = {
                "model_version": release,
                "replaces": replaces,
                "behavior": item.behavior,
                "undesired": undesired[item.behavior],
                "arm": arm,
            }
            row |= {"measures": measures, "estimator_version": VERSION} | _rate(counts, arm, conf)
            rule = (rules or {}).get(item.behavior, GateRule()).with_numbers()
            row["gate_level"] = level
            if row.get("rate") is not None:
                row |= _rate_for_decisions(counts, arm, rule, level)
            if arm == "candidate":
                for other, names in OTHER_ARMS.items():
                    row |= _against(counts, arm, other, names, conf) | _for_decisions(
                        counts, other, undesired[item.behavior], rule, level
                    )
            if arm == "control":
                row |= _against(counts, arm, "recorded", OTHER_ARMS["recorded"], conf)
            rows.append(row)
    for arm in ("candidate", "control"):
        for p in ("p_control", "p_recorded"):
            _adjust([row for row in rows if row["arm"] == arm], p)
    columns = RateComparison.to_schema().columns
    rows.sort(key=lambda row: (str(row["behavior"]), ARMS.index(row["arm"])))
    return frame(RateComparison, [{name: row.get(name) for name in columns} for row in rows])


def against_production(
    rates: pl.DataFrame, production: pl.DataFrame, conf: float = 0.95
) -> pl.DataFrame:
    """`rates` with the candidate's ratio to production: two independent samples, on
    effective counts.

    The paired ratios isolate the model; this one mixes in window and simulator, and their gap is
    what the simulation does not reproduce.

    Args:
        rates: rows of `rate_comparison`. production: behavior, x (events), v (sum of squared events
            per user), n (messages), of the version in service's log.
    """
    known = {row["behavior"]: row for row in production.to_dicts() if row["n"]}
    rows = []
    for row in rates.to_dicts():
        log = known.get(row["behavior"])
        if row["arm"] == "candidate" and row["rate"] is not None and log:
            effect = max(1.0, log["v"] / log["x"]) if log["x"] else 1.0
            found = ratio.poisson(
                row["rate"] * row["n_effective"],
                row["n_effective"],
                log["x"] / effect,
                log["n"] / effect,
                conf,
                "midp",
            )
            seen = row["rate"] > 0 or log["x"] > 0
            row |= {
                "ratio_to_production": found.estimate if seen else None,
                "ratio_to_production_low": found.low,
                "ratio_to_production_high": found.high,
            }
            row["p_production"] = float(
                ratio.poisson_test(
                    row["rate"] * row["n_effective"],
                    row["n_effective"],
                    log["x"] / effect,
                    log["n"] / effect,
                )
            )
        rows.append(row)
    _adjust(rows, "p_production")
    return frame(RateComparison, rows)


def spread(prefixes: pl.DataFrame) -> pl.DataFrame:
    """One arm's eligible prefixes that have a label, with `w`, the share of all messages that each
    stands for, as every rate of a comparison weighs them.

    Args:
        prefixes: one a row: `stratum`, design `weight`, `n` (labels).
    """
    return _weighed(prefixes.with_columns(prefixes=pl.lit(1)), pl.col("n") > 0)


def rate_of(rows: pl.DataFrame, conf: float = 0.95) -> intervals.Interval:
    """The rate of weighed rows with the limits that a comparison would give it.

    Args:
        rows: `w` (share of all messages), `stratum`, `cluster`, `n` (labels), `events` (of these).
    """
    found = _rate(
        rows.select(
            "stratum",
            pl.col("w").alias("weight"),
            "cluster",
            pl.lit(1).alias("prefixes"),
            pl.lit(1).alias("recorded_rows"),
            pl.lit(True).alias("recorded_applies"),
            pl.lit(0).alias("recorded_missing"),
            pl.col("n").alias("recorded_n"),
            pl.col("events").alias("recorded_events"),
        ),
        "recorded",
        conf,
    )
    estimate, low, high = (float(str(found[name])) for name in ("rate", "low", "high"))
    return intervals.Interval(estimate, low, high)


def _adjust(rows: list[Row], p: str) -> None:
    """Adds the p-value adjusted over the behaviours that have one."""
    tested = [row for row in rows if row.get(p) is not None]
    values = [float(str(row[p])) for row in tested]
    for row, holm, bh in zip(
        tested, multiplicity.holm(values), multiplicity.bh(values), strict=True
    ):
        row |= {f"{p}_holm": float(holm), f"{p}_bh": float(bh)}


def _rate(counts: pl.DataFrame, arm: str, conf: float) -> Row:
    times = pl.col("prefixes")
    mine = counts.filter(pl.col(f"{arm}_rows") > 0).with_columns(
        share=pl.col(f"{arm}_events") / pl.when(pl.col(f"{arm}_n") > 0).then(pl.col(f"{arm}_n"))
    )
    eligible = mine.filter(f"{arm}_applies")
    row: Row = {
        name: int((eligible[f"{arm}_{part}"] * eligible["prefixes"]).sum())
        for name, part in (("n", "n"), ("n_missing", "missing"), ("events", "events"))
    }
    whole = mine.select((pl.col("weight") * times).sum()).item()
    row["eligible_share"] = min(
        1.0, float(eligible.select((pl.col("weight") * times).sum()).item()) / whole
    )
    observed = _weighed(eligible, pl.col("share").is_not_null())
    if observed.is_empty():
        return row
    found = _share(observed, pl.col("share"), arm)
    gate, display = (rates.limits(found, "fay-feuer", conf), rates.limits(found, "fay-kim", conf))
    row |= {
        "rate": gate.estimate,
        "low": gate.low,
        "high": gate.high,
        "low_midp": display.low,
        "high_midp": display.high,
        "n_effective": float(found.n_effective),
        "floor": intervals.detection_floor(found.kish),
    }
    return row


def _share(observed: pl.DataFrame, outcome: pl.Expr, arm: str) -> rates.Share:
    return rates.share(
        observed.select(outcome).to_series().to_numpy(),
        observed["w"].to_numpy(),
        observed["cluster"].to_numpy(),
        observed["stratum"].to_numpy(),
        observed["prefixes"].to_numpy(),
        int(observed.select(pl.max(f"{arm}_n")).item()),
    )


def _pairs(counts: pl.DataFrame, first: str, other: str) -> pl.DataFrame:
    """Rows for which both arms have labels: the share of each, `w`, and whether any
    event is in sight.
    """
    both = counts.filter(pl.col(f"{first}_applies")).with_columns(
        share=pl.col(f"{first}_events") / pl.col(f"{first}_n"),
        other_share=pl.col(f"{other}_events") / pl.col(f"{other}_n"),
    )
    shared = _weighed(
        both, pl.col(f"{other}_applies") & (pl.col(f"{first}_n") > 0) & (pl.col(f"{other}_n") > 0)
    )
    return shared.with_columns(seen=(pl.col("share") > 0) | (pl.col("other_share") > 0))


def _cells(pairs: pl.DataFrame) -> tuple[Array, Array, Array]:
    """a, b and c per row. With repeats a prefix has every pair of repeats, averaged, so that their
    numbering does not matter.
    """
    first, second = pairs["share"].to_numpy(), pairs["other_share"].to_numpy()
    return first * second, first * (1 - second), (1 - first) * second


def _against(
    counts: pl.DataFrame, first: str, other: str, names: tuple[str, str, str], conf: float
) -> Row:
    """Paired ratio, difference and test."""
    pairs = _pairs(counts, first, other)
    if pairs.is_empty():
        return {}
    _, b, c = _cells(pairs)
    difference = paired.weighted_difference(
        b, c, pairs["w"].to_numpy(), conf, pairs["cluster"].to_numpy(), pairs["prefixes"].to_numpy()
    )
    events = pairs.filter("seen")  # the others only matter to the difference
    cells = paired.effective_cells(
        *_cells(events), events["w"].to_numpy(), events["cluster"].to_numpy(), conf
    )
    found = paired.ratio(cells.a, cells.b, cells.c, conf)
    point, ratio_limits, difference_name = names
    return {
        point: found.estimate if len(events) else None,
        f"{ratio_limits}_low": found.low,
        f"{ratio_limits}_high": found.high,
        f"p_{other}": paired.mcnemar(cells.b, cells.c),
        difference_name: difference.estimate,
        f"{difference_name}_low": difference.low,
        f"{difference_name}_high": difference.high,
    }


def _rate_for_decisions(counts: pl.DataFrame, arm: str, rule: GateRule, level: float) -> Row:
    """Limits of the answered rate, what its missing outcomes may hide, and for the candidate the
    limits at their best and worst and the one-sided p that its rate is not above the ceiling.
    """
    answered, hidden = _limits_of_rate(counts, arm), _hidden(counts, arm)
    conf = 1 - 2 * level
    low, high = _both(answered(conf))
    row: Row = {
        "missing_share": hidden.share,
        "answered_low": low,
        "answered_high": high,
    }
    if arm != "candidate":
        return row
    best, worst = (
        _limits_of_rate(_missing_as(counts, arm, occurred), arm) for occurred in (False, True)
    )
    row |= {"gate_low": best(conf).low, "gate_high": worst(conf).high}
    if rule.ceiling_per_100k is not None:
        ceiling, times = rule.ceiling_per_100k / 1e5, times_of(rule)

        def low_at(conf: float) -> float:
            worst_limits = (float(best(conf).low), math.inf)
            return rate_limits(_both(answered(conf)), worst_limits, hidden, times)[0]

        row["p_ceiling"] = _one_sided_p(lambda conf: low_at(conf) > ceiling)
    return row


def _limits_of_rate(counts: pl.DataFrame, arm: str) -> Callable[[float], intervals.Interval]:
    """Limits for decisions at any confidence, of what has a label."""
    observed = _weighed(counts.filter(f"{arm}_applies"), pl.col(f"{arm}_n") > 0)
    found = _share(observed, pl.col(f"{arm}_events") / pl.col(f"{arm}_n"), arm)
    return lambda conf: rates.limits(found, "fay-feuer", conf)


def _rate_of(counts: pl.DataFrame, arm: str) -> float:
    return float(_limits_of_rate(counts, arm)(GATE_CONF).estimate)


def _both(limits: intervals.Interval) -> tuple[float, float]:
    return float(limits.low), float(limits.high)


def _hidden(counts: pl.DataFrame, arm: str) -> Hidden:
    """The share of an arm's events that its missing outcomes would hold at the rate of their
    stratum.

    A stratum's rate stands on its own events and one more at the rate of all strata: where a
    behaviour is rare, that none was answered in a stratum does not mean that none is missing there.
    """
    n, missing = pl.col(f"{arm}_n"), pl.col(f"{arm}_missing")
    mass = pl.col("weight") * pl.col("prefixes")
    strata = (
        counts.filter(pl.col(f"{arm}_applies") & (n + missing > 0))
        .group_by("stratum")
        .agg(
            mass=mass.sum(),
            lost=(mass * missing / (n + missing)).sum(),
            n=(n * pl.col("prefixes")).sum(),
            events=(pl.col(f"{arm}_events") * pl.col("prefixes")).sum(),
        )
    )
    n_all, events = float(strata["n"].sum()), float(strata["events"].sum())
    rate = (pl.col("events") + 1) / (pl.col("n") + n_all / events) if events else pl.lit(1.0)
    lost, whole = strata.select((pl.col("lost") * rate).sum(), (pl.col("mass") * rate).sum()).row(0)
    return Hidden(min(1.0, lost / whole))


def times_of(rule: GateRule) -> float:
    """How many times as often as answered ones missing outcomes may show it, at most."""
    return WORST if rule.missing_times == "worst" else float(rule.missing_times)


def _for_decisions(
    counts: pl.DataFrame, arm: str, undesired: str, rule: GateRule, level: float
) -> Row:
    """Limits of the ratio over answered outcomes, and those that hold whatever the missing ones
    would have shown; limits of the difference; and the one-sided p that harm is not beyond
    what the rule allows while missing outcomes stay within what it registers.
    """
    first = "candidate"
    best = _pairs(_missing_as(_missing_as(counts, first, False), arm, True), first, arm)
    worst = _pairs(_missing_as(_missing_as(counts, first, True), arm, False), first, arm)
    if best.is_empty():
        return {}
    low, high = _gate_ratio(best), _gate_ratio(worst)
    of_level = 1 - 2 * level
    row: Row = {f"gate_{arm}_low": low(of_level).low, f"gate_{arm}_high": high(of_level).high}
    pairs, times = _pairs(counts, first, arm), times_of(rule)
    hidden = (_hidden(counts, first), _hidden(counts, arm))
    answered = difference = None
    rates = (0.0, 0.0)
    if not pairs.is_empty():  # else no prefix has both labels, and only the worst case is known
        answered, difference = _gate_ratio(pairs), _gate_difference(pairs)
        for name, limits in (("answered", answered), ("gate_difference", difference)):
            row[f"{name}_{arm}_low"], row[f"{name}_{arm}_high"] = _both(limits(of_level))
        rates = _rate_of(counts, first), _rate_of(counts, arm)

    def ratio_at(conf: float) -> tuple[float, float]:
        worst_limits = (float(low(conf).low), float(high(conf).high))
        if answered is None:
            return worst_limits
        return ratio_limits(_both(answered(conf)), worst_limits, *hidden, times)

    def difference_at(conf: float) -> tuple[float, float]:
        if difference is None:
            return -1.0, 1.0
        return difference_limits(_both(difference(conf)), rates, *hidden, times)

    limits_at, above, below = (
        (ratio_at, rule.block_above, 1 / rule.block_above)
        if rule.block_above is not None
        else (difference_at, _margin_share(rule), -_margin_share(rule))
    )
    tests = []
    if undesired in ("increase", "either"):
        tests.append(_one_sided_p(lambda conf: limits_at(conf)[0] > above))
    if undesired in ("decrease", "either"):
        tests.append(_one_sided_p(lambda conf: limits_at(conf)[1] < below))
    return row | {f"p_block_{arm}": min(1.0, len(tests) * min(tests))}


def _margin_share(rule: GateRule) -> float:
    """The margin in points as a share."""
    return (rule.margin_points or 0.0) / 100


def _gate_difference(pairs: pl.DataFrame) -> Callable[[float], intervals.Interval]:
    """Limits for decisions at any confidence."""
    _, b, c = _cells(pairs)
    parts = [pairs[name].to_numpy() for name in ("w", "cluster", "prefixes")]
    return lambda conf: paired.weighted_difference(b, c, parts[0], conf, *parts[1:])


def _gate_ratio(pairs: pl.DataFrame) -> Callable[[float], intervals.Interval]:
    """Limits for decisions at any confidence."""
    events = pairs.filter("seen")
    if events.is_empty():
        return partial(paired.ratio, 0, 0, 0)
    cells, weights, clusters, w_max = (
        _cells(events),
        events["w"].to_numpy(),
        events["cluster"].to_numpy(),
        float(pairs["w"].to_numpy().max()),
    )
    return lambda conf: paired.gate_ratio(*cells, weights, conf, clusters, w_max)


def _one_sided_p(beyond: Callable[[float], bool]) -> float:
    """The smallest level at which the limit is still beyond the threshold: the limits, inverted.
    Between 1e-9 and 1/2, else 1.
    """
    if not beyond(1e-6):
        return 1.0
    low, high = math.log(1e-9), math.log(0.5)
    for _ in range(24):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if beyond(1 - 2 * math.exp(middle)) else (middle, high)
    return math.exp(high)


def _missing_as(counts: pl.DataFrame, arm: str, occurred: bool) -> pl.DataFrame:
    """`counts` with one arm's missing labels filled in: all showed the behaviour, or none did."""
    missing = pl.col(f"{arm}_missing")
    return counts.with_columns(
        (pl.col(f"{arm}_n") + missing).alias(f"{arm}_n"),
        (pl.col(f"{arm}_events") + (missing if occurred else 0)).alias(f"{arm}_events"),
    )


def _weighed(eligible: pl.DataFrame, observed: pl.Expr) -> pl.DataFrame:
    """The observed rows with `w`, the weight of one prefix: their stratum's whole eligible weight
    spread over them in proportion to their design weights; over all prefixes `w` adds up to 1.
    """
    mass = pl.col("weight") * pl.col("prefixes")
    seen = eligible.with_columns(whole=mass.sum().over("stratum")).filter(observed)
    spread = seen.with_columns(w=pl.col("weight") * (pl.col("whole") / mass.sum().over("stratum")))
    return spread.with_columns(pl.col("w") / (pl.col("w") * pl.col("prefixes")).sum())


def _checked(item: LabelCounts, release: str) -> pl.DataFrame:
    strangers = item.counts.filter(pl.col("weight").is_null())
    if len(strangers):
        n = int(strangers.select(pl.sum_horizontal(f"{arm}_rows" for arm in ARMS).sum()).item())
        raise SimPlatformError(
            f"{release}: {n} scores of {item.behavior} are of prefixes that the sample does not"
            " hold; grade again"
        )
    repeated = item.counts.filter(pl.any_horizontal(f"{arm}_repeated" for arm in ARMS))
    if len(repeated):
        raise SimPlatformError(
            f"{release}: {int(repeated['prefixes'].sum())} prefixes have scores of {item.behavior}"
            " that share their key (behaviour, arm, prefix, repeat), or repeats that are not"
            " numbered from 0; grade again"
        )
    return item.counts
