"""The design of a sample: which prefix stands for how many messages, in which stratum,
from which user.

Belongs here: the object that the comparison takes, its checks, and the counting of labels against
it. Does not: drawing (sampling), estimators.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.outcomes import ARMS

DESIGN = ("prefix_id", "stratum", "weight", "user_key")  # what of a stored sample makes it


@dataclass(frozen=True)
class Design:
    """A sample's prefixes, one a row: `code` (its place), `prefix_id`, `stratum` (a number),
    `weight` (design weight), `cluster` (a number for the user), `alone` (its user has no other
    prefix in the sample).
    """

    prefixes: pl.DataFrame


def design_of(sample: pl.DataFrame, release: str) -> Design:
    """The design of a stored sample.

    Args:
        sample: columns prefix_id, stratum, weight, user_key (null: a user of its own).
        release: named in errors.

    Raises:
        SimPlatformError: missing columns, repeated prefixes, weights that are not finite and
            positive, with counts and ids.
    """
    if missing := [c for c in DESIGN if c not in sample.columns]:
        raise SimPlatformError(
            f"{release}: columns of the sample are missing for the comparison: {', '.join(missing)}"
        )
    if len(repeated := sample.filter(pl.col("prefix_id").is_duplicated())):
        raise SimPlatformError(
            f"{release}: the sample has {some(repeated['prefix_id'])} more than once"
            f" ({len(repeated)} rows); draw it again"
        )
    unusable = sample.filter(
        ~pl.col("weight").is_finite().fill_null(False)
        | (pl.col("weight") <= 0)
        | pl.col("stratum").is_null()
    )
    if len(unusable):
        raise SimPlatformError(
            f"{release}: {len(unusable)} sampled prefixes have no stratum or no finite positive"
            f" weight: {some(unusable['prefix_id'])}"
        )
    cluster = pl.coalesce("user_key", "prefix_id").rank("dense").cast(pl.UInt32)
    return Design(
        sample.sort("prefix_id")
        .select(
            "prefix_id", pl.col("stratum").rank("dense").cast(pl.UInt32), "weight", cluster=cluster
        )
        .with_columns(alone=pl.col("cluster").is_unique())
        .with_row_index("code")
    )


# one sum counts all arms, 20 bits each: up to a million repeats
_BITS: dict[str, int] = {arm: 20 * place for place, arm in enumerate(ARMS)}


def _counted(condition: str, of: str = "place") -> str:
    return f"sum(case when {condition} then {of} else 0 end)::bigint"


def _columns(arm: str) -> str:
    def mine(counter: str) -> str:
        return f"(({counter} >> {_BITS[arm]}) & 1048575)"

    rows, eligible, labels = mine("n_rows"), mine("n_eligible"), mine("n_labels")
    return (
        f"{rows} as {arm}_rows, {eligible} > 0 as {arm}_applies, {labels} as {arm}_n,"
        f" {eligible} - {labels} as {arm}_missing, {mine('n_events')} as {arm}_events,"
        f" {mine('sum_of_k')} <> {rows} * ({rows} - 1) // 2 as {arm}_repeated"
    )


_PLACE = (
    "case arm "
    + " ".join(f"when '{arm}' then {1 << bits}" for arm, bits in _BITS.items())
    + " end as place"
)
_FOLDED = f"""
    folded as (
        select case when alone and n_events = 0 and n_labels = n_eligible then null
                   else code end as code,
               stratum, weight, n_rows, n_eligible, n_labels, n_events, sum_of_k,
               count(*) as prefixes
        from counted group by all
    )
    select code, stratum, weight, prefixes, {", ".join(_columns(arm) for arm in ARMS)}
    from folded order by all"""  # noqa: S608 - arms of the contract
_ARMS_OF_BEHAVIORS = """
    with runs as (
        select behavior, arm, k, count(*) as n, sum(hash(prefix_id)) as fingerprint
        from classifier_scores where model_version = $release group by all
    )
    select r.behavior, r.arm, count(*) as repeats,
           bool_and(r.n = d.n and r.fingerprint = d.fingerprint)
           and max(r.k) = count(*) - 1 as is_whole
    from runs r, (select count(*) as n, sum(hash(prefix_id)) as fingerprint from design) d
    group by all order by all"""
_EVERY_SCORE = f"""
    with labels as (
        select d.code, d.stratum, d.weight, d.alone, {_PLACE}, applies, label, k
        from classifier_scores s left join design d using (prefix_id)
        where s.model_version = $release and s.behavior = $behavior
    ), counted as (
        select code, any_value(stratum) as stratum, any_value(weight) as weight,
               any_value(alone) as alone, {_counted("true")} as n_rows,
               {_counted("applies")} as n_eligible,
               {_counted("applies and label is not null")} as n_labels,
               {_counted("applies and label")} as n_events,
               {_counted("true", "place * k")} as sum_of_k
        from labels group by code
    ), {_FOLDED}"""  # noqa: S608 - arms of the contract
_OTHER_THAN_NO = f"""
    with labels as (
        select prefix_id, {_PLACE}, applies, label from classifier_scores
        where model_version = $release and behavior = $behavior
          and (not applies or label is null or label)
    ), others as (
        select prefix_id, {_counted("not applies")} as not_eligible,
               {_counted("not applies or label is null")} as without_label,
               {_counted("applies and label")} as events
        from labels group by prefix_id
    ), counted as (
        select d.code, d.stratum, d.weight, d.alone, $n_rows::bigint as n_rows,
               $n_rows::bigint - coalesce(not_eligible, 0) as n_eligible,
               $n_rows::bigint - coalesce(without_label, 0) as n_labels,
               coalesce(events, 0) as n_events, $sum_of_k::bigint as sum_of_k
        from design d left join others using (prefix_id)
    ), {_FOLDED}"""  # noqa: S608 - arms of the contract

# query(sql, params, frames seen as views) on a DuckDB with `classifier_scores`
Query = Callable[[str, Mapping[str, object], Mapping[str, pl.DataFrame]], pl.DataFrame]


@dataclass(frozen=True)
class LabelCounts:
    """One behaviour's labels, counted per prefix and arm: `code`, `stratum`, `weight`, `prefixes`,
    and per arm `_rows`, `_applies` (eligible), `_n` (labels), `_missing`, `_events`, `_repeated`.

    Prefixes that show no event, miss no label and whose user has no other prefix differ only in
    stratum, weight and counts, so equal ones share a row (`code` null, `prefixes` of them): 1.3
    million prefixes become a few thousand rows. `_repeated`: repeats of an arm are numbered 0, 1, 2
    ..., so a repeated key shows in their sum.
    """

    behavior: str
    counts: pl.DataFrame


def label_counts(query: Query, release: str, design: Design) -> Iterator[LabelCounts]:
    """The labels of every behaviour that has scores, one at a time, counted where they are stored.

    Joining millions of scores with the design costs most. An arm is whole when each of its
    repeats has every prefix of the design once: their number and the sum of their hashes say so.
    Where all arms of a behaviour are whole, what is not a plain "no" is joined, and the rest
    follows from the design.
    """
    frames = {"design": design.prefixes}
    arms = query(_ARMS_OF_BEHAVIORS, {"release": release}, frames)
    for (behavior,), mine in arms.group_by(["behavior"], maintain_order=True):
        params = {"release": release, "behavior": behavior}
        if mine["is_whole"].all():
            repeats = dict(mine.select("arm", "repeats").iter_rows())
            packed = {
                "n_rows": sum(n << _BITS[arm] for arm, n in repeats.items()),
                "sum_of_k": sum(n * (n - 1) // 2 << _BITS[arm] for arm, n in repeats.items()),
            }
            yield LabelCounts(str(behavior), query(_OTHER_THAN_NO, params | packed, frames))
        else:
            yield LabelCounts(str(behavior), query(_EVERY_SCORE, params, frames))


def some(values: Iterable[object]) -> str:
    """The first three names and how many more there are."""
    names = sorted({str(v) for v in values})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
