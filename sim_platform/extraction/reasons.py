"""What each reason for leaving a row out means, and what would have been taken.

Belongs here: one sentence a reason code. Does not: deciding (conversation, rules, consent).
"""

EXPECTED = {
    "bad_encoding": "text is UTF-8",
    "bad_field_count": "a CSV row has as many fields as the header and ends in a newline",
    "bad_field_type": "ids are text or whole numbers, metadata and labels flat objects",
    "bad_json": "each line is one JSON object",
    "bad_time": "started_at is an ISO 8601 time such as 2026-03-01T10:00:00Z, or as"
    " `timestamp_format` in sources.yaml says; seconds since 1970 are not read",
    "bad_tool_call": "a tool call has id, type function, name and arguments as text, and a"
    " function's result follows its call",
    "corrupt_archive": "the file is whole; what follows the damage is not known",
    "bad_tool": "tools are functions with a name and, as `parameters`, a JSON schema; each name"
    " once",
    "hosted_tool": "tools are of type function: any other would be run by the endpoint when the"
    " conversation is replayed. Take them out of `tools` of these rows, or the rows out of the log",
    "empty_messages": "a conversation has messages",
    "line_too_long": "a line is below 64 MB",
    "missing_field": "a row has conversation_id, user_id, model_version, started_at and messages"
    " (or the columns that sources.yaml names)",
    "non_text_part": "content is text",
    "not_an_object": "each line is one JSON object",
    "too_deep": "JSON is not nested hundreds of levels deep",
    "unknown_role": "roles are system, developer, user, assistant, tool",
    "in_the_future": "started_at is not later than today",
    "before_deployment": "its version was in service by then (`deployed.from` in models.yaml)",
    "after_deployment": "its version was still in service (`deployed.until` in models.yaml)",
    "unregistered_version": "model_version is a version of models.yaml",
    "duplicate": "a conversation stands in the log once",
    "conflicting_duplicate": "a conversation_id stands for one conversation",
    "no_consent_record": "the consent ledger has a row of this user and scope",
    "no_consent_at_the_time": "consent was given before the conversation",
    "consent_revoked": "consent still holds",
    "forgotten": "its user did not ask for erasure",
}


def expected(reason: str) -> str:
    """What a row looks like that is not left out for this reason."""
    if reason.startswith("excluded:"):
        return "sources.yaml does not exclude it"
    return EXPECTED.get(reason, "")
