"""``python -m pruneflow.latency``: how long TFLite files take to run, in turn on this machine, and why."""

from __future__ import annotations

import argparse
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

import numpy as np
from rich.markup import escape
from rich.table import Table

from pruneflow import tflite
from pruneflow.errors import PruneflowError
from pruneflow.options import require
from pruneflow.signals import let_through
from pruneflow.terminal import complain, console, print_whole, printing
from pruneflow.tflite import Graph
from pruneflow.timing import Job, summary

__all__ = [
    "KernelFacts",
    "Latency",
    "Speedup",
    "Timing",
    "compared",
    "facts_of",
    "main",
    "measure",
    "show",
    "speedup",
    "verdict",
]

ROUNDS = 12
LEAST_ROUNDS = 6  # fewer ratios have no 95 % interval: 2 * 0.5^5 is more than 0.05
LEAST_DIFFERENCE = 0.03
UNDECIDED = 0.1  # how far from 1 an interval may reach that is called no difference
NOISY = 1.4  # 90th over 10th percentile of the ratios of single rounds
CONFIDENCE = 0.95
FEW_ZEROS = 0.01  # of all weights
POLL_S = 0.2


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
                code = _ended(child)
            except BaseException:
                child.kill()
                raise
        answers = [json.loads(line) for line in _lines(said)]
        log_lines = _lines(log)
    at = [answer["at"] for answer in answers if "at" in answer]
    where = at[-1] if at and at[-1] else " or ".join(job.files)
    return _understood(answers[-1] if answers else {}, where, code, log_lines)


def _ended(child: subprocess.Popen[bytes]) -> int:
    """Wait for a child, and answer signals that are held back meanwhile."""
    while True:
        try:
            return child.wait(POLL_S)
        except subprocess.TimeoutExpired:
            let_through()


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


@dataclass(frozen=True)
class Speedup:
    """How much faster one file is than another, measured in turn.

    Attributes:
        ratio: Time of the dense file over that of the pruned one, median over the rounds; above 1 the pruned
            one is faster.
        low: Lower end of the interval that covers this median with a probability of at least 95 %.
        high: Its upper end.
        rounds: Rounds that each gave a ratio.
        spread: 90th over 10th percentile of the ratios.
    """

    ratio: float
    low: float
    high: float
    rounds: int
    spread: float


def speedup(dense: Timing, pruned: Timing) -> Speedup:
    """Compare two files of one measurement, round by round.

    The interval lies between two of the sorted ratios, and supposes nothing about how they are distributed.

    Raises:
        ValueError: if the rounds do not belong together, or are fewer than six.
    """
    pairs = zip(dense.round_medians_ms, pruned.round_medians_ms, strict=True)
    ratios = sorted(before / after for before, after in pairs)
    if len(ratios) < LEAST_ROUNDS:
        raise ValueError(f"{len(ratios)} rounds have no interval; there must be {LEAST_ROUNDS}")
    p10, ratio, p90 = (float(value) for value in np.percentile(ratios, [10, 50, 90]))
    left_out = _left_out(len(ratios))
    return Speedup(ratio, ratios[left_out], ratios[-1 - left_out], len(ratios), p90 / p10)


def _left_out(count: int) -> int:
    """How many values lie outside on each side of an interval for the median.

    The number of values below the median has the binomial distribution of ``count`` fair coins.

    >>> _left_out(6), _left_out(9), _left_out(40)
    (0, 1, 13)
    """
    most = (1 - CONFIDENCE) / 2 * 2**count
    left_out, outside = 0, 1
    while outside + math.comb(count, left_out + 1) <= most:
        left_out += 1
        outside += math.comb(count, left_out)
    return left_out


@dataclass(frozen=True)
class KernelFacts:
    """What a file holds that decides its speed.

    Attributes:
        kind: ``"float"``, ``"dynamic-range"`` or ``"int8"``.
        sparsity: Share of zeros among all its weights, [0, 1].
        sparse_kernels: Operations that read a sparse tensor directly, such as ``("FULLY_CONNECTED",)``.
        densified: Weights that are made dense when the file is loaded.
        theoretical: Multiply-adds of the reference over those of this file with weights other than zero.
        reference_kind: Kind of the file that it is compared with.
    """

    kind: str
    sparsity: float
    sparse_kernels: tuple[str, ...]
    densified: int
    theoretical: float
    reference_kind: str = "float"


