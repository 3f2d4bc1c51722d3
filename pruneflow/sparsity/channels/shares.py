"""The number of units of each group that stay, so that a share of the network goes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pruneflow.sparsity.channels.groups import Channels, Counts

# (group, units now, units then) -> when it happens, ascending
Order = Callable[[int, int, int], tuple[float, ...]]


@dataclass(frozen=True)
class Step:
    """One group becomes smaller.

    Attributes:
        group: Its index.
        count: Units that stay.
    """

    group: int
    count: int


def ladder(size: int, least: int, multiple: int) -> list[int]:
    """Return the counts that a group may have, from all its units down.

    Args:
        size: Units of the group.
        least: How many stay at least, 1 or more.
        multiple: What counts have to be multiples of, where a group has more units than that.

    >>> ladder(40, 1, 16), ladder(16, 1, 16)[:3], ladder(4, 2, 1)
    ([40, 32, 16], [16, 15, 14], [4, 3, 2])
    """
    if size <= multiple:
        multiple = 1
    below = range((size - 1) // multiple * multiple, 0, -multiple)
    return [size, *(count for count in below if count >= least)]


def steps(ladders: Sequence[Sequence[int]], when: Order) -> list[Step]:
    """Return the steps of all groups down their ladders, in order; none before one above it on its ladder."""
    found: list[tuple[Any, Step]] = []
    for group, counts in enumerate(ladders):
        latest: Any = None
        for now, then in pairwise(counts):
            wanted = when(group, now, then)
            latest = wanted if latest is None else max(latest, wanted)
            found.append((latest, Step(group, then)))
    return [step for _, step in sorted(found, key=lambda each: each[0])]


def counts_for(channels: Channels, of: str, share: float, start: Counts, order: Sequence[Step]) -> Counts:
    """Return the counts on the way down whose share of what is removed is nearest to ``share``.

    Args:
        of: What the share is of, of `SHARES`.
        share: What is asked for, [0, 1).
        start: Counts before the first step.
    """

    def reached(taken: int) -> float:
        return channels.share(of, _after(start, order[:taken]))

    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= share else (middle + 1, high)
    nearest = min((max(0, low - 1), low), key=lambda taken: abs(reached(taken) - share))
    return _after(start, order[:nearest])


def fewest(ladders: Sequence[Sequence[int]]) -> Counts:
    """Return the lowest count of each ladder."""
    return np.array([counts[-1] for counts in ladders], np.int64)


def _after(start: Counts, taken: Sequence[Step]) -> Counts:
    counts: Counts = start.copy()
    for step in taken:
        counts[step.group] = step.count
    return counts
