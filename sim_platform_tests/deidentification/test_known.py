"""What is known about an account is masked in its conversations, however it is spelled."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.deidentification.deidentify import content_of, deidentify
from sim_platform.deidentification.known import Known, KnownValues, origins, searchable
from sim_platform_tests.deidentification.corpora import (
    KEYS,
    RulesOnly,
    extract,
    messages_of,
    row,
    user,
)

ROSA = (
    Known("PERSON", "Rosália Núñez-Åkerfeldt"),
    Known("EMAIL", "Rosalia.N@Corp.example.de"),
    Known("PHONE", "+49 (0)171 555 0177"),
    Known("ADDRESS", "Birkenweg 7b, 20095 Hamburg"),
    Known("ID", "KD-4471-99"),
)


def found(text: str, *known: Known) -> list[str]:
    return [text[s.start : s.end] for s in KnownValues.of(known or ROSA).spans(text)]


def test_no_mark_and_no_invisible_character_of_unicode_hides_a_value() -> None:
    hiding = [
        c
        for c in map(chr, range(sys.maxunicode + 1))
        if unicodedata.combining(c) or unicodedata.category(c) == "Cf"
    ]
    assert len(hiding) > 1_000
    assert {c for c in hiding if searchable(c)} == {"\u0345"}, (
        "a Greek iota, which folding writes out"
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("i am rosalia nunez akerfeldt, hello", "rosalia nunez akerfeldt"),
        ("ROSÁLIA NÚÑEZ-ÅKERFELDT", "ROSÁLIA NÚÑEZ-ÅKERFELDT"),
        ("NÚÑEZ-ÅKERFELDT, ROSÁLIA", "NÚÑEZ-ÅKERFELDT, ROSÁLIA"),
        ("ask rosalia about it", "rosalia"),
        ("Rosália's order", "Rosália"),
        ("Ro\u200bsalia", "Ro\u200bsalia"),
        ("R. Akerfeldt wrote", "R. Akerfeldt"),
        ("at ROSALIA.N@corp.example.DE today", "ROSALIA.N@corp.example.DE"),
        ("call 171-555-01 77 now", "171-555-01 77"),
        ("it is +49 171 5550177.", "171 5550177"),
        ("birkenweg 7B please", "birkenweg 7B"),
        ("my number kd447199", "kd447199"),
        ("kd 4471/99", "kd 4471/99"),
    ],
)
def test_a_known_value_is_found_however_it_is_spelled(text: str, value: str) -> None:
    assert value in "|".join(found(text))


@pytest.mark.parametrize(
    "text", ["a rosary", "the nuns", "Hamburg is far", "4471", "call 5550", "corp"]
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert found(text) == []


@given(st.text(max_size=40))
def test_folding_keeps_track_of_where_each_character_stood(text: str) -> None:
    folded, places = searchable(text), origins(text)
    assert folded == "".join(map(searchable, text))
    assert len(folded) == len(places)
    assert all(0 <= a < b <= len(text) for a, b in places)
    assert [a for a, _ in places] == sorted(a for a, _ in places)


def test_a_value_that_no_detector_knows_is_masked_in_every_role_and_in_properties() -> None:
    messages = [
        {"role": "user", "content": "akerfeldt here"},
        {
            "role": "assistant",
            "content": "Hello Rosalia",
            "tool_calls": [
                {
                    "id": "x",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"who": "nunez"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "x", "content": '{"nunez": 1}'},
    ]
    batch = deidentify(
        extract(row("c", messages, metadata={"signed": "rosalia"})), RulesOnly(), KEYS, [ROSA]
    )
    text = batch.corpus["messages"][0] + batch.corpus["metadata"][0]
    assert batch.quarantined.is_empty()
    assert not any(word in text.casefold() for word in ("akerfeldt", "rosalia", "nunez"))
    assert '"signed":"[PERSON]"' in batch.corpus["metadata"][0].replace(" ", "")


def test_another_accounts_conversation_is_left_alone() -> None:
    batch = deidentify(
        extract(row("a", user("ask akerfeldt")), row("b", user("ask akerfeldt"))),
        RulesOnly(),
        KEYS,
        [ROSA, ()],
    )
    assert (
        messages_of(batch, 0)[0]["content"]
        != messages_of(batch, 1)[0]["content"]
        == "ask akerfeldt"
    )


def test_the_account_id_is_known_where_it_is_more_than_a_word() -> None:
    rows = extract(
        row("c", user("my login is mia_li_3668 and i like words")) | {"user_id": "mia_li_3668"},
        row("d", user("the word")) | {"user_id": "word"},
    )
    batch = deidentify(rows, RulesOnly(), KEYS)
    assert "mia_li" not in batch.corpus["messages"][0]
    assert messages_of(batch, 1)[0]["content"] == "the word"


def test_no_surrogate_is_a_value_that_is_known() -> None:
    """The account's names are taken from the pool of surrogates one after the other, so each draw
    could hit one.
    """
    from sim_platform.deidentification.names import FIRST

    known = tuple(Known("PERSON", name) for name in FIRST[:60])
    batch = deidentify(
        extract(row("c", user(f"{FIRST[0]} met {FIRST[1]} and {FIRST[2]}"))),
        RulesOnly(),
        KEYS,
        [known],
    )
    assert batch.quarantined.is_empty()
    assert KnownValues.of(known).spans(messages_of(batch)[0]["content"]) == []


def test_a_change_of_what_is_known_does_the_conversation_again() -> None:
    assert content_of("h", ()) == "h"
    assert len({content_of("h", ()), content_of("h", ROSA), content_of("h", ROSA[:1])}) == 3
