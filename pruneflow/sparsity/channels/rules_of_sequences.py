"""Rules by which layers that read sequences pass channels on: embeddings, recurrent layers, attention."""

from typing import Any

import numpy as np

from pruneflow.sparsity.channels.ids import IntArray, Tensor
from pruneflow.sparsity.channels.rules import rule, unknown
from pruneflow.sparsity.channels.trace import ANY_SIZE, Call


@rule("Embedding")
def _embedding(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    call.stay(x.ids, "Embedding reads whole numbers")
    channels = call.makes(layer.embeddings, 1)
    call.setting("output_dim", channels)
    return [call.given(channels)]


@rule("LSTM GRU SimpleRNN")
def _recurrent(call: Call, layer: Any, x: Tensor, *states: Tensor) -> list[IntArray]:
    if layer.time_major:
        return unknown(call, layer, x, *states)
    units = units_of(call, layer, x)
    for state in states:
        call.trace.ids.unite(call.channels(state), units)
    return [call.given(units, index) for index in range(len(call.outputs))]


def units_of(call: Call, layer: Any, x: Tensor) -> IntArray:
    """Return the ids of the units of a recurrent layer; each has a column in each of its gates."""
    cell = layer.cell
    units = call.makes(cell.recurrent_kernel, 0)
    gates = int(cell.recurrent_kernel.shape[1]) // len(units)
    of_gates = _by_gate(units, gates)
    call.reads(cell.kernel, 0, call.channels(x))
    call.reads(cell.recurrent_kernel, 0, units)
    for kernel in (cell.kernel, cell.recurrent_kernel):
        call.tie(kernel, 1, of_gates)
        call.multiplies(kernel, x.shape[0] or ANY_SIZE)
    if cell.use_bias:
        call.tie(cell.bias, len(cell.bias.shape) - 1, of_gates)
    call.setting("units", units)
    for activation in (cell.activation, getattr(cell, "recurrent_activation", cell.activation)):
        call.activated(activation, units)
    return units


def _by_gate(units: IntArray, gates: int) -> IntArray:
    """Return the ids of the columns of a kernel: all units of one gate, then those of the next."""
    return np.tile(units, gates)


@rule("Bidirectional")
def _bidirectional(call: Call, layer: Any, x: Tensor, *states: Tensor) -> list[IntArray]:
    halves = {"forward": layer.forward_layer, "backward": layer.backward_layer}
    kinds = {type(half).__name__ for half in halves.values()}
    if states or not kinds <= {"LSTM", "GRU", "SimpleRNN"} or layer.forward_layer.time_major:
        return unknown(call, layer, x, *states)
    forward, backward = (units_of(call.inside(name, call.outputs), each, x) for name, each in halves.items())
    if len(forward) == len(backward):  # they go in pairs: Keras 3 takes both for equally wide (3.15)
        call.trace.ids.unite(forward, backward)
    of_states = [*[forward] * _states(layer.forward_layer), *[backward] * _states(layer.backward_layer)]
    if layer.merge_mode is None:
        found = [forward, backward, *of_states]
    elif layer.merge_mode == "concat":
        found = [np.concatenate([forward, backward]), *of_states]
    else:
        found = [forward, *of_states]
    return [call.given(ids, index) for index, ids in enumerate(found)]


def _states(layer: Any) -> int:
    size = layer.cell.state_size
    return (len(size) if isinstance(size, (list, tuple)) else 1) if layer.return_state else 0


@rule("MultiHeadAttention")
def _attention(call: Call, layer: Any, *tensors: Tensor) -> list[IntArray]:
    """Heads and value dimensions can go; the size of a key stays, since Keras divides by its root."""
    args, named = call.arguments
    given = dict(zip(("query", "value", "key"), args, strict=False)) | dict(named)
    query, value = given["query"], given["value"]
    key = value if given.get("key") is None else given["key"]
    output = layer._output_dense.kernel
    if len(call.outputs) != 1 or len(output.shape) != 3:  # with scores, or outputs of several axes
        return unknown(call, layer, *tensors)
    heads, values, made = (call.makes(output, axis) for axis in range(3))
    parts = {"query": (layer._query_dense, query), "key": (layer._key_dense, key)}
    for name, (dense, x) in {**parts, "value": (layer._value_dense, value)}.items():
        call.reads(dense.kernel, 0, channels := call.channels(x))
        axes = {1: heads, **({2: values} if name == "value" else {})}
        for axis, ids in axes.items():
            call.tie(dense.kernel, axis, ids)
            if dense.bias is not None:
                call.tie(dense.bias, axis - 1, ids)
        call.multiplies(dense.kernel, _length(x))
        call.setting(f"{name}_shape", *[None] * len(x.shape), channels)
    for axis, ids in enumerate((heads, values)):
        call.reads(output, axis, ids)
    if layer._output_dense.bias is not None:
        call.tie(layer._output_dense.bias, 0, made)
    call.multiplies(output, _length(query))
    pairs = _length(query) * _length(key)
    call.product(output, pairs * int(layer._key_dim), heads)
    call.product(output, pairs, heads, values)
    for setting, ids in {"num_heads": heads, "value_dim": values, "output_shape": made}.items():
        call.setting(setting, ids)
    return [call.given(made)]


def _length(tensor: Tensor) -> int:
    return int(np.prod([size or ANY_SIZE for size in tensor.shape[:-1]]))
