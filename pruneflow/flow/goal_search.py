"""The search for one file: what to train next, from what was found so far.

Each way has one share to choose, such as a sparsity. A larger share gives a smaller file and a worse one, so
for each kind of file there is a largest share that keeps the limits. It lies between one that does and one
that does not; the search estimates it from both while what it may gain is worth a training.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, log2
from statistics import median
from typing import TypeAlias

from pruneflow.flow.goal import USUAL_SHARE, FileFigures, Searched, Way

_Point: TypeAlias = tuple[float, float, float]  # place in halvings, value, strain

LEAST, MOST = 0.2, 0.99  # shares between which the search stays
USUAL_START = 0.8
USUAL_INITIAL, INITIAL = 0.5, "schedule.initial_sparsity=0"
# Least distance of two networks, in halvings: while ways are compared, and at the end.
COARSE, FINE = 0.3, 0.06
LEAST_BACK = 0.31  # halvings of a step away from networks that all miss a limit; more than COARSE
INSIDE = (0.25, 0.65)  # of the distance between a network that keeps the limits and one that does not
AIM = 0.9  # strain that is aimed at: figures have noise, and a strain above 1 is too much
RELAXED = 0.1  # least strain that is told from none: a drop may be 0, or a gain


@dataclass(frozen=True)
class Proposal:
    """A network to train: a way on top of others, and its share.

    Attributes:
        settings: Overrides of it and of the ways below.
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
    promises = [promise for kind in sorted(kinds) for promise in _promises(goal, own, tried, kind, apart)]
    worth = [promise for promise in promises if promise[0] < limit]
    return replace(first, share=min(worth)[1]) if worth else None


def _promises(
    goal: Searched, own: Sequence[Tried], tried: Sequence[Tried], kind: str, apart: float
) -> Iterator[tuple[float, float]]:
    """Yield the value that the next share of a kind of file may reach, and the share."""
    sign, points = _sign(goal), _points(goal, own, kind)
    place = _next_place(goal, points)
    ways = _points_of_ways(goal, tried, kind)
    if place is None or (place < points[0][0] and any(_went_back_for_nothing(each) for each in ways)):
        return
    ends = sorted((sign * _halvings(LEAST), sign * _halvings(MOST)))
    place = min(max(place, ends[0]), ends[1])
    if all(abs(place - other) > apart for other, *_ in points):
        alike = [each for each in tried if each.proposal.key == own[0].proposal.key]
        rate = _rate(_points_of_ways(goal, alike, kind), sign)
        yield _expected(points, place, sign, rate), _share(sign * place)


def _sign(goal: Searched) -> float:
    """Return the sign of the direction, in halvings, in which the value gets better."""
    return -1.0 if goal.wants_accuracy else 1.0


def _points(goal: Searched, tried: Sequence[Tried], kind: str) -> list[_Point]:
    return sorted(
        (_sign(goal) * _halvings(each.proposal.share), goal.value(file), goal.strain(file))
        for each in tried
        for file in each.files
        if file.kind == kind
    )


def _points_of_ways(goal: Searched, tried: Sequence[Tried], kind: str) -> list[list[_Point]]:
    ways = dict.fromkeys(each.proposal.way for each in tried)
    return [_points(goal, [each for each in tried if each.proposal.way == way], kind) for way in ways]


def _rate(ways: Sequence[Sequence[_Point]], sign: float) -> float:
    """Return how fast a value grows with the share that is kept; 0 where no way has shown it."""
    ends = [(points[0], points[-1]) for points in ways if len(points) > 1]
    rates = [(y[1] - x[1]) / (_kept(sign * y[0]) - _kept(sign * x[0])) for x, y in ends]
    return median(rates) if rates else 0.0


def _next_place(goal: Searched, points: Sequence[_Point]) -> float | None:
    """Return the place where the limits are likely reached, or a step away; None where nothing is gained."""
    kept = [number for number, (_, _, strain) in enumerate(points) if strain <= 1]
    if not kept:
        return None if _went_back_for_nothing(points) else points[0][0] - _step_back(points)
    last = kept[-1]
    if last + 1 < len(points):
        return _between(points[last], points[last + 1])
    gained = len(points) < 2 or points[last][1] < points[last - 1][1] * (1 - goal.tolerance)
    return points[last][0] + 1 if gained else None


def _between(keeps: _Point, misses: _Point) -> float:
    """Return the place of `AIM`, if the logarithm of strain grows evenly; well inside the two places."""
    (x, _, low), (y, _, high) = keeps, misses
    low = log2(max(low, RELAXED))
    share = (log2(AIM) - low) / (log2(high) - low)
    return x + min(max(share, INSIDE[0]), INSIDE[1]) * (y - x)


def _step_back(points: Sequence[_Point]) -> float:
    """Return how far before the first of some networks that all miss a limit one may keep it, at most 1."""
    if len(points) < 2:
        return 1.0
    (x, _, low), (y, _, high) = points[:2]
    return min(max(log2(low / AIM) * (y - x) / log2(high / low), LEAST_BACK), 1.0)


def _went_back_for_nothing(points: Sequence[_Point]) -> bool:
    """Return whether the limits are missed by as much before the others.

    An int4 file may lose more where more weights are left. No way takes such a kind further back then.
    """
    return len(points) > 1 and 1 < points[1][2] <= points[0][2]


def _expected(points: Sequence[_Point], place: float, sign: float, rate: float) -> float:
    """Return the value at a place on the line through the two nearest points, over the share that is kept.

    Args:
        sign: Of the direction in which the value gets better.
        rate: How steep the line is where there is one point, by other ways with the same key: another key is
            one of a smaller network. A step on from one point is always worth it.
    """
    near = sorted(points, key=lambda point: abs(point[0] - place))[:2]
    (x, at_x), *second = ((_kept(sign * each), value) for each, value, _ in near)
    if not second and place > near[0][0]:
        return -inf
    if second:
        y, at_y = second[0]
        rate = (at_y - at_x) / (y - x)
    return at_x + rate * (_kept(sign * place) - x)


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
