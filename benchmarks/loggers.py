"""What a logger costs beside the main job: wall time of sending, and its ratio to the job.

    python benchmarks/loggers.py [--pairs 3] [SETTING ...]

One job is run without a logger, everything computed anew. Then its folder is sent, as at the end of a run, to
MLflow's own store and to W&B's files offline, so many times: the first makes the store, and is shown
apart. The ratio is (job + sending) / job; 1.02 is the aim. Needs MNIST in PRUNEFLOW_DATA_DIR or in the cache
folder. Settings are those of the job, such as trainer.epochs=1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from commands import run, show

import pruneflow
from pruneflow.report.logged import log_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("settings", nargs="*")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        job = run(Path(name), chosen.settings)
        show("job without a logger, s", f"{job:.2f}")
        os.chdir(name)
        (folder,) = (file.parent for file in Path("outputs").glob("*/*/result.json"))
        for logger in (["logger=mlflow"], ["logger=wandb", "logger.mode=offline"]):
            measure(logger, folder.absolute(), job, chosen.pairs)


def measure(words: list[str], folder: Path, job: float, pairs: int) -> None:
    """Send a folder again and again, each time as if it had not been sent."""
    logger = pruneflow.compose([*words, "logger.seconds=600"]).logger
    seconds = []
    for _ in range(pairs + 1):
        (folder / f".{logger.option_name}.json").unlink(missing_ok=True)
        start = time.perf_counter()
        log_run(logger, folder)
        seconds.append(time.perf_counter() - start)
    first, *others = seconds
    show(f"{words[0]}: the first, s", f"{first:.2f}")
    show(
        f"{words[0]}: each other, s",
        f"{statistics.median(others):.2f} ({min(others):.2f} to {max(others):.2f})",
    )
    show(f"{words[0]}: job with it / without", f"{1 + statistics.median(others) / job:.3f} (aim: 1.02)")


if __name__ == "__main__":
    main()
