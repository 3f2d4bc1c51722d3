"""Memory of a long grid in one process: thirty cells with a network of mnist_cnn's size.

    python benchmarks/memory.py [--cells 30] [overrides]

Each cell trains a little, since memory does not depend on how long. Needs MNIST in PRUNEFLOW_DATA_DIR or in
the cache folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from commands import results, run, show

CELL = [
    "experiment=mnist_cnn",
    "dataset.limit=2000",
    "trainer.epochs=2",
    "schedule.begin_step=0",
    "schedule.end_step=24",
    "schedule.frequency=auto",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, default=30)
    chosen, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        seeds = ",".join(str(seed) for seed in range(chosen.cells))
        seconds = run(Path(folder), [*CELL, *overrides, "-m", f"seed={seeds}"])
        peaks = [result.peak_memory_bytes / 1e6 for result in results(Path(folder))]
    show("cells", f"{len(peaks)} in {seconds:.0f} s")
    show("peak memory of each cell, MB", " ".join(f"{peak:.0f}" for peak in peaks))
    third = len(peaks) // 3
    show("last third / second third", f"{mean(peaks[-third:]) / mean(peaks[third : 2 * third]):.3f}")
    show("last cell / first cell", f"{peaks[-1] / peaks[0]:.3f}")


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
