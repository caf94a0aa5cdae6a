"""One grader per registered grader configuration.

Belongs here: what each grader kind means. Does not: running graders over outcomes (scores), the
named functions of kind `python` (functions, own_functions), what a judge is asked (judge).
"""

import inspect
import re
from collections import deque
from pathlib import Path
from typing import assert_never

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import JsonScalar, canonical_json
from sim_platform.grading.classifier import read_classifier
from sim_platform.grading.functions import FUNCTIONS
from sim_platform.grading.items import GradedItem, Grader, Verdict
from sim_platform.grading.own_functions import is_own, own_function
from sim_platform.matching.patterns import Limited, TooSlowError, may_be_slow
from sim_platform.registry.behaviors import (
    AnswerEqualsGrader,
    Behavior,
    ClassifierGrader,
    ContainsGrader,
    EnsembleGrader,
    GraderConfig,
    JudgeGrader,
    ModerationGrader,
    PythonGrader,
    RecordedLabelGrader,
    RegexGrader,
)

TOO_SLOW = Verdict(None, "pattern:too_slow")


def graders_of(behavior: Behavior, home: Path = Path()) -> list[Grader]:
    """The behaviour's graders, ready to call; files of trained graders are read from `home`.

    Graders that are asked (judge, moderation) read what was answered from the item:
    `judge:<behaviour>` and `moderation:<model>:<category>` in `answered`.

    Raises:
        BadInputError: a pattern that does not compile, an unknown function, or arguments that the
            function does not take; names file and key.
    """
    return [
        _grader(config, f"behaviors/{behavior.id}.yaml: graders[{i}]", home, behavior.id)
        for i, config in enumerate(behavior.graders)
    ]


def _grader(config: GraderConfig, place: str, home: Path, behavior: str) -> Grader:
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
            return _python(config, place, home)
        case ClassifierGrader():
            return _classifier(config, home)
        case ModerationGrader():
            return _moderation(config)
        case JudgeGrader():
            return lambda item: item.answered.get(
                f"judge:{behavior}", Verdict(None, "judge:not_asked")
            )
        case EnsembleGrader():
            return _ensemble(
                [
                    _grader(part, f"{place}.screen[{i}]", home, behavior)
                    for i, part in enumerate(config.screen)
                ],
                behavior,
            )
        case _:
            assert_never(config)


def _regex(config: RegexGrader, place: str) -> Grader:
    pattern = _compiled(config.pattern, config.ignore_case, f"{place}.pattern")
    limited = Limited(pattern, f"{place}.pattern")

    def grader(item: GradedItem) -> Verdict:
        try:
            found = limited.run(pattern.search, item.text or "")
        except TooSlowError:
            return TOO_SLOW
        return Verdict((found is not None) != config.negate)

    return grader


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
    """Compares without surrounding space. A response from which nothing can be extracted gave no
    answer, so it does not equal the reference (False, or True when negated).
    """
    extract = (
        None
        if config.extract is None
        else _compiled(config.extract, config.ignore_case, f"{place}.extract")
    )

    def plain(value: JsonScalar) -> str:
        text = (value if isinstance(value, str) else canonical_json(value)).strip()
        return text.casefold() if config.ignore_case else text

    limited = None if extract is None else Limited(extract, f"{place}.extract")

    def answer(text: str) -> str | None:
        if extract is None or limited is None:
            return text
        last = limited.run(lambda text: deque(extract.finditer(text), maxlen=1), text)
        return last[0].group(min(1, extract.groups)) if last else None

    def grader(item: GradedItem) -> Verdict:
        reference = item.metadata.get(config.reference)
        if reference is None:
            return Verdict(None, "no_reference")
        try:
            given = answer(item.text or "")
        except TooSlowError:
            return TOO_SLOW
        return Verdict((given is not None and plain(given) == plain(reference)) != config.negate)

    return grader


def _recorded_label(config: RecordedLabelGrader) -> Grader:
    def grader(item: GradedItem) -> Verdict:
        label = item.labels.get(config.label)
        return Verdict(None, "no_label") if label is None else Verdict(label in config.is_one_of)

    return grader


