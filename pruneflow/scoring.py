"""Evaluation: Keras and TFLite on the same examples, side by side."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
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
    "keras_outcome",
    "parity",
    "score",
    "tflite_outcome",
    "tflite_outputs",
]

FloatArray = npt.NDArray[np.floating[Any]]

CHUNK = 100  # examples an interpreter takes at a time


@dataclass(frozen=True)
class Scores:
    """How well a network does on the examples of a part.

    Attributes:
        loss: Mean cross-entropy in nats, or mean squared error, whatever was trained with.
        metrics: By name, those of the task, its headline first, then those that were asked for.
    """

    loss: float
    metrics: dict[str, float]

    @property
    def headline(self) -> float:
        """The metric that sums up how good it is; the higher the better, at most 1."""
        return next(iter(self.metrics.values()))


def score(task: Task, outcome: FloatArray, y: npt.NDArray[Any], names: Sequence[str] = ()) -> Scores:
    """Loss and metrics.

    Args:
        task: What the network is asked for.
        outcome: What it says, as `Task.outcome` gives it.
        y: Of the part.
        names: Metrics beside the headline, of `pruneflow.metrics.METRICS`.

    >>> from pruneflow.tasks import Classification
    >>> task = Classification(units=2, from_logits=False)
    >>> score(task, np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([1, 1]))
    Scores(loss=0.34657359027997264, metrics={'accuracy': 0.5})
    """
    truth = task.truth(y)
    metrics = task.metrics(outcome, truth)
    if names:
        from pruneflow.keras_metrics import measured

        metrics |= {name: measured(task, name, outcome, truth) for name in names}
    return Scores(task.loss(outcome, truth), metrics)


@dataclass(frozen=True)
class Parity:
    """How far two networks are from each other on the same examples.

    Attributes:
        disagreements: Examples that they answer differently: another most probable class, or a number that
            is further off than `pruneflow.tasks.APART` of a standard deviation.
        agreement: Share of the others, [0, 1].
        max_difference: Largest difference in probability, or between two predicted numbers.
    """

    disagreements: int
    agreement: float
    max_difference: float


def parity(task: Task, a: FloatArray, b: FloatArray) -> Parity:
    """Compare two networks.

    Args:
        task: What both are asked for.
        a: What one says, as `Task.outcome` gives it.
        b: What the other says of the same examples.
    """
    other = task.differ(a, b)
    return Parity(int(other.sum()), float(1 - other.mean()), float(np.abs(a - b).max()))


def keras_outcome(model: Any, part: Part, spec: Spec, *, description: str) -> FloatArray:
    """What a Keras network says: probabilities, or predicted numbers.

    Returns:
        (n, classes) or (n, targets).
    """
    from pruneflow.batches import evaluation_batches

    outputs = []
    predict = backend.tensorflow().function(lambda x: model(x, training=False), reduce_retracing=True)
    with bar(description, total=len(part)) as advance:
        for x, _ in evaluation_batches(part, spec):
            outputs.append(predict(x).numpy())
            advance(len(outputs[-1]))
    return task_of(model, spec).outcome(np.concatenate(outputs))


def tflite_outcome(file: Path, part: Part, spec: Spec, *, task: Task, threads: int) -> FloatArray:
    """What a TFLite file says, one example at a time, state reset before each.

    Args:
        file: A ``.tflite`` file with one input of batch 1 and one output.
        part: The examples.
        spec: What they are.
        task: What the outputs mean.
        threads: Interpreters that run side by side.

    Returns:
        (n, classes) probabilities, or (n, targets) predicted numbers.
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
    return task.outcome(outputs)


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
