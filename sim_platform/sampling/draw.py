"""The draw: which conversations are replayed, at which turn they are cut, and with
what probability.

Belongs here: draw, inclusion probabilities, weights. Does not: strata and allocation (strata), the
text of a prefix (prefixes).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.contracts.messages import canonical_json
from sim_platform.registry.models import Plan
from sim_platform.sampling.hashing import unit_intervals
from sim_platform.sampling.strata import allocate, merge_small, stratum_of

VERSION = "1"


class EmptyPopulation(BadInputError):
    """There is no conversation to draw from."""


@dataclass(frozen=True)
class Draw:
    """A drawn sample.

    `sampled`: conversation_key, stratum, turn (user turn of the cut, from 0),
    inclusion_probability, weight (its inverse); one row a conversation, sorted by stratum and key.
    `strata`: stratum, population, sampled (conversations), merged_from (the strata that it was made
    of). `merged`: names of merged strata. `excluded`: reason to conversations left out of the
    population. `sample_id`: hash of plan, size and draw.
    """

    sampled: pl.DataFrame
    strata: pl.DataFrame
    merged: list[str]
    excluded: dict[str, int]
    sample_id: str


def draw(
    population: pl.DataFrame,
    plan: Plan,
    sample_size: int | None = None,
    *,
    release: str = "this release",
    replaces: str = "the version that it replaces",
) -> Draw:
    """Stratified simple random sample without replacement, one prefix a conversation.

    In each stratum the conversations with the smallest `unit_interval(salt, conversation_key)` are
    drawn: the same rows give the same sample in any order, and a larger sample holds the smaller
    one. `last_user_turn` has probability n_h / N_h; `uniform_user_turn` picks one of the T turns
    with a second number, n_h / (N_h T).

    Args:
        population: conversation_key, user_key, n_user_turns, metadata (JSON); one row a
            conversation of the replaced version.
        plan: strata, floor, cut and salt of the release.
        sample_size: overrides the plan's; the whole population when it is smaller than that.
        release, replaces: versions, for the error.

    Raises:
        EmptyPopulation: no conversation with a user turn. BadInputError: sample_size below 1,
            or a boost of a stratum that there is not. SimPlatformError: a conversation_key
            that is repeated.
    """
    size = plan.sample_size if sample_size is None else sample_size
    if size < 1:
        raise BadInputError(f"sample_size: {size} is not a sample; give 1 or more")
    if (
        population["conversation_key"].has_nulls()
        or population["conversation_key"].is_duplicated().any()
    ):
        raise SimPlatformError(
            f"{release}: conversation keys of {replaces} are absent or repeated in"
            f" {len(population)} rows; run deidentified_corpus again"
        )
    eligible = population.filter(pl.col("n_user_turns").fill_null(0) > 0)
    excluded = {"no_user_turn": len(population) - len(eligible)}
    if eligible.is_empty():
        raise EmptyPopulation(
            f"{release}: nothing to sample, {replaces} has {len(population)} de-identified"
            " conversations in its time of deployment and none with a user turn. Check `deployed`"
            " and `replaces` in models.yaml, that the log and the consent in sources.yaml cover"
            " that version, then run deidentified_corpus."
        )
    own = pl.Series(
        "own",
        [stratum_of(metadata, plan.strata) for metadata in eligible["metadata"]],
        dtype=pl.String,
    )
    own_sizes = dict(own.value_counts().iter_rows())
    sampled_in = merge_small(own_sizes, plan.floor, size)
    eligible = eligible.select("conversation_key", "n_user_turns").with_columns(
        own.replace_strict(sampled_in, return_dtype=pl.String).alias("stratum"),
        unit_intervals(plan.salt, eligible["conversation_key"]),
    )
    sizes = dict(eligible["stratum"].value_counts().iter_rows())
    if unknown := sorted(set(plan.boost) - set(sizes)):
        raise BadInputError(
            f'{release}: boost: "{unknown[0]}" is no stratum of {replaces} (strata:'
            f" {'; '.join(sorted(sizes))})"
        )
    places = allocate(sizes, size, plan.floor, plan.boost)
    strata = pl.DataFrame(
        [
            (
                name,
                sizes[name],
                places[name],
                sorted(o for o, into in sampled_in.items() if into == name),
            )
            for name in sorted(sizes)
        ],
        schema={
            "stratum": pl.String,
            "population": pl.Int64,
            "sampled": pl.Int64,
            "merged_from": pl.List(pl.String),
        },
        orient="row",
    )
    turns = pl.lit(1.0) if plan.cut == "last_user_turn" else pl.col("n_user_turns").cast(pl.Float64)
    drawn = (
        eligible.join(strata, on="stratum")
        .sort("stratum", "u", "conversation_key")
        .filter(pl.int_range(pl.len()).over("stratum") < pl.col("sampled"))
        .with_columns(weight=pl.col("population") / pl.col("sampled") * turns)
        .with_columns(
            inclusion_probability=1 / pl.col("weight"),
            turn=pl.col("n_user_turns").cast(pl.Int64) - 1,
        )
        .sort("stratum", "conversation_key")
    )
    if plan.cut == "uniform_user_turn":
        second = unit_intervals(f"{plan.salt}|turn", drawn["conversation_key"])
        drawn = drawn.with_columns(
            turn=pl.min_horizontal((second * drawn["n_user_turns"]).cast(pl.Int64), "turn")
        )
    sampled = drawn.select("conversation_key", "stratum", "turn", "inclusion_probability", "weight")
    decided: dict[str, Any] = {
        "strata": plan.strata,
        "floor": plan.floor,
        "cut": plan.cut,
        "salt": plan.salt,
        "sample_size": size,
        "version": VERSION,
    }
    if plan.boost:  # absent otherwise, so that samples of before there were boosts keep their id
        decided["boost"] = plan.boost
    keys = sampled.select("conversation_key", "stratum", "turn", pl.col("weight").round(9))
    merged = sorted(name for name in sizes if sum(into == name for into in sampled_in.values()) > 1)
    return Draw(sampled, strata, merged, excluded, _sample_id(decided, keys))


def _sample_id(decided: Mapping[str, Any], keys: pl.DataFrame) -> str:
    """The start of `sha256([decided, sorted rows of keys])`, without all rows as text at once."""
    found = hashlib.sha256(f"[{canonical_json(decided)},[".encode())
    for n, row in enumerate(keys.sort("conversation_key").iter_rows()):
        found.update(f"{',' if n else ''}{canonical_json(row)}".encode())
    found.update(b"]]")
    return found.hexdigest()[:16]
