"""Presidio as host of recognizers: its own and those of a user's registry file, run so that none of
them can fail without a word.

Belongs here: building and running recognizers, and what is put right about them. Does not: which
policy names them (policies).

Presidio by itself skips an expression that times out, with a warning in a log; its URL expression
takes quadratic time; its e-mail recognizer fetches a list of suffixes over the network; a missing
model is downloaded; and without a lemmatizer the boost by context is gone, so that scores fall
below any threshold. Here a timeout and any warning are errors, which quarantine the conversation;
URLs are left to the platform's own linear rule; nothing is fetched; recognizers that live on a
model are refused; and every word is its own lemma. A recognizer runs over a text only where one of
its expressions can match (set_gate).
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.yaml_text import parsed_yaml
from sim_platform.deidentification.policies import PresidioPlugin
from sim_platform.deidentification.spans import DetectionError, Span
from sim_platform.matching.set_gate import SetGate, loosened

# read what an NLP engine found: the stack runs spaCy itself
_NEEDS_MODEL = ("SpacyRecognizer", "StanzaRecognizer", "TransformersRecognizer")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
PIECE = 20_000  # characters given to a recognizer at once; Presidio's context takes quadratic time
PIECE_OVERLAP = 300
TYPES = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "CREDIT_CARD": "CARD",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP",
    "US_SSN": "SSN",
    "MAC_ADDRESS": "MAC",
    "DATE_TIME": "DATE",
    "PERSON": "PERSON",
    "URL": "URL",
    "CRYPTO": "CRYPTO",
}


class PresidioDetector:
    """Recognizers of one plug-in over texts. Not thread-safe: Presidio keeps compiled expressions
    on shared objects.
    """

    def __init__(self, plugin: PresidioPlugin, engine: Any, tokenizer: Any) -> None:
        self._plugin, self._engine, self._tokenizer = plugin, engine, tokenizer
        self._recognizers = engine.registry.recognizers
        self._gates = [_gate(recognizer) for recognizer in self._recognizers]

    @property
    def version(self) -> str:
        return presidio_version()

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """See Detector.

        Raises:
            DetectionError: a recognizer timed out, warned or failed; carries no text.
        """
        with _every_warning_is_an_error():
            return [self._of(text) for text in texts]

    def _of(self, text: str) -> list[Span]:
        wanted = [
            r
            for r, gate in zip(self._recognizers, self._gates, strict=True)
            if gate is None or gate.possible(text)
        ]
        if not wanted:
            return []
        entities = sorted({entity for r in wanted for entity in r.supported_entities})
        found: set[Span] = set()
        for start, piece in _pieces(text):
            results = self._engine.analyze(
                piece,
                "en",
                entities=entities,
                score_threshold=self._plugin.threshold,
                nlp_artifacts=self._artifacts(piece),
            )
            for r in results:
                type = self._plugin.types.get(r.entity_type) or TYPES.get(r.entity_type) or "ID"
                found.add(
                    Span(
                        start + r.start,
                        start + r.end,
                        type,
                        float(r.score),
                        f"presidio:{r.entity_type}",
                    )
                )
        return sorted(found, key=lambda s: (s.start, s.end, s.type))

    def _artifacts(self, text: str) -> Any:
        """Words with themselves as lemmas, which is what the boost by context reads."""
        from presidio_analyzer.nlp_engine import NlpArtifacts  # noqa: PLC0415 - heavy

        doc = self._tokenizer(text)
        lemmas = [token.lower_ for token in doc]
        return NlpArtifacts(
            entities=[],
            tokens=doc,
            tokens_indices=[token.idx for token in doc],
            lemmas=lemmas,
            nlp_engine=self._engine.nlp_engine,
            language="en",
            scores=[],
        )


def build_presidio(plugin: PresidioPlugin, folder: Path) -> PresidioDetector:
    """The plug-in's recognizers, ready to run; takes about two seconds, downloads nothing.

    Raises:
        BadInputError: an unknown recognizer, a registry file that Presidio does not read, a
            recognizer that needs a model which is not here.
    """
    with _offline():
        import tldextract  # noqa: PLC0415 - heavy

        setattr(tldextract, "extract", tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None))  # noqa: B010 - not its declared type; the snapshot that it ships; by default it would ask the network
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry  # noqa: PLC0415 - heavy
        from presidio_analyzer.nlp_engine import NoOpNlpEngine  # noqa: PLC0415 - heavy
        from presidio_analyzer.recognizer_registry import (  # noqa: PLC0415 - heavy
            RecognizerRegistryProvider,
        )
        from spacy.lang.en import English  # noqa: PLC0415 - heavy

        recognizers = [_own(name) for name in plugin.recognizers]
        if plugin.registry:
            try:
                parsed_yaml((folder / plugin.registry).read_text(encoding="utf-8"))  # or it raises
                recognizers += (
                    RecognizerRegistryProvider(conf_file=folder / plugin.registry)
                    .create_recognizer_registry()
                    .recognizers
                )
            except Exception as error:  # Presidio raises whatever comes
                raise BadInputError(
                    f"policy: registry {plugin.registry}: Presidio does not read it"
                    f" ({type(error).__name__}: {error})"
                ) from None
        recognizers = [r for r in recognizers if r.supported_language == "en"]
        for recognizer in recognizers:
            _made_safe(recognizer, plugin)
        # quadratic; rules find URLs in one linear pass
        recognizers = [r for r in recognizers if type(r).__name__ != "UrlRecognizer"]
        engine = AnalyzerEngine(
            registry=RecognizerRegistry(recognizers=recognizers, supported_languages=["en"]),
            nlp_engine=NoOpNlpEngine(models=[{"lang_code": "en", "model_name": ""}]),
        )
    return PresidioDetector(plugin, engine, English())


def presidio_version() -> str:
    """What decides its spans beside the policy."""
    return f"presidio {installed_version('presidio-analyzer')}"


def _own(name: str) -> Any:
    from presidio_analyzer import predefined_recognizers  # noqa: PLC0415 - heavy

    kind = getattr(predefined_recognizers, name, None)
    if kind is None:
        known = ", ".join(
            sorted(n for n in dir(predefined_recognizers) if n.endswith("Recognizer"))
        )
        raise BadInputError(f'policy: recognizers: "{name}" is not one of Presidio\'s ({known})')
    if name in _NEEDS_MODEL:
        raise BadInputError(
            f'policy: recognizers: "{name}" only repeats what an NLP engine found, and none runs'
            " here: it would find nothing. The stack runs spaCy by itself."
        )
    try:
        try:
            return kind(supported_language="en")
        except TypeError:
            return kind()
    except Exception as error:  # a package or a model that is not installed
        raise BadInputError(
            f'policy: recognizers: "{name}" cannot be built here ({type(error).__name__}). Install'
            " what it needs beforehand; nothing is downloaded at run time."
        ) from None


def _made_safe(recognizer: Any, plugin: PresidioPlugin) -> None:
    """Expressions that raise when they take too long, and a recognizer that loads now
    or not at all.
    """
    name = type(recognizer).__name__
    if name in _NEEDS_MODEL or any(
        base.__name__ in _NEEDS_MODEL for base in type(recognizer).__mro__
    ):
        raise BadInputError(
            f"policy: registry {plugin.registry}: {name} only repeats what an NLP engine found, and"
            " none runs here. Take it out; the stack runs spaCy by itself."
        )
    if not recognizer.is_loaded:
        try:
            recognizer.load()
            recognizer.is_loaded = True
        except Exception as error:  # a model that is not here
            raise BadInputError(
                f"policy: {name} cannot be loaded ({type(error).__name__}). Install its model"
                " beforehand; nothing is downloaded at run time."
            ) from None
    import regex  # type: ignore[import-untyped]  # noqa: PLC0415 - Presidio's engine of expressions; has no types

    for pattern in getattr(recognizer, "patterns", None) or ():
        flags = recognizer.global_regex_flags
        pattern.compiled_with_flags = flags
        pattern.compiled_regex = _Timed(
            regex.compile(pattern.regex, flags=flags), plugin.timeout_seconds
        )


class _Timed:
    """A compiled expression whose timeout is an error: Presidio catches TimeoutError and goes on as
    if nothing had been there.
    """

    def __init__(self, pattern: Any, seconds: float) -> None:
        self._pattern, self._seconds = pattern, seconds

    def finditer(self, text: str, timeout: float | None = None) -> Iterator[Any]:
        try:
            return iter(list(self._pattern.finditer(text, timeout=self._seconds)))
        except TimeoutError:
            raise DetectionError("an expression of a Presidio recognizer took too long") from None


def _gate(recognizer: Any) -> SetGate | None:
    """Which texts its expressions can match in at all; None where it has none, or has some that
    only its own engine reads.
    """
    patterns = getattr(recognizer, "patterns", None)
    if not patterns or type(recognizer).analyze is not _pattern_recognizer().analyze:
        return None
    try:
        compiled = [
            re.compile(pattern.regex, recognizer.global_regex_flags) for pattern in patterns
        ]
        for pattern in compiled:
            loosened(pattern)
    except Exception:
        return None
    return SetGate(compiled)


def _pattern_recognizer() -> Any:
    from presidio_analyzer import PatternRecognizer  # noqa: PLC0415 - heavy

    return PatternRecognizer


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    while len(text) - start > PIECE:
        yield start, text[start : start + PIECE]
        start += PIECE - PIECE_OVERLAP
    yield start, text[start:]


class _Alarm(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise DetectionError(f"Presidio warned in {record.module}")  # what it says may quote a text


@contextmanager
def _every_warning_is_an_error() -> Iterator[None]:
    log, alarm = logging.getLogger("presidio-analyzer"), _Alarm(logging.WARNING)
    before = log.propagate
    log.addHandler(alarm)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(alarm)
        log.propagate = before


@contextmanager
def _offline() -> Iterator[None]:
    """A hub that would be asked for a model answers at once that it is not here; and what Presidio
    says while it is built stays out of our log.
    """
    before = {name: os.environ.get(name) for name in _OFFLINE}
    log = logging.getLogger("presidio-analyzer")
    level = log.level
    os.environ.update(dict.fromkeys(_OFFLINE, "1"))
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
