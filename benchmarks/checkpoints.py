"""What checkpoints cost: training with the default frequency against none, on the largest state at hand.

    python benchmarks/checkpoints.py [--pairs 2] [overrides]

Trains the network of the experiment mnist_cnn (3.3 million weights, 13 MB, 39 MB with Adam's state) for two
epochs, turn and turn about. The target is 1.03. Needs MNIST in PRUNEFLOW_DATA_DIR or in the cache folder.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from commands import results, run, show

TRAINING = ["experiment=mnist_cnn", "trainer.epochs=2", "schedule.begin_step=200", "schedule.end_step=800"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2)
    chosen, overrides = parser.parse_known_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(chosen.pairs):
            seconds = {}
            order = ("30", "null") if turn % 2 else ("null", "30")
            for setting in order:
                place = Path(folder) / f"{setting}-{turn}"
                run(place, [*TRAINING, *overrides, f"stages.checkpoint_seconds={setting}"])
                seconds[setting] = results(place)[0]["phases"]["pruned"]["seconds"]
                show(f"checkpoint_seconds={setting}: training, s", f"{seconds[setting]:.1f}")
            ratios.append(seconds["30"] / seconds["null"])
    spread = f"({min(ratios):.3f} to {max(ratios):.3f}, n={len(ratios)}; target: at most 1.03)"
    show("with the default frequency / without", f"{statistics.median(ratios):.3f} {spread}")


if __name__ == "__main__":
    main()
