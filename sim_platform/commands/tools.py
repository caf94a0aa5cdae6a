"""`sim-platform tools`: what the log says of the tools that its conversations called.

Belongs here: the commands. Does not: the work (flows.replay.tools). No tool is ever executed.
"""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table as RichTable

from sim_platform.commands.terminal import Json, exit_codes, print_json, show
from sim_platform.registry.home import home_path, load_home

app = typer.Typer(
    help=(
        "What the log says of the tools that its conversations called: schemas, what is defined"
        " nowhere, and how many calls could be answered without a model. Nothing is executed."
    ),
    no_args_is_help=True,
)
Facts = list[dict[str, Any]]


@app.command()
def infer(as_json: Json = False) -> None:
    """Write tools/schemas.inferred.json: a schema for each tool, from the log's calls alone, and
    how each tool behaves. Nothing inferred is used: read it, write descriptions (a log has none,
    and they matter to the model), and rename it to tools/schemas.json.
    """
    from sim_platform.flows.replay.tools import infer_tools  # noqa: PLC0415 - imports polars

    with exit_codes():
        done = infer_tools(load_home(home_path()))
        if as_json:
            print_json({"file": str(done.file), "tools": done.n_tools, "facts": done.facts})
            return
        table = RichTable(
            "tool", "calls", "errors", "by its name", "reads changed", "agreement", "numbers masked"
        )
        for row in done.facts:
            changed, agreement = row["changes_later_reads"], row["agreement"]
            table.add_row(
                row["tool"],
                str(row["calls"]),
                str(row["errors"]),
                "writes" if row["writes_by_name"] else "reads",
                f"{changed[0]} of {changed[1]}" if changed else "not seen",
                f"{agreement:.3f} of {row['repeats']}" if row["repeats"] else "no repeats",
                "not seen" if row["numbers_changed"] is None else f"{row['numbers_changed']:.0%}",
            )
        show(table)
        typer.echo(
            f"{done.n_tools} tools in {done.file}. Descriptions are empty: write them, they matter"
            " to the model; then rename the file to schemas.json."
        )


@app.command()
def check(as_json: Json = False) -> None:
    """Say which tools the log calls that nothing defines, and where a release's own tools differ
    from those of the log.
    """
    from sim_platform.flows.replay.tools import check_tools  # noqa: PLC0415 - imports polars

    with exit_codes():
        done = check_tools(load_home(home_path()))
        if as_json:
            print_json(asdict(done))
            return
        typer.echo(
            f"{done.n_calls} calls, {done.n_not_served} of them never served; {done.n_sets} sets of"
            " tools"
        )
        for line in done.says:
            typer.echo(line)
        if not done.says:
            typer.echo("ok")


@app.command()
def coverage(
    log: Annotated[
        str | None,
        typer.Option(help="Version whose log answers (default: the one in service)."),
    ] = None,
    of: Annotated[
        list[str] | None,
        typer.Option(
            help="Version whose calls are answered; may be repeated (default: all that replace it"
            " and have conversations in the log)."
        ),
    ] = None,
    same: Annotated[
        str | None,
        typer.Option(
            help="Metadata key whose value says which conversation of the log another one replays"
            " (default: found)."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how many of the log's tool calls could be answered without a model, and how many of
    these answers are the true ones.
    """
    from sim_platform.flows.replay.tools import tool_coverage  # noqa: PLC0415 - imports polars

    with exit_codes():
        done = tool_coverage(load_home(home_path()), log=log, of=of or [], same=same)
        if as_json:
            print_json(done)
            return
        exact = "none" if done["exact"] is None else f"{done['exact']:.1%} of them exactly"
        typer.echo(
            f"{done['calls']} calls of {', '.join(done['of']) or done['log']}, answered from the"
            f" log of {done['log']}: {done['answered']:.1%}, {exact}"
        )
        table = RichTable("source", "answered", "exact")
        for source, row in done["by_source"].items():
            table.add_row(source, str(row["answered"]), str(row["exact"]))
        show(table)
        tools = RichTable("tool", "calls", "answered", "exact")
        for tool, row in done["by_tool"].items():
            tools.add_row(tool, *(str(row[name]) for name in ("calls", "answered", "exact")))
        show(tools)
