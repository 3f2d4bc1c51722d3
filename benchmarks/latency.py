"""What zeros are worth in size and time: unstructured and in blocks of 4 inputs, beside the dense network.

    python benchmarks/latency.py [--sparsity 0.9] [--seconds 10] [--threads 1]

Builds the network of the experiment mnist_cnn (3.3 million weights) with seeded weights, masks the smallest
of each layer, singly or in blocks of 4 inputs by 1 output, or as many in blocks of matrices alone
(distribution=matrices), and exports it as float, dense-encoded and sparse-encoded. All are timed in turn.
Targets at 90 %: raw sparse-encoded at most 0.16 of the dense file with identical outputs; latency of blocks
at most 0.7 of the dense network's. Needs no data: time does not depend on it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from commands import show

from pruneflow.datasets.spec import Part, Spec
from pruneflow.exports import tflite
from pruneflow.exports.exporters import Float
from pruneflow.exports.latency import Latency, measure
from pruneflow.exports.runner import tflite_outputs
from pruneflow.exports.verdict import speedup
from pruneflow.flow import config
from pruneflow.runtime import backend
from pruneflow.sparsity import kernels
from pruneflow.sparsity.masks import MaskPlan

PRUNED = {
    "unstructured": [],
    "blocks of 4 inputs": ["structure=block_4x1"],
    "blocks of 4 inputs in matrices": ["structure=block_4x1", "distribution=matrices"],
}
SPEC = Spec(kind="image", shape=(28, 28, 1), classes=10)


def composed(*overrides: str) -> Any:
    """Settings of the experiment mnist_cnn."""
    with hydra.initialize_config_dir(str(config.config_folder()), version_base="1.3"):
        return config.from_hydra(hydra.compose("config", ["experiment=mnist_cnn", *overrides]))


def network() -> Any:
    """The network of conf/experiment/mnist_cnn.yaml."""
    backend.set_seed(0)
    return composed().model.build(SPEC)


def masked(sparsity: float, *overrides: str) -> Any:
    """That network with its weights masked as a run with these overrides would mask them at once."""
    at_once = ["schedule=constant", "schedule.begin_step=1", "schedule.end_step=null", "schedule.frequency=1"]
    settings = composed(*at_once, f"schedule.final_sparsity={sparsity}", *overrides)
    model = network()
    parts = (settings.structure, settings.criterion, settings.distribution)
    plan = MaskPlan(settings.schedule.plan(1), *parts, settings.pruning.select(model).prunables, seed=0)
    plan.check()
    kept = {name: mask.kept for name, mask in plan.update(1, kernels.weights(model)).items()}
    for layer in model.layers:
        if f"{layer.name}/kernel" in kept:
            kernel, *others = layer.get_weights()
            layer.set_weights([kernel * kept[f"{layer.name}/kernel"], *others])
    zeros = 1 - sum(mask.sum() for mask in kept.values()) / sum(mask.size for mask in kept.values())
    assert abs(zeros - sparsity) < 1e-4, zeros
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder to keep the files in, for pruneflow.latency")
    chosen = parser.parse_args()
    export = Float(name="float")
    contents = {"dense": export.convert(network(), SPEC, np.empty(0))}
    for name, overrides in PRUNED.items():
        model = masked(chosen.sparsity, *overrides)
        for encoding, sparse in (("dense", False), ("sparse", True)):
            contents[f"{name}, {encoding}-encoded"] = export.convert(model, SPEC, np.empty(0), sparse=sparse)
    _sizes(contents)
    with tempfile.TemporaryDirectory() as folder:
        place = chosen.keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        _times(contents, Latency(seconds=chosen.seconds, warmup=20, threads=chosen.threads), place)


def _sizes(contents: dict[str, bytes]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1)).astype(np.uint8)
    part = Part(images, np.zeros(50, np.int64))
    for name, content in contents.items():
        twin = contents[name.replace("sparse-", "dense-")]
        outputs, expected = (tflite_outputs(each, part, SPEC) for each in (content, twin))
        difference = float(np.abs(outputs - expected).max())
        kernels = ", ".join(tflite.parse(content, name).sparse_kernel_ops) or "none"
        show(f"{name}: raw size / dense", f"{len(content) / len(contents['dense']):.3f}")
        show("  outputs differ from those dense-encoded by", f"{difference:.2g}; sparse kernels: {kernels}")


def _times(contents: dict[str, bytes], settings: Latency, folder: Path) -> None:
    files = [folder / f"{name}.tflite" for name in contents]
    for file, content in zip(files, contents.values(), strict=True):
        file.write_bytes(content)
    dense, *others = measure(files, settings)
    show("dense: median, ms", f"{dense.median_ms:.4f} (n={dense.n}, threads={dense.threads})")
    for timing in others:
        found = speedup(dense, timing)
        spread = f"({1 / found.high:.3f} to {1 / found.low:.3f}, {found.rounds} rounds)"
        show(f"{Path(timing.file).stem}: latency / dense", f"{1 / found.ratio:.3f} {spread}")


if __name__ == "__main__":
    main()
