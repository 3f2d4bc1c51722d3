"""Time that TFLite files take to run, in turn on this machine: settings, timings, and child processes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pruneflow.errors import PruneflowError
from pruneflow.exports import decode, latency_child, tflite
from pruneflow.exports.latency_child import Job, summary
from pruneflow.exports.runner import in_words
from pruneflow.options import MOST_THREADS, at_most, require, require_number, whole_from
from pruneflow.runtime import child

ROUNDS = 12
SILENT_S = 60  # that a file may take to load and warm up, and then for the few times that it runs at least
LEAST_ROUNDS = 6  # fewer ratios have no 95 % interval: 2 * 0.5^5 is more than 0.05


@dataclass(kw_only=True)
class Latency:
    """Settings of the latency measurement."""

    seconds: float = at_most(3600)
    warmup: int = at_most(1_000_000)
    threads: int = at_most(MOST_THREADS)

    def __post_init__(self) -> None:
        problem = "allowed are numbers from 0 (measures nothing)"
        require(0 <= self.seconds < math.inf, "latency.seconds", self.seconds, problem, "5 is usual.")
        require_number("latency.warmup", self.warmup, whole_from(0), "20 is usual.")
        require_number("latency.threads", self.threads, whole_from(1), "1 is usual on small devices.")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The measured latency of one file.

    Attributes:
        median_ms: Median time of one invocation.
        p10_ms: A tenth of the invocations took less.
        p90_ms: A tenth took longer.
        n: Invocations that were timed.
        rounds: Processes that they come from.
        warmup: Invocations before timing, in each process; fewer where they took long.
        peak_memory_bytes: Most resident memory while it is loaded and run, less what was resident before; the
            bytes of the file count, and some 10 MB of the interpreter's own. None where no system tells.
        round_medians_ms: Median of each round; rounds of the same measurement belong together in pairs.
    """

    file: str
    median_ms: float
    p10_ms: float
    p90_ms: float
    n: int
    rounds: int
    threads: int
    warmup: int
    peak_memory_bytes: int | None
    round_medians_ms: tuple[float, ...]


def measure(files: Sequence[Path], settings: Latency, *, token_bound: int = 2) -> list[Timing]:
    """Time files side by side in rounds, each a process without TensorFlow; then find out the memory of each.

    Within one process a file seemed up to 7 % faster or slower than itself, the whole time, by where its
    weights happened to lie in memory. Each process places them anew, so that the rounds show this as spread.

    Args:
        token_bound: Integer inputs are drawn from 0 to this number, which is left out: the size of the
            vocabulary, or what any vocabulary has.

    Returns:
        One timing for each file; none if there is no time for it.
    """
    if not settings.seconds or not files:
        return []
    for file in files:
        if decode.OPERATION.encode() in tflite.read(file):
            raise PruneflowError(
                f"{file} cannot be timed: it is made for TFLite Micro ({decode.OPERATION}), and its latency "
                "here says nothing of a microcontroller. Time it on the chip."
            )
    of_rounds = _rounds(files, settings, token_bound)
    timings = []
    for index, file in enumerate(files):
        of_file = [of_round[index] for of_round in of_rounds]
        timing = Timing(
            file=file.name,
            n=sum(each["n"] for each in of_file),
            threads=settings.threads,
            warmup=settings.warmup,
            peak_memory_bytes=_answer(_job("memory", [file], settings, token_bound)),
            **summary([each["times_ns"] for each in of_file]),
        )
        timings.append(timing)
    return timings


def _rounds(files: Sequence[Path], settings: Latency, token_bound: int) -> list[list[dict[str, Any]]]:
    """Number of invocations and their times, for each round and file."""
    rounds: list[list[dict[str, Any]]] = []
    job, spent = _job("time", files, settings, token_bound), 0.0
    while len(rounds) < LEAST_ROUNDS or (len(rounds) < ROUNDS and spent < settings.seconds):
        answer = _answer(replace(job, turn=len(rounds)))
        rounds.append(answer["files"])
        spent += answer["seconds"]
    return rounds


def _job(task: str, files: Sequence[Path], settings: Latency, token_bound: int) -> Job:
    return Job(
        task=task,
        files=[str(file) for file in files],
        turn=0,
        seconds=settings.seconds / ROUNDS,
        warmup=settings.warmup,
        threads=settings.threads,
        token_bound=token_bound,
    )


def _answer(job: Job) -> Any:
    outcome = child.values_of(latency_child.done, job, silent_s=SILENT_S * len(job.files) + job.seconds)
    last = outcome.values[-1] if outcome.values else {}
    if "answer" in last and not outcome.status:
        return last["answer"]
    at = [said["at"] for said in outcome.values if "at" in said]
    where = (at and at[-1]) or " or ".join(job.files)
    problem = in_words(last["error"]) if "error" in last else outcome.problem
    raise PruneflowError(
        f"{where} cannot be timed: {problem}. Only whole .tflite files of TFLite's own operations load here; "
        "export it again."
    )