def _python(config: PythonGrader, place: str, home: Path) -> Grader:
    function = (
        own_function(config.function, home, f"{place}.function")[0]
        if is_own(config.function)
        else FUNCTIONS.get(config.function)
    )
    if function is None:
        raise BadInputError(
            f'{place}.function: there is no grading function "{config.function}" (functions:'
            f" {', '.join(sorted(FUNCTIONS))}; one of your own is module:name)"
        )
    signature = inspect.signature(function)
    try:
        signature.bind(None, **config.arguments)
    except TypeError as error:
        known = ", ".join(list(signature.parameters)[1:]) or "none"
        raise BadInputError(
            f"{place}.arguments: {config.function} {error} (arguments: {known})"
        ) from None

    def grader(item: GradedItem) -> Verdict:
        try:
            label = function(item, **config.arguments)
        except SystemExit:
            raise RuntimeError from None  # a row's fault is not the run's end
        if not (label is None or isinstance(label, bool)):
            raise TypeError
        return Verdict(label, "undecided" if label is None else None)

    return grader


def _classifier(config: ClassifierGrader, home: Path) -> Grader:
    classifier = read_classifier(home / config.file)
    threshold = classifier.threshold if config.threshold is None else config.threshold

    def grader(item: GradedItem) -> Verdict:
        score = classifier.score(item)
        return Verdict(score >= threshold, None, score)

    return grader


def _moderation(config: ModerationGrader) -> Grader:
    def grader(item: GradedItem) -> Verdict:
        said = item.answered.get(
            f"moderation:{config.model}:{config.category}", Verdict(None, "moderation:not_asked")
        )
        if config.threshold is None or said.label is None:
            return said
        return (
            Verdict(None, "moderation:no_score")
            if said.score is None
            else Verdict(said.score >= config.threshold, None, said.score)
        )

    return grader


def screen_of(behavior: Behavior, home: Path) -> list[Grader] | None:
    """The graders that screen for the behaviour's judge; None where the judge sees everything."""
    for i, config in enumerate(behavior.graders):
        if isinstance(config, EnsembleGrader):
            return [
                _grader(
                    part,
                    f"behaviors/{behavior.id}.yaml: graders[{i}].screen[{n}]",
                    home,
                    behavior.id,
                )
                for n, part in enumerate(config.screen)
            ]
    return None


def passes_screen(item: GradedItem, screen: list[Grader]) -> bool:
    """Whether any grader of the screen flags the item, or cannot tell: then the judge decides."""
    return any(grader(item).label is not False for grader in screen)


def _ensemble(screen: list[Grader], behavior: str) -> Grader:
    def grader(item: GradedItem) -> Verdict:
        return (
            item.answered.get(f"judge:{behavior}", Verdict(None, "judge:not_asked"))
            if passes_screen(item, screen)
            else Verdict(False)
        )

    return grader


def patterns_of(behavior: Behavior) -> list[re.Pattern[str]] | None:
    """Its expressions, where it occurred if and only if one of them is found; else None."""
    if not all(isinstance(g, RegexGrader) and not g.negate for g in behavior.graders):
        return None
    return [
        _compiled(g.pattern, g.ignore_case, f"behaviors/{behavior.id}.yaml: graders[{i}].pattern")
        for i, g in enumerate(behavior.graders)
        if isinstance(g, RegexGrader)
    ]


def slow_patterns(behavior: Behavior) -> list[str]:
    """Keys of its file whose pattern may take very long on some texts."""
    found = []
    for config in behavior.parts:
        pattern, key = (
            (config.pattern, "pattern")
            if isinstance(config, RegexGrader)
            else (config.extract, "extract")
            if isinstance(config, AnswerEqualsGrader)
            else (None, "")
        )
        if pattern is not None and may_be_slow(re.compile(pattern)):
            found.append(f"behaviors/{behavior.id}.yaml: {config.kind}.{key}")
    return found


def _compiled(pattern: str, ignore_case: bool, place: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise BadInputError(
            f"{place}: not a regular expression: {error} (value: {pattern!r})"
        ) from None
