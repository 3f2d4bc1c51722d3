"""Channels that are cut out: accuracy and latency beside the dense network, with controls.

    python benchmarks/channels.py [--networks mnist_cnn imdb_lstm] [--seeds 0 1 2]
    python benchmarks/channels.py --networks resnet8 mobilenet --set dataset.path=cifar10/
    python benchmarks/channels.py --steps [--seconds 10]

The first two train, prune, cut and export whole networks in ``outputs/channels``. They print a line for each
run: accuracy on the whole test part, and the latency of the dense file over that of the cut one, in turn. The
mean and the range over the seeds follow. ``--ways random`` and ``--ways small`` are controls: units cut at
random, and new weights in the shape that magnitude left, trained as long as both phases together. ``--ways``
with zeros compares int8 files with and without a cut. What is finished is not trained again. ``--set`` adds
settings to every run, such as dataset.limit=6000.

The last command times one convolution by its number of outputs: the steps of this machine.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import pruneflow
from pruneflow.exports.latency import Latency, measure
from pruneflow.runtime import backend

LSTM = [
    "model=lstm",
    "model.embedding_dim=128",
    "model.units=128",
    "model.embedding_dropout=0",
    "model.dropout=0.5",
]
# Of each network: what makes it, the rest of the dense run, and what is cut.
NETWORKS = {
    "mnist_cnn": (
        [
            "model=cnn",
            "model.filters=[32,64]",
            "model.kernel_size=5",
            "model.padding=same",
            "model.batch_normalization=between",
            "model.dense_units=[1024]",
            "model.dropout=0.4",
        ],
        ["dataset=mnist", "trainer.dense_epochs=3", "trainer.epochs=4", "trainer.dense_batch_size=128"],
        ["schedule.final_sparsity=0.75"],
    ),
    "imdb_lstm": (
        LSTM,
        # It overfits from the third epoch on.
        ["dataset=imdb", "dataset.vocabulary_size=20000", "dataset.length=100", "trainer.epochs=2"],
        ["schedule.final_sparsity=0.9", "structure.multiple=8"],
    ),
    "resnet8": (
        ["model=resnet8"],
        ["experiment=cifar10_resnet8"],
        # 8, 16, 16, 32, 64 and 32 channels, of five fast shapes the best on validation.
        [
            "schedule.final_sparsity=0.5",
            "structure.multiple=8",
            "distribution.layers={stem_conv:0.5,block1_1_conv:0,block2_1_conv:0,block2_2_conv:0.5,"
            "block3_1_conv:0.5,block3_2_conv:0}",
        ],
    ),
    "mobilenet": (
        ["model=mobilenet"],
        ["experiment=cifar10_resnet8", "trainer.dense_epochs=12", "trainer.epochs=6"],
        ["schedule.final_sparsity=0.5"],
    ),
}
CUT = ["structure=channel", "export=all"]
# What is added to a network and its share; the last four are compared at equal accuracy.
WAYS = {
    "magnitude": CUT,
    "random": [*CUT, "criterion=random"],
    "small": [],
    "zeros 0.9": ["export=int8", "schedule.final_sparsity=0.9"],
    "zeros 0.95": ["export=int8", "schedule.final_sparsity=0.95"],
    "cut, zeros 0.6": ["structure=channel", "then=unstructured", "export=int8", "then.final_sparsity=0.6"],
    "cut, zeros 0.8": ["structure=channel", "then=unstructured", "export=int8", "then.final_sparsity=0.8"],
}
OUTPUTS = (15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65)
KINDS = ("float", "dynamic-range", "int8")


def measured(name: str, way: str, seed: int, more: list[str]) -> dict[str, float]:
    """Return the figures of one network, by what they are; print them too."""
    figures = small(name, seed, more) if way == "small" else cut(name, way, seed, more)
    print(f"{name} {way} seed {seed}: " + "  ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    return figures


def cut(name: str, way: str, seed: int, more: list[str]) -> dict[str, float]:
    network, rest, share = NETWORKS[name]
    result = pruneflow.run(
        [*rest, *network, *share, *WAYS[way], f"seed={seed}", *more],
        folder=emptied(folder_of(name, way, seed)),
        report=False,
    )
    figures = {"dense": result.dense.accuracy or 0.0, "pruned": result.pruned.accuracy or 0.0}
    if result.pruned.channels is not None:
        before, after = result.pruned.channels.multiply_adds
        figures["multiply-adds"] = after / before
    for file in result.tflite:
        assert file.latency is not None
        ratio = file.latency.speedup
        figures |= {file.kind: file.accuracy or 0.0, f"{file.kind}, ratio": ratio.ratio}
        figures[f"{file.kind}, kB"] = file.size.gzip_bytes / 1000
        print(f"  {file.kind:<14} {ratio.ratio:.2f}x ({ratio.low:.2f} to {ratio.high:.2f})")
    return figures


def small(name: str, seed: int, more: list[str]) -> dict[str, float]:
    """Train new weights in the shape that magnitude left."""
    keras = backend.keras()
    folder = folder_of(name, "small", seed)
    drawn = folder.with_suffix(".h5")
    keras.utils.set_random_seed(seed)
    keras.models.clone_model(
        keras.models.load_model(folder_of(name, "magnitude", seed) / "pruned.h5", compile=False)
    ).save(drawn, save_format="h5")
    network, rest, _ = NETWORKS[name]
    trainer = pruneflow.compose([*rest, *network, *more]).trainer
    epochs = (trainer.dense_epochs or 0) + (trainer.epochs or 0)
    words = [
        *rest,
        "model=keras_file",
        f"model.path={drawn}",
        f"trainer.dense_epochs={epochs}",
        "trainer.epochs=1",  # of a pruning that does not count
        "schedule=constant",
        "schedule.final_sparsity=0.01",
        "latency.seconds=0",
    ]
    result = pruneflow.run([*more, *words, f"seed={seed}"], folder=emptied(folder), report=False)
    return {"small": result.dense.accuracy or 0.0}


def emptied(folder: Path) -> Path:
    """Delete an earlier run; its stages are kept, so that nothing is trained again."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def folder_of(name: str, way: str, seed: int) -> Path:
    return Path("outputs", "channels", f"{name}-{way}-{seed}".replace(", ", "-").replace(" ", "-"))


def summarised(name: str, way: str, rows: list[dict[str, float]]) -> None:
    print(f"{name} {way}, {len(rows)} seeds, mean (lowest to highest):")
    for key in rows[0]:
        values = [row[key] for row in rows]
        print(f"  {key:<22} {np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})")


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
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["mnist_cnn", "imdb_lstm"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["magnitude", "random", "small"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[])
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--seconds", type=float, default=10)
    chosen = parser.parse_args()
    if chosen.steps:
        steps(chosen.seconds)
        return
    for name in chosen.networks:
        for way in chosen.ways:
            summarised(name, way, [measured(name, way, seed, chosen.set) for seed in chosen.seeds])


if __name__ == "__main__":
    main()
