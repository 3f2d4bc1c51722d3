"""Options of the group ``export`` that make one file by TensorFlow's converter."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneflow.datasets.spec import Data, Spec
from pruneflow.exports.base import Chosen, Export, Samples, has_lstm
from pruneflow.exports.mixed import left_out, outputs_of, restored
from pruneflow.options import option, require, require_number, whole_from
from pruneflow.runtime import backend


@option("export", "float")
@dataclass(kw_only=True)
class Float(Export):
    """float32 weights and arithmetic."""

    kind = "float"

    def _configure(self, converter: Any, spec: Spec, samples: Samples | Mapping[str, Samples]) -> None:
        converter.optimizations = []


@option("export", "float16")
@dataclass(kw_only=True)
class Float16(Export):
    """float16 weights, float32 arithmetic."""

    kind = "float16"

    def _configure(self, converter: Any, spec: Spec, samples: Samples | Mapping[str, Samples]) -> None:
        tf = backend.tensorflow()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]


@option("export", "dynamic-range")
@dataclass(kw_only=True)
class DynamicRange(Chosen):
    """int8 weights, float32 in and out; activations are quantized as they come."""

    kind = "dynamic-range"

    def _configure(self, converter: Any, spec: Spec, samples: Samples | Mapping[str, Samples]) -> None:
        converter.optimizations = [backend.tensorflow().lite.Optimize.DEFAULT]

    def _made(self, converter: Any, untouched: Any, model: Any) -> bytes:
        content = super()._made(converter, untouched, model)
        if self.takes_all:
            return content
        original = bytes(untouched.convert())
        return restored(content, original, left_out(original, model, self.layers))


@dataclass(kw_only=True)
class Calibrated(Export):
    """The setting of an export whose ranges of activations are read from training examples."""

    calibration_samples: int

    def __post_init__(self) -> None:
        super().__post_init__()
        count = self.calibration_samples
        require_number("export.calibration_samples", count, whole_from(1), "A few hundred are usual.")

    def samples(self, data: Data) -> Samples:
        """At most so many training examples, evenly spaced."""
        count = min(self.calibration_samples, len(data.train))
        return np.asarray(data.train.x[np.linspace(0, len(data.train) - 1, count).astype(np.int64)])


@option("export", "int8")
@dataclass(kw_only=True)
class Int8(Calibrated, Chosen):
    """int8 weights and arithmetic; images go in and scores come out as int8, token ids as int32."""

    kind = "int8"

    def _configure(self, converter: Any, spec: Spec, samples: Samples | Mapping[str, Samples]) -> None:
        tf = backend.tensorflow()
        _calibrate(converter, tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.int8, spec, samples)

    def _made(self, converter: Any, untouched: Any, model: Any) -> bytes:
        if self.takes_all:
            return super()._made(converter, untouched, model)
        original = bytes(untouched.convert())
        others = outputs_of(original, original, left_out(original, model, self.layers))
        return _quantized_but(converter, list(others))

    def check_layers(self, model: Any) -> None:
        """Refuse to choose layers of a network with an LSTM too."""
        super().check_layers(model)
        problem = "the quantizer that leaves layers out gets the LSTM of TFLite wrong"
        remedy = "Take export=dynamic-range, or all layers."
        require(self.takes_all or not has_lstm(model), "export.layers", self.layers, problem, remedy)


@option("export", "int16x8")
@dataclass(kw_only=True)
class Int16x8(Calibrated):
    """int8 weights, int16 arithmetic; images go in and scores come out as int16, token ids as int32."""

    kind = "int16x8"
    encodings = ("dense",)
    must_be_tried = True  # the converter lacks operations, such as elu

    def _configure(self, converter: Any, spec: Spec, samples: Samples | Mapping[str, Samples]) -> None:
        tf = backend.tensorflow()
        kernels_of = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        _calibrate(converter, kernels_of, tf.int16, spec, samples)


def _calibrate(
    converter: Any, operations: Any, dtype: Any, spec: Spec, samples: Samples | Mapping[str, Samples]
) -> None:
    """Have all arithmetic in integers; without samples the model has its ranges."""
    converter.optimizations = [backend.tensorflow().lite.Optimize.DEFAULT]
    if len(samples):
        converter.representative_dataset = lambda: _one_by_one(spec, samples)
        converter.target_spec.supported_ops = [operations]  # which the converter refuses without samples
    if spec.input_dtype == "float32":
        converter.inference_input_type = dtype
    converter.inference_output_type = dtype


def _quantized_but(converter: Any, operations: list[str]) -> bytes:
    tools = backend.tensorflow().lite.experimental
    options = tools.QuantizationDebugOptions(denylisted_nodes=operations, fully_quantize=True)
    examples = converter.representative_dataset
    debugger = tools.QuantizationDebugger(converter=converter, debug_dataset=examples, debug_options=options)
    return bytes(debugger.get_nondebug_quantized_model())


def _one_by_one(spec: Spec, samples: Samples | Mapping[str, Samples]) -> Iterator[Any]:
    """Examples as the converter runs them: those of several inputs by name."""
    if isinstance(samples, Mapping):
        for index in range(len(next(iter(samples.values())))):
            yield {name: values[index : index + 1] for name, values in samples.items()}
        return
    for example in spec.model_input(samples):
        yield [example[np.newaxis]]
