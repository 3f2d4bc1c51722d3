"""Groups of channels: which go independently of each other, what they hold and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from itertools import chain, count
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.sparsity.channels.ids import STAYS, IntArray
from pruneflow.sparsity.channels.trace import Trace
from pruneflow.sparsity.kernels import leaves, named_weights

Path = tuple[str, ...]
Kept = npt.NDArray[np.bool_]  # by id: true = stays
Counts = npt.NDArray[np.int64]  # by group: units that stay

MAKERS = {"filters": "", "units": "", "output_dim": "", "num_heads": "/heads", "value_dim": "/values"}
SHARES = ("multiply_adds", "channels", "parameters")


@dataclass(frozen=True)
class Group:
    """Units that can take each other's place: they lie in the same weights.

    Attributes:
        name: Of the first layer that makes them and names no other group.
        makers: Of all layers that make them.
        units: Their ids, (n,), n >= 2.
    """

    name: str
    makers: tuple[str, ...]
    units: IntArray

    @property
    def size(self) -> int:
        """Number of units."""
        return len(self.units)


@dataclass(frozen=True)
class Cost:
    """A product of the sizes of axes, each of which is ``stays + by_group @ counts``, of one layer."""

    layer: str
    times: int
    stays: npt.NDArray[np.int64]
    by_group: npt.NDArray[np.int64]

    def of(self, counts: Counts) -> float:
        """Return it for so many units of each group."""
        return float(self.times * np.prod(self.stays + self.by_group @ counts, dtype=np.float64))


@dataclass(frozen=True)
class Channels:
    """The channels of one network.

    Attributes:
        axes: Ids along each axis of each weight, by ``layer/weight``; None for an axis that stays.
        settings: Ids along sizes in settings of layers, by path and key.
        kept: Layers whose channels stay, and why.
        masked: Weights that are put under masks: kernels that make or read what can be removed.
        ids: How many ids there are.
        costs: By the names of `SHARES`.
        units: Ids of the units of each layer, by its path; heads and values of attention apart.
    """

    groups: tuple[Group, ...]
    axes: Mapping[str, tuple[IntArray | None, ...]]
    settings: Mapping[tuple[Path, str], tuple[IntArray | None, ...]]
    kept: Mapping[str, str]
    masked: tuple[str, ...]
    ids: int
    costs: Mapping[str, Sequence[Cost]] = field(repr=False)
    elements: Mapping[str, Cost] = field(repr=False)
    units: Mapping[str, IntArray] = field(repr=False)

    @property
    def sizes(self) -> Counts:
        """Units of each group."""
        return np.array([group.size for group in self.groups], np.int64)

    def cost(self, of: str, counts: Counts) -> float:
        """Return multiply-adds, channels or parameters of the network with so many units of each group."""
        return sum(each.of(counts) for each in self.costs[of])

    def share(self, of: str, counts: Counts) -> float:
        """Return the share that is removed where so many units of each group stay, [0, 1)."""
        whole = self.cost(of, self.sizes)
        return 1 - self.cost(of, counts) / whole if whole else 0.0

    def costs_of_layers(self, of: str, counts: Counts) -> dict[str, int]:
        """Return `cost` layer by layer, of layers that have any."""
        found: dict[str, float] = {}
        for each in self.costs[of]:
            found[each.layer] = found.get(each.layer, 0) + each.of(counts)
        return {layer: round(cost) for layer, cost in found.items()}

    def renamed(self, names: Mapping[str, str]) -> Channels:
        """Return the same channels with other names of weights, ``layer/weight``; others keep theirs."""
        return replace(
            self,
            axes={names.get(name, name): each for name, each in self.axes.items()},
            elements={names.get(name, name): each for name, each in self.elements.items()},
            masked=tuple(names.get(name, name) for name in self.masked),
        )

    def all(self) -> Kept:
        """Return that everything stays."""
        return np.ones(self.ids, np.bool_)

    def counts(self, kept: Kept) -> Counts:
        """Return the units of each group that stay."""
        return np.array([int(kept[group.units].sum()) for group in self.groups], np.int64)

    def mask(self, name: str, kept: Kept) -> Kept:
        """Return the mask of a weight, to be broadcast to it: true where no axis has a unit that goes."""
        along = [np.ones(1, np.bool_) if ids is None else kept[ids] for ids in self.axes[name]]
        mask: Kept = reduce(np.logical_and, np.meshgrid(*along, indexing="ij", sparse=True))
        return mask

    def cut(self, name: str, array: npt.NDArray[Any], kept: Kept) -> npt.NDArray[Any]:
        """Return a weight without the units that go."""
        for axis, ids in enumerate(self.axes.get(name, ())):
            if ids is not None:
                array = array.compress(kept[ids], axis)
        return array

    def kept_by(self, masks: Mapping[str, npt.NDArray[Any]]) -> Kept:
        """Return the units that masks of weights keep: those with an element that is kept."""
        alive = np.zeros(self.ids, np.bool_)
        alive[STAYS] = True
        of_groups = np.concatenate([np.zeros(0, np.int64), *(group.units for group in self.groups)])
        for name, mask in masks.items():
            for axis, ids in enumerate(self.axes[name]):
                if ids is not None:
                    others = tuple(other for other in range(mask.ndim) if other != axis)
                    alive[ids[np.asarray(mask, bool).any(axis=others)]] = True
        kept = self.all()
        kept[of_groups] = alive[of_groups]
        return kept


def channels_of(model: Any, trace: Trace, maskable: Iterable[int], fixed: Mapping[str, str]) -> Channels:
    """Sort the ids of a traced network into groups.

    Args:
        maskable: Identities of the variables that can be put under masks; what others read stays.
        fixed: Layers, ``outer/inner``, whose channels stay, and why.
    """
    kept = dict(trace.kept)
    named = {
        id(variable): (name, f"{name}/{weight}", variable)
        for name, layer in leaves(model)
        for weight, variable in named_weights(layer).items()
    }
    can = frozenset(maskable)
    for key, (layer, _, _) in named.items():
        if layer in fixed and key in trace.axes:
            _stay(trace, trace.axes[key].ids.values(), kept, layer, fixed[layer])
    for variable, axis in trace.reads:
        if id(variable) not in can:
            layer = named[id(variable)][0] if id(variable) in named else variable.name
            _stay(trace, [trace.axis(variable, axis)], kept, layer, "it cannot be put under a mask")
    return _sorted(trace, named, kept, can)


def _stay(trace: Trace, ids: Iterable[IntArray], kept: dict[str, str], layer: str, reason: str) -> None:
    for each in ids:
        if trace.stay(each):
            kept[layer] = reason


def _sorted(
    trace: Trace,
    named: Mapping[int, tuple[str, str, Any]],
    kept: Mapping[str, str],
    maskable: frozenset[int],
) -> Channels:
    roots = trace.ids.roots
    axes = {
        name: _along(trace, key, variable) for key, (_, name, variable) in named.items() if key in trace.axes
    }
    settings = {
        key: tuple(None if ids is None else roots(ids) for ids in given)
        for key, given in trace.settings.items()
    }
    groups = _grouped(axes, settings)
    group_of = np.full(len(trace.ids), len(groups), np.int64)
    for index, group in enumerate(groups):
        group_of[group.units] = index
    cost, layers = partial(_cost, groups, group_of), {key: layer for key, (layer, *_) in named.items()}
    elements = {
        name: _elements(cost, layer, variable, axes.get(name, (None,) * len(variable.shape)))
        for layer, name, variable in named.values()
    }
    products = [
        cost(layers.get(id(each.variable), ""), each.times, [*map(roots, each.ids)])
        for each in trace.products
    ]
    of_channels = [cost(group.name, 1, (group.units,)) for group in groups]
    costs = {"multiply_adds": products, "parameters": list(elements.values()), "channels": of_channels}
    can_go = group_of < len(groups)
    masked = tuple(
        name
        for key, (_, name, _) in named.items()
        if key in maskable and any(ids is not None and can_go[ids].any() for ids in axes.get(name, ()))
    )
    units = _units(trace, settings)
    return Channels(groups, axes, settings, kept, masked, len(trace.ids), costs, elements, units)


def _along(trace: Trace, key: int, variable: Any) -> tuple[IntArray | None, ...]:
    ids = trace.axes[key].ids
    axes = range(len(variable.shape))
    return tuple(trace.ids.roots(ids[axis]) if axis in ids else None for axis in axes)


def _elements(
    cost: Callable[[str, int, Sequence[IntArray]], Cost],
    layer: str,
    variable: Any,
    along: Sequence[IntArray | None],
) -> Cost:
    fixed = prod(size for size, ids in zip(variable.shape, along, strict=True) if ids is None)
    return cost(layer, fixed, [ids for ids in along if ids is not None])


def _units(
    trace: Trace, settings: Mapping[tuple[Path, str], tuple[IntArray | None, ...]]
) -> dict[str, IntArray]:
    made = {
        "/".join(path) + MAKERS[key]: found[0]
        for (path, key), found in settings.items()
        if key in MAKERS and found[0] is not None
    }
    return {**made, **{path: trace.ids.roots(ids) for path, ids in trace.units.items()}}


def _grouped(
    axes: Mapping[str, Sequence[IntArray | None]],
    settings: Mapping[tuple[Path, str], Sequence[IntArray | None]],
) -> tuple[Group, ...]:
    """Put units together that lie equally often in the same axes of the same weights."""
    places: dict[int, list[tuple[str, int, int]]] = {}
    for name, along in axes.items():
        for axis, ids in enumerate(along):
            if ids is not None:
                for unit, count in zip(*np.unique(ids, return_counts=True), strict=True):
                    places.setdefault(int(unit), []).append((name, axis, int(count)))
    makers: dict[int, list[str]] = {}
    for (path, key), found in settings.items():
        if key in MAKERS and found[0] is not None:
            for unit in np.unique(found[0]).tolist():
                makers.setdefault(unit, []).append("/".join(path) + MAKERS[key])
    together: dict[Any, list[int]] = {}
    for unit in sorted(places):
        if unit != STAYS:
            together.setdefault((*places[unit], *makers.get(unit, ())), []).append(unit)
    groups: dict[str, Group] = {}
    for units in together.values():
        if len(units) > 1 and units[0] in makers:
            name = _unused(makers[units[0]], groups)
            groups[name] = Group(name, tuple(makers[units[0]]), np.array(units, np.int64))
    return tuple(groups.values())


def _unused(makers: Sequence[str], taken: Container[str]) -> str:
    """Return the first maker that names no other group; a number tells groups of the same makers apart."""
    numbered = (f"{makers[0]}:{number}" for number in count(2))
    return next(name for name in chain(makers, numbered) if name not in taken)


def _cost(
    groups: Sequence[Group], group_of: IntArray, layer: str, times: int, axes: Sequence[IntArray]
) -> Cost:
    """Count how often the units of each group lie along each axis.

    Args:
        group_of: Index of the group of each id; their number where it has none.
    """
    sizes = np.array([group.size for group in groups], np.int64)
    found = np.array([np.bincount(group_of[ids], minlength=len(groups) + 1) for ids in axes], np.int64)
    found = found.reshape(len(axes), len(groups) + 1)
    return Cost(layer, times, found[:, -1], found[:, :-1] // sizes)
