"""The secret that the vault keeps.

Belongs here: the key of all keyed hashes. Does not: what is hashed with it.
"""

import secrets

from sim_platform.warehouse.duckdb_file import DuckDBFile


def vault_key(vault: DuckDBFile) -> bytes:
    """The key of all keyed hashes: made once, kept in the vault alone."""
    with vault.transaction() as tx:
        tx.execute("create table if not exists vault_keys (name varchar not null, key varchar not null)")
        stored = tx.query("select key from vault_keys where name = 'hashes'")
        if len(stored):
            return bytes.fromhex(stored["key"][0])
        key = secrets.token_bytes(32)
        tx.execute("insert into vault_keys values ('hashes', $key)", {"key": key.hex()})
        return key
