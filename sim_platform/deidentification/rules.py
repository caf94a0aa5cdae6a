"""Detection by shape and by label: regular expressions that run in time linear in the text, and the
checks that go with them.

Belongs here: rules that need no model; a label ("MRN", "SSN") makes a number an identifier even
when its checksum fails. Does not: names without a cue (detectors), replacing (surrogates). Patterns
are bounded in every repetition that could backtrack. Texts are given NFKC-normalised.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from sim_platform.deidentification import leaks
from sim_platform.deidentification.stoplist import ACCOUNTS, HANDLES, NOT_A_NAME
from sim_platform.matching.set_gate import SetGate

Check = Callable[[str], bool]


@dataclass(frozen=True)
class Rule:
    """Text matched by `regex` (its group `v` if it has one) is an identifier of `type` when
    `check` holds for it.
    """

    type: str
    regex: re.Pattern[str]
    check: Check | None = None


def _has_digits(least: int, shortest: int = 0) -> Check:
    return lambda text: sum(map(str.isdigit, text)) >= least and len(text) >= shortest


def _is_labelled_id(text: str) -> bool:
    return _has_digits(2, 4)(text) and not re.fullmatch(r"(?:19|20)\d\d", text)


def _is_secret(text: str) -> bool:
    return _has_digits(1, 6)(text) and not re.search(r"[(\[{<]|\.\w+\.", text)


def _is_private_url(text: str) -> bool:
    """User-info, a query, an account's page or an id in the path."""
    try:
        url = urlsplit(text)
    except ValueError:
        return True
    return (
        "@" in url.netloc
        or bool(url.query)
        or re.search(
            r"\d{5}|[0-9a-f]{12}|/(?:~|u|user|users|profile|profiles|in|people|account|member)/?\w",
            url.path + url.fragment,
            re.I,
        )
        is not None
    )


def _is_ipv6(text: str) -> bool:
    if text.count(":") < (2 if re.search("[a-fA-F]", text) and "::" in text else 3):
        return False
    try:
        return not ipaddress.IPv6Address(text).is_loopback
    except ValueError:
        return False


def _is_blob(text: str) -> bool:
    return all(re.search(p, text) for p in ("[a-z]", "[A-Z]", r"\d"))


def _mixes_letters_and_digits(text: str) -> bool:
    return re.search("[a-fA-F]", text) is not None and re.search(r"\d", text) is not None


def _is_account(text: str) -> bool:
    return text.casefold() not in ACCOUNTS


def _is_handle(text: str) -> bool:
    return text[1:].casefold() not in HANDLES


def _is_name(text: str) -> bool:
    return text.split()[0].strip(".'’").casefold() not in NOT_A_NAME


def _any_of(words: str) -> str:
    """One of several expressions without a space, told apart by their first letters, because Python
    tries alternatives one by one.
    """
    by_letter: dict[str, list[str]] = {}
    for word in words.split():
        by_letter.setdefault(word[0], []).append(word[1:])
    return "|".join(f"{letter}(?:{'|'.join(rests)})" for letter, rests in by_letter.items())


