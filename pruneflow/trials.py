"""Whether a network that the user brings can be exported: tried before it is trained for an hour."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from contextlib import redirect_stderr
from dataclasses import replace
from typing import Any

import numpy as np

from pruneflow import backend, tflite
from pruneflow.data import Data, Part, Spec
from pruneflow.errors import ConfigError
from pruneflow.exporters import Export, Float
from pruneflow.scoring import tflite_outputs
from pruneflow.sparsity.kernels import leaves

__all__ = ["try_exports"]

EXAMPLES = 4  # that are converted with and run
# Largest difference between Keras and a float file, relative to the largest output where that is above 1.
TOLERANCE = 1e-3
NO_OPERATION = re.compile(r"^\s*tf\.(\w+)\(|'tf\.(\w+)' op is neither", re.MULTILINE)


def try_exports(export: Export, model: Any, data: Data) -> None:
    """Convert a network as it is before training, and run the file.

    Args:
        export: The option that is chosen; dynamic-range goes where float goes.
        model: A built ``tf_keras.Model`` in float32.
        data: A few training examples are taken.

    Raises:
        ConfigError: naming the layers and the operations at fault where they are known.
    """
    trial = _Trial(export.option_name, model, data)
    trial.run_as_float()
    for each in export.exports():
        if each.kind == "int8":
            trial.run_as_int8(each)


class _Trial:
    """One network and a few examples."""

    def __init__(self, option: str, model: Any, data: Data) -> None:
        self.option, self.model, self.data = option, model, data
        places = np.linspace(0, len(data.train) - 1, min(EXAMPLES, len(data.train))).astype(np.int64)
        self.examples: Part = replace(data.train, x=data.train.x[places], y=data.train.y[places])
        self.loops = False

    def run_as_float(self) -> None:
        """Convert to float, run, compare with Keras."""
        spec = self.data.spec
        content = self._converted(Float(name="float"))
        self.loops = "WHILE" in tflite.parse(content, "the file").op_counts
        keras = np.asarray(self.model(spec.model_input(self.examples.x[:]), training=False))
        difference = float(np.abs(keras - self._outputs(content, "float")).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(keras).max())):
            raise self._refused(
                f"the file that it is converted to gives other outputs than Keras, by up to {difference:.3g}",
                "Layers that draw random numbers, or remember what they saw, cannot be exported.",
            )

    def run_as_int8(self, export: Export) -> None:
        """Convert to int8 and run; what comes out of so few examples means nothing."""
        if self.loops:
            raise self._refused(
                "the file has a loop, as of a GRU, and the converter crashes when it makes one int8",
                "Take export=dynamic-range, which has int8 weights.",
            )
        self._outputs(self._converted(export), "int8")

    def _converted(self, export: Export) -> bytes:
        spec, samples = self.data.spec, np.asarray(self.examples.x[:])
        with redirect_stderr(io.StringIO()):  # the converter's log, which is long
            try:
                return export.convert(self.model, spec, samples)
            except Exception as error:  # of any kind, as of the network's own layers
                raise self._not_converted(error, export.kind) from error

    def _outputs(self, content: bytes, kind: str) -> Any:
        with redirect_stderr(io.StringIO()):
            try:
                with backend.quiet():
                    return tflite_outputs(content, self.examples, self.data.spec)
            except (RuntimeError, ValueError) as error:
                problem = f"the {kind} file that it is converted to does not run: {_said(error)}"
                raise self._refused(problem, "Replace what TFLite cannot run.") from error

    def _not_converted(self, error: Exception, kind: str) -> ConfigError:
        operations = sorted({a or b for a, b in NO_OPERATION.findall(str(error))})
        if not operations:
            return self._refused(f"it cannot be converted to {kind}: {_said(error)}", "Change its layers.")
        layers = _layers_with(self.model, self.data.spec, operations)
        where = f", in {', '.join(layers)}" if layers else ""
        return self._refused(
            f"TFLite has no operation for {', '.join(operations)}{where}", "Replace what uses it."
        )

    def _refused(self, problem: str, remedy: str) -> ConfigError:
        return ConfigError.of("export", self.option, f"the network cannot be exported: {problem}", remedy)


def _layers_with(model: Any, spec: Spec, operations: Iterable[str]) -> list[str]:
    """Names of the layers in which TensorFlow has one of the operations."""
    tf = backend.tensorflow()
    signature = tf.TensorSpec((1, *spec.shape), spec.input_dtype)
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(signature).graph
    places = [f"/{op.name}/" for op in graph.get_operations() if op.type in set(operations)]
    return [name for name, _ in leaves(model) if any(f"/{name}/" in place for place in places)]


def _said(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
