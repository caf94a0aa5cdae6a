"""Settings of the whole suite."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("suite", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("suite")

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real servers first: side by side, no process is left with the longest files at the end."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Public data sets outside the repository: SIM_PLATFORM_REAL_DATA, default ../shared/data.
    Without them the test skips and says so.
    """
    folder = (ROOT / os.environ.get("SIM_PLATFORM_REAL_DATA", "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set SIM_PLATFORM_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser; under CI its absence is a failure."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return found
    message = "no chromium on the PATH; `apt-get install chromium` brings it"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
