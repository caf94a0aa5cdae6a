"""Runs a home without the UI: the same assets through Dagster's API, in this process.

Belongs here: running assets as the command line asks for them. Does not: reading what they made
(flows.results), printing (commands).
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.flows.costs import spent_on_answers
from sim_platform.flows.files import warehouse_of
from sim_platform.flows.leftovers import remove_leftovers
from sim_platform.flows.readiness import refuse_unready
from sim_platform.flows.results import attention, left_out, one_line, undecided
from sim_platform.flows.sampling import refuse_another_size, size_of_sample
from sim_platform.orchestration.build import LOG_ASSETS, RELEASE_ASSETS, build_definitions
from sim_platform.orchestration.checks import CONTRACT_CHECK
from sim_platform.orchestration.metadata import VACUOUS
from sim_platform.orchestration.partitions import register
from sim_platform.registry.home import Home
from sim_platform.registry.shipped import DAGSTER_SETTINGS

UP_TO_THE_SAMPLE = ("preregistration", "stratified_sample")
PREPARATION = ("production_scores", "deidentification_effect")  # by graders that ask nobody


def run_releases(
    home: Home,
    releases: list[str],
    sample_size: int | None,
    *,
    say: Callable[[str], None],
    only_sample: bool = False,
    only_prepare: bool = False,
    redraw: bool = False,
    max_usd: float | None = None,
    max_tokens: int | None = None,
) -> list[str]:
    """Runs the log assets once, then each release, then what spans releases; returns the
    releases that failed.

    Args:
        sample_size: default: the stored sample's, else the plan's. redraw: a stored sample may
            give way to one of another size. only_sample: each release up to its sample, nothing
            is sent. only_prepare: what needs neither sample nor registration, and asks nobody.
            max_usd, max_tokens: what this
            run may spend on each release, beside the release's own budget.
    """
    warehouse = warehouse_of(home)
    for release in () if redraw or only_prepare else releases:
        refuse_another_size(size_of_sample(home, warehouse, release, sample_size), release)
    if not (only_sample or only_prepare):
        refuse_unready(home, releases)
    remove_leftovers(home)
    os.environ.setdefault("DAGSTER_HOME", str(dagster_home(home)))
    definitions = build_definitions(home=home.path)
    instance = dg.DagsterInstance.get()
    register(instance, home.releases)
    graph = definitions.resolve_asset_graph()
    every: list[Any] = [*(definitions.assets or []), *(definitions.asset_checks or [])]
    log_keys, release_keys = (
        [key for a in assets for key in a.keys] for assets in (LOG_ASSETS, RELEASE_ASSETS)
    )
    if only_sample or only_prepare:
        names = PREPARATION if only_prepare else UP_TO_THE_SAMPLE
        release_keys = [dg.AssetKey(name) for name in names]
    last_keys = [k for k in graph.get_all_asset_keys() if k not in {*log_keys, *release_keys}]

    def materialize(keys: list[dg.AssetKey], partition: str | None = None) -> bool:
        config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        if partition is not None:
            given: dict[str, dict[str, Any]] = {
                "stratified_sample": {"sample_size": sample_size, "redraw": redraw or None},
                "candidate_completions": {"max_usd": max_usd, "max_tokens": max_tokens},
            }
            chosen = {
                name: {k: v for k, v in values.items() if v is not None}
                for name, values in given.items()
            }
            config["ops"] = {name: {"config": values} for name, values in chosen.items() if values}
        result = dg.materialize(
            every,
            selection=dg.AssetSelection.assets(*keys),
            partition_key=partition,
            instance=instance,
            run_config=config,
            resources=definitions.resources,
            raise_on_error=False,
        )
        for event in result.all_events:
            if event.event_type_value == "STEP_FAILURE":
                data: Any = event.event_specific_data
                failure = data.user_failure_data
                first_line = data.error_display_string.splitlines()[0]
                say(f"{event.step_key}: {failure.description if failure else first_line}")
        unseen = []
        for evaluation in result.get_asset_check_evaluations():
            if VACUOUS in evaluation.metadata and evaluation.check_name != CONTRACT_CHECK:
                unseen.append(f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name}")
            if not evaluation.passed:
                facts = ", ".join(f"{k}={v.value}" for k, v in evaluation.metadata.items())
                say(
                    f"check failed: {evaluation.asset_key.to_user_string()}:"
                    f" {evaluation.check_name} ({facts})"
                )
        if unseen:
            say(f"checks that looked at nothing: {', '.join(unseen)}")
        return result.success

    if not materialize(log_keys):
        raise SimPlatformError("the log assets failed; nothing was replayed")
    for line in [*map(one_line, left_out(home)), *attention(home)]:
        say(line)
    failed = []
    for release in releases:
        say(f"release {release} (replaces {home.by_version[release].replaces})")
        if not materialize(release_keys, release):
            failed.append(release)
    if (
        not (only_sample or only_prepare)
        and len(failed) < len(releases)
        and not materialize(last_keys)
    ):
        raise SimPlatformError("the summary failed; the releases' tables are there")
    return failed


def run_until_decided(
    home: Home,
    release: str,
    *,
    say: Callable[[str], None],
    max_usd: float | None = None,
    max_tokens: int | None = None,
) -> list[str]:
    """Runs a release at the sizes of its registered looks, from the stored sample's on, until every
    gate behaviour is decided or the planned sample is reached; returns it where it failed.

    Answers of a smaller sample are reused. `max_usd` and `max_tokens` are for all looks together.

    Raises:
        BadInputError: the plan has no looks.
    """
    plan = home.release(release)[0].plan
    if not plan.looks:
        n = plan.sample_size
        proposal = [n // 8, n // 4, n // 2]
        raise BadInputError(
            f"models.yaml: {release}.plan has no looks. Write the sizes at which it may be decided"
            f" before {n:,}, for example `looks: {proposal}`, before its outcomes are seen: they"
            " are registered, and the error of all looks together stays 5 %."
        )
    warehouse = warehouse_of(home)
    stored = size_of_sample(home, warehouse, release).stored or 0
    start = spent_on_answers(warehouse, release)
    for size in [n for n in (*plan.looks, plan.sample_size) if n >= stored]:
        say(f"look at {size:,} of {plan.sample_size:,} prefixes")
        now = spent_on_answers(warehouse, release)
        usd, tokens = now[0] - start[0], now[1] - start[1]
        failed = run_releases(
            home,
            [release],
            size,
            say=say,
            redraw=True,
            max_usd=None if max_usd is None else max(0.0, max_usd - usd),
            max_tokens=None if max_tokens is None else max(1, max_tokens - tokens),
        )
        if failed:
            return failed
        if not (open_ := undecided(home, release)):
            say(f"decided at {size:,} prefixes")
            return []
        say(f"not decided at {size:,} prefixes: {', '.join(open_)}")
    return []


def dagster_home(home: Home) -> Path:
    """Dagster's history lives in the home; its first use brings the platform's settings along."""
    folder = home.path / "dagster_home"
    try:
        folder.mkdir(exist_ok=True)
        if not (folder / "dagster.yaml").exists():
            shutil.copy(DAGSTER_SETTINGS, folder / "dagster.yaml")
    except OSError as error:
        raise SimPlatformError(
            f"{folder} cannot be written ({error.strerror}). Make the home writable, or set"
            " SIM_PLATFORM_HOME to a copy of it."
        ) from None
    return folder
