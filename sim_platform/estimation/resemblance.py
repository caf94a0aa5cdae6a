"""Does the version in service, regenerated, behave as its own log says?

Belongs here: which behaviours differ between control and recorded, and what to suspect. Does not:
ratios and tests (comparison).

Both arms are the same model on the same prefixes. Where they differ, what was simulated is not what
is in service, and every ratio to the control arm is one between two simulations.
"""

import polars as pl

from sim_platform.estimation.verdict import ALPHA

ALIKE = (0.8, 1.25)  # a ratio whose 95 % limits meet this range is no finding, however sure
SUSPECTS = (
    "other settings, system prompt or tools than in service, a changed model behind the same name,"
    " or de-identification"
)


def unlike_the_log(rates: pl.DataFrame) -> pl.DataFrame:
    """Behaviours whose rate in the control arm is surely not the recorded one: p after Holm at most
    .05, and the ratio's 95 % limits wholly beyond 0.8 to 1.25.

    Args:
        rates: rows of `rate_comparison` of one release, all arms.

    Returns:
        behavior, control, recorded (rates per message); no rows without one of the two arms.
    """
    low, high = (pl.col(f"ratio_to_recorded_{end}") for end in ("low", "high"))
    recorded = rates.filter(arm="recorded").select("behavior", recorded="rate")
    return (
        rates.filter(
            pl.col("arm") == "control",
            pl.col("p_recorded_holm") <= ALPHA,
            (low > ALIKE[1]) | (high < ALIKE[0]),
        )
        .select("behavior", control="rate")
        .join(recorded, on="behavior")
        .sort("behavior")
    )


def in_words(found: pl.DataFrame) -> str | None:
    """The finding in a sentence, with at most three behaviours; None where there is none."""
    if found.is_empty():
        return None
    named = "; ".join(
        f"{row['behavior']} {1e5 * row['control']:,.0f} per 100k regenerated,"
        f" {1e5 * row['recorded']:,.0f} in the log"
        for row in found.head(3).to_dicts()
    )
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return (
        f"The regenerated version in service does not resemble its log ({named}{more}). Suspect"
        f" {SUSPECTS}."
    )
