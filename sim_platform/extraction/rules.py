"""Rules that keep a readable conversation out of the extract.

Belongs here: registered versions, the exclusions of sources.yaml, times that cannot be. Does not:
consent (consent), rows that cannot be read (readers).
"""

from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Final

from sim_platform.extraction.rows import LogRow
from sim_platform.registry.models import Deployed
from sim_platform.registry.schema import Predicate, holds

FORGOTTEN = "forgotten"
UNREGISTERED_VERSION = "unregistered_version"
IN_THE_FUTURE = "in_the_future"
BEFORE_DEPLOYMENT = "before_deployment"
AFTER_DEPLOYMENT = "after_deployment"
OUT_OF_SERVICE: Final = (BEFORE_DEPLOYMENT, AFTER_DEPLOYMENT)
# clocks differ, and the dates of models.yaml have no time zone
TOLERANCE = timedelta(days=1)


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


def impossible_time(started_at: datetime, deployed: Deployed | None, now: datetime) -> str | None:
    """Why a conversation cannot have started then, or None: `in_the_future`, or outside of the days
    in which its version was in service. A day either way is let pass.

    Args:
        started_at, now: with a time zone.
        deployed: days of the version, whole days in UTC; None where they are not known.
    """
    if started_at > now + TOLERANCE:
        return IN_THE_FUTURE
    if deployed is None:
        return None
    day = started_at.astimezone(UTC)
    if day < datetime.combine(deployed.from_, time(), UTC) - TOLERANCE:
        return BEFORE_DEPLOYMENT
    if deployed.until and day >= datetime.combine(deployed.until, time(), UTC) + 2 * TOLERANCE:
        return AFTER_DEPLOYMENT
    return None
