"""What can be said about a home before anything runs.

Belongs here: whether ledger, graders, judges' models and log files are there. Does not: reading the
YAML (registry.home), printing (commands).
"""

import os
from typing import Any

from sim_platform.extraction.consent import read_ledger
from sim_platform.extraction.readers import source_files
from sim_platform.flows.grading.asking import refuse_unserved
from sim_platform.grading.rules import graders_of, slow_patterns
from sim_platform.registry.home import Home


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
