"""`sim-platform`: the same work without the UI.

Belongs here: the pipeline's commands, and the registration of those that have a module of their
own. Does not: the work itself (flows, orchestration).
"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer
from rich.table import Table as RichTable

from sim_platform.commands import grading, registration
from sim_platform.commands.completions import batches, export_requests, import_completions
from sim_platform.commands.deid import app as deid
from sim_platform.commands.erasure import forget
from sim_platform.commands.forecast import forecast, score, validate
from sim_platform.commands.gate import gate
from sim_platform.commands.plan import plan
from sim_platform.commands.report import report
from sim_platform.commands.terminal import (
    Json,
    Size,
    Yes,
    exit_codes,
    may_redraw,
    print_json,
    progress_shown,
    results,
    runs,
    show,
)
from sim_platform.commands.tools import app as tools
from sim_platform.commands.ui import ui
from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.registry.home import Home, home_path, load_home

app = typer.Typer(
    name="sim-platform",
    help=(
        "Deployment simulation: replay the production log of the version in service against a"
        " candidate, and compare how often each behaviour occurs.\n\nThe home folder"
        " (SIM_PLATFORM_HOME, default data/) holds sources.yaml, models.yaml, behaviors/ and the"
        " results. Typical order: check, prepare, plan, run, gate."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.command()
def check(
    connect: Annotated[
        bool,
        typer.Option(
            "--connect",
            help=(
                "Also ask the endpoint of every version that a release asks for its list of models;"
                " sends no text. Exit code 1 where one is not ready."
            ),
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Validate the home folder without running anything: YAML, references, the first rows of each
    log file, consent ledger, API key variables.
    """
    from sim_platform.flows.first_rows import first_rows  # noqa: PLC0415 - imports polars
    from sim_platform.flows.readiness import connections, home_facts  # noqa: PLC0415 - imports polars

    with exit_codes():
        home = load_home(home_path())
        facts = home_facts(home)
        files = first_rows(home, datetime.now(UTC))
        found = connections(home, home.releases) if connect else []
        not_ready = [row["version"] for row in found if not row["is_ready"]]
        if as_json:
            seen = {"first_rows": [asdict(file) for file in files]}
            print_json(facts | seen | ({"connections": found} if connect else {}))
        else:
            for name, value in facts.items():
                typer.echo(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
            for line in (line for file in files for line in file.left_out):
                typer.echo(line)
            for row in found:
                typer.echo(f"{row['version']} at {row['host'] or 'no host'}: {row['says']}")
        if stopping := [file.file for file in files if file.stops]:
            raise BadInputError(
                f"a run would stop at {', '.join(stopping)}: too many rows would be quarantined"
                " (extraction.max_quarantined in sources.yaml)"
            )
        if any(file.n for file in files) and not any(file.extracted for file in files):
            raise BadInputError("none of the log's first rows would be extracted")
        if not_ready:
            raise SimPlatformError(f"not ready: {', '.join(not_ready)}")
        if not as_json:
            typer.echo("ok")


@app.command()
def prepare(
    model_version: Annotated[str, typer.Argument(help="Candidate release of models.yaml.")],
) -> None:
    """Do all that costs nothing: extract and de-identify the log, and grade the responses of the
    version in service by the graders that ask nobody. Then `plan` knows requests, cost and rates.

    No model and no judge is asked, no key is needed, and nothing is sampled or registered. Only
    what is new is done, and `run` does not do it again.
    """
    with exit_codes():
        home = load_home(home_path())
        home.release(model_version)
        with progress_shown():
            failed = runs().run_releases(
                home,
                [model_version],
                None,
                say=lambda line: typer.echo(line, err=True),
                only_prepare=True,
            )
        if failed:
            raise SimPlatformError(f"failed: {', '.join(failed)}; run the same command again")
        facts = results().status(home)
        typer.echo(
            f"{facts['corpus']} conversations are de-identified, {facts['quarantined']} could not"
            f" be. `sim-platform plan {model_version}` says what a sample of them costs and shows."
        )


@app.command()
def run(
    model_version: Annotated[
        str | None, typer.Argument(help="Candidate release of models.yaml.")
    ] = None,
    all_releases: Annotated[
        bool, typer.Option("--all", help="Run every release of models.yaml.")
    ] = False,
    sample_size: Size = None,
    yes: Yes = False,
    max_usd: Annotated[
        float | None,
        typer.Option(
            "--max-usd",
            min=0,
            help=(
                "Most that this run may spend on answers of each release; then it stops and can be"
                " resumed."
            ),
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", min=1, help="The same in tokens, prompts and completions."),
    ] = None,
    until: Annotated[
        Literal["decided"] | None,
        typer.Option(
            "--until",
            help=(
                "decided: grow the sample through the plan's registered `looks` until every gate"
                " behaviour is decided; the error of all looks together stays 5 %."
            ),
        ),
    ] = None,
) -> None:
    """Run the whole simulation for one release (or all): extract, de-identify, sample, replay,
    grade, compare.

    Only what is new or missing is done, so an interrupted run is resumed by the same command and
    nothing is paid for twice. The size of a release's sample is remembered: another one asks.
    """
    with exit_codes():
        home = load_home(home_path())
        if all_releases == (model_version is not None):
            raise BadInputError(
                f"name one release or give --all (releases: {', '.join(home.releases) or 'none'})"
            )
        releases = (
            list(home.releases) if all_releases else [home.release(model_version or "")[0].version]
        )
        limits = {"max_usd": max_usd, "max_tokens": max_tokens}

        def say(line: str) -> None:
            typer.echo(line, err=True)

        if until and (all_releases or sample_size):
            raise BadInputError("--until decided takes one release, and its sizes from its looks")
        redraw = not until and may_redraw(home, releases, sample_size, yes)
        with progress_shown():
            failed = (
                runs().run_until_decided(home, releases[0], say=say, **limits)
                if until
                else runs().run_releases(
                    home, releases, sample_size, say=say, redraw=redraw, **limits
                )
            )
        for release in releases:
            if release not in failed:
                _print_rates(home, release)
                typer.echo(
                    f"Verdict: {results().stored_verdict(home, release)}\nReport:"
                    f" {home.reports / f'{release}.html'}"
                )
        if failed:
            raise SimPlatformError(
                f"failed: {', '.join(failed)}; run the same command again to resume"
            )


@app.command()
def rates(
    model_version: Annotated[str, typer.Argument(help="Candidate release of models.yaml.")],
    as_json: Json = False,
) -> None:
    """Show the stored rate comparison of a release: per behaviour and arm, with 95 % intervals and
    paired ratios.
    """
    with exit_codes():
        home = load_home(home_path())
        home.release(model_version)
        if as_json:
            said = results().said_of(home, model_version)
            print_json(
                [
                    {**row, "verdict": said.get(row["behavior"])}
                    for row in results().stored_rates(home, model_version).to_dicts()
                ]
            )
        else:
            _print_rates(home, model_version)


@app.command()
def status(
    why: Annotated[
        bool,
        typer.Option("--why", help="Also rows of the log that were left out, by reason."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show how far each release is: rows of every stage, and its verdict where there is one."""
    with exit_codes():
        home = load_home(home_path())
        facts = results().status(home)
        if why:
            facts["left_out"] = results().left_out(home)
        if as_json:
            print_json(facts)
            return
        typer.echo(
            f"home: {home.path}\nextracted: {facts['extracted']}   in the corpus: {facts['corpus']}"
            f"   quarantined: {facts['quarantined']}"
        )
        table = RichTable(
            "release",
            "replaces",
            "prefixes",
            "outcomes",
            "failed",
            "scores",
            "rates",
            "grader calls",
            "cost USD",
        )
        for row in facts["releases"]:
            cells = {k: str(v) for k, v in row.items()}
            cost = row["cost_usd"]
            cells["cost_usd"] = "price unknown" if cost is None else f"{cost:.4f}"
            del cells["verdict"]
            table.add_row(*cells.values())
        show(table)
        for row in facts["releases"]:
            if row["verdict"]:
                typer.echo(f"{row['release']}: {row['verdict']}")
        for name in facts["looked_at_nothing"]:
            typer.echo(f"looked at nothing: {name}")
        for row in facts.get("left_out", []):
            typer.echo(results().one_line(row))
        for line in results().attention(home) if why else []:
            typer.echo(line)


def _print_rates(home: Home, release: str) -> None:
    from sim_platform.reporting.rates import rate_rows  # noqa: PLC0415 - imports polars

    stored = results().stored_rates(home, release)
    if note := results().earlier_sample(stored.to_dicts()):
        typer.echo(f"The rates are {note}.", err=True)
    candidate, replaced = home.release(release)
    rows = rate_rows(stored, results().said_of(home, release))
    table = RichTable(
        *[name for name in rows[0] if name != "release"],
        title=(
            f"{release} against {replaced.version}: rates per 100,000 messages with 95 % intervals"
        ),
    )
    for row in rows:
        table.add_row(*(str(value) for name, value in row.items() if name != "release"))
    show(table)
    typer.echo(
        f"Measured: the {candidate.measures}. Ratios are paired on the same prefixes; recorded"
        " answers are graded as they stand in the log unless marked masked. Consent:"
        f" {home.sources.consent.all or 'per conversation, from the ledger'}."
    )


# In the order in which a person needs them: this is the order of --help.
for command in (plan, gate, report, forecast, score, export_requests, import_completions):
    app.command()(command)
app.command()(batches)
app.command()(ui)
for topic in (registration, grading):
    topic.add_to(app)
app.add_typer(deid, name="deid")
app.add_typer(tools, name="tools")
app.command()(forget)
app.command()(validate)

if __name__ == "__main__":
    app()
