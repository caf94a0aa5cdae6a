import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.registry.models import Plan
from sim_platform.sampling.draw import Draw, EmptyPopulation, draw
from sim_platform.sampling.hashing import unit_interval
from sim_platform.sampling.strata import allocate, merge_small, stratum_of


def conversations(rows: list[tuple[str, int]]) -> pl.DataFrame:
    """One conversation per (surface, user turns)."""
    return pl.DataFrame(
        [
            {
                "conversation_key": f"c{i}",
                "user_key": f"u{i}",
                "n_user_turns": turns,
                "metadata": json.dumps({"surface": surface}),
            }
            for i, (surface, turns) in enumerate(rows)
        ],
        schema={
            "conversation_key": pl.String,
            "user_key": pl.String,
            "n_user_turns": pl.Int64,
            "metadata": pl.String,
        },
    )


populations = (
    st.lists(st.tuples(st.sampled_from("aaaaabbbcd"), st.integers(0, 4)), min_size=1, max_size=80)
    .filter(lambda rows: any(t for _, t in rows))
    .map(conversations)
)
plans = st.builds(
    Plan,
    strata=st.sampled_from([[], ["surface"]]),
    floor=st.integers(1, 12),
    cut=st.sampled_from(["last_user_turn", "uniform_user_turn"]),
    salt=st.sampled_from(["r1", "r2"]),
)
sizes = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 400), min_size=1)


def keys(drawn: Draw) -> set[str]:
    return set(drawn.sampled["conversation_key"])


@given(population=populations, plan=plans, size=st.integers(1, 90))
def test_every_drawn_conversation_has_a_turn_a_probability_and_its_inverse_as_weight(
    population: pl.DataFrame, plan: Plan, size: int
) -> None:
    drawn = draw(population, plan, size)
    rows = drawn.sampled.join(population, on="conversation_key")
    assert len(rows) == len(drawn.sampled) == rows["conversation_key"].n_unique()
    assert ((rows["turn"] >= 0) & (rows["turn"] < rows["n_user_turns"])).all()
    assert ((rows["weight"] * rows["inclusion_probability"] - 1).abs() < 1e-12).all()
    assert (rows["inclusion_probability"] <= 1).all()
    assert (rows["weight"] >= 1).all()
    if plan.cut == "last_user_turn":
        assert (rows["turn"] == rows["n_user_turns"] - 1).all()


@given(population=populations, plan=plans, size=st.integers(1, 90))
def test_weights_add_up_to_the_population_of_every_stratum(
    population: pl.DataFrame, plan: Plan, size: int
) -> None:
    drawn = draw(population, plan, size)
    per_conversation = drawn.sampled.join(population, on="conversation_key").with_columns(
        w=pl.col("weight") / (pl.col("n_user_turns") if plan.cut == "uniform_user_turn" else 1)
    )
    sums = dict(per_conversation.group_by("stratum").agg(pl.col("w").sum()).iter_rows())
    assert sums == pytest.approx(dict(drawn.strata.select("stratum", "population").iter_rows()))
    eligible = population.filter(pl.col("n_user_turns") > 0)
    assert drawn.strata["population"].sum() + drawn.excluded["no_user_turn"] == len(population)
    assert drawn.strata["sampled"].sum() == len(drawn.sampled) == min(size, len(eligible))
    assert (drawn.strata["sampled"] >= 1).all()


@given(population=populations, plan=plans, size=st.integers(1, 90), seed=st.integers(0, 99))
def test_the_order_of_the_rows_does_not_matter(
    population: pl.DataFrame, plan: Plan, size: int, seed: int
) -> None:
    one, two = (
        draw(population, plan, size),
        draw(population.sample(fraction=1, shuffle=True, seed=seed), plan, size),
    )
    assert one.sampled.equals(two.sampled)
    assert one.strata.equals(two.strata)
    assert one.sample_id == two.sample_id


