"""What killed processes left in a home: drafts of files and parts of tables, which may hold text.

Belongs here: finding and removing them. Does not: journals and batches, which are paid for.
"""

import re
from pathlib import Path

from sim_platform.flows.parts import is_alive, remove_orphans
from sim_platform.registry import preregistration
from sim_platform.registry.home import Home

DRAFT = re.compile(r"\.(\d+)\.tmp(\.wal)?$")  # NAME.PID.tmp, as every writer names its draft


def remove_leftovers(home: Home) -> list[str]:
    """Removes drafts and parts of processes that are no more; returns the drafts' names."""
    remove_orphans(home.path)
    may_hold = (home.path, home.reports, home.path / preregistration.FOLDER, home.path / "graders")
    folders = [folder for folder in may_hold if folder.is_dir()]
    left = [file for folder in folders for file in folder.iterdir() if _is_left(file)]
    for file in left:
        file.unlink(missing_ok=True)
    return sorted(file.name for file in left)


def _is_left(file: Path) -> bool:
    draft = DRAFT.search(file.name)
    return draft is not None and not is_alive(int(draft[1]))
