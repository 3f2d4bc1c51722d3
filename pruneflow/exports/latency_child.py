"""Timing TFLite files in turn, and finding out how much memory one takes, in a process of its own.

TensorFlow is not loaded there, so that nothing else computes, and no other memory counts.
"""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.runtime import backend, memory

PASSES, LEAST_PASSES = (
    4,
    2,
)  # through all files, each of them a block: what is planned, and what slow files get
MOST_TIMES = 1001  # of a file, in an answer
MEMORY_INVOCATIONS = 3

Run = Callable[[], int]


@dataclass(frozen=True)
class Job:
    """The work of the process that measures.

    Attributes:
        task: ``"time"`` all the files, or find the ``"memory"`` that the first one takes.
        turn: Which of several such processes this is: from one to the next, files change places.
        seconds: Time for timing, all files together.
        warmup: Most invocations of each file before it, within its share of this time again.
        token_bound: Integer inputs are drawn from 0 to this number, which is left out.
    """

    task: str
    files: Sequence[str]
    turn: int
    seconds: float
    warmup: int
    threads: int
    token_bound: int


def order(files: int, turn: int) -> list[int]:
    """The order in which files run: rotated every second turn, and each second one reversed.

    >>> [order(3, turn) for turn in range(4)]
    [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]]
    """
    rotated = [(index + turn // 2) % files for index in range(files)]
    return rotated[::-1] if turn % 2 else rotated


def interleaved(
    runs: Sequence[Run], *, seconds: float, turn: int = 0, clock_ns: Callable[[], int] = time.perf_counter_ns
) -> list[array[int]]:
    """Time files in passes, in each of which every file has a short block.

    What drifts, such as the clock of the processor, then meets all files alike. There are at least
    `LEAST_PASSES`, however long they take.

    Args:
        runs: For each file, what invokes it once and returns the nanoseconds that took.
        seconds: When no further pass is begun that would end later.
        turn: Which `order` the first pass has.

    Returns:
        For each file, the nanoseconds of each invocation.
    """
    block_ns = seconds * 1e9 / (PASSES * len(runs))
    times = [array("q") for _ in runs]
    start, done = clock_ns(), 0
    while done < LEAST_PASSES or (clock_ns() - start) * (done + 1) / done <= seconds * 1e9:
        for index in order(len(runs), turn + done):
            times[index].extend(_block(runs[index], block_ns, clock_ns))
        done += 1
    return times


def _block(run: Run, block_ns: float, clock_ns: Callable[[], int]) -> array[int]:
    stop = clock_ns() + block_ns
    run()  # the file before has left its own weights in the caches
    times = array("q", [run()])
    while clock_ns() < stop:
        times.append(run())
    return times


def thinned(times: Sequence[int]) -> list[float]:
    """Times, or where they are many, `MOST_TIMES` quantiles of them."""
    if len(times) <= MOST_TIMES:
        return list(times)
    return [float(value) for value in np.quantile(times, np.linspace(0, 1, MOST_TIMES))]


def summary(rounds: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Milliseconds, from the nanoseconds of invocations in each round.

    >>> summary([[1_000_000, 3_000_000], [4_000_000]])["round_medians_ms"]
    (2.0, 4.0)
    """
    p10, median, p90 = np.percentile(np.concatenate(rounds), [10, 50, 90]) / 1e6
    return {
        "median_ms": float(median),
        "p10_ms": float(p10),
        "p90_ms": float(p90),
        "rounds": len(rounds),
        "round_medians_ms": tuple(float(np.median(times)) / 1e6 for times in rounds),
    }


def runner(file: str, job: Job) -> Run:
    """Load a file and fill its inputs; return what invokes it once and returns the nanoseconds that took."""
    where: dict[str, Any] = {"model_path": file}
    if file.encode(errors="ignore").decode() != file:  # a name that is no UTF-8, which LiteRT does not take
        where = {"model_content": Path(file).read_bytes()}
    interpreter = backend.litert().Interpreter(**where, num_threads=job.threads)
    interpreter.allocate_tensors()
    for tensor in interpreter.get_input_details():
        values = filling(tuple(tensor["shape"]), np.dtype(tensor["dtype"]), job.token_bound)
        interpreter.set_tensor(tensor["index"], values)

    def run() -> int:
        interpreter.reset_all_variables()  # a fused LSTM keeps its state between invocations
        start = time.perf_counter_ns()
        interpreter.invoke()
        return time.perf_counter_ns() - start

    return run


def filling(shape: tuple[int, ...], dtype: np.dtype[Any], token_bound: int) -> npt.NDArray[Any]:
    """The same pseudo-random values each time: floats in [0, 1), token ids below the bound, any byte."""
    generator = np.random.default_rng(0)
    if dtype in (np.int32, np.int64):
        return generator.integers(0, token_bound, shape).astype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    if dtype.kind not in "fb":
        raise ValueError(f"it has an input of type {dtype}, where numbers are expected")
    return (generator.random(shape) if dtype.kind == "f" else generator.random(shape) < 0.5).astype(dtype)


def done(job: Job) -> Iterator[dict[str, Any]]:
    """Do a job in a child.

    Yields:
        Which file it is ``at``, and at the end an ``answer``, or an ``error`` of LiteRT or NumPy.
    """
    memory.hold()
    gc.disable()  # it would run in the middle of an invocation
    try:
        yield from {"time": _time, "memory": _memory}[job.task](job)
    except Exception as error:  # of any kind: what a damaged file asks of NumPy and LiteRT has no limits
        yield {"error": str(error) or type(error).__name__}


def _time(job: Job) -> Iterator[dict[str, Any]]:
    """Times of each file, and the seconds that this took."""
    runs: dict[int, Run] = {}
    share_ns = job.seconds * 1e9 / len(job.files)
    for index in order(len(job.files), job.turn):
        yield {"at": job.files[index]}
        runs[index] = runner(job.files[index], job)
        _warm_up(runs[index], job.warmup, share_ns)
    yield {"at": None}
    start = time.perf_counter()
    times = interleaved([run for _, run in sorted(runs.items())], seconds=job.seconds, turn=job.turn)
    seconds = time.perf_counter() - start
    files = [{"n": len(each), "times_ns": thinned(each)} for each in times]
    yield {"answer": {"seconds": seconds, "files": files}}


def _warm_up(run: Run, count: int, share_ns: float) -> None:
    taken = run()  # the first one fails where the file does not run
    for _ in range(count - 1):
        if taken > share_ns:
            return
        taken += run()


def _memory(job: Job) -> Iterator[dict[str, Any]]:
    """Peak of resident memory while the file is loaded and run, less what was resident before, bytes."""
    (file,) = job.files
    yield {"at": file}
    backend.litert()
    gc.collect()
    can_be_told = memory.reset_peak()  # that of importing is not counted
    before = memory.resident_bytes()
    run = runner(file, job)
    for _ in range(MEMORY_INVOCATIONS):
        run()
    yield {"answer": max(memory.peak_bytes() - before, 0) if can_be_told else None}
