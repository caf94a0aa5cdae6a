import json
import re

from hypothesis import given
from hypothesis import strategies as st

from sim_platform.deidentification import names
from sim_platform.deidentification.canaries import FIRST, LAST, Canary, planted, survivors
from sim_platform.deidentification.stoplist import NOT_A_NAME
from sim_platform_tests.deidentification.corpora import row, user


def test_no_canary_name_is_a_surrogate_or_a_word_that_is_never_a_name() -> None:
    ours = {part.casefold() for name in (*FIRST, *LAST) for part in name.split("-")}
    assert not ours & {name.casefold() for name in (*names.FIRST, *names.LAST)}
    assert not ours & NOT_A_NAME


@given(text=st.text(max_size=200), n=st.integers(1, 12), seed=st.integers(0, 2**40))
def test_planting_adds_between_sentences_and_takes_nothing_away(
    text: str, n: int, seed: int
) -> None:
    before = row("c", [*user(text), {"role": "assistant", "content": "Fine."}])
    found = planted(before, n, seed)
    assert found is not None
    shadow, canaries = found
    assert len(canaries) == n
    messages = json.loads(shadow["messages"])
    assert messages[1] == {"role": "assistant", "content": "Fine."}
    left = iter(messages[0]["content"])
    assert all(c in left for c in text), "the user's text is still there, in order"
    assert survivors(canaries, messages[0]["content"]).total() == n, (
        "before de-identification every canary can be read"
    )
    assert {k: v for k, v in shadow.items() if k != "messages"} == {
        k: v for k, v in before.items() if k != "messages"
    }
    assert planted(before, n, seed) == found


@given(seed=st.integers(0, 2**40))
def test_a_name_that_the_conversation_holds_already_is_not_planted(seed: int) -> None:
    there = set(FIRST[:60]) | set(LAST[:60])
    found = planted(row("c", user(f"Towns and people: {', '.join(sorted(there))}.")), 3, seed)
    assert found is not None
    assert not {part for c in found[1] if c.type == "PERSON" for part in c.parts} & {
        part.casefold() for name in there for part in name.split("-")
    }


@given(seed=st.integers(0, 2**40))
def test_no_canary_is_put_inside_the_sentence_of_another(seed: int) -> None:
    found = planted(row("c", user("Hi. How are you? Fine")), 10, seed)
    assert found is not None
    text = json.loads(found[0]["messages"])[0]["content"]
    assert re.search(r"\b(?:Mr|Dr)\. (?!\w+ [A-Z])", text) is None


def test_a_conversation_without_plain_text_of_a_user_gets_none() -> None:
    assert planted(row("c", [{"role": "assistant", "content": "Hello."}]), 3, 1) is None


def test_a_part_that_tells_survives_and_a_replacement_does_not() -> None:
    name, phone = Canary("PERSON", ("edith", "ackroyd")), Canary("PHONE", ("4153120007", "3120007"))
    assert survivors([name, phone], "Ask Ms. ACKROYD, or call 415 312-0007.") == {
        "PERSON": 1,
        "PHONE": 1,
    }
    assert (
        survivors([name, phone], "Ask Ms. Banerjee, or call 415 555-0107. Edithburgh is a town.")
        == {}
    )
