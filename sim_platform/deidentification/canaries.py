"""Canaries: made-up identifiers planted in shadow copies of real conversations, to count how many
come through de-identification.

Belongs here: the canaries, planting them, finding survivors. Does not: storing anything; shadow
copies live in memory and never reach a table.

The names are disjoint from the pools of surrogates, so a surrogate is never taken for a survivor.
No canary seen in n planted bounds the miss rate of such identifiers at 3/n (95 %); it says nothing
about identifiers of other kinds.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sim_platform.contracts.messages import canonical_json

FIRST = (
    "Abel Adele Alban Alma Ambrose Anselm Ariadne Barnaby Beatrix Benita Calliope Casper"
    " Cedric Clementine Cordelia Cosima Crispin Cyril Dashiell Delphine Dorothea Edgar Edith"
    " Elspeth Elwood Ephraim Esme Eugenie Ferdinand Fiona Flavia Floyd Gideon Gilbert Greer"
    " Gwendolyn Hector Henrietta Hilda Horace Imogen Ingram Isolde Jethro Josephine Julian"
    " Katherine Lavinia Leander Leopold Lucinda Lysander Mabel Magnus Marguerite Maximilian"
    " Millicent Nadine Nathaniel Octavia Odette Orson Ottilie Percival Perpetua Philippa"
    " Prudence Quincy Reginald Rosalind Rupert Sabina Seraphina Silas Sybil Tabitha Thaddeus"
    " Theodora Ulrich Ursula Valerian Verity Wilhelmina Winifred Zachary"
).split()
LAST = (
    "Abernathy Ackroyd Ainsworth Applegate Ashdown Atherton Bainbridge Barraclough Bellweather"
    " Bickerstaff Blackwood Bracegirdle Braithwaite Buckminster Cadwallader Calloway Carmichael"
    " Chatterton Cholmondeley Cobblestone Coverdale Crabtree Culpepper Dalrymple Davenport"
    " Delacroix Dunwoody Eastwick Ellsworth Fairbanks Farnsworth Featherstone Fotheringham"
    " Gainsborough Galsworthy Goldsworthy Greenhalgh Grimsby Hathersage Hawthorne Heatherington"
    " Higginbotham Hollingsworth Huddleston Illingworth Jessop Kettleburn Kirkpatrick Lancaster"
    " Langstaff Lethbridge Lockhart Longbottom Marchbanks Merriweather Middlebrook Montague"
    " Mortlock Netherwood Nightingale Oglethorpe Okonkwo-Hale Oxenford Pemberton Pendergast"
    " Pettigrew Pomfret Quarrington Ravenscroft Rothschild Rowbotham Scattergood Shackleton"
    " Snodgrass Somerville Standish Strickland Sutcliffe Tattersall Templeton Thistlewood"
    " Thornbury Trelawney Underhill Vandermeer Waddington Wainwright Weatherby Whitcombe"
    " Winterbourne Wolstenholme Yardley"
).split()
_SAID = (
    "My name is {}.",
    "I am {} and I need this soon.",
    "This is {} writing.",
    "Please address the letter to {}.",
    "Thanks, {}",
    "I spoke with {} about it yesterday.",
    "Mr. {} asked me to check.",
    "My doctor, Dr. {}, agrees.",
    "{} will pick it up.",
    "cc: {}",
)
_LABELS: Mapping[str, tuple[str, ...]] = {
    "EMAIL": ("My email is {}.", "Reach me at {}.", "{}", "Send it to {} please."),
    "PHONE": ("Call me at {}.", "My number is {}.", "Phone: {}", "Text {} when ready."),
    "SSN": ("My SSN is {}.", "Social security number: {}"),
    "CARD": ("My card is {}.", "Charge it to {}."),
    "IBAN": ("My IBAN is {}.", "Transfer to {}."),
    "IP": ("My IP address is {}.", "The server is {}."),
    "ADDRESS": ("I live at {}.", "Ship it to {}.", "My address is {}."),
    "ID": ("My passport number is {}.", "Driver's license: {}", "Medical record number {}."),
    "SECRET": ("My API key is {}.", "password: {}"),
}
_STREETS = (
    "Alderwick Brambleton Cinderford Dovecote Elmhurst Foxglove Gorseland Harrowgate Ivybridge"
    " Juniperton Kestrelway Larkspurton Mapledene Nettlecombe Osprey"
).split()


@dataclass(frozen=True)
class Canary:
    """A planted identifier: its type, and the parts of which none may be readable afterwards
    (folded to lower-case letters and digits).
    """

    type: str
    parts: tuple[str, ...]


def planted(
    row: Mapping[str, Any], n: int, seed: int
) -> tuple[dict[str, Any], list[Canary]] | None:
    """A shadow copy of a conversation with `n` canaries in one text of its user, between sentences;
    None where no user wrote plain text.
    """
    draw = random.Random(seed)
    messages = json.loads(row["messages"])
    written = [m for m in messages if m.get("role") == "user" and isinstance(m.get("content"), str)]
    if not written:
        return None
    # one, so that a detector that remembers texts scans only this one again
    message = draw.choice(written)
    text = message["content"]
    places = [m.end() for m in re.finditer(r"(?<=[.!?])\s+|\n+", text)] + [len(text)]
    chosen = [
        (draw.choice(places), canary, sentence)
        for canary, sentence in _canaries(
            draw, n, _readable("\n".join(str(m.get("content")) for m in messages))
        )
    ]
    for place, _, sentence in sorted(
        chosen, key=lambda item: -item[0]
    ):  # from the end, so that places stay true and no sentence is put inside another
        before = text[:place] + ("" if not place or text[place - 1].isspace() else " ")
        text = f"{before}{sentence} {text[place:]}"
    message["content"] = text
    return {**row, "messages": canonical_json(messages)}, [canary for _, canary, _ in chosen]


def survivors(canaries: Sequence[Canary], text: str) -> Counter[str]:
    """How many canaries of each type can still be read in the de-identified `text`, in whole or in
    a part that tells.
    """
    words, joined = _readable(text)
    return Counter(c.type for c in canaries if _reads(c, words, joined))


def _readable(text: str) -> tuple[set[str], str]:
    return set(re.findall(r"[^\W_]+", text.casefold())), re.sub(r"[\W_]+", "", text.casefold())


def _reads(canary: Canary, words: set[str], joined: str) -> bool:
    return any(part in words or (len(part) > 6 and part in joined) for part in canary.parts)


def _canaries(
    draw: random.Random, n: int, there: tuple[set[str], str]
) -> Iterator[tuple[Canary, str]]:
    """Canaries and their sentences. None of which a part is `there` already: a town of that name
    would pass for a survivor.
    """
    kinds = ["PERSON", *_LABELS]
    for i in range(n):
        kind = kinds[i % len(kinds)] if i < len(kinds) else draw.choice(kinds)
        for _ in range(100):  # a text that holds every name gets fewer canaries
            value, parts = _VALUES[kind](draw)
            canary = Canary(kind, tuple(re.sub(r"[\W_]+", "", p.casefold()) for p in parts))
            if not _reads(canary, *there):
                yield (
                    canary,
                    draw.choice(_SAID if kind == "PERSON" else _LABELS[kind]).format(value),
                )
                break


def _person(draw: random.Random) -> tuple[str, tuple[str, ...]]:
    first, last = draw.choice(FIRST), draw.choice(LAST)
    return f"{first} {last}", (first, *last.split("-"))


def _email(draw: random.Random) -> tuple[str, tuple[str, ...]]:
    local = f"{draw.choice(FIRST)}.{draw.choice(LAST)}{draw.randrange(100)}".lower()
    host = f"mail{draw.randrange(10**5):05d}"
    return f"{local}@{host}.net", (local, host)


def _phone(draw: random.Random) -> tuple[str, tuple[str, ...]]:
    area, middle, last = (
        draw.choice((206, 312, 415, 503, 617)),
        draw.randrange(200, 555),
        draw.randrange(10**4),
    )
    shape = draw.choice(("({}) {}-{:04d}", "{}-{}-{:04d}", "+1 {} {} {:04d}", "{}.{}.{:04d}"))
    return shape.format(area, middle, last), (f"{area}{middle}{last:04d}", f"{middle}{last:04d}")


def _ssn(draw: random.Random) -> tuple[str, tuple[str, ...]]:
    value = (
        f"{draw.randrange(101, 660)}-{draw.randrange(1, 100):02d}-{draw.randrange(1, 10**4):04d}"
    )
    return value, (value,)


def _card(draw: random.Random) -> tuple[str, tuple[str, ...]]:
    digits = f"4{draw.randrange(10**14):014d}"
    total = sum(
        sum(divmod(2 * int(d), 10)) if i % 2 == 0 else int(d)
        for i, d in enumerate(reversed(digits))
    )
    digits += str(-total % 10)
    return draw.choice(
        (digits, " ".join(re.findall("....", digits)), "-".join(re.findall("....", digits)))
    ), (digits,)


def _iban(draw: random.Random) -> tuple[str, tuple[str, ...]]:
    account = f"{draw.randrange(10**18):018d}"
    check = 98 - int(f"{account}131400") % 97  # DE as digits, then 00
    value = f"DE{check:02d}{account}"
    return draw.choice((value, " ".join(re.findall(".{1,4}", value)))), (value,)


def _ip(draw: random.Random) -> tuple[str, tuple[str, ...]]:
    first = draw.choice((23, 52, 81, 93, 104))
    value = ".".join(map(str, (first, *(draw.randrange(101, 255) for _ in range(3)))))
    return value, (value,)


def _address(draw: random.Random) -> tuple[str, tuple[str, ...]]:
    street = draw.choice(_STREETS)
    town, state = draw.choice(
        (("Portland", "OR"), ("Columbus", "OH"), ("Denver", "CO"), ("Tucson", "AZ"))
    )
    return (
        (
            f"{draw.randrange(1000, 9999)} {street}"
            f" {draw.choice(('Road', 'Street', 'Lane', 'Avenue'))}, {town}, {state}"
            f" {draw.randrange(10000, 99999)}"
        ),
        (street,),
    )


def _id(draw: random.Random) -> tuple[str, tuple[str, ...]]:
    value = f"{draw.choice('ABCDEFGHKLMNPX')}{draw.randrange(10**8):08d}"
    return value, (value,)


def _secret(draw: random.Random) -> tuple[str, tuple[str, ...]]:
    alphabet = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    value = f"sk-{''.join(draw.choices(alphabet, k=32))}"
    return value, (value[3:],)


_VALUES = {
    "PERSON": _person,
    "EMAIL": _email,
    "PHONE": _phone,
    "SSN": _ssn,
    "CARD": _card,
    "IBAN": _iban,
    "IP": _ip,
    "ADDRESS": _address,
    "ID": _id,
    "SECRET": _secret,
}
