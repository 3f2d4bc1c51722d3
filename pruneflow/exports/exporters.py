"""Options of the group ``export``: a stripped Keras network becomes a TFLite file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.spec import Data, Spec
from pruneflow.exports.sizes import COMPRESSIONS
from pruneflow.options import option, require, require_one_of
from pruneflow.runtime import backend

__all__ = ["ENCODINGS", "All", "DynamicRange", "Export", "Float", "Int8"]

ALIGNMENT = 16  # of a buffer in a .tflite file, bytes: schema.fbs demands it

ENCODINGS = ("dense", "sparse", "auto")

Samples = npt.NDArray[Any]


@dataclass(kw_only=True)
class Export:
    """The settings of every export.

    Attributes:
        name: Label in tables and in the file name.
        encoding: How weights lie in the file: ``"dense"`` (loads everywhere), ``"sparse"`` (zeros left out,
            as TFLite's sparse tensors) or ``"auto"`` (the smallest after gzip of those that load, run and
            give equal outputs).
        compression: What the file is sent as: ``"gzip"`` or ``"zstd"``.
        max_accuracy_drop: Most accuracy on the validation part that a file may lose against Keras, [0, 1].
    """

    kind: ClassVar[str]
    option_name: ClassVar[str]  # as chosen on the command line; set by @option

    name: str
    encoding: str = "dense"
    compression: str = "gzip"
    max_accuracy_drop: float = 1.0

    def __post_init__(self) -> None:
        """Refuse unknown encodings and compressions, and drops that are no share."""
        require_one_of("export.encoding", self.encoding, ENCODINGS)
        require_one_of("export.compression", self.compression, tuple(COMPRESSIONS))
        require(
            0 <= self.max_accuracy_drop <= 1,
            "export.max_accuracy_drop",
            self.max_accuracy_drop,
            "allowed are numbers from 0 to 1, as a share of the validation part",
            "0.02 is two points; 1 allows everything.",
        )

    def exports(self) -> Sequence[Export]:
        """The files to make, in the order of tables."""
        return [self]

    def samples(self, data: Data) -> Samples:
        """Training examples that the conversion looks at: (n, *shape) as they are stored, n may be 0."""
        return data.train.x[:0]

    def convert(self, model: Any, spec: Spec, samples: Samples, *, sparse: bool = False) -> bytes:
        """Convert ``model`` to TFLite with a fixed batch of 1.

        Args:
            model: A plain ``tf_keras.Model``.
            spec: What the model reads.
            samples: What ``samples`` returned.
            sparse: Whether tensors with many zeros are encoded as sparse ones.

        Returns:
            The bytes of a ``.tflite`` file.
        """
        tf = backend.tensorflow()
        signature = tf.TensorSpec((1, *spec.shape), spec.input_dtype, name="input")
        function = tf.function(lambda x: model(x, training=False)).get_concrete_function(signature)
        return self._converted(_converter(model, function), spec, samples, sparse=sparse)

    def convert_named(
        self, model: Any, function: Any, samples: Mapping[str, Samples], *, sparse: bool = False
    ) -> bytes:
        """Convert a model of several inputs or outputs, which the file has by name.

        Args:
            model: A plain ``tf_keras.Model``.
            function: What it does with one example: a concrete function of tensors by name.
            samples: Of each input, (n, *shape).
            sparse: Whether tensors with many zeros are encoded as sparse ones.

        Returns:
            The bytes of a ``.tflite`` file.
        """
        numbers = any(np.issubdtype(each.dtype, np.floating) for each in samples.values())
        spec = Spec(kind="numbers" if numbers else "tokens", shape=(), classes=0)
        return self._converted(_converter(model, function), spec, samples, sparse=sparse)

    def _converted(
        self, converter: Any, spec: Spec, samples: Samples | Mapping[str, Samples], *, sparse: bool
    ) -> bytes:
        self._configure(converter, spec, samples)
        if sparse:
            sparsity = backend.tensorflow().lite.Optimize.EXPERIMENTAL_SPARSITY
            converter.optimizations = [*converter.optimizations, sparsity]
        with backend.quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _without_leftovers(bytes(converter.convert()))

    def _configure(self, converter: Any, spec: Spec, samples: Samples | Mapping[str, Samples]) -> None:
        raise NotImplementedError


@option("export", "float")
@dataclass(kw_only=True)
class Float(Export):
    """float32 weights and arithmetic."""

    kind = "float"

    def _configure(self, converter: Any, spec: Spec, samples: Samples | Mapping[str, Samples]) -> None:
        converter.optimizations = []


@option("export", "dynamic-range")
@dataclass(kw_only=True)
class DynamicRange(Export):
    """int8 weights, float32 in and out; activations are quantized as they come."""

    kind = "dynamic-range"

    def _configure(self, converter: Any, spec: Spec, samples: Samples | Mapping[str, Samples]) -> None:
        converter.optimizations = [backend.tensorflow().lite.Optimize.DEFAULT]


@option("export", "int8")
@dataclass(kw_only=True)
class Int8(Export):
    """int8 weights and arithmetic; images go in and scores come out as int8, token ids as int32.

    Attributes:
        calibration_samples: Training examples from which the ranges of activations are read.
    """

    kind = "int8"

    calibration_samples: int

    def __post_init__(self) -> None:
        """Refuse calibration on nothing too."""
        super().__post_init__()
        _require_samples(self.calibration_samples)

    def _configure(self, converter: Any, spec: Spec, samples: Samples | Mapping[str, Samples]) -> None:
        tf = backend.tensorflow()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _one_by_one(spec, samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if spec.input_dtype == "float32":
            converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8

    def samples(self, data: Data) -> Samples:
        """Evenly spaced training examples."""
        count = min(self.calibration_samples, len(data.train))
        chosen = np.linspace(0, len(data.train) - 1, count).astype(np.int64)
        return np.asarray(data.train.x[chosen])


@option("export", "all")
@dataclass(kw_only=True)
class All(Export):
    """Float, dynamic-range and int8, side by side in one run and one table.

    Attributes:
        calibration_samples: Training examples from which int8 reads the ranges of activations.
    """

    calibration_samples: int

    def __post_init__(self) -> None:
        """Refuse calibration on nothing too."""
        super().__post_init__()
        _require_samples(self.calibration_samples)

    def exports(self) -> Sequence[Export]:
        """One of each kind, with the settings of this one."""
        common: dict[str, Any] = {
            "encoding": self.encoding,
            "compression": self.compression,
            "max_accuracy_drop": self.max_accuracy_drop,
        }
        return [
            Float(name="float", **common),
            DynamicRange(name="dynamic-range", **common),
            Int8(name="int8", calibration_samples=self.calibration_samples, **common),
        ]


def _require_samples(count: int) -> None:
    require(
        count >= 1,
        "export.calibration_samples",
        count,
        "allowed are whole numbers from 1",
        "A few hundred are usual.",
    )


def _one_by_one(spec: Spec, samples: Samples | Mapping[str, Samples]) -> Iterator[Any]:
    """Examples as the converter runs them: those of several inputs by name."""
    if isinstance(samples, Mapping):
        for index in range(len(next(iter(samples.values())))):
            yield {name: values[index : index + 1] for name, values in samples.items()}
        return
    for example in spec.model_input(samples):
        yield [example[np.newaxis]]


def _converter(model: Any, function: Any) -> Any:
    """A converter for ``model`` with a batch of 1: an LSTM becomes one fused op only with a fixed batch.

    It is given the variables without the model, which it would save layer by layer first: the same file in up
    to ten times the time.
    """
    tf = backend.tensorflow()
    variables = tf.Module()
    variables.kept = list(model.variables)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], variables)
    converter.experimental_new_quantizer = not _has_lstm(model)
    return converter


def _has_lstm(model: Any) -> bool:
    """Return whether int8 needs the converter's older quantizer.

    The newer one of TensorFlow 2.21 gets a fused LSTM wrong. Where the outputs of two are joined, it declares
    another scale for one of them than the operation writes; where outputs are small, they come out as noise.
    Probabilities were off by up to 0.3, with the older one by less than 0.01.
    """
    return any(isinstance(layer, backend.keras().layers.LSTM) for layer in model._flatten_layers())


def _without_leftovers(content: bytes) -> bytes:
    """Empty the buffers that nothing in the file refers to, unless all they hold is zeros.

    The converter of TensorFlow 2.21 leaves one for each state of a fused LSTM that it encodes as sparse,
    filled with a number that counts on through all conversions of a process: equal networks would give
    unequal files.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    used = {tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors}
    used |= {metadata.buffer for metadata in model.metadata or ()}
    left = [each for index, each in enumerate(model.buffers) if index not in used and each.data is not None]
    if not any(np.any(buffer.data) for buffer in left):
        return content
    for buffer in left:
        buffer.data = None
    return _packed(model, len(content))


def _packed(model: Any, size: int) -> bytes:
    import flatbuffers  # type: ignore[import-untyped]

    class Builder(flatbuffers.Builder):  # type: ignore[misc]
        """Aligns buffers, which the generated code does not."""

        def CreateNumpyVector(self, numbers: npt.NDArray[Any]) -> Any:  # noqa: N802
            if numbers.dtype == np.uint8:
                self.Prep(ALIGNMENT, numbers.nbytes)
            return super().CreateNumpyVector(numbers)

    builder = Builder(size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
