"""Writes the hh-rlhf harmless test pairs as conversations in the platform's format: one row per
pair and version (`chosen`, `rejected`).

Usage: python examples/hh_rlhf/convert.py [DATA_FOLDER] [--to FOLDER]
"""

import argparse
import gzip
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = (
    Path(os.environ.get("SIM_PLATFORM_REAL_DATA") or HERE.parents[1] / "../shared/data")
    / "hh_rlhf_harmless_test"
)
TURN = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}
# the data has no times; a constant says so more plainly than invented ones
NO_TIME = "2022-01-01T00:00:00Z"


def messages(text: str) -> list[dict[str, str]]:
    """Turns of `\\n\\nHuman: ...\\n\\nAssistant: ...`. Text before the first turn would be lost, so
    it is refused.
    """
    before, *turns = TURN.split(text)
    if before.strip():
        raise SystemExit(
            "a conversation does not begin with a turn; is this the harmless-base test file?"
        )
    return [
        {"role": ROLES[speaker], "content": content.strip()}
        for speaker, content in zip(turns[::2], turns[1::2], strict=True)
    ]


def conversations(data: Path) -> Iterator[dict[str, object]]:
    with gzip.open(data / "harmless_base_test.jsonl.gz", "rt", encoding="utf-8") as pairs:
        for number, line in enumerate(pairs, start=1):
            for version, text in json.loads(line).items():
                turns = messages(text)
                yield {
                    "conversation_id": f"{number}/{version}",
                    "user_id": f"pair-{number}",
                    "model_version": version,
                    "started_at": NO_TIME,
                    "messages": turns,
                    "metadata": {"length": "one_turn" if len(turns) <= 2 else "several_turns"},
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
