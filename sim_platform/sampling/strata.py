"""Strata of a population and how many of the sample each of them gets.

Belongs here: naming strata from metadata, merging small ones, allocation. Does not: which
conversations are drawn (draw).
"""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.messages import canonical_json

NO_STRATA = "all"
NO_BOOST: Mapping[str, float] = MappingProxyType({})


def stratum_of(metadata: str, keys: Sequence[str]) -> str:
    """Stratum of a conversation from its metadata (a JSON object): "surface=web, language=en"; an
    absent or null key counts as "(none)".

    Raises:
        SimPlatformError: the metadata are no JSON object; the text is not quoted.
    """
    if not keys:
        return NO_STRATA
    try:
        properties = json.loads(metadata)
    except ValueError:
        properties = None
    if not isinstance(properties, dict):
        raise SimPlatformError(
            "deidentified_corpus: the metadata of a conversation are not a JSON object; run"
            " deidentified_corpus again"
        )
    return ", ".join(f"{key}={_shown(properties.get(key))}" for key in keys)


def merge_small(sizes: Mapping[str, int], floor: int, sample_size: int) -> dict[str, str]:
    """Stratum to the stratum that it is sampled in: the ones below `floor` become one, named
    "merged(a | b)" after the first six.

    A single small stratum stays alone. If even so there are more strata than the sample has places,
    the smallest join the merged one; only then do strata depend on the sample's size.
    """
    ascending = sorted(sizes, key=lambda name: (sizes[name], name))
    n_merged = sum(size < floor for size in sizes.values())
    if len(sizes) - max(n_merged - 1, 0) > sample_size:
        n_merged = len(sizes) - sample_size + 1
    small = sorted(ascending[:n_merged])
    if len(small) < 2:
        return {name: name for name in sizes}
    shown = [*small[:6], *([f"{len(small) - 6} more"] if len(small) > 6 else [])]
    merged = f"merged({' | '.join(shown)})"
    return {name: merged if name in small else name for name in sizes}


def allocate(
    sizes: Mapping[str, int], sample_size: int, floor: int, boost: Mapping[str, float] = NO_BOOST
) -> dict[str, int]:
    """Places per stratum: min(floor, size) to each, one at a time, then proportional by highest
    averages (Sainte-Lague).

    Adds up to min(sample_size, population). Each place is awarded by a rule that does not look
    at the sample's size, so a larger sample never takes a place from any stratum (largest
    remainders would): samples are nested. Every stratum has a place when sample_size is at least
    the number of strata.

    Args:
        sizes: conversations per stratum, >= 1. sample_size, floor: conversations, >= 1.
        boost: stratum to a factor > 0 on its share; weights undo it in every estimate.
    """
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    size = np.array([sizes[name] for name in names], dtype=np.int64)
    stratum = np.repeat(np.arange(len(names)), size)
    # 0, 1, ... within each stratum
    place = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    by_floor = place < floor
    share = size * np.array([boost.get(name, 1.0) for name in names])
    rank = np.where(by_floor, place, -share[stratum] / (2 * place + 1))
    awarded = stratum[np.lexsort((stratum, rank, ~by_floor))[:sample_size]]
    return dict(zip(names, np.bincount(awarded, minlength=len(names)).tolist(), strict=True))


def _shown(value: object) -> str:
    return "(none)" if value is None else value if isinstance(value, str) else canonical_json(value)
