"""Sensitivity: the cost of masking each weight of a trained network alone, and the shares that cost least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

from pruneflow.options import require, require_number, whole_from
from pruneflow.runtime.records import fitted

SCAN_FILE = "sensitivity.json"

Curve = list[tuple[float, float]]  # (share that is masked, damage), ascending and convex, from (0, 0)


@dataclass(kw_only=True)
class Sensitivity:
    """The settings of a scan."""

    levels: list[float]
    examples: int

    def __post_init__(self) -> None:
        inside = bool(self.levels) and all(0 < level < 1 for level in self.levels)
        require(
            inside and all(one < other for one, other in pairwise(self.levels)),
            "sensitivity.levels",
            self.levels,
            "allowed are one or more ascending numbers between 0 and 1: the shares that are masked",
            "Write for instance sensitivity.levels=[0.5,0.8,0.95].",
        )
        allowed = whole_from(1).said("{}, of examples of the validation part")
        remedy = "2000 tells half a point of accuracy."
        require_number("sensitivity.examples", self.examples, allowed, remedy)


@dataclass(frozen=True)
class Scanned:
    """One weight, or one group of channels, masked alone to several levels.

    Attributes:
        name: ``layer/weight``, or the name of the group.
        size: Elements of the weight, or units of the group.
        share: What it holds of the parameters that can be pruned, or of the multiply-adds, [0, 1].
        sparsities: Share that is masked at each level, as counted.
        losses: Loss at each level.
        accuracies: Accuracy at each level; R2 of a regression.
    """

    name: str
    size: int
    share: float
    sparsities: tuple[float, ...]
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]

    @property
    def mean_loss(self) -> float:
        """Mean loss over the shares that were masked; levels that mask the same share count once."""
        found = dict(zip(self.sparsities, self.losses, strict=True))
        return sum(found.values()) / len(found)

    def curve(self, loss: float) -> Curve:
        """Return the damage as a function of the share that is masked; see `curve_of`."""
        return curve_of(self.sparsities, [each - loss for each in self.losses])


@dataclass(frozen=True)
class Scan:
    """The findings of a scan.

    Attributes:
        metric: ``"accuracy"``, or ``"r2"`` of a regression.
        n: Examples of the validation part that were measured.
        loss: Of the whole network: mean cross-entropy, or mean squared error.
        accuracy: Of the whole network; R2 of a regression.
        levels: Shares that were asked for.
        weights: Each weight, in the order of the network.
    """

    metric: str
    n: int
    loss: float
    accuracy: float
    levels: tuple[float, ...]
    weights: tuple[Scanned, ...]

    @classmethod
    def of(cls, found: Any) -> Scan:
        """Read back what ``asdict`` made of it.

        Raises:
            ValueError: if it is anything else.
        """
        scan: Scan = fitted(found, cls)
        return scan

    def ranked(self) -> list[Scanned]:
        """Return the weights, most sensitive first: by the mean increase of the loss over the shares."""
        return sorted(self.weights, key=lambda each: -each.mean_loss)


def curve_of(sparsities: Sequence[float], increases: Sequence[float]) -> Curve:
    """Return the largest convex function that lies nowhere above the measurements.

    Chance moves measurements: a loss that falls counts as no damage, and one above a line between two others
    does not count.

    >>> curve_of([0.5, 0.8, 0.9], [-0.01, 0.5, 0.2])
    [(0.0, 0.0), (0.5, 0.0), (0.9, 0.2)]
    """
    lowest: dict[float, float] = {}
    for share, increase in zip(sparsities, increases, strict=True):
        lowest[share] = min(lowest.get(share, increase), increase)
    hull: Curve = [(0.0, 0.0)]
    for share, increase in sorted((s, max(0.0, i)) for s, i in lowest.items() if s > 0):
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], (share, increase)):
            hull.pop()
        hull.append((share, increase))
    return hull


def damage_at(curve: Curve, share: float) -> float:
    """Return the damage where a share is masked; beyond the last measurement its slope goes on.

    >>> round(damage_at([(0.0, 0.0), (0.5, 0.0), (0.9, 0.2)], 0.98), 9)
    0.24
    """
    pairs = list(pairwise(curve))
    if not pairs:
        return 0.0
    start, end = next((pair for pair in pairs if share <= pair[1][0]), pairs[-1])
    return start[1] + (share - start[0]) * _slope(start, end)


def shares(
    curves: Mapping[str, Curve], sizes: Mapping[str, int], sparsity: float, *, most: float = 1.0
) -> dict[str, float]:
    """Choose the shares that cost least: the sum of damages is lowest among all that meet the total.

    With d_i the damage of weight i, n_i its size and s_i its share: minimise sum d_i(s_i), subject to
    sum n_i s_i = sparsity * sum n_i and 0 <= s_i <= most. The d_i are convex and piecewise linear, so that it
    is solved by taking pieces in the order of their price, damage per zero. Pieces of one price, such as
    those that cost nothing, are taken in the same part.

    Args:
        curves: Damage of each weight, as `curve_of` gives it.
        sparsity: Of all together, [0, most].
        most: Largest share of one weight.

    >>> shares({"a": [(0, 0), (0.5, 1.0)], "b": [(0, 0), (0.5, 0.1)]}, {"a": 10, "b": 10}, 0.6)
    {'a': 0.2, 'b': 1.0}
    """
    left = sparsity * sum(sizes.values())
    taken = dict.fromkeys(sizes, 0.0)
    pieces = [(*piece, name) for name, size in sizes.items() for piece in _pieces(curves[name], size, most)]
    for _, equal in groupby(sorted(pieces), key=itemgetter(0)):
        alike = list(equal)
        room = sum(zeros for _, zeros, _ in alike)
        part = min(1.0, left / room)
        left = max(0.0, left - room)
        for _, zeros, name in alike:
            taken[name] += part * zeros
    return {name: min(most, zeros / sizes[name]) for name, zeros in taken.items()}


def _pieces(curve: Curve, size: int, most: float) -> Iterator[tuple[float, float]]:
    """Yield price (damage per zero) and zeros of each piece of a curve, up to the share ``most``."""
    ends = [share for share, _ in curve[1:-1]] + [1.0]  # the last slope goes on
    pairs = list(pairwise(curve)) or [((0.0, 0.0), (1.0, 0.0))]
    for (start, end), stop in zip(pairs, ends, strict=True):
        zeros = (min(stop, most) - start[0]) * size
        if zeros > 0:
            yield _slope(start, end) / size, zeros


def _slope(one: tuple[float, float], other: tuple[float, float]) -> float:
    return (other[1] - one[1]) / (other[0] - one[0])
