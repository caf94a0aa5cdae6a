"""One self-contained page per release: verdict and why first, then rates, charts, what is missing,
what it cost, examples, limits, hashes.

Belongs here: the page, its charts, the machine-readable copies. Does not: reading tables
(orchestration), estimating.
"""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import polars as pl

from sim_platform.contracts.escaping import visible
from sim_platform.reporting.rates import marked, per_100k, rate_rows

Rows = Sequence[Mapping[str, Any]]
# told apart by every common form of colour vision, and dark enough on white
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#595959"
LIMITS = (
    "Rates below the detection floor cannot be seen: nothing observed is a bound, not a zero.",
    (
        "Only behaviours that were registered are measured; a new kind of failure is not looked for"
        " here."
    ),
    (
        "One assistant turn is simulated. What a user would have answered, and what the candidate"
        " would have done then, is not."
    ),
    (
        "The prefixes come from conversations with the version in service; the candidate would have"
        " led some of them elsewhere."
    ),
    "Tools are not executed: a turn that needs a live tool is judged by the call that it asks for.",
    (
        "A rate is the graders' rate. Where no person has checked a grader, its errors are part of"
        " the figure."
    ),
    "De-identified is not anonymous, and surrogates can change what a model answers.",
    "This is an estimate for this traffic in this window, not a certificate.",
)


@dataclass(frozen=True)
class ReleaseFacts:
    """What the page says; every list may be empty."""

    release: str
    replaces: str
    verdict: str  # PASS, BLOCK or INCONCLUSIVE
    reason: str
    measures: str
    consent: str
    sample: Mapping[str, Any]  # prefixes, population, users, weeks, strata, salt, cut
    rates: pl.DataFrame  # rows of rate_comparison
    decisions: Rows  # rows of release_gate, `said`: the verdict as it is said everywhere
    strata: Rows  # rows of rates_by_stratum
    outcomes: Rows  # arm, status, reason, n
    # arm or grader, outcomes, reused, prompt_tokens (a grader's: all), completion_tokens, cost_usd
    # (None: no price is known)
    spend: Rows
    coverage: Rows  # rows of pipeline_coverage
    hashes: Rows  # what, value
    warnings: Sequence[str] = ()  # what to know before any figure is read
    examples: Rows = ()  # behavior, turn, response: de-identified text, shown escaped and folded
    calibration: Rows = ()  # rows of calibration, as numbers
    # title to rows: forecast, score, calibration, where those tables exist
    further: Mapping[str, Rows] = field(default_factory=dict)


def report_html(facts: ReleaseFacts) -> str:
    """The page: no script, no network, charts inline as SVG."""
    from jinja2 import (  # noqa: PLC0415 - only wanted where a report is made
        Environment,
        StrictUndefined,
    )

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # every text of the page, beside what autoescape does; not what is markup already
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters |= {"per_100k": per_100k, "times": _times, "p": _p, "shown": _shown}
    template = environment.from_string(
        files("sim_platform.reporting")
        .joinpath("release_report.html.j2")
        .read_text(encoding="utf-8")
    )
    candidates = facts.rates.filter(arm="candidate").sort("behavior").to_dicts()
    return template.render(
        facts=facts,
        rates=(
            [
                {**row, **_tests(candidate)}
                for row, candidate in zip(
                    rate_rows(facts.rates.sort("behavior", "arm")), candidates, strict=True
                )
            ]
            if candidates
            else []
        ),
        forest=forest_svg(facts.rates),
        funnel=funnel_svg(facts.rates),
        limits=LIMITS,
        spent=_spent(facts.spend),
        decisions=[
            {**row, "verdict": row.get("said", row["verdict"])}
            for row in facts.decisions
            if row["tier"] == "gate"
        ],
        missing=[
            {**_named(row), "reasons": _reasons(row.get("missing_reasons"))}
            for row in facts.rates.sort("behavior", "arm").to_dicts()
            if row["n_missing"]
        ],
        strata=[_named(row) for row in facts.strata],
    )


def report_json(facts: ReleaseFacts) -> str:
    """The figures of the page for machines; rates per message. Infinite limits are the text "inf".
    No example is repeated here.
    """
    body = {
        "model_version": facts.release,
        "replaces": facts.replaces,
        "verdict": facts.verdict,
        "reason": facts.reason,
        "warnings": list(facts.warnings),
        "measures": facts.measures,
        "consent": facts.consent,
        "sample": dict(facts.sample),
        "rates": facts.rates.to_dicts(),
        "decisions": list(facts.decisions),
        "strata": list(facts.strata),
        "outcomes": list(facts.outcomes),
        "spend": list(facts.spend),
        "coverage": list(facts.coverage),
        "hashes": list(facts.hashes),
        "calibration": list(facts.calibration),
        **{title: list(rows) for title, rows in facts.further.items()},
    }
    return json.dumps(_finite(body), indent=2, ensure_ascii=False, default=str)


