"""Examples that stay in files and are read when they are asked for, or as a stream.

Memory holds a hash and a place of each, and nothing else that grows with their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

ROWS_AT_ONCE = 1024

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


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
        """


@runtime_checkable
class Streamed(Source, Protocol):
    """A source that training reads from end to end, as it is slower to read here and there."""

    def stream(self, at: Indices, seed: tuple[int, ...], epoch: Any) -> Any:
        """Return a ``tf.data.Dataset`` of (number, record) for one epoch.

        Args:
            at: (k,) places of the rows, ascending.
            seed: With the epoch, fixes the order.
            epoch: () int64, a tensor.
        """

    def decoded(self, numbers: Indices, records: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn (k,) records of a stream into (k, *shape), as `read` would give them."""

    def scaled(self, mean: Floats, scale: Floats) -> Streamed:
        """Return the same measurements, ``(x - mean) / scale`` of what the files hold, (channels,) each."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a source, in an order of their own; slices and arrays of integers read them.

    Attributes:
        at: (n,) places of the rows in it; ascending where the source is `Streamed`.
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

    @property
    def streamed(self) -> Streamed | None:
        """The source, if training reads it as a stream."""
        return self.source if isinstance(self.source, Streamed) else None

    def scaled(self, mean: Floats, scale: Floats) -> Rows:
        """The same measurements with other scales; see `Streamed.scaled`."""
        assert self.streamed, "only streams hold measurements"
        return Rows(self.streamed.scaled(mean, scale), self.at)

    def taken(self, chosen: Indices) -> Rows:
        """The rows at the places ``chosen`` (k,), without reading them."""
        return Rows(self.source, self.at[chosen])


Examples = npt.NDArray[Any] | Rows
"""Examples in memory, or in files."""


def chunks(x: Examples) -> Iterator[npt.NDArray[Any]]:
    """Yield all examples in turn, some at a time."""
    for start in range(0, len(x), ROWS_AT_ONCE):
        yield x[start : start + ROWS_AT_ONCE]
