"""Sources of rows of images: a file of pixels, or the image files themselves."""

from __future__ import annotations

import hashlib
import os
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.decoding import Decoding, UndecodableError, in_parallel
from pruneflow.datasets.reading.folders import Listing
from pruneflow.datasets.reading.names import printable
from pruneflow.errors import DataError
from pruneflow.runtime.terminal import bar

BYTE = np.dtype(np.uint8)
ROWS_AT_ONCE = 64  # read and hashed together

Digests = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CachedRows:
    """Rows of a file, read one by one; it stays open, so that another run may replace it.

    Attributes:
        digests: (n, 32) uint8, SHA-256 of each row.
    """

    file: Path
    descriptor: int
    shape: tuple[int, ...]
    digests: Digests
    dtype: np.dtype[Any] = BYTE

    @classmethod
    def opened(
        cls, file: Path, shape: tuple[int, ...], digests: Digests, dtype: np.dtype[Any] = BYTE
    ) -> CachedRows:
        """Open ``file``, which holds row after row."""
        pixels = cls(file, os.open(file, os.O_RDONLY), shape, digests, dtype)
        weakref.finalize(pixels, os.close, pixels.descriptor)
        return pixels

    def read(self, numbers: Indices) -> npt.NDArray[Any]:
        """Read the rows ``numbers`` (k,); see `pruneflow.datasets.rows.Source`."""
        rows = np.empty((len(numbers), *self.shape), self.dtype)
        size = int(np.prod(self.shape)) * self.dtype.itemsize
        for row, number in zip(rows, numbers, strict=True):
            content = os.pread(self.descriptor, size, int(number) * size)
            if len(content) != size:
                raise DataError(f"{self.file}: cut short while it was in use. Run again.")
            row[...] = np.frombuffer(content, self.dtype).reshape(self.shape)
        return rows


@dataclass(frozen=True, eq=False)
class DecodedRows:
    """Image files, decoded when they are read.

    Attributes:
        digests: (n, 32) uint8, SHA-256 of the pixels that each must give.
        index: File that holds these, which is deleted where they are wrong, so that the next run makes them
            anew; None where there is none.
    """

    listing: Listing
    how: Decoding
    shape: tuple[int, ...]
    digests: Digests
    index: Path | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of their pixels."""
        return self.how.dtype

    def read(self, numbers: Indices) -> npt.NDArray[Any]:
        """Read the rows ``numbers`` (k,); see `pruneflow.datasets.rows.Source`."""
        rows = np.empty((len(numbers), *self.shape), self.dtype)
        for row, number in zip(rows, numbers, strict=True):
            row[...] = self._decoded(int(number))
        return rows

    def _decoded(self, number: int) -> npt.NDArray[Any]:
        file = self.listing.root / self.listing.names[number]
        try:
            pixels = self.how.decode(file)
            if hashlib.sha256(np.ascontiguousarray(pixels).data).digest() == self.digests[number].tobytes():
                return pixels
            changed = True
        except DataError as error:
            changed = isinstance(error, UndecodableError)
        if changed and self.index:
            with suppress(OSError):
                self.index.unlink(missing_ok=True)
        raise DataError(f"{printable(str(file))}: changed or vanished while it was in use. Run again.")


def verify(source: CachedRows, root: Path) -> None:
    """Compare every row with its SHA-256.

    Raises:
        DataError: if one is another.
    """
    count = len(source.digests)
    starts = range(0, count, ROWS_AT_ONCE)

    def differs(start: int) -> bool:
        at = np.arange(start, min(start + ROWS_AT_ONCE, count))
        return _digests(source.read(at)) != source.digests[at].tobytes()

    with bar(f"Checking {count:,} decoded images", total=count) as advance:
        for found in in_parallel(differs, starts):
            advance(min(ROWS_AT_ONCE, count - int(advance.done)))
            if found:
                raise DataError(f"pixels of {root.name} are not those that were written")


def _digests(rows: npt.NDArray[np.uint8]) -> bytes:
    return b"".join(hashlib.sha256(row.data).digest() for row in rows)
