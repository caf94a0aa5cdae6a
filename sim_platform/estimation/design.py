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


_BITS: dict[str, int] = {arm: 20 * place for place, arm in enumerate(ARMS)}  # one sum counts all arms, 20 bits each: up to a million repeats


def _counted(condition: str, of: str = "place") -> str:
    return f"sum(case when {condition} then {of} else 0 end)::bigint"


def _columns(arm: str) -> str:
    def mine(counter: str) -> str:
        return f"(({counter} >> {_BITS[arm]}) & 1048575)"

    rows, eligible, labels = mine("n_rows"), mine("n_eligible"), mine("n_labels")
    return (
        f"{rows} as {arm}_rows, {eligible} > 0 as {arm}_applies, {labels} as {arm}_n, {eligible} - {labels} as {arm}_missing, {mine('n_events')} as {arm}_events, "
        f"{mine('sum_of_k')} <> {rows} * ({rows} - 1) // 2 as {arm}_repeated"
    )


LABEL_COUNTS = f"""
    with labels as (
        select d.code, case arm {" ".join(f"when '{arm}' then {1 << bits}" for arm, bits in _BITS.items())} end as place, applies, label, k
        from classifier_scores s left join design d using (prefix_id)
        where s.model_version = $release and s.behavior = $behavior
    ), counted as (
        select code, {_counted("true")} as n_rows, {_counted("applies")} as n_eligible, {_counted("applies and label is not null")} as n_labels,
               {_counted("applies and label")} as n_events, {_counted("true", "place * k")} as sum_of_k
        from labels group by code
    )
    select case when d.alone and n_events = 0 and n_labels = n_eligible then null else c.code end as code, d.stratum, d.weight, count(*) as prefixes,
           {", ".join(_columns(arm) for arm in ARMS)}
    from counted c left join (select code, stratum, weight, alone from design) d on c.code = d.code group by all order by all"""  # noqa: S608 - arms of the contract
"""DuckDB statement over `classifier_scores` and `design` (`Design.prefixes`): one behaviour's labels, counted per prefix and arm. Prefixes that show no event, miss no label
and whose user has no other prefix differ only in stratum, weight and counts, so equal ones share a row (`code` null, `prefixes` of them): 1.3 million prefixes become a
few thousand rows. `_repeated`: repeats of an arm are numbered 0, 1, 2 …, so a repeated key shows in their sum."""


def some(values: Iterable[object]) -> str:
    """The first three names and how many more there are."""
    names = sorted({str(v) for v in values})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
