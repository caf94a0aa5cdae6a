"""Rules that keep a readable conversation out of the extract.

Belongs here: registered versions and the exclusions of sources.yaml. Does not: consent (consent),
rows that cannot be read (readers).
"""

from collections.abc import Callable, Container, Mapping

from sim_platform.extraction.rows import LogRow
from sim_platform.registry.schema import Predicate, holds

FORGOTTEN = "forgotten"
UNREGISTERED_VERSION = "unregistered_version"


def nobody(_: str) -> bool:
    """No user is forgotten."""
    return False


def drop_reason(
    row: LogRow,
    *,
    versions: Container[str],
    exclude: Mapping[str, Predicate],
    forgotten: Callable[[str], bool] = nobody,
) -> str | None:
    """Why the row is left out, or None: `forgotten` first (its user asked for erasure), then
    `unregistered_version`, then `excluded:<name>` of the first exclusion, in the order of
    sources.yaml, that holds.
    """
    if forgotten(row.user_id):
        return FORGOTTEN
    if row.model_version not in versions:
        return UNREGISTERED_VERSION
    return next(
        (
            f"excluded:{name}"
            for name, predicate in exclude.items()
            if holds(predicate, row.metadata)
        ),
        None,
    )
