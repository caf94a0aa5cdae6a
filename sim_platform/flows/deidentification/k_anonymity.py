"""Strata that too few people share are suppressed in the corpus, and what that costs is said.

Belongs here: which values are replaced, keeping the originals in the vault, the counts. Does not:
strata and allocation (sampling).

The values of a rare class become "(rare)"; the conversation stays, so that totals stand. What
it costs are the strata themselves and behaviours that apply to some of their values: the
suppressed mass is reported. The originals stay in the vault: when enough people share a class
again, it comes back.
"""

import json

import polars as pl

from sim_platform.contracts.messages import canonical_json
from sim_platform.contracts.tables.deidentification import StrataSuppression
from sim_platform.contracts.tables.schema import frame
from sim_platform.registry.home import Home
from sim_platform.warehouse.duckdb_file import DuckDBFile, Transaction
from sim_platform.warehouse.gates import EVERY_STRATUM_HAS_ENOUGH_USERS

RARE = "(rare)"
_ORIGINALS = (
    "create table if not exists strata_originals (conversation_key varchar not null, content_key"
    " varchar not null, deid_version varchar not null, metadata varchar not null)"
)


def suppress_rare_strata(home: Home, vault: DuckDBFile, warehouse: DuckDBFile) -> None:
    """Makes every class of the strata columns of this home's releases as large as `k`, in one gated
    transaction of the warehouse.

    The originals reach the vault before the warehouse commits and are pruned after: a run that is
    killed in between loses none.
    """
    columns = sorted(
        {key for release in home.releases for key in home.release(release)[0].plan.strata}
    )
    k = home.sources.deidentification.k
    with vault.transaction() as tx:
        tx.execute(_ORIGINALS)
        originals = tx.query("from strata_originals")
    with warehouse.transaction() as tx:
        tx.copy("strata_originals", originals)
        tx.execute(
            "update deidentified_corpus as c set metadata = o.metadata from strata_originals o"
            " where o.conversation_key = c.conversation_key and o.content_key = c.content_key and"
            " o.deid_version = c.deid_version"
        )
        tx.execute("drop table strata_originals")
        now, counts = _suppressed(tx, columns, k)
        with vault.transaction() as kept:
            kept.execute(
                "delete from strata_originals where conversation_key in (select unnest($keys))",
                {"keys": now["conversation_key"].to_list()},
            )
            kept.copy("strata_originals", now)
        tx.replace(
            StrataSuppression,
            frame(
                StrataSuppression, [{"strata_columns": canonical_json(columns), "k": k, **counts}]
            ),
        )
        tx.pass_gates([EVERY_STRATUM_HAS_ENOUGH_USERS])
    with vault.transaction() as tx:
        tx.execute(
            "delete from strata_originals where conversation_key not in (select unnest($keys))",
            {"keys": now["conversation_key"].to_list()},
        )


def _suppressed(tx: Transaction, columns: list[str], k: int) -> tuple[pl.DataFrame, dict[str, int]]:
    """Rows of rare classes as they were, and the counts; the corpus has them suppressed."""
    paths = {f"p{i}": f'$."{column}"' for i, column in enumerate(columns)}
    values = ", ".join(f"json_extract_string(metadata, ${name})" for name in paths)
    tx.execute(
        f"create temp table classes as select conversation_key, user_key, [{values}]::varchar[] as"  # noqa: S608 - names come from contracts, values are parameters
        " class from deidentified_corpus",
        paths,
    )
    sizes = tx.query(
        "select class, count(distinct user_key) as users from classes group by class order by"
        " users, class::varchar"
    ).with_row_index("rank")
    n_rare = int((sizes["users"] < k).sum()) if columns else 0
    while 0 < n_rare < len(sizes):  # what is suppressed must be a crowd itself
        tx.execute(
            "create or replace temp table rare as select unnest($classes)::varchar[] as class",
            {"classes": sizes["class"][:n_rare].to_list()},
        )
        if (
            tx.query(
                "select count(distinct user_key) as n from classes semi join rare on classes.class"
                " is not distinct from rare.class"
            )["n"][0]
            >= k
        ):
            break
        n_rare += 1
    tx.execute(
        "create or replace temp table rare as select unnest($classes)::varchar[] as class",
        {"classes": sizes["class"][:n_rare].to_list()},
    )
    rows = tx.query(
        "select conversation_key, content_key, deid_version, metadata from deidentified_corpus c"
        " where conversation_key in (select conversation_key from classes semi join rare on"
        " classes.class is not distinct from rare.class)"
    )
    new = rows.select(
        "conversation_key",
        metadata=pl.Series(
            [
                canonical_json(json.loads(m) | dict.fromkeys(columns, RARE))
                for m in rows["metadata"]
            ],
            dtype=pl.String,
        ),
    )
    tx.copy("suppressed", new)
    tx.execute(
        "update deidentified_corpus as c set metadata = s.metadata from suppressed s where"
        " s.conversation_key = c.conversation_key"
    )
    users = tx.query(
        "select count(distinct user_key)::bigint as n_users, count(*)::bigint as n_conversations,"
        " count(distinct user_key) filter (conversation_key in (select conversation_key from"
        " suppressed))::bigint as n_users_suppressed from classes"
    ).to_dicts()[0]
    left = sizes["users"][n_rare:].to_list() + ([users["n_users_suppressed"]] if n_rare else [])
    for table in ("classes", "rare", "suppressed"):
        tx.execute(f"drop table {table}")
    return rows, {
        **users,
        "n_suppressed": len(rows),
        "n_classes": len(sizes) - n_rare,
        "n_classes_suppressed": n_rare,
        "smallest_class": int(min(left, default=0)),
    }
