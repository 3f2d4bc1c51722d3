"""A grid of 3 sparsities and 3 exports against nine runs that share nothing.

    python benchmarks/grid.py [overrides]

The target is 0.35 of the time. Needs MNIST in PRUNEFLOW_DATA_DIR or in the cache folder.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

from commands import results, run, show

SPARSITIES = ("0.5", "0.8", "0.9")
EXPORTS = ("float", "dynamic-range", "int8")


def main() -> None:
    overrides = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        apart = Path(folder) / "apart"
        separate = [
            run(
                apart,
                [*overrides, f"schedule.final_sparsity={sparsity}", f"export={export}", "stages.reuse=false"],
            )
            for sparsity, export in itertools.product(SPARSITIES, EXPORTS)
        ]
        together = Path(folder) / "together"
        sweep = [f"schedule.final_sparsity={','.join(SPARSITIES)}", f"export={','.join(EXPORTS)}"]
        grid = run(together, [*overrides, "-m", *sweep])
        again = run(together, [*overrides, "-m", *sweep])
        show("nine runs apart, s", f"{sum(separate):.1f} ({min(separate):.1f} to {max(separate):.1f} each)")
        show("the grid, s", f"{grid:.1f}")
        show("the grid / nine runs", f"{grid / sum(separate):.3f} (target: at most 0.35)")
        show("the same grid once more / nine runs", f"{again / sum(separate):.3f}")
        for stage in ("dense", "pruned", "export", "evaluate"):
            made = {result.stages[stage].digest for result in results(together)}
            show(f"stages made in the grid, {stage}", str(len(made)))
        show("figures are the same", str(figures(apart) == figures(together)))


def figures(folder: Path) -> dict[tuple[float, str], tuple[float | None, int]]:
    """Accuracy and size of each exported file."""
    return {
        (result.pruned.requested_sparsity, result.tflite[0].kind): (
            result.tflite[0].accuracy,
            result.tflite[0].size.gzip_bytes,
        )
        for result in results(folder)
    }


if __name__ == "__main__":
    main()
