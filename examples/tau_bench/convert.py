"""Writes tau-bench airline trajectories as conversations in the platform's format, tool calls and
tool results included: one row per task and trial.

The simulated user ends a conversation with ###STOP###; as nobody answers that message, a trailing
one is left out, so that the last user turn has a response.

Usage: python examples/tau_bench/convert.py [DATA_FOLDER] [--to FOLDER]
"""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = (
    Path(os.environ.get("SIM_PLATFORM_REAL_DATA") or HERE.parents[1] / "../shared/data")
    / "tau_bench"
)
TODAY = "2024-05-15T20:00:00Z"  # 15:00 EST, the time that the agent's instructions state


def conversations(data: Path) -> Iterator[dict[str, object]]:
    for run in json.loads((data / "gpt-4o-airline.json").read_text(encoding="utf-8")):
        messages = run["traj"]
        if messages[-1]["role"] == "user" and "###STOP###" in messages[-1]["content"]:
            messages = messages[:-1]
        yield {
            "conversation_id": f"airline-{run['task_id']}/trial-{run['trial']}",
            "user_id": run["info"]["task"]["user_id"],
            "model_version": f"gpt-4o-trial-{run['trial']}",
            "started_at": TODAY,
            "messages": messages,
            "metadata": {"domain": "airline", "task": f"airline-{run['task_id']}"},
            "labels": {"reward": int(run["reward"])},
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", type=Path, default=DATA, help="folder of the data set")
    parser.add_argument(
        "--to", type=Path, default=HERE / "converted", help="folder to write conversations.jsonl to"
    )
    options = parser.parse_args()
    if not options.data.is_dir():
        raise SystemExit(
            f"{options.data}: no such folder. Give the folder of the data set, or set"
            " SIM_PLATFORM_REAL_DATA to the folder above it."
        )
    options.to.mkdir(parents=True, exist_ok=True)
    written = options.to / "conversations.jsonl"
    unfinished = written.with_suffix(".tmp")
    with unfinished.open("w", encoding="utf-8") as out:
        n = sum(
            1
            for row in conversations(options.data)
            if out.write(json.dumps(row, ensure_ascii=False) + "\n")
        )
    unfinished.replace(written)
    print(f"{n} conversations in {written}")


if __name__ == "__main__":
    main()
