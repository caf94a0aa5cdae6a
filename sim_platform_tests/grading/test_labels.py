"""Labels from people: what a file may say, and what is refused."""

import gzip
import json
from pathlib import Path

import pytest

from sim_platform.contracts.errors import BadInputError
from sim_platform.grading.labels import (
    Columns,
    HumanLabel,
    agreement,
    one_per_annotator,
    one_per_item,
    read_labels,
)


def written(folder: Path, text: str, name: str = "labels.jsonl") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_every_way_of_saying_yes_no_abstain_and_unknown_is_read(tmp_path: Path) -> None:
    said = [1, "1", True, "Yes", 0, "no", False, "ABSTAIN", "", None]
    labels = read_labels(
        written(tmp_path, "".join(json.dumps({"response": "r", "label": v}) + "\n" for v in said))
    )
    assert [one.label for one in labels] == [True] * 4 + [False] * 3 + [None] * 3
    assert [one.abstained for one in labels] == [False] * 7 + [True, False, False]


def test_unknown_is_never_no(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, "response,label\nx,\ny,1\n", "labels.csv"))
    assert [one.label for one in labels] == [None, True]


def test_nested_columns_and_lists_of_messages_are_read(tmp_path: Path) -> None:
    row = {
        "p": {"sorry": True},
        "completion": [{"role": "assistant", "content": "Sorry"}],
        "ask": [{"role": "user", "content": "Hi"}],
    }
    path = tmp_path / "labels.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(row).encode()))
    (one,) = read_labels(path, Columns(label="p.sorry", response="completion", prompt="ask"))
    assert one.item is not None
    assert (one.label, one.item.text, one.item.prefix) == (
        True,
        "Sorry",
        [{"role": "user", "content": "Hi"}],
    )