def verdict(speedup: Speedup, facts: KernelFacts) -> str:
    """Say in one sentence whether the file is faster, and why.

    >>> facts = KernelFacts("float", 0.9, ("FULLY_CONNECTED",), 0, 9.8)
    >>> verdict(Speedup(1.6, 1.5, 1.7, 40, 1.1), facts)
    '1.60x faster (1.50 to 1.70): FULLY_CONNECTED runs on a sparse kernel; multiply-adds fell 9.8x.'
    """
    ratio, low, high = speedup.ratio, speedup.low, speedup.high
    noisy = speedup.spread >= NOISY
    if low > 1 and ratio - 1 >= LEAST_DIFFERENCE:
        said, why = f"{ratio:.2f}x faster ({low:.2f} to {high:.2f})", _why_faster(facts)
    elif high < 1 and 1 - ratio >= LEAST_DIFFERENCE:
        said, why = f"{1 / ratio:.2f}x slower ({1 / high:.2f} to {1 / low:.2f})", _why_slower(facts)
    else:
        decided = low > 1 - UNDECIDED and high < 1 + UNDECIDED
        said = "Not faster" if decided else "No difference can be told"
        said, why = f"{said} ({ratio:.2f}x, {low:.2f} to {high:.2f})", _why_not_faster(facts)
    if not noisy:
        return f"{said}: {why}."
    spread = (
        f"the ratio varies {speedup.spread:.1f}-fold between rounds, so measure longer on an idle machine"
    )
    return f"Noisy: {said[0].lower()}{said[1:]}: {why}; {spread}."


def _why_faster(facts: KernelFacts) -> str:
    if facts.sparse_kernels:
        return f"{_on_sparse_kernel(facts)}; multiply-adds fell {facts.theoretical:.1f}x"
    if facts.kind != facts.reference_kind:
        return (
            f"{facts.kind} arithmetic instead of {facts.reference_kind}, not the zeros: {_no_kernel(facts)}"
        )
    if facts.sparsity < FEW_ZEROS and facts.theoretical - 1 >= LEAST_DIFFERENCE:
        return f"the network itself is smaller; multiply-adds fell {facts.theoretical:.1f}x"
    return _unexplained(facts)


def _why_slower(facts: KernelFacts) -> str:
    if facts.sparse_kernels:
        return f"{_on_sparse_kernel(facts)}, which costs more here than its zeros save"
    if facts.kind != facts.reference_kind:
        return (
            f"{facts.kind} arithmetic takes longer here than {facts.reference_kind}, and {_no_kernel(facts)}"
        )
    return _unexplained(facts)


def _unexplained(facts: KernelFacts) -> str:
    """Such as subnormal numbers, which some processors add slowly, or other programs at work."""
    return f"zeros do not explain it, but noise or arithmetic that depends on the data: {_no_kernel(facts)}"


def _why_not_faster(facts: KernelFacts) -> str:
    if facts.sparse_kernels:
        return f"{_on_sparse_kernel(facts)}, but has too few zeros, or too little of the time, to show"
    return _no_kernel(facts)


def _on_sparse_kernel(facts: KernelFacts) -> str:
    said = f"{' and '.join(facts.sparse_kernels)} runs on a sparse kernel"
    if facts.kind != facts.reference_kind:
        said += f" in {facts.kind} instead of {facts.reference_kind} arithmetic"
    if facts.densified:
        said += f" ({facts.densified:,} other weights are made dense when the file is loaded)"
    return said


def _no_kernel(facts: KernelFacts) -> str:
    """Why zeros save no time where no sparse kernel runs."""
    if facts.densified:
        return "sparse weights are made dense when the file is loaded (DENSIFY)"
    if facts.sparsity < FEW_ZEROS:
        return "there are hardly any zeros to skip"
    weights, how = "dense", "export.encoding=sparse"
    if facts.kind != "float":
        weights, how = "int8", "export=float export.encoding=sparse"
    return (
        f"zeros among {weights} weights have no kernel here; blocks of 4 inputs in fully connected layers, "
        f"exported with {how}, would have one"
    )


