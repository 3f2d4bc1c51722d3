"""Examples in TFRecord files: read by place one by one, or as a stream for training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.decoding import Decoding, UndecodableError
from pruneflow.datasets.reading.features import Features
from pruneflow.datasets.reading.shards import FRAME, HEADER, Shards
from pruneflow.errors import DataError
from pruneflow.runtime import backend

BLOCK = 16  # records that are taken of one file before the next has its turn

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shuffling:
    """The settings of the order in which records are trained on.

    Attributes:
        buffer: Records of which the next one is drawn.
        files: Files that are read side by side.
    """

    buffer: int
    files: int


@dataclass(frozen=True, eq=False)
class RecordRows:
    """Records of several files, of which only places and SHA-256 are in memory.

    Attributes:
        how: How images become pixels; not used for others.
        mean: (channels,) what is taken off measurements; 0 leaves them.
        scale: (channels,) what the rest is divided by.
    """

    shards: Shards
    features: Features
    how: Decoding
    shuffling: Shuffling
    mean: Floats | float = 0.0
    scale: Floats | float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.features.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """dtype of every row."""
        return self.how.dtype if self.features.is_image else self.features.dtype

    @property
    def digests(self) -> npt.NDArray[np.uint8]:
        """(n, 32) uint8, SHA-256 of the example in each record."""
        return self.shards.digests

    def scaled(self, mean: Floats, scale: Floats) -> RecordRows:
        """The same measurements with other scales, see `mean` and `scale`."""
        return replace(self, mean=mean, scale=scale)

    def read(self, numbers: Indices) -> npt.NDArray[Any]:
        """Read the rows ``numbers`` (k,); see `pruneflow.datasets.rows.Source`."""
        records = np.empty(len(numbers), object)
        owners = np.searchsorted(self.shards.starts, numbers, side="right") - 1
        for owner in np.unique(owners):
            mine = np.flatnonzero(owners == owner)
            try:
                records[mine] = self._bytes_of(owner, numbers[mine])
            except OSError:
                raise self._changed(int(numbers[mine[0]])) from None
        return self.decoded(numbers, records)

    def _bytes_of(self, owner: int, numbers: Indices) -> npt.NDArray[Any]:
        """Read records of one file."""
        found, places = np.empty(len(numbers), object), self.shards.places
        begin = int(places[self.shards.starts[owner]])
        with self.shards.files[owner].open("rb") as file:
            for row, number in enumerate(numbers):
                file.seek(int(places[number]) - begin + HEADER)
                found[row] = file.read(int(places[number + 1] - places[number]) - FRAME)
        return found

    def decoded(self, numbers: Indices, records: Sequence[bytes] | npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Decode records.

        Args:
            numbers: (k,) their numbers.
            records: (k,) their bytes.

        Returns:
            (k, *shape).
        """
        rows = np.empty((len(numbers), *self.shape), self.dtype)
        if not len(numbers):
            return rows
        found = self._parsed(numbers, records)
        if not self.features.is_image:
            rows[...] = found if self.features.kind == "tokens" else (found - self.mean) / self.scale
            return rows
        for row, number, content in zip(rows, numbers, found, strict=True):
            try:
                row[...] = self.how.pixels(content)
            except UndecodableError as error:
                called = self.shards.called(number)
                raise DataError(f"{called}: its image cannot be decoded ({error}). Leave it out.") from None
        return rows

    def _parsed(self, numbers: Indices, records: Any) -> npt.NDArray[Any]:
        try:
            found, _ = self.features.parsed(records)
        except ValueError:
            raise self._changed(int(numbers[0])) from None
        for number, each in zip(numbers, found, strict=True):
            if hashlib.sha256(each).digest() != self.digests[number].tobytes():
                raise self._changed(int(number))
        return found

    def _changed(self, number: int) -> DataError:
        return DataError(f"{self.shards.called(number)}: changed or vanished while it was in use. Run again.")

    def stream(self, at: Indices, seed: tuple[int, ...], epoch: Any) -> Any:
        """Read the records of one epoch, in an order that ``seed`` and ``epoch`` fix.

        Files come in a drawn order, some side by side, a block of records of each in turn; the next record
        is drawn from a buffer.

        Args:
            at: (k,) numbers of the records, ascending.
            epoch: () int64, a tensor.

        Returns:
            A ``tf.data.Dataset`` of (number, record).
        """
        tf = backend.tensorflow()
        files = np.unique(np.searchsorted(self.shards.starts, at, side="right") - 1)

        def drawn(number: Any) -> tuple[Indices, np.int64]:
            chance = np.random.default_rng([*seed, int(number)])
            return chance.permutation(files), chance.integers(1 << 31, dtype=np.int64)

        order, chance = tf.numpy_function(drawn, [epoch], [tf.int64, tf.int64], stateful=False)
        tf.random.set_seed(1)  # of the graph of this function; the seed of the process would count too
        found = tf.data.Dataset.from_tensor_slices(tf.ensure_shape(order, [len(files)])).interleave(
            _blocks(self.shards, at), self.shuffling.files, num_parallel_calls=self.shuffling.files
        )
        return found.unbatch().shuffle(
            self.shuffling.buffer, tf.ensure_shape(chance, []), reshuffle_each_iteration=False
        )


def _blocks(shards: Shards, at: Indices) -> Callable[[Any], Any]:
    """Return a function from a place of a file to its records, block by block, with their numbers."""
    tf = backend.tensorflow()
    wanted = np.zeros(len(shards), bool)
    wanted[at] = True
    files = [str(file) for file in shards.files]
    with tf.init_scope():  # constants of a graph are copied several times
        names, starts, taken = (tf.constant(each) for each in (files, shards.starts, wanted))

    def chosen(numbers: Any, records: Any) -> tuple[Any, Any]:
        mine = tf.gather(taken, numbers)
        return tf.boolean_mask(numbers, mine), tf.boolean_mask(records, mine)

    def blocks(file: Any) -> Any:
        numbers = tf.data.Dataset.range(starts[file], starts[file + 1])
        none = tf.data.Dataset.from_tensors(b"").repeat()  # noticed where a file ends earlier than it did
        records = tf.data.TFRecordDataset(names[file]).concatenate(none)
        return tf.data.Dataset.zip((numbers, records)).batch(BLOCK).map(chosen)

    return blocks