def forest_svg(rates: pl.DataFrame) -> str:
    """Paired ratio of the candidate to control (squares) and to recorded (circles), one line a
    behaviour, on a log scale.
    """
    rows = [
        row
        for row in rates.filter(arm="candidate").sort("behavior", descending=True).to_dicts()
        if row["ratio_to_control"] or row["ratio_to_recorded"]
    ]
    if not rows:
        return ""
    figure, axes = _figure(8.4, 1.1 + 0.36 * len(rows))
    shown = (
        ("control", "ratio", "s", BLUE, 0.14),
        ("recorded", "ratio_to_recorded", "o", ORANGE, -0.14),
    )
    for arm, limits, marker, colour, offset in shown:
        named = False
        for i, row in enumerate(rows):
            point, low, high = row[f"ratio_to_{arm}"], row[f"{limits}_low"], row[f"{limits}_high"]
            if not point or low is None:
                continue
            axes.plot(
                [max(low, point / 100), min(high, point * 100)],
                [i + offset] * 2,
                color=colour,
                linewidth=1.6,
            )
            axes.plot(
                point,
                i + offset,
                marker,
                color=colour,
                markersize=5,
                label=None if named else f"× {arm}",
            )
            named = True
    axes.axvline(1.0, color=GREY, linewidth=1, linestyle="--")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(
        range(len(rows)), [marked(row["behavior"], row.get("is_exploratory")) for row in rows]
    )
    axes.set_xlabel("paired rate ratio with 95 % interval; 1 = no change")
    figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    return _svg(
        figure,
        "Forest plot: ratio of the candidate's rate to the other arms, by behaviour. The same"
        " figures stand in the rate table.",
    )


def funnel_svg(rates: pl.DataFrame) -> str:
    """log2 ratio against effective events; points inside the 90 % band are what two equal rates
    would show by chance.

    Source: band +-1.645 / (ln 2 sqrt(k)), 1/k = 1/k_a + 1/k_b with effective events k_a, k_b.
    """
    arms = {(row["behavior"], row["arm"]): row for row in rates.to_dicts()}
    against = "control" if any(arm == "control" for _, arm in arms) else "recorded"
    points = []
    for (behavior, arm), row in arms.items():
        other = arms.get((behavior, against))
        if (
            arm == "candidate"
            and row[f"ratio_to_{against}"]
            and other
            and row["rate"]
            and other["rate"]
        ):
            k = 1 / (
                1 / (row["rate"] * row["n_effective"]) + 1 / (other["rate"] * other["n_effective"])
            )
            points.append(
                (
                    marked(behavior, row.get("is_exploratory")),
                    bool(row.get("is_exploratory")),
                    k,
                    math.log2(row[f"ratio_to_{against}"]),
                )
            )
    if not points:
        return ""
    figure, axes = _figure(8.4, 4.2)
    reach = [0.4 * (max(k for *_, k, _ in points) * 1.6 / 0.4) ** (i / 60) for i in range(61)]
    band = [1.645 / (math.log(2) * math.sqrt(k)) for k in reach]
    axes.fill_between(reach, [-b for b in band], band, color=BLUE, alpha=0.12, linewidth=0)
    for name, is_exploratory, k, y in points:
        axes.plot(
            k, y, "o", color=BLUE, markersize=5, fillstyle="none" if is_exploratory else "full"
        )
        if is_exploratory or abs(y) > 1.645 / (math.log(2) * math.sqrt(k)):
            axes.annotate(name, (k, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.axhline(0, color=GREY, linewidth=1, linestyle="--")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("effective events of both arms together")
    axes.set_ylabel(f"log2 ratio, candidate / {against}")
    return _svg(
        figure,
        "Noise funnel: behaviours inside the band are consistent with no change; those outside are"
        " named. Hollow points are exploratory.",
    )


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_svg import (  # noqa: PLC0415 - heavy, and only wanted where a plot is drawn
        FigureCanvasSVG,
    )
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    return figure, axes


def _svg(figure: Any, description: str) -> str:
    import matplotlib as mpl  # noqa: PLC0415 - heavy, and only wanted where a plot is drawn

    text = io.StringIO()
    with mpl.rc_context(
        {"svg.hashsalt": "release_report", "svg.fonttype": "none", "font.family": "sans-serif"}
    ):
        figure.savefig(
            text,
            format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    return drawing.replace("<svg ", f'<svg role="img" aria-label="{description}" ', 1)


def _spent(rows: Rows) -> str:
    """US dollars in all; what has no price is said and not counted as nothing."""
    unknown = [str(row["arm"]) for row in rows if row["cost_usd"] is None]
    known = sum(row["cost_usd"] for row in rows if row["cost_usd"] is not None)
    if not unknown:
        return f"{known:.2f}"
    without = f"no price is known for {', '.join(unknown)}"
    return f"{known:.2f} and more: {without}" if known else f"unknown: {without}"


def _reasons(stored: str | None) -> str:
    counts = json.loads(stored) if stored else {}
    return ", ".join(f"{code} {n:,}" for code, n in sorted(counts.items())) or "–"


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "behavior": marked(row["behavior"], row.get("is_exploratory"))}


def _tests(row: Mapping[str, Any]) -> dict[str, Any]:
    """Against control, or recorded where nothing was regenerated. What decides is adjusted by Holm;
    what explores, by Benjamini and Hochberg.
    """
    p = "p_control" if row["p_control"] is not None else "p_recorded"
    return {"p": row[p], "p adjusted": row[f"{p}_bh" if row.get("is_exploratory") else f"{p}_holm"]}


def _times(value: float | None) -> str:
    return "–" if value is None else "∞" if math.isinf(value) else f"{value:.2f}"


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _shown(value: object) -> str:
    """A cell of a plain table."""
    if value is None:
        return "–"
    if isinstance(value, float):
        # never 2.157e+04
        return (
            "∞" if math.isinf(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        )
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return "inf" if isinstance(value, float) and math.isinf(value) else value
