"""`sim-platform`: the same work without the UI.

Belongs here: commands, progress on the terminal, exit codes (0 done, 1 failed, 2 bad input). Does not: the work itself (orchestration).
"""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.registry.home import Home, home_path, load_home

app = typer.Typer(
    name="sim-platform",
    help="Deployment simulation: replay the production log of the version in service against a candidate, and compare how often each behaviour occurs.\n\n"
    "The home folder (SIM_PLATFORM_HOME, default data/) holds sources.yaml, models.yaml, behaviors/ and the results. Typical order: check, run MODEL_VERSION, rates MODEL_VERSION.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.command()
def check(as_json: Json = False) -> None:
    """Validate the home folder without running anything: YAML, references, log files, consent ledger, API key variables."""
    with _exit_codes():
        home = load_home(home_path())
        facts = runs().home_facts(home)
        if as_json:
            _print_json(facts)
            return
        for name, value in facts.items():
            typer.echo(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
        typer.echo("ok")


@app.command()
def run(
    model_version: Annotated[str | None, typer.Argument(help="Candidate release of models.yaml.")] = None,
    all_releases: Annotated[bool, typer.Option("--all", help="Run every release of models.yaml.")] = False,
    sample_size: Annotated[int | None, typer.Option("--sample-size", min=1, help="Prefixes to draw instead of the plan's sample_size.")] = None,
) -> None:
    """Run the whole simulation for one release (or all): extract, de-identify, sample, replay, grade, compare.

    Only what is new or missing is done, so an interrupted run is resumed by the same command and nothing is paid for twice.
    """
    with _exit_codes():
        home = load_home(home_path())
        if all_releases == (model_version is not None):
            raise BadInputError(f"name one release or give --all (releases: {', '.join(home.releases) or 'none'})")
        releases = list(home.releases) if all_releases else [home.release(model_version or "")[0].version]
        with _progress():
            failed = runs().run_releases(home, releases, sample_size, say=lambda line: typer.echo(line, err=True))
        for release in releases:
            if release not in failed:
                _print_rates(home, release)
        if failed:
            raise SimPlatformError(f"failed: {', '.join(failed)}; run the same command again to resume")


@app.command()
def rates(model_version: Annotated[str, typer.Argument(help="Candidate release of models.yaml.")], as_json: Json = False) -> None:
    """Show the stored rate comparison of a release: per behaviour and arm, with 95 % intervals and paired ratios."""
    with _exit_codes():
        home = load_home(home_path())
        home.release(model_version)
        if as_json:
            _print_json(runs().stored_rates(home, model_version).to_dicts())
        else:
            _print_rates(home, model_version)


@app.command()
def status(as_json: Json = False) -> None:
    """Show how far each release is: rows of every stage."""
    with _exit_codes():
        home = load_home(home_path())
        facts = runs().status(home)
        if as_json:
            _print_json(facts)
            return
        typer.echo(f"home: {home.path}\nextracted: {facts['extracted']}   in the corpus: {facts['corpus']}   quarantined: {facts['quarantined']}")
        table = RichTable("release", "replaces", "prefixes", "outcomes", "failed", "scores", "rates", "cost USD")
        for row in facts["releases"]:
            table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
        Console().print(table)


def runs() -> Any:
    """`orchestration.runs`, imported when first needed: Dagster takes a second that `--help` should not."""
    from sim_platform.orchestration import runs as module  # noqa: PLC0415 - see the docstring

    return module


@contextmanager
def _progress() -> Iterator[None]:
    """Bars on a terminal, a line per stage and tenth of the way otherwise; both on standard error."""
    from sim_platform.orchestration.progress import LISTENER  # noqa: PLC0415 - imports dagster

    console = Console(stderr=True)
    if not console.is_terminal:
        shown: dict[str, int] = {}

        def line(stage: str, done: int, total: int | None) -> None:
            step = 10 * done // total if total else done // 1000
            if shown.get(stage) != step:
                shown[stage] = step
                typer.echo(f"{stage}: {done}{f' of {total}' if total else ''}", err=True)

        token = LISTENER.set(line)
        try:
            yield
        finally:
            LISTENER.reset(token)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def bar(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks or progress.tasks[tasks[stage]].completed > done:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done, total=total)

        token = LISTENER.set(bar)
        try:
            yield
        finally:
            LISTENER.reset(token)


def _print_rates(home: Home, release: str) -> None:
    from sim_platform.reporting.rates import rate_rows  # noqa: PLC0415 - imports polars

    stored = runs().stored_rates(home, release)
    candidate, replaced = home.release(release)
    rows = rate_rows(stored)
    table = RichTable(*[name for name in rows[0] if name != "release"], title=f"{release} against {replaced.version}: rates per 100,000 messages with 95 % intervals")
    for row in rows:
        table.add_row(*(str(value) for name, value in row.items() if name != "release"))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    typer.echo(f"Measured: the {candidate.measures}. Ratios are paired on the same prefixes. Consent: {home.sources.consent.all or 'per conversation, from the ledger'}.")


def _print_json(value: object) -> None:
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def _plain(value: object) -> object:
    """JSON has no infinity: an unbounded limit is written as the text "inf"."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return "inf" if isinstance(value, float) and math.isinf(value) else value


@contextmanager
def _exit_codes() -> Iterator[None]:
    try:
        yield
    except BadInputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    except SimPlatformError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
