"""Zeros in 1x1 convolutions: does a sparse-encoded float file run faster here than a dense one, and why not.

    python benchmarks/pointwise.py [--sides 96 97] [--seconds 6]

A network as MobileNet's, of depthwise and 1x1 convolutions with ReLU6, loses 80 and 90 % of its 1x1 weights
by magnitude; it is exported dense and sparse, and timed in turn with one thread. An odd side gives every
convolution of stride 2 the same padding on both sides, which XNNPACK's sparse kernels want. There is no
training, and no data are needed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import pruneflow
from pruneflow.exports.latency import Latency, measure
from pruneflow.latency import compared, show
from pruneflow.runtime import backend

LAYERS = ((32, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), *((512, 1),) * 4)  # filters, stride


def network(side: int) -> Any:
    keras = backend.keras()
    layers = keras.layers
    inputs = keras.Input((side, side, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu6")(inputs)
    for filters, stride in LAYERS:
        x = layers.DepthwiseConv2D(3, strides=stride, padding="same", activation="relu6")(x)
        x = layers.Conv2D(filters, 1, activation="relu6")(x)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def prune(model: Any, sparsity: float) -> None:
    for layer in model.layers:
        if getattr(layer, "kernel_size", None) == (1, 1):
            kernel, bias = layer.get_weights()
            kernel[np.abs(kernel) < np.quantile(np.abs(kernel), sparsity)] = 0
            layer.set_weights([kernel, bias])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[96, 97])
    parser.add_argument("--seconds", type=float, default=6)
    chosen = parser.parse_args()
    backend.keras().utils.set_random_seed(0)
    for side in chosen.sides:
        with tempfile.TemporaryDirectory() as folder:
            model, files = network(side), [Path(folder) / "dense.tflite"]
            pruneflow.export(model, files[0])
            for sparsity in (0.8, 0.9):
                prune(model, sparsity)
                files.append(Path(folder) / f"{sparsity}-sparse.tflite")
                pruneflow.export(model, files[-1], encoding="sparse")
            print(f"{side} x {side} pixels")
            show(compared(files, measure(files, Latency(seconds=chosen.seconds, warmup=20, threads=1))))


if __name__ == "__main__":
    main()
