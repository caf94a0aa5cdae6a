"""`sim-platform plan`: what a simulation will cost and be able to show, before anything is sent.

Belongs here: the command and how the plan is printed. Does not: the plan (flows.planning).
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as RichTable

from sim_platform.commands.terminal import Json, Size, exit_codes, print_json, show
from sim_platform.contracts.errors import SimPlatformError
from sim_platform.registry.home import home_path, load_home


def plan(
    model_version: Annotated[str, typer.Argument(help="Candidate release of models.yaml.")],
    sample_size: Size = None,
    curve: Annotated[
        Path | None,
        typer.Option(
            "--curve",
            help="Write the curve (smallest detectable ratio against prefixes) to this PNG file.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show requests, calls of judges, tokens, cost and detection floors of a release's plan, and
    per behaviour what the sample can decide. Sends nothing and costs nothing.

    Rates come from the graded log of the version in service, else from the recorded arm of earlier
    comparisons; without either, only the floors are known. Tokens are estimated at 4 characters
    each; an answer counts at its limit in the settings, or at what the plan says it assumes.
    """
    from sim_platform.flows.planning import plan_facts  # noqa: PLC0415 - imports dagster

    with exit_codes():
        home = load_home(home_path())
        facts = plan_facts(home, model_version, sample_size)
        if curve is not None:
            from sim_platform.reporting.plan import curve_png  # noqa: PLC0415 - imports matplotlib

            try:
                curve.write_bytes(curve_png(facts["curve"]))
            except OSError as error:
                raise SimPlatformError(
                    f"{curve}: cannot be written ({error.strerror}); name another file"
                ) from None
        if as_json:
            print_json(facts)
            return
        _print(facts)
        if curve is not None:
            typer.echo(f"curve: {curve}")


def _print(facts: dict[str, Any]) -> None:
    from sim_platform.reporting.rates import per_100k  # noqa: PLC0415 - imports polars

    typer.echo(
        f"{facts['model_version']} replaces {facts['replaces']}: {facts['prefixes']} prefixes of"
        f" {facts['population']} conversations ({facts['users']} users)"
    )
    if facts["prefixes"] < facts["asked"]:
        typer.echo(f"  the plan asks for {facts['asked']}; the log has no more")
    for arm in facts["arms"]:
        typer.echo(
            f"  {arm['model']} ({arm['provider']}): {arm['requests']} requests, {_bill(arm)}"
        )
    for grader in facts["graders"]:
        many = f"{len(grader['behaviors'])} behaviour{'s' * (len(grader['behaviors']) > 1)}"
        stored = f" beside {grader['answered']} stored answers" if grader["answered"] else ""
        typer.echo(
            f"  {grader['model']} ({grader['provider']}), asked about {many}: at most"
            f" {grader['requests']} calls{stored}, {_bill(grader)}"
        )
    whole = "not known" if facts["cost_usd"] is None else f"{facts['cost_usd']:.2f} USD"
    typer.echo(f"  in all: {whole}")
    floors = facts["floors"]
    typer.echo(
        f"  per 100k messages: nothing seen bounds a rate at {per_100k(floors['none_seen_bound'])};"
        f" three events are likely from {per_100k(floors['three_events'])}; within a factor of two"
        f" from {per_100k(floors['within_factor_two'])}"
    )
    _print_strata(facts)
    table = RichTable(
        "behaviour",
        "tier",
        "rate per 100k",
        "events",
        "detectable ratio",
        "prefixes for a factor of two",
        "margin",
        "passes if same",
        "blocks if doubled",
        "labels",
        title="what this sample can decide",
    )
    for row in facts["behaviors"]:
        if row["rate"] is None:
            table.add_row(row["behavior"], row["tier"], "not known", *["–"] * 7)
            continue
        if not row["rate"] or not row["eligible_share"]:
            none = f"none in {row['source']}"
            table.add_row(row["behavior"], row["tier"], none, *["–"] * 7)
            continue
        ratio, labels = row["detectable_ratio"], row["labels"]
        table.add_row(
            row["behavior"],
            row["tier"],
            per_100k(row["rate"]),
            f"{row['expected_events']:.1f}",
            f"× {ratio:.2f}" if ratio else "–",
            f"{row['prefixes_for_factor_two']:,}",
            f"× {row['margin']:g}" if row["margin"] else f"{row['margin_points']:g} points",
            *(
                "–" if row[chance] is None else f"{row[chance]:.0%}"
                for chance in ("chance_pass_if_same", "chance_block_if_doubled")
            ),
            str(sum(labels.values())),
        )
    show(table)
    curve = RichTable(
        "prefixes",
        "floor per 100k",
        "smallest detectable ratio (median behaviour)",
        title="the same at other sizes",
    )
    # what no ratio can show at a size counts as the largest
    middle = len(set().union(*(point["detectable_ratios"] for point in facts["curve"]))) // 2
    for point in facts["curve"]:
        ratios = sorted(point["detectable_ratios"].values())
        curve.add_row(
            f"{point['prefixes']:,}",
            per_100k(point["floor"]),
            f"× {ratios[middle]:.2f}" if middle < len(ratios) else "–",
        )
    show(curve)


def _bill(row: dict[str, Any]) -> str:
    """Tokens, dollars and minutes of a row of requests, with what is assumed."""
    assumed = row["assumed_tokens_an_answer"]
    how = f"assuming {assumed} an answer: no max_tokens is set" if assumed else "at most"
    cost = "price unknown" if row["cost_usd"] is None else f"{row['cost_usd']:.2f} USD"
    minutes = row["minutes_at_limits"]
    waits = "" if minutes is None else f", {minutes:,.0f} minutes at its rate limits"
    return (
        f"about {row['prompt_tokens']:,} + {row['completion_tokens']:,} tokens ({how}),"
        f" {cost}{waits}"
    )


def _print_strata(facts: dict[str, Any]) -> None:
    strata, repeats = facts["strata"], facts["variance_by_repeats"]
    if len(strata) > 1:
        table = RichTable(
            "stratum",
            "conversations",
            "places",
            "defensive mix",
            "boost for it",
            title="where the sample goes",
        )
        for row in strata:
            table.add_row(
                row["stratum"],
                f"{row['population']:,}",
                f"{row['sampled']:,}",
                *(str(row[k] if row[k] is not None else "–") for k in ("defensive", "boost")),
            )
        show(table)
    typer.echo(
        f"  a second completion a prefix leaves {repeats[2][0.3]:.0%} to {repeats[2][0.7]:.0%} of"
        " the variance (outcomes of one prefix correlated .3 to .7); for the same requests twice"
        " as many prefixes leave 50%"
    )
