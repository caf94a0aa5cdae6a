"""What can be said about a home before anything runs.

Belongs here: whether ledger, graders, judges' models, log files, keys and endpoints are there. Does
not: reading the YAML (registry.home), printing (commands).
"""

import os
from collections.abc import Sequence
from typing import Any

from sim_platform.contracts.errors import BadInputError
from sim_platform.extraction.consent import read_ledger
from sim_platform.extraction.readers import source_files
from sim_platform.flows.grading.asking import refuse_unserved
from sim_platform.flows.replay.pending import replayed_arms
from sim_platform.grading.rules import graders_of, slow_patterns
from sim_platform.registry.behaviors import JudgeGrader, ModerationGrader
from sim_platform.registry.home import Home
from sim_platform.registry.models import ModelVersion
from sim_platform.replay.providers.address import host_of
from sim_platform.replay.providers.openai import listed_models, openai_client
from sim_platform.replay.providers.protocol import PermanentFailure, Retryable

CONNECT_SECONDS = 10.0  # for one endpoint


def home_facts(home: Home) -> dict[str, Any]:
    """What `check` prints about a valid home; BadInputError where the ledger, a grader or a judge's
    model is not there.
    """
    if home.sources.consent.ledger:
        read_ledger(home.path / home.sources.consent.ledger)
    for behavior in home.graded:
        graders_of(behavior, home.path)
    refuse_unserved(home)
    missing = sorted(
        {m.api_key_env for m in home.models if m.api_key_env and m.api_key_env not in os.environ}
    )
    return {
        "home": str(home.path),
        "log files": sum(len(source_files(source, home.path)) for source in home.sources.sources),
        "consent": (
            home.sources.consent.all
            or f"ledger {home.sources.consent.ledger}, scope {home.sources.consent.scope}"
        ),
        "versions": [m.version for m in home.models],
        "releases": list(home.releases),
        "behaviours": [b.id for b in home.graded],
        "not graded": [f"{name} ({why})" for name, why in home.not_graded.items()],
        "patterns that may be slow": [
            f"{place} (docs/grading.md)" for b in home.graded for place in slow_patterns(b)
        ],
        "variables not set": missing,
    }


def asked_versions(home: Home, releases: Sequence[str]) -> list[ModelVersion]:
    """The versions that these releases ask over HTTP: candidates, controls and graders."""
    arms = [model for release in releases for _, model in replayed_arms(*home.release(release))]
    asked = [
        home.by_version[part.model]
        for behavior in home.graded
        for part in behavior.parts
        if isinstance(part, JudgeGrader | ModerationGrader)
    ]
    every = {model.version: model for model in [*arms, *asked] if model.is_remote}
    return list(every.values())


def refuse_unready(home: Home, releases: Sequence[str]) -> None:
    """BadInputError naming every key, address and variable of the environment without which these
    releases could not ask: before hours of de-identification, not after them.
    """
    mistakes = []
    for model in asked_versions(home, releases):
        try:
            host_of(model)
            openai_client(model)
        except BadInputError as error:
            mistakes.append(str(error))
    if mistakes:
        raise BadInputError("\n".join(dict.fromkeys(mistakes)))


def connections(
    home: Home, releases: Sequence[str], seconds: float = CONNECT_SECONDS
) -> list[dict[str, Any]]:
    """What the endpoint of each asked version says to `GET /models`: version, host, is_ready, and
    `says` in words. No text is sent, no query and no key is shown.
    """
    return [
        {"version": model.version} | _connection(model, seconds)
        for model in asked_versions(home, releases)
    ]


def _connection(model: ModelVersion, seconds: float) -> dict[str, Any]:
    host = None
    try:
        host = host_of(model)
        status, names = listed_models(model, seconds)
        is_ready, says = _meant(model, status, names)
    except BadInputError as error:
        is_ready, says = False, str(error)
    except Retryable as failure:
        slow = f"did not answer within {seconds:g} s" if failure.code == "timeout" else ""
        is_ready, says = False, f"{slow or 'cannot be reached'}: check base_url and network"
    except PermanentFailure:
        is_ready, says = False, "answers with more than a list of models: check base_url"
    return {"host": host, "is_ready": is_ready, "says": says}


def _meant(model: ModelVersion, status: int, names: list[str]) -> tuple[bool, str]:
    if status == 200 and model.model in names:
        return True, f'has model "{model.model}"'
    if status == 200 and names:
        return False, (
            f'does not list model "{model.model}" among its {len(names)}: check model (some servers'
            " take other names than they list)"
        )
    if status in (401, 403):
        key = model.api_key_env or "it wants one, and no api_key_env is set"
        return False, f"refuses the key ({key}): answered {status}"
    return False, f"has no list of models (answered {status}): check base_url"
