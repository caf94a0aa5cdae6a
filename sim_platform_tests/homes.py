"""Small homes for tests: a log, consent, a registry and behaviours, all made here (synthetic)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import dtypes
from sim_platform.flows.registration import ensure_registered
from sim_platform.registry.home import Home, load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile

TOPICS = [
    "the weather",
    "a recipe",
    "my router",
    "a poem",
    "train times",
    "tax forms",
    "a birthday",
    "bicycles",
]


def conversation(n: int, version: str = "v1", **changes: Any) -> dict[str, Any]:
    """Conversation `n`: every third one has two turns; the answer apologises in every fourth one of
    v1 and every second one of v2.
    """
    often = 4 if version == "v1" else 2
    answer = (
        "Sorry, I cannot say." if n % often == 0 else f"Here is something about {TOPICS[n % 8]}."
    )
    turns = [
        {"role": "user", "content": f"Tell me about {TOPICS[n % 8]}, number {n}."},
        {"role": "assistant", "content": answer},
    ]
    if n % 3 == 0:
        turns = [
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": "Hello, how can I help?"},
            *turns,
        ]
    row = {
        "conversation_id": f"{version}-{n}",
        "user_id": f"user-{n}",
        "model_version": version,
        "started_at": f"2026-0{1 + n % 6}-15T10:00:00Z",
        "messages": turns,
        "metadata": {"surface": ["web", "mobile"][n % 2], "temporary": n % 17 == 16},
    }
    return {**row, **changes}


def write_home(
    path: Path,
    *,
    rows: list[dict[str, Any]] | None = None,
    n: int = 60,
    models: list[dict[str, Any]] | None = None,
    sources: dict[str, Any] | None = None,
) -> Path:
    """A home with `n` conversations of v1 and v2 each, where v2 replaces v1 and both are served
    from the log, unless told otherwise.
    """
    (path / "behaviors").mkdir(parents=True, exist_ok=True)
    (path / "logs").mkdir(exist_ok=True)
    rows = (
        rows if rows is not None else [conversation(i, v) for v in ("v1", "v2") for i in range(n)]
    )
    (path / "logs" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    default = {
        "sources": [{"reader": "conversations", "path": "logs/*.jsonl"}],
        "consent": {"all": "synthetic conversations made for a test"},
        "exclude": {"temporary": {"temporary": True}},
    }
    write_yaml(path / "sources.yaml", sources or default)
    write_yaml(path / "models.yaml", {"models": models or RECORDED_MODELS})
    for behavior in BEHAVIORS:
        write_yaml(path / "behaviors" / f"{behavior['id']}.yaml", behavior)
    return path


def without_models(home: Path) -> Path:
    """The same home with a policy of rules alone (and the names of canaries): for tests of what
    comes after de-identification.
    """
    write_yaml(
        home / "rules.yaml",
        RULES_ALONE
        | {
            "detectors": [
                {
                    "kind": "python",
                    "factory": "sim_platform_tests.deidentification.corpora:CanaryNames",
                }
            ]
        },
    )
    sources = yaml.safe_load((home / "sources.yaml").read_text())
    write_yaml(
        home / "sources.yaml",
        sources | {"deidentification": {"policy": "rules.yaml", "audit_share": 0.0}},
    )
    return home


def sampled_home(path: Path, prefixes: Sequence[str], **candidate: Any) -> tuple[Home, DuckDBFile]:
    """A home whose release v2 has these user messages as its sample and is registered; no stage
    before that ran.
    """
    models = [
        RECORDED_MODELS[0],
        {
            "version": "v2",
            "replaces": "v1",
            "provider": "openai",
            "model": "m",
            "plan": {"sample_size": len(prefixes)},
            **candidate,
        },
    ]
    home = load_home(write_home(path, n=1, models=models))
    warehouse = DuckDBFile(home.warehouse)
    same = {
        "model_version": "v2",
        "user_key": "u",
        "stratum": "all",
        "turn": 0,
        "recorded": None,
        "recorded_labels": "{}",
        "metadata": "{}",
    }
    rest = {"inclusion_probability": 1.0, "weight": 1.0, "sample_id": "s", "deid_version": "d"}
    rows = [
        {
            **same,
            **rest,
            "prefix_id": f"{i:016x}",
            "conversation_key": f"c{i}",
            "turn_key": f"t-{text}",
            "prefix": json.dumps([{"role": "user", "content": text}]),
        }
        for i, text in enumerate(prefixes)
    ]
    with warehouse.transaction() as tx:
        tx.append(StratifiedSample, pl.DataFrame(rows, schema=dtypes(StratifiedSample)))
    ensure_registered(home, warehouse, "v2")
    return home, warehouse


def write_yaml(path: Path, value: object) -> None:
    path.write_text(yaml.safe_dump(value))


RULES_ALONE: dict[str, Any] = {
    "name": "rules",
    "version": 1,
    "models": False,
    "rampart": 0.1,
    "rampart_names": 0.1,
    "confirms": 0.03,
    "spacy_names": "off",
    "spacy_others": "off",
    "dates": True,
    "detectors": [
        {"kind": "python", "factory": "sim_platform.deidentification.names:pool_detector"}
    ],
}
RECORDED_MODELS: list[dict[str, Any]] = [
    {"version": "v1", "provider": "recorded", "deployed": {"from": "2026-01-01"}},
    {
        "version": "v2",
        "provider": "recorded",
        "replaces": "v1",
        "plan": {"sample_size": 40, "strata": ["surface"], "floor": 5},
    },
]
BEHAVIORS: list[dict[str, Any]] = [
    {
        "id": "apologises",
        "title": "Apologises",
        "definition": "The response apologises.",
        "graders": [{"kind": "contains", "any": ["sorry"]}],
    },
    {
        "id": "mentions_weather",
        "title": "Mentions the weather",
        "definition": "The response speaks of the weather.",
        "undesired": "either",
        "graders": [{"kind": "regex", "pattern": r"\bweather\b"}],
        "applies_to": {"surface": "web"},
    },
]
