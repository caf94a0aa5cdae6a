"""How long a replay's answers took and how its requests ended, as people see it.

Belongs here: presentation of candidate_completions. Does not: reading them.
"""

import io

import polars as pl

BINS = 30


def arm_rows(outcomes: pl.DataFrame) -> list[dict[str, object]]:
    """One line an arm: outcomes, tokens, US dollars, and percentiles of the seconds of the attempt
    that ended a request (without what was reused in the same run or brought in).
    """
    timed = pl.col("latency_s").filter(pl.col("latency_s") > 0)
    percentiles = [timed.quantile(q / 100).round(3).alias(f"p{q} s") for q in (50, 90, 99)]
    sums = [pl.sum("prompt_tokens", "completion_tokens"), pl.sum("cost_usd").round(6)]
    return (
        outcomes.group_by("arm")
        .agg(pl.len().alias("outcomes"), *sums, *percentiles)
        .sort("arm")
        .to_dicts()
    )


def code_rows(outcomes: pl.DataFrame) -> list[dict[str, object]]:
    """One line an arm and ending: status, reason code, outcomes."""
    return (
        outcomes.group_by("arm", "status", "reason")
        .len("outcomes")
        .sort("arm", "status", "reason")
        .to_dicts()
    )


def latency_png(outcomes: pl.DataFrame) -> bytes | None:
    """Histogram of the seconds on a log scale and outcomes by ending, both by arm (PNG); None where
    nothing was timed.
    """
    timed = outcomes.filter(pl.col("latency_s") > 0)
    if timed.is_empty():
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - heavy, and only wanted where a plot is drawn
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same

    figure = Figure(figsize=(9, 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    seconds, endings = figure.subplots(1, 2)
    arms = sorted(outcomes["arm"].unique())
    low, high = (
        float(x)
        for x in timed.select(pl.min("latency_s") * 0.9, high=pl.max("latency_s") * 1.1).row(0)
    )
    edges = [low * (high / low) ** (i / BINS) for i in range(BINS + 1)]
    codes = outcomes.select(
        pl.concat_str("status", "reason", separator=": ", ignore_nulls=True).alias("code"), "arm"
    )
    names = sorted(codes["code"].unique(), reverse=True)
    for i, arm in enumerate(arms):
        seconds.hist(
            timed.filter(arm=arm)["latency_s"].to_numpy(),
            bins=edges,
            histtype="step",
            linewidth=1.5,
            label=arm,
        )
        counts = dict(codes.filter(arm=arm).group_by("code").len().iter_rows())
        endings.barh(
            [n + 0.38 * i for n in range(len(names))],
            [counts.get(name, 0) for name in names],
            height=0.36,
            label=arm,
        )
    seconds.set_xscale("log")
    seconds.set_xlabel("seconds of the attempt that ended a request")
    seconds.legend(fontsize=8)
    endings.set_yticks(range(len(names)), names, fontsize=8)
    endings.set_xlabel("outcomes")
    # a handful of failures is seen beside thousands of answers
    endings.set_xscale("symlog", linthresh=10)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=90)
    return picture.getvalue()
