"""How long TFLite files take to run, in turn on this machine: settings, timings, and child processes."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from pruneflow.errors import PruneflowError
from pruneflow.options import require
from pruneflow.signals import ended
from pruneflow.timing import Job, summary

__all__ = ["Latency", "Timing", "measure"]

ROUNDS = 12
LEAST_ROUNDS = 6  # fewer ratios have no 95 % interval: 2 * 0.5^5 is more than 0.05


@dataclass(kw_only=True)
class Latency:
    """How the exported files are timed.

    Attributes:
        seconds: Time spent timing, all files together; 0 measures nothing. Starting a dozen processes and
            warming up come on top, and files that take more than a hundredth of this time take longer.
        warmup: Invocations of each file before timing, in each process; fewer of slow files.
        threads: Threads of the interpreter.
    """

    seconds: float
    warmup: int
    threads: int

    def __post_init__(self) -> None:
        """Refuse negative and endless times, and no thread."""
        problem = "allowed are numbers from 0 (measures nothing)"
        require(0 <= self.seconds < math.inf, "latency.seconds", self.seconds, problem, "5 is usual.")
        problem = "allowed are whole numbers from 0"
        require(self.warmup >= 0, "latency.warmup", self.warmup, problem, "20 is usual.")
        problem = "allowed are whole numbers from 1"
        require(self.threads >= 1, "latency.threads", self.threads, problem, "1 is usual on small devices.")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long one file takes.

    Attributes:
        file: Its name.
        median_ms: Median time of one invocation.
        p10_ms: A tenth of the invocations took less.
        p90_ms: A tenth took longer.
        n: Invocations that were timed.
        rounds: Processes that they come from.
        threads: Threads of the interpreter.
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
        files: ``.tflite`` files.
        settings: How long and how.
        token_bound: Integer inputs are drawn from 0 to this number, which is left out: the size of the
            vocabulary, or what any vocabulary has.

    Returns:
        One timing for each file; none if there is no time for it.

    Raises:
        PruneflowError: if a file cannot be read, loaded or run.
    """
    if not settings.seconds or not files:
        return []
    for file in files:
        _require_tflite(file)
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


def _require_tflite(file: Path) -> None:
    if not file.is_file():
        raise PruneflowError(f"{file} cannot be timed: there is no such file. Check its path.")
    try:
        with file.open("rb") as content:
            head = content.read(8)
    except OSError as error:
        raise PruneflowError(f"{file} cannot be read: {error.strerror}. Check its permissions.") from error
    if head[4:] != b"TFL3":
        raise PruneflowError(f"{file} is not a TFLite file. Give a .tflite file that an export wrote.")


def _answer(job: Job) -> Any:
    """Have a child do the job; it ends with this process and holds none of its locks."""
    line = [sys.executable, "-m", "pruneflow.timing"]
    with TemporaryFile() as said, TemporaryFile() as log:
        with subprocess.Popen(line, 0, stdin=subprocess.PIPE, stdout=said, stderr=log) as child:
            try:
                assert child.stdin
                with suppress(BrokenPipeError):  # it died at once, as its exit status tells
                    child.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
                code = ended(child)
            except BaseException:
                child.kill()
                raise
        answers = [json.loads(line) for line in _lines(said)]
        log_lines = _lines(log)
    at = [answer["at"] for answer in answers if "at" in answer]
    where = at[-1] if at and at[-1] else " or ".join(job.files)
    return _understood(answers[-1] if answers else {}, where, code, log_lines)


def _lines(file: IO[bytes]) -> list[str]:
    file.seek(0)
    return file.read().decode(errors="replace").splitlines()


def _understood(answer: Mapping[str, Any], where: str, code: int, log: Sequence[str]) -> Any:
    if "answer" in answer and code == 0:
        return answer["answer"]
    if "error" in answer:
        # LiteRT joins its messages without a space.
        reason = re.sub(r"\.?(?=Node number )|\.(?=[A-Z])", ". ", " ".join(str(answer["error"]).split()))
        raise PruneflowError(
            f"{where} cannot be timed: {reason.rstrip('.')}. Only whole .tflite files of TFLite's own "
            "operations load here; export it again."
        )
    last = next((f" ({line.strip()})" for line in reversed(log) if line.strip()), "")
    raise PruneflowError(
        f"{where} cannot be timed: the process that ran it ended with {code}{last}. Is memory short? Else "
        "export it again."
    )
