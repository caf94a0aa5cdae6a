"""Brings completions from outside into a release, and writes the requests that somebody would
send elsewhere.

Belongs here: matching lines to the release's requests, counting what does not match, the commit.
Does not: formats (replay.imports), sending (arm).
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.contracts.outcomes import Outcome
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.flows.files import warehouse_of
from sim_platform.flows.private_files import private_file
from sim_platform.flows.registration import covered
from sim_platform.flows.replay.pending import PAGE, LiveArm, final_outcomes, pages, store_outcomes
from sim_platform.registry.home import Home
from sim_platform.replay.imports import Line, custom_id, imported, read_completions
from sim_platform.replay.requests import PATHS, Request, estimated_tokens
from sim_platform.warehouse.duckdb_file import DuckDBFile


@dataclass(frozen=True)
class ImportSummary:
    """Lines of the file = imported + already_there + the lines left out, by reason; `examples` are
    line numbers of each reason.
    """

    lines: int
    imported: int
    already_there: int
    left_out: dict[str, int]
    examples: dict[str, list[int]]
    missing: int  # requests of the arm that still have no outcome


def import_completions(home: Home, release: str, arm: LiveArm, path: Path) -> ImportSummary:
    """Every line that answers a request of the release's arm becomes its outcome; a request that
    has one keeps it.

    Raises:
        BadInputError: the file cannot be read.
        SimPlatformError: the release has no sample or no registration yet.
    """
    return store_completions(
        home, warehouse_of(home), release, arm, read_completions(path), imported
    )


def store_completions(
    home: Home,
    warehouse: DuckDBFile,
    release: str,
    arm: LiveArm,
    lines: Iterable[Line | tuple[int, str]],
    outcome_of_line: Callable[[Line, Request], Outcome | str],
) -> ImportSummary:
    """Stores what `outcome_of_line` makes of each line's request; a request that has a final
    outcome keeps it, a line of another request or other settings is left out.
    """
    requests: dict[tuple[str, int], Request] = {}
    for request in _requests(home, warehouse, release, arm):
        # all of them at once: without their texts
        requests[request.prefix_id, request.k] = replace(
            request,
            body={"input": None} if "input" in request.body else {},
            prompt_tokens=estimated_tokens(request)[0],
        )
    done = final_outcomes(warehouse, release, arm, list(requests.values()))
    reasons: Counter[str] = Counter()
    examples: dict[str, list[int]] = {}
    n = stored = already = 0

    def outcomes() -> Iterator[Outcome]:
        nonlocal n, already
        for line in lines:
            n += 1
            made = _outcome(line, arm, requests, outcome_of_line)
            if isinstance(made, str):
                reasons[made] += 1
                number = line.number if isinstance(line, Line) else line[0]
                examples.setdefault(made, []).append(number) if reasons[made] <= 5 else None
            elif (key := (made.prefix_id, made.k, made.request_hash)) in done:
                already += 1
            else:
                done.add(key)
                yield made

    waiting = outcomes()
    while page := list(islice(waiting, PAGE)):
        store_outcomes(warehouse, release, page)
        stored += len(page)
    missing = sum((r.prefix_id, r.k, r.request_hash) not in done for r in requests.values())
    return ImportSummary(n, stored, already, dict(reasons), examples, missing)


def export_requests(home: Home, release: str, arm: LiveArm, path: Path) -> int:
    """Writes the arm's requests that have no outcome yet as OpenAI Batch input (JSONL, mode 0600:
    they hold de-identified text); returns how many.
    """
    warehouse = warehouse_of(home)
    model = home.by_version[release] if arm == "candidate" else home.release(release)[1]
    n = 0
    requests = _requests(home, warehouse, release, arm)
    with private_file(path) as file:
        while page := list(islice(requests, PAGE)):
            done = final_outcomes(warehouse, release, arm, page)
            for request in (r for r in page if (r.prefix_id, r.k, r.request_hash) not in done):
                line = {
                    "custom_id": custom_id(request),
                    "method": "POST",
                    "url": f"/v1{PATHS[model.api]}",
                    "body": request.body,
                }
                file.write(json.dumps(line) + "\n")
                n += 1
    return n


def _requests(home: Home, warehouse: DuckDBFile, release: str, arm: LiveArm) -> Iterator[Request]:
    candidate, replaced = home.release(release)
    model = candidate if arm == "candidate" else replaced
    if model.provider == "recorded":
        raise BadInputError(
            f"{model.version}: provider recorded takes its answers from the log; nothing is sent"
            " and nothing can be imported"
        )
    covered(home, warehouse, release)  # what decides was registered before any outcome is there
    if warehouse.read(
        StratifiedSample, {"model_version": release}, columns=["prefix_id"]
    ).is_empty():
        raise SimPlatformError(
            f"{release}: no sample yet; materialize stratified_sample for it first (`sim-platform"
            f" export-requests {release}` does)"
        )
    with warehouse.transaction() as tx:
        tx.ensure(CandidateCompletions)
    for page in pages(warehouse, release, candidate, model, arm):
        yield from page


def _outcome(
    line: Line | tuple[int, str],
    arm: LiveArm,
    requests: dict[tuple[str, int], Request],
    outcome_of_line: Callable[[Line, Request], Outcome | str],
) -> Outcome | str:
    if not isinstance(line, Line):
        return line[1]
    if line.arm not in (None, arm):
        return "other_arm"
    request = requests.get((line.prefix_id, line.k))
    if request is None:
        return "unknown_prefix"
    return (
        outcome_of_line(line, request)
        if request.request_hash.startswith(line.hash_start)
        else "other_settings"
    )
