"""Grading functions of a deployment's own: `module:name`, from a file of the home or an installed
module.

Belongs here: finding one, its source, and refusing what cannot be a grader. Does not: the functions
that ship (functions), calling one over outcomes (scores).

`graders.tone:is_rude` is the function `is_rude` in `graders/tone.py` of the home, or, where there
is no such file, in the module `graders.tone` that is installed. The whole file is its source:
patterns and helpers beside the function count towards the grader hash, and what is hashed is what
runs. A file of the home stands alone; it imports what is installed, not its neighbours.
"""

import hashlib
import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import FunctionType, ModuleType

from sim_platform.contracts.errors import BadInputError

NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")

Function = Callable[..., bool | None]


def is_own(function: str) -> bool:
    """Whether a behaviour file names a function of its own rather than one that ships."""
    return ":" in function


def own_function(function: str, home: Path, place: str) -> tuple[Function, str]:
    """The function and the source of the whole file that it stands in.

    Args:
        function: `module:name`. home: folder of the home. place: of the key, for errors.

    Raises:
        BadInputError: no such file or module, one that cannot be loaded, or no Python function of
            that name in it.
    """
    if NAME.fullmatch(function) is None:
        raise BadInputError(
            f'{place}: "{function}" is not module:name, such as graders.tone:is_rude for the'
            " function is_rude in graders/tone.py of the home"
        )
    dotted, _, name = function.partition(":")
    file = home / (dotted.replace(".", "/") + ".py")
    module, source = (
        _of_the_home(file, home, place) if file.is_file() else _installed(dotted, file, place)
    )
    found = getattr(module, name, None)
    if not isinstance(found, FunctionType):
        there = sorted(
            n
            for n, f in vars(module).items()
            if isinstance(f, FunctionType) and f.__module__ == module.__name__ and n[0] != "_"
        )
        raise BadInputError(
            f'{place}: there is no function "{name}" in {dotted} (functions:'
            f" {', '.join(there) or 'none'})"
        )
    return found, source


def _of_the_home(file: Path, home: Path, place: str) -> tuple[ModuleType, str]:
    if not file.resolve().is_relative_to(home.resolve()):
        raise BadInputError(f"{place}: {file.relative_to(home)} leads out of the home; copy it in")
    try:
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{place}: {file.relative_to(home)} cannot be read ({type(error).__name__})"
        ) from None
    try:
        return _run(str(file), source), source
    except Exception as error:  # anything may be in there
        raise BadInputError(
            f"{place}: {file.relative_to(home)} cannot be loaded"
            f" ({type(error).__name__}{_line(error, str(file))})"
        ) from None


@lru_cache(maxsize=256)
def _run(file: str, source: str) -> ModuleType:
    """A module of its own name, so that an edited file is another module."""
    digest = hashlib.sha256(f"{file}\n{source}".encode()).hexdigest()[:16]
    module = ModuleType(f"grader_of_the_home_{digest}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(source, file, "exec"), vars(module))  # noqa: S102 - the home's own code, which its behaviour file names
    except SystemExit as error:
        raise RuntimeError("the file ends the process") from error
    return module


def _installed(dotted: str, file: Path, place: str) -> tuple[ModuleType, str]:
    try:
        module = importlib.import_module(dotted)
        source = inspect.getsource(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{dotted}.".startswith(f"{error.name}."):
            raise BadInputError(
                f"{place}: the module {dotted} needs {error.name}, which is not installed"
            ) from None
        raise BadInputError(
            f"{place}: there is neither a file {file} nor an installed module {dotted}"
        ) from None
    except Exception as error:  # anything may be in there
        raise BadInputError(
            f"{place}: the module {dotted} cannot be loaded ({type(error).__name__})"
        ) from None
    return module, source


def _line(error: Exception, file: str) -> str:
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file
    ]
    return f", line {lines[-1]}" if lines else ""
