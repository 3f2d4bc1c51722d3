"""The walk through a network, from its inputs to its outputs, that gives each tensor its ids."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pruneflow.runtime import backend
from pruneflow.sparsity.channels import rules_of_sequences  # noqa: F401 - registers its rules
from pruneflow.sparsity.channels.ids import IntArray, Tensor
from pruneflow.sparsity.channels.rules import RULES, unknown
from pruneflow.sparsity.channels.trace import Call, Trace

MASKS = ("mask", "attention_mask")
OUTPUTS = "its outputs are those of the network"


def walk(model: Any) -> Trace:
    """Trace the channels of a network.

    Args:
        model: A built functional or sequential ``tf_keras.Model``; another one keeps all its channels.
    """
    noted = Trace()
    call = Call(noted, (), tuple(_shape(each) for each in model.outputs or ()))
    if not _has_graph(model):
        noted.kept[model.name] = f"{type(model).__name__} is no network of layers that are known"
        return noted
    found = _network(call, model, [_still(_shape(each)) for each in model.inputs])
    for name, tensor in zip(model.output_names, found, strict=True):
        call.inside(name, ()).stay(tensor.ids, OUTPUTS)
    return noted


def _network(call: Call, model: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Trace the layers of a network, or of one inside of it."""
    known: dict[int, Tensor] = {id(each): given for each, given in zip(model.inputs, inputs, strict=True)}
    for layer, given in zip(model._input_layers, inputs, strict=True):
        call.inside(layer.name, ()).setting("batch_input_shape", None, *call.by_axis(given.ids))
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if not node.is_input:
                _note(call, node, known)
    return [known[id(each)] for each in model.outputs]


def _note(call: Call, node: Any, known: dict[int, Tensor]) -> None:
    """Trace one call of a layer, and keep the ids of what it gives."""
    tf = backend.tensorflow()

    def in_place(each: Any) -> Any:
        return known.get(id(each), each)

    outputs = tf.nest.flatten(node.outputs)
    shapes = tuple(_shape(each) for each in outputs)
    args, named = (tf.nest.map_structure(in_place, each) for each in (node.call_args, node.call_kwargs))
    inside = call.inside(node.layer.name, shapes).with_arguments(args, named)
    masks = [named[key] for key in MASKS if named.get(key) is not None]  # they have no channels
    tensors = [known[id(each)] for each in node.keras_inputs]
    tensors = [each for each in tensors if not any(each is mask for mask in masks)]
    for each, ids, shape in zip(outputs, _ids(inside, node.layer, tensors), shapes, strict=True):
        known[id(each)] = Tensor(ids, shape)


def _ids(call: Call, layer: Any, tensors: Sequence[Tensor]) -> list[IntArray]:
    """Return the ids of what a layer gives, by its rule."""
    layers = backend.keras().layers
    if _has_graph(layer):
        return [each.ids for each in _network(call, layer, tensors)]
    if type(layer) is layers.TimeDistributed:
        return _time_distributed(call, layer, tensors)
    kind = type(layer).__name__
    is_own = type(layer) is not getattr(layers, kind, None) and kind not in ("TFOpLambda", "Functional")
    return (unknown if is_own else RULES.get(kind, unknown))(call, layer, *tensors)


def _time_distributed(call: Call, layer: Any, tensors: Sequence[Tensor]) -> list[IntArray]:
    """Trace the layer inside for one step: ids are the same at all steps."""
    if len(tensors) != 1 or len(call.outputs) != 1:
        return unknown(call, layer, *tensors)
    (x,) = tensors
    call.trace.ids.unite(x.ids[:1], x.ids)
    step = Tensor(x.ids[0], x.shape[1:])
    steps = call.inside("", [(*call.outputs[0][:1], 1)]).positions()
    inside = call.inside(layer.layer.name, [call.outputs[0][1:]], steps).with_arguments((step,), {})
    return [ids[np.newaxis] for ids in _ids(inside, layer.layer, [step])]


def _has_graph(layer: Any) -> bool:
    keras = backend.keras()
    return isinstance(layer, keras.Model) and bool(getattr(layer, "_is_graph_network", False))


def _shape(tensor: Any) -> tuple[int | None, ...]:
    return tuple(tensor.shape[1:])


def _still(shape: tuple[int | None, ...]) -> Tensor:
    """Return a tensor of which everything stays."""
    return Tensor(np.zeros((1,) * len(shape), np.int64), shape)
