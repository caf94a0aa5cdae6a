"""`sim-platform report`: the page that a release manager reads.

Belongs here: the command. Does not: what the page says (reporting.release_report).
"""

from typing import Annotated

import typer

from sim_platform.commands.terminal import exit_codes
from sim_platform.registry.home import home_path, load_home


def report(
    model_version: Annotated[str, typer.Argument(help="Candidate release of models.yaml.")],
    examples: Annotated[
        int,
        typer.Option(
            "--examples",
            min=0,
            help="De-identified responses quoted per behaviour; 0 leaves them out.",
        ),
    ] = 3,
) -> None:
    """Write the release's report anew (one self-contained HTML page, with JSON and CSV beside it)
    and print its path. Reads what is stored; costs nothing.
    """
    from sim_platform.flows.report import write_report  # noqa: PLC0415 - imports duckdb and polars

    with exit_codes():
        home = load_home(home_path())
        home.release(model_version)
        typer.echo(write_report(home, model_version, examples))
