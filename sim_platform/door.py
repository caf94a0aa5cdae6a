"""The door for Python users: a home's tables as polars frames, and a run.

Belongs here: what `import sim_platform` offers. Does not: how tables are read (flows.results), how
a run goes (orchestration). Everything heavy is imported when it is used.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from sim_platform.contracts.tables.schema import Table
    from sim_platform.registry.home import Home


def open_home(path: str | Path) -> "OpenHome":
    """The home at `path`, a folder with sources.yaml, models.yaml and behaviors/.

    Raises:
        BadInputError: the folder or one of its files is not there or wrong; names file and key.
    """
    from sim_platform.registry.home import load_home  # noqa: PLC0415 - imports pydantic

    return OpenHome(load_home(Path(path).expanduser().resolve()))


@dataclass(frozen=True)
class OpenHome:
    """A home. Every frame has the columns of its table's contract (sim_platform/contracts/tables).

    Read from the warehouse, or from published.duckdb while a run writes: that is the copy which the
    last finished comparison made, without account keys (`user_key` is null). Only `run` writes.

    Each method takes the release (its version in models.yaml) and raises BadInputError for one that
    models.yaml does not have, and SimPlatformError where no run has made the rows yet.
    """

    registry: "Home"

    @property
    def releases(self) -> tuple[str, ...]:
        """Versions that replace another one, as in models.yaml."""
        return tuple(self.registry.releases)

    def sample(self, release: str) -> "pl.DataFrame":
        """`stratified_sample`: one prefix a row, with stratum and design weight."""
        from sim_platform.contracts.tables.sampling import StratifiedSample  # noqa: PLC0415 - heavy

        return self._read(StratifiedSample, release)

    def completions(self, release: str) -> "pl.DataFrame":
        """`candidate_completions`: one outcome a row, of candidate and control."""
        from sim_platform.contracts.tables.replay import (  # noqa: PLC0415 - heavy
            CandidateCompletions,
        )

        return self._read(CandidateCompletions, release)

    def scores(self, release: str) -> "pl.DataFrame":
        """`classifier_scores`: one behaviour of one outcome a row."""
        from sim_platform.contracts.tables.grading import ClassifierScores  # noqa: PLC0415 - heavy

        return self._read(ClassifierScores, release)

    def rates(self, release: str) -> "pl.DataFrame":
        """`rate_comparison`: one behaviour in one arm a row, rates per message in [0, 1]."""
        from sim_platform.contracts.tables.estimation import RateComparison  # noqa: PLC0415 - heavy

        return self._read(RateComparison, release)

    def gate(self, release: str) -> "pl.DataFrame":
        """`release_gate`: one decision per behaviour."""
        from sim_platform.contracts.tables.estimation import ReleaseGate  # noqa: PLC0415 - heavy

        return self._read(ReleaseGate, release)

    def forecast(self, release: str) -> "pl.DataFrame":
        """`rate_forecast`: one behaviour and method a row, with 90 % forecast intervals."""
        from sim_platform.contracts.tables.forecasting import RateForecast  # noqa: PLC0415 - heavy

        return self._read(RateForecast, release)

    def run(
        self,
        release: str,
        *,
        sample_size: int | None = None,
        redraw: bool = False,
        max_usd: float | None = None,
        max_tokens: int | None = None,
    ) -> "pl.DataFrame":
        """Runs the release as `sim-platform run` does and returns its rates. It may cost money:
        `max_usd` and `max_tokens` limit what it spends. What is done is not done again. A stored
        sample keeps its size; `redraw` lets it give way to one of `sample_size`.

        Raises:
            BadInputError: the stored sample has another size, and `redraw` is not set.
            SimPlatformError: a stage failed; standard error says which, and the same call resumes.
        """
        from sim_platform.contracts.errors import SimPlatformError  # noqa: PLC0415 - with the next
        from sim_platform.contracts.escaping import visible  # noqa: PLC0415 - with the next
        from sim_platform.orchestration.runs import run_releases  # noqa: PLC0415 - imports Dagster

        version = self.registry.release(release)[0].version
        failed = run_releases(
            self.registry,
            [version],
            sample_size,
            say=lambda line: print(visible(line), file=sys.stderr),
            redraw=redraw,
            max_usd=max_usd,
            max_tokens=max_tokens,
        )
        if failed:
            raise SimPlatformError(f"{version} failed; call run again to resume")
        return self.rates(version)

    def _read(self, table: "type[Table]", release: str) -> "pl.DataFrame":
        from sim_platform.flows.results import stored  # noqa: PLC0415 - imports polars and DuckDB

        return stored(self.registry, table, release)
