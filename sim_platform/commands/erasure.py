"""`sim-platform forget`: a person leaves the home for good.

Belongs here: the command and how it reports. Does not: the erasure (flows.erasure).
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sim_platform.commands.terminal import Json, exit_codes, print_json
from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.registry.home import home_path, load_home


def forget(
    user_id: Annotated[
        list[str] | None, typer.Argument(help="Account ids as they stand in the log.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help="Text file with one account id a line: the ledger of erasure requests."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove people from vault, corpus, samples, answers, scores, journals, reports and the
    published copy, and never extract them again.

    A tombstone keyed by a hash stays. Releases whose sample held them lose sample, scores and
    report; their next run draws again and pays only for new prefixes. The log files themselves are
    only read: those that still name somebody are listed. Exit code 1 when a file of the home still
    names somebody, or when nothing ever named one of the accounts.
    """
    from sim_platform.flows.erasure import forget as erase  # noqa: PLC0415 - imports polars

    with exit_codes():
        ids = [*(user_id or []), *(_ledger(file) if file else [])]
        if not ids:
            raise BadInputError("name at least one account id, or give --file with one a line")
        done = erase(load_home(home_path()), ids)
        if as_json:
            print_json(asdict(done))
        else:
            known = done.users - len(done.unknown)
            typer.echo(f"forgotten: {known} accounts, {done.conversations} conversations")
            for title, names in (
                ("removed", done.files_removed),
                ("run again", done.releases_to_run_again),
                (
                    "still in the sources, which are only read; remove them there",
                    done.still_in_sources,
                ),
            ):
                if names:
                    typer.echo(f"{title}: {', '.join(names)}")
        if done.unknown:
            typer.echo(
                f"error: no log and no earlier run of this home names {', '.join(done.unknown)}:"
                " check the spelling. A tombstone keeps these ids out of later runs.",
                err=True,
            )
        if done.survivors:
            raise SimPlatformError(
                f"still named in: {', '.join(done.survivors)}. Delete those files, or end the run"
                " that writes them, and run the same command again."
            )
        if done.unknown:
            raise typer.Exit(1)


def _ledger(path: Path) -> list[str]:
    try:
        ids = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{path}: cannot be read ({type(error).__name__}); --file is a text file in UTF-8 with"
            " one account id a line"
        ) from None
    return [one for one in ids if one]
