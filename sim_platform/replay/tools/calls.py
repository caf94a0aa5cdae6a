"""One tool call in the one form in which two calls are the same or not, and what its result says.

Belongs here: canonical calls, results that are errors, the guess whether a call writes. Does not:
where calls stand in a log (pairs), who answers one.

No text is lower-cased or trimmed: two arguments that a program could tell apart are two calls.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from sim_platform.contracts.messages import canonical_json, sha256

BAD_ARGUMENTS: Final = "arguments"  # not a JSON object
# From what verb on a tool is taken to read only; any other is a write until somebody says so: a
# write that is taken for a read would be answered from before it.
READS = frozenset(
    """
    ask browse calculate calc check compare compute convert count describe display echo estimate
    evaluate exists explain fetch find get grep head identify inspect is list locate look lookup ls
    match measure monitor parse peek preview print query rank read retrieve scan search select show
    sort stat status sum summarize tail think track translate validate verify view wc weather whoami
    """.split()
)
WRITES = frozenset(
    """
    add append approve assign block book buy cancel change charge close commit confirm create delete
    deploy disable edit enable exchange execute insert invite load lock modify move notify open
    order pay place post publish put recall refund register remove rename replace reply request
    reserve reset resolve restore return run save schedule send set share sign start stop submit
    subscribe transfer unlock update upload write
    """.split()
)
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
IS_ERROR = re.compile(
    r"\s*(?:error|exception|traceback|http(?:/[\d.]+)?[ :]*[45]\d\d|[\w.]*(?:Error|Exception):)",
    re.IGNORECASE,
)
LEAST_CHARACTERS, LEAST_DIGITS = 4, 4  # of a value by which two calls may speak of one thing


@dataclass(frozen=True)
class Call:
    """A call in canonical form. `arguments` is canonical JSON, or the text as it stands where it is
    no JSON object, which `problem` then says.
    """

    tool: str
    arguments: str
    canonical_hash: str
    problem: str | None = None


def canonical_call(tool: str, arguments: str) -> Call:
    """The call with sorted keys, 25.0 as 25 and Unicode in NFC; the order of arrays stays. An empty
    text is no arguments; a JSON text that holds the object as text is that object.
    """
    value, text = parsed_arguments(arguments), arguments
    problem: str | None = BAD_ARGUMENTS
    if value is not None:
        # otherwise too deep to be walked, or a number beyond all numbers
        with suppress(RecursionError, ValueError):
            text, problem = canonical_json(_plain(value)), None
    return Call(tool, text, sha256(f"{tool}\0{text}")[:32], problem)


def parsed_arguments(text: str) -> dict[str, Any] | None:
    """The object that a call's arguments stand for; None where they are none: malformed, no object,
    a key twice (reading it would hide a value), NaN, or nested too deep.
    """
    if not text.strip():
        return {}
    try:
        value = json.loads(text, object_pairs_hook=_each_key_once, parse_constant=_no_number)
        if isinstance(value, str):
            value = json.loads(value, object_pairs_hook=_each_key_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _no_number(_: str) -> None:
    raise ValueError("not a number of JSON")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {unicodedata.normalize("NFC", key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def is_error(result: str) -> bool:
    """Whether a result says that the call failed: JSON with a non-empty `error`, a true `is_error`
    or a `status` from 400 on, or a text that starts as errors do.
    """
    head = result.lstrip()[:1]
    if head == "{":
        try:
            value = json.loads(result)
        except (ValueError, RecursionError):
            return False
        status = value.get("status")
        is_number = isinstance(status, int | float) and not isinstance(status, bool)
        return (
            bool(value.get("error"))
            or value.get("is_error") is True
            or (is_number and 400 <= status < 600)
        )
    return IS_ERROR.match(result) is not None


def is_write_by_name(tool: str) -> bool:
    """The guess from a tool's name: its first verb says whether it reads ("order" in get_order is
    none), unless a writing one follows an "or" or "and". Without a known verb it is a write.
    """
    words = [word.lower() for word in WORDS.findall(tool)]
    first = next((word for word in words if word in READS or word in WRITES), None)
    also = {after for word, after in pairwise(words) if word in ("or", "and")}
    return first not in READS or bool(also & WRITES)


def numbers_of(text: str) -> list[str]:
    """The numbers that stand in a text, in order, as they are written."""
    return re.findall(r"\d+(?:[.,]\d+)*", text)


def identifiers(*texts: str) -> frozenset[str]:
    """Values by which calls and results may speak of one thing: text leaves of at least four
    characters, numbers of at least four digits; a text that is no JSON counts as its words.
    """
    return frozenset(value for text in texts for value in _leaves(text))


def _leaves(text: str) -> Iterator[str]:
    try:
        value = json.loads(text) if text.lstrip()[:1] in ("{", "[", '"') else None
    except (ValueError, RecursionError):
        value = None
    if value is None:
        yield from re.findall(rf"[\w#@.-]{{{LEAST_CHARACTERS},}}", text)
        return
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending += one.values()
        elif isinstance(one, list):
            pending += one
        elif isinstance(one, str) and len(one) >= LEAST_CHARACTERS:
            yield one
        elif isinstance(one, int | float) and sum(c.isdigit() for c in str(one)) >= LEAST_DIGITS:
            yield str(one)
