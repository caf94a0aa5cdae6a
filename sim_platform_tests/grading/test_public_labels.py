"""Trained graders against rules on labels that people gave, one split of those
behind docs/grading.md.
"""

from pathlib import Path

import polars as pl

from benchmarks.grading import CATEGORIES, RULES, categories, propositions
from sim_platform.grading.labels import Columns, read_labels


def test_trained_graders_beat_the_rule_on_at_least_five_of_eight_propositions(
    real_data: Path,
) -> None:
    found = propositions(real_data, splits=1, trained=["tfidf"])
    assert found.keys() == RULES.keys()
    assert sum(row["tfidf AUC"] > row["rule AUC"] for row in found.values()) >= 5
    assert min(row["tfidf AUC"] for row in found.values()) > 0.6


def test_trained_graders_beat_the_rule_on_content_categories(real_data: Path) -> None:
    found = categories(real_data, splits=1, names=["H", "HR", "S3"], trained=["tfidf"])
    assert all(row["tfidf AUC"] > row["rule AUC"] for row in found.values())


def test_a_category_without_a_label_is_unknown_and_not_a_no(real_data: Path) -> None:
    file = real_data / "openai_moderation" / "samples-1680.jsonl.gz"
    given = pl.read_ndjson(file.read_bytes(), infer_schema_length=None)
    for category in CATEGORIES:
        labels = [
            one.label
            for one in read_labels(
                file, Columns(label=category, response="prompt", prompt="nothing")
            )
        ]
        assert len(labels) == len(given)
        assert (labels.count(None), labels.count(True)) == (
            given[category].null_count(),
            given[category].sum(),
        )
