"""Files that hold users' text: readable by their owner alone, and never half written.

Belongs here: how such a file is written, and what is said when it cannot be. Does not: what is in
it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from sim_platform.contracts.disk import disk_trouble
from sim_platform.contracts.errors import SimPlatformError


@contextmanager
def private_file(path: Path) -> Iterator[TextIO]:
    """A draft of mode 0600 beside `path`, that takes its place when the block ends without an
    error, whatever mode the file had that stood there. A pipe or device is written to as it is.

    Raises:
        SimPlatformError: it cannot be written; what stood there stands.
    """
    is_special = path.exists() and not path.is_file()
    target = path if is_special else path.resolve()
    draft = target if is_special else target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if not is_special:
            draft.unlink(missing_ok=True)
        flags = os.O_WRONLY if is_special else os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="utf-8", newline="") as file:
            yield file
        if not is_special:
            os.replace(draft, target)
    except OSError as error:
        raise SimPlatformError(
            disk_trouble(error, str(path))
            or f"{path}: cannot be written ({error.strerror or type(error).__name__})"
        ) from None
    finally:
        if not is_special:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """The whole of it, as `private_file` does."""
    with private_file(path) as file:
        file.write(text)
