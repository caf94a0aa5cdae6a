"""`sim-platform export-requests`, `import-completions` and `batches`: answers that come from
elsewhere, or later.

Belongs here: these commands and how they report. Does not: formats and matching
(replay.imports, flows.replay.importing).
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sim_platform.commands.terminal import (
    Json,
    Size,
    Yes,
    exit_codes,
    may_redraw,
    print_json,
    progress_shown,
    runs,
)
from sim_platform.contracts.errors import SimPlatformError
from sim_platform.registry.home import home_path, load_home

POLL_SECONDS = 60.0
Release = Annotated[str, typer.Argument(help="Candidate release of models.yaml.")]
ArmOption = Annotated[
    Literal["candidate", "control"],
    typer.Option("--arm", help="candidate: the release; control: the version that it replaces."),
]


def export_requests(
    model_version: Release,
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            help="JSONL file to write, one request a line, as the OpenAI Batch API takes it.",
        ),
    ],
    arm: ArmOption = "candidate",
    sample_size: Size = None,
    yes: Yes = False,
) -> None:
    """Draw and register the release's sample, and write the requests that have no outcome yet;
    nothing is sent.

    The file holds de-identified text. Send it through a batch endpoint (often at half the price) or
    a runner of your own, and bring the answers back with import-completions.
    """
    with exit_codes():
        home = load_home(home_path())
        home.release(model_version)
        redraw = may_redraw(home, [model_version], sample_size, yes)
        with progress_shown():
            failed = runs().run_releases(
                home,
                [model_version],
                sample_size,
                say=lambda line: typer.echo(line, err=True),
                redraw=redraw,
                only_sample=True,
            )
        if failed:
            raise SimPlatformError(f"failed: {model_version}; nothing was written")
        typer.echo(f"{to}: {_flow().export_requests(home, model_version, arm, to)} requests")


def batches(
    model_version: Release,
    wait: Annotated[
        bool, typer.Option("--wait", help="Ask again every minute until no batch is out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask for a release's batches (provider openai_batch) and store the answers of those that have
    ended. Hands nothing over and costs nothing.

    `run` hands requests over, and ends while answers are out; run it again after this.
    """
    from sim_platform.flows.replay import batches as flow  # noqa: PLC0415 - imports duckdb

    with exit_codes():
        home = load_home(home_path())
        home.release(model_version)
        lines = flow.poll(home, model_version)
        while wait and any(line.state != "ended" for line in lines):
            typer.echo(f"{sum(line.state != 'ended' for line in lines)} batches are out", err=True)
            time.sleep(POLL_SECONDS)
            lines = flow.poll(home, model_version)
        if as_json:
            print_json([asdict(line) for line in lines])
        else:
            for line in lines:
                typer.echo(
                    f"{line.arm} {line.batch_id or line.key}: {line.status or line.state},"
                    f" {line.answered} of {line.requests} answered"
                )
            typer.echo(
                f"{len(lines)} batches" if lines else f"{model_version}: no batch was handed over"
            )


def import_completions(
    model_version: Release,
    file: Annotated[
        Path,
        typer.Argument(
            help="Batch output, an inspect_ai log (.eval or .json), or JSONL of {prefix_id, text}."
        ),
    ],
    arm: ArmOption = "candidate",
    as_json: Json = False,
) -> None:
    """Take completions that you already have as outcomes of a release. `run` then sends only what
    is still missing.

    A line names its request by custom_id (as in export-requests) or prefix_id and k, and holds
    `text` or a response object. A request that has an outcome keeps it. Lines that match no request
    or hold no completion are counted by reason with their first line numbers. Exit code 1 when no
    line was of use.
    """
    with exit_codes():
        home = load_home(home_path())
        home.release(model_version)
        done = _flow().import_completions(home, model_version, arm, file)
        if as_json:
            print_json(asdict(done))
        else:
            typer.echo(
                f"{done.lines} lines: {done.imported} imported, {done.already_there} already there,"
                f" {sum(done.left_out.values())} left out; {done.missing} requests have no"
                " outcome yet"
            )
            for reason, n in sorted(done.left_out.items()):
                typer.echo(
                    f"  {reason}: {n} (lines {', '.join(map(str, done.examples[reason]))}"
                    f"{' …' if n > len(done.examples[reason]) else ''})"
                )
        if done.lines and not done.imported and not done.already_there:
            raise SimPlatformError(
                f"{file}: no line answers a request of {model_version}. Lines name requests by"
                " custom_id or prefix_id, as export-requests writes them."
            )


def _flow() -> Any:
    from sim_platform.flows.replay import importing  # noqa: PLC0415 - imports polars and duckdb

    return importing
