"""`sim-platform deid`: try de-identification on texts, and measure it on labelled ones. Also its
effect on rates, and the key of accounts.

Belongs here: the commands. Does not: detection and its measure (deidentification), the work on a
home (orchestration).
"""

import json
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as RichTable

from sim_platform.commands.terminal import Json, exit_codes, print_json, show
from sim_platform.contracts.errors import BadInputError
from sim_platform.registry.home import home_path, load_home

app = typer.Typer(
    help=(
        "Try de-identification on a text, measure it on labelled ones and on rates, change the key"
        " of accounts. Local: nothing leaves this machine."
    ),
    no_args_is_help=True,
)
PolicyOption = Annotated[
    str, typer.Option("--policy", help="strict, balanced, or a YAML file of your own.")
]


@app.command()
def text(
    file: Annotated[str, typer.Argument(help="A text file, or - for standard input.")],
    policy: PolicyOption = "strict",
    as_json: Json = False,
) -> None:
    """Show a text before and after, with the spans that were found."""
    from sim_platform.deidentification.deidentify import (  # noqa: PLC0415 - imports polars
        masks_of,
        replaced_alone,
    )
    from sim_platform.deidentification.detectors import (  # noqa: PLC0415 - imports polars
        stack_detector,
    )

    with exit_codes():
        before = _read(file)
        spans = stack_detector(policy).detect([before])[0]
        masks = masks_of(before, spans)
        after = replaced_alone(before, masks, secrets.token_bytes(32))
        shown: list[dict[str, Any]] = [
            {
                "start": a,
                "end": b,
                "type": t,
                "text": before[a:b],
                "source": sorted(
                    {s.source for s in spans if s.start < b and a < s.end} or {"conversation"}
                ),
            }
            for a, b, t in masks
        ]
        if as_json:
            print_json({"before": before, "after": after, "spans": shown})
            return
        typer.echo(f"before:\n{before}\n\nafter:\n{after}\n")
        for span in shown:
            typer.echo(
                f"{span['start']}-{span['end']}\t{span['type']}\t"
                f"{json.dumps(span['text'], ensure_ascii=False)}\t{', '.join(span['source'])}"
            )


@app.command()
def evaluate(
    file: Annotated[str, typer.Argument(help="Labelled texts.")],
    format: Annotated[str, typer.Option("--format", help="presidio-research, asq-phi or jsonl.")],
    policy: PolicyOption = "strict",
    lowercase: Annotated[
        bool, typer.Option("--lowercase", help="Write all texts small first.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Recall of direct identifiers on labelled texts (Wilson 95 % lower bound: recall_low),
    precision, and texts altered that hold no identifier.
    """
    from sim_platform.deidentification.detectors import (  # noqa: PLC0415 - imports polars
        stack_detector,
    )
    from sim_platform.deidentification.evaluation import (  # noqa: PLC0415 - imports polars
        evaluate as measure,
    )
    from sim_platform.deidentification.evaluation import parse  # noqa: PLC0415 - imports polars

    with exit_codes():
        rows = parse(_read(file), format)  # type: ignore[arg-type]  # an unknown format is an error of parse
        _show(
            measure(rows, stack_detector(policy), lowercase=lowercase) | {"policy": policy}, as_json
        )


@app.command()
def benign(
    file: Annotated[
        str, typer.Argument(help="One text a line, JSONL with `text`, or a JSON list of texts.")
    ],
    policy: PolicyOption = "strict",
    as_json: Json = False,
) -> None:
    """Share of harmless texts that would be altered."""
    from sim_platform.deidentification.detectors import (  # noqa: PLC0415 - imports polars
        stack_detector,
    )
    from sim_platform.deidentification.evaluation import (  # noqa: PLC0415 - imports polars
        benign as measure,
    )

    with exit_codes():
        _show(measure(_texts(_read(file)), stack_detector(policy)) | {"policy": policy}, as_json)


@app.command()
def effect(
    model_version: Annotated[str, typer.Argument(help="Candidate release of models.yaml.")],
    sample: Annotated[int, typer.Option("--sample", min=1, help="Conversations to grade.")] = 1_000,
    as_json: Json = False,
) -> None:
    """Grade recorded responses as they stand in the log and as they stand in the corpus, and show
    each behaviour's shift. Raw text stays in memory, only numbers are shown.

    Graders that are asked (judge, moderation) are left out: raw text goes to nobody. Every run
    stores the same for its release in deidentification_effect.
    """
    from sim_platform.flows.deidentification.effect import (  # noqa: PLC0415 - imports dagster
        measure_effect,
    )
    from sim_platform.orchestration.resources import Deployment  # noqa: PLC0415 - imports dagster

    with exit_codes():
        home = load_home(home_path())
        deployment = Deployment(home_dir=str(home.path))
        rows = measure_effect(
            home, deployment.vault(), deployment.warehouse(), model_version, sample
        ).to_dicts()
        if as_json:
            print_json(rows)
            return
        names = (
            "behavior",
            "n",
            "rate_raw",
            "rate_deidentified",
            "shift",
            "shift_low",
            "shift_high",
            "n_appeared",
            "n_vanished",
            "p",
        )
        table = RichTable(
            *names, title=f"{model_version}: recorded responses before and after de-identification"
        )
        for row in rows:
            table.add_row(
                *(
                    f"{row[name]:.4g}" if isinstance(row[name], float) else str(row[name])
                    for name in names
                )
            )
        show(table)


@app.command()
def rotate_key(as_json: Json = False) -> None:
    """Hash every account key of the home anew under a new key. End its runs first. Samples, answers
    and tombstones stay; an interrupted rotation is finished by the same command.
    """
    from sim_platform.flows.leftovers import remove_leftovers  # noqa: PLC0415 - imports polars
    from sim_platform.flows.vault import rotate_account_key  # noqa: PLC0415 - imports dagster
    from sim_platform.orchestration.resources import Deployment  # noqa: PLC0415 - imports dagster

    with exit_codes():
        home = load_home(home_path())
        remove_leftovers(home)
        deployment = Deployment(home_dir=str(home.path))
        accounts = rotate_account_key(deployment.vault(), deployment.warehouse())
        (
            print_json({"accounts": accounts})
            if as_json
            else typer.echo(f"hashed anew: {accounts} accounts")
        )


def _read(file: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{file}: cannot be read as UTF-8 text: {type(error).__name__}"
        ) from None


def _texts(raw: str) -> list[str]:
    """A JSON list, JSON lines or plain lines, of strings or of objects with `text` (or
    `instruction`, `prompt`, `query`).
    """
    try:
        whole = json.loads(raw)
        items = whole if isinstance(whole, list) else [whole]
    except ValueError:
        items = [_line(line) for line in raw.split("\n") if line.strip()]
    texts = [
        (
            next(
                (
                    item[k]
                    for k in ("text", "instruction", "prompt", "query", "content")
                    if k in item
                ),
                None,
            )
            if isinstance(item, dict)
            else item
        )
        for item in items
    ]
    if bad := sum(not isinstance(t, str) for t in texts):
        raise BadInputError(
            f"{bad} of {len(texts)} entries hold no text (wanted: strings, or objects with text,"
            " instruction, prompt, query or content)"
        )
    return [str(t) for t in texts]


def _line(line: str) -> Any:
    try:
        value = json.loads(line)
    except ValueError:
        return line
    return value if isinstance(value, dict | str) else line


def _show(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(figures)
        return
    for name, value in figures.items():
        if isinstance(value, dict):
            typer.echo(f"{name}:")
            for key, inner in value.items():
                typer.echo(f"  {key}: {inner}")
        else:
            typer.echo(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
