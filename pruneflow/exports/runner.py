"""Answers of TFLite files to examples: files of this run run here, others in their own process."""

from __future__ import annotations

import importlib.metadata
import math
import queue
import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.errors import PruneflowError
from pruneflow.exports import decode
from pruneflow.exports.micro_interpreter import MicroInterpreter
from pruneflow.models.tasks import Task
from pruneflow.runtime import backend, child, memory
from pruneflow.runtime.signals import undisturbed
from pruneflow.runtime.terminal import bar

FloatArray = npt.NDArray[np.floating[Any]]

CHUNK = 100  # examples an interpreter takes at a time
SILENT_S = 60  # that a file of whatever origin may take to load, or to run one example
EXAMPLES = "examples"  # the file that a child reads them from


def tflite_outcome(  # noqa: PLR0913 - a file, its examples, and how it is run
    file: Path,
    part: Part,
    spec: Spec,
    *,
    task: Task,
    threads: int,
    runner: Callable[[bytes], Runner] | None = None,
) -> FloatArray:
    """Run a TFLite file of pruneflow's on one example at a time, its state reset before each.

    Args:
        file: A ``.tflite`` file with one input of batch 1 and one output.
        runner: Makes one, of the bytes of the file; None takes `Runner`.

    Returns:
        (n, classes) probabilities, or (n, targets) predicted numbers.
    """
    content = file.read_bytes()
    with backend.quiet(), undisturbed():
        runners = [(runner or Runner)(content) for _ in range(_enough(threads, part.x, CHUNK))]
    chunks = _side_by_side(runners, part.x, spec, CHUNK)
    with bar(f"Evaluating {file.name}", total=len(part)) as advance, closing(chunks):
        outputs = []
        for rows in chunks:
            outputs.append(rows)
            advance(len(rows))
    return task.outcome(np.concatenate(outputs))


def tflite_outputs(
    content: bytes, part: Part, spec: Spec, runner: Callable[[bytes], Runner] | None = None
) -> FloatArray:
    """Outputs of a TFLite file as it gives them, dequantized, one example at a time.

    Args:
        content: The bytes of a ``.tflite`` file that pruneflow made.
        runner: Makes an interpreter of the bytes; None takes `Runner`.

    Returns:
        (n, units) float32.

    Raises:
        RuntimeError: if the interpreter cannot run the file.
        ValueError: if LiteRT cannot load it.
    """
    with undisturbed():
        return (runner or Runner)(content).outputs(spec.model_input(part.x[:]))


def foreign_outputs(file: Path, data: Data, *, units: int, threads: int, description: str = "") -> FloatArray:
    """Outputs of a TFLite file of whatever origin, which runs in a process of its own.

    Args:
        file: With one input and one output.
        data: Its test part is what the file is run on.
        description: What a progress bar says; empty for none.

    Returns:
        (n, units) float32.

    Raises:
        PruneflowError: if LiteRT cannot load or run the file, crashes, or gives no answer in `SILENT_S`
            seconds.
    """
    part = data.test
    shown = bar(description, total=len(part)) if description else nullcontext(lambda count: None)
    with shown as advance:
        outcome = child.values_of(
            _foreign,
            *(str(file), str(part.x.dtype), part.x.shape, data.spec, threads),
            silent_s=SILENT_S,
            prepare=partial(_save, part),
            watch=lambda rows: isinstance(rows, str) or advance(len(rows)),
        )
    outputs = [rows for rows in outcome.values if not isinstance(rows, str)]
    odd = next((rows.shape[1] for rows in outputs if rows.shape[1] != units), units)
    problem = next((in_words(said) for said in outcome.values if isinstance(said, str)), outcome.problem)
    if odd != units:
        problem = problem or f"it gives {odd} outputs for an example, where it says {units}"
    if problem:
        version = importlib.metadata.version("ai-edge-litert")
        raise PruneflowError(
            f"{file} does not run in LiteRT {version}: {problem}. Copy it again if it is damaged, "
            "convert it with operations that LiteRT has, or evaluate it where it runs."
        )
    return np.concatenate(outputs)


