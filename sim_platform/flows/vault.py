"""The secrets that the vault keeps, and changing the one that account ids are hashed under.

Belongs here: the keys of all keyed hashes, rotation. Does not: what is hashed with
them (deidentification).

Account ids are hashed by a chain: under the first key, and that hash under the next, one link a
rotation. So a rotation can go over rows and tombstones whose id nobody has any more, and whoever
held the old keys finds nobody in what is written from then on.
"""

import secrets
from collections.abc import Callable

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.extraction import Erasures
from sim_platform.deidentification.deidentify import Keys, account_key, relinked
from sim_platform.warehouse.duckdb_file import DuckDBFile, Transaction

_PENDING = "pending"
_UNWRITTEN = "unwritten"  # beside the keys: files whose old hashes have left bytes behind
_EPOCH = "create table if not exists account_key_epoch (n bigint not null)"


def vault_key(vault: DuckDBFile) -> bytes:
    """The key of all keyed hashes: made once, kept in the vault alone."""
    with vault.transaction() as tx:
        return _first(tx)


def keys_for_a_run(vault: DuckDBFile) -> Keys:
    """The vault's keys, and a new one for surrogates that lives for this run only."""
    with vault.transaction() as tx:
        return Keys(run=secrets.token_bytes(32), vault=_first(tx), accounts=_links(tx))


def account_hash(vault: DuckDBFile) -> Callable[[str], str]:
    """From an account id to its key in every table."""
    keys = keys_for_a_run(vault)
    return lambda user_id: account_key(keys, user_id)


def _first(tx: Transaction) -> bytes:
    tx.execute(
        "create table if not exists vault_keys (name varchar not null, key varchar not null)"
    )
    stored = tx.query("select key from vault_keys where name = 'hashes'")
    if len(stored):
        return bytes.fromhex(stored["key"][0])
    key = secrets.token_bytes(32)
    tx.execute("insert into vault_keys values ('hashes', $key)", {"key": key.hex()})
    return key


def _links(tx: Transaction) -> tuple[bytes, ...]:
    """Keys of the chain behind the first.

    Raises:
        SimPlatformError: a rotation was interrupted; rows could be hashed either way.
    """
    stored = dict(
        tx.query("select name, key from vault_keys where name like 'accounts-%'").iter_rows()
    )
    if f"accounts-{_PENDING}" in stored:
        raise SimPlatformError(
            "a rotation of the account key was interrupted. Finish it with `sim-platform deid"
            " rotate-key`; nothing is lost."
        )
    return tuple(bytes.fromhex(stored[f"accounts-{n}"]) for n in range(1, len(stored) + 1))


def epoch_of(tx: Transaction) -> int:
    """How often the warehouse's account keys were hashed anew."""
    tx.execute(_EPOCH)
    return int(tx.query("select coalesce(max(n), 0) as n from account_key_epoch")["n"][0])


def rotate_account_key(vault: DuckDBFile, warehouse: DuckDBFile) -> int:
    """Hashes every account key of the home anew under a new key; returns how many accounts.
    Clusters, caps and tombstones keep working; the draw and what was paid for stay.

    The new key is kept as pending first. The warehouse then changes in one transaction and notes
    it, the vault in another, and both files are written anew; interrupted anywhere, the same
    command finishes it and begins no second rotation.
    """
    changed = 0
    with vault.transaction() as tx:
        _first(tx)
        is_hashed = bool(len(tx.query(f"from vault_keys where name = '{_UNWRITTEN}'")))
    if not is_hashed:
        changed = _hash_anew(vault, warehouse)
    for file in (vault, warehouse):
        file.rewrite()  # old hashes leave no bytes behind
    with vault.transaction() as tx:
        tx.execute(f"delete from vault_keys where name = '{_UNWRITTEN}'")  # noqa: S608 - a literal
    return changed


def _hash_anew(vault: DuckDBFile, warehouse: DuckDBFile) -> int:
    with vault.transaction() as tx:
        names = set(tx.query("select name from vault_keys where name like 'accounts-%'")["name"])
        if f"accounts-{_PENDING}" not in names:
            tx.execute(
                "insert into vault_keys values ($name, $key)",
                {"name": f"accounts-{_PENDING}", "key": secrets.token_bytes(32).hex()},
            )
        key = bytes.fromhex(
            tx.query(
                "select key from vault_keys where name = $name", {"name": f"accounts-{_PENDING}"}
            )["key"][0]
        )
        link = len(names - {f"accounts-{_PENDING}"}) + 1
    with warehouse.transaction() as tx:
        changed = 0
        if epoch_of(tx) < link:
            tables = tx.query(
                "select table_name from information_schema.columns where table_catalog ="
                " current_database() and column_name = 'user_key'"
            )["table_name"]
            changed = _rehash(tx, tables.to_list(), key)
            tx.execute("insert into account_key_epoch values ($n)", {"n": link})
    with vault.transaction() as tx:
        tx.ensure(Erasures)
        _rehash(tx, ["erasures"], key)
        tx.execute(
            "update vault_keys set name = $name where name = $pending",
            {"name": f"accounts-{link}", "pending": f"accounts-{_PENDING}"},
        )
        tx.execute(f"insert into vault_keys values ('{_UNWRITTEN}', '')")  # noqa: S608 - a literal
    return changed


def _rehash(tx: Transaction, tables: list[str], key: bytes) -> int:
    old = sorted(
        {
            one
            for table in tables
            for one in tx.query(f'select distinct user_key from "{table}"')["user_key"]  # noqa: S608 - names come from contracts, values are parameters
        }
    )
    tx.copy(
        "new_account_keys",
        pl.DataFrame(
            {"old": old, "new": [relinked(key, one) for one in old]},
            schema={"old": pl.String, "new": pl.String},
        ),
    )
    for table in tables:
        tx.execute(
            f'update "{table}" as t set user_key = n.new from new_account_keys n where t.user_key ='  # noqa: S608 - names come from contracts, values are parameters
            " n.old"
        )
    tx.execute("drop table new_account_keys")
    return len(old)
