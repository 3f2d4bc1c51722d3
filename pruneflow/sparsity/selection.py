"""The choice of the units of a weight that are kept: exactly as many as asked for, in NumPy."""

from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating[Any]]
Kept = npt.NDArray[np.bool_]
Sizes = int | npt.NDArray[np.integer[Any]]

SAMPLE = 1 << 16  # scores that are looked at first, of many; so many are sorted as quickly as anything


def kept_count(size: int, sparsity: float) -> int:
    """Elements that tfmot keeps of ``size`` at ``sparsity``: max(round(n (1 - s)), 1), in float32.

    Halves are rounded to the even neighbour, as ``tf.round`` does. At sparsity 0 all are kept.

    Args:
        size: Number of elements, 0 or more.
        sparsity: Fraction of zeros, [0, 1].

    Returns:
        At most ``size``; at least 1 where there is one.

    >>> kept_count(10, 0.8), kept_count(5, 0.5), kept_count(1, 0.9)
    (2, 2, 1)
    """
    if sparsity <= 0:
        return size
    exact = np.float32(size) * (np.float32(1) - np.float32(sparsity))
    return min(max(int(np.rint(exact)), 1), size)


def keep_largest(scores: Scores, count: int) -> tuple[Kept, float]:
    """Keep exactly ``count`` scores, the largest; of equal ones those with the lowest index.

    NaN ranks above infinity, so that a network which diverged still has masks of the right size.

    Args:
        scores: One per unit, 1-D, higher = keep.
        count: How many are kept, 1 to ``len(scores)``.

    Returns:
        True for each unit that is kept, and the lowest score among them.

    >>> keep_largest(np.array([3.0, 1.0, 3.0, 3.0]), 2)
    (array([ True, False,  True, False]), 3.0)
    """
    return (len(scores) > SAMPLE and _by_sample(scores, count)) or _by_sorting(scores, count)


def keep_by_size(scores: Scores, sizes: Sizes, zeros: int) -> tuple[Kept, float]:
    """Mask the lowest scores, so that the elements they stand for come as close to ``zeros`` as they can.

    Of equal scores the highest index is masked first; of two sums that are equally close the smaller one
    counts. At least one unit is kept.

    Args:
        scores: One per unit, 1-D, higher = keep.
        sizes: Elements of each unit, 1 or more; one number where all have as many.
        zeros: Elements to mask, 0 or more.

    Returns:
        True for each unit that is kept, and the lowest score among them.

    >>> keep_by_size(np.array([1.0, 2.0, 3.0]), np.array([4, 4, 2]), 5)
    (array([False,  True,  True]), 2.0)
    """
    if isinstance(sizes, int):
        return keep_largest(scores, max(1, len(scores) - nearest_units(zeros, sizes)))
    order = _ascending(scores)
    masked_elements = np.concatenate([[0], np.cumsum(sizes[order[:-1]])])
    masked = int(np.argmin(np.abs(masked_elements - zeros)))
    kept = np.ones(len(scores), np.bool_)
    kept[order[:masked]] = False
    return kept, float(scores[order[masked]])


def nearest_units(elements: int, size: int) -> int:
    """Units of ``size`` elements that come closest to ``elements``; the fewer where two are as close.

    >>> nearest_units(5, 4), nearest_units(6, 4), nearest_units(7, 4)
    (1, 1, 2)
    """
    return (2 * elements + size - 1) // (2 * size)


def keep_at_least(scores: Scores, sizes: Sizes, elements: int) -> Kept:
    """Keep the fewest highest scores that stand for ``elements`` elements or more.

    Args:
        scores: One per unit, 1-D, higher = keep; of equal ones those with the lowest index.
        sizes: Elements of each unit, 1 or more; one number where all have as many.
        elements: Elements to keep, 1 to their number.

    Returns:
        True for each unit that is kept.
    """
    if isinstance(sizes, int):
        return keep_largest(scores, min(len(scores), -(-elements // sizes)))[0]
    order = _ascending(scores)[::-1]
    count = int(np.searchsorted(np.cumsum(sizes[order]), elements)) + 1
    kept = np.zeros(len(scores), np.bool_)
    kept[order[:count]] = True
    return kept


def _by_sorting(scores: Scores, count: int) -> tuple[Kept, float]:
    """Do the work of `keep_largest` for any scores."""
    lowest = len(scores) - count
    threshold = (np.sort(scores) if len(scores) <= SAMPLE else np.partition(scores, lowest))[lowest]
    kept = np.isnan(scores) if np.isnan(threshold) else ~(scores < threshold)
    excess = np.count_nonzero(kept) - count
    if excess:
        ties = kept if np.isnan(threshold) else scores == threshold
        kept[np.flatnonzero(ties)[-excess:]] = False
    return kept, float(threshold)


def _by_sample(scores: Scores, count: int) -> tuple[Kept, float] | None:
    """The same, looked for between two values that a sample says it lies between (Floyd and Rivest 1975).

    Of many equal numbers, as of a weight most of which is zero, ``np.partition`` takes up to forty times as
    long as of different ones; this mostly takes as long as it does of those.

    Returns:
        None where the sample was wrong, or there are too many NaN.
    """
    stride = max(8, len(scores) // SAMPLE)
    sample = np.sort(scores[::stride])
    last = len(sample) - 1
    place = max(0, last - count // stride)
    above_guess = len(scores) - np.count_nonzero(scores <= sample[place])
    off = (int(above_guess) - count) // stride  # how wrong the first guess is
    margin = 8 + int(4 * abs(off) ** 0.5)
    low, high = (sample[min(last, max(0, place + off + far))] for far in (-margin, margin))
    up_to_high, up_to_low = scores <= high, scores <= low  # NaN is in neither, and so ranks highest
    missing = count - (len(scores) - int(np.count_nonzero(up_to_high)))
    candidates = np.flatnonzero(np.not_equal(up_to_high, up_to_low, out=up_to_low))
    kept = np.logical_not(up_to_high, out=up_to_high)
    if 0 < missing <= len(candidates):
        chosen, threshold = _by_sorting(scores[candidates], missing)
        kept[candidates[chosen]] = True
        return kept, threshold
    ties = np.flatnonzero(scores == low)
    if not len(candidates) < missing <= len(candidates) + len(ties):
        return None
    kept[candidates] = True
    kept[ties[: missing - len(candidates)]] = True
    return kept, float(low)


def _ascending(scores: Scores) -> npt.NDArray[np.intp]:
    """Indices from the lowest score to the highest, of equal ones the highest index first."""
    backwards = np.argsort(scores[::-1], kind="stable")
    return len(scores) - 1 - backwards
