"""The verdict on a release, from the decisions about its behaviours.

Belongs here: what the stored decisions amount to together, and how each of them is said wherever
one is shown. Does not: making them (gates), which takes formulas that a reader of the verdict
should not wait for.
"""

from collections.abc import Mapping
from typing import Any, Literal

import polars as pl

ALPHA = 0.05  # family-wise, wherever something is said to differ or blocks
Verdict = Literal["PASS", "BLOCK", "INCONCLUSIVE"]


def release_verdict(decisions: pl.DataFrame) -> tuple[Verdict, str]:
    """The release's verdict and why: BLOCK if any gate behaviour blocks, PASS if all of them pass
    and there is one, else INCONCLUSIVE. Graders of gate behaviours that are marked are counted, and
    gates that do not count are named with the reason.
    """
    gated = decisions.filter(pl.col("tier") == "gate")
    uncounted = _uncounted(decisions)
    if gated.is_empty():
        return "INCONCLUSIVE", uncounted or "no behaviour is registered with tier: gate"
    if uncounted:
        uncounted = f"; not counted: {uncounted}"
    said: tuple[tuple[Verdict, str], ...] = (
        ("BLOCK", "beyond their limits"),
        ("INCONCLUSIVE", "not decided"),
    )
    for verdict, what in said:
        names = gated.filter(pl.col("verdict") == verdict)["behavior"].to_list()
        if names:
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            of_all = f"({len(names)} of {len(gated)} gate behaviours)"
            said_too = f"{_worse(gated)}{_marked(gated)}{uncounted}"
            return verdict, f"{what}: {shown} {of_all}{said_too}"
    within = f"all {len(gated)} gate behaviours are within their margins"
    return "PASS", f"{within}{_worse(gated)}{_marked(gated)}{uncounted}"


def said(decision: Mapping[str, Any]) -> str:
    """A row of `release_gate` as its verdict is shown everywhere: with how much worse a behaviour
    is that is surely worse and does not block: `PASS, worse by 9.6 points (7.6 to 11.7)`.
    """
    worse = _worse_by(decision)
    return f"{decision['verdict']}, worse by {worse}" if worse else str(decision["verdict"])


def release_warnings(decisions: pl.DataFrame) -> list[str]:
    """What is to be known of the missing outcomes of gate behaviours, each once."""
    behaviors: dict[str, list[str]] = {}
    gated = decisions.filter(pl.col("tier") == "gate").drop_nulls("warnings").sort("behavior")
    for row in gated.to_dicts():
        behaviors.setdefault(row["warnings"], []).append(row["behavior"])
    return [f"{', '.join(names)}: {warning}" for warning, names in behaviors.items()]


def _worse_by(decision: Mapping[str, Any]) -> str:
    """Per 100,000 where points would be shares of a tenth."""
    if decision.get("worse_by") is None or decision["verdict"] not in ("PASS", "INCONCLUSIVE"):
        return ""
    by, low, high = (float(decision[f"worse_by{end}"]) for end in ("", "_low", "_high"))
    if by >= 0.001:
        return f"{100 * by:.1f} points ({100 * low:.1f} to {100 * high:.1f})"
    return f"{1e5 * by:.2g} per 100,000 ({1e5 * low:.2g} to {1e5 * high:.2g})"


def _worse(gated: pl.DataFrame) -> str:
    worse = [f"{row['behavior']} by {by}" for row in gated.to_dicts() if (by := _worse_by(row))]
    return f"; surely worse, though not beyond a limit: {', '.join(worse)}" if worse else ""


def _marked(gated: pl.DataFrame) -> str:
    n = gated["marks"].count()
    return f"; the graders of {n} of {len(gated)} are marked" if n else ""


def _uncounted(decisions: pl.DataFrame) -> str:
    """Why behaviours of tier gate do not decide, those of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for row in decisions.drop_nulls("not_counted").sort("behavior").to_dicts():
        by_reason.setdefault(row["not_counted"], []).append(row["behavior"])
    return "; ".join(f"{why} (tier gate: {', '.join(names)})" for why, names in by_reason.items())
