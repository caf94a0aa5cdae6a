"""A deployment's home folder: `sources.yaml`, `models.yaml` and `behaviors/*.yaml`, read together.

Belongs here: reading, what the files must agree on, and errors that name file, key, value and
allowed values. Does not: the keys of one file (sources, models, behaviors).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.yaml_text import parsed_yaml
from sim_platform.registry.behaviors import (
    Behavior,
    ClassifierGrader,
    JudgeGrader,
    ModerationGrader,
)
from sim_platform.registry.models import Deployed, Models, ModelVersion
from sim_platform.registry.sources import Sources
from sim_platform.registry.tools import read_schemas

Parsed = TypeVar("Parsed", bound=BaseModel)


@dataclass(frozen=True)
class Home:
    """A validated home folder."""

    path: Path
    sources: Sources
    models: tuple[ModelVersion, ...]
    behaviors: tuple[Behavior, ...]

    @cached_property
    def by_version(self) -> dict[str, ModelVersion]:
        return {m.version: m for m in self.models}

    @cached_property
    def in_service(self) -> dict[str, Deployed]:
        """Version to the days of its production log. A candidate that is served from the log is
        not in it: its rows of before are its recorded answers.
        """
        return {
            m.version: m.deployed
            for m in self.models
            if m.deployed and not (m.provider == "recorded" and m.replaces)
        }

    @property
    def releases(self) -> tuple[str, ...]:
        """Candidate releases (versions that replace another): the partition keys."""
        return tuple(m.version for m in self.models if m.replaces is not None)

    def release(self, version: str) -> tuple[ModelVersion, ModelVersion]:
        """The candidate and the version that it replaces; BadInputError when `version` is not a
        candidate release of this home.
        """
        candidate = self.by_version.get(version)
        if candidate is None or candidate.replaces is None:
            what = "is not in" if candidate is None else "replaces nothing in"
            raise BadInputError(
                f'models.yaml: "{version}" {what} the registry (releases:'
                f" {', '.join(self.releases) or 'none'}). Add it with `replaces`, or name one of"
                " those."
            )
        return candidate, self.by_version[candidate.replaces]

    def lacks(self, behavior: Behavior) -> str | None:
        """What this home does not have and the behaviour's graders need; None when it
        can be graded.
        """
        for part in behavior.parts:
            if (
                isinstance(part, JudgeGrader | ModerationGrader)
                and part.model not in self.by_version
            ):
                return (
                    f'no version "{part.model}" in models.yaml to answer as {part.kind}; add one to'
                    " grade this behaviour"
                )
            if isinstance(part, ClassifierGrader) and not (self.path / part.file).is_file():
                return (
                    f"no file {part.file}; make it with `sim-platform train-grader --behavior"
                    f" {behavior.id}`"
                )
        return None

    @cached_property
    def graded(self) -> tuple[Behavior, ...]:
        """Behaviours whose graders this home can run. The others are named with their reason by
        `not_graded`, and cost nothing.
        """
        return tuple(b for b in self.behaviors if self.lacks(b) is None)

    @cached_property
    def not_graded(self) -> dict[str, str]:
        """Behaviour id to what is missing."""
        return {b.id: reason for b in self.behaviors if (reason := self.lacks(b)) is not None}

    @property
    def vault(self) -> Path:
        return self.path / "vault.duckdb"

    @property
    def warehouse(self) -> Path:
        return self.path / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        return self.path / "published.duckdb"

    @property
    def reports(self) -> Path:
        return self.path / "reports"


def home_path() -> Path:
    """`SIM_PLATFORM_HOME`, else `data` below the current folder."""
    return Path(os.environ.get("SIM_PLATFORM_HOME") or "data").resolve()


def load_home(path: Path) -> Home:
    """Reads and validates a home folder.

    Raises:
        BadInputError: one line per mistake, each naming file, key, value and what is allowed.
    """
    if not path.is_dir():
        raise BadInputError(
            f"{path}: no such folder. Set SIM_PLATFORM_HOME to a home folder (sources.yaml,"
            " models.yaml, behaviors/)."
        )
    sources = _parse(Sources, path / "sources.yaml", path)
    models = _parse(Models, path / "models.yaml", path).models
    behavior_files = sorted((path / "behaviors").glob("*.yaml"))
    if not behavior_files:
        raise BadInputError(f"{path / 'behaviors'}: no behaviour (*.yaml). Register at least one.")
    behaviors = [_parse(Behavior, file, path) for file in behavior_files]
    read_schemas(path)
    mistakes = [*_registry_mistakes(models)]
    registered = [behavior.id for behavior in behaviors]
    for model in models:
        for name in model.challenging:
            if name not in registered:
                mistakes.append(
                    f'models.yaml: {model.version}: challenging: "{name}" is not a registered'
                    f" behaviour (registered: {', '.join(registered)})"
                )
    for file, behavior in zip(behavior_files, behaviors, strict=True):
        if behavior.id != file.stem:
            mistakes.append(
                f'behaviors/{file.name}: id: "{behavior.id}" differs from the file name; rename one'
                " of them"
            )
        for grader in behavior.parts:
            if isinstance(grader, JudgeGrader | ModerationGrader) and grader.model in (
                m.version for m in models if m.provider == "openai_batch"
            ):
                mistakes.append(
                    f'behaviors/{file.name}: {grader.kind}: "{grader.model}" has provider'
                    " openai_batch, but graders are asked at once and at the full price; register"
                    " the same model again with provider openai"
                )
    if mistakes:
        raise BadInputError("\n".join(mistakes))
    return Home(path, sources, tuple(models), tuple(behaviors))


def _registry_mistakes(models: Sequence[ModelVersion]) -> list[str]:
    versions = [m.version for m in models]
    known = f"versions: {', '.join(dict.fromkeys(versions))}"
    mistakes = [
        f'models.yaml: version "{v}" stands twice; give each version once'
        for v in dict.fromkeys(versions)
        if versions.count(v) > 1
    ]
    for model in models:
        if model.replaces is None:
            continue
        replaced = next((m for m in models if m.version == model.replaces), None)
        if replaced is None:
            mistakes.append(
                f'models.yaml: {model.version} replaces "{model.replaces}", which is not a version'
                f" in this file ({known}). Add it, or point `replaces` at the version whose log"
                " should be replayed."
            )
        elif replaced.deployed is None:
            mistakes.append(
                f"models.yaml: {model.version} replaces {model.replaces}, which has no `deployed:"
                " {from: DATE}`; only a deployed version has production traffic to replay."
            )
    return mistakes


def _parse(kind: type[Parsed], file: Path, home: Path) -> Parsed:
    name = file.relative_to(home)
    try:
        data = parsed_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"{name}: missing in {home}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{name}: cannot be read: {type(error).__name__}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise BadInputError(
            f"{name}:{where} is not YAML: {getattr(error, 'problem', None) or 'unreadable'}"
        ) from None
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        raise BadInputError("\n".join(f"{name}: {_mistake(e)}" for e in error.errors())) from None


def _mistake(error: Any) -> str:
    place = ""
    for step in error["loc"]:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else str(step)
    value = error.get("input")
    shown = (
        f" (value: {value!r})"
        if isinstance(value, str | int | float | bool | None) and error["type"] != "missing"
        else ""
    )
    if "key" in str(error["loc"][-1:]):
        shown = (
            " (value withheld: it may be a key; api_key_env names the environment variable that"
            " holds it)"
        )
    if error["type"] in (
        "union_tag_invalid",
        "union_tag_not_found",
    ):  # which of several kinds is meant: pydantic calls it a tag
        context = error["ctx"]
        key = context["discriminator"].strip("'")
        given = (
            f'"{context["tag"]}" is not known (allowed: {context["expected_tags"]})'
            if "tag" in context
            else "missing; it says which kind this is"
        )
        return f"{place}.{key}: {given}"
    text = (
        "unknown key; remove it or correct its name"
        if error["type"] == "extra_forbidden"
        else error["msg"].removeprefix("Value error, ")
    )
    return f"{place or 'file'}: {text}{shown}"
