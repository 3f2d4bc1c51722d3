"""Ids of channels: elements of tensors and weights with one id stay or go together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

STAYS = 0  # the id of what is never removed


@dataclass(frozen=True)
class Tensor:
    """The ids of one tensor, without its batch.

    Attributes:
        ids: One id per element; an axis of length 1 stands for equal ids along the whole axis.
        shape: Of the tensor; None where a size is not known.
    """

    ids: IntArray
    shape: tuple[int | None, ...]

    @property
    def full(self) -> IntArray:
        """The ids of all elements; an axis of unknown size has length 1."""
        sizes = [1 if size is None else size for size in self.shape]
        return np.broadcast_to(self.ids, np.broadcast_shapes(self.ids.shape, tuple(sizes)))


class Ids:
    """Ids that can be united (union-find). What is united with `STAYS` stays.

    >>> ids = Ids()
    >>> a, b = ids.fresh(2), ids.fresh(2)
    >>> ids.unite(a, b)
    >>> ids.unite(b[:1], STAYS)
    >>> ids.roots(np.concatenate([a, b]))
    array([0, 2, 0, 2])
    """

    def __init__(self) -> None:
        self._parents = np.zeros(1, np.int64)

    def __len__(self) -> int:
        """Return how many ids there are."""
        return len(self._parents)

    def fresh(self, count: int) -> IntArray:
        """Return ``count`` new ids, (count,)."""
        first = len(self._parents)
        made = np.arange(first, first + count, dtype=np.int64)
        self._parents = np.concatenate([self._parents, made])
        return made

    def roots(self, ids: npt.ArrayLike) -> IntArray:
        """Return for each id the one that stands for all ids united with it."""
        found = np.asarray(ids, np.int64)
        while True:
            above = self._parents[found]
            if np.array_equal(above, found):
                return found
            found = above

    def unite(self, one: npt.ArrayLike, other: npt.ArrayLike) -> None:
        """Unite ids element by element, broadcast as NumPy does; the lowest id stands for all."""
        pairs = np.stack(np.broadcast_arrays(self.roots(one), self.roots(other)), axis=-1).reshape(-1, 2)
        pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
        for first, second in pairs.tolist():
            low, high = sorted((self._root(first), self._root(second)))
            self._parents[high] = low

    def _root(self, each: int) -> int:
        while self._parents[each] != each:
            self._parents[each] = self._parents[self._parents[each]]
            each = int(self._parents[each])
        return each
