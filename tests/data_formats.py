"""The same few images and reviews in the forms in which data sets are published."""

from __future__ import annotations

import csv
import gzip
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from data_fixtures import mnist_arrays

IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}

REVIEWS = {
    "train/neg/0_1.txt": "A bad film.",
    "train/neg/1_2.txt": "Bad, bad, bad...",
    "train/neg/2_2.txt": "It was a bore",
    "train/pos/0_9.txt": "A great film!",
    "train/pos/1_10.txt": "Great<br />fun",
    "train/pos/2_8.txt": "I liked it",
    "test/neg/0_1.txt": "bad",
    "test/pos/0_9.txt": "a great novelty",
}
"""Words of the training half, by count, then by first appearance: bad 4; a 3; film, it, great 2; ..."""


def idx_bytes(array: np.ndarray, *, code: int = 8) -> bytes:
    """An array of bytes as an IDX file, its shape in the header."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


def idx_folder(folder: Path, arrays: dict[str, Any] | None = None, *, packed: bool = False) -> Path:
    """Four IDX files of the small MNIST; ``packed`` as .gz."""
    folder.mkdir(exist_ok=True)
    for name, array in (arrays or mnist_arrays()).items():
        content = idx_bytes(array.astype(np.uint8))
        file = folder / IDX_NAMES[name]
        if packed:
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(content))
        else:
            file.write_bytes(content)
    return folder


def review_folder(folder: Path, reviews: dict[str, str] | None = None) -> Path:
    """The aclImdb folder."""
    for name, text in (REVIEWS if reviews is None else reviews).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def member(name: str, content: bytes = b"", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One member of an archive; ``changes`` are attributes of its TarInfo."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def archive(path: Path, *extra: tuple[tarfile.TarInfo, bytes], top: str = "aclImdb/") -> Path:
    """The .tar.gz of the aclImdb folder, in an order of its own, with further members at the end."""
    reviews = [member(f"{top}{name}", text.encode()) for name, text in reversed(REVIEWS.items())]
    with tarfile.open(path, "w:gz") as opened:
        for info, content in [*reviews, *extra]:
            opened.addfile(info, io.BytesIO(content))
    return path


def table(path: Path, rows: list[tuple[Any, ...]], *, header: tuple[str, ...] = ("text", "label")) -> Path:
    """A CSV file."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def opinions(count: int, *, bad: object = 0, good: object = 1) -> list[tuple[Any, ...]]:
    """Rows of text and label in turn, each with a word of its own."""
    return [(f"a {('bad', 'great')[i % 2]} film w{i}", (bad, good)[i % 2]) for i in range(count)]
