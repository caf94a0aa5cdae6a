"""`sim-platform forecast`, `score` and `validate`: the rate in service beforehand, how good that
was, and the method tried where the truth is known.

Belongs here: the commands and how they print. Does not: methods and scores (forecasting).
"""

from math import exp
from typing import Annotated, Literal

import typer
from rich.table import Table

from sim_platform.commands.terminal import Json, exit_codes, print_json, results, show
from sim_platform.contracts.errors import SimPlatformError
from sim_platform.registry.home import home_path, load_home

Release = Annotated[str, typer.Argument(help="Candidate release of models.yaml.")]


def forecast(model_version: Release, as_json: Json = False) -> None:
    """Show the stored forecast of each behaviour's rate in service: full method with its 90 %
    interval, and the baselines beside it.
    """
    from sim_platform.reporting.rates import marked, per_100k  # noqa: PLC0415 - imports polars

    with exit_codes():
        home = load_home(home_path())
        home.release(model_version)
        rows = results().stored_forecasts(home, model_version)
        if as_json:
            print_json(rows)
            return
        by = {(row["behavior"], row["method"]): row for row in rows}
        baseline = ["challenging"] if any(method == "challenging" for _, method in by) else []
        table = Table(
            "behaviour",
            "in service",
            "n",
            *(f"{m} prompts" for m in baseline),
            "forecast",
            "90 % interval",
            "simulated",
            "post-stratified",
            "direction",
            title=f"{model_version}: forecast per 100,000 messages",
        )
        for (name, method), row in by.items():
            if method == "M7":
                others = (per_100k(by[name, m]["rate"]) for m in ("M0", "M3"))
                given = (
                    per_100k(by[name, m]["rate"]) if (name, m) in by else "–" for m in baseline
                )
                table.add_row(
                    marked(name, row["is_exploratory"]),
                    per_100k(row["prior_rate"]),
                    "–" if row["prior_messages"] is None else f"{row['prior_messages']:,.0f}",
                    *given,
                    per_100k(row["rate"]),
                    f"{per_100k(row['low'])} to {per_100k(row['high'])}",
                    *others,
                    row["direction"],
                )
        show(table)
        if note := results().earlier_sample(rows):
            typer.echo(f"The forecast is {note}.")
        typer.echo(
            "n: messages of the version in service, of its newest weeks or, where these have too"
            " few, of its whole log. The interval holds posterior, discrepancy learned from control"
            " arms and past releases, and the noise of counting the rate in production."
        )


SCORES = {
    "n": "behaviours scored",
    "below_floor": "not scored: too rare",
    "median": "median error",
    "mean": "mean error",
    "p90": "error of 90 %",
    "p95": "error of 95 %",
    "within_2": "within a factor of 2",
    "within_5": "within a factor of 5",
    "within_10": "within a factor of 10",
    "n_moved": "moved by 1.5 or more",
    "direction_right": "direction right of those",
    "log_score": "log score",
    "regret": "regret",
    "coverage": "inside 90 % interval, of all",
    "coverage_above_floor": "inside it, of those scored",
    "poisson_limit": "median error of noise",
}
"""Columns of a scorecard in the words of its printed table."""


def score(model_version: Release, as_json: Json = False) -> None:
    """Show how good the release's first forecast was, method by method, with the mean over all
    scored releases. Needs the release's own log.
    """
    with exit_codes():
        home = load_home(home_path())
        home.release(model_version)
        facts = results().stored_scores(home, model_version)
        if as_json:
            print_json(facts)
            return
        methods = facts["methods"]
        table = Table(
            "",
            *(row["method"] for row in methods),
            title=f"{model_version} against its own log",
            caption="errors are multiplicative: 1 is exact, 2 is twice or half",
        )
        for name, said in SCORES.items():
            table.add_row(
                said,
                *(
                    (
                        "–"
                        if row[name] is None
                        else f"{row[name]:.3g}"
                        if isinstance(row[name], float)
                        else str(row[name])
                    )
                    for row in methods
                ),
            )
        show(table)
        for row in facts["error_parts"]:
            shares = ", ".join(
                f"{part} x {exp(row[part]):.2f}" for part in ("full", "environment", "prefix")
            )
            typer.echo(
                f"{row['behavior']}: simulated over observed {shares} (own prefixes:"
                f" {row['own_log_release']})"
            )
        for method, (mean, low, high) in facts["over_releases"].items():
            typer.echo(
                f"{method}: median {mean:.2f} in the one scored release; an interval needs two"
                if low is None
                else f"{method}: mean of the releases' medians {mean:.2f} [{low:.2f}, {high:.2f}]"
                f" over {facts['releases_of'][method]} scored"
            )
        typer.echo(
            f"forecast ledger: {facts['ledger']['entries']} entries, last chain"
            f" {facts['ledger']['last_chain']}"
        )


def validate(
    worlds: Annotated[
        int, typer.Option("--worlds", min=10, help="Synthetic worlds to draw.")
    ] = 200,
    messages: Annotated[
        int,
        typer.Option(
            "--messages", min=1000, help="Messages replayed in each arm, and counted in production."
        ),
    ] = 50_000,
    world: Annotated[
        Literal["base", "pessimistic", "optimistic"],
        typer.Option("--world", help="How far simulator and production differ."),
    ] = "base",
    releases: Annotated[
        int,
        typer.Option(
            "--past-releases", min=0, help="Past releases from which the interval learns."
        ),
    ] = 3,
    seed: Annotated[int, typer.Option("--seed")] = 1,
    as_json: Json = False,
) -> None:
    """Try the forecast in synthetic worlds with known truth: error of every method, coverage of the
    90 % interval, and the limit that counting noise sets.

    Nothing here is real traffic; the figures say what the arithmetic can do, not what a
    deployment will show.
    """
    with exit_codes():
        from sim_platform.forecasting import (  # noqa: PLC0415 - imports numpy and scipy
            worlds as synthetic,
        )

        found = synthetic.validate(synthetic.WORLDS[world], messages, worlds, seed, releases)
        if as_json:
            print_json({"world": world, "seed": seed, "past_releases": releases, **found})
            return
        table = Table(
            "method",
            "median error",
            "mean of releases",
            "p90",
            "beyond 10x",
            "direction",
            title=f"{world} world, {messages:,} messages, {worlds} worlds",
        )
        for method in synthetic.METHODS:
            row = found[method]
            if not isinstance(row, dict):
                raise SimPlatformError(f"{method}: no figures")
            direction = "–" if row["direction"] is None else f"{row['direction']:.0%}"
            table.add_row(
                method,
                f"{row['median']:.3f}",
                f"{row['per_release']:.3f}",
                f"{row['p90']:.2f}",
                f"{row['beyond_10']:.1%}",
                direction,
            )
        show(table)
        typer.echo(
            f"coverage of the 90 % forecast interval: {found['coverage_90']:.3f} of all behaviours,"
            f" {found['coverage_90_above_floor']:.3f} of those scored; error if the deployed rate"
            f" were known: {found['truth_known']:.3f}"
        )
        typer.echo(
            f"scored {found['scored']} behaviours, {found['below_floor']} at or below the floor;"
            f" never worse than persistence: {found['never_worse_than_persistence']}"
        )