def facts_of(content: bytes, name: str, *, dense_multiply_adds: int) -> KernelFacts:
    """Read off a file what decides its speed.

    Args:
        content: The bytes of a ``.tflite`` file.
        name: What it is called in messages.
        dense_multiply_adds: Multiply-adds of the file that it is compared with.
    """
    graph = tflite.parse(content, name)
    weights = sum(weight.size for weight in graph.weights)
    return KernelFacts(
        kind=_kind(graph),
        sparsity=sum(weight.zeros for weight in graph.weights) / max(weights, 1),
        sparse_kernels=tuple(sorted(set(graph.sparse_kernel_ops))),
        densified=sum(weight.size for weight in graph.weights if weight.densified),
        theoretical=dense_multiply_adds / max(graph.nonzero_multiply_adds, 1),
    )


def _kind(graph: Graph) -> str:
    if all(weight.dtype != "int8" for weight in graph.weights):
        return "float"
    ends = (*graph.inputs, *graph.outputs)  # token ids stay int32
    return "int8" if any(tensor.dtype == "int8" for tensor in ends) else "dynamic-range"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser("python -m pruneflow.latency", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="the reference first, then the others"
    )
    parser.add_argument("--seconds", type=float, default=5, help="time spent timing, all files together (5)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the interpreter (1)")
    parser.add_argument("--warmup", type=int, default=20, help="invocations of each file before timing (20)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    chosen = parser.parse_args(arguments)
    if not chosen.seconds > 0:
        parser.error(f"--seconds={chosen.seconds:g}: allowed are numbers above 0. 5 is usual.")
    try:
        settings = Latency(seconds=chosen.seconds, warmup=chosen.warmup, threads=chosen.threads)
    except PruneflowError as error:
        parser.error(str(error).replace("latency.", "--", 1))
    return _carry_out(chosen.files, settings, as_json=chosen.json)


def _carry_out(files: Sequence[Path], settings: Latency, *, as_json: bool) -> int:
    try:
        rows = compared(files, measure(files, settings))
        with printing():
            print(json.dumps({"files": rows})) if as_json else show(rows)
    except PruneflowError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def compared(files: Sequence[Path], timings: Sequence[Timing]) -> list[dict[str, Any]]:
    """Timings as JSON takes them; all but the first with speedup and verdict."""
    rows: list[dict[str, Any]] = []
    for file, timing in zip(files, timings, strict=True):
        row = {**asdict(timing), "file": str(file)}
        del row["round_medians_ms"]
        if rows:
            found = speedup(timings[0], timing)
            row |= {"speedup": asdict(found), **_judged(found, file, files[0])}
        rows.append(row)
    return rows


def _judged(found: Speedup, file: Path, reference: Path) -> dict[str, Any]:
    """Facts and verdict, or why there are none of a file that LiteRT runs, but pruneflow cannot read."""
    try:
        graph = tflite.parse(reference.read_bytes(), str(reference))
        facts = facts_of(file.read_bytes(), str(file), dense_multiply_adds=graph.multiply_adds)
    except PruneflowError as error:
        return {"facts": None, "verdict": f"No reason known: {error}"}
    facts = replace(facts, reference_kind=_kind(graph))
    return {"facts": asdict(facts), "verdict": verdict(found, facts)}


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what `compared` found as a table, and a line for each verdict."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    for column in ("median ms", "p10 to p90", "n", "times as fast", "peak memory"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            escape(row["file"]),
            f"{row['median_ms']:.4g}",
            f"{row['p10_ms']:.4g} to {row['p90_ms']:.4g}",
            f"{row['n']:,}",
            _times_as_fast(row),
            "unknown" if row["peak_memory_bytes"] is None else f"{row['peak_memory_bytes'] / 1e6:.1f} MB",
        )
    print_whole(table)
    for row in rows[1:]:
        console.print(f"{row['file']}: {row['verdict']}", markup=False, soft_wrap=True)


def _times_as_fast(row: Mapping[str, Any]) -> str:
    if "speedup" not in row:
        return "1"
    return "{ratio:.2f} ({low:.2f} to {high:.2f})".format(**row["speedup"])


if __name__ == "__main__":
    sys.exit(main())
