"""The user interface in a real browser: lineage, a backfill launched by clicks, green checks,
the rate table.

SIM_PLATFORM_SCREENSHOTS=FOLDER also writes the README's pictures there, from the demo at
its shipped size.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.e2e.servers import ROOT, Servers, serving

pytestmark = [pytest.mark.e2e, pytest.mark.model]

SPINE = [
    "consented_log_extract",
    "deidentified_corpus",
    "stratified_sample",
    "candidate_completions",
    "classifier_scores",
    "rate_comparison",
]
ONLY_SPINE = " or ".join(f'key:"{asset}"' for asset in SPINE)
RELEASES = ["demo-v2", "demo-v3"]
SAMPLE = 4
SCREENSHOTS = os.environ.get("SIM_PLATFORM_SCREENSHOTS")
WIDTH = 1400  # pixels
DIALOG_IN = 1750  # pixels of the window in which a dialog is WIDTH wide
OFFLINE = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def servers(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with serving(demo_home(tmp_path_factory.mktemp("demo"))) as running:
        yield running


@pytest.fixture
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OFFLINE)
        expect.set_options(timeout=30_000)
        yield browser
        browser.close()


def demo_home(path: Path) -> Path:
    """A copy of the shipped demo; small, unless pictures are wanted."""
    for name in ("sources.yaml", "models.yaml"):
        shutil.copy(ROOT / "data" / name, path)
    for name in ("behaviors", "demo"):
        shutil.copytree(ROOT / "data" / name, path / name)
    if not SCREENSHOTS:
        registry = path / "models.yaml"
        models = yaml.safe_load(registry.read_text())
        for model in models["models"]:
            model["settings"]["max_tokens"] = 12
            if "plan" in model:
                model["plan"] |= {"sample_size": SAMPLE, "floor": 1}
        registry.write_text(yaml.safe_dump(models))
        log = path / "demo" / "conversations.jsonl"
        log.write_text("".join(log.read_text().splitlines(keepends=True)[::8]))
    return path


def picture(shown: Locator, name: str) -> None:
    if SCREENSHOTS:
        shown.page.wait_for_timeout(2_000)  # for what fades in
        shown.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def opened(browser: Browser, servers: Servers, path: str, width: int = WIDTH) -> Page:
    """A window of its own: the user interface remembers what was folded. The token goes into its
    cookie first, as when a person opens the address that was printed.
    """
    page = browser.new_page(viewport={"width": width, "height": 940})
    page.set_default_timeout(30_000)
    page.goto(f"{servers.url}/server_info?token={servers.token}")
    page.goto(f"{servers.url}{path}")
    return page


def opened_lineage(browser: Browser, servers: Servers, selection: str = "") -> Page:
    """The graph of all assets, or of those selected, every group unfolded and all of it in view."""
    page = opened(
        browser, servers, f"/asset-groups{selection and '~' + quote(selection, safe='')}/"
    )
    expect(page.get_by_text("estimation").first).to_be_visible()
    page.get_by_text("Hide navigation").click()
    # hides the list of groups
    page.locator(".CodeMirror").first.locator("xpath=preceding::button[1]").click()
    page.mouse.click(WIDTH // 2, 880)  # the keyboard now speaks to the graph
    page.keyboard.press("Alt+KeyE")
    page.wait_for_url("**expanded=**")
    page.reload()  # what is unfolded stays in the address; a fresh page fits it into the window
    expect(page.get_by_text("rate_comparison").first).to_be_visible()
    return page


def assets_in_the_graph(page: Page) -> set[str]:
    """Spine assets among the graph's boxes, which shorten a long name to its two ends."""
    boxes = [text.split("…") for text in page.locator("foreignObject").all_text_contents() if text]
    return {
        name
        for name in SPINE
        for box in boxes
        if name.startswith(box[0]) and name.endswith(box[-1])
    }


def launch_from_the_browser(page: Page, releases: list[str]) -> None:
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("dialog").get_by_text("Select a partition").click()
    for release in releases:
        page.get_by_role("menuitem", name=release).click()
    page.get_by_role("button", name="Launch backfill").click()
    expect(page.get_by_role("button", name="Launch backfill")).to_be_hidden()


def test_a_person_sees_the_lineage_backfills_two_versions_and_sees_green_checks_and_rates(
    servers: Servers, browser: Browser
) -> None:
    servers.wait_for("the sensor's partition keys", lambda: servers.partition_keys() == RELEASES)
    spine = opened_lineage(browser, servers, ONLY_SPINE)
    assert assets_in_the_graph(spine) == set(SPINE)
    spine.close()  # an open page asks the server for news without end, and slows everything else

    everything = opened_lineage(browser, servers)
    launch_from_the_browser(everything, RELEASES)
    everything.close()
    (backfill,) = servers.wait_for("the backfill that was launched", servers.backfills)
    assert servers.finished_backfill(backfill, seconds=900) == "COMPLETED_SUCCESS", servers.logs()
    assert servers.failed_checks() == []
    rates = DuckDBFile(servers.home / "warehouse.duckdb").read(RateComparison)
    assert sorted(rates["model_version"].unique()) == RELEASES
    see_results(servers, browser, set(rates["behavior"]))


def see_results(servers: Servers, browser: Browser, behaviors: set[str]) -> None:
    """Green checks on every asset of the spine, and the rate table of one release."""
    if SCREENSHOTS:
        picture(opened_lineage(browser, servers, ONLY_SPINE).locator("body"), "lineage")
        picture(opened_lineage(browser, servers).locator("body"), "lineage-all")

    for asset in SPINE:
        page = opened(browser, servers, f"/assets/{asset}?view=checks")
        n_checks = int(
            page.get_by_text("Checks (").inner_text().removeprefix("Checks (").removesuffix(")")
        )
        expect(page.get_by_text("Succeeded", exact=True)).to_have_count(n_checks)
        assert n_checks >= 2
        page.close()

    page = opened(
        browser,
        servers,
        f"/assets/rate_comparison?view=partitions&partition={RELEASES[0]}",
        width=DIALOG_IN,
    )
    expect(page.get_by_text(f"Materialized ({len(RELEASES)})")).to_be_visible()
    page.get_by_text("[Show Markdown]").first.click()
    dialog = page.get_by_role("dialog")
    table = dialog.get_by_role("table")
    expect(table).to_contain_text("candidate per 100k")
    for behavior in behaviors:
        expect(table).to_contain_text(behavior)
    picture(dialog, "rates")
