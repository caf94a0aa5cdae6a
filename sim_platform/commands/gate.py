"""`sim-platform gate`: may the release go out, for people and for a build pipeline.

Belongs here: the command and its exit code. Does not: the verdict (estimation.verdict).
"""

from typing import Annotated

import typer
from rich.table import Table as RichTable

from sim_platform.commands.terminal import Json, exit_codes, print_json, results, show
from sim_platform.registry.home import home_path, load_home

EXIT_CODES = {"PASS": 0, "BLOCK": 1, "INCONCLUSIVE": 3}
NO_DECISION = 4


def gate(
    model_version: Annotated[str, typer.Argument(help="Candidate release of models.yaml.")],
    as_json: Json = False,
) -> None:
    """Say PASS, BLOCK or INCONCLUSIVE for a release, from its stored comparison and the registered
    rules. Exit code: 0 PASS, 1 BLOCK, 3 INCONCLUSIVE, 4 no decision yet, 2 bad input.

    Only behaviours with `tier: gate` decide. PASS needs every one of them within its margin (and
    below its ceiling); BLOCK needs one that is surely worse.
    """
    from sim_platform.estimation.resemblance import in_words, unlike_the_log  # noqa: PLC0415 - imports polars
    from sim_platform.estimation.verdict import (  # noqa: PLC0415 - the same
        release_verdict,
        release_warnings,
        said,
    )

    with exit_codes(failed=NO_DECISION):
        home = load_home(home_path())
        home.release(model_version)
        decisions = results().stored_decisions(home, model_version)
        verdict, why = release_verdict(decisions)
        unlike = in_words(unlike_the_log(results().stored_rates(home, model_version)))
        warnings = [*([unlike] if unlike else []), *release_warnings(decisions)]
        if note := results().earlier_sample(decisions.to_dicts()):
            why = f"{why} ({note})"
        if as_json:
            print_json(
                {
                    "model_version": model_version,
                    "verdict": verdict,
                    "reason": why,
                    "warnings": warnings,
                    "behaviors": [{**row, "said": said(row)} for row in decisions.to_dicts()],
                }
            )
        else:
            table = RichTable(
                "behaviour", "verdict", "why", "grader", title=f"{model_version}: {verdict}"
            )
            for row in decisions.filter(tier="gate").to_dicts():
                table.add_row(row["behavior"], said(row), row["reason"], row["marks"] or "")
            show(table)
            for warning in warnings:
                typer.echo(warning)
            typer.echo(f"{verdict}: {why}")
        raise typer.Exit(EXIT_CODES[verdict])
