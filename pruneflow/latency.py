"""``python -m pruneflow.latency``: how long TFLite files take to run, in turn on this machine, and why."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pruneflow.errors import PruneflowError
from pruneflow.exports import tflite
from pruneflow.exports.latency import Latency, Timing, measure
from pruneflow.exports.verdict import Speedup, facts_of, kind_of, speedup, verdict
from pruneflow.runtime.process import run_command
from pruneflow.runtime.terminal import complain, print_whole, printing, say, table


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
    facts = replace(facts, reference_kind=kind_of(graph))
    return {"facts": asdict(facts), "verdict": verdict(found, facts)}


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what `compared` found as a table, and a line for each verdict."""
    columns = ("median ms", "p10 to p90", "n", "times as fast", "peak memory")
    cells = [
        (
            row["file"],
            f"{row['median_ms']:.4g}",
            f"{row['p10_ms']:.4g} to {row['p90_ms']:.4g}",
            f"{row['n']:,}",
            _times_as_fast(row),
            "unknown" if row["peak_memory_bytes"] is None else f"{row['peak_memory_bytes'] / 1e6:.1f} MB",
        )
        for row in rows
    ]
    print_whole(table(["file"], columns, cells))
    for row in rows[1:]:
        say(f"{row['file']}: {row['verdict']}")


def _times_as_fast(row: Mapping[str, Any]) -> str:
    if "speedup" not in row:
        return "1"
    return "{ratio:.2f} ({low:.2f} to {high:.2f})".format(**row["speedup"])


if __name__ == "__main__":
    run_command(main)
