"""Evaluation: Keras and TFLite on the same examples, side by side."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow import backend
from pruneflow.data import Part, Spec
from pruneflow.signals import undisturbed
from pruneflow.tasks import Task, task_of
from pruneflow.terminal import bar

__all__ = [
    "Parity",
    "Scores",
    "keras_probabilities",
    "parity",
    "score",
    "tflite_outputs",
    "tflite_probabilities",
]

FloatArray = npt.NDArray[np.floating[Any]]

CHUNK = 100  # examples an interpreter takes at a time


@dataclass(frozen=True)
class Scores:
    """How well probabilities fit labels.

    Attributes:
        accuracy: Share of examples whose most probable class is the label, [0, 1].
        loss: Mean cross-entropy, nats.
    """

    accuracy: float
    loss: float


def score(probabilities: FloatArray, labels: npt.NDArray[np.int64]) -> Scores:
    """Accuracy and cross-entropy.

    Args:
        probabilities: (n, classes), rows sum to 1.
        labels: (n,).

    >>> score(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([1, 1]))
    Scores(accuracy=0.5, loss=0.34657359027997264)
    """
    right = probabilities.argmax(axis=1) == labels
    of_label = np.clip(probabilities[np.arange(len(labels)), labels], 1e-7, 1.0)
    return Scores(float(right.mean()), float(-np.log(of_label).mean()))


@dataclass(frozen=True)
class Parity:
    """How far two networks are from each other on the same examples.

    Attributes:
        disagreements: Examples whose most probable class differs.
        agreement: Share of the others, [0, 1].
        max_difference: Largest difference in probability.
    """

    disagreements: int
    agreement: float
    max_difference: float


def parity(a: FloatArray, b: FloatArray) -> Parity:
    """Compare two networks.

    Args:
        a: (n, classes) probabilities.
        b: (n, classes) probabilities of the same examples.
    """
    other = a.argmax(axis=1) != b.argmax(axis=1)
    return Parity(int(other.sum()), float(1 - other.mean()), float(np.abs(a - b).max()))


def keras_probabilities(model: Any, part: Part, spec: Spec, *, description: str) -> FloatArray:
    """Probabilities that a Keras network gives.

    Returns:
        (n, classes).
    """
    from pruneflow.batches import evaluation_batches

    outputs = []
    predict = backend.tensorflow().function(lambda x: model(x, training=False), reduce_retracing=True)
    with bar(description, total=len(part)) as advance:
        for x, _ in evaluation_batches(part, spec):
            outputs.append(predict(x).numpy())
            advance(len(outputs[-1]))
    return task_of(model).probabilities(np.concatenate(outputs))


def tflite_probabilities(file: Path, part: Part, spec: Spec, *, task: Task, threads: int) -> FloatArray:
    """Probabilities that a TFLite file gives, one example at a time, state reset before each.

    Args:
        file: A ``.tflite`` file with one input of batch 1 and one output.
        part: The examples.
        spec: What they are.
        task: What the outputs mean.
        threads: Interpreters that run side by side.

    Returns:
        (n, classes).
    """
    content = file.read_bytes()
    outputs = np.empty((len(part), task.units), np.float32)
    pool: queue.SimpleQueue[_Runner] = queue.SimpleQueue()
    with backend.quiet(), undisturbed():
        for _ in range(threads):
            pool.put(_Runner(content))
    stop = threading.Event()

    def run(start: int) -> int:
        if stop.is_set():
            return 0
        runner = pool.get()
        try:
            chunk = spec.model_input(part.x[start : start + CHUNK])
            outputs[start : start + CHUNK] = runner.outputs(chunk)
        finally:
            pool.put(runner)
        return len(chunk)

    with bar(f"Evaluating {file.name}", total=len(part)) as advance, ThreadPoolExecutor(threads) as executor:
        try:
            for done in executor.map(run, range(0, len(part), CHUNK)):
                advance(done)
        finally:
            stop.set()
    return task.probabilities(outputs)


def tflite_outputs(content: bytes, part: Part, spec: Spec) -> FloatArray:
    """Outputs of a TFLite file as it gives them, dequantized, one example at a time.

    Args:
        content: The bytes of a ``.tflite`` file with one input of batch 1 and one output.
        part: The examples.
        spec: What they are.

    Returns:
        (n, units) float32.

    Raises:
        RuntimeError: if LiteRT cannot run the file.
        ValueError: if LiteRT cannot load it.
    """
    with undisturbed():
        return _Runner(content).outputs(spec.model_input(part.x[:]))


class _Runner:
    """One interpreter, with the scales of its input and output."""

    def __init__(self, content: bytes) -> None:
        self.interpreter = backend.litert().Interpreter(model_content=content, num_threads=1)
        self.input = self.interpreter.get_input_details()[0]
        if self.input["shape"][0] > 1:  # a file of another origin, made for batches
            self.interpreter.resize_tensor_input(self.input["index"], [1, *self.input["shape"][1:]])
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]
        self.output = self.interpreter.get_output_details()[0]

    def outputs(self, examples: npt.NDArray[Any]) -> FloatArray:
        """Outputs for (n, *shape) examples, (n, units) float32."""
        rows = []
        for example in _quantized(examples, self.input):
            # A fused LSTM keeps its state between invocations.
            self.interpreter.reset_all_variables()
            self.interpreter.set_tensor(self.input["index"], example.reshape(self.input["shape"]))
            self.interpreter.invoke()
            rows.append(self.interpreter.get_tensor(self.output["index"]).reshape(-1))
        return _dequantized(np.stack(rows), self.output)


def _quantized(values: npt.NDArray[Any], tensor: dict[str, Any]) -> npt.NDArray[Any]:
    """Turn numbers into what an input takes; whole numbers without a scale are pixels from 0 to 255."""
    scale, zero_point = tensor["quantization"]
    dtype = np.dtype(tensor["dtype"])
    if not np.issubdtype(values.dtype, np.floating) or np.issubdtype(dtype, np.floating):
        return np.asarray(values, dtype)
    limits = np.iinfo(dtype)
    levels = np.clip(np.round(values / (scale or 1 / 255)) + zero_point, limits.min, limits.max)
    return np.asarray(levels, dtype)


def _dequantized(values: npt.NDArray[Any], tensor: dict[str, Any]) -> FloatArray:
    scale, zero_point = tensor["quantization"]
    if not scale:
        return np.asarray(values, np.float32)
    real: FloatArray = (values.astype(np.float32) - zero_point) * np.float32(scale)
    return real
