"""When a release is registered, and what may be graded and shown on the strength of it.

Belongs here: the walk between the chain's files, the warehouse and today's configuration. Does not:
what a record holds (registry.preregistration).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.messages import canonical_json
from sim_platform.contracts.tables.estimation import Preregistration as Stored
from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.schema import frame
from sim_platform.estimation.version import VERSION
from sim_platform.flows.leftovers import remove_leftovers
from sim_platform.flows.rates_in_service import expected_events
from sim_platform.grading.scores import grader_hash
from sim_platform.registry import preregistration
from sim_platform.registry.home import Home
from sim_platform.registry.preregistration import Coverage, Record
from sim_platform.warehouse.duckdb_file import DuckDBFile

PRIOR_RATES = """
    select behavior, 'production_scores' as source, count(*) filter (label is not null) as n,
      count(*) filter (label) as events
    from production_scores where model_version = $release group by behavior order by behavior"""
OLDER_RATES = """
    select behavior, 'recorded arm of ' || model_version as source, n, events from rate_comparison
    where arm = 'recorded' and replaces = $replaced and model_version <> $release
      order by behavior, model_version"""


def todays(
    home: Home,
    release: str,
    records: Sequence[Record] = (),
    expected: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What a record made now would fix. Margins that files leave open are as in the release's last
    record from before outcomes, where it has one, else by the expected events.
    """
    fixed = [r for r in records if not r.is_exploratory] or records
    return preregistration.frozen(
        home,
        release,
        {b.id: grader_hash(b, home) for b in home.graded},
        VERSION,
        expected=expected,
        before=fixed[-1].content if fixed else None,
    )


def outcomes_seen(warehouse: DuckDBFile, release: str) -> bool:
    """Whether the candidate has answered anything."""
    return bool(
        len(
            warehouse.read(
                CandidateCompletions,
                {"model_version": release, "arm": "candidate"},
                columns=["prefix_id"],
            ).head(1)
        )
    )


def register_release(
    home: Home, warehouse: DuckDBFile, release: str, reason: str | None = None
) -> Record:
    """Appends a record to the chain, and to the warehouse; what a killed call left goes. Before
    outcomes were seen, a record that changes something chooses open margins anew.
    """
    remove_leftovers(home)
    records = [r for r in preregistration.read_chain(home.path) if r.release == release]
    seen = outcomes_seen(warehouse, release)
    what = todays(home, release, records)
    if not records or (not seen and preregistration.differences(records[-1].content, what)):
        what = todays(home, release, expected=expected_events(home, warehouse, release))
    record = preregistration.register(
        home,
        what,
        prior_rates=_prior_rates(home, warehouse, release),
        reason=reason,
        outcomes_seen=seen,
    )
    _store(home, warehouse)
    return record


def ensure_registered(home: Home, warehouse: DuckDBFile, release: str) -> tuple[list[Record], str]:
    """The release's records, after what a run may do by itself: register what is not, and amend
    before any outcome was seen. Returns them and what was done.
    """
    records = [r for r in preregistration.read_chain(home.path) if r.release == release]
    done = "registered earlier"
    if not records:
        records, done = [register_release(home, warehouse, release)], "registered by this run"
    elif (
        differs := preregistration.differences(records[-1].content, todays(home, release, records))
    ) and not outcomes_seen(warehouse, release):
        records.append(
            register_release(
                home,
                warehouse,
                release,
                f"configuration changed before any outcome was seen: {'; '.join(differs)}",
            )
        )
        done = "amended by this run, before any outcome"
    elif differs:
        done = f"registered earlier; differs now: {'; '.join(differs)}"
    _store(home, warehouse)
    covered(home, warehouse, release)
    return records, done


def covered(home: Home, warehouse: DuckDBFile, release: str) -> Coverage:
    """What the release's records cover.

    Raises:
        SimPlatformError: the release has no record, or the chain is broken.
    """
    records = [r for r in _unbroken(home, warehouse) if r.release == release]
    if not records:
        raise SimPlatformError(
            f"{release} is not registered: nothing is sent to the candidate and none of its rates"
            f" is shown. Run `sim-platform register {release}` first (`sim-platform run` does it by"
            " itself)."
        )
    return preregistration.coverage(records, todays(home, release, records))


