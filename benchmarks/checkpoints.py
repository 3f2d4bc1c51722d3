"""What checkpoints cost: training with the default frequency against none, on the largest state at hand.

    python benchmarks/checkpoints.py [--pairs 2] [overrides]

Trains the network of the experiment mnist_cnn (3.3 million weights, 13 MB, 39 MB with Adam's state) for five
epochs, turn and turn about: long enough for several checkpoints at the default of 30 seconds. The target is
1.03. Two wall times differ by more than that on a machine that others use, so the time inside the checkpoints
is summed up too. Needs MNIST in PRUNEFLOW_DATA_DIR or in the cache folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from commands import results, run, show

TRAINING = ["experiment=mnist_cnn", "trainer.epochs=5", "schedule.begin_step=200", "schedule.end_step=2000"]

COUNTED = """
import json, time
from pathlib import Path
from pruneflow.training import checkpoints
spent = []
write = checkpoints.Checkpoints.write
def timed(self, *arguments):
    start = time.perf_counter()
    write(self, *arguments)
    spent.append(time.perf_counter() - start)
    Path("spent.json").write_text(json.dumps(spent))
checkpoints.Checkpoints.write = timed
from pruneflow.__main__ import main
main()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2)
    chosen, overrides = parser.parse_known_args()
    walls, inside = [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(chosen.pairs):
            seconds = {}
            for setting in ("30", "null") if turn % 2 else ("null", "30"):
                place = Path(folder) / f"{setting}-{turn}"
                run(place, [*TRAINING, *overrides, f"stages.checkpoint_seconds={setting}"], code=COUNTED)
                seconds[setting] = results(place)[0].phases["pruned"].seconds
                show(f"checkpoint_seconds={setting}: training, s", f"{seconds[setting]:.1f}")
            spent = json.loads((Path(folder) / f"30-{turn}" / "spent.json").read_text())
            show("  seconds in each checkpoint", " ".join(f"{one:.2f}" for one in spent))
            walls.append(seconds["30"] / seconds["null"])
            inside.append(seconds["30"] / (seconds["30"] - sum(spent)))
    for label, ratios in (("two wall times", walls), ("time inside the checkpoints", inside)):
        spread = f"({min(ratios):.3f} to {max(ratios):.3f}, n={len(ratios)}; target: at most 1.03)"
        show(f"with the default frequency / without, by {label}", f"{statistics.median(ratios):.3f} {spread}")


if __name__ == "__main__":
    main()
