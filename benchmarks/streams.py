"""Training from TFRecord files against arrays in memory: time of an epoch, waiting for data, peak memory.

    python benchmarks/streams.py [--records 2000 200000] [--steps 300] [--network small]

Images of 32 x 32 in colours, JPEG, made of MNIST's, are written into 16 files, and 600 each for validation
and testing into others. A network, the small one of ``benchmarks/input.py`` or resnet8, is trained on them in
batches of 32, in a process of its own for each row: from the files, and from arrays. ``--steps 0`` trains one
whole epoch. Waiting is the time from asking for a batch until it is there, as a share of the time of all
steps but the first. Seconds of processors are those of training and evaluation, which a busy machine changes
least. Peak memory is that of the whole process, which also reads all files first, and evaluates the test part
at the end. Loading is the one reading of all files. Needs MNIST in PRUNEFLOW_DATA_DIR or the cache folder.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from commands import show
from input import BATCH, network, train
from PIL import Image

from pruneflow.datasets.batches import steps_per_epoch
from pruneflow.datasets.reading.cache import cache_folder
from pruneflow.datasets.spec import Data, Part
from pruneflow.datasets.tfrecord import TfRecord
from pruneflow.models.resnet8 import Resnet8
from pruneflow.runtime import backend

SIDE, FILES = 32, 16
HELD = 600  # records for validation, and for testing, whatever the number for training
MODES = ("stream", "arrays")
RESNET8 = Resnet8(name="resnet8", filters=[16, 32, 64], output_activation="linear")
NETWORKS = {"small": network, "resnet8": lambda data: RESNET8.build(data.spec)}
SPECIFICATION = f"""example: {{name: image, kind: image, shape: [{SIDE}, {SIDE}, 3]}}
label: {{name: label}}
"""


def make(folder: Path, count: int) -> None:
    """Write ``count`` records to train on, images with colours and noise of their own, and `HELD` others."""
    folder.mkdir(parents=True)
    (folder / "features.yaml").write_text(SPECIFICATION, encoding="utf-8")
    with np.load(cache_folder(None) / "mnist.npz") as arrays:
        images, labels = np.pad(arrays["x_train"], ((0, 0), (2, 2), (2, 2))), arrays["y_train"]
    files = {f"train-{n:05}": each for n, each in enumerate(np.array_split(np.arange(count), FILES))}
    files |= {name: np.arange(HELD) for name in ("validation", "test")}
    rng = np.random.default_rng(0)
    for name, numbers in files.items():
        with backend.tensorflow().io.TFRecordWriter(str(folder / f"{name}.tfrecord")) as writer:
            for number in numbers % len(images):
                ink = rng.integers(0, 256, 3) - 128
                pixels = images[number][..., None].astype(np.int64) * ink // 256 + 128
                noisy = (pixels + rng.integers(-6, 7, pixels.shape)).clip(0, 255).astype(np.uint8)
                writer.write(record(noisy, int(labels[number])))


def record(pixels: np.ndarray, label: int) -> bytes:
    """One image and its label."""
    train, content = backend.tensorflow().train, io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=90)
    features = {
        "image": train.Feature(bytes_list=train.BytesList(value=[content.getvalue()])),
        "label": train.Feature(int64_list=train.Int64List(value=[label])),
    }
    example = train.Example(features=train.Features(feature=features))
    return bytes(example.SerializeToString())


def loaded(folder: Path, mode: str) -> Data:
    """The files as a data set, or its examples in memory."""
    data = TfRecord(
        name="digits",
        path=str(folder),
        features=None,
        train=None,
        validation=None,
        test=None,
        class_names=None,
        resize="bilinear",
        standardise=True,
        shuffle_buffer=2048,
        parallel_files=8,
        test_fraction=0.05,
        validation_fraction=0.05,
        split_seed=0,
        limit=None,
    ).load()
    if mode == "stream":
        return data
    train, validation, test = (Part(part.x[:], part.y) for part in (data.train, data.validation, data.test))
    return Data(data.name, data.spec, train, validation, test)


def child(folder: Path, mode: str, name: str, steps: int) -> None:
    """One row, in this process; prints JSON."""
    start = time.perf_counter()
    data = loaded(folder, mode)
    row = {"load": time.perf_counter() - start}
    start = time.process_time()
    row |= train(data, steps or steps_per_epoch(len(data.train), BATCH) - 1, NETWORKS[name])
    row["processor"] = time.process_time() - start
    row["epoch"] = len(data.train) / row["examples_per_second"]
    row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("ROW " + json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[2_000, 200_000])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(Path(chosen.child[0]), chosen.child[1], chosen.network, chosen.steps)
        return
    for count in chosen.records:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder) / "records", count)
            for mode in chosen.modes:
                _row(Path(folder) / "records", mode, chosen.network, count, chosen.steps)


def _row(folder: Path, mode: str, name: str, count: int, steps: int) -> None:
    line = [sys.executable, __file__, "--steps", str(steps), "--network", name, "--child", str(folder), mode]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    found = next(text for text in done.stdout.splitlines() if text.startswith("ROW "))
    row = json.loads(found.removeprefix("ROW "))
    figures = (
        f"epoch {row['epoch']:.1f} s, waits {row['waiting']:.1%}, {row['processor']:.1f} s of processors, "
        f"peak {row['peak_mb']:.0f} MB, loaded in {row['load']:.1f} s"
    )
    show(f"{count:,} records, {mode}", figures)


if __name__ == "__main__":
    main()
