"""Notes of a trace of a network's ids: axes of weights, settings of layers, products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from pruneflow.sparsity.channels.ids import STAYS, Ids, IntArray, Tensor
from pruneflow.sparsity.kernels import plain

ANY_SIZE = 64  # taken for a size that is not known, where multiply-adds are counted

# Functions of single elements, by the names that Keras gives them.
ELEMENTWISE = frozenset(
    (
        *("linear", "relu", "relu6", "leaky_relu", "leakyrelu", "thresholdedrelu", "elu", "selu", "celu"),
        *("swish", "silu", "mish", "hard_swish", "hard_silu", "tanh", "hard_tanh", "sigmoid", "hard_sigmoid"),
        "gelu",
        *("softplus", "softsign", "exponential", "tanh_shrink", "soft_shrink", "hard_shrink", "squareplus"),
    )
)


@dataclass
class Axes:
    """The ids of one variable, axis by axis; an axis that nobody asked for cannot be cut."""

    variable: Any
    ids: dict[int, IntArray] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the variable."""
        return tuple(int(size) for size in self.variable.shape)


@dataclass(frozen=True)
class Product:
    """Multiply-adds of one use of a weight: ``times`` for each element that the ids leave.

    Attributes:
        times: Multiply-adds of one combination of the ids.
        ids: Of each axis that can be cut.
    """

    variable: Any
    times: int
    ids: tuple[IntArray, ...]


@dataclass
class Trace:
    """The notes of the layers of one network about its channels.

    Attributes:
        axes: Of each variable, by its identity.
        reads: Variables whose rows have to be masked for a channel to have no effect, with the axis.
        settings: Ids along a size in the settings of a layer, by the path of the layer and the key.
        units: Of layers whose settings have no number of them, by path.
        kept: Layers whose channels stay, by path, and why.
    """

    ids: Ids = field(default_factory=Ids)
    axes: dict[int, Axes] = field(default_factory=dict)
    reads: list[tuple[Any, int]] = field(default_factory=list)
    settings: dict[tuple[tuple[str, ...], str], tuple[IntArray | None, ...]] = field(default_factory=dict)
    products: list[Product] = field(default_factory=list)
    units: dict[str, IntArray] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    def axis(self, variable: Any, axis: int) -> IntArray:
        """Return the ids along an axis of a variable; they are made when they are first asked for."""
        known = self.axes.setdefault(id(plain(variable)), Axes(plain(variable)))
        if axis not in known.ids:
            known.ids[axis] = self.ids.fresh(known.shape[axis])
        return known.ids[axis]

    def stay(self, ids: IntArray) -> bool:
        """Let ids stay; return whether some could have been removed before."""
        could = bool((self.ids.roots(ids) != STAYS).any())
        self.ids.unite(ids, STAYS)
        return could