def refuse_unblinded(home: Home, warehouse: DuckDBFile) -> None:
    """SimPlatformError where the chain is broken, or the warehouse has rates of a release without a
    record: then nothing is shown of any.
    """
    registered = {r.release for r in _unbroken(home, warehouse)}
    if without := sorted(
        set(warehouse.read(RateComparison, columns=["model_version"])["model_version"]) - registered
    ):
        raise SimPlatformError(
            f"there are rates of {', '.join(without)} and no registration; none is shown. Run"
            " `sim-platform register RELEASE` for each: they become exploratory."
        )


def _unbroken(home: Home, warehouse: DuckDBFile) -> list[Record]:
    chain = preregistration.read_chain(home.path)
    if problems := preregistration.broken(
        chain, dict(warehouse.read(Stored, columns=["number", "sha256"]).rows())
    ):
        raise SimPlatformError(
            "the chain of pre-registrations is broken; restore the files from where they were"
            " published:\n" + "\n".join(problems)
        )
    return chain


def refuse_unregistered(coverage: Coverage, release: str) -> None:
    """SimPlatformError naming the behaviours whose graders are neither registered nor declared
    exploratory, or the gates that are gone.
    """
    if coverage.gone:
        raise SimPlatformError(
            f"{release}: {', '.join(coverage.gone)} was registered as a gate and is not graded now."
            f" Restore its file and graders, or run `sim-platform register {release} --reason TEXT`"
            " to say why it was dropped."
        )
    if coverage.refused:
        raise SimPlatformError(
            f"{release}: the graders of {', '.join(coverage.refused)} are not the registered ones."
            " Restore them, set `tier: exploratory` in their files, or run `sim-platform register"
            f" {release} --reason TEXT`: after outcomes were seen that makes them exploratory."
        )


def verified(home: Home, warehouse: DuckDBFile, release: str) -> dict[str, Any]:
    """The release's records, what is wrong with the chain, and what differs today."""
    home.release(release)
    chain = preregistration.read_chain(home.path)
    mine = [r for r in chain if r.release == release]
    if not mine:
        raise SimPlatformError(
            f"{release} is not registered; `sim-platform register {release}` does it"
        )
    now = todays(home, release, mine)
    coverage = preregistration.coverage(mine, now)
    return {
        "release": release,
        "records": [
            {
                "number": r.number,
                "kind": r.content["kind"],
                "registered_at": r.content["registered_at"],
                "sha256": r.sha256,
                "previous": r.content["previous"],
                "is_exploratory": r.is_exploratory,
                "reason": r.content["reason"],
                "file": str(r.path),
                "time_stamp_token": preregistration.time_stamp(r),
            }
            for r in mine
        ],
        "problems": [
            *preregistration.broken(
                chain, dict(warehouse.read(Stored, columns=["number", "sha256"]).rows())
            ),
            *(
                f"{r.path.name}.tsr: is the time stamp of another file"
                for r in chain
                if preregistration.time_stamp(r) == "of another file"
            ),
        ],
        "differs_now": preregistration.differences(mine[-1].content, now),
        "confirmatory": list(coverage.confirmatory),
        "exploratory": list(coverage.exploratory),
        "refused": list(coverage.refused),
    }


def _store(home: Home, warehouse: DuckDBFile) -> None:
    """Puts into the warehouse the records that it does not have; one that it has is never replaced,
    so that an edited file shows.
    """
    known = set(warehouse.read(Stored, columns=["number"])["number"])
    new = [
        {
            "number": r.number,
            "model_version": r.release,
            "sha256": r.sha256,
            "previous": r.content["previous"],
            "registered_at": datetime.fromisoformat(r.content["registered_at"]).astimezone(UTC),
            "kind": r.content["kind"],
            "is_exploratory": r.is_exploratory,
            "reason": r.content["reason"],
            "record": canonical_json(r.content),
        }
        for r in preregistration.read_chain(home.path)
        if r.number not in known
    ]
    with warehouse.transaction() as tx:
        tx.ensure(Stored)
        if new:
            tx.append(Stored, frame(Stored, new))


def _prior_rates(home: Home, warehouse: DuckDBFile, release: str) -> list[dict[str, Any]]:
    """Counts known before the candidate answered, with where they come from."""
    replaced = home.release(release)[1].version
    with warehouse.reading() as tx:
        tables = tx.tables()
        rows = (
            tx.query(PRIOR_RATES, {"release": release}).to_dicts()
            if "production_scores" in tables
            else []
        )
        if not rows and "rate_comparison" in tables:
            rows = tx.query(OLDER_RATES, {"release": release, "replaced": replaced}).to_dicts()
    return rows