@given(population=populations, plan=plans, size=st.integers(4, 90), more=st.integers(0, 20))
def test_a_larger_sample_holds_the_smaller_one_cut_at_the_same_turns(
    population: pl.DataFrame, plan: Plan, size: int, more: int
) -> None:
    small, large = draw(population, plan, size), draw(population, plan, size + more)
    assert set(small.sampled.select("conversation_key", "turn").rows()) <= set(
        large.sampled.select("conversation_key", "turn").rows()
    )


@given(population=populations, plan=plans)
def test_a_sample_as_large_as_the_population_is_the_population(
    population: pl.DataFrame, plan: Plan
) -> None:
    drawn = draw(population, plan, len(population))
    assert keys(drawn) == set(population.filter(pl.col("n_user_turns") > 0)["conversation_key"])
    if plan.cut == "last_user_turn":
        assert (drawn.sampled["weight"] == 1).all()


def test_a_stratum_gives_its_smallest_numbers_and_deleting_one_admits_the_next() -> None:
    population = conversations([("a", 1)] * 100)
    order = sorted(population["conversation_key"], key=lambda key: unit_interval("r1", key))
    assert keys(draw(population, Plan(), 10)) == set(order[:10])
    assert keys(draw(population.filter(pl.col("conversation_key") != order[3]), Plan(), 10)) == set(
        order[:11]
    ) - {order[3]}


@settings(max_examples=5)
@given(salt=st.integers(0, 10**6))
def test_every_turn_can_be_drawn(salt: int) -> None:
    drawn = draw(
        conversations([("a", 3)] * 200), Plan(cut="uniform_user_turn", salt=str(salt)), 200
    )
    assert set(drawn.sampled["turn"]) == {0, 1, 2}
    assert (drawn.sampled["weight"] == 3).all()


def test_weighted_totals_are_unbiased_over_salts() -> None:
    population = conversations([("a", 1)] * 60 + [("b", 1)] * 20 + [("c", 1)] * 3)
    marked = set(population["conversation_key"].gather_every(7))
    totals = [
        draw(population, Plan(strata=["surface"], floor=5, salt=str(s)), 20)
        .sampled.filter(pl.col("conversation_key").is_in(list(marked)))["weight"]
        .sum()
        for s in range(400)
    ]
    assert sum(totals) / 400 == pytest.approx(len(marked), abs=0.9)  # standard error about .25


def test_small_strata_are_merged_named_and_listed() -> None:
    population = conversations([("web", 1)] * 40 + [("app", 1)] * 3 + [("phone", 1)] * 2)
    drawn = draw(population, Plan(strata=["surface"], floor=5), 20)
    name = "merged(surface=app | surface=phone)"
    assert drawn.merged == [name]
    assert drawn.strata.rows() == [
        (name, 5, 5, ["surface=app", "surface=phone"]),
        ("surface=web", 40, 15, ["surface=web"]),
    ]


def test_one_small_stratum_stays_alone() -> None:
    assert merge_small({"a": 40, "b": 3}, floor=5, sample_size=20) == {"a": "a", "b": "b"}


def test_more_strata_than_places_merges_the_smallest() -> None:
    assert merge_small({"a": 40, "b": 30, "c": 20, "d": 10}, floor=5, sample_size=2) == {
        "a": "a",
        "b": "merged(b | c | d)",
        "c": "merged(b | c | d)",
        "d": "merged(b | c | d)",
    }


def test_a_name_of_many_merged_strata_stays_short() -> None:
    assert set(merge_small({f"s{i}": 1 for i in range(9)}, floor=5, sample_size=20).values()) == {
        "merged(s0 | s1 | s2 | s3 | s4 | s5 | 3 more)"
    }


boosts = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.1, 20))


@given(sizes=sizes, n=st.integers(1, 800), floor=st.integers(1, 60), boost=boosts)
def test_allocation_fills_the_sample_keeps_the_floor_and_overfills_nothing(
    sizes: dict[str, int], n: int, floor: int, boost: dict[str, float]
) -> None:
    places = allocate(sizes, n, floor, boost)
    assert sum(places.values()) == min(n, sum(sizes.values()))
    assert all(places[h] <= sizes[h] for h in sizes)
    if n >= sum(min(floor, size) for size in sizes.values()):
        assert all(places[h] >= min(floor, sizes[h]) for h in sizes)
    if n >= len(sizes):
        assert min(places.values()) >= 1


