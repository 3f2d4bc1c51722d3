"""Small TFRecord files of every kind, with their specification."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from own_fixtures import own, picture

from pruneflow.runtime import backend

LISTS = {"bytes": "BytesList", "float": "FloatList", "int64": "Int64List"}


def record(**features: Any) -> bytes:
    """An Example; bytes, float and int64 features go by the type of the first value."""
    tf, held = backend.tensorflow(), {}
    for name, value in features.items():
        values = np.ravel(value).tolist()
        type_ = {bytes: "bytes", float: "float", int: "int64"}[type(values[0])]
        held[name] = tf.train.Feature(**{f"{type_}_list": getattr(tf.train, LISTS[type_])(value=values)})
    return bytes(tf.train.Example(features=tf.train.Features(feature=held)).SerializeToString())


def shard(path: Path, records: Iterable[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with backend.tensorflow().io.TFRecordWriter(str(path)) as writer:
        for each in records:
            writer.write(each)
    return path


def specification(folder: Path, kind: str, shape: Iterable[int], **label: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        "example": {"name": "x", "kind": kind, "shape": list(shape)},
        "label": {"name": "y", **label},
    }
    file = folder / "features.yaml"
    file.write_text(yaml.safe_dump(found))
    return file


def sharded(folder: Path, records: list[bytes], files: int = 3, name: str = "part") -> Path:
    """The records one after another in several files of about equal length."""
    for number, each in enumerate(np.array_split(np.array(records, object), files)):
        shard(folder / f"{name}-{number:05}-of-{files:05}.tfrecord", each)
    return folder


def numbers_of(n: int = 90, features: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Rows of numbers whose class is the sign of the first."""
    x = np.random.default_rng(0).normal(5, 2, (n, features)).astype(np.float32)
    return x, (x[:, 0] > 5).astype(np.int64)


def number_files(folder: Path, n: int = 90, files: int = 3) -> Path:
    x, y = numbers_of(n)
    specification(folder, "numbers", [3])
    return sharded(folder, [record(x=a, y=b) for a, b in zip(x, y, strict=True)], files)


def png(value: int) -> bytes:
    import io

    content = io.BytesIO()
    picture(value).save(content, "PNG")
    return content.getvalue()


def image_files(
    folder: Path,
    n: int = 60,
    classes: tuple[str, ...] = ("cat", "dog"),
    shape: tuple[int, ...] = (6, 5, 3),
) -> Path:
    """Three files of images in red, light ones of the second class, labelled with names."""
    specification(folder, "image", shape, classes=list(classes))
    records = [record(x=png(i if i % 2 else 150 + i), y=classes[1 - i % 2].encode()) for i in range(n)]
    return sharded(folder, records)


def tfrecords(path: Path, **changes: Any) -> Any:
    return own("tfrecord", path=str(path), **changes)
