"""The settings ``sharing``, and k-means in one dimension: the weights that pruning kept get few values."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.options import at_most, require, require_number, whole_from

MOST = 256  # an int8 file has no more levels, and an index of one byte names no more
LEVELS = 16  # of int4
PLACES = 512  # twice as many places are looked at to divide a weight of more values than that

Array = npt.NDArray[Any]


@dataclass(kw_only=True)
class Sharing:
    """Values that the weights share after pruning."""

    values: int | None
    epochs: int = at_most(1_000_000)

    def __post_init__(self) -> None:
        remedy = "16 makes files a good deal smaller; null shares no values."
        require_number("sharing.values", self.values, whole_from(2, MOST).said("{}, or null"), remedy)
        require_number("sharing.epochs", self.epochs, whole_from(0), "Raise it.")
        problem = "there are no shared values to train, since sharing.values=null"
        remedy = "Set sharing.values=16, or sharing.epochs=0."
        require(not self.epochs or self.values is not None, "sharing.epochs", self.epochs, problem, remedy)

    def check_exports(self, option: str, kinds: Collection[str]) -> None:
        """Refuse as many values as int4 has levels anyway."""
        fits = self.values is None or self.values < LEVELS or {*kinds} != {"int4"}
        problem = f"export={option} has {LEVELS} levels anyway, so that as many shared values add nothing"
        remedy = "Take 8 or fewer, leave it out, or take another export."
        require(fits, "sharing.values", self.values, problem, remedy)


def shared(weight: Array, count: int) -> Array:
    """Replace the numbers in a weight that are not zero by few, with the least squared error.

    A dynamic program finds the best division of the sorted numbers (Wang and Song 2011, Ckmeans.1d.dp).
    Of more than 1,024 different numbers it looks at about as many places to divide them, half of them equally
    far apart in rank and half in value.

    Returns:
        A copy, in which zeros, and no others, are zero.

    >>> shared(np.array([0.0, 1.0, 1.5, 4.0, -2.0, 0.0]), 3)
    array([ 0.  ,  1.25,  1.25,  4.  , -2.  ,  0.  ])
    """
    copy: Array = weight.copy()
    found = copy != 0
    numbers, index, times = np.unique(copy[found], return_inverse=True, return_counts=True)
    if len(numbers) > count:
        copy[found] = _centres(numbers.astype(np.float64), times, count)[index]
    return copy


def _centres(numbers: Array, times: Array, count: int) -> Array:
    """The number that each of the sorted ``numbers``, there so many ``times``, is replaced by."""
    places = _places(numbers)
    sums = [np.concatenate([[0.0], np.cumsum(times * numbers**power)])[places] for power in (0, 1, 2)]
    cuts = places[_divided(sums, count)]
    sizes, totals = (np.add.reduceat(times * numbers**power, cuts[:-1]) for power in (0, 1))
    means, last = totals / sizes, numbers[cuts[1:] - 1]
    centres = np.where(means == 0, last, means)  # what is kept does not become zero
    replaced: Array = centres.repeat(np.diff(cuts))
    return replaced


def _places(numbers: Array) -> Array:
    """Return the places among sorted numbers at which clusters may begin: all, unless there are too many."""
    size = len(numbers)
    if size <= 2 * PLACES:
        return np.arange(size + 1)
    by_rank = np.linspace(0, size, PLACES + 1).astype(np.int64)
    by_value = np.searchsorted(numbers, np.linspace(numbers[0], numbers[-1], PLACES + 1))
    places: Array = np.unique(np.concatenate([by_rank, by_value]))
    return places


def _divided(sums: list[Array], count: int) -> Array:
    """Return which places divide the numbers into ``count`` clusters with the least squared error.

    Args:
        sums: Number, sum and sum of squares of all numbers before each place.
        count: Clusters; there are more places.
    """
    size, total, squares = (each[np.newaxis, :] - each[:, np.newaxis] for each in sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(size > 0, squares - total**2 / size, np.inf)  # of a cluster from row to column
    least, before = errors[0], []
    for _ in range(count - 1):
        together = least[:, np.newaxis] + errors
        before.append(together.argmin(axis=0))
        least = together.min(axis=0)
    cuts = [len(least) - 1]
    for begins in reversed(before):
        cuts.append(int(begins[cuts[-1]]))
    return np.array([0, *reversed(cuts)])