# what stands between a label and its value
_TO = r"(?:[\"']?\s{0,8}(?:\bis\b|\bwas\b|[:=#])\s{0,8}){1,3}[\"']?"
_SEP = r"[\s_-]{0,2}"
# stays, so that the value keeps saying what it is
_KIND = r"(?:certificate|credit|debit|gift|card|order|user|payment|account|reservation|id)_"
_ID = (
    rf"(?:{_KIND}){{0,3}}"
    + r"(?P<v>(?-i:[A-Za-z0-9])[A-Za-z0-9/_-]{2,40}(?:[ ]\d[\d-]{2,14}){0,3})"
)
_NUMBERED = rf"{_SEP}(?:id|identifier|no|num|number)"
_PLAN = rf"{_SEP}(?:plan|insurance)"
_STRONG = _any_of(
    rf"mrn med(?:ical)?{_SEP}rec(?:ord)? insurance{_NUMBERED} insurer{_NUMBERED} ins{_NUMBERED}"
    rf" pt{_NUMBERED} insurance insurer health{_PLAN} medical{_PLAN} "
    rf"beneficiary subscriber passport driver'?s?{_SEP}licen[cs]e licen[cs]e{_SEP}plate "
    "dl npi dea tin ein itin sin nino nhs medicare medicaid aadhaar imei vin routing swift bic iban"
    " acct"
)
_WEAK = _any_of(
    "patient member membership policy plan account bank customer client order invoice claim case"
    " ticket reservation booking confirmation licen[cs]e tax national employee student user serial"
    " device reference ref tracking certificate chart encounter visit specimen rx prescription"
    " payment transaction voter badge registration plate group record ins pt hicn contract file"
    " credit debit gift"
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
DATE = (
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    rf"|{_MONTH}\s{{1,8}}\d{{1,2}}(?:st|nd|rd|th)?,?\s{{1,8}}\d{{4}}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?\s{{1,8}}(?:of\s{{1,8}})?{_MONTH},?\s{{1,8}}\d{{4}})"
)
_WORD = r"[^\W\d_][\w'’-]{0,30}"
_CAP = r"[A-ZÀ-ÖØ-Þ][\w'’-]{0,30}"
_NAME = rf"{_CAP}(?:[ ]+[A-Z]\.?(?=[ ]))?(?:[ ]+{_CAP}){{0,2}}"
_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Court|Ct|Boulevard|Blvd|Way|Place|Pl|Square"
    r"|Sq|Terrace|Ter|Trail|Trl|Parkway|Pkwy|Circle|Cir|Highway|Hwy|Crescent|Cres|Close|Plaza|Loop"
    r"|Alley|Row|Mews|Pike|Walk|Crossing|Ridge|Point|Green|Gardens|Grove|Hill|View|Route)"
)
_UNIT_WORD = r"(?:Apt|Apartment|Suite|Ste|Unit|Room|Rm|Bldg)\b\.?\s?#?"
_UNIT = rf"(?:,?\s{{1,2}}(?:{_UNIT_WORD}|#)\s?[\w-]{{1,8}})?"
_STATE = (
    r"(?:AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH"
    r"|NJ|NM|NY|NC|ND|OH|OK|OR|PA|PR|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY)"
)
_CITY = (
    rf"(?:,?\s{{1,2}}{_CAP}(?:\s{_CAP}){{0,2}},?\s{{1,2}}{_STATE}"
    r"(?:,?\s{1,2}\d{5}(?:-\d{4})?)?)?"
)

