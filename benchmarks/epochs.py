"""What an epoch takes, and what it brings: a run's pruning phase beside the two example scripts of tfmot.

    python benchmarks/epochs.py [--networks mnist_cnn imdb_lstm] [--rounds 3] [--epochs 3]

The column ``example`` fits as the scripts do: Keras' own Adam, arrays in, a progress bar, tfmot's own
wrappers and its two callbacks, with the batch sizes of the scripts. ``pruneflow`` is what a run does: its
input pipeline, optimizer and masks, validation, curves in TensorBoard, checkpoints. ``stock_keras`` is the
same with the operations of Keras alone, ``lazy_adam`` with that optimizer. All train the same network on the
same examples with the same schedule, in turn, each in a process of its own, each round with another seed. A
ratio is the median over the rounds of seconds per epoch, tracing and validation included; accuracy is of the
whole test set, masks applied. Needs the data in PRUNEFLOW_DATA_DIR or in the cache folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import hydra
from commands import compile_as_the_example, show

from pruneflow.datasets import batches
from pruneflow.flow import config
from pruneflow.flow.prepare import Prepared, prepare
from pruneflow.runtime import backend
from pruneflow.sparsity import tfmot_engine
from pruneflow.sparsity.masked import mask_in_place
from pruneflow.training.fit import Journal

COLUMNS = {
    "example": [],
    "pruneflow": [],
    "stock_keras": ["device.stock_keras=true"],
    "lazy_adam": ["trainer.optimizer=lazy_adam"],
}
PRUNED_IN = (0.2, 0.9)  # parts of the steps at which pruning begins and ends
Measured = tuple[float, float, float]  # seconds per epoch, accuracy on the test set, sparsity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["mnist_cnn", "imdb_lstm"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--of", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.of:
        network, column, seed = chosen.of
        settings = composed(network, column, chosen.epochs, int(seed))
        print(json.dumps(trained(settings, column, int(seed))))
        return
    for network in chosen.networks:
        columns = [name for name in COLUMNS if name != "lazy_adam" or network == "imdb_lstm"]
        found: dict[str, list[Measured]] = {column: [] for column in columns}
        for seed in range(chosen.rounds):
            for column in columns:
                line = [sys.executable, __file__, "--epochs", str(chosen.epochs), "--of", network, column]
                done = subprocess.run([*line, str(seed)], capture_output=True, text=True, check=True)
                found[column].append(json.loads(done.stdout.splitlines()[-1]))
        tell(network, found)


def composed(network: str, column: str, epochs: int, seed: int) -> config.Config:
    """Settings of the experiment, its schedule fitted to a few epochs."""
    begin, end = PRUNED_IN
    parts = ["schedule.begin_step=null", "schedule.end_step=null"]
    parts += [f"schedule.begin_fraction={begin}", f"schedule.end_fraction={end}"]
    line = [f"experiment={network}", *parts, f"trainer.epochs={epochs}", f"seed={seed}", *COLUMNS[column]]
    with hydra.initialize_config_dir(str(config.config_folder()), version_base="1.3"):
        return config.from_hydra(hydra.compose("config", line))


def trained(settings: config.Config, column: str, seed: int) -> Measured:
    """Train the pruning phase from scratch."""
    ready, fit = prepare(settings), settings.trainer.pruned_fit(seed)
    backend.set_seed(seed)
    network = settings.model.build(ready.data.spec)
    masked = (tfmot_engine.wrap if column == "example" else mask_in_place)(network, ready.masks)
    model = masked.model
    steps = batches.steps_per_epoch(len(ready.data.train), fit.batch_size) * fit.epochs
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        if column == "example":
            compile_as_the_example(model)
            _fit_as_the_example(model, ready, fit, folder)
        else:
            place = Path(folder)
            journal = Journal(place, place / "checkpoint", settings.stages.checkpoint_seconds)
            fit.run(model, ready.data, journal, masked)
        seconds = time.perf_counter() - start
    masked.apply()
    accuracy = model.evaluate(batches.evaluation_batches(ready.data.test, ready.data.spec), verbose=0)[1]
    zeros = masked.measure(steps)
    return seconds / fit.epochs, accuracy, sum(w.zeros for w in zeros) / sum(w.size for w in zeros)


def _fit_as_the_example(model: Any, ready: Prepared, fit: Any, folder: str) -> None:
    tfmot, data = backend.tfmot().sparsity.keras, ready.data
    x, validation = data.spec.model_input(data.train.x[:]), data.spec.model_input(data.validation.x[:])
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        model.fit(
            x,
            data.train.y,
            batch_size=fit.batch_size,
            epochs=fit.epochs,
            verbose=1,
            callbacks=[tfmot.UpdatePruningStep(), tfmot.PruningSummaries(folder, profile_batch=0)],
            validation_data=(validation, data.validation.y),
        )


def tell(network: str, found: dict[str, list[Measured]]) -> None:
    show(network, "")
    for column, rounds in found.items():
        seconds, accuracies, sparsities = zip(*rounds, strict=True)
        show(f"  {column}, seconds per epoch", f"{statistics.median(seconds):.1f}")
        mean, spread = statistics.mean(accuracies), max(accuracies) - min(accuracies)
        show(f"  {column}, accuracy", f"{mean:.4f} (spread {spread:.4f}) at {sparsities[0]:.3f}")
    for column in list(found)[1:]:
        pairs = zip(found[column], found["example"], strict=True)
        ratios = sorted(mine[0] / its[0] for mine, its in pairs)
        show(
            f"  {column} / example", f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )


if __name__ == "__main__":
    main()
