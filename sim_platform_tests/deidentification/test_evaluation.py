import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sim_platform.commands.main import app
from sim_platform.contracts.errors import BadInputError
from sim_platform.deidentification import policies
from sim_platform.deidentification.deidentify import masks_of, replaced_alone
from sim_platform.deidentification.detectors import combined
from sim_platform.deidentification.evaluation import (
    Labelled,
    benign,
    evaluate,
    is_direct,
    parse,
    wilson_low,
)
from sim_platform.deidentification.spans import Span
from sim_platform_tests.deidentification.corpora import RulesOnly

STRICT, BALANCED = policies.load_policy("strict"), policies.load_policy("balanced")


def person(text: str, name: str) -> Labelled:
    return Labelled(text, ((text.index(name), text.index(name) + len(name), "PERSON"),))


def test_an_identifier_counts_only_when_every_word_of_it_is_masked() -> None:
    rows = [person("ask Ann Lee Hospital now", "Ann Lee Hospital")]
    assert evaluate(rows, RulesOnly("Ann Lee"))["recall_direct"] == 1
    assert evaluate(rows, RulesOnly("Ann"))["recall_direct"] == 0
    assert evaluate(rows, RulesOnly("Ann L"))["recall_direct"] == 0


def test_places_and_dates_do_not_count_as_direct() -> None:
    rows = [Labelled("in Rome on 3 May", ((3, 7, "LOCATION"), (11, 16, "DATE_TIME")))]
    assert evaluate(rows, RulesOnly())["n_direct"] == 0
    assert evaluate(rows, RulesOnly())["recall_direct"] is None


@pytest.mark.parametrize(
    "type",
    [
        "DOMAIN_NAME",
        "COMPANY_NAME",
        "CITY",
        "DATE_OF_BIRTH",
        "AGE",
        "ZIP_CODE",
        "GEOGRAPHIC_LOCATION",
    ],
)
def test_a_type_that_many_people_share_is_not_direct(type: str) -> None:
    assert not is_direct(type)


@pytest.mark.parametrize(
    "type",
    [
        "PERSON",
        "FIRST_NAME",
        "IP_ADDRESS",
        "STREET_ADDRESS",
        "US_DRIVER_LICENSE",
        "UNIQUE_IDENTIFIER",
        "MEDICAL_RECORD_NUMBER",
        "SSN",
    ],
)
def test_a_type_that_leads_to_one_person_is_direct(type: str) -> None:
    assert is_direct(type)


def test_every_format_gives_the_same_labels() -> None:
    text, name = "ask Ann Lee now", "Ann Lee"
    span = {"start": 4, "end": 11, "type": "PERSON"}
    research = [
        {
            "full_text": text,
            "spans": [{"start_position": 4, "end_position": 11, "entity_type": "PERSON"}],
        }
    ]
    asq = (
        f"===QUERY===\n{text}\n===PHI_TAGS===\n"
        + json.dumps({"identifier_type": "PERSON", "value": name})
        + "\n\n"
    )
    assert (
        parse(json.dumps({"text": text, "spans": [span]}) + "\n", "jsonl")
        == parse(json.dumps(research), "presidio-research")
        == parse(asq, "asq-phi")
        == [person(text, name)]
    )


@pytest.mark.parametrize("format", ["jsonl", "presidio-research"])
def test_a_file_in_another_format_is_an_error_that_quotes_nothing(format: str) -> None:
    with pytest.raises(BadInputError) as error:
        parse('{"quentin": 1}\n', format)  # type: ignore[arg-type]
    assert "quentin" not in str(error.value)


def test_harmless_texts_are_counted_once_however_much_is_masked() -> None:
    figures = benign(["Ann met Ann", "nothing"], RulesOnly("Ann"))
    assert (figures["n"], figures["altered"], figures["benign_altered"]) == (2, 1, 0.5)


def test_wilsons_lower_end_is_the_published_one() -> None:
    """Newcombe 1998, Statistics in Medicine 17:857-872, table I: 81 of 263."""
    assert wilson_low(81, 263) == pytest.approx(0.2553, abs=5e-5)


def test_an_unknown_policy_names_those_that_exist() -> None:
    with pytest.raises(BadInputError, match="strict, balanced"):
        policies.load_policy("lenient")


def test_balanced_needs_two_models_for_a_name_where_strict_needs_one() -> None:
    text = "Then Maria came"
    entities = [(5, 10, "PERSON")]
    assert [s.type for s in combined(text, [], entities, STRICT)] == ["PERSON"]
    assert combined(text, [], entities, BALANCED) == []
    assert [s.type for s in combined(text, [(5, 10, "GIVEN_NAME", 0.2)], entities, BALANCED)] == [
        "PERSON"
    ]


def test_pieces_of_a_word_mask_the_whole_word() -> None:
    assert [
        (s.start, s.end)
        for s in combined("it is raghunathan here", [(6, 9, "SURNAME", 0.9)], [], STRICT)
    ] == [(6, 17)]


def test_an_address_is_masked_with_its_number_and_its_postcode() -> None:
    text = "at 760 Passauer Strasse 33, Cite Guedouala, Tunisia"
    spans = combined(text, [(7, 15, "STREET_NAME", 0.9), (16, 23, "STREET_NAME", 0.9)], [], STRICT)
    assert next(text[s.start : s.end] for s in spans).startswith("760 Passauer")


def test_a_name_in_small_letters_is_found_again_in_the_same_text() -> None:
    text = "i am priya. priya again"
    assert [text[a:b] for a, b, _ in masks_of(text, [Span(5, 10, "PERSON", 1.0, "test")])] == [
        "priya",
        "priya",
    ]


@given(st.text(alphabet="abc XYZ.,é1", max_size=60))
def test_a_text_without_masks_comes_back_as_it_is(text: str) -> None:
    assert replaced_alone(text, [], b"k" * 32) == text


@pytest.mark.model
def test_the_commands_give_the_documented_keys(tmp_path: Path) -> None:
    labelled = tmp_path / "labelled.jsonl"
    labelled.write_text(
        '{"text": "I am Maria Gonzalez", "spans": [{"start": 5, "end": 19, "type":'
        ' "PERSON"}]}\n{"text": "What is 2 + 2?", "spans": []}\n'
    )
    done = CliRunner().invoke(
        app,
        [
            "deid",
            "evaluate",
            str(labelled),
            "--format",
            "jsonl",
            "--policy",
            "strict",
            "--lowercase",
            "--json",
        ],
    )
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert figures.keys() >= {
        "n_direct",
        "recall_direct",
        "recall_low",
        "by_type",
        "precision",
        "benign_altered",
        "kb_per_s",
    }
    assert (figures["n_direct"], figures["recall_direct"], figures["benign_altered"]) == (
        1,
        1.0,
        0.0,
    )
    shown = CliRunner().invoke(
        app, ["deid", "text", "-", "--json"], input="Write to maria@corp.de, Maria Gonzalez"
    )
    assert shown.exit_code == 0, shown.output
    assert {s["type"] for s in json.loads(shown.stdout)["spans"]} == {"EMAIL", "PERSON"}
    assert "gonzalez" not in json.loads(shown.stdout)["after"].lower()
    plain = tmp_path / "plain.txt"
    plain.write_text("What is 2 + 2?\nHow tall is a giraffe?\n")
    assert (
        json.loads(CliRunner().invoke(app, ["deid", "benign", str(plain), "--json"]).stdout)[
            "benign_altered"
        ]
        == 0
    )
    assert (
        CliRunner().invoke(app, ["deid", "evaluate", str(plain), "--format", "csv"]).exit_code == 2
    )
