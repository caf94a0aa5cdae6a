"""How rates are shown to people: per 100,000 messages in a table, ratios as a forest plot.

Belongs here: presentation of a rate comparison. Does not: estimating it.
"""

import io
import json
import math
from collections.abc import Mapping

import polars as pl

REFUSED = "no_response:refused"


def per_100k(rate: float | None) -> str:
    """A rate per message as a number per 100,000 messages; a dash where there is none."""
    if rate is None:
        return "–"
    return f"{100_000 * rate:,.0f}" if rate == 0 or rate >= 1e-4 else f"{100_000 * rate:.2g}"


def ratio_text(ratio: float | None, low: float | None, high: float | None) -> str:
    """A ratio with its interval, `2.10 [1.40, 3.15]`; a dash where there is none."""
    if ratio is None or low is None or high is None:
        return "–"
    return f"{ratio:.2f} [{low:.2f}, {'∞' if math.isinf(high) else f'{high:.2f}'}]"


def marked(behavior: object, is_exploratory: object) -> str:
    """The behaviour's name, with the mark of what was not registered before outcomes were seen."""
    return f"{behavior} (exploratory)" if is_exploratory else str(behavior)


def missing_text(row: Mapping[str, object]) -> object:
    """How many outcomes have no label, and of them how many the provider's filter refused: those
    are not missing at random.
    """
    stored = row.get("missing_reasons")
    refused = json.loads(str(stored)).get(REFUSED, 0) if stored else 0
    n = row.get("n_missing")
    return f"{n} ({refused} refused by the filter)" if refused else n


def rate_rows(
    rates: pl.DataFrame, said: Mapping[str, str] | None = None
) -> list[Mapping[str, object]]:
    """One line per release and behaviour: each arm's rate with its 95 % interval per 100,000
    messages, and the candidate's paired ratios.

    Args:
        said: behaviour to its verdict; without it no line has one.
    """
    lines: list[Mapping[str, object]] = []
    for (release, behavior), group in rates.group_by(
        ["model_version", "behavior"], maintain_order=True
    ):
        arms = {row["arm"]: row for row in group.to_dicts()}
        candidate = arms.get("candidate", {})
        lines.append(
            {
                "release": release,
                "behaviour": marked(behavior, candidate.get("is_exploratory")),
                "n": candidate.get("n"),
                "missing": missing_text(candidate),
                **{
                    f"{arm} per 100k": _with_interval(arms[arm]) if arm in arms else "–"
                    for arm in ("candidate", "control", "recorded")
                },
                "× control": ratio_text(
                    candidate.get("ratio_to_control"),
                    candidate.get("ratio_low"),
                    candidate.get("ratio_high"),
                ),
                "× recorded": ratio_text(
                    candidate.get("ratio_to_recorded"),
                    candidate.get("ratio_to_recorded_low"),
                    candidate.get("ratio_to_recorded_high"),
                )
                + _on(candidate.get("recorded_on")),
                "floor per 100k": per_100k(candidate.get("floor")),
                **({"verdict": said.get(str(behavior), "–")} if said else {}),
            }
        )
    return lines


def _on(graded_on: object) -> str:
    """Marks a ratio to recorded answers that were not graded on the log's own text."""
    return {"deidentified": " (masked)", "both": " (partly masked)"}.get(str(graded_on), "")


def _with_interval(row: Mapping[str, float | None]) -> str:
    if row["rate"] is None:
        return "–"
    return f"{per_100k(row['rate'])} [{per_100k(row['low'])}, {per_100k(row['high'])}]"


def forest_png(rates: pl.DataFrame) -> bytes:
    """Paired ratios of the candidate, against control where there is one and else against recorded,
    as a forest plot on a log scale (PNG).
    """
    from matplotlib.backends.backend_agg import (  # noqa: PLC0415 - heavy, and only wanted where a plot is drawn
        FigureCanvasAgg,
    )
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same

    rows = []
    for row in rates.filter(arm="candidate").reverse().to_dicts():
        against = "control" if row["ratio_to_control"] is not None else "recorded"
        names = (
            ("ratio_to_control", "ratio_low", "ratio_high")
            if against == "control"
            else ("ratio_to_recorded", "ratio_to_recorded_low", "ratio_to_recorded_high")
        )
        point, low, high = (row[n] for n in names)
        if point and low is not None and high is not None:
            rows.append(
                (
                    (
                        f"{row['model_version']}:"
                        f" {marked(row['behavior'], row.get('is_exploratory'))} (× {against})"
                    ),
                    point,
                    max(low, point / 100),
                    min(high, point * 100),
                )
            )
    figure = Figure(figsize=(8, 0.8 + 0.26 * max(len(rows), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for i, (_, point, low, high) in enumerate(rows):
        axes.plot([low, high], [i, i], color="#33658a", linewidth=1.5)
        axes.plot(point, i, "s", color="#33658a", markersize=5)
    axes.axvline(1.0, color="#777777", linewidth=1, linestyle="--")
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows], fontsize=8)
    axes.set_xlabel("paired rate ratio, 95 % interval (1 = no change)")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()
