"""Text of others, target by target: what is shown obeys nothing, and what must come back does."""

import csv
import io
import json
import re
from html import unescape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sim_platform.contracts.escaping import (
    BREAK,
    csv_cell,
    from_csv_cell,
    markdown_cell,
    script_json,
    table_cell,
    visible,
)

HOSTILE = [
    "a | b || c",
    "`code` ``` ~~~",
    "line\nbreak\r\n| forged | row |\n|---|---|",
    "[click](javascript:alert(1)) ![x](https://evil.example/x.png) <https://evil.example>",
    "see https://evil.example or www.evil.example or a@evil.example",
    "<script>alert(1)</script><img src=x onerror=alert(2)>&lt;b&gt;",
    "</script><script>alert(1)</script><!--",
    "=cmd|' /C calc'!A0",
    "'=1+1",
    "+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "＝1",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07\x9b2J",
    "abc\u202egnp.exe\u2066\u200f\u061c",
    "line\u2028separator\u2029",
    "\\| \\\\| \\`",
    "*bold* _it_ ~~gone~~ # head",
    "[red]rich markup[/red]",
]
hostile = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30)).flatmap(
    lambda a: st.sampled_from([*HOSTILE, ""]).map(lambda b: a + b)
)
SHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@given(hostile)
@example("".join(HOSTILE))
def test_a_terminal_gets_no_control_character_and_no_turned_text(text: str) -> None:
    assert not SHOWN.search(visible(text))
    assert "\n" not in table_cell(text)
    assert visible("ordinary text, \u05e2\u05d1\u05e8\u05d9\u05ea, 👩‍💻\n\t") == (
        "ordinary text, \u05e2\u05d1\u05e8\u05d9\u05ea, 👩‍💻\n\t"
    )


@given(st.dictionaries(hostile, hostile, max_size=2))
def test_json_on_a_terminal_reads_back_as_it_was(value: dict[str, str]) -> None:
    assert json.loads(visible(json.dumps(value, ensure_ascii=False))) == value


@given(hostile)
@example("".join(HOSTILE))
def test_a_markdown_cell_is_one_cell_of_text(text: str) -> None:
    row = f"| {markdown_cell(text)} | end |"
    page = MarkdownIt("commonmark").enable("table").render(f"| a | b |\n|---|---|\n{row}")
    assert set(re.findall(r"</?(\w+)", page)) == {"table", "thead", "tbody", "tr", "th", "td"}
    cells = re.findall(r"<td>(.*?)</td>", page, re.DOTALL)
    assert [unescape(cell).replace(BREAK, "") for cell in cells] == [
        table_cell(text).replace(BREAK, "").strip(),
        "end",
    ]
    assert not re.search(r"://|www\.|\w@", markdown_cell(text))


@given(hostile)
@example("''''=")
def test_a_csv_cell_is_no_formula_and_comes_back(text: str) -> None:
    cell = csv_cell(text)
    assert not cell or cell[0] not in "=+-@\t\r\n＝＋－＠"
    assert from_csv_cell(cell) == text
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerow([cell, "end"])
    assert next(csv.reader(io.StringIO(written.getvalue(), newline=""))) == [cell, "end"]


@given(st.lists(hostile, max_size=3))
def test_a_script_element_holds_json_and_cannot_be_left(value: list[str]) -> None:
    text = script_json(value)
    assert "<" not in text
    assert not re.search("[\u2028\u2029]", text)
    assert json.loads(text) == value


@pytest.mark.parametrize("text", ["2.10 [1.40, 3.15]", "5,814", "–", "× 1.2"])
def test_figures_are_shown_as_they_are(text: str) -> None:
    page = MarkdownIt("commonmark").render(markdown_cell(text))
    assert unescape(page) == f"<p>{text}</p>\n"
