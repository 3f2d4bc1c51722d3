"""The rows of numbers that a kernel multiplies, taken from a network while examples run through it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.runtime import backend
from pruneflow.sparsity.kernels import keras_of, leaves, parts

Rows = npt.NDArray[np.float32]
Watch = Callable[[Iterator[Rows]], None]

MOST_ELEMENTS = 1 << 22  # of rows that are taken at a time


@dataclass(frozen=True)
class Multiplied:
    """A weight that multiplies rows of numbers.

    Attributes:
        name: ``layer/weight``.
        layer: The layer that is called with what the rows are made of.
        rows: From that layer, its inputs and the arguments of the call to the rows, (rows, inputs). What
            depends on weights is computed in the call, patches of images only as they are taken.
    """

    name: str
    layer: Any
    rows: Callable[..., Iterator[Rows]]


def multiplied(model: Any) -> dict[str, Multiplied]:
    """Return the weights whose rows are known, by ``layer/weight``.

    Args:
        model: A built model of Keras 2 or 3.
    """
    found = [
        Multiplied(f"{name}/{weight}", layer, rows)
        for name, leaf in leaves(model)
        for weight, layer, rows in _known(leaf, "")
    ]
    return {each.name: each for each in found}


def calls_of(each: Multiplied, model: Any, x: Any) -> list[Iterator[Rows]]:
    """Run one batch through the model, and return the rows of each call of the layer.

    Weights may change before the rows are taken.
    """
    taken: list[Iterator[Rows]] = []
    with watched(each, taken.append):
        model(x, training=False)
    return taken


@contextmanager
def eagerly() -> Iterator[None]:
    """Have each ``tf.function`` run as Python inside the block: a graph calls no layer again."""
    config = backend.tensorflow().config
    before = config.functions_run_eagerly()
    config.run_functions_eagerly(True)
    try:
        yield
    finally:
        config.run_functions_eagerly(before)


@contextmanager
def watched(each: Multiplied, watch: Watch) -> Iterator[None]:
    """Have ``watch`` called with rows wherever the layer is called with numbers in the block."""
    layer, own = each.layer, each.layer.call

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if backend.tensorflow().executing_eagerly():  # a graph that is built has no numbers
            watch(each.rows(layer, own, inputs, *args, **kwargs))
        return own(inputs, *args, **kwargs)

    before = layer.__dict__.get("call")
    layer.call = call
    try:
        yield
    finally:
        if before is None:
            del layer.call
        else:
            layer.call = before


def _known(layer: Any, prefix: str) -> Iterator[tuple[str, Any, Callable[..., Iterator[Rows]]]]:
    """Name of the weight, the layer that is called, and how rows are made, of a leaf and layers inside."""
    layers = keras_of(layer).layers
    kind = type(layer)
    if kind is layers.Dense:
        yield f"{prefix}kernel", layer, _of_dense
    elif kind in (layers.Conv2D, layers.Conv1D) and _is_plain(layer):
        yield f"{prefix}kernel", layer, _of_convolution
    elif kind in (layers.LSTM, layers.GRU, layers.SimpleRNN) and _is_batch_first(layer):
        yield f"{prefix}kernel", layer, _of_steps
        if getattr(layer, "reset_after", True):  # else a gate lies between the state and the kernel
            yield f"{prefix}recurrent_kernel", layer, _of_states
    elif isinstance(layer, (layers.Bidirectional, layers.TimeDistributed)):
        for name, part in parts(layer):
            yield from _known(part, prefix + name)


def _is_plain(layer: Any) -> bool:
    return bool(layer.groups == 1 and layer.data_format == "channels_last")


def _is_batch_first(layer: Any) -> bool:
    return not layer.stateful and not getattr(layer, "time_major", False)  # which Keras 2 has


def _of_dense(layer: Any, own: Any, inputs: Any, *args: Any, **kwargs: Any) -> Iterator[Rows]:
    values = np.asarray(inputs, np.float32)
    yield values.reshape(-1, values.shape[-1])


def _of_convolution(layer: Any, own: Any, inputs: Any, *args: Any, **kwargs: Any) -> Iterator[Rows]:
    """Patches, in the order of the kernel: height, width, channels; a few examples at a time."""
    tf = backend.tensorflow()
    x = tf.cast(inputs, "float32")
    size, strides, rate = (list(each) for each in (layer.kernel_size, layer.strides, layer.dilation_rate))
    padding = layer.padding
    if padding == "causal":
        x, padding = tf.pad(x, [[0, 0], [rate[0] * (size[0] - 1), 0], [0, 0]]), "valid"
    if len(size) == 1:
        x, size, strides, rate = x[:, None], [1, *size], [1, *strides], [1, *rate]
    inside = int(np.prod(size)) * int(x.shape[-1])
    some = max(1, MOST_ELEMENTS // (inside * int(x.shape[1]) * int(x.shape[2])))
    for start in range(0, int(x.shape[0]), some):
        taken = tf.image.extract_patches(
            x[start : start + some], [1, *size, 1], [1, *strides, 1], [1, *rate, 1], padding.upper()
        )
        yield np.asarray(taken).reshape(-1, inside)


def _of_steps(layer: Any, own: Any, inputs: Any, *args: Any, **kwargs: Any) -> Iterator[Rows]:
    """The inputs of all steps that are not masked."""
    values = np.asarray(inputs, np.float32)
    mask = _mask(args, kwargs)
    yield values[mask] if mask is not None else values.reshape(-1, values.shape[-1])


def _of_states(layer: Any, own: Any, inputs: Any, *args: Any, **kwargs: Any) -> Iterator[Rows]:
    """The state before each step that is not masked; the first one is zero and left out.

    The layer runs at once, as its weights are now.
    """
    before = layer.return_sequences
    layer.return_sequences = True
    try:
        found = own(inputs, *args, **kwargs)
    finally:
        layer.return_sequences = before
    states = np.asarray(found[0] if isinstance(found, (list, tuple)) else found, np.float32)[:, :-1]
    mask = _mask(args, kwargs)
    if mask is None:
        return iter([states.reshape(-1, states.shape[-1])])
    return iter([states[(mask[:, ::-1] if layer.go_backwards else mask)[:, 1:]]])


def _mask(args: tuple[Any, ...], kwargs: dict[str, Any]) -> npt.NDArray[np.bool_] | None:
    """The mask of steps: the argument ``mask`` of a recurrent layer, which may come second of Keras 2."""
    if (mask := kwargs.get("mask")) is None:
        return None
    return np.asarray(mask, bool)
