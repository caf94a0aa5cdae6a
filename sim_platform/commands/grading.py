"""`sim-platform calibrate`, `train-grader` and `labels`: graders against people.

Belongs here: these commands and the files that they write. Does not: counting (grading), the
walk (orchestration).
"""

import csv
import io
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sim_platform.commands.terminal import Json, exit_codes, print_json
from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.escaping import csv_cell
from sim_platform.grading.annotation_tools import shown
from sim_platform.grading.labels import Columns
from sim_platform.registry.home import home_path, load_home

BehaviorOption = Annotated[str, typer.Option("--behavior", help="Id of a behaviour in behaviors/.")]
LabelsFile = Annotated[
    Path,
    typer.Option(
        "--labels",
        help=(
            "CSV or JSON Lines (also .gz), one item a row: a label, and a response or the item_id"
            " of `labels export`."
        ),
    ),
]
LabelColumn = Annotated[
    str,
    typer.Option(
        "--label",
        help=(
            "Column of the label: 1/true/yes, 0/false/no, ABSTAIN; empty is unknown. A dot reads"
            " nested objects."
        ),
    ),
]
ResponseColumn = Annotated[
    str,
    typer.Option("--response", help="Column of the response: text, or a list of chat messages."),
]
PromptColumn = Annotated[
    str,
    typer.Option("--prompt", help="Column of what was answered: text, or a list of chat messages."),
]
InvertedLabels = Annotated[
    bool, typer.Option("--inverted", help="The column says yes where the behaviour did not occur.")
]
labels_app = typer.Typer(
    help="Labels from people: what to label, and taking it back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def add_to(app: typer.Typer) -> None:
    """Adds the commands to `sim-platform`."""
    app.command()(calibrate)
    app.command("train-grader")(train_grader)
    app.add_typer(labels_app, name="labels")


def calibrate(
    behavior: BehaviorOption,
    labels: LabelsFile,
    label: LabelColumn = "label",
    response: ResponseColumn = "response",
    prompt: PromptColumn = "prompt",
    inverted: InvertedLabels = False,
    earlier: Annotated[
        Path | None,
        typer.Option(
            "--earlier",
            help=(
                "Labels of an earlier release in the same columns: --detail then tests whether the"
                " grader drifted."
            ),
        ),
    ] = None,
    detail: Annotated[
        bool,
        typer.Option(
            "--detail", help="Add strata, arms, agreement, threshold and reliability curve."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare a behaviour's graders with people's labels: confusion table, precision, recall and
    specificity with 95 % limits.

    Items on which the grader gives no label are counted as abstained and stand in no cell. A judge
    is asked what it was not asked before, which may cost money.
    """
    from sim_platform.flows.grading import calibration  # noqa: PLC0415 - imports polars and duckdb

    with exit_codes():
        found = calibration.calibrate(
            load_home(home_path()),
            behavior,
            labels,
            Columns(label=label, response=response, prompt=prompt, is_inverted=inverted),
            earlier,
        )
        if seen := found["detail"]["trained_on"]:
            typer.echo(
                f"{seen} of the labels trained the grader: these shares flatter it. Calibrate on"
                " labels that it has not seen.",
                err=True,
            )
        if not detail:
            found.pop("detail")
        if as_json:
            print_json(found)
            return
        typer.echo(
            f"{behavior}: n {found['n']}, abstained {found['abstained']}\ntp {found['tp']}  fp"
            f" {found['fp']}  fn {found['fn']}  tn {found['tn']}"
        )
        for name in ("precision", "recall", "specificity"):
            share = found[name]
            typer.echo(
                f"{name}: {'–' if share['estimate'] is None else format(share['estimate'], '.3f')}"
                f" [{share['low']:.3f}, {share['high']:.3f}]"
            )
        if detail:
            print_json(found["detail"])


def train_grader(
    behavior: BehaviorOption,
    labels: LabelsFile,
    label: LabelColumn = "label",
    response: ResponseColumn = "response",
    prompt: PromptColumn = "prompt",
    inverted: InvertedLabels = False,
    features: Annotated[
        Literal["tfidf", "minilm"],
        typer.Option(
            "--features",
            help=(
                "What it reads: the words and characters that occur, or what they mean (MiniLM"
                " sentence embeddings)."
            ),
        ),
    ] = "tfidf",
    seed: Annotated[
        int, typer.Option("--seed", help="Decides which conversations are held out.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Train a text classifier on your own labels (logistic regression over TF-IDF or sentence
    embeddings); the threshold is chosen on labels held out of training.

    Writes graders/BEHAVIOR.json and its model card below the home. Use it in the behaviour's file:
    {kind: classifier, file: graders/BEHAVIOR.json}.
    """
    from sim_platform.flows.grading import training  # noqa: PLC0415 - imports polars and duckdb

    with exit_codes():
        columns = Columns(label=label, response=response, prompt=prompt, is_inverted=inverted)
        path, card = training.train_grader(
            load_home(home_path()), behavior, labels, columns, seed, features
        )
        if as_json:
            print_json({"file": str(path), **card})
            return
        labelled = card["labels"]
        typer.echo(
            f"{path}\nfeatures {features}\nthreshold {card['threshold']}\nlabels: {labelled['n']},"
            f" {labelled['positive']} positive\nheld-out AUC: {card['held_out_auc']}"
        )


@labels_app.command()
def export(
    model_version: Annotated[str, typer.Argument(help="Candidate release of models.yaml.")],
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            help=(
                "File to write: .csv, .jsonl, .html (a page that works without a network), or"
                " .labelstudio.json."
            ),
        ),
    ],
    behavior: Annotated[
        list[str] | None,
        typer.Option("--behavior", help="Behaviours to label; default: all that are graded."),
    ] = None,
    flags: Annotated[int, typer.Option("--flags", min=0, help="Most flags per arm.")] = 200,
    near_misses: Annotated[
        int,
        typer.Option(
            "--near-misses", min=0, help="Most unflagged items of the highest scores per arm."
        ),
    ] = 300,
    rest: Annotated[
        int, typer.Option("--rest", min=0, help="Most other unflagged items per arm.")
    ] = 200,
) -> None:
    """Draw what people should label (all flags up to a cap, near misses, others, a tenth twice) and
    write it; the drawing's probabilities stay in the warehouse.

    The file holds de-identified conversations. It names neither arm nor flag, so that
    people label blind.
    """
    from sim_platform.flows.grading.labels import export_labels  # noqa: PLC0415 - imports polars and duckdb

    with exit_codes():
        from sim_platform.grading.label_sampling import LabelPlan  # noqa: PLC0415 - imports polars

        rows = export_labels(
            load_home(home_path()),
            model_version,
            behavior or [],
            LabelPlan(flags, near_misses, rest),
        )
        _write(rows, to)
        typer.echo(f"{to}: {len(rows)} labels to give")


@labels_app.command("import")
def import_(
    model_version: Annotated[str, typer.Argument(help="Candidate release of models.yaml.")],
    labels: LabelsFile,
    behavior: Annotated[
        str | None,
        typer.Option(
            "--behavior",
            help=(
                "Only labels of this behaviour; default: of those that the file's column behavior"
                " names."
            ),
        ),
    ] = None,
    label: LabelColumn = "label",
    as_json: Json = False,
) -> None:
    """Take labels back and say how far the annotators agree. Refuses, as a whole, a file with items
    that were not drawn or labels of other graders.

    Reads what `labels export` and its page write, filled in, and the exports of Label Studio
    (.json: JSON or JSON_MIN; .csv) and Argilla (.json or .jsonl).
    """
    from sim_platform.flows.grading.labels import import_labels as take  # noqa: PLC0415 - imports polars and duckdb

    with exit_codes():
        facts = take(load_home(home_path()), model_version, behavior, labels, Columns(label=label))
        if as_json:
            print_json(facts)
            return
        left_out = (
            f"; {facts['left_out']} of other behaviours left out" if facts["left_out"] else ""
        )
        typer.echo(
            f"imported {facts['imported']} labels ({facts['abstained']} abstained){left_out}"
        )
        for name, found in facts["agreement"].items():
            kappa, alpha = (
                "–" if found[k] is None else f"{found[k]:.2f}"
                for k in ("cohen_kappa", "krippendorff_alpha")
            )
            typer.echo(
                f"{name}: labelled by two people {found['n_items']}, agree {found['n_agree']},"
                f" Cohen's kappa {kappa}, Krippendorff's alpha {alpha}; answered again by the same"
                f" person {found['n_repeats']}, alike {found['n_alike']}"
            )


def _write(rows: list[dict[str, Any]], to: Path) -> None:
    from sim_platform.flows.private_files import write_private  # noqa: PLC0415 - imports polars

    if to.name.endswith(".labelstudio.json"):
        tasks = [
            {"data": {k: v for k, v in shown(row).items() if k not in ("label", "annotator")}}
            for row in rows
        ]
        write_private(to, json.dumps(tasks, ensure_ascii=False))
    elif to.suffix == ".jsonl":
        write_private(
            to, "".join(json.dumps(shown(row), ensure_ascii=False) + "\n" for row in rows)
        )
    elif to.suffix == ".csv":
        write_private(to, _csv(rows))
    elif to.suffix == ".html":
        from sim_platform.reporting.label_page import (  # noqa: PLC0415 - only where a page is written
            label_page,
        )

        write_private(to, label_page(rows))
    else:
        raise BadInputError(
            f"{to}: the name must end with .csv, .jsonl, .html or .labelstudio.json"
        )


def _csv(rows: list[dict[str, Any]]) -> str:
    """Every cell in quotes, whatever separates cells where it is opened, and none a formula."""
    text = io.StringIO()
    names = list(rows[0]) if rows else ["item_id", "label"]
    writer = csv.DictWriter(text, names, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    for row in rows:
        cells = {**row, "tool_calls": json.dumps(row["tool_calls"]), "label": ""}
        writer.writerow({k: csv_cell(v) if isinstance(v, str) else v for k, v in cells.items()})
    return text.getvalue()
