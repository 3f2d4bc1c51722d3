"""Running pruneflow as a user does, and timing it: what the benchmarks share."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pruneflow.flow.figures import Result
from pruneflow.flow.results import read


def run(folder: Path, arguments: list[str], *, code: str = "") -> float:
    """Run ``python -m pruneflow``, or ``code`` in its place, in ``folder``; it is logged in ``folder/log``.

    Returns:
        Wall seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with (folder / "log").open("a") as log:
        line = [sys.executable, *(["-c", code] if code else ["-m", "pruneflow"]), *arguments]
        done = subprocess.run(line, cwd=folder, stdout=log, stderr=log, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(
            f"pruneflow {' '.join(arguments)} ended with {done.returncode}; see {folder / 'log'}"
        )
    return seconds


def results(folder: Path) -> list[Result]:
    """Every result below ``folder``, in the order in which they were written."""
    files = sorted(folder.rglob("result.json"), key=lambda file: file.stat().st_mtime_ns)
    return [read(file.parent) for file in files]


def show(label: str, value: str) -> None:
    """Print one figure."""
    print(f"{label:<58} {value}", flush=True)


def compile_as_the_example(model: Any) -> None:
    """Compile as the scripts of tfmot do, with what Keras brings."""
    loss = "binary_crossentropy" if model.output_shape[-1] == 1 else "sparse_categorical_crossentropy"
    model.compile("adam", loss=loss, metrics=["accuracy"])
