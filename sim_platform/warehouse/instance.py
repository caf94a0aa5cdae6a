"""The DuckDB instance of this process, to which a file is attached for as long as it is in use.

Belongs here: the instance, attaching and detaching. Does not: waiting for a file that somebody else
holds, transactions (duckdb_file). An instance of its own for each opening would cost some 25 ms,
nearly all of it DuckDB's own catalogue; attaching a file costs 3.
"""

import atexit
import itertools
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from sim_platform.contracts.errors import BadInputError

SIZE = re.compile(r"\d+(\.\d+)? ?[KMGT]i?B", re.IGNORECASE)
ROW_GROUP = 122_880  # rows, DuckDB's own choice


class InUseHereError(Exception):
    """The file is in use in this process in a way that cannot be shared: somebody writes."""


@dataclass
class _Attached:
    name: str
    read_only: bool
    users: int


@dataclass(frozen=True)
class _Instance:
    """DuckDB spills to one folder an instance, so there is one for the folder in use, and none that
    a fork took along.
    """

    process: int
    folder: Path
    connection: duckdb.DuckDBPyConnection
    files: dict[Path, _Attached]


_lock = threading.Lock()
_instances: dict[Path, _Instance] = {}
_names = itertools.count()


@contextmanager
def attached(
    path: Path, *, read_only: bool, row_group_size: int = ROW_GROUP
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of its own whose database is the file. Leaving rolls back what is open; the
    file's lock goes with its last user.

    Args:
        row_group_size: rows that DuckDB keeps together in what is written, a multiple of 2,048. It
            writes a table's last groups anew, in memory, when rows are added.

    Raises:
        InUseHereError: another thread or an enclosing block writes, or this one would.
        duckdb.Error: of attaching.
    """
    file = path.resolve()
    with _lock:
        instance = _instance_for(file.parent)
        there = instance.files.get(file)
        if there is None:
            there = _Attached(f"file_{next(_names)}", read_only, 0)
            quoted = str(file).replace("'", "''")
            options = "read_only" if read_only else f"row_group_size {row_group_size}"
            with _given_up_when_broken(instance, duckdb.FatalException):
                instance.connection.execute(f"attach '{quoted}' as {there.name} ({options})")
            instance.files[file] = there
        elif not (read_only and there.read_only):
            raise InUseHereError
        there.users += 1
    try:
        with instance.connection.cursor() as connection:  # leaving rolls back what is open
            connection.execute(f"use {there.name}")
            connection.execute("set timezone = 'UTC'")
            yield connection
    finally:
        with _lock:
            there.users -= 1
            if not there.users:
                del instance.files[file]
                with _given_up_when_broken(instance, duckdb.Error):
                    instance.connection.execute(f"detach {there.name}")


@contextmanager
def _given_up_when_broken(instance: _Instance, error: type[duckdb.Error]) -> Iterator[None]:
    """After such an error nothing more can be had from an instance: the next file gets a new one,
    and this one ends with its last connection.
    """
    try:
        yield
    except error:
        if _instances.get(instance.folder) is instance:
            del _instances[instance.folder]
        instance.connection.close()
        raise


def _instance_for(folder: Path) -> _Instance:
    found = _instances.get(folder)
    if found is None or found.process != os.getpid():
        for idle in [i for i in _instances.values() if i.process == os.getpid() and not i.files]:
            idle.connection.close()
            del _instances[idle.folder]
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory_limit(),
            # In the home, not in the working folder. Unencrypted: DuckDB's own cipher only reads,
            # and a statement that outgrows memory would fail.
            "temp_directory": str(folder / "duckdb.tmp"),
            # A detached file's memory goes back to the system. By default only some 500 MB at once
            # do, and many short transactions add up.
            "allocator_bulk_deallocation_flush_threshold": "64KB",
        }
        found = _instances[folder] = _Instance(
            os.getpid(), folder, duckdb.connect(config=config), {}
        )
    return found


def memory_limit() -> str:
    """What DuckDB may hold before it spills to disk: SIM_PLATFORM_DUCKDB_MEMORY ("2GB"), by default
    512 MB, or 128 MB a core where there are more than four. Its own default is most of the machine,
    and then memory grows with the log.
    """
    given = os.environ.get("SIM_PLATFORM_DUCKDB_MEMORY")
    if given and not SIZE.fullmatch(given):
        raise BadInputError(
            f'SIM_PLATFORM_DUCKDB_MEMORY: "{given}" is no size such as 512MB or 2GB'
        )
    return given or f"{max(512, 128 * (os.cpu_count() or 1))}MB"


@atexit.register
def _close() -> None:
    for instance in _instances.values():
        if instance.process == os.getpid():
            instance.connection.close()
    _instances.clear()
