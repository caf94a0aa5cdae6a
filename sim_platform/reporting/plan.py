"""The planning curve: what more prefixes buy.

Belongs here: drawing it. Does not: computing it (estimation.planning).
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any


def curve_png(points: Sequence[Mapping[str, Any]]) -> bytes:
    """Smallest detectable ratio (80 % power) against prefixes, one line a behaviour, on
    log scales (PNG).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - heavy, and only wanted where a plot is drawn
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same
    from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: PLC0415 - the same

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    last = points[-1]["detectable_ratios"]
    for i, name in enumerate(
        sorted(last, key=lambda name: -last[name])
    ):  # the legend runs as the lines end
        drawn = [
            (p["prefixes"], p["detectable_ratios"][name])
            for p in points
            if name in p["detectable_ratios"]
        ]
        marker = "os^Dv*"[i // 10 % 6]  # the colours come again after ten
        axes.plot(
            [x for x, _ in drawn],
            [y for _, y in drawn],
            marker=marker,
            markersize=4,
            linewidth=1.2,
            label=name,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"× {y:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks([1.1, 1.25, 1.5, 2, 3, 5, 10])
    axes.set_xticks(
        [point["prefixes"] for point in points], [f"{point['prefixes']:,}" for point in points]
    )
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("prefixes per arm")
    axes.set_ylabel("smallest increase found with 80 % power")
    axes.grid(alpha=0.3)
    if last:
        figure.legend(loc="outside right center", fontsize=8, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()