def test_an_inverted_column_is_turned_round_and_unknown_stays_unknown(tmp_path: Path) -> None:
    labels = read_labels(
        written(tmp_path, "response,label\nx,1\ny,0\nz,\n", "labels.csv"), Columns(is_inverted=True)
    )
    assert [one.label for one in labels] == [False, True, None]


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ('{"response": "x", "label": "perhaps"}\n', "l.jsonl", "line 1$"),
        ("not json\n", "l.jsonl", "line 1 is not JSON"),
        ("[1]\n", "l.jsonl", "line 1 is not a JSON object"),
        ('{"response": "x"}\n', "l.jsonl", 'no column "label"'),
        ("", "l.jsonl", "no rows"),
        ("label,response\n1\n", "l.csv", "line 2"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_lines(
    tmp_path: Path, text: str, name: str, says: str
) -> None:
    with pytest.raises(BadInputError, match=says):
        read_labels(written(tmp_path, text, name))


def test_mixed_encodings_are_refused_with_the_line_and_without_the_text(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("response,label\ncafé,1\n".encode() + "secret café,0\n".encode("latin-1"))
    with pytest.raises(BadInputError, match="line 3 is not UTF-8") as caught:
        read_labels(path)
    assert "secret" not in str(caught.value)


def test_what_most_annotators_say_counts_and_a_tie_abstains() -> None:
    def said(item: str, *labels: bool) -> list[HumanLabel]:
        return [
            HumanLabel(f"line {i}", item, label, annotator=f"a{i}")
            for i, label in enumerate(labels)
        ]

    found = {
        one.item_id: one
        for one in one_per_item([*said("x", True, True, False), *said("y", True, False)])
    }
    assert found["x"].label is True
    assert (found["y"].label, found["y"].abstained) == (None, True)


def test_agreement_is_that_of_the_published_example() -> None:
    """Cohen's kappa of 20 yes-yes, 15 no-no, 5 and 10 mixed is 0.4 (a textbook table of 50)."""
    table = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    labels = [
        HumanLabel("", str(i), value, annotator=who)
        for i, pair in enumerate(table)
        for who, value in zip("ab", pair, strict=True)
    ]
    found = agreement(labels)
    assert (found.n_items, found.n_agree) == (50, 35)
    assert found.cohen_kappa == pytest.approx(0.4)
    assert found.krippendorff_alpha == pytest.approx(0.4, abs=0.01)


def repeated(item: str, *said: object, who: str = "ann") -> list[HumanLabel]:
    """What one person answered, time after time; "abstain" and None are what they are."""
    return [
        HumanLabel(
            "", item, said if isinstance(said, bool) else None, said == "abstain", annotator=who
        )
        for said in said
    ]


@pytest.mark.parametrize(
    ("said", "label", "abstained"),
    [
        ((True, True), True, False),
        ((True, False), None, True),
        ((True, False, True), True, False),
        ((True, None), True, False),
        ((True, "abstain"), None, True),
        (("abstain", "abstain", False), None, True),
        ((None, None), None, False),
    ],
)
def test_of_repeats_the_most_frequent_answer_counts_once_and_a_tie_abstains(
    said: tuple[object, ...], label: bool | None, abstained: bool
) -> None:
    (one,) = one_per_annotator(repeated("x", *said))
    assert (one.label, one.abstained) == (label, abstained)
    other = repeated("x", True, who="bob")
    (both,) = one_per_item([*repeated("x", *said), *other])
    assert both.label == (None if label is False else True)


def test_agreement_with_oneself_is_told_apart_from_that_with_others() -> None:
    labels = [
        *repeated("x", True, True),
        *repeated("y", True, False),
        *repeated("z", "abstain", "abstain"),
        *repeated("u", True, None),
        *repeated("x", False, who="bob"),
    ]
    found = agreement(labels)
    assert (found.n_repeats, found.n_alike) == (3, 2)
    assert found.self_agreement == pytest.approx(2 / 3)
    assert (found.n_items, found.n_agree) == (1, 0)
    assert agreement(repeated("x", True)).self_agreement is None


def test_agreement_is_undefined_without_double_labels_or_without_variation() -> None:
    assert agreement([HumanLabel("", "x", True)]).cohen_kappa is None
    same = [HumanLabel("", str(i), True, annotator=who) for i in range(3) for who in "ab"]
    assert agreement(same).krippendorff_alpha is None


TOOLS: dict[str, object] = {
    "Label Studio, JSON": [
        {
            "id": 1,
            "data": {"item_id": "a", "behavior": "b"},
            "annotations": [
                {
                    "completed_by": 7,
                    "was_cancelled": False,
                    "result": [
                        {
                            "from_name": "label",
                            "to_name": "t",
                            "type": "choices",
                            "value": {"choices": ["yes"]},
                        }
                    ],
                },
                {"completed_by": 8, "was_cancelled": True, "result": []},
            ],
        },
        {"id": 2, "data": {"item_id": "c", "behavior": "b"}, "annotations": []},
    ],
    "Label Studio, JSON_MIN": [
        {"id": 1, "item_id": "a", "behavior": "b", "label": "yes", "annotator": 7},
        {"id": 1, "item_id": "a", "behavior": "b", "label": "skip", "annotator": 8},
        {"item_id": "c", "behavior": "b", "label": ""},
    ],
    "Argilla, records": [
        {
            "id": "1",
            "fields": {"response": "r"},
            "metadata": {"item_id": "a", "behavior": "b"},
            "responses": {
                "label": [{"value": "yes", "user_id": "7"}, {"value": "unsure", "user_id": "8"}]
            },
        },
        {
            "id": "2",
            "fields": {"response": "r"},
            "metadata": {"item_id": "c", "behavior": "b"},
            "responses": {},
        },
    ],
    "Argilla, flat": [
        {
            "id": "1",
            "response": "r",
            "metadata.item_id": "a",
            "metadata.behavior": "b",
            "label.responses": ["yes", "unsure"],
            "label.responses.users": ["7", "8"],
        },
        {
            "id": "2",
            "response": "r",
            "metadata.item_id": "c",
            "metadata.behavior": "b",
            "label.responses": [],
        },
    ],
    "Argilla, flat, as version 2 gives it": [
        {
            "id": "1",
            "status": "completed",
            "response": "r",
            "item_id": "a",
            "behavior": "b",
            "label.responses": ["yes", "abstain"],
            "label.responses.users": ["7", "8"],
        },
        {
            "id": "2",
            "status": "pending",
            "response": "r",
            "item_id": "c",
            "behavior": "b",
            "label.responses": None,
            "label.responses.users": None,
        },
    ],
}


@pytest.mark.parametrize("tool", TOOLS)
def test_what_annotation_tools_give_back_is_one_label_an_annotator(
    tmp_path: Path, tool: str
) -> None:
    labels = read_labels(written(tmp_path, json.dumps(TOOLS[tool]), "labels.json"))
    assert [(x.item_id, x.behavior, x.annotator, x.label, x.abstained) for x in labels] == [
        ("a", "b", "7", True, False),
        ("a", "b", "8", None, True),
        ("c", "b", "", None, False),
    ]
    assert labels[0].place == "entry 1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ('{"a": 1}', "not a list of JSON objects"),
        ("[1]", "not a list of JSON objects"),
    ],
)
def test_a_json_file_that_is_no_list_of_entries_is_refused(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(BadInputError, match=says):
        read_labels(written(tmp_path, text, "labels.json"))


def test_two_choices_of_one_annotator_are_no_label(tmp_path: Path) -> None:
    result = [{"from_name": "label", "value": {"choices": ["yes", "no"]}}]
    with pytest.raises(BadInputError, match="entry 1"):
        read_labels(
            written(
                tmp_path,
                json.dumps([{"data": {"item_id": "a"}, "annotations": [{"result": result}]}]),
                "labels.json",
            )
        )


@pytest.mark.parametrize("annotation", [1, {"result": [7]}])
def test_an_annotation_without_a_result_is_unknown(tmp_path: Path, annotation: object) -> None:
    (one,) = read_labels(
        written(
            tmp_path,
            json.dumps([{"data": {"item_id": "a"}, "annotations": [annotation]}]),
            "labels.json",
        )
    )
    assert one.label is None


@pytest.mark.parametrize("value", [3, {}, {"choices": "yes"}, {"rating": 4}])
def test_a_result_that_is_no_choice_is_refused_by_its_place(tmp_path: Path, value: object) -> None:
    result = [{"from_name": "label", "value": value}]
    with pytest.raises(BadInputError, match="entry 1"):
        read_labels(
            written(
                tmp_path,
                json.dumps([{"data": {"item_id": "a"}, "annotations": [{"result": result}]}]),
                "labels.json",
            )
        )
