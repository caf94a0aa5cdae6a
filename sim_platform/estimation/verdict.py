"""The verdict on a release, from the decisions about its behaviours.

Belongs here: what the stored decisions amount to together. Does not: making them (gates), which
takes formulas that a reader of the verdict should not wait for.
"""

from typing import Literal

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
            return verdict, f"{what}: {shown} {of_all}{_marked(gated)}{uncounted}"
    within = f"all {len(gated)} gate behaviours are within their margins"
    return "PASS", f"{within}{_marked(gated)}{uncounted}"


def _marked(gated: pl.DataFrame) -> str:
    n = gated["marks"].count()
    return f"; the graders of {n} of {len(gated)} are marked" if n else ""


def _uncounted(decisions: pl.DataFrame) -> str:
    """Why behaviours of tier gate do not decide, those of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for row in decisions.drop_nulls("not_counted").sort("behavior").to_dicts():
        by_reason.setdefault(row["not_counted"], []).append(row["behavior"])
    return "; ".join(f"{why} (tier gate: {', '.join(names)})" for why, names in by_reason.items())
