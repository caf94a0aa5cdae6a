"""What a log reader hands on: rows that could be read, and rows that could not with a reason code.

Belongs here: the row types and the reason codes of extraction. Does not: formats of files
(readers), what a conversation must look like (conversation).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sim_platform.contracts.messages import JsonScalar, Message
from sim_platform.contracts.tools import FunctionTool

BAD_ENCODING: Final = "bad_encoding"  # not UTF-8, or text with half of a surrogate pair
BAD_FIELD_COUNT: Final = "bad_field_count"  # a CSV row with more or fewer fields than the header
# a field of another type than the format says; NaN and Infinity count as this
BAD_FIELD_TYPE: Final = "bad_field_type"
BAD_JSON: Final = "bad_json"  # not JSON
# definitions of tools of another shape, or two with one name
BAD_TOOL: Final = "bad_tool"
BAD_TIME: Final = "bad_time"  # started_at is not an ISO 8601 time (or not in the configured format)
# a tool call of another shape, or a tool message without tool_call_id
BAD_TOOL_CALL: Final = "bad_tool_call"
# a .gz, .zst or Parquet file that ends early or is damaged; stands for the unknown rest of the file
CORRUPT_ARCHIVE: Final = "corrupt_archive"
# a tool that is no function: the endpoint would run it, whoever replays the conversation
HOSTED_TOOL: Final = "hosted_tool"
EMPTY_MESSAGES: Final = "empty_messages"  # a conversation without messages
LINE_TOO_LONG: Final = "line_too_long"  # a line, or a CSV field, of more than MAX_LINE_BYTES
# a required field is absent, null or (ids and versions) empty
MISSING_FIELD: Final = "missing_field"
NON_TEXT_PART: Final = "non_text_part"  # a content part that is not text (image, audio, file ...)
NOT_AN_OBJECT: Final = "not_an_object"  # JSON, but not an object
TOO_DEEP: Final = "too_deep"  # JSON nested deeper than the parser goes
UNKNOWN_ROLE: Final = "unknown_role"  # a role other than system, developer, user, assistant, tool


class UnreadableError(Exception):
    """Raised inside a reader for one row; its only texts are the reason code, the platform's own
    name of the field and a version's name, so it can never carry a user's words.
    """

    def __init__(self, reason: str, field: str = "", version: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field
        self.version = version


@dataclass(frozen=True)
class LogRow:
    """One conversation as it stands in the log.

    `source_line` counts from 1: the line in JSONL, the row (without the header) in CSV and Parquet.
    `started_at` is UTC. `metadata` and `labels` hold no nulls: an absent key and a null mean the
    same. `content_hash` covers all but the id and the place in the file. `tools` are the functions
    that were offered, where the row says so.
    """

    source_line: int
    conversation_id: str
    user_id: str
    model_version: str
    started_at: datetime
    messages: list[Message]
    metadata: dict[str, JsonScalar]
    labels: dict[str, JsonScalar]
    content_hash: str
    tools: list[FunctionTool] | None = None


@dataclass(frozen=True)
class UnreadableRow:
    """A row that cannot be read: its line (from 1), the reason code and, where they are known, the
    platform's name of the field and what the row names as its version; never its text.
    """

    source_line: int
    reason: str
    field: str = ""
    version: str = ""


@dataclass(frozen=True)
class ReadBatch:
    """Neighbouring rows of one file: each row of the file is in exactly one of the two lists of
    exactly one batch.
    """

    rows: list[LogRow]
    unreadable: list[UnreadableRow]

    def __len__(self) -> int:
        return len(self.rows) + len(self.unreadable)
