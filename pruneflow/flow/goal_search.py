"""The search for one file: what to train next, from what was found so far.

Each way has one share to choose, such as a sparsity. A larger share gives a smaller file and a worse one, so
for each kind of file there is a largest share that keeps the limits. It lies between one that does and one
that does not; the search halves the distance while what it may gain is worth a training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, log2

from pruneflow.flow.goal import USUAL_SHARE, FileFigures, Searched, Way

__all__ = ["Best", "Proposal", "Tried", "best", "nearest", "next_proposal"]

LEAST, MOST = 0.2, 0.99  # shares between which the search stays
USUAL_START = 0.8
USUAL_INITIAL, INITIAL = 0.5, "schedule.initial_sparsity=0"
COARSE, FINE = (
    0.3,
    0.06,
)  # least distance of two networks, in halvings: while ways are compared, and at the end


@dataclass(frozen=True)
class Proposal:
    """A network to train: a way on top of others, and its share.

    Attributes:
        way: Name of the way.
        settings: Overrides of it and of the ways below.
        key: Key of the share.
        share: The share.
        below: Names of the ways below, the lowest first.
    """

    way: str
    settings: tuple[str, ...]
    key: str
    share: float
    below: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """Overrides of the command line; a schedule begins below a share that is low."""
        low = self.key == USUAL_SHARE and self.share < USUAL_INITIAL
        return [*self.settings, *([INITIAL] if low else []), f"{self.key}={self.share:.4g}"]


@dataclass(frozen=True)
class Tried:
    """A network that was trained, its files (none where the run failed), and the seconds that it took."""

    proposal: Proposal
    files: tuple[FileFigures, ...]
    seconds: float = 0.0


@dataclass(frozen=True)
class Best:
    """A file, and the number of the network that it was made of."""

    tried: int
    file: FileFigures


def best(goal: Searched, tried: Sequence[Tried]) -> Best | None:
    """Return the best file within the limits; of equal ones the first."""
    found = [Best(number, file) for number, each in enumerate(tried) for file in each.files]
    kept = [each for each in found if not goal.misses(each.file)]
    return min(kept, key=lambda each: goal.value(each.file), default=None)


def nearest(goal: Searched, tried: Sequence[Tried]) -> Best | None:
    """Return the file that misses the limits by least; None where no file was made."""
    found = [Best(number, file) for number, each in enumerate(tried) for file in each.files]
    return min(found, key=lambda each: max(goal.misses(each.file).values(), default=0.0), default=None)


def next_proposal(goal: Searched, ways: Mapping[str, Way], tried: Sequence[Tried]) -> Proposal | None:
    """Choose the next network to train.

    Args:
        goal: What is looked for.
        ways: The ways that are left after what was typed, in their order.
        tried: The networks so far, which this function proposed.

    Returns:
        None where nothing promises enough, or the budget is spent.
    """
    if len(tried) >= goal.max_trainings or _is_late(goal, tried):
        return None
    for name in ways:
        own = [each for each in tried if each.proposal.way == name]
        found = _further(goal, own, tried, COARSE) if own else _begun(goal, name, ways, tried)
        if found:
            return found
    last = best(goal, tried)
    name = tried[last.tried].proposal.way if last else ""
    return _further(goal, [each for each in tried if each.proposal.way == name], tried, FINE)


def _is_late(goal: Searched, tried: Sequence[Tried]) -> bool:
    return goal.max_minutes is not None and sum(each.seconds for each in tried) >= goal.max_minutes * 60


def _begun(goal: Searched, name: str, ways: Mapping[str, Way], tried: Sequence[Tried]) -> Proposal:
    """Return the first network of a way: on top of the best one so far, at its share.

    A way below that sets one of the same keys gives way as a whole, since its settings belong together.
    """
    way, found = ways[name], best(goal, tried) or nearest(goal, tried)
    before = tried[found.tried].proposal if found else Proposal("", (), USUAL_SHARE, USUAL_START)
    stack = filter(None, (*before.below, before.way))
    below = tuple(each for each in stack if not ways[each].keys & way.keys)
    layers = [*(ways[each] for each in below), way]
    settings = tuple(word for layer in layers for word in layer.settings)
    key = next((layer.share for layer in reversed(layers) if layer.share), USUAL_SHARE)
    return Proposal(name, settings, key, before.share if way.start is None else way.start, below)


def _further(goal: Searched, own: Sequence[Tried], tried: Sequence[Tried], apart: float) -> Proposal | None:
    """Return the network of a way that promises most; None where none promises enough."""
    if not own or not all(each.files for each in own):  # a run that failed: the way ends here
        return None
    found, first = best(goal, tried), own[0].proposal
    limit = goal.value(found.file) * (1 - goal.tolerance) if found else inf
    kinds = {file.kind for each in own for file in each.files}
    promises = [promise for kind in sorted(kinds) for promise in _promises(goal, own, kind, apart)]
    worth = [promise for promise in promises if promise[0] < limit]
    return replace(first, share=min(worth)[1]) if worth else None


def _promises(goal: Searched, own: Sequence[Tried], kind: str, apart: float) -> Iterator[tuple[float, float]]:
    """Yield the value that the next share of a kind of file may reach, and the share."""
    sign = -1.0 if goal.wants_accuracy else 1.0  # of the direction in which the value gets better
    points = sorted(
        (sign * _halvings(each.proposal.share), goal.value(file), not goal.misses(file))
        for each in own
        for file in each.files
        if file.kind == kind
    )
    place = _next_place(goal, points, apart)
    ends = sorted((sign * _halvings(LEAST), sign * _halvings(MOST)))
    place = None if place is None else min(max(place, ends[0]), ends[1])
    if place is not None and all(abs(place - other) > apart for other, *_ in points):
        yield _expected(points, place, sign), _share(sign * place)


def _next_place(goal: Searched, points: Sequence[tuple[float, float, bool]], apart: float) -> float | None:
    """Return the place between the last point that keeps the limits and the next one, or a step away."""
    kept = [place for place, (_, _, keeps) in enumerate(points) if keeps]
    if not kept:
        return points[0][0] - 1
    last = kept[-1]
    if last + 1 < len(points):
        return (points[last][0] + points[last + 1][0]) / 2
    gained = len(points) < 2 or points[last][1] < points[last - 1][1] * (1 - goal.tolerance)
    return points[last][0] + 1 if gained else None


def _expected(points: Sequence[tuple[float, float, bool]], place: float, sign: float) -> float:
    """Return the value at a place on the line through the two nearest points, over the share that is kept."""
    near = sorted(points, key=lambda point: abs(point[0] - place))[:2]
    if len(near) < 2:
        return -inf if place > near[0][0] else near[0][1]
    (x, at_x, _), (y, at_y, _) = ((_kept(sign * each), *rest) for each, *rest in near)
    return at_x + (at_y - at_x) * (_kept(sign * place) - x) / (y - x)


def _kept(halvings: float) -> float:
    return float(2**-halvings)


def _halvings(share: float) -> float:
    """Return how often what is kept was halved.

    >>> _halvings(0.75)
    2.0
    """
    return -log2(1 - share)


def _share(halvings: float) -> float:
    return round(1 - _kept(halvings), 4)
