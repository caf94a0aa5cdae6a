"""The design of a sample: which prefix stands for how many messages, in which stratum, from which user.

Belongs here: the object that the comparison takes, its checks, and the shape in which labels are counted against it. Does not: drawing (sampling), estimators.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.outcomes import ARMS


@dataclass(frozen=True)
class Design:
    """A sample's prefixes, one a row: `code` (its place), `prefix_id`, `stratum` (a number), `weight` (design weight), `cluster` (a number for the user), `alone`
    (its user has no other prefix in the sample)."""

    prefixes: pl.DataFrame


def design_of(sample: pl.DataFrame, release: str) -> Design:
    """The design of a stored sample.

    Args:
        sample: columns prefix_id, stratum, weight, user_key (null: a user of its own).
        release: named in errors.

    Raises:
        SimPlatformError: missing columns, repeated prefixes, weights that are not finite and positive, with counts and ids.
    """
    if missing := [c for c in ("prefix_id", "stratum", "weight", "user_key") if c not in sample.columns]:
        raise SimPlatformError(f"{release}: columns of the sample are missing for the comparison: {', '.join(missing)}")
    if len(repeated := sample.filter(pl.col("prefix_id").is_duplicated())):
        raise SimPlatformError(f"{release}: the sample has {some(repeated['prefix_id'])} more than once ({len(repeated)} rows); draw it again")
    unusable = sample.filter(~pl.col("weight").is_finite().fill_null(False) | (pl.col("weight") <= 0) | pl.col("stratum").is_null())
    if len(unusable):
        raise SimPlatformError(f"{release}: {len(unusable)} sampled prefixes have no stratum or no finite positive weight: {some(unusable['prefix_id'])}")
    cluster = pl.coalesce("user_key", "prefix_id").rank("dense").cast(pl.UInt32)
    return Design(
        sample.sort("prefix_id")
        .select("prefix_id", pl.col("stratum").rank("dense").cast(pl.UInt32), "weight", cluster=cluster)
        .with_columns(alone=pl.col("cluster").is_unique())
        .with_row_index("code")
    )


_PER_ARM = """
           count(*) filter (arm = '{arm}') as {arm}_rows,
           coalesce(bool_or(applies) filter (arm = '{arm}'), false) as {arm}_applies,
           count(*) filter (arm = '{arm}' and applies and label is not null) as {arm}_n,
           count(*) filter (arm = '{arm}' and applies and label is null) as {arm}_missing,
           count(*) filter (arm = '{arm}' and applies and label) as {arm}_events,
           count(*) filter (arm = '{arm}') <> coalesce(max(k) filter (arm = '{arm}') + 1, 0) as {arm}_repeated"""

LABEL_COUNTS = f"""
    with counted as (
        select d.code, any_value(d.stratum) as stratum, any_value(d.weight) as weight, coalesce(any_value(d.alone), false) as alone,{",".join(_PER_ARM.format(arm=a) for a in ARMS)}
        from classifier_scores s left join design d using (prefix_id)
        where s.model_version = $release and s.behavior = $behavior
        group by d.code
    )
    select case when alone and {" + ".join(f"{a}_events" for a in ARMS)} = 0 then null else code end as code, stratum, weight, count(*) as prefixes,
           {", ".join(f"{a}_{what}" for a in ARMS for what in ("rows", "applies", "n", "missing", "events", "repeated"))}
    from counted group by all order by all"""  # noqa: S608 - arms of the contract
"""DuckDB statement over `classifier_scores` and `design` (`Design.prefixes`): one behaviour's labels, counted per prefix and arm. Prefixes that show no event and whose
user has no other prefix differ only in stratum, weight and counts, so equal ones share a row (`code` null, `prefixes` of them): 1.3 million prefixes become a few thousand rows."""


def some(values: Iterable[object]) -> str:
    """The first three names and how many more there are."""
    names = sorted({str(v) for v in values})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
