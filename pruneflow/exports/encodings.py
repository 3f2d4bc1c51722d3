"""Encodings of weights in a TFLite file: they are tried, loaded, run and compared, and one is kept."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pruneflow.datasets.spec import Data
from pruneflow.errors import PruneflowError
from pruneflow.exports import tflite
from pruneflow.exports.base import Export
from pruneflow.exports.flatbuffer import unpacked
from pruneflow.exports.runner import tflite_outputs
from pruneflow.exports.sizes import compressed
from pruneflow.runtime import backend
from pruneflow.training.scoring import FloatArray

NO_RANGE = 1e-8  # a scale below it: the converter gives 8e-9 to activations that are always 0
FORMS = {"gzip": "after gzip", "raw": "before compression"}  # by which export.encoding=auto compares

PROOF_EXAMPLES = 100  # training examples on which the outputs of two encodings are compared

# Largest difference between outputs that are called equal, relative to the largest output where that is above
# 1. A sparse kernel adds the same float32 products in another order; all else gives the same bits.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Candidate:
    """One encoding that was tried.

    Attributes:
        encoding: ``"dense"`` or ``"sparse"``.
        kept: Whether the file is the one that is shipped.
        max_difference: Largest difference between its outputs and those of the dense-encoded file; None where
            it gave none.
        reason: Why it was kept or not.
    """

    encoding: str
    bytes: int
    gzip_bytes: int
    kept: bool
    max_difference: float | None
    reason: str


@dataclass(frozen=True)
class Encoded:
    """A TFLite file that loads and runs here, and what else was tried."""

    content: bytes
    candidates: tuple[Candidate, ...]

    @property
    def encoding(self) -> str:
        """Encoding of the file that was kept."""
        return next(candidate.encoding for candidate in self.candidates if candidate.kept)


@dataclass(frozen=True)
class _Tried:
    """A file, its outputs on the proof examples, (n, units), or why it has none."""

    content: bytes
    outputs: FloatArray | None
    problem: str


def encode(export: Export, model: Any, data: Data, *, has_ranges: bool = False) -> Encoded:
    """Convert ``model`` in the encoding that ``export`` asks for; every file that is kept was loaded and run.

    Args:
        model: A plain ``tf_keras.Model``.
        data: Calibration and proof take examples of its training part.
        has_ranges: Whether the model was trained with ranges, so that nothing is calibrated.
    """
    samples = data.train.x[:0] if has_ranges else export.samples(data)
    places = np.linspace(0, len(data.train) - 1, min(PROOF_EXAMPLES, len(data.train))).astype(np.int64)
    examples = replace(data.train, x=data.train.x[places], y=data.train.y[places])
    return encode_with(
        export,
        lambda sparse: export.convert(model, data.spec, samples, sparse=sparse),
        lambda content: tflite_outputs(content, examples, data.spec, export.runner),
    )


def encode_with(
    export: Export, convert: Callable[[bool], bytes], run: Callable[[bytes], FloatArray]
) -> Encoded:
    """Take the encoding that ``export`` asks for, whatever is converted.

    Args:
        convert: Makes a file, sparse-encoded or not.
        run: Gives the outputs of a file on the proof examples, (n, units).

    Raises:
        PruneflowError: if the file that is asked for does not run here, or gives other outputs than the
            dense-encoded one.
    """
    dense = _try(convert(False), run)
    if dense.outputs is None:
        raise PruneflowError(
            f"export={export.kind}: the converted file does not run in {export.interpreter}: {dense.problem} "
            f"{_remedy(dense.content)}"
        )
    if export.encoding == "dense":
        return Encoded(dense.content, (_candidate("dense", dense, dense, "asked for", kept=True),))
    sparse = _try(convert(True), run)
    return _chosen(export, dense, sparse)


def _remedy(content: bytes) -> str:
    """The advice for a file that does not run: LiteRT refuses activations that are 0 for every example."""
    file = unpacked(content)
    for tensor in (each for graph in file.subgraphs for each in graph.tensors):
        scales = tensor.quantization.scale if tensor.quantization else None
        if scales is not None and max(scales) < NO_RANGE and file.buffers[tensor.buffer].data is None:
            name = tensor.name.decode().split(";")[0]
            return f"{name} gives 0 for every example. If pruning did that, lower schedule.final_sparsity."
    return "Choose another export."


def _chosen(export: Export, dense: _Tried, sparse: _Tried) -> Encoded:
    objection = _objection(export, dense, sparse)
    if export.encoding == "sparse":
        if objection:
            raise PruneflowError(
                f"export.encoding=sparse: the {export.kind} file {objection}. "
                "export.encoding=auto ships the dense-encoded file where that happens, dense makes no other."
            )
        chosen, reason = "sparse", "asked for"
    else:
        objection = objection or _no_gain(export, *(file.content for file in (dense, sparse)))
        chosen = "dense" if objection else "sparse"
        reason = f"smallest {FORMS[export.smallest]} of those that run here with equal outputs"
    other = objection or (
        f"larger {FORMS[export.smallest]}" if export.encoding == "auto" else "not asked for"
    )
    candidates = tuple(
        _candidate(name, file, dense, reason if name == chosen else other, kept=name == chosen)
        for name, file in (("dense", dense), ("sparse", sparse))
    )
    return Encoded((dense if chosen == "dense" else sparse).content, candidates)


def _objection(export: Export, dense: _Tried, sparse: _Tried) -> str:
    """Return the reason why a sparse-encoded file must not be shipped; empty where it may."""
    if sparse.outputs is None:
        return f"does not load here: {sparse.problem}"
    if not any(weight.encoding == "sparse" for weight in tflite.parse(sparse.content, "the file").weights):
        return "has no weight with enough zeros to be encoded as sparse"
    difference = _difference(dense, sparse)
    largest = max(1.0, float(np.abs(dense.outputs).max())) if dense.outputs is not None else 1.0
    if difference is None or not difference <= (0 if export.same_bits else TOLERANCE * largest):  # or NaN
        by = "" if difference is None else f", by up to {difference:.3g}"
        return f"gives other outputs than the dense-encoded one{by}"
    return ""


def _no_gain(export: Export, *contents: bytes) -> str:
    raw = export.smallest == "raw"
    dense, sparse = (len(content if raw else compressed(content, "gzip")) for content in contents)
    form = FORMS[export.smallest]
    return "" if sparse < dense else f"is not smaller {form}: {sparse:,} bytes, dense {dense:,}"


def _candidate(name: str, file: _Tried, dense: _Tried, reason: str, *, kept: bool) -> Candidate:
    return Candidate(
        encoding=name,
        bytes=len(file.content),
        gzip_bytes=len(compressed(file.content, "gzip")),
        kept=kept,
        max_difference=_difference(dense, file),
        reason=reason,
    )


def _difference(dense: _Tried, other: _Tried) -> float | None:
    if dense.outputs is None or other.outputs is None:
        return None
    return float(np.abs(dense.outputs - other.outputs).max())


def _try(content: bytes, run: Callable[[bytes], FloatArray]) -> _Tried:
    with backend.quiet():
        try:
            return _Tried(content, run(content), "")
        except (
            RuntimeError,
            ValueError,
        ) as error:  # what LiteRT raises for a file that it cannot load or run
            return _Tried(content, None, " ".join(str(error).split()) or type(error).__name__)
