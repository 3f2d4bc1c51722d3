"""Six cells side by side on all processors (hydra/launcher=joblib) against one after the other.

    python benchmarks/parallel.py [overrides]

The cells differ in their seed, so that they share no stage. Needs the extra [parallel] and MNIST in
PRUNEFLOW_DATA_DIR or in the cache folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from commands import results, run, show

CELLS = ["-m", "seed=0,1,2,3,4,5"]


def main() -> None:
    overrides = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        seconds = {}
        for name, launcher in (("sequential", []), ("parallel", ["hydra/launcher=joblib"])):
            place = Path(folder) / name
            seconds[name] = run(place, [*overrides, *CELLS, *launcher])
            cells = results(place)
            threads = {result.device["threads"] for result in cells}
            training = sum(result.phases[phase].seconds for result in cells for phase in ("dense", "pruned"))
            peak = max(result.peak_memory_bytes for result in cells)
            show(f"{name}, s", f"{seconds[name]:.1f}")
            show("  threads of a cell", f"{sorted(threads)}")
            show("  training in all cells, added up, s", f"{training:.1f}")
            show("  peak memory of a cell, MB", f"{peak / 1e6:.0f}")
        show("parallel / sequential", f"{seconds['parallel'] / seconds['sequential']:.3f}")


if __name__ == "__main__":
    main()
