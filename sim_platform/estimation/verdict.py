"""The verdict on a release, from the decisions about its behaviours.

Belongs here: what the stored decisions amount to together. Does not: making them (gates), which
takes formulas that a reader of the verdict should not wait for.
"""

from typing import Literal

import polars as pl

Verdict = Literal["PASS", "BLOCK", "INCONCLUSIVE"]


def release_verdict(decisions: pl.DataFrame) -> tuple[Verdict, str]:
    """The release's verdict and why: BLOCK if any gate behaviour blocks, PASS if all of them pass
    and there is one, else INCONCLUSIVE.
    """
    gated = decisions.filter(pl.col("tier") == "gate")
    if gated.is_empty():
        return "INCONCLUSIVE", "no behaviour is registered with tier: gate"
    said: tuple[tuple[Verdict, str], ...] = (
        ("BLOCK", "beyond their limits"),
        ("INCONCLUSIVE", "not decided"),
    )
    for verdict, what in said:
        names = gated.filter(pl.col("verdict") == verdict)["behavior"].to_list()
        if names:
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            return verdict, f"{what}: {shown} ({len(names)} of {len(gated)} gate behaviours)"
    return "PASS", f"all {len(gated)} gate behaviours are within their margins"
