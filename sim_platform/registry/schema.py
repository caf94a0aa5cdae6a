"""What the parts of a home's configuration are written in: strict models, version names, predicates
over metadata.

Belongs here: what several of sources, models and behaviors need. Does not: a key of any file.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sim_platform.contracts.messages import JsonScalar

Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Predicate = dict[str, JsonScalar | list[JsonScalar]]


def holds(
    predicate: Mapping[str, JsonScalar | Sequence[JsonScalar]], metadata: Mapping[str, JsonScalar]
) -> bool:
    """Whether every key of `predicate` has its value (or one of its values) in `metadata`; an
    absent key counts as null, the empty predicate holds.
    """
    return all(
        metadata.get(key) in (wanted if isinstance(wanted, list) else [wanted])
        for key, wanted in predicate.items()
    )


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
