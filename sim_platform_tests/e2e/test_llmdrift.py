"""The published drift of GPT-4 comes back from the public data, through the real command line and the real detectors."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXACT = {"sensitive_question_answered": (0.21, 0.05), "jailbreak_answered": (0.78, 0.31), "code_directly_usable": (0.52, 0.10)}
OUR_RULE = {"survey_answered_with_option": (0.979, 0.233), "prime_question_right": (0.84, 0.50)}
SALTS = 10


def sim_platform(home: Path, *arguments: str) -> str:
    environment = {**os.environ, "SIM_PLATFORM_HOME": str(home)}
    environment.pop("DAGSTER_HOME", None)
    done = subprocess.run([sys.executable, "-m", "sim_platform.cli", *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def rates(home: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["behavior"], row["arm"]): row for row in json.loads(sim_platform(home, "rates", "gpt-4-0613", "--json"))}


@pytest.fixture(scope="module")
def home(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's configuration, reading the data where it lies, run over everything."""
    home = tmp_path_factory.mktemp("llmdrift")
    shutil.copytree(ROOT / "examples" / "llmdrift", home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.duckdb*", "dagster_home", "journal"))
    sources = yaml.safe_load((home / "sources.yaml").read_text())
    for source in sources["sources"]:
        source["path"] = str(real_data / "llmdrift" / Path(source["path"]).name)
    (home / "sources.yaml").write_text(yaml.safe_dump(sources))
    sim_platform(home, "run", "gpt-4-0613", "--sample-size", "100000")
    return home


@pytest.fixture(scope="module")
def everything(home: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return rates(home)


@pytest.mark.e2e
@pytest.mark.model
@pytest.mark.parametrize("behavior", [*EXACT, *OUR_RULE])
def test_the_published_shift_comes_back(everything: dict[tuple[str, str], dict[str, Any]], behavior: str) -> None:
    tolerance = 1e-9 if behavior in EXACT else 0.02
    march, june = (EXACT | OUR_RULE)[behavior]
    assert everything[behavior, "recorded"]["rate"] == pytest.approx(march, abs=tolerance)
    assert everything[behavior, "candidate"]["rate"] == pytest.approx(june, abs=tolerance)
    assert everything[behavior, "candidate"]["n_missing"] == 0


@pytest.mark.e2e
@pytest.mark.model
def test_intervals_from_thirty_percent_of_the_prompts_hold_the_full_rates_for_nine_of_ten_salts(home: Path, everything: dict[tuple[str, str], dict[str, Any]]) -> None:
    models = yaml.safe_load((home / "models.yaml").read_text())
    held = dict.fromkeys(everything, 0)
    for salt in range(SALTS):
        models["models"][1]["plan"]["salt"] = f"salt-{salt}"
        (home / "models.yaml").write_text(yaml.safe_dump(models))
        sim_platform(home, "run", "gpt-4-0613", "--sample-size", str(math.ceil(0.3 * 2756)))
        for key, row in rates(home).items():
            held[key] += row["low"] <= everything[key]["rate"] <= row["high"]
    assert min(held.values()) >= 9, held
