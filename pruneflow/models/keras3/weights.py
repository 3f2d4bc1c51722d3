"""Weights of a network of Keras 3 beside those of the network of Keras 2 that it becomes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.models.keras3.layers import ConversionError, shown
from pruneflow.runtime import backend

# By which gates are multiplied: clip(x / 6 + 0.5) in Keras 3 is clip(0.2 x + 0.5) in Keras 2.
HARD = 5 / 6
GATES = {"LSTMCell": (HARD, HARD, 1.0, HARD), "GRUCell": (HARD, HARD, 1.0)}


@dataclass(frozen=True)
class Weight:
    """A weight of a network of Keras 3, and the one that it becomes.

    Attributes:
        original: The variable of Keras 3.
        copy: That of Keras 2.
        factor: By which it is multiplied, along its last axis.
    """

    original: Any
    copy: Any
    factor: npt.NDArray[np.float64] | None

    def forward(self) -> None:
        """Give the weight of Keras 2 the value of that of Keras 3."""
        value = np.asarray(self.original)
        self.copy.assign(value if self.factor is None else (value * self.factor).astype(value.dtype))

    def back(self) -> None:
        """Give the weight of Keras 3 the value of that of Keras 2; zeros stay zeros."""
        value = np.asarray(self.copy)
        self.original.assign(value if self.factor is None else (value / self.factor).astype(value.dtype))


def finalize(model: Any) -> None:
    """Let each ``Normalization`` of a network of Keras 3 compute with the weights that it was given.

    It computes with copies of them, which ``set_weights`` leaves as they were (3.15).
    """
    for layer in model._flatten_layers():
        if isinstance(layer, backend.keras3().layers.Normalization):
            layer.finalize_state()


def paired(layer: Any, copy: Any) -> Iterator[Weight]:
    """Pair the weights of a layer with those of its copy.

    Args:
        layer: A layer of Keras 3 that is no model.
        copy: The layer of Keras 2 that was made of it, built.

    Yields:
        One for each weight of ``layer``.

    Raises:
        ConversionError: if the two have other weights.
    """
    pairs = {id(one): (one, other) for one, other in _pairs(layer, copy)}
    alike = all(tuple(one.shape) == tuple(other.shape) for one, other in pairs.values())
    if not alike or set(pairs) != {id(each) for each in layer.weights}:
        raise ConversionError(f"{shown(layer)} has other weights in Keras 2")
    factors = _factors(layer)
    for one, other in pairs.values():
        yield Weight(one, other, factors.get(id(one)))


def _pairs(layer: Any, copy: Any) -> Iterator[tuple[Any, Any]]:
    """Weights of a layer itself, then of those inside: Keras 2 lists frozen ones last, Keras 3 does not."""
    weights = [*layer._trainable_variables, *layer._non_trainable_variables]
    copies = [*copy._trainable_weights, *copy._non_trainable_weights]
    if type(layer).__name__ == "Normalization":
        copies = copies[: len(weights)]  # Keras 2 has a count too, which nothing reads after it was adapted
    if len(weights) != len(copies):
        raise ConversionError(f"{shown(layer)} has other weights in Keras 2")
    yield from zip(weights, copies, strict=True)
    for one, other in inner_pairs(layer, copy):
        yield from _pairs(one, other)


def inner_pairs(layer: Any, copy: Any) -> Iterator[tuple[Any, Any]]:
    """Pair the layers directly inside of a layer with those of its copy.

    Args:
        layer: A layer of Keras 3: a wrapper, a recurrent layer, a model or another one made of layers.
        copy: The layer of Keras 2 that was made of it.

    Yields:
        A layer of Keras 3 and its copy; none that either lacks.
    """
    names = ("layer", "forward_layer", "backward_layer", "cell")
    found = [(getattr(layer, n), getattr(copy, n)) for n in names if hasattr(layer, n) and hasattr(copy, n)]
    found += zip(getattr(layer, "cells", ()), getattr(copy, "cells", ()), strict=True)
    inside = [list(each._flatten_layers(recursive=False, include_self=False)) for each in (layer, copy)]
    if not found:
        copies = {each.name: each for each in inside[1]}
        found = [(each, copies[each.name]) for each in inside[0] if each.name in copies]
    yield from found


def _factors(layer: Any) -> dict[int, npt.NDArray[np.float64]]:
    """Return the factors of the weights of gates whose activation is the hard sigmoid."""
    hard = backend.keras3().activations.hard_sigmoid
    found = {}
    for cell in layer._flatten_layers():
        gates = GATES.get(type(cell).__name__)
        if gates and cell.recurrent_activation is hard:
            factor = np.repeat(np.asarray(gates), cell.units)
            found.update({id(weight): factor for weight in cell.weights})
    return found
