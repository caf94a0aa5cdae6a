"""What the deployment knows about its account holders, kept in the vault for as long as it is
needed and asked for a page of conversations at a time.

Belongs here: reading the accounts file, joining it to conversations. Does not: looking values up in
text (deidentification.known).
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from sim_platform.contracts.errors import BadInputError
from sim_platform.deidentification.deidentify import known_values
from sim_platform.deidentification.known import Known
from sim_platform.registry.home import Home
from sim_platform.registry.sources import Accounts
from sim_platform.warehouse.duckdb_file import DuckDBFile, GateResult

ACCOUNT_VALUES = (
    "create table if not exists account_values (user_id varchar not null, type varchar not null,"
    " value varchar not null)"
)
PAGE = 10_000  # conversations of the extract looked at together
# The corpus is stored in about the order of the extract's ids: within their ends, or all of its
# texts would be read for each page.
PLACES = """
    select min(rowid) as first, max(rowid) as last from deidentified_corpus
    where conversation_key in (select unnest($keys))"""
TEXTS = """
    select conversation_key, messages, metadata, labels from deidentified_corpus
    where rowid between $first and $last and conversation_key in (select unnest($keys))"""


def load_accounts(home: Home, vault: DuckDBFile) -> int:
    """Puts the accounts file's values into the vault, for accounts that have a conversation in the
    extract; returns how many values there are. Without a file there are none.

    Raises:
        BadInputError: the file cannot be read, or lacks a column; quotes nothing of it.
    """
    accounts = home.sources.deidentification.accounts
    values = (
        read_accounts(home.path, accounts)
        if accounts
        else pl.DataFrame(schema={"user_id": pl.String, "type": pl.String, "value": pl.String})
    )
    with vault.transaction() as tx:
        tx.execute(ACCOUNT_VALUES)
        tx.execute("delete from account_values")
        tx.copy("account_values", values)
        tx.execute(
            "delete from account_values where user_id not in (select user_id from"
            " consented_log_extract)"
        )
        return int(tx.query("select count(*) as n from account_values")["n"][0])


def read_accounts(folder: Path, accounts: Accounts) -> pl.DataFrame:
    """user_id, type, value of the accounts file below `folder`; one known value a row.

    Raises:
        BadInputError: the file cannot be read, or lacks a column; quotes nothing of it.
    """
    path = folder / accounts.file
    try:
        table = (
            pl.read_parquet(path)
            if path.suffix == ".parquet"
            else pl.read_csv(path, infer_schema=False)
        )
    except (Exception, pl.exceptions.PanicException) as error:  # its text may quote a row
        raise BadInputError(
            f"sources.yaml: deidentification.accounts.file: {accounts.file} cannot be read as CSV"
            f" or Parquet ({type(error).__name__})"
        ) from None
    if absent := [c for c in (accounts.user, *accounts.columns) if c not in table.columns]:
        raise BadInputError(
            f"sources.yaml: deidentification.accounts: {accounts.file} has no column"
            f" {', '.join(absent)} (columns: {', '.join(table.columns)})"
        )
    parts = [
        table.select(
            user_id=pl.col(accounts.user).cast(pl.String).str.strip_chars(),
            type=pl.lit(type, dtype=pl.String),
            value=pl.col(column).cast(pl.String).str.strip_chars(),
        )
        for column, type in accounts.columns.items()
    ]
    return (
        pl.concat(parts)
        .drop_nulls()
        .filter(pl.col("value") != "", pl.col("user_id") != "")
        .unique(maintain_order=True)
    )


KnownOf = Callable[[pl.DataFrame], list[tuple[Known, ...]]]


def known_of(home: Home, vault: DuckDBFile) -> KnownOf:
    """A function from rows with user_id and metadata to what is known about each row's account:
    from the accounts file, and from the metadata that `account_metadata` names.
    """
    named = home.sources.deidentification.account_metadata

    def known(rows: pl.DataFrame) -> list[tuple[Known, ...]]:
        with vault.reading() as tx:
            if "account_values" not in tx.tables():
                return [tuple(_of_metadata(metadata, named)) for metadata in rows["metadata"]]
            stored = tx.query(
                "select user_id, type, value from account_values where user_id in (select"
                " unnest($ids)) order by all",
                {"ids": rows["user_id"].unique().to_list()},
            )
        by_user: dict[str, list[Known]] = {}
        for user, type, value in stored.iter_rows():
            by_user.setdefault(user, []).append(Known(type, value))
        return [
            (*by_user.get(user, []), *_of_metadata(metadata, named))
            for user, metadata in rows.select("user_id", "metadata").iter_rows()
        ]

    return known


def _of_metadata(metadata: str, named: Mapping[str, str]) -> list[Known]:
    if not named:
        return []
    properties = json.loads(metadata)
    return [
        Known(type, str(properties[key]))
        for key, type in named.items()
        if isinstance(properties.get(key), str | int) and str(properties[key]).strip()
    ]


def known_values_are_absent(
    home: Home, vault: DuckDBFile, warehouse: DuckDBFile, key_of: Callable[[str], str]
) -> GateResult:
    """The join on what is stored: no conversation of the corpus holds a value that is known
    about its account. Only texts of conversations with such values are read.
    """
    known, with_values, bad = known_of(home, vault), 0, 0
    last = "" if _is_anything_known(home, vault) else None
    while last is not None and len(
        rows := vault.query(
            "select conversation_id, user_id, metadata from consented_log_extract where"
            " conversation_id > $last order by conversation_id limit $n",
            {"last": last, "n": PAGE},
        )
    ):
        last = rows["conversation_id"][-1]
        every = zip(rows["conversation_id"], known(rows), strict=True)
        about = {key_of(conversation): values for conversation, values in every if values}
        places = warehouse.query(PLACES, {"keys": list(about)}).to_dicts()[0] if about else {}
        if places.get("first") is None:
            continue
        stored = warehouse.query(TEXTS, {"keys": list(about), **places})
        with_values += len(stored)
        for key, *texts in stored.iter_rows():
            values = known_values(about[key])
            bad += any(values.spans(text) for whole in texts for text in _leaves(json.loads(whole)))
    with warehouse.reading() as tx:
        checked = int(tx.query("select count(*) as n from deidentified_corpus")["n"][0])
    return GateResult(
        bad == 0,
        {"n_bad": bad, "n_conversations": checked, "n_with_known_values": with_values},
        is_vacuous=with_values == 0,
    )


def _is_anything_known(home: Home, vault: DuckDBFile) -> bool:
    if home.sources.deidentification.account_metadata:
        return True
    with vault.reading() as tx:
        if "account_values" not in tx.tables():
            return False
        return bool(tx.query("select exists(from account_values) as found")["found"][0])


def _leaves(value: object) -> list[str]:
    if isinstance(value, dict):
        return [*map(str, value), *(leaf for item in value.values() for leaf in _leaves(item))]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [str(value)] if isinstance(value, str | int) and not isinstance(value, bool) else []