@dataclass(frozen=True)
class Call:
    """One call of a layer, as a rule sees it.

    Attributes:
        trace: Where it is noted.
        path: Names of the models around the layer and of the layer.
        outputs: Shapes of what the call gives, without batch.
        arguments: Positional arguments of the call and those by name, with a `Tensor` for each tensor.
        times: How often the layer is called for one example, as by ``TimeDistributed``.
    """

    trace: Trace
    path: tuple[str, ...]
    outputs: tuple[tuple[int | None, ...], ...]
    arguments: tuple[Sequence[Any], Mapping[str, Any]] = ((), MappingProxyType({}))
    times: int = 1

    @property
    def name(self) -> str:
        """Name of the layer, ``outer/inner``."""
        return "/".join(self.path)

    def inside(self, name: str, outputs: Sequence[tuple[int | None, ...]], times: int = 1) -> Call:
        """Return the call of a layer inside of this one."""
        return replace(self, path=(*self.path, name), outputs=tuple(outputs), times=self.times * times)

    def with_arguments(self, args: Sequence[Any], named: Mapping[str, Any]) -> Call:
        """Return this call with its arguments."""
        return replace(self, arguments=(args, named))

    def channels(self, tensor: Tensor) -> IntArray:
        """Return the ids along the last axis, (channels,); ids at other positions are united with them."""
        size = tensor.shape[-1] or 1
        rows: IntArray = np.broadcast_to(tensor.ids, (*tensor.ids.shape[:-1], size)).reshape(-1, size)
        self.trace.ids.unite(rows[:1], rows)
        first: IntArray = rows[0]
        return first

    def given(self, channels: IntArray, index: int = 0) -> IntArray:
        """Return ids of an output whose last axis are these channels."""
        return channels.reshape((1,) * (len(self.outputs[index]) - 1) + (-1,))

    def tie(self, variable: Any, axis: int, ids: IntArray) -> None:
        """Give an axis of a variable the ids."""
        self.trace.ids.unite(self.trace.axis(variable, axis), ids)

    def reads(self, variable: Any, axis: int, ids: IntArray) -> None:
        """Give an axis of a kernel the ids that it reads and mixes."""
        self.tie(variable, axis, ids)
        self.trace.reads.append((plain(variable), axis))

    def makes(self, variable: Any, axis: int) -> IntArray:
        """Return the ids of the channels that an axis of a kernel makes."""
        return self.trace.axis(variable, axis)

    def setting(self, key: str, *ids: IntArray | None) -> None:
        """Note a size, or a shape axis by axis (None = stays), in the settings of the layer."""
        for before, now in zip(self.trace.settings.get((self.path, key), ids), ids, strict=True):
            if before is not None and now is not None:  # of a layer that is called again
                self.trace.ids.unite(before, now)
            elif (one := now if before is None else before) is not None:
                self.stay(one, "it has another size at another call")
        self.trace.settings[self.path, key] = ids

    def multiplies(self, variable: Any, positions: int = 1) -> None:
        """Note that each element of a kernel is multiplied at so many positions."""
        axes = self.trace.axes[id(plain(variable))]
        uncut = prod(size for axis, size in enumerate(axes.shape) if axis not in axes.ids)
        self.product(variable, positions * uncut, *axes.ids.values())

    def product(self, variable: Any, times: int, *ids: IntArray) -> None:
        """Note multiply-adds of the layer that has a weight."""
        self.trace.products.append(Product(plain(variable), self.times * times, ids))

    def activated(self, activation: Any, ids: IntArray) -> IntArray:
        """Return the ids after an activation; one that is no function of single elements lets them stay."""
        name = getattr(activation, "__name__", type(activation).__name__)
        if name.lower() not in ELEMENTWISE:
            self.stay(ids, f"{name} reads all its channels together")
        return ids

    def varying(self, ids: IntArray) -> list[int]:
        """Return the axes along which a tensor has different ids."""
        roots = self.trace.ids.roots(ids)
        return [axis for axis in range(ids.ndim) if (roots != roots.take([0], axis)).any()]

    def boxed(self, ids: IntArray) -> IntArray:
        """Return the ids of a tensor after those of all axes but one are united, since tensors are boxes."""
        for axis in self.varying(ids)[:-1]:
            self.trace.ids.unite(ids.take([0], axis), ids)
        return ids

    def by_axis(self, ids: IntArray) -> list[IntArray | None]:
        """Return the ids along the one axis along which they vary, None for the others."""
        found: list[IntArray | None] = [None] * ids.ndim
        for axis in self.varying(self.boxed(ids)):
            found[axis] = np.moveaxis(ids, axis, 0).reshape(ids.shape[axis], -1)[:, 0]
        return found

    def stay(self, ids: IntArray, reason: str) -> None:
        """Let ids stay, and note why where that changes something."""
        if self.trace.stay(ids):
            self.trace.kept.setdefault(self.name, reason)

    def positions(self, index: int = 0) -> int:
        """Return the number of positions of an output, channels not counted."""
        return prod(ANY_SIZE if size is None else size for size in self.outputs[index][:-1])
