"""Policies: which detectors count, from which certainty on. One YAML file each beside this module,
or one of a home's own; its content is part of `deid_version`.

Belongs here: what may be configured. Does not: detection (detectors), building plug-ins (plugins).
"""

import hashlib
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.yaml_text import parsed_yaml

FOLDER = Path(__file__).parent / "policies"
NAMES = ("strict", "balanced")
AUDIT = (  # the second look: nothing in common with the first but that it reads the same texts
    "audit"
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PresidioPlugin(_Strict):
    """Recognizers of Presidio: its own by class name, or those of a recognizer registry file
    (Presidio's YAML, beside the policy).
    """

    kind: Literal["presidio"]
    recognizers: list[str] = []
    registry: str | None = None
    # score from which on a result counts, after the boost by context
    threshold: float = Field(default=0.4, ge=0, le=1)
    types: dict[str, str] = {}  # Presidio's entity -> type of surrogate; default: as it is
    timeout_seconds: float = Field(default=20, gt=0)  # of one expression over one text

    @model_validator(mode="after")
    def names_something(self) -> Self:
        if not (self.recognizers or self.registry):
            raise ValueError("give recognizers (class names of Presidio) or registry (a file)")
        return self


class PythonPlugin(_Strict):
    """A detector of your own: `package.module:function`, a function that takes `arguments` and
    returns a Detector (a GPU model, a remote service).
    """

    kind: Literal["python"]
    factory: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    arguments: dict[str, str | int | float | bool | list[str] | None] = {}
    timeout_seconds: float = Field(default=120, gt=0)  # of one call with up to 64 texts


Plugin = Annotated[PresidioPlugin | PythonPlugin, Field(discriminator="kind")]


class Policy(_Strict):
    """How spans of several detectors become what is masked. Probabilities are in [0, 1]."""

    name: str
    version: int
    rules: bool = True  # by shape and label
    models: bool = True  # Rampart and spaCy; without them rules and plug-ins are all there is
    rampart: float = Field(gt=0, lt=1)  # Rampart masks from this probability on, by itself
    rampart_names: float = Field(gt=0, lt=1)  # the same for names, where false alarms come from
    confirms: float = Field(gt=0, lt=1)  # from here on it confirms what spaCy found
    spacy_names: Literal["alone", "confirmed", "off"]
    spacy_others: Literal["confirmed", "off"]  # names that spaCy takes for organisations or places
    dates: bool  # full dates (day and month) are masked
    detectors: list[
        Plugin
    ] = []  # what they find is masked too: a plug-in adds, it never takes away

    @model_validator(mode="after")
    def detects(self) -> Self:
        if not (self.models or self.detectors):
            raise ValueError("models: false leaves names to nobody; name detectors")
        return self


def load_policy(name: str, folder: Path = Path()) -> Policy:
    """The shipped policy of that name, or the one in a file (a name that ends in .yaml,
    below `folder`).

    Raises:
        BadInputError: names the policies that there are, or file, key and what is wrong.
    """
    if name in (*NAMES, AUDIT):
        return Policy.model_validate(
            parsed_yaml((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        )
    if not name.endswith((".yaml", ".yml")):
        raise BadInputError(
            f'policy: "{name}" does not exist (policies: {", ".join(NAMES)}, or a YAML file of your'
            " own)"
        )
    try:
        return Policy.model_validate(parsed_yaml((folder / name).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInputError(
            f"policy {folder / name}: cannot be read as YAML: {type(error).__name__}"
        ) from None
    except ValidationError as error:
        mistakes = (
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise BadInputError(
            "\n".join(f"policy {name}: {mistake}" for mistake in mistakes)
        ) from None


def policy_hash(policy: Policy, folder: Path) -> list[object]:
    """What identifies a policy: its content, and that of the registry files that it names."""
    files = [
        plugin.registry
        for plugin in policy.detectors
        if isinstance(plugin, PresidioPlugin) and plugin.registry
    ]
    try:
        return [
            policy.model_dump(),
            *(hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files),
        ]
    except OSError as error:
        raise BadInputError(
            f"policy {policy.name}: registry {error.filename}: cannot be read"
            f" ({type(error).__name__})"
        ) from None