def _save(part: Part, folder: Path) -> None:
    """Write examples out for a child, chunk by chunk, since they may be more than memory holds."""
    try:
        with (folder / EXAMPLES).open("wb") as file:
            for start in range(0, len(part), CHUNK):
                file.write(np.ascontiguousarray(part.x[start : start + CHUNK]).tobytes())
    except OSError as error:
        raise PruneflowError(
            f"{folder} cannot be written: {error.strerror}. Make room there, or set TMPDIR to another folder."
        ) from error


def _foreign(file: str, dtype: str, shape: tuple[int, ...], spec: Spec, threads: int) -> Iterator[Any]:
    """Run a file in a child.

    Yields:
        Outputs, chunk after chunk, and empty ones as a sign of life; last what is wrong with the file, if
        anything.
    """
    memory.hold()
    try:
        x = np.memmap(Path(tempfile.gettempdir(), EXAMPLES), dtype, "r", shape=shape)
        content = Path(file).read_bytes()
        runners = [Runner(content)]
        start = time.monotonic()
        alive = runners[0].outputs(spec.model_input(x[:1]))[:0]
        chunk = min(CHUNK, math.ceil(1 / max(1e-6, time.monotonic() - start)))  # about a second at most
        for _ in range(1, _enough(threads, x, chunk)):
            yield alive
            runners.append(Runner(content))
        yield from _side_by_side(runners, x, spec, chunk)
    except Exception as error:  # of any kind: what a damaged file asks of NumPy and LiteRT has no limits
        yield str(error) or type(error).__name__


def in_words(error: str) -> str:
    """Return a message of LiteRT's on one line, without a final stop.

    >>> in_words("X failed.\\nThe node #1Node number 5 failed to prepare.")
    'X failed. The node #1. Node number 5 failed to prepare'
    """
    return re.sub(r"\.?(?=Node number )|\.(?=[A-Z])", ". ", " ".join(error.split())).rstrip(".")


class Runner:
    """One interpreter, with the scales of its input and output.

    Args:
        micro: Whether TFLite Micro runs it, and not LiteRT; a file with DECODE runs there alone.
    """

    def __init__(self, content: bytes, *, micro: bool = False) -> None:
        if micro or decode.OPERATION.encode() in content:
            self.interpreter: Any = MicroInterpreter(content)
        else:
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
        for example in quantized(examples, self.input):
            # A fused LSTM keeps its state between invocations.
            self.interpreter.reset_all_variables()
            self.interpreter.set_tensor(self.input["index"], example.reshape(self.input["shape"]))
            self.interpreter.invoke()
            rows.append(self.interpreter.get_tensor(self.output["index"]).reshape(-1))
        return dequantized(np.stack(rows), self.output)


def _side_by_side(
    runners: Sequence[Runner], x: Any, spec: Spec, chunk: int
) -> Generator[FloatArray, None, None]:
    """Outputs of chunks in order; each is taken by an interpreter that is free."""
    free: queue.SimpleQueue[Runner] = queue.SimpleQueue()
    for runner in runners:
        free.put(runner)

    def run(start: int) -> FloatArray:
        runner = free.get()
        try:
            return runner.outputs(spec.model_input(x[start : start + chunk]))
        finally:
            free.put(runner)

    with ThreadPoolExecutor(len(runners)) as executor:
        yield from executor.map(run, range(0, len(x), chunk))  # when left early, it cancels the rest


def _enough(threads: int, x: Any, chunk: int) -> int:
    """Interpreters of which each has a chunk to run."""
    return min(threads, math.ceil(len(x) / chunk))


def quantized(values: npt.NDArray[Any], tensor: dict[str, Any]) -> npt.NDArray[Any]:
    """Turn numbers into what an input takes; one without a scale takes them rounded."""
    scale, zero_point = tensor["quantization"]
    dtype = np.dtype(tensor["dtype"])
    if not np.issubdtype(values.dtype, np.floating) or np.issubdtype(dtype, np.floating):
        return np.asarray(values, dtype)
    limits = np.iinfo(dtype)
    levels = np.clip(np.round(values / (scale or 1)) + zero_point, limits.min, limits.max)
    return np.asarray(levels, dtype)


def dequantized(values: npt.NDArray[Any], tensor: dict[str, Any]) -> FloatArray:
    """Turn what an output gives into numbers."""
    scale, zero_point = tensor["quantization"]
    if not scale:
        return np.asarray(values, np.float32)
    real: FloatArray = (values.astype(np.float32) - zero_point) * np.float32(scale)
    return real
