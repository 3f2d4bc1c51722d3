"""Channels that are cut out: accuracy and latency beside the dense network, and the steps of this machine.

    python benchmarks/channels.py [--networks mnist_cnn imdb_lstm] [--seeds 0 1 2] [--criteria magnitude]
    python benchmarks/channels.py --steps [--seconds 10]

The first trains, prunes, cuts and exports whole networks in ``outputs/channels``, and prints a line for each:
accuracy on the whole test part, and the latency of the dense file over that of the cut one, in turn, with its
interval. What is finished is not trained again. ``--set`` adds settings to every run, such as
dataset.limit=6000. The second times one convolution with as many outputs as the line says.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import pruneflow
from pruneflow.exports.latency import Latency, measure
from pruneflow.runtime import backend

NETWORKS = {
    "mnist_cnn": [
        "experiment=mnist_cnn",
        "schedule.final_sparsity=0.75",
        "trainer.dense_epochs=3",
        "trainer.epochs=4",
        "schedule.begin_step=100",
        "schedule.end_step=1000",
    ],
    "imdb_lstm": ["model=lstm", "dataset=imdb", "schedule.final_sparsity=0.9"],
}
OUTPUTS = (15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65)
KINDS = ("float", "dynamic-range", "int8")


def run(name: str, criterion: str, seed: int, more: list[str]) -> None:
    folder = Path("outputs", "channels", f"{name}-{criterion}-{seed}")
    chosen = ["structure=channel", f"criterion={criterion}", f"seed={seed}", "export=all", *more]
    result = pruneflow.run([*NETWORKS[name], *chosen], folder=folder, report=False)
    cut = result.pruned.channels
    assert cut is not None
    before, after = cut.multiply_adds
    print(
        f"{name} {criterion} seed {seed}: multiply-adds {before:,} to {after:,}, "
        f"accuracy {result.dense.accuracy:.4f} to {result.pruned.accuracy:.4f}"
    )
    for file in result.tflite:
        assert file.latency is not None
        ratio = file.latency.speedup
        print(
            f"  {file.kind:<14} {file.accuracy:.4f}  {ratio.ratio:.2f}x ({ratio.low:.2f} to {ratio.high:.2f})"
        )


def steps(seconds: float) -> None:
    keras = backend.keras()
    examples = np.random.default_rng(0).normal(size=(64, 24, 24, 64)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        files = {
            (kind, outputs): Path(folder, f"{kind}-{outputs}.tflite") for kind in KINDS for outputs in OUTPUTS
        }
        for (kind, outputs), file in files.items():
            model = convolution(keras, outputs)
            pruneflow.export(model, file, kind=kind, examples=examples, tolerance=1)
        timings = measure(list(files.values()), Latency(seconds=seconds, warmup=10, threads=1), token_bound=2)
    found = dict(zip(files, timings, strict=True))
    print(f"{'outputs':>7}  " + "  ".join(f"{kind:>13}" for kind in KINDS))
    for outputs in OUTPUTS:
        times = [found[kind, outputs].median_ms for kind in KINDS]
        print(f"{outputs:>7}  " + "  ".join(f"{time:>10.3f} ms" for time in times))


def convolution(keras: Any, outputs: int) -> Any:
    inputs = keras.Input((24, 24, 64))
    return keras.Model(inputs, keras.layers.Conv2D(outputs, 3, activation="relu")(inputs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--criteria", nargs="+", default=["magnitude", "random"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[])
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--seconds", type=float, default=10)
    chosen = parser.parse_args()
    if chosen.steps:
        steps(chosen.seconds)
        return
    for name in chosen.networks:
        for criterion in chosen.criteria:
            for seed in chosen.seeds:
                run(name, criterion, seed, chosen.set)


if __name__ == "__main__":
    main()
