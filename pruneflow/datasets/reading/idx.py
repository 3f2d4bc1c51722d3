"""IDX files, the form in which MNIST, Fashion-MNIST, KMNIST and EMNIST are published: a folder of four.

A file is two zero bytes, a type code (8 = uint8), the number of dimensions, each dimension as a big-endian
32-bit number, and the values (LeCun et al. 1998).
"""

import gzip
import math
import re
import struct
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.checks import Arrays
from pruneflow.datasets.reading.files import LARGEST_BYTES, reading
from pruneflow.errors import DataError

UINT8 = 8


class _Wanted(NamedTuple):
    name: str
    dimensions: int

    @property
    def pattern(self) -> re.Pattern[str]:
        """All published spellings: a prefix, ``test`` for ``t10k``, a dot before ``idx``, ``.gz``."""
        half, content = self.name.split("-")
        half = half.replace("t10k", "(?:t10k|test)")
        return re.compile(rf"(?:.+-)?{half}-{content}[-.]idx{self.dimensions}-ubyte(?:\.gz)?")

    def __str__(self) -> str:
        return f"{self.name}-idx{self.dimensions}-ubyte"


WANTED = {
    "x_train": _Wanted("train-images", 3),
    "y_train": _Wanted("train-labels", 1),
    "x_test": _Wanted("t10k-images", 3),
    "y_test": _Wanted("t10k-labels", 1),
}


def holds_idx(folder: Path) -> bool:
    """Return whether at least one of the four files is in the folder."""
    return any(_matching(folder, wanted) for wanted in WANTED.values())


def read_idx_folder(folder: Path) -> Arrays:
    """Read the four files of a folder.

    Returns:
        ``x_train`` and ``x_test`` (n, height, width), ``y_train`` and ``y_test`` (n,), all uint8.
    """
    found = {array: _only(folder, wanted) for array, wanted in WANTED.items()}
    return {array: read_idx(path, WANTED[array].dimensions) for array, path in found.items()}


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read one file of bytes, plain or .gz.

    What the header declares decides how much is read, so a small file cannot fill the memory.

    Args:
        path: The file; ``.gz`` is unpacked.
        dimensions: Number of dimensions that it must have.
    """
    with reading(path, "a whole IDX file"), _opened(path) as stream:
        shape = _shape(path, stream, dimensions)
        declared = math.prod(shape)
        _check(declared <= LARGEST_BYTES, path, f"its header declares {declared} bytes, too many to read")
        content = stream.read(declared)
        longer = bool(stream.read(1))  # at the end of a .gz, this checks its CRC too
    says = f"its header says {' x '.join(map(str, shape))} = {declared} bytes"
    _check(len(content) == declared, path, f"{says}, it holds {len(content)}: cut short")
    _check(not longer, path, f"{says}, it holds more")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _shape(path: Path, stream: IO[bytes], dimensions: int) -> tuple[int, ...]:
    expected = bytes((0, 0, UINT8, dimensions))
    begins = stream.read(len(expected))
    says = f"an IDX file of uint8 in {dimensions} dimensions begins {expected.hex(' ')}"
    _check(begins == expected, path, f"{says}, this one {begins.hex(' ') or 'is empty'}")
    sizes = stream.read(4 * dimensions)
    _check(len(sizes) == 4 * dimensions, path, "it ends within its header: cut short")
    return struct.unpack(f">{dimensions}I", sizes)


def _only(folder: Path, wanted: _Wanted) -> Path:
    found = _matching(folder, wanted)
    if not found:
        raise DataError(f"{folder / str(wanted)}: no such file, nor {wanted}.gz.")
    _check(len(found) == 1, folder, f"{', '.join(path.name for path in found)}: keep one of them there")
    return found[0]


def _matching(folder: Path, wanted: _Wanted) -> list[Path]:
    """Files of one kind; of a plain one and its .gz the plain one."""
    with reading(folder, "a folder"):
        names = sorted(path.name for path in folder.iterdir() if wanted.pattern.fullmatch(path.name))
    return [folder / name for name in names if name.removesuffix(".gz") not in names or name[-3:] != ".gz"]


def _check(condition: bool, path: Path, problem: str) -> None:
    if not condition:
        raise DataError(f"{path}: {problem}.")
