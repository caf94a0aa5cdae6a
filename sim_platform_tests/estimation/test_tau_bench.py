"""Airline trajectories, four trials of fifty tasks: trials of one task are one cluster, and one
trial forecasts the others.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from sim_platform.estimation import intervals
from sim_platform.forecasting.forecast import PRIOR_TAU, Counts, simulated


@pytest.fixture(scope="module")
def runs(real_data: Path) -> list[tuple[int, int, float]]:
    """Task, trial, solved."""
    return [
        (run["task_id"], run["trial"], float(run["reward"]))
        for run in json.loads((real_data / "tau_bench" / "gpt-4o-airline.json").read_text())
    ]


def test_trials_of_a_task_are_a_cluster(runs: list[tuple[int, int, float]]) -> None:
    """Intraclass correlation .405 at four trials: design effect 1 + 3 x .405 = 2.2 of the rate; of
    its Poisson part, events among events, 2.6.
    """
    tasks, solved = np.array([t for t, *_ in runs]), np.array([s for *_, s in runs])
    by_task = np.array([solved[tasks == t].mean() for t in np.unique(tasks)])
    between, rate = by_task.var(ddof=1), solved.mean()
    assert rate == pytest.approx(0.42, abs=0.005)
    assert between / (rate * (1 - rate) / 4) == pytest.approx(2.2, abs=0.1)
    sums = intervals.moments(solved, np.full(len(solved), 1 / len(solved)), tasks)
    assert float(sums.design_effect) > 2.2
    alone, clustered = (
        intervals.weighted(solved, np.full(len(solved), 1 / 200)),
        intervals.weighted(solved, np.full(len(solved), 1 / 200), clusters=tasks),
    )
    assert float(clustered.high) - float(clustered.low) > 1.3 * (
        float(alone.high) - float(alone.low)
    )


def test_one_trial_forecasts_the_other_three(runs: list[tuple[int, int, float]]) -> None:
    first, rest = (
        [s for _, trial, s in runs if trial == 0],
        [(t, s) for t, trial, s in runs if trial > 0],
    )
    made = simulated(Counts(np.array([sum(first)]), np.array([float(len(first))])))
    observed = float(np.mean([s for _, s in rest]))
    by_task = np.array([sum(s for t, s in rest if t == task) for task in {t for t, _ in rest}])
    design_effect = float((by_task**2).sum() / by_task.sum())
    low, high = made.interval(len(rest) / design_effect, PRIOR_TAU)
    assert low[0] <= observed <= high[0]
    assert made.rate[0] == pytest.approx(observed, rel=0.1)