@given(sizes=sizes, n=st.integers(1, 800), floor=st.integers(1, 60), boost=boosts)
def test_a_larger_sample_takes_a_place_from_no_stratum(
    sizes: dict[str, int], n: int, floor: int, boost: dict[str, float]
) -> None:
    small, large = allocate(sizes, n, floor, boost), allocate(sizes, n + 1, floor, boost)
    assert all(small[h] <= large[h] for h in sizes)


def test_above_the_floors_allocation_is_proportional() -> None:
    assert allocate({"a": 6000, "b": 3000, "c": 1000}, 100, 5) == {"a": 60, "b": 30, "c": 10}


def test_a_boost_multiplies_the_share_of_its_stratum_and_weights_undo_it() -> None:
    assert allocate({"a": 6000, "b": 3000, "c": 1000}, 120, 5, {"c": 3}) == {
        "a": 60,
        "b": 30,
        "c": 30,
    }
    population = conversations([("a", 1)] * 600 + [("b", 1)] * 400)
    drawn = draw(population, Plan(strata=["surface"], floor=1, boost={"surface=b": 3}), 180)
    assert drawn.strata.select("stratum", "sampled").rows() == [
        ("surface=a", 60),
        ("surface=b", 120),
    ]
    assert drawn.sampled["weight"].sum() == pytest.approx(1000)
    assert drawn.sample_id != draw(population, Plan(strata=["surface"], floor=1), 180).sample_id


def test_a_boost_of_a_stratum_that_there_is_not_names_those_there_are() -> None:
    with pytest.raises(
        BadInputError,
        match=r'boost: "surface=c" is no stratum of v1 \(strata: surface=a; surface=b\)',
    ):
        draw(
            conversations([("a", 1), ("b", 1)]),
            Plan(strata=["surface"], floor=1, boost={"surface=c": 3}),
            replaces="v1",
        )


def test_a_plan_without_a_boost_is_the_plan_that_was_registered_before_there_were_boosts() -> None:
    assert "boost" not in Plan().model_dump(mode="json")
    assert Plan(boost={"all": 2}).model_dump(mode="json")["boost"] == {"all": 2}


def test_strata_are_named_from_metadata_and_an_absent_key_has_a_name() -> None:
    assert (
        stratum_of(
            '{"surface":"web","tools":true,"language":null}',
            ["surface", "tools", "language", "tier"],
        )
        == "surface=web, tools=true, language=(none), tier=(none)"
    )
    assert stratum_of("{}", []) == "all"


def test_metadata_that_cannot_be_read_is_refused_without_quoting_it() -> None:
    with pytest.raises(SimPlatformError) as error:
        stratum_of('{"secret text', ["surface"])
    assert "secret" not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None


@pytest.mark.parametrize(
    "population", [conversations([]), conversations([("a", 0)] * 4)], ids=["empty", "no user turn"]
)
def test_an_empty_population_names_the_versions_and_the_way_out(population: pl.DataFrame) -> None:
    with pytest.raises(
        EmptyPopulation, match=r"cand-2: .*prod-1 has \d de-identified conversations.*deployed"
    ):
        draw(population, Plan(), release="cand-2", replaces="prod-1")


def test_a_sample_below_one_and_repeated_keys_are_refused() -> None:
    population = conversations([("a", 1)] * 3)
    with pytest.raises(BadInputError, match="sample_size: 0"):
        draw(population, Plan(), 0)
    with pytest.raises(SimPlatformError, match="repeated in 6 rows"):
        draw(pl.concat([population, population]), Plan())


def test_sample_id_changes_with_salt_size_and_population() -> None:
    population = conversations([("a", 1)] * 30)
    ids = [
        draw(population, Plan(), 10),
        draw(population, Plan(salt="r2"), 10),
        draw(population, Plan(), 11),
        draw(population.head(20), Plan(), 10),
    ]
    assert len({d.sample_id for d in ids}) == 4
