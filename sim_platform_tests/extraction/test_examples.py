"""The homes in examples/, read from the real data where it is present."""

import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from sim_platform.contracts.messages import canonical_json, user_turns
from sim_platform.contracts.tables.extraction import ConsentedLogExtract
from sim_platform.contracts.tables.schema import validated
from sim_platform.extraction.extract import extract_batch
from sim_platform.extraction.readers import read
from sim_platform.registry.home import Home, load_home
from sim_platform_tests.extraction.written import CONVERSATIONS, read_all

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SIM_PLATFORM_REAL_DATA") or ROOT / "../shared/data")
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/sources.yaml"))


def real(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"real data set {name} is not in {DATA} (SIM_PLATFORM_REAL_DATA)")
    return DATA / name


def extract(
    home: Home, files: list[tuple[int, Path]]
) -> tuple[pl.DataFrame, Counter[tuple[str, str]]]:
    """All files (index of the source, path) of a home: the extract, and the counts of
    what was left out.
    """
    frames, left_out = [], Counter[tuple[str, str]]()
    for index, file in files:
        for batch in read(home.sources.sources[index], file):
            rows, dispositions = extract_batch(
                batch,
                source_file=file.name,
                extract_id="x",
                sources=home.sources,
                versions=home.by_version,
                ledger=None,
                now=datetime(2026, 1, 1, tzinfo=UTC),
            )
            frames.append(rows)
            left_out.update(dispositions.select("disposition", "reason").iter_rows())
    return validated(ConsentedLogExtract, pl.concat(frames)), left_out


def converted(example: str, data: Path, to: Path) -> Path:
    subprocess.run(
        [sys.executable, ROOT / "examples" / example / "convert.py", data, "--to", to],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return to / "conversations.jsonl"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_a_valid_home(path: Path) -> None:
    assert load_home(path).releases


def test_llmdrift_gives_every_prompt_once_per_version_and_counts_the_unregistered() -> None:
    data = real("llmdrift")
    home = load_home(ROOT / "examples" / "llmdrift")
    files = [(i, data / Path(source.path).name) for i, source in enumerate(home.sources.sources)]
    rows, left_out = extract(home, files)
    assert dict(rows["model_version"].value_counts().iter_rows()) == {
        "gpt-4-0314": 2756,
        "gpt-4-0613": 2756,
    }
    assert left_out == {("dropped", "unregistered_version"): 5512}
    labels = rows.with_columns(
        pl.col("labels").str.json_decode(
            pl.Struct(dict.fromkeys(("response_rate", "answer_rate", "directly_usable"), pl.String))
        )
    ).unnest("labels")
    shares = (
        labels.group_by("model_version")
        .agg(pl.col("response_rate", "answer_rate", "directly_usable").cast(pl.Float64).mean())
        .sort("model_version")
        .rows()
    )
    assert [row[0] for row in shares] == ["gpt-4-0314", "gpt-4-0613"]
    assert [row[1:] for row in shares] == [
        pytest.approx((0.21, 0.78, 0.52)),
        pytest.approx((0.05, 0.31, 0.10)),
    ]
    prompts = {
        version: sorted(part["messages"].str.json_path_match("$[0].content"))
        for (version,), part in rows.partition_by("model_version", as_dict=True).items()
    }
    assert prompts["gpt-4-0314"] == prompts["gpt-4-0613"]


def test_hh_rlhf_pairs_share_the_prefix_of_their_last_response(tmp_path: Path) -> None:
    log = converted("hh_rlhf", real("hh_rlhf_harmless_test"), tmp_path)
    rows, left_out = extract(load_home(ROOT / "examples" / "hh_rlhf"), [(0, log)])
    assert len(rows) == 4624
    assert left_out == {}
    prefixes: dict[str, set[str]] = {}
    for row in read_all(log)[0]:
        prefixes.setdefault(row.user_id, set()).add(canonical_json(row.messages[:-1]))
    assert Counter(len(versions) for versions in prefixes.values()) == {1: 2307, 2: 5}


def test_tau_bench_keeps_every_tool_call_and_answers_the_last_user_turn(tmp_path: Path) -> None:
    log = converted("tau_bench", real("tau_bench"), tmp_path)
    rows, left_out = extract(load_home(ROOT / "examples" / "tau_bench"), [(0, log)])
    assert dict(rows["model_version"].value_counts().iter_rows()) == {
        f"gpt-4o-trial-{i}": 50 for i in range(4)
    }
    assert left_out == {}
    read_rows = read_all(log, CONVERSATIONS)[0]
    assert (
        sum(len(message.get("tool_calls", [])) for row in read_rows for message in row.messages)
        == 1164
    )
    assert sum(row.messages[user_turns(row.messages)[-1] + 1 :] == [] for row in read_rows) == 2
    assert sum(row.labels["reward"] == 1 for row in read_rows) == 84
