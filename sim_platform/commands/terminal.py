"""What every command of `sim-platform` shares on the terminal: progress, JSON, exit codes.

Belongs here: how things are shown and asked, and how a command ends (0 done, 1 failed, 2 bad
input). Does not: commands.
"""

import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from textwrap import fill
from typing import Annotated, Any, TextIO, cast

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from sim_platform.contracts.disk import disk_trouble
from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.contracts.escaping import table_cell, visible
from sim_platform.registry.home import Home

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Size = Annotated[
    int | None,
    typer.Option(
        "--sample-size",
        min=1,
        help="Prefixes; default: as many as the stored sample, else the plan's sample_size.",
    ),
]
Yes = Annotated[
    bool,
    typer.Option(
        "--yes", help="Draw another sample than the stored one where its size differs; do not ask."
    ),
]

MEASURED = 1_000  # columns, more than any table needs
UNBROKEN = "\N{NO-BREAK SPACE}"


def show(table: Table) -> None:
    """A table, as wide as the terminal (200 columns in a file or a pipe); row by row where the
    terminal is too narrow for its words and figures, so that none is cut.
    """
    console = Console(width=None if sys.stdout.isatty() else 200, file=_unescaped(sys.stdout))
    table = _escaped(table)
    table.columns[0].no_wrap = True
    if (
        console.measure(table, options=console.options.update(max_width=MEASURED)).minimum
        <= console.width
    ):
        console.print(table)
        return
    console.print(Text(str(table.title or ""), style="italic"))
    for name, *cells in zip(*(column.cells for column in table.columns), strict=True):
        facts = [
            f"{column.header}: {cell}".replace(" ", UNBROKEN)
            for column, cell in zip(table.columns[1:], cells, strict=True)
        ]
        lines = fill(
            " · ".join(facts),
            console.width,
            initial_indent="  ",
            subsequent_indent="  ",
            break_on_hyphens=False,
        )
        console.print(
            Text(str(name), style="bold"),
            Text(lines.replace(UNBROKEN, " ")),
            sep="\n",
            soft_wrap=True,
        )
    if table.caption:
        console.print(Text(str(table.caption), style="italic"))


def _escaped(table: Table) -> Table:
    """The same table, whose cells are text: no markup of rich, no control characters."""
    made = Table(
        title=table.title and Text(table_cell(table.title)),
        caption=table.caption and Text(visible(str(table.caption))),
    )
    for column in table.columns:
        made.add_column(Text(table_cell(column.header)), justify=column.justify)
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        made.add_row(*(Text(table_cell(cell)) for cell in cells))
    return made


class _Escaping(io.TextIOBase):
    """What a command writes, with control characters made visible: names and texts of others stand
    in it.
    """

    def __init__(self, inner: TextIO) -> None:
        self.inner = inner

    def write(self, text: str) -> int:
        self.inner.write(visible(text))
        return len(text)

    def flush(self) -> None:
        self.inner.flush()

    def isatty(self) -> bool:
        return self.inner.isatty()

    def fileno(self) -> int:
        return self.inner.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override] # of the stream behind it
        return self.inner.encoding


def _unescaped(stream: TextIO) -> TextIO:
    """For colours and lines of a table whose cells are escaped already."""
    return stream.inner if isinstance(stream, _Escaping) else stream


def runs() -> Any:
    """`orchestration.runs`, imported when first needed: Dagster takes a second that
    `--help` should not.
    """
    from sim_platform.orchestration import runs as module  # noqa: PLC0415 - see the docstring

    return module


def results() -> Any:
    """`flows.results`, imported when first needed, as polars and DuckDB are."""
    from sim_platform.flows import results as module  # noqa: PLC0415 - see the docstring

    return module


def may_redraw(home: Home, releases: Sequence[str], sample_size: int | None, yes: bool) -> bool:
    """Whether stored samples may give way to ones of another size: asks where one would, and says
    where a remembered size is not the plan's.

    Raises:
        BadInputError: one would, without --yes, and there is nobody to ask.
        SimPlatformError: the answer was no.
    """
    from sim_platform.flows.files import warehouse_of  # noqa: PLC0415 - imports duckdb
    from sim_platform.flows.sampling import refuse_another_size, size_of_sample  # noqa: PLC0415 - imports polars

    warehouse, agreed = warehouse_of(home), yes
    for release in releases:
        size = size_of_sample(home, warehouse, release, sample_size)
        planned = home.by_version[release].plan.sample_size
        if size.changes and not yes:
            if not sys.stdin.isatty():
                refuse_another_size(size, release)
            question = (
                f"{release}: its sample was drawn at {size.stored} prefixes. Draw one of"
                f" {size.wanted} in its place?"
            )
            if not typer.confirm(question, err=True):
                raise SimPlatformError(f"{release}: the sample of {size.stored} stays")
            agreed = True
        elif sample_size is None and size.stored == size.wanted != planned:
            typer.echo(
                f"{release}: keeps the size of its sample, {size.stored} prefixes (the plan says"
                f" {planned}; --sample-size {planned} draws it)",
                err=True,
            )
    return agreed


@contextmanager
def progress_shown() -> Iterator[None]:
    """Bars on a terminal, a line per stage and tenth of the way otherwise, on standard error."""
    from sim_platform.orchestration.progress import LISTENER  # noqa: PLC0415 - imports dagster

    with _standard_error() as file, _listener(file) as listener:
        token = LISTENER.set(listener)
        try:
            yield
        finally:
            LISTENER.reset(token)


@contextmanager
def _standard_error() -> Iterator[TextIO]:
    """Standard error as it is now: while a step runs, Dagster turns the descriptor towards a file
    of its own, and progress would be seen only afterwards.
    """
    try:
        copy = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):  # not a real file, as under a test runner
        yield sys.stderr
        return
    with os.fdopen(copy, "w", buffering=1, encoding="utf-8", errors="replace") as file:
        yield file


@contextmanager
def _listener(file: TextIO) -> Iterator[Callable[[str, int, int | None], None]]:
    console = Console(file=file)
    if not console.is_terminal:
        shown: dict[str, int] = {}

        def line(stage: str, done: int, total: int | None) -> None:
            step = 10 * done // total if total else done // 1000
            if shown.get(stage) != step:
                shown[stage] = step
                print(f"{stage}: {done}{f' of {total}' if total else ''}", file=file, flush=True)

        yield line
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def bar(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks or progress.tasks[tasks[stage]].completed > done:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done, total=total)

        yield bar


def print_json(value: object) -> None:
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def _plain(value: object) -> object:
    """JSON has no infinity: an unbounded limit is written as the text "inf"."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return "inf" if isinstance(value, float) and math.isinf(value) else value


@contextmanager
def exit_codes(failed: int = 1) -> Iterator[None]:
    """Errors as one line each: 2 for bad input, `failed` for anything else that the platform
    refuses and for a disk that is full or closed. Whatever is written meanwhile is escaped.
    """
    out, err = (cast("TextIO", _Escaping(s)) for s in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield
        except BadInputError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None
        except SimPlatformError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(failed) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if (said := disk_trouble(error)) is None:
                raise
            typer.echo(f"error: {said}", err=True)
            raise typer.Exit(failed) from None
