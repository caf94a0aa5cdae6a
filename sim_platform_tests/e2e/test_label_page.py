"""The page on which people label, in a real browser: keys alone, no network, and what it
saves is read back.
"""

import json
from pathlib import Path

import pytest

from sim_platform.grading.labels import read_labels
from sim_platform.reporting.label_page import label_page

pytestmark = pytest.mark.e2e
HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
)


def row(n: int, response: str) -> dict[str, object]:
    prompt = json.dumps([{"role": "user", "content": f"question {n}"}])
    texts = {
        "behavior": "says_sorry",
        "definition": "It says sorry.",
        "prompt": prompt,
        "response": response,
    }
    return {
        "item_id": f"item{n}",
        **texts,
        "tool_calls": [],
        "label": None,
        "annotator": "",
        "grader_hash": "h",
    }


def test_a_person_labels_with_the_keyboard_and_the_saved_file_is_read(
    chromium: str, tmp_path: Path
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    page_file, saved = tmp_path / "labels.html", tmp_path / "saved.jsonl"
    page_file.write_text(
        label_page([row(0, "Sorry."), row(1, HOSTILE), row(2, "Well."), row(3, "Hm.")]),
        encoding="utf-8",
    )
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        assert page.locator(".response").inner_text().endswith("Sorry.")
        page.keyboard.press("1")
        assert HOSTILE in page.locator(".response").inner_text()
        page.keyboard.press("0")
        page.keyboard.press("a")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("y")  # thinks again about the third
        assert page.locator("#place").inner_text() == "item 4 of 4, 3 labelled"
        page.locator("#annotator").fill("ann")
        page.locator("#question").click()
        page.reload()  # nothing that was answered is lost
        assert page.locator("#place").inner_text() == "item 4 of 4, 3 labelled"
        assert "Hm." in page.locator(".response").inner_text()
        stored = page.evaluate("JSON.stringify(localStorage)")
        assert "Sorry" not in stored
        assert "question" not in stored
        with page.expect_download() as download:
            page.keyboard.press("s")
        download.value.save_as(saved)
        assert page.title() == "Labels"
        assert [url for url in asked if not url.startswith(("file:", "blob:"))] == []
        browser.close()
    labels = read_labels(saved)
    assert [(one.item_id, one.label, one.annotator) for one in labels] == [
        ("item0", True, "ann"),
        ("item1", False, "ann"),
        ("item2", True, "ann"),
    ]
