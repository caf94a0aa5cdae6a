"""Rule graders: one grader per registered grader configuration.

Belongs here: what each grader kind means. Does not: running graders over outcomes (scores), the named functions of kind `python` (functions).

Patterns are run as they are configured, by a backtracking engine without a time limit: a pattern such as `(a+)+$` can take for ever on a long response.
"""

import inspect
import re
from typing import assert_never

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import JsonScalar, canonical_json
from sim_platform.grading.functions import FUNCTIONS
from sim_platform.grading.items import GradedItem, Grader, Verdict
from sim_platform.registry.home import AnswerEqualsGrader, Behavior, ContainsGrader, GraderConfig, PythonGrader, RecordedLabelGrader, RegexGrader


def graders_of(behavior: Behavior) -> list[Grader]:
    """The behaviour's graders, ready to call.

    Raises:
        BadInputError: a pattern that does not compile, an unknown function, or arguments that the function does not take; names file and key.
    """
    return [_grader(config, f"behaviors/{behavior.id}.yaml: graders[{i}]") for i, config in enumerate(behavior.graders)]


def _grader(config: GraderConfig, place: str) -> Grader:
    match config:
        case RegexGrader():
            return _regex(config, place)
        case ContainsGrader():
            return _contains(config)
        case AnswerEqualsGrader():
            return _answer_equals(config, place)
        case RecordedLabelGrader():
            return _recorded_label(config)
        case PythonGrader():
            return _python(config, place)
        case _:
            assert_never(config)


def _regex(config: RegexGrader, place: str) -> Grader:
    search = _compiled(config.pattern, config.ignore_case, f"{place}.pattern").search
    return lambda item: Verdict((search(item.text or "") is not None) != config.negate)


def _contains(config: ContainsGrader) -> Grader:
    """Any of `any` and all of `all`, each where given."""

    def plain(text: str) -> str:
        return text.casefold() if config.ignore_case else text

    some, every = [plain(p) for p in config.any], [plain(p) for p in config.all]

    def grader(item: GradedItem) -> Verdict:
        text = plain(item.text or "")
        found = (not some or any(p in text for p in some)) and all(p in text for p in every)
        return Verdict(found != config.negate)

    return grader


def _answer_equals(config: AnswerEqualsGrader, place: str) -> Grader:
    """Compares without surrounding space. A response from which nothing can be extracted gave no answer, so it does not equal the reference (False, or True when negated)."""
    extract = None if config.extract is None else _compiled(config.extract, config.ignore_case, f"{place}.extract")

    def plain(value: JsonScalar) -> str:
        text = (value if isinstance(value, str) else canonical_json(value)).strip()
        return text.casefold() if config.ignore_case else text

    def answer(text: str) -> str | None:
        if extract is None:
            return text
        found = None
        for found in extract.finditer(text):  # noqa: B007 - the last match counts, and only it is kept
            pass
        return None if found is None else found.group(min(1, extract.groups))

    def grader(item: GradedItem) -> Verdict:
        reference = item.metadata.get(config.reference)
        if reference is None:
            return Verdict(None, "no_reference")
        given = answer(item.text or "")
        return Verdict((given is not None and plain(given) == plain(reference)) != config.negate)

    return grader


def _recorded_label(config: RecordedLabelGrader) -> Grader:
    def grader(item: GradedItem) -> Verdict:
        label = item.labels.get(config.label)
        return Verdict(None, "no_label") if label is None else Verdict(label in config.is_one_of)

    return grader


def _python(config: PythonGrader, place: str) -> Grader:
    function = FUNCTIONS.get(config.function)
    if function is None:
        raise BadInputError(f'{place}.function: there is no grading function "{config.function}" (functions: {", ".join(sorted(FUNCTIONS))})')
    signature = inspect.signature(function)
    try:
        signature.bind(None, **config.arguments)
    except TypeError as error:
        known = ", ".join(list(signature.parameters)[1:]) or "none"
        raise BadInputError(f"{place}.arguments: {config.function} {error} (arguments: {known})") from None

    def grader(item: GradedItem) -> Verdict:
        label = function(item, **config.arguments)
        if not (label is None or isinstance(label, bool)):
            raise TypeError
        return Verdict(label, "undecided" if label is None else None)

    return grader


def _compiled(pattern: str, ignore_case: bool, place: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise BadInputError(f"{place}: not a regular expression: {error} (value: {pattern!r})") from None
