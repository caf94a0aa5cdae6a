"""What an error may say in Dagster's event log, which is kept for good and shown to everyone
who opens the UI.

Belongs here: the edge at which exceptions become text. Does not: deciding what fails.
"""

import functools
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import dagster as dg
from dagster import DagsterError, DagsterExecutionInterruptedError

from sim_platform.contracts.disk import disk_trouble
from sim_platform.contracts.errors import SimPlatformError

P = ParamSpec("P")
R = TypeVar("R")


def guarded(body: Callable[P, R]) -> Callable[P, R]:
    """An asset body whose errors show our own texts, and of any other exception only its type and
    place: its text may quote a user.
    """

    @functools.wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return body(*args, **kwargs)
        except (DagsterError, DagsterExecutionInterruptedError, dg.Failure):
            raise
        except SimPlatformError as error:
            text = str(error)
        except Exception as error:
            if said := disk_trouble(error):
                raise dg.Failure(description=said, allow_retries=False) from None
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in frames if "sim_platform" in frame.filename] or frames
            places = " < ".join(
                f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"
                for frame in reversed(ours[-3:])
            )
            text = f"{type(error).__name__} at {places} (its text is withheld: it may quote a user)"
        raise dg.Failure(description=text, allow_retries=False)

    return run
