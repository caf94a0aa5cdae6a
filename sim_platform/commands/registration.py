"""`sim-platform register` and `registration`: what is decided before any outcome is seen.

Belongs here: these commands. Does not: the record (registry.preregistration), when it is
needed (flows.registration).
"""

from typing import Annotated, Any

import typer

from sim_platform.commands.terminal import Json, exit_codes, print_json
from sim_platform.contracts.errors import SimPlatformError
from sim_platform.registry.home import home_path, load_home

Release = Annotated[str, typer.Argument(help="Candidate release of models.yaml.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands to `sim-platform`."""
    app.command()(register)
    app.command()(registration)


def register(
    model_version: Release,
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason",
            help=(
                "Why an existing registration is amended. After outcomes were seen the amendment is"
                " exploratory."
            ),
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Pre-register a release: behaviours, grader hashes, sampling plan, rules and the rates known
    now, hashed and chained.

    The record is a file in preregistration/ of the home, to be published or committed. Nothing is
    sent to a candidate without one; `run` makes it where it is missing.
    """
    with exit_codes():
        home = load_home(home_path())
        home.release(model_version)
        record = _flow().register_release(home, _warehouse(home), model_version, reason)
        facts = {
            "number": record.number,
            "sha256": record.sha256,
            "file": str(record.path),
            "is_exploratory": record.is_exploratory,
        }
        if as_json:
            print_json(facts)
            return
        for name, value in facts.items():
            typer.echo(f"{name}: {value}")


def registration(
    model_version: Release,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Exit 1 when the chain of records is broken or a file was edited."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a release's records, and what of today's configuration they cover."""
    with exit_codes():
        home = load_home(home_path())
        facts = _flow().verified(home, _warehouse(home), model_version)
        if as_json:
            print_json(facts)
        else:
            for record in facts["records"]:
                mark = "exploratory " if record["is_exploratory"] else ""
                typer.echo(
                    f"record {record['number']}: {mark}{record['kind']} of"
                    f" {record['registered_at']}\n  sha256 {record['sha256']}\n  {record['file']}"
                )
                if record["time_stamp_token"] != "none":
                    typer.echo(f"  time stamp: {record['time_stamp_token']}")
            for name in ("differs_now", "exploratory", "refused", "problems"):
                typer.echo(f"{name.replace('_', ' ')}: {'; '.join(facts[name]) or 'none'}")
        if verify and facts["problems"]:
            raise SimPlatformError(
                "the chain of pre-registrations is broken:\n" + "\n".join(facts["problems"])
            )
        if verify and not as_json:
            typer.echo("verified")


def _flow() -> Any:
    from sim_platform.flows import registration as flow  # noqa: PLC0415 - imports polars and duckdb

    return flow


def _warehouse(home: Any) -> Any:
    from sim_platform.flows.files import warehouse_of  # noqa: PLC0415 - imports duckdb

    return warehouse_of(home)
