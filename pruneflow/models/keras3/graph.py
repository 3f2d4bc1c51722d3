"""The graph of a network of Keras 3, walked to make the same one of Keras 2 layers."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from pruneflow.models.keras3.activations import SAME_ACTIVATIONS
from pruneflow.models.keras3.layers import (
    ConversionError,
    activation_of,
    is_of_keras,
    made,
    shown,
    without_activation,
)
from pruneflow.models.keras3.operators import Operators, require_activation, require_operation
from pruneflow.models.keras3.weights import Weight, inner_pairs, paired
from pruneflow.runtime import backend

# Layers that apply their activation last, so that it can be taken off and follow as operations.
ACTIVATED = (
    *("Activation", "Conv1D", "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Conv3D"),
    *("Conv3DTranspose", "Dense", "DepthwiseConv1D", "DepthwiseConv2D", "EinsumDense"),
    *("SeparableConv1D", "SeparableConv2D", "TimeDistributed"),
)


def graph_of(model: Any) -> Any:
    """Return the functional graph of a model of Keras 3.

    Raises:
        ConversionError: if its layers are not known, or if it is not built.
    """
    keras, kind = backend.keras3(), type(model).__name__
    if isinstance(model, keras.Sequential):
        if not model.built or model._functional is None:
            raise ConversionError(
                f"{model.name} is not built: its input is not known", "Let it begin with keras.Input."
            )
        return model._functional
    if not hasattr(model, "_nodes_by_depth"):
        raise ConversionError(f"{kind} is a subclassed model, whose layers are not known")
    return model


def converted_graph(model: Any) -> tuple[Any, list[Weight]]:
    """Make the network of Keras 2; its weights are not set yet.

    Args:
        model: A functional or sequential model of Keras 3, in float32.

    Returns:
        The network, and its weights beside those of ``model``.
    """
    walk = _Walk()
    walk.prepare(model)
    network = walk.network(model)
    weights = [pair for one, other in walk.leaves() for pair in paired(one, other)]
    _freeze(walk, model)
    if not model.trainable:
        network.trainable = False
    return network, weights


class _Walk:
    """Layers of Keras 2 by those of Keras 3, so that shared layers stay shared."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, Any, Any]] = {}  # of a layer: it, the new one, what is applied after

    def prepare(self, model: Any) -> None:
        """Make every layer, so that what has no equal is refused before anything is connected."""
        graph = graph_of(model)
        needed = _needed(graph)
        for operation in graph.operations:
            if not any(id(node) in needed for node in operation._inbound_nodes):
                continue
            if _is_model(operation):
                self.prepare(operation)
            elif not _is_layer(operation):
                require_operation(operation)
            elif type(operation).__name__ != "InputLayer":
                self._made.setdefault(id(operation), self._layer(operation))

    def network(self, model: Any) -> Any:
        """Connect the layers of a model; the same network for the same model."""
        if id(model) in self._made:
            return self._made[id(model)][1]
        keras, graph = backend.keras3(), graph_of(model)
        tensors = {id(tensor): _input(tensor) for tensor in graph.inputs}
        self._connect(graph, tensors)
        ends = [
            _single(keras.tree.map_structure(lambda tensor: tensors[id(tensor)], each))
            for each in (graph._inputs_struct, graph._outputs_struct)
        ]
        network = backend.keras().Model(*ends, name=model.name)
        self._made[id(model)] = model, network, None
        return network

    def _connect(self, graph: Any, tensors: dict[int, Any]) -> None:
        keras, needed = backend.keras3(), _needed(graph)
        operators = Operators({operation.name for operation in graph.operations})
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                if node.is_input or id(node) not in needed:
                    continue
                given = _arguments(node)
                args, kwargs = keras.tree.map_structure(
                    lambda value: tensors[id(value)] if isinstance(value, keras.KerasTensor) else value, given
                )
                outputs = self._called(operators, node, args, kwargs)
                flat = backend.tensorflow().nest.flatten(outputs)
                tensors.update({id(one): other for one, other in zip(node.outputs, flat, strict=True)})

    def _called(self, operators: Operators, node: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        operation = node.operation
        try:
            if _is_model(operation):
                return self.network(operation)(*args, **kwargs)
            if not _is_layer(operation):
                return operators.applied(operation, args, kwargs, str(node.outputs[0].dtype))
            _, layer, activation = self._made[id(operation)]
            outputs = layer(*args, **kwargs) if layer else args[0]
            return operators.activated(outputs, activation, operation.name) if activation else outputs
        except (TypeError, ValueError) as error:
            said = " ".join(str(error).split())[:200]
            raise ConversionError(f"{shown(operation)} cannot be called in Keras 2: {said}") from error

    def _layer(self, layer: Any) -> tuple[Any, Any, Any]:
        """The layer of Keras 2, and an activation that has to follow it; no layer where only that is left."""
        kind, config = type(layer).__name__, layer.get_config()
        if not is_of_keras(type(layer)):
            raise ConversionError(f"{shown(layer)} is not a layer of Keras")
        if kind == "TimeDistributed" and _is_model(layer.layer):
            return layer, self._distributed(layer, config), None
        if kind not in ACTIVATED:
            return layer, made(kind, config), None
        bare, activation = without_activation(config)
        if activation is None or activation_of(activation)[0] in SAME_ACTIVATIONS:
            return layer, made(kind, config), None
        require_activation(activation, layer.name)
        return layer, None if kind == "Activation" else made(kind, bare), activation

    def _distributed(self, layer: Any, config: Mapping[str, Any]) -> Any:
        self.prepare(layer.layer)
        inner = self.network(layer.layer)
        return backend.keras().layers.TimeDistributed(inner, name=config["name"])

    def leaves(self) -> Iterator[tuple[Any, Any]]:
        """Each layer that is no model beside the one that was made of it."""
        for one, other, _ in self._made.values():
            if other is not None and not _is_model(one) and not _is_model(getattr(one, "layer", None)):
                yield one, other

    def of(self, layer: Any) -> Any:
        """Return the copy of a layer or a model; None where there is none."""
        return self._made.get(id(layer), (None, None, None))[1]


def _needed(graph: Any) -> set[int]:
    """Nodes that outputs depend on; masks that Keras 2 makes itself need none."""
    found: set[int] = set()
    left = [tensor._keras_history for tensor in graph.outputs]
    while left:
        operation, index, _ = left.pop()
        node = operation._inbound_nodes[index]
        if id(node) not in found:
            found.add(id(node))
            given = backend.keras3().tree.flatten(_arguments(node))
            left += [each._keras_history for each in given if isinstance(each, backend.keras3().KerasTensor)]
    return found


def _arguments(node: Any) -> tuple[Any, dict[str, Any]]:
    """Return the arguments of a node, without those that Keras 3 added."""
    keras = backend.keras3()
    args, kwargs = node.arguments.args, dict(node.arguments.kwargs)
    if not _is_layer(node.operation):
        return args, kwargs
    tensors = keras.tree.flatten((args, kwargs))
    masks = [_source(each._keras_mask) for each in tensors if hasattr(each, "_keras_mask")]
    for key in [key for key in kwargs if key == "mask" or key.endswith("_mask")]:
        given = [each for each in keras.tree.flatten(kwargs[key]) if each is not None]
        if key != "attention_mask" and all(_source(each) in masks for each in given):
            del kwargs[key]  # Keras 2 hands masks on by itself
    known = inspect.signature(node.operation.call).parameters
    usual = known["training"].default if "training" in known else None
    if kwargs.get("training", usual) is usual:  # Keras 3 notes down what nobody has said
        kwargs.pop("training", None)
    return args, kwargs


def _source(tensor: Any) -> Any:
    """Return the source of a mask: a file that was read has the same mask twice."""
    if not isinstance(tensor, backend.keras3().KerasTensor):
        return repr(tensor)
    operation, index, place = tensor._keras_history
    if operation is None or _is_layer(operation):
        return id(tensor)
    node = operation._inbound_nodes[index]
    settings = {key: value for key, value in operation.get_config().items() if key != "name"}
    given = backend.keras3().tree.flatten((node.arguments.args, node.arguments.kwargs))
    return type(operation).__name__, repr(settings), place, [_source(each) for each in given]


def _input(tensor: Any) -> Any:
    config = tensor._keras_history.operation.get_config()
    if config.get("sparse") or config.get("ragged"):
        raise ConversionError(f"input {config['name']} is sparse or ragged", "Let it read plain tensors.")
    if config["dtype"] == "string":
        raise ConversionError(f"input {config['name']} reads strings", "Let it read token ids.")
    return backend.keras().Input(
        batch_shape=tuple(config["batch_shape"]), dtype=config["dtype"], name=config["name"]
    )


def _single(structure: Any) -> Any:
    """A list of one tensor as that tensor."""
    return structure[0] if isinstance(structure, (list, tuple)) and len(structure) == 1 else structure


def _is_model(layer: Any) -> bool:
    return isinstance(layer, backend.keras3().Model)


def _is_layer(operation: Any) -> bool:
    return isinstance(operation, backend.keras3().layers.Layer)


def _freeze(walk: _Walk, model: Any) -> bool:
    """Carry over what is trainable, layer by layer; return whether any of them is.

    In Keras 3 a layer that is trainable is trained in a frozen model too, in Keras 2 it is not.
    """
    trained = False
    for layer in graph_of(model).operations:
        copy = walk.of(layer)
        if _is_model(layer) and copy is not None:
            trained |= _freeze(walk, layer)
        elif _is_layer(layer) and copy is not None:
            _freeze_layer(layer, copy)
            trained |= bool(layer.trainable_variables)
    if not trained:
        walk.of(model).trainable = False
    return trained


def _freeze_layer(layer: Any, copy: Any) -> None:
    """Carry over what is trainable, from the outside to the inside: setting a layer sets those in it."""
    copy.trainable = layer.trainable
    for one, other in inner_pairs(layer, copy):
        _freeze_layer(one, other)