RULES: tuple[Rule, ...] = (
    Rule("EMAIL", leaks.EMAIL),
    Rule(
        "EMAIL",
        re.compile(
            r"(?<![\w.+-])[\w.+-]{1,64}\s?[\[({]\s?at\s?[\])}]\s?[\w-]{1,63}"
            r"(?:\s?(?:[\[({]\s?dot\s?[\])}]|\.)\s?[\w-]{1,63}){1,4}",
            re.I,
        ),
    ),
    Rule("IP", leaks.IPV4, lambda text: not text.startswith(("127.", "255.255.", "0.0.0.0"))),
    Rule(
        "IP",
        re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]{2,32}(?![\w:])"),
        _is_ipv6,
    ),
    Rule("PHONE", leaks.US_PHONE),
    Rule(
        "PHONE",
        re.compile(leaks.US_PHONE.pattern.removesuffix(r"(?!\w)") + r"\s?(?:x|ext\.?)\s?\d{1,6}\b"),
    ),
    Rule("PHONE", re.compile(r"(?<![\w.,-])\(?\d{2,4}\)?[ -]\d{3}[ -]\d{3,4}(?![\w-]|[.,]\d)")),
    Rule("PHONE", leaks.E164_PHONE, leaks.is_phone_shape),
    Rule(
        "PHONE",
        re.compile(
            r"\b(?:phone|tel|telephone|cell|mobile|fax|call|text|contact|whatsapp|dial)\b"
            r"(?:[^\d\n+(]{0,25}|:?\s{1,4})(?P<v>[+(]?\d[\d ().-]{5,18}\d)"
            r"(?:\s?(?:x|ext\.?)\s?\d{1,6})?",
            re.I,
        ),
        _has_digits(7),
    ),
    Rule("CARD", leaks.CARD, leaks.is_card),
    Rule("CARD", re.compile(r"\bcard\b[^\d\n]{0,25}(?P<v>\d(?:[ -]?\d){12,18})(?!\d)", re.I)),
    Rule(
        "IBAN",
        re.compile(
            r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?"
            r"(?![A-Za-z0-9])"
        ),
        _has_digits(8, 14),
    ),
    Rule(
        "MAC",
        re.compile(
            r"(?<![\w:-])[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:-])"
        ),
    ),
    Rule("SSN", re.compile(r"(?<![\d-])\d{3}([- .])\d{2}\1\d{4}(?![\d-])")),
    Rule(
        "SSN",
        re.compile(
            rf"\b(?:ssn|social{_SEP}security(?:{_SEP}(?:number|no|num))?){_TO}"
            r"(?P<v>\d[\d .-]{2,12}\d)",
            re.I,
        ),
    ),
    Rule(
        "SECRET",
        re.compile(
            r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,200}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
            r"|\bgh[pousr]_[A-Za-z0-9]{20,100}|\bgithub_pat_\w{20,100}|\bglpat-[\w-]{20,60}"
            r"|\bhf_[A-Za-z0-9]{20,60}|\bxox[abprs]-[A-Za-z0-9-]{10,200}|\bAIza[\w-]{30,60}"
            r"|\beyJ[\w-]{10,2000}\.[\w-]{10,4000}(?:\.[\w-]{5,2000})?"
        ),
    ),
    Rule(
        "SECRET",
        re.compile(r"\bbearer\s{1,3}(?P<v>[A-Za-z0-9._~+/=-]{16,4000})", re.I),
        _has_digits(1),
    ),
    Rule(
        "SECRET",
        re.compile(
            rf"(?:api{_SEP}key|secret|token|passwd|password|passcode|pwd|passphrase"
            rf"|access{_SEP}key|\bpin\b){_TO}(?P<v>[^\s\"',;]{{4,200}})",
            re.I,
        ),
        _is_secret,
    ),
    Rule(
        "SECRET",
        re.compile(
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:[\s\S]{0,8000}?-----END "
            r"[A-Z ]{0,30}PRIVATE KEY-----|[\s\S]{0,8000})"
        ),
    ),
    Rule("SECRET", re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/=_-]{200,}"), _is_blob),
    Rule(
        "URL",
        re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s<>\"'`)\]}]{1,2000}"),
        _is_private_url,
    ),
    Rule(
        "CRYPTO",
        re.compile(r"\b(?:0x[0-9a-fA-F]{40}|bc1[a-z0-9]{25,60}|[13][a-km-zA-HJ-NP-Z1-9]{25,34})\b"),
        _has_digits(3),
    ),
    Rule("ID", re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")),
    Rule("ID", re.compile(r"\b[0-9a-fA-F]{32,128}\b"), _mixes_letters_and_digits),
    Rule(
        "ID",
        re.compile(
            rf"(?<![A-Za-z])(?:{_STRONG})(?:{_SEP}(?:id|identifier|no|number|num|nr|code)\b\.?)?"
            rf"(?:{_TO}|[\s#:-]{{1,4}})[#]?{_ID}",
            re.I,
        ),
        _is_labelled_id,
    ),
    Rule(
        "ID",
        re.compile(
            rf"(?<![A-Za-z])(?:{_WEAK})(?:{_SEP}(?:(?:id|identifier|no|number|num|nr|code|card)\b"
            rf"\.?|\#)(?:{_TO}|[\s#-]{{0,3}})|{_TO}){_ID}",
            re.I,
        ),
        _is_labelled_id,
    ),
    Rule(
        "ID",
        re.compile(
            r"\b(?:ID|Id|UID|PIN|REF|Ref|No\.)(?:\s?[:#=]\s?|\s)"
            r"(?P<v>[A-Za-z0-9][A-Za-z0-9_-]{3,40})"
        ),
        _has_digits(4, 5),
    ),
    Rule(
        "ID",
        re.compile(
            r"(?<![\w-])(?!(?:ISO|IEC|CVE|RFC|IEEE|EN|DIN|PEP)\b)(?:[A-Z]{1,5}-?|[a-z]{1,4}-)"
            r"\d{5,12}(?![\w-])|(?<![\w.-])\d{3,4}-\d{3,4}-\d{3,4}(?![\w-])"
        ),
    ),
    Rule(
        "USERNAME",
        re.compile(
            rf"\b(?:user{_SEP}name|login|screen{_SEP}name|nickname|gamertag|handle){_TO}"
            r"(?P<v>[\w.@-]{2,40})",
            re.I,
        ),
        _is_account,
    ),
    Rule(
        "USERNAME",
        re.compile(
            r"[\\/](?:Users|home)[\\/]{1,2}(?P<v>[^\\/\s:\"'<>|]{2,32}(?:[ ][A-Z]\w{1,20}(?=\\))?)"
        ),
        _is_account,
    ),
    Rule(
        "USERNAME",
        re.compile(
            rf"(?<![A-Za-z0-9_])(?!{_KIND})[a-z]{{2,20}}_[a-z]{{2,20}}_\d{{3,8}}(?![A-Za-z0-9_])"
        ),
    ),
    Rule("HANDLE", re.compile(r"(?<![\w@./])@[A-Za-z_]\w{2,30}\b(?![/(.@])"), _is_handle),
    Rule(
        "ADDRESS",
        re.compile(
            rf"(?<![\w.,])\d{{1,6}}[A-Za-z]?\s{{1,2}}(?:[NSEW]\.?\s)?(?:{_CAP}\s{{1,2}}|\d{{1,3}}"
            rf"(?:st|nd|rd|th)\s){{1,4}}{_STREET}\b\.?{_UNIT}{_CITY}"
        ),
    ),
    Rule(
        "ADDRESS",
        re.compile(
            r"(?<![\w.,])\d{2,6}\s(?:[a-z]{2,20}\s){1,2}(?:street|avenue|boulevard|blvd|terrace"
            r"|road|lane|ave|rd)\b"
        ),
    ),
    Rule(
        "ADDRESS",
        re.compile(
            r"\b(?:Rue|Via|Calle|Avenida|Rua|Piazza|Carrer|Ulica|ul\.|Kungs|Strada|Viale|Paseo)\s"
            rf"(?:{_WORD}\s){{1,4}}\d{{1,5}}\b"
        ),
    ),
    Rule(
        "ADDRESS",
        re.compile(
            r"(?<!\w)(?:\d{1,5}[ ])?[A-ZÀ-Þ][\w-]{1,30}(?:straße|strasse|straat|gasse|weg|platz"
            r"|allee|gatan|vägen|gade|vej|veien|katu|utca|laan|gata)\s\d{1,5}[a-z]?\b"
        ),
    ),
    Rule(
        "ADDRESS",
        re.compile(
            r"\b(?:the\s)?(?:corner|intersection|junction)\sof\s(?:[\w.'’-]{1,30}\s){1,6}?and\s"
            r"(?:\d{1,5}\s)?[^\W\d_][\w'’-]{1,30}(?:\s[^\W\d_][\w'’-]{1,30})?",
            re.I,
        ),
    ),
    Rule(
        "ADDRESS",
        re.compile(
            r"\b(?:P\.?\s?O\.?\s?Box|Postbox|PSC\s\d{1,6},?\s{1,2}Box|Unit\s\d{1,6},?\s{1,2}Box)\s"
            r"\d{1,8}\b",
            re.I,
        ),
    ),
    Rule(
        "ADDRESS",
        re.compile(
            r"\b(?:USNV|USNS|USS|USCGC)\s\w{2,20}(?=,?\s{1,2}(?:FPO|APO|DPO)\b)"
            r"|\b(?:FPO|APO|DPO)\s(?:AA|AE|AP)\s\d{5}(?:-\d{4})?\b",
            re.I,
        ),
    ),
    Rule(
        "ADDRESS",
        re.compile(
            rf"\b{_UNIT_WORD}\s?\d[\w-]{{0,7}}|\b(?:apt|apartment|suite|ste)\b\.?\s?#?\s?\d"
            r"[\w-]{0,7}"
        ),
    ),
    Rule("POSTCODE", re.compile(rf"\b{_STATE},?\s{{1,2}}(?P<v>\d{{5}}(?:-\d{{4}})?)\b")),
    Rule(
        "POSTCODE",
        re.compile(rf"\b(?:zip|post(?:al)?){_SEP}(?:code)?{_TO}(?P<v>\w[\w -]{{2,9}}\w)", re.I),
        _has_digits(2),
    ),
    Rule("POSTCODE", re.compile(r"\b[A-Z]{1,2}\d[A-Z\d]?\s\d[ABD-HJLNP-UW-Z]{2}\b")),
    Rule(
        "DATE_OF_BIRTH",
        re.compile(
            rf"\b(?:born(?:\s{{1,8}}on)?|dob|d\.o\.b\.?|date{_SEP}of{_SEP}birth|birth{_SEP}?"
            rf"(?:date|day))\b[^\d\n]{{0,15}}?(?P<v>{DATE})",
            re.I,
        ),
    ),
    Rule(
        "DATE",
        re.compile(
            rf"(?<![\w.-])(?:{DATE}|{_MONTH}\s{{1,8}}\d{{1,2}}(?:st|nd|rd|th)?\b"
            r"(?!\s*,?\s*\d{3}))(?![\w])",
            re.I,
        ),
    ),
    Rule(
        "AGE",
        re.compile(
            r"\b(?:aged?\s(?:of\s)?|is\s)(?P<v>9\d|1[01]\d)(?=[\s,.;)]*(?:$|years?\b|y/?o\b|,|\)))",
            re.I,
        ),
    ),
    Rule("AGE", re.compile(r"\b(?P<v>9\d|1[01]\d)[ -](?:years?|yrs?)[ -]old\b", re.I)),
    Rule(
        "PERSON",
        re.compile(
            r"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sgt|Capt|Nurse)\b\.?[ ]{1,2}"
            rf"(?P<v>{_NAME})"
        ),
        _is_name,
    ),
    Rule(
        "PERSON",
        re.compile(
            r"\b(?i:my name(?:['’]s| is)|(?:he|she) is called|(?:a |the )?patient named)\s"
            rf"(?P<v>{_WORD}(?:[ ]{_CAP}){{0,2}})"
        ),
        _is_name,
    ),
    Rule(
        "PERSON",
        re.compile(
            r"(?<![a-z])(?i:(?:first|last|full|middle|given|family|maiden|patient|passenger"
            rf"|customer|contact|employee|cardholder){_SEP}name|surname){_TO}"
            rf"(?P<v>{_WORD}(?:[ ]{_CAP}){{0,2}})"
        ),
        _is_name,
    ),
    Rule(
        "PERSON",
        re.compile(
            r"(?i:regards|sincerely|cheers|yours truly|best wishes|thanks),?[ ]{0,3}\n{1,2}"
            rf"[ ]{{0,3}}(?P<v>{_NAME})[ ]*(?=\n|$)"
        ),
        _is_name,
    ),
    Rule(
        "PERSON",
        re.compile(
            rf"\b(?i:this is|(?:i am|i['’]m)(?: called)?|it['’]s)\s(?P<v>{_CAP}[ ](?:[A-Z]\.?[ ])?"
            rf"{_CAP})(?=\s(?i:writing|speaking|calling|here|again)\b)"
        ),
        _is_name,
    ),
    Rule(
        "PERSON",
        re.compile(rf"\b(?i:b?cc|attn\.?|attention|signed):[ ]{{0,2}}(?P<v>{_NAME})"),
        _is_name,
    ),
    Rule("LONG_NUMBER", re.compile(r"(?<!\d)(?<!\d[.,])\d{7,}(?!\d)")),
)


GATE = SetGate([rule.regex for rule in RULES])
_VALUE = tuple(rule.regex.groupindex.get("v", 0) for rule in RULES)


def find(text: str) -> list[tuple[int, int, str]]:
    """(start, end, type) of everything that a rule finds in `text`; may overlap, in no
    particular order.
    """
    found = []
    for i, first, last in GATE.possible(text):
        rule, value_group = RULES[i], _VALUE[i]
        for match in rule.regex.finditer(text, first):
            start, end = match.span(value_group)
            value = text[start:end].rstrip(" .,;:!?'\"" if rule.type == "URL" else " ,")
            if value and (rule.check is None or rule.check(value)):
                found.append((start, start + len(value), rule.type))
            if match.end() >= last:
                break
    return found
