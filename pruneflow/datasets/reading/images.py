"""Images and their labels: what both halves of a data set must be, whatever file they came from."""

from pathlib import Path

import numpy as np

from pruneflow.datasets.reading.checks import Array, Arrays, checked_labels, described, expect
from pruneflow.datasets.spec import Part, Spec
from pruneflow.datasets.split import Halves

LAYOUT = ("x_train", "y_train", "x_test", "y_test")
CHANNELS = (1, 3)


def checked_images(path: Path, arrays: Arrays, *, note: str = "", origin: str = "") -> tuple[Halves, Spec]:
    """Check the four arrays of a data set of images.

    The number of classes is the largest label of the training half + 1, at least 2.

    Args:
        arrays: ``x_train`` and ``x_test``, (n, height, width) or (n, height, width, 1 or 3) uint8, alike but
            for n; ``y_train`` and ``y_test``, (n,) integers.
        note: What a reader of the numbers must know.
        origin: Where the file came from, if it remembers that.

    Returns:
        Halves with images (n, height, width, channels), and what a model must know of them.
    """
    x_train, x_test = (_pixels(path, name, arrays[name]) for name in ("x_train", "x_test"))
    same = x_train.shape[1:] == x_test.shape[1:]
    expect(same, path, "x_test", f"images of {x_train.shape[1:]} as in x_train", described(x_test))
    classes = _classes(path, arrays["y_train"])
    y_train, y_test = (
        checked_labels(path, name, arrays[name], count=len(x), classes=classes)
        for name, x in (("y_train", x_train), ("y_test", x_test))
    )
    spec = Spec(kind="image", shape=x_train.shape[1:], classes=classes)
    return Halves(Part(x_train, y_train), Part(x_test, y_test), note, origin), spec


def _pixels(path: Path, name: str, x: Array) -> Array:
    expected = "uint8 (n, height, width) or (n, height, width, 1 or 3), at least one image"
    if x.dtype.kind == "f":
        expected += "; round and convert with astype('uint8'), after * 255 if 1 is white"
    shaped = x.ndim == 3 or (x.ndim == 4 and x.shape[3] in CHANNELS)
    expect(x.dtype == np.uint8 and shaped and x.size > 0, path, name, expected, _told(x))
    return x[..., None] if x.ndim == 3 else x


def _told(x: Array) -> str:
    finite = x.dtype.kind != "f" or bool(np.isfinite(x).all())
    return described(x) + ("" if finite else " with NaN or infinity in it")


def _classes(path: Path, y_train: Array) -> int:
    """Count classes; a label far beyond the others is a mistake, not a class."""
    if y_train.dtype.kind not in "iu" or y_train.size == 0:
        return 2  # `checked_labels` says what is wrong
    classes, occur = max(int(y_train.max()) + 1, 2), len(np.unique(y_train))
    found = f"{occur} different ones up to {classes - 1}"
    expect(2 * occur >= classes, path, "y_train", "labels 0 to k - 1, half of which occur", found)
    return classes
