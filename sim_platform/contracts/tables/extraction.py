"""Tables of the extraction stage.

Belongs here: their columns, meaning, range and key. Does not: what every table shares (schema).
"""

import pandera.polars as pa

from sim_platform.contracts.tables.schema import OFFERED_TOOLS, Table, Utc


class ConsentedLogExtract(Table):
    """One consented conversation a row, as it stands in the log. Lives in vault.duckdb only."""

    class Config(Table.Config):
        metadata = {"key": ("conversation_id",)}

    conversation_id: str = pa.Field(unique=True, description="id in the log")
    user_id: str = pa.Field(description="account id in the log; never leaves the vault")
    model_version: str = pa.Field(description="version that answered")
    started_at: Utc = pa.Field(description="start of the conversation, UTC")
    messages: str = pa.Field(description="JSON list of chat messages")
    metadata: str = pa.Field(
        description="JSON object of the conversation's properties (surface, language ...)"
    )
    labels: str = pa.Field(description="JSON object of labels of the last response")
    content_hash: str = pa.Field(
        description="SHA-256 of the row's content: tells a changed conversation from a repeated one"
    )
    source_file: str = pa.Field(description="file, relative to the home where possible")
    source_line: int = pa.Field(ge=1, description="line or row number in the file, from 1")
    extract_id: str = pa.Field(description="run that read the row")
    tool_set_hash: str = pa.Field(nullable=True, description=OFFERED_TOOLS)


class ToolSets(Table):
    """The tools that a conversation was offered, once for each distinct set. Configuration, not
    conversation: in the vault as the log names it, in the warehouse once it was scanned for direct
    identifiers.
    """

    class Config(Table.Config):
        metadata = {"key": ("tool_set_hash",)}

    tool_set_hash: str = pa.Field(unique=True, description="hash of the definitions")
    tools: str = pa.Field(description="JSON list of function tools, as Chat Completions takes them")


class RowDispositions(Table):
    """One row of a log that was not extracted, and why. Lives in vault.duckdb; holds no text."""

    class Config(Table.Config):
        metadata = {"key": ("source_file", "source_line")}

    source_file: str = pa.Field(description="log file, relative to the home")
    source_line: int = pa.Field(ge=1, description="line or row number in the file, from 1")
    disposition: str = pa.Field(
        isin=["dropped", "quarantined"],
        description="dropped by a rule, or quarantined because it cannot be read",
    )
    reason: str = pa.Field(description="reason code")


class QuarantinedRows(Table):
    """One row of a log that could not be read, or one conversation that could not be de-identified,
    with the reason code and never the text.
    """

    class Config(Table.Config):
        metadata = {"key": ("stage", "source_file", "source_line", "conversation_key")}

    stage: str = pa.Field(
        isin=["extraction", "deidentification"], description="stage that refused the row"
    )
    source_file: str = pa.Field(nullable=True, description="log file (extraction)")
    source_line: int = pa.Field(
        nullable=True, description="line or row number, from 1 (extraction)"
    )
    conversation_key: str = pa.Field(
        nullable=True, description="keyed hash of the conversation id (de-identification)"
    )
    reason: str = pa.Field(description="reason code")
    made_by: str = pa.Field(description="extract_id or deid_version")


class ExtractionAccounting(Table):
    """Rows of each log file by what became of them: rows in = extracted + dropped + quarantined."""

    class Config(Table.Config):
        metadata = {"key": ("source_file", "disposition", "reason")}

    source_file: str = pa.Field(description="log file, relative to the home")
    disposition: str = pa.Field(
        isin=["rows_in", "extracted", "dropped", "quarantined"],
        description="rows_in, extracted, dropped or quarantined",
    )
    reason: str = pa.Field(description="reason code; empty for rows_in and extracted")
    n: int = pa.Field(ge=0, description="rows")


class Erasures(Table):
    """Tombstones: who was forgotten, one account a row. Kept in the vault; the warehouse has a copy
    for its gates.
    """

    class Config(Table.Config):
        metadata = {"key": ("user_key",)}

    user_key: str = pa.Field(
        unique=True, description="keyed hash of the account id; absent from published tables"
    )
    forgotten_at: Utc = pa.Field(description="UTC time of the request")
