"""Files that people could send, broken in ways that files break: for tests of every reader.

Belongs here: making broken files from good ones, the same ones every time. Does not: readers.
"""

import gzip
import random
from collections.abc import Iterator

NASTY = (
    *(b"", b"\x00", b"\r", b"\n", b"\r\n", b'"', b"'", b",", b";", b"\t", b"\\", b"{", b"}", b"["),
    *(b"]", b":", b"null", b"true", b"NaN", b"Infinity", b"-0", b"1e999", b"9" * 400, b"\xff\xfe"),
    *(b"\xef\xbb\xbf", b"\xed\xa0\x80", "\u2028".encode(), b"\\ud800", b"[" * 3_000, b"PK\x03\x04"),
    *(b"PAR1", b"\x1f\x8b\x08", b'{"a":' * 2_000, b'""', b"=1+1", b"<script>"),
)


def mutated(good: bytes, n: int, seed: int = 1) -> Iterator[bytes]:
    """`n` broken versions of a file: bytes changed, pieces cut out, repeated, swapped or put in,
    the end missing, the whole packed again.
    """
    draw = random.Random(seed)
    for _ in range(n):
        data = bytearray(good)
        for _ in range(draw.choice((1, 1, 1, 2, 4, 8))):
            at = draw.randrange(len(data) + 1)
            length = draw.choice((0, 1, 2, 8, 40, 200))
            what = draw.randrange(7)
            if what == 0:
                data[at : at + length] = draw.choice(NASTY)
            elif what == 1:
                data[at:at] = draw.choice(NASTY)
            elif what == 2:
                del data[at : at + length]
            elif what == 3:
                data[at:at] = data[at : at + length] * draw.choice((1, 2, 20))
            elif what == 4:
                data[at : at + 1] = bytes([draw.randrange(256)])
            elif what == 5:
                del data[at:]
            else:
                data = bytearray(bytes(data).replace(b'"', draw.choice((b"'", b"", b'""')), 3))
        yield gzip.compress(bytes(data)) if draw.random() < 0.02 else bytes(data)
