import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sim_platform.deidentification import leaks
from sim_platform.deidentification.names import FIRST, LAST
from sim_platform.deidentification.stoplist import TITLES
from sim_platform.deidentification.surrogates import Surrogates, SurrogatesExhausted, fold

KEY = b"k" * 32
names = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzéüñ"), min_size=2, max_size=12).map(
    str.capitalize
)
structured = st.one_of(
    st.tuples(
        st.just("EMAIL"), st.from_regex(r"[a-z]{3,9}@[a-z]{3,8}\.(com|net|de)", fullmatch=True)
    ),
    st.tuples(
        st.just("PHONE"),
        st.from_regex(
            r"(\+1 )?\([2-9][0-9]{2}\) [2-9][0-9]{2}-[0-9]{4}|\+49 30 [0-9]{6,8}", fullmatch=True
        ),
    ),
    st.tuples(
        st.just("IP"), st.from_regex(r"([1-9][0-9]?\.){3}[1-9]|fe80::[1-9a-f]{1,4}", fullmatch=True)
    ),
    st.tuples(st.just("MAC"), st.from_regex(r"([0-9A-F]{2}:){5}[0-9A-F]{2}", fullmatch=True)),
    st.tuples(st.just("SSN"), st.from_regex(r"[0-9]{3}-[0-9]{2}-[0-9]{4}", fullmatch=True)),
    st.tuples(
        st.just("CARD"), st.from_regex(r"4[0-9]{3}( [0-9]{4}){3}|4[0-9]{15}", fullmatch=True)
    ),
    st.tuples(st.just("LONG_NUMBER"), st.from_regex(r"[1-9][0-9]{6,15}", fullmatch=True)),
    st.tuples(st.just("ID"), st.from_regex(r"[A-Z]{2}-[0-9]{5,8}", fullmatch=True)),
    st.tuples(
        st.just("URL"), st.from_regex(r"https://[a-z]{3,9}\.com/\?q=[a-z]{2,5}", fullmatch=True)
    ),
)


@given(first=names, last=names)
def test_the_mentions_of_one_person_agree(first: str, last: str) -> None:
    assume(fold(first) != fold(last))
    assume(not {fold(first), fold(last)} & TITLES)  # "Md" is read as a title wherever it stands
    made = Surrogates(KEY, f"{first} {last}", {fold(last)})
    new_first, new_last = made.of("PERSON", f"{first} {last}").split(" ")
    assert made.of("PERSON", first) == new_first
    assert made.of("PERSON", f"Dr. {last}") == f"Dr. {new_last}"
    assert made.of("PERSON", f"{last.lower()}'s") == f"{new_last.lower()}'s"
    assert (
        made.of("PERSON", f"{first.upper()} {last.upper()}")
        == f"{new_first.upper()} {new_last.upper()}"
    )


@given(tokens=st.lists(names, min_size=2, max_size=30, unique_by=fold))
def test_two_people_never_become_one(tokens: list[str]) -> None:
    made = Surrogates(KEY, " ".join(tokens))
    assert len({made.of("PERSON", token) for token in tokens}) == len(tokens)


@given(values=st.lists(structured, min_size=1, max_size=8, unique_by=lambda v: v[1]))
def test_structured_surrogates_are_new_stable_and_from_reserved_ranges(
    values: list[tuple[str, str]],
) -> None:
    original = " ".join(value for _, value in values)
    made = Surrogates(KEY, original)
    for type, value in values:
        surrogate = made.of(type, value)
        assert surrogate != value
        assert made.of(type, value) == surrogate
        assert leaks.reserved_range_leaks([surrogate, f"call {surrogate}, or"]) == {}
        assert Surrogates(KEY, original).of(type, value) == surrogate or len(values) > 1


@pytest.mark.parametrize("name", ["Maria", "O'Neill", "de la Cruz", "José", "Ng"])
def test_no_surrogate_occurs_in_the_conversation(name: str) -> None:
    """The whole pool is in the conversation, so a surrogate has to be made of two names."""
    made = Surrogates(KEY, " ".join([name, *FIRST, *LAST]))
    surrogate = made.of("PERSON", name)
    assert surrogate.split()[-1] not in (*FIRST, *LAST, name.split()[-1])


