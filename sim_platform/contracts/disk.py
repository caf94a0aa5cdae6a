"""Errors of a disk that is full or may not be written, whoever raised them: Python, SQLite behind
Dagster's history, DuckDB, polars.

Belongs here: telling them from other errors, and what is said of them. Does not: where they are
caught (commands, assets, runs).
"""

import errno
import re

WAY_OUT = {
    "full": (
        "no space is left there (or a quota is used up). Make room, then run the same command"
        " again: what was finished stands."
    ),
    "closed": (
        "it cannot be written (read-only, or it belongs to somebody else). Make it writable, or set"
        " SIM_PLATFORM_HOME to a copy of the home."
    ),
    "broken": (
        "the disk is full or broken. Make room, or look at the disk; then run the same command"
        " again."
    ),
}
CODES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "full"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "closed"),
    errno.EIO: "broken",
}
WORDS = {
    "full": re.compile(
        "disk is full|no space left|disk quota|file too large|not enough space|out of disk", re.I
    ),
    "closed": re.compile(
        "readonly database|read-only file system|unable to open database|permission denied", re.I
    ),
    "broken": re.compile("disk I/O error|input/output error", re.I),
}
PLACES = {
    "sqlite3": "Dagster's history (dagster_home of the home)",
    "sqlalchemy": "Dagster's history (dagster_home of the home)",
    "duckdb": "the DuckDB files of the home",
    "_duckdb": "the DuckDB files of the home",
    "polars": "the home",
}


def disk_trouble(error: BaseException, where: str | None = None) -> str | None:
    """What to say when `error`, or what caused it, is the disk's: place and way out, nothing of the
    error's own text. None for every other error.

    Args:
        where: the place, where the caller knows better than the error does.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            kind = CODES.get(seen.errno or 0) if seen.errno else _kind(seen)
            place = seen.filename if isinstance(seen.filename, str) else "the home"
        else:
            place = PLACES.get(type(seen).__module__.partition(".")[0], "")
            kind = _kind(seen) if place else None
        if kind:
            return f"{where or place}: {WAY_OUT[kind]}"
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return None


def _kind(error: BaseException) -> str | None:
    text = str(error)
    return next((kind for kind, words in WORDS.items() if words.search(text)), None)
