"""Feeding training from a folder of images: how long it waits for data, and what memory that takes.

    python benchmarks/input.py [--images 2000 20000] [--steps 150]

MNIST's images, upscaled to 96 x 96 and coloured, half of them PNG and half JPEG, are written into a folder
for each class. A small network of depthwise convolutions, as MobileNet's, is trained on them in batches of
32, in a process of its own for each row: decoded images kept in the cache, decoded again at each use, and
all in memory, for comparison. Waiting is the time from asking for a batch until it is there, as a share of
the time of all steps but the first. Peak memory is that of the whole process, which also decodes all images
first and evaluates the test part at the end. Needs MNIST in PRUNEFLOW_DATA_DIR or the cache folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from commands import show
from PIL import Image

from pruneflow.datasets.batches import Order, evaluation_batches, steps_per_epoch, training_batches
from pruneflow.datasets.image_folder import ImageFolder
from pruneflow.datasets.reading.cache import cache_folder
from pruneflow.datasets.spec import Data, Part
from pruneflow.runtime import backend

SIDE, BATCH = 96, 32
MODES = {"cached": 4_000_000_000, "streamed": 0, "memory": 4_000_000_000}


def make(folder: Path, count: int) -> None:
    """Write ``count`` images into a folder for each class."""
    with np.load(cache_folder(None) / "mnist.npz") as arrays:
        images, labels = arrays["x_train"][:count], arrays["y_train"][:count]
    rng = np.random.default_rng(0)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        grey = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
        ink, paper = rng.uniform(0, 255, (2, 3))
        colours = grey[..., None] / 255 * ink + (1 - grey[..., None] / 255) * paper
        noisy = np.clip(colours + rng.normal(0, 6, colours.shape), 0, 255).astype(np.uint8)
        file = folder / str(label) / f"{number:05}.{('png', 'jpg')[number % 2]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(file, quality=90)


def loaded(folder: Path, mode: str) -> Data:
    """The folder as a data set."""
    data = ImageFolder(
        name="digits",
        path=str(folder / "images"),
        class_names=None,
        network=None,
        height=None,
        width=None,
        channels=3,
        resize="bilinear",
        white=None,
        corrupt="refuse",
        cache_dir=str(folder / f"cache-{mode}"),
        cache_max_bytes=MODES[mode],
        test_fraction=0.1,
        validation_fraction=0.1,
        split_seed=0,
        limit=None,
    ).load()
    if mode != "memory":
        return data
    train, validation, test = (Part(part.x[:], part.y) for part in (data.train, data.validation, data.test))
    return Data(data.name, data.spec, train, validation, test)


def network(data: Data) -> Any:
    """Depthwise separable convolutions from 96 x 96 to 6 x 6."""
    keras = backend.keras()
    layers = keras.layers
    x = inputs = keras.Input(data.spec.shape)
    x = layers.Conv2D(16, 3, 2, "same", activation="relu")(x)
    for filters, stride in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2)):
        x = layers.DepthwiseConv2D(3, stride, "same", use_bias=False)(x)
        x = layers.ReLU(6)(layers.BatchNormalization()(x))
        x = layers.Conv2D(filters, 1, use_bias=False)(x)
        x = layers.ReLU(6)(layers.BatchNormalization()(x))
    x = layers.Dense(data.spec.classes)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


def train(data: Data, steps: int, build: Callable[[Data], Any] = network) -> dict[str, float]:
    """Train, and time each wait and each step."""
    tf, keras = backend.tensorflow(), backend.keras()
    model, optimizer = build(data), keras.optimizers.Adam()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function  # type: ignore[untyped-decorator]
    def step(batches: Any) -> Any:
        asked = tf.timestamp()
        with tf.control_dependencies([asked]):
            x, y = next(batches)  # in the graph, as Keras does
        with tf.control_dependencies([x, y]):
            waited = tf.timestamp() - asked
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return value, waited, tf.size(y)

    epochs = -(-(steps + 1) // steps_per_epoch(len(data.train), BATCH))
    batches = iter(training_batches(data.train, data.spec, Order(range(epochs), BATCH, (0,))))
    step(batches)[0].numpy()
    waited, examples, start = 0.0, 0.0, time.perf_counter()
    for _ in range(steps):
        _, seconds, count = (float(each) for each in step(batches))
        waited, examples = waited + seconds, examples + count
    seconds = time.perf_counter() - start
    predict = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    for x, _ in evaluation_batches(data.test, data.spec):
        predict(x).numpy()
    return {"waiting": waited / seconds, "examples_per_second": examples / seconds}


def child(folder: Path, mode: str, steps: int) -> None:
    """One row, in this process; prints JSON."""
    start = time.perf_counter()
    data = loaded(folder, mode)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    loaded(folder, mode)
    row = {"load": seconds, "load_again": time.perf_counter() - start, **train(data, steps)}
    row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("ROW " + json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(Path(chosen.child[0]), chosen.child[1], chosen.steps)
        return
    for count in chosen.images:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder) / "images", count)
            for mode in MODES:
                _row(folder, mode, count, chosen.steps)


def _row(folder: str, mode: str, count: int, steps: int) -> None:
    line = [sys.executable, __file__, "--child", folder, mode, f"--steps={steps}"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=dict(os.environ))
    (found,) = [row for row in done.stdout.splitlines() if row.startswith("ROW ")]
    row = json.loads(found.removeprefix("ROW "))
    figures = (
        f"waits {row['waiting']:.1%}, {row['examples_per_second']:.0f} examples/s, "
        f"peak {row['peak_mb']:.0f} MB, loaded in {row['load']:.1f} s, again in {row['load_again']:.2f} s"
    )
    show(f"{count:,} images, {mode}", figures)


if __name__ == "__main__":
    main()
