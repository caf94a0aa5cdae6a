"""What people should label: all flags up to a cap, then near misses and others among the unflagged,
a tenth of it twice.

Belongs here: the drawing and its probabilities. Does not: files (commands), labels that came
back (labels).
"""

from dataclasses import dataclass

import polars as pl

from sim_platform.contracts.messages import sha256

NEAR_MISS_SHARE = 0.1  # of the unflagged, those with the highest scores


@dataclass(frozen=True)
class LabelPlan:
    """How many to label per arm. Defaults: 200 flags give the precision to within 7 points at
    worst; negatives mainly falsify a sensitivity that was found elsewhere.
    """

    flags: int = 200
    near_misses: int = 300
    rest: int = 200
    double_share: float = 0.1


def item_id(release: str, behavior: str, arm: str, prefix_id: str, k: int) -> str:
    """Names an outcome without telling arm or flag."""
    return sha256([release, behavior, arm, prefix_id, k])[:20]


def draw_for_labels(scores: pl.DataFrame, plan: LabelPlan) -> pl.DataFrame:
    """One row a drawn outcome: columns of `label_draws`. Drawn by hash, without replacement, per
    behaviour, arm and stratum; a larger plan keeps the smaller one's items.

    Args:
        scores: rows of `classifier_scores` of one release; those without a label are left out.
            Without scores from the grader there are no near misses, their places go to the rest.
    """
    labelled = scores.filter(pl.col("applies") & pl.col("label").is_not_null())
    ids = [
        item_id(*row)
        for row in labelled.select("model_version", "behavior", "arm", "prefix_id", "k").iter_rows()
    ]
    cell = ["behavior", "arm"]
    edge = pl.col("score").filter(~pl.col("label")).quantile(1 - NEAR_MISS_SHARE).over(cell)
    is_near = ~pl.col("label") & (pl.col("score") >= edge).fill_null(False)
    drawn = labelled.with_columns(
        pl.Series("item_id", ids, pl.String),
        label_stratum=pl.when("label")
        .then(pl.lit("flag"))
        .when(is_near)
        .then(pl.lit("near_miss"))
        .otherwise(pl.lit("rest")),
    ).with_columns(
        size=pl.len().over([*cell, "label_stratum"]),
        place=pl.col("item_id").rank("ordinal").over([*cell, "label_stratum"]),
        has_near=(pl.col("label_stratum") == "near_miss").any().over(cell),
    )
    wanted = (
        pl.when(pl.col("label_stratum") == "flag")
        .then(plan.flags)
        .when(pl.col("label_stratum") == "near_miss")
        .then(plan.near_misses)
        .otherwise(plan.rest + pl.when("has_near").then(0).otherwise(plan.near_misses))
    )
    return (
        drawn.with_columns(take=pl.min_horizontal(wanted, "size"))
        .filter(pl.col("place") <= pl.col("take"))
        .with_columns(
            label_probability=pl.col("take") / pl.col("size"),
            is_double=pl.col("item_id").map_elements(
                lambda i: int(sha256(["twice", i])[:8], 16) / 2**32 < plan.double_share,
                return_dtype=pl.Boolean,
            ),
        )
        .select(
            "model_version",
            "behavior",
            "item_id",
            "arm",
            "prefix_id",
            "k",
            "label_stratum",
            "label_probability",
            "is_double",
            "grader_hash",
        )
        .sort("behavior", "item_id")
    )
