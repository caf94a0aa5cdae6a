import duckdb
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.sampling.hashing import UNIT_INTERVAL_SQL, unit_interval, unit_intervals

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)


def test_the_published_key_gives_the_published_number() -> None:
    assert unit_interval("s", "conv-1") == 0.9949647404267556


@given(salt=words, keys=st.lists(words, min_size=1, max_size=20))
def test_sql_and_python_agree_bit_for_bit(salt: str, keys: list[str]) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"create macro unit_interval(salt, key) as {UNIT_INTERVAL_SQL}")
        for key in keys:
            found = connection.execute(
                "select unit_interval($salt, $key)", {"salt": salt, "key": key}
            ).fetchone()
            assert found == (unit_interval(salt, key),)


def test_a_series_has_the_number_of_each_key() -> None:
    keys = [f"c{i}" for i in range(50)]
    assert unit_intervals("r1", pl.Series(keys)).to_list() == [
        unit_interval("r1", key) for key in keys
    ]


def test_numbers_are_spread_evenly_and_salts_are_unrelated() -> None:
    keys = [f"c{i}" for i in range(20_000)]
    one, two = unit_intervals("r1", keys), unit_intervals("r2", keys)
    counts = (one * 20).floor().value_counts()["count"]
    assert (
        (counts - 1000) ** 2 / 1000
    ).sum() < 43.8  # chi-square with 19 degrees of freedom, p = .001
    assert abs(pl.DataFrame({"one": one, "two": two}).select(pl.corr("one", "two")).item()) < 0.03
