"""Proof that weights which a mask holds at zero are zero in the TFLite file too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pruneflow.errors import PruneflowError
from pruneflow.exports.tflite import Graph, Weight
from pruneflow.sparsity.measure import count_zeros

Array = npt.NDArray[Any]

# |file - factor x Keras| / |file| up to which both are one weight: int8 stays far below, unrelated weights
# are near 1. Strict over kept positions only, so that a weight that lost its mask is found too. With 15 steps
# and one large weight among small ones, int4 comes near the first limit.
MOST_KEPT_DIFFERENCE = 0.5
MOST_KEPT_DIFFERENCE_OF_INT4 = 0.7
MOST_DIFFERENCE = 0.9


@dataclass(frozen=True)
class TracedWeight:
    """A pruned weight of Keras and what became of it in a file.

    Attributes:
        name: ``layer/weight``.
        tensors: Names in the file; empty where it was not found.
        dtype: As stored, such as ``"int8"``; empty where it was not found.
        encoding: ``"dense"`` or ``"sparse"``; empty where it was not found.
        masked: Positions that the mask holds at zero.
        zeros: Zeros in the file.
        added: Positions that are kept and not zero in Keras, and zero in the file.
        violated: Positions that the mask holds at zero, and that are not zero in the file.
    """

    name: str
    tensors: tuple[str, ...]
    dtype: str
    encoding: str
    size: int
    masked: int
    zeros: int
    added: int
    violated: int


def trace(
    graph: Graph, weights: Mapping[str, Array], masks: Mapping[str, Array], *, pruned_only: bool = True
) -> list[TracedWeight]:
    """Find the weights of a network in a file, by shape and values, never by their zeros alone.

    Args:
        weights: Of the stripped network in Keras' layout, as ``kernels.weights`` gives them. Give all: one
            that is not pruned may be of the same shape as one that is.
        masks: As ``Masked.masks`` gives them: 1 = kept.
        pruned_only: Whether to leave out weights without a mask; else they count as kept everywhere.

    Returns:
        In the order of ``weights``; those of rank 0 and 1, such as biases, are left out.
    """
    traced = []
    for name, (layout, tensors) in _found(graph, weights).items():
        if name in masks or not pruned_only:
            values, mask = weights[name], masks.get(name, np.ones_like(weights[name]))
            traced.append(_traced(name, layout.pieces(values), layout.pieces(mask), tensors))
    return traced


def held(graph: Graph, weights: Mapping[str, Array]) -> dict[str, list[Weight]]:
    """Find the tensors that hold each weight of a network.

    Args:
        weights: As `trace` takes them.

    Returns:
        By ``layer/weight``; empty for a weight that was not found whole.
    """
    found = {name: tensors for name, (_, tensors) in _found(graph, weights).items()}
    return {
        name: [tensor for tensor in tensors if tensor is not None] if None not in tensors else []
        for name, tensors in found.items()
    }


def require_masked(traced: Iterable[TracedWeight], file_name: str) -> None:
    """Refuse a file in which masked positions are not zero; weights that were not found are passed over."""
    broken = [weight for weight in traced if weight.violated]
    if broken:
        lines = "; ".join(f"{each.name} in {each.violated} of {each.masked} positions" for each in broken)
        raise PruneflowError(
            f"{file_name}: pruned weights are not zero in the file: {lines}. The conversion is at fault: "
            "report it, and choose another export."
        )


def _found(graph: Graph, weights: Mapping[str, Array]) -> dict[str, tuple[_Layout, list[Weight | None]]]:
    """Find each weight of rank 2 or more in the file, and the tensor of each of its pieces."""
    with np.errstate(all="ignore"):  # a weight with infinities or NaN is like no other, and not found
        plans = {name: _plan(graph, name, values) for name, values in weights.items() if values.ndim >= 2}
    found = _assign(graph, [candidate for _, candidates in plans.values() for candidate in candidates])
    return {
        name: (layout, [found.get((name, piece)) for piece in range(len(layout.pieces(weights[name])))])
        for name, (layout, _) in plans.items()
    }


class _Layout(NamedTuple):
    """One way in which a file may store a Keras weight: its tensors, and the axis of its scales."""

    pieces: Callable[[Array], list[Array]]
    channel_axis: (
        int | None
    )  # batch normalization folded into a weight multiplies each of its output channels


class _Candidate(NamedTuple):
    """A tensor that may hold a piece of a weight; the least one is the most likely."""

    elsewhere: bool  # whether the tensor does not have the layer in its name
    difference: float
    piece: tuple[str, int]
    tensor: int


_AS_IS = _Layout(lambda w: [w], None)
_LAYOUTS: dict[int, tuple[_Layout, ...]] = {
    2: (
        _Layout(lambda w: [w.T], 0),  # dense
        _Layout(lambda w: np.split(w.T, 4) if w.shape[1] % 4 == 0 else [w.T], None),  # LSTM, its gates apart
        _Layout(lambda w: np.split(w.T, 3) if w.shape[1] % 3 == 0 else [w.T], None),  # GRU
        _AS_IS,
    ),
    3: (
        _Layout(lambda w: [w.transpose(2, 0, 1)[:, np.newaxis]], 0),  # convolution over (1, length)
        _Layout(lambda w: [w.transpose(2, 0, 1)[:, :, np.newaxis]], 0),  # over (length, 1)
        _Layout(lambda w: [w.reshape(1, 1, len(w), -1)], -1),  # depthwise, the same two
        _Layout(lambda w: [w.reshape(1, len(w), 1, -1)], -1),
        _AS_IS,
    ),
    4: (
        _Layout(lambda w: [w.transpose(3, 0, 1, 2)], 0),  # convolution
        _Layout(lambda w: [w.reshape(1, *w.shape[:2], -1)], -1),  # depthwise
        _Layout(lambda w: [w.transpose(2, 0, 1, 3)], 0),  # transposed convolution
        _AS_IS,
    ),
}


def _plan(graph: Graph, name: str, values: Array) -> tuple[_Layout, list[_Candidate]]:
    """Choose the first layout that can be all found in the file; the last where none can."""
    layer, _, weight = name.rpartition("/")
    layouts = (_AS_IS,) if weight == "embeddings" else _LAYOUTS.get(values.ndim, (_AS_IS,))
    for layout in layouts:
        candidates = [
            _Candidate(elsewhere, difference, (name, piece), tensor)
            for piece, array in enumerate(layout.pieces(values))
            for tensor, elsewhere, difference in _like(graph, layer, array, layout.channel_axis)
        ]
        if len({candidate.piece for candidate in candidates}) == len(layout.pieces(values)):
            return layout, candidates
    return layouts[-1], []


def _like(
    graph: Graph, layer: str, values: Array, channel_axis: int | None
) -> Iterator[tuple[int, bool, float]]:
    """Tensors that may hold ``values``: position, whether named after another layer, difference."""
    expected = _by_channel(values, channel_axis)
    for index, weight in enumerate(graph.weights):
        if weight.shape == values.shape:
            stored = _by_channel(weight.values, channel_axis)
            elsewhere = not named_after(weight.name, layer)
            kept, difference = _difference(expected, stored * (expected != 0)), _difference(expected, stored)
            most = MOST_KEPT_DIFFERENCE_OF_INT4 if weight.dtype == "int4" else MOST_KEPT_DIFFERENCE
            close = kept <= most and difference <= MOST_DIFFERENCE + (not elsewhere)
            if close:
                yield index, elsewhere, difference + 0.01 * _unscaled_difference(expected, stored)


def named_after(tensor: str, layer: str) -> bool:
    """Return whether a tensor ``net/outer/dense/MatMul;net/outer/dense/BiasAdd`` is of ``outer/dense``.

    Keras calls the halves of a bidirectional layer after the layer in it: ``bidirectional/forward_lstm``.
    """
    half = "(_[^/;]*)?" if layer.endswith(("/forward", "/backward")) else ""
    return bool(re.search(f"(^|[/;]){re.escape(layer)}{half}([/;]|$)", tensor))


def _by_channel(values: Array, axis: int | None) -> Array:
    """Lay values out as (channels, elements), in double precision."""
    rows = (
        values.reshape(1, -1)
        if axis is None
        else np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    )
    return rows.astype(np.float64)


def _difference(expected: Array, stored: Array) -> float:
    """|stored - factor expected| / |stored|, with the best factor for each channel, [0, 1]."""
    norm = float(np.linalg.norm(stored))
    if not norm:
        return float(expected.any())
    squares = (expected**2).sum(axis=1, keepdims=True)
    products = (expected * stored).sum(axis=1, keepdims=True)
    factors = np.divide(products, squares, out=np.zeros_like(products), where=squares > 0)
    return float(np.linalg.norm(stored - factors * expected)) / norm


def _unscaled_difference(expected: Array, stored: Array) -> float:
    """|stored - expected| / |expected|, at most 1: tells apart what differs by factors only."""
    norm = float(np.linalg.norm(expected))
    return min(1.0, float(np.linalg.norm(stored - expected)) / norm) if norm else float(stored.any())


def _assign(graph: Graph, candidates: Iterable[_Candidate]) -> dict[tuple[str, int], Weight]:
    """Give each piece a tensor, the most likely first.

    A tensor is given once, or as often as it is read: the converter keeps equal weights as one tensor.
    """
    left = [len(weight.consumers) for weight in graph.weights]
    found: dict[tuple[str, int], Weight] = {}
    for candidate in sorted(candidates):
        if candidate.piece not in found and left[candidate.tensor]:
            left[candidate.tensor] -= 1
            found[candidate.piece] = graph.weights[candidate.tensor]
    return found


def _traced(
    name: str, values: Sequence[Array], masks: Sequence[Array], tensors: Sequence[Weight | None]
) -> TracedWeight:
    held = [tensor for tensor in tensors if tensor is not None]
    held = held if len(held) == len(tensors) else []
    in_file = [tensor.values != 0 for tensor in held]
    pairs = list(zip(in_file, masks, strict=True)) if held else []
    return TracedWeight(
        name=name,
        tensors=tuple(tensor.name for tensor in held),
        dtype="/".join(dict.fromkeys(tensor.dtype for tensor in held)),
        encoding="/".join(dict.fromkeys(tensor.encoding for tensor in held)),
        size=sum(piece.size for piece in values),
        masked=sum(count_zeros(mask) for mask in masks),
        zeros=sum(tensor.zeros for tensor in held),
        added=sum(
            int(np.count_nonzero((mask != 0) & (keras != 0) & ~there))
            for (there, mask), keras in zip(pairs, values, strict=False)
        ),
        violated=sum(int(np.count_nonzero((mask == 0) & there)) for there, mask in pairs),
    )
