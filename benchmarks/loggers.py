"""What a logger costs: wall time of whole jobs with it and without it, in turn.

    python benchmarks/loggers.py [--rounds 3] [SETTING ...]

In each round a job runs without a logger, with MLflow's own store, and with W&B's files offline. Everything
is computed anew. A ratio is that of two wall times of the same round; 1.02 is the aim. A job before the
rounds makes MLflow's store, and is shown apart. Needs MNIST in PRUNEFLOW_DATA_DIR or in the cache folder.
Settings are those of the jobs, such as trainer.epochs=1.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from commands import run, show

MLFLOW, WANDB = ("logger=mlflow",), ("logger=wandb", "logger.mode=offline")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("settings", nargs="*")
    chosen = parser.parse_args()
    ratios: dict[tuple[str, ...], list[float]] = {MLFLOW: [], WANDB: []}
    with tempfile.TemporaryDirectory() as name:
        folder, settings = Path(name), ["stages.reuse=false", *chosen.settings]
        show("job that makes MLflow's store, s", f"{run(folder, [*settings, *MLFLOW]):.2f}")
        for _ in range(chosen.rounds):
            alone = run(folder, settings)
            show("job without a logger, s", f"{alone:.2f}")
            for logger, found in ratios.items():
                found.append(run(folder, [*settings, *logger]) / alone)
                show(f"job with {logger[0]}, s", f"{found[-1] * alone:.2f}")
        sent = (folder / "log").read_text().count("Logged     ")
    if sent != 1 + 2 * chosen.rounds:
        raise SystemExit(f"{sent} of {1 + 2 * chosen.rounds} jobs were sent")
    for logger, found in ratios.items():
        spread = f"{min(found):.3f} to {max(found):.3f}, n {len(found)}"
        show(f"{logger[0]}: job with it / without", f"{statistics.median(found):.3f} ({spread}; aim: 1.02)")


if __name__ == "__main__":
    main()
