import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from sim_platform.contracts.tables.estimation import RateComparison
from sim_platform.contracts.tables.schema import dtypes
from sim_platform.estimation.gates import decide
from sim_platform.estimation.verdict import release_verdict
from sim_platform.reporting.release_report import (
    ReleaseFacts,
    forest_svg,
    funnel_svg,
    report_html,
    report_json,
)
from sim_platform_tests.estimation.test_comparison import counted, design, scores, yes
from sim_platform_tests.estimation.test_gates import behavior

HOSTILE = (
    '<script>alert(1)</script> <img src="https://evil.example/x.png" onerror=alert(2)> &amp;'
    ' "quotes"'
)


@pytest.fixture(scope="module")
def facts() -> ReleaseFacts:
    found = pl.concat(
        [
            scores(
                {
                    "candidate": [yes(40, 200)],
                    "control": [yes(12, 200)],
                    "recorded": [yes(12, 200)],
                },
                "lies",
            ),
            scores({"candidate": [[None, *yes(0, 199)]], "control": [yes(0, 200)]}, "begs"),
        ]
    )
    rates = counted(found, design("a" * 150 + "b" * 50), {"lies": "increase", "begs": "increase"})
    decisions = decide(rates, [behavior("lies"), behavior("begs")], release="cand-2")
    verdict, reason = release_verdict(decisions)
    return ReleaseFacts(
        release="cand-2",
        replaces="prod-1",
        verdict=verdict,
        reason=reason,
        measures="model",
        consent="a reason for a test",
        sample={"prefixes": 200},
        rates=rates,
        decisions=decisions.to_dicts(),
        strata=[
            {
                "stratum": "a",
                "behavior": "lies",
                "arm": "candidate",
                "n": 150,
                "n_missing": 0,
                "events": 40,
                "rate": 0.2,
            }
        ],
        outcomes=[{"arm": "candidate", "status": "completed", "reason": "", "n": 200}],
        spend=[{"arm": "candidate", "outcomes": 200, "cost_usd": 1.5}],
        coverage=[
            {"stage": "sampling", "n_in": 200, "n_out": 200, "n_accounted": 0, "n_unaccounted": 0}
        ],
        hashes=[{"what": "sample", "value": "abc"}],
        examples=[{"behavior": "lies", "turn": HOSTILE, "response": HOSTILE}],
    )


def test_what_to_know_before_any_figure_stands_on_the_first_screen(facts: ReleaseFacts) -> None:
    page = report_html(replace(facts, warnings=["control & log differ"]))
    assert page.index("</strong>beyond") < page.index("control &amp; log differ")
    assert page.index("control &amp; log differ") < page.index("<dl")
    assert json.loads(report_json(replace(facts, warnings=["x"])))["warnings"] == ["x"]


def test_the_page_says_the_verdict_first_and_then_why(facts: ReleaseFacts) -> None:
    page = report_html(facts)
    assert page.index("BLOCK</strong>beyond their limits: lies") < page.index("<h2>")
    assert "<title>cand-2: BLOCK</title>" in page


def test_a_users_text_is_shown_as_text_and_nothing_is_loaded(facts: ReleaseFacts) -> None:
    page = report_html(replace(facts, consent=HOSTILE, reason=HOSTILE))
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?\s*https?:", page)
    assert "default-src 'none'" in page
    assert len(page.encode()) < 3_000_000


def test_missing_outcomes_and_limits_are_on_the_page(facts: ReleaseFacts) -> None:
    page = report_html(facts)
    assert "Behaviours with outcomes that have no label" in page
    assert "not a certificate" in page


def test_the_json_holds_the_figures_and_no_example(facts: ReleaseFacts) -> None:
    found = json.loads(report_json(facts))
    assert (found["verdict"], len(found["rates"]), found["model_version"]) == ("BLOCK", 5, "cand-2")
    assert found["rates"][0]["ratio_high"] == "inf"
    assert "script" not in report_json(facts)


def test_charts_are_well_formed_described_and_the_same_each_time(facts: ReleaseFacts) -> None:
    for chart in (forest_svg, funnel_svg):
        drawing = chart(facts.rates)
        assert ET.fromstring(drawing).attrib["aria-label"]
        assert drawing == chart(facts.rates)


def test_a_release_without_rates_still_has_a_page(facts: ReleaseFacts) -> None:
    empty = pl.DataFrame(schema=dtypes(RateComparison))
    page = report_html(
        replace(
            facts,
            rates=empty,
            decisions=[],
            strata=[],
            outcomes=[],
            spend=[],
            coverage=[],
            hashes=[],
            examples=[],
            verdict="INCONCLUSIVE",
        )
    )
    assert "No rate was compared" in page


@pytest.fixture(scope="module")
def page_file(facts: ReleaseFacts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "cand-2.html"
    path.write_text(report_html(facts), encoding="utf-8")
    return path


@pytest.mark.e2e
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_the_first_screen_decides_and_nothing_is_wider_than_it(
    page_file: Path, chromium: str, width: int
) -> None:
    from playwright.sync_api import expect, sync_playwright

    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())
        verdict = page.locator(".verdict")
        expect(verdict).to_be_visible()
        box = verdict.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 800
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width == 1280:  # on a narrow screen the rate table scrolls inside its own box
            assert page.evaluate(
                "(e => e.scrollWidth <="
                " e.clientWidth)(document.querySelector('table.rates').parentElement)"
            )
        assert page.get_by_role("img").count() == 2
        details = page.locator("details", has_text="lies").last
        assert not details.locator("pre").first.is_visible()
        details.locator("summary").click()
        expect(details.locator("pre").first).to_contain_text("<script>alert(1)</script>")
        browser.close()
    assert requests == [page_file.as_uri()]
