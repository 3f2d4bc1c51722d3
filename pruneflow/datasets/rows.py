"""Examples that stay in files and are read when they are asked for: memory does not grow with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Examples", "Rows", "Source"]

Indices = npt.NDArray[np.int64]


class Source(Protocol):
    """A source of rows; several threads may read at once."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """dtype of every row."""

    @property
    def digests(self) -> npt.NDArray[np.uint8]:
        """(n, 32) uint8, SHA-256 of each row."""

    def read(self, numbers: Indices) -> npt.NDArray[Any]:
        """Read rows.

        Args:
            numbers: (k,) places of the rows, in any order.

        Returns:
            (k, *shape).

        Raises:
            DataError: if a row is no longer what it was.
        """


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a source, in an order of their own; slices and arrays of integers read them.

    Attributes:
        source: Where they are.
        at: (n,) places of the rows in it.
    """

    source: Source
    at: Indices

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *shape of a row)."""
        return (len(self.at), *self.source.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """dtype of every row."""
        return self.source.dtype

    @property
    def digests(self) -> npt.NDArray[np.uint8]:
        """(n, 32) uint8, SHA-256 of each row in turn."""
        return self.source.digests[self.at]

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, chosen: slice | Indices) -> npt.NDArray[Any]:
        return self.source.read(self.at[chosen])

    def taken(self, chosen: Indices) -> Rows:
        """The rows at the places ``chosen`` (k,), without reading them."""
        return Rows(self.source, self.at[chosen])


Examples = npt.NDArray[Any] | Rows
"""Examples in memory, or in files."""