def test_two_spellings_of_a_number_agree_and_keep_their_format() -> None:
    made = Surrogates(KEY, "")
    plain, dotted, international = (
        made.of("PHONE", p) for p in ("(212) 867-5309", "212.867.5309", "1 212 867 5309")
    )
    assert re.fullmatch(r"\(\d{3}\) 555-01\d\d", plain)
    assert leaks.digits_of(plain) == leaks.digits_of(dotted) == leaks.digits_of(international)[1:]
    assert re.fullmatch(r"\d{3}\.555\.01\d\d", dotted)
    assert made.of("SSN", "123-45-6789").replace("-", " ") == made.of("SSN", "123 45 6789")
    assert made.of("EMAIL", "A.B@corp.de") == made.of("EMAIL", "a.b@corp.de")


def test_without_the_key_nothing_agrees() -> None:
    assert Surrogates(KEY, "").of("ID", "AB-1234567") != Surrogates(b"o" * 32, "").of(
        "ID", "AB-1234567"
    )


def test_an_exhausted_range_is_an_error_that_names_the_type_only() -> None:
    made = Surrogates(KEY, "")

    def use_up() -> None:
        for i in range(257):
            made.of("MAC", f"02:00:00:00:{i // 256:02x}:{i % 256:02x}")

    with pytest.raises(SurrogatesExhausted, match="no MAC surrogate is left") as error:
        use_up()
    assert "02:00" not in str(error.value)


@pytest.mark.parametrize(
    "value",
    [
        "Winter2024@corp-mail.io",
        "winter@example.com",
        "8f3a9c2b7d1e4f60&email=jane.roe@corp-mail.io",
        "sk-live-4f9a8b7c@db.corp-mail.io:5432",
        "user:10.20.30.40",
    ],
)
def test_a_secret_of_an_address_shape_has_a_surrogate_without_that_shape(value: str) -> None:
    made = Surrogates(KEY, value).of("SECRET", value)
    assert leaks.reserved_range_leaks([made]) == {}
    assert len(made) == len(value)
    assert made == Surrogates(KEY, value).of("SECRET", value)
    assert made != Surrogates(b"o" * 32, value).of("SECRET", value)


def test_a_secret_that_has_a_surrogate_of_its_shape_keeps_it() -> None:
    """So that what is stored under this version of de-identification stays as it is."""
    assert re.fullmatch(
        r"[a-z]{2}-[1-9]\d{4}[a-z]\d", Surrogates(KEY, "").of("SECRET", "sk-40217x9")
    )


def test_a_date_of_birth_stays_a_date_in_its_format() -> None:
    made = Surrogates(KEY, "")
    assert re.fullmatch(
        r"19[5-9]\d-(0[1-9]|1[0-2])-(0[1-9]|1[0-2])", made.of("DATE_OF_BIRTH", "1990-04-25")
    )
    assert re.fullmatch(r"[A-Z][a-z]+ \d{1,2}, 19\d\d", made.of("DATE_OF_BIRTH", "April 25, 1990"))
    assert re.fullmatch(
        r"(0[1-9]|1[0-2])/(0[1-9]|1[0-2])/19\d\d", made.of("DATE_OF_BIRTH", "04/25/1990")
    )


def test_an_iban_surrogate_has_check_digits_that_are_never_given_out() -> None:
    assert Surrogates(KEY, "").of("IBAN", "DE89 3704 0044 0532 0130 00").startswith("DE00 ")


def test_the_pools_hold_distinct_words_and_share_none() -> None:
    assert len(set(FIRST) | set(LAST)) == len(FIRST) + len(LAST)
    assert all(re.fullmatch("[A-Z][a-z]+", name) for name in (*FIRST, *LAST))


def test_the_test_cards_pass_the_checksum() -> None:
    assert all(leaks.passes_luhn(card) for card in leaks.TEST_CARDS)
