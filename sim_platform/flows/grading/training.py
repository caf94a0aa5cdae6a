"""Trains a behaviour's grader on people's labels.

Belongs here: from a file of labels to the files of the trained grader. Does not:
training (grading.classifier).
"""

import json
from pathlib import Path
from typing import Any

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.flows.leftovers import remove_leftovers
from sim_platform.flows.private_files import write_private
from sim_platform.grading import classifier
from sim_platform.grading.labels import Columns, one_per_item, read_labels
from sim_platform.registry.behaviors import ClassifierGrader
from sim_platform.registry.home import Home


def train_grader(
    home: Home,
    behavior_id: str,
    file: Path,
    columns: Columns,
    seed: int,
    features: classifier.Features = "tfidf",
) -> tuple[Path, dict[str, Any]]:
    """Trains on the file's labels and writes `graders/<behaviour>.json` with its model card, or the
    file that the behaviour names. Returns path and card.
    """
    remove_leftovers(home)
    behavior = next((b for b in home.behaviors if b.id == behavior_id), None)
    name = (
        next((part.file for part in behavior.parts if isinstance(part, ClassifierGrader)), None)
        if behavior
        else None
    )
    trained = classifier.train(
        one_per_item(read_labels(file, columns)), features=features, seed=seed
    )
    path = home.path / (name or f"graders/{behavior_id}.json")
    card = {
        "behavior": behavior_id,
        "definition": behavior.definition if behavior else None,
        "threshold": trained.threshold,
        **trained.card,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SimPlatformError(f"{path}: cannot be written ({error.strerror})") from None
    write_private(path, classifier.written(trained))
    write_private(path.with_suffix(".card.json"), json.dumps(card, indent=2) + "\n")
    return path, card
