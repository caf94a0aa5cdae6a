"""Policies: which detectors count, from which certainty on. One YAML file each beside this module; its content is part of `deid_version`.

Belongs here: what may be configured. Does not: detection (detectors).
"""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from sim_platform.contracts.errors import BadInputError

FOLDER = Path(__file__).parent / "policies"
NAMES = ("strict", "balanced")


class Policy(BaseModel):
    """How spans of several detectors become what is masked. Probabilities are in [0, 1]."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: int
    rampart: float = Field(gt=0, lt=1)  # Rampart masks from this probability on, by itself
    rampart_names: float = Field(gt=0, lt=1)  # the same for names, where false alarms come from
    confirms: float = Field(gt=0, lt=1)  # from here on it confirms what spaCy found
    spacy_names: Literal["alone", "confirmed", "off"]
    spacy_others: Literal["confirmed", "off"]  # names that spaCy takes for organisations or places
    dates: bool  # full dates (day and month) are masked


def load_policy(name: str) -> Policy:
    """The shipped policy of that name.

    Raises:
        BadInputError: names the policies that there are.
    """
    if name not in NAMES:
        raise BadInputError(f'policy: "{name}" does not exist (policies: {", ".join(NAMES)})')
    return Policy.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))
