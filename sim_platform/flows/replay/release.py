"""Replays every arm of a release.

Belongs here: which arms, one limit for all of them, and that every prefix ends with its outcomes.
Does not: one arm (arm), sending (replay).
"""

from collections.abc import Callable

from sim_platform.contracts.outcomes import Arm
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.flows.registration import covered
from sim_platform.flows.replay.arm import replay_arm
from sim_platform.flows.replay.pending import ArmSummary, replayed_arms
from sim_platform.registry.home import Home
from sim_platform.replay.budget import Budget
from sim_platform.replay.engine import Progress
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform.warehouse.gates import EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM


def expected_outcomes(home: Home, warehouse: DuckDBFile, release: str) -> int:
    """Prefixes x arms x repeats."""
    candidate, replaced = home.release(release)
    sample = warehouse.read(StratifiedSample, {"model_version": release}, columns=["prefix_id"])
    arms = len(replayed_arms(candidate, replaced))
    return len(sample) * arms * candidate.plan.completions_per_prefix


def replay_release(
    home: Home,
    warehouse: DuckDBFile,
    release: str,
    limit: Budget,
    *,
    advance: Callable[[int], None],
    on_progress: Callable[[Arm, Progress], None],
) -> dict[Arm, ArmSummary]:
    """What was done for each arm; arms and repeats that the plan no longer has are removed.

    Args:
        limit: of this run over all arms, beside the release's own budget.
        advance: called with the number of outcomes that are there. on_progress: arm and figures.

    Raises:
        SimPlatformError: no record of what was decided before: then nothing is sent.
        GateError: a prefix without its outcome.
    """
    candidate, replaced = home.release(release)
    covered(home, warehouse, release)
    done: dict[Arm, ArmSummary] = {}
    for arm, model in replayed_arms(candidate, replaced):

        def note(figures: Progress, arm: Arm = arm) -> None:
            on_progress(arm, figures)

        done[arm] = replay_arm(
            home,
            warehouse,
            candidate,
            model,
            arm,
            advance=advance,
            on_progress=note,
            run_budget=limit,
        )
    with warehouse.transaction() as tx:
        tx.execute(
            "delete from candidate_completions where model_version = $release"
            " and (arm not in (select unnest($arms)) or k >= $k)",
            {"release": release, "arms": [*done], "k": candidate.plan.completions_per_prefix},
        )
        tx.pass_gates([EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM], release)
    return done
