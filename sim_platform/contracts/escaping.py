"""Text of others on its way to a terminal, Markdown, a spreadsheet or a page: a function each.

Belongs here: what a value of a log, of a configuration or of a model must become so that its
reader sees it and does not obey it. Does not: layout (reporting, commands, orchestration). Jinja
escapes markup of pages by itself; `visible` is what it does not do.
"""

import json
import re

# Control characters except tab and newline, line and paragraph separators, and what turns the
# direction of text around. Joiners stay: scripts and emoji are written with them.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
# An underscore inside of a word is none: names of columns stay as they are.
MARKUP = re.compile(r"([\\`*\[\]<>|~&]|(?<![^\W_])_|_(?![^\W_]))")
LINK = re.compile(r"(?i)(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)")  # what becomes a link without markup
BREAK = "\u200b"  # zero width
# What spreadsheets take for a formula, also behind apostrophes: one of these is put before it.
FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def visible(text: str) -> str:
    r"""For a terminal: escape sequences and turned text as `\u001b`, which is also how JSON writes
    them. Newlines and tabs stay.
    """
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def table_cell(value: object) -> str:
    r"""For a cell of a table on a terminal: as `visible`, with `\n` and `\t` for newlines and
    tabs.
    """
    return visible(str(value)).replace("\n", "\\n").replace("\t", "\\t")


def markdown_cell(value: object) -> str:
    """For a cell of a Markdown table: no markup, no link, one line; nothing for None."""
    if value is None:
        return ""
    return LINK.sub(BREAK, MARKUP.sub(r"\\\1", table_cell(value)))


def csv_cell(value: str) -> str:
    """For a cell of a spreadsheet: an apostrophe before what would be a formula. Only for text: a
    negative number is one.
    """
    return f"'{value}" if FORMULA.match(value) else value


def from_csv_cell(cell: str) -> str:
    """What `csv_cell` was given."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell[1:]) else cell


def script_json(value: object) -> str:
    """For a script element of a page: JSON that cannot end the element, nor a line of script."""
    text = json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
