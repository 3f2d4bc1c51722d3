"""A Keras model of any origin becomes a TFLite file that was run and compared with it."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.exports import tflite
from pruneflow.exports.base import Export
from pruneflow.exports.causes import lacking, said
from pruneflow.exports.encodings import PROOF_EXAMPLES, encode, encode_with
from pruneflow.exports.exporters import DynamicRange, Float, Float16, Int8, Int16x8
from pruneflow.exports.int4 import Int4
from pruneflow.exports.judging import Comparison, Exported, causes_of_loss, compared, require_faithful
from pruneflow.exports.named_runner import named_outputs
from pruneflow.exports.runner import FloatArray
from pruneflow.exports.signatures import Array, Arrays, Port, Signature, Traced, stateless, traced
from pruneflow.options import require
from pruneflow.runtime import backend
from pruneflow.runtime.terminal import warn

OPTIONS: dict[str, Any] = {each.kind: each for each in (Float, Float16, DynamicRange, Int8, Int16x8, Int4)}
KINDS = tuple(OPTIONS)
CALIBRATED = ("int8", "int16x8")  # by examples
MOST_JUDGED = 1000  # examples on which a file is compared with Keras
FUSED = "UNIDIRECTIONAL_SEQUENCE_LSTM"  # keeps its state from one call to the next
DRAWN = 32  # examples that are drawn where none are given


@dataclass(frozen=True)
class Wanted:
    """A file that is asked for.

    Attributes:
        kind: One of `KINDS`.
        encoding: ``"dense"``, ``"sparse"`` or ``"auto"``.
        tolerance: Share of answers that a quantized file may get wrong.
    """

    kind: str
    encoding: str
    tolerance: float

    def check(self) -> None:
        """Refuse an encoding that the kind does not have, and a kind whose package is not there."""
        encodings = OPTIONS[self.kind].encodings
        problem = f"a file of the kind {self.kind} has no sparse encoding"
        require(self.encoding in encodings, "encoding", self.encoding, problem, "Take dense.")
        with _in_arguments():
            self.option(1).check_installed()

    def option(self, samples: int) -> Export:
        """The option of the group ``export`` that makes it."""
        calibration = {"calibration_samples": samples} if self.kind in CALIBRATED else {}
        made: Export = OPTIONS[self.kind](name=self.kind, encoding=self.encoding, **calibration)
        return made


@contextmanager
def _in_arguments() -> Iterator[None]:
    """Name arguments in refusals by options, which know the keys of the command line.

    >>> with _in_arguments():
    ...     raise ConfigError("export=int4: no kernel. Take export=float, or export.encoding=dense.")
    Traceback (most recent call last):
        ...
    pruneflow.errors.ConfigError: kind=int4: no kernel. Take kind=float, or encoding=dense.
    """
    try:
        yield
    except PruneflowError as error:
        text = re.sub(r"\bexport\.(?=\w)", "", re.sub(r"\bexport=(?=\w)", "kind=", str(error)))
        if text == str(error):
            raise
        raise type(error)(text) from error


def exported(model: Any, signature: Signature, examples: Arrays | None, wanted: Wanted) -> Exported:
    """Convert, run, compare and judge.

    Args:
        model: A built ``tf_keras.Model``.
        examples: (n, *shape) by the names of inputs; None draws some.

    Raises:
        ConfigError: if the model cannot be run on the examples, or reads any size and there are none.
        PruneflowError: if it cannot be converted, or the file does not run, or is not what Keras says.
    """
    drawn = examples is None
    with stateless(model) as keeps_state:
        call = _traced(model, signature.sized(examples) if examples else _of_known_size(signature), wanted)
        inputs = examples or {port.name: _drawn(port) for port in call.signature.inputs}
        judged = _spaced(inputs, MOST_JUDGED)
        expected = _expected(call, judged, drawn=drawn)
        content = _converted(model, call, inputs, wanted)
    if drawn:
        warn("Note       No examples were given: the file was compared on drawn inputs, not on data.")
    if keeps_state and FUSED not in tflite.parse(content, "the file").op_counts:
        warn(
            "Note       stateful=True: only a fused LSTM keeps its state; the file begins anew at each call."
        )
    found = _compared(call, judged, expected, content)
    causes = causes_of_loss(call.signature.inputs, inputs) if wanted.kind == "int8" else []
    require_faithful(wanted.kind, found, wanted.tolerance, causes, drawn=drawn)
    agreements = [each.agreement for each in found if each.agreement is not None]
    return Exported(
        content,
        max_difference=max(each.max_difference for each in found),
        agreement=min(agreements, default=None),
    )


def _spaced(inputs: Arrays, most: int) -> dict[str, Array]:
    """At most so many examples, evenly spaced."""
    count = len(next(iter(inputs.values())))
    places = np.linspace(0, count - 1, min(most, count)).astype(np.int64)
    return {name: values[places] for name, values in inputs.items()}


def _compared(call: Traced, inputs: Arrays, expected: Arrays, content: bytes) -> list[Comparison]:
    names = list(call.endings)
    with redirect_stderr(io.StringIO()), backend.quiet():
        outputs = named_outputs(content, inputs, names)
    return [compared(name, expected[name], outputs[name], call.endings[name]) for name in names]


def _of_known_size(signature: Signature) -> Signature:
    """The same, refused where an input has any size."""
    for port in signature.inputs:
        which = "the model" if len(signature.inputs) == 1 else f"input {port.name} of the model"
        problem = f"{which} reads {port.shape}, any size where None stands"
        remedy = "Give inputs of the size that the file is to read."
        require(None not in port.shape, "examples", None, problem, remedy)
    return signature


def _drawn(port: Port) -> Array:
    """Inputs that suit the first layer: ids inside a vocabulary, or numbers."""
    draw, shape = np.random.default_rng(0), (DRAWN, *(size or 1 for size in port.shape))
    if port.vocabulary:
        return draw.integers(0, port.vocabulary, shape).astype(port.dtype)
    return (draw.normal(size=shape) if port.dtype == "float32" else np.zeros(shape)).astype(port.dtype)


def _traced(model: Any, signature: Signature, wanted: Wanted) -> Traced:
    try:
        with redirect_stderr(io.StringIO()):
            return traced(model, signature)
    except Exception as error:  # of any kind, as of layers of the user's own
        raise PruneflowError(_not_converted(signature, wanted.kind, error)) from error


def _expected(call: Traced, inputs: Arrays, *, drawn: bool) -> dict[str, Array]:
    try:
        return call.outputs(inputs)
    except Exception as error:  # as of an id that an embedding does not have
        shown = None if drawn else ", ".join(f"an array of {values.shape}" for values in inputs.values())
        which = "inputs that were drawn" if drawn else "them"
        problem = f"the model cannot be run on {which}: {said(error)}"
        raise ConfigError.of("examples", shown, problem, "Give inputs as the model reads them.") from error


def _converted(model: Any, call: Traced, inputs: Arrays, wanted: Wanted) -> bytes:
    try:
        with _in_arguments(), redirect_stderr(io.StringIO()):  # the converter's log, which is long
            if wanted.kind in CALIBRATED and _has_recurrence(model):
                _refuse_loop(wanted.kind, _encoded(model, call, inputs, Float(name="float")))
            count = len(next(iter(inputs.values())))
            return _encoded(model, call, inputs, wanted.option(count))
    except PruneflowError:
        raise
    except Exception as error:  # of any kind, as of layers of the user's own
        raise PruneflowError(_not_converted(call.signature, wanted.kind, error)) from error


def _encoded(model: Any, call: Traced, inputs: Arrays, how: Export) -> bytes:
    """Convert one input and one output as a run does, several by their names."""
    if call.signature.plain:
        return encode(how, model, _as_data(call.signature.inputs[0], inputs)).content
    proof = _spaced(inputs, PROOF_EXAMPLES)
    convert = partial(how.convert_named, model, call.function, inputs)
    run = partial(_side_by_side, examples=proof, names=list(call.endings))
    return encode_with(how, lambda sparse: convert(sparse=sparse), run).content


def _side_by_side(content: bytes, examples: Arrays, names: list[str]) -> FloatArray:
    """All outputs of an example in one row, (n, units)."""
    found = named_outputs(content, examples, names).values()
    count = len(next(iter(examples.values())))
    return np.concatenate([values.reshape(count, -1) for values in found], axis=1)


def _as_data(port: Port, inputs: Arrays) -> Data:
    """Inputs as data, which is what conversion and proof take."""
    x = inputs[port.name]
    x = x if x.dtype == np.int32 else x.astype(np.float32)
    spec = Spec(kind="tokens" if x.dtype == np.int32 else "numbers", shape=x.shape[1:], classes=1)
    part = Part(x, np.zeros(len(x), np.int64))
    return Data("examples", spec, part, part, part)


def _has_recurrence(model: Any) -> bool:
    return any(isinstance(part, backend.keras().layers.RNN) for part in model._flatten_layers())


def _refuse_loop(kind: str, content: bytes) -> None:
    """Refuse what the converter crashes on when it makes it of integers, and the process with it."""
    loops = "WHILE" in tflite.parse(content, "the file").op_counts
    problem = f"the file has a loop, as of a GRU, which the converter cannot make {kind}"
    require(not loops, "kind", kind, problem, 'Take "dynamic-range", which has int8 weights.')


def _not_converted(signature: Signature, kind: str, error: Exception) -> str:
    operations = lacking(error)
    problem = f"TFLite has no operation for {', '.join(operations)}" if operations else said(error)
    remedy = "Replace the layer that uses it."
    fixed = [port.batch for port in signature.inputs if port.batch not in (None, 1)]
    if fixed and not operations:
        remedy = f"Its batch is fixed to {fixed[0]}, and a TFLite file reads one example: build it with 1."
    return f"kind={kind}: the model cannot be converted: {problem}. {remedy}"
