"""`sim-platform ui`: Dagster's user interface for the operator of this home, and for nobody else.

Belongs here: the command. Does not: processes (orchestration.webserver), who may ask
(orchestration.guard).
"""

from typing import Annotated

import typer

from sim_platform.commands.terminal import exit_codes
from sim_platform.registry.home import home_path, load_home


def ui(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of 127.0.0.1; 0 takes a free one.")
    ] = 3000,
) -> None:
    """Open Dagster's user interface on this machine, until Ctrl-C.

    The address that is printed holds a token: whoever has it can start paid runs. It is new at
    every start; requests without it, and those of other web pages, are refused.
    """
    from sim_platform.orchestration import webserver  # noqa: PLC0415 - imports dagster

    with exit_codes():
        home = load_home(home_path())
        webserver.serve(home, port, lambda address: typer.echo(f"Open {address}"))
