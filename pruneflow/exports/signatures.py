"""The inputs and outputs of a Keras model, by name, and the function of one example that a file holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.exports.graphs import ending, vocabularies
from pruneflow.options import require
from pruneflow.runtime import backend

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Port:
    """An input.

    Attributes:
        name: Of the Keras input, or its key in a dictionary.
        shape: Of one example; None where any size will do.
        dtype: ``"float32"``, ``"int32"`` or ``"bool"``.
        batch: Examples that the model was built for at a time; None takes any number.
        vocabulary: Its values are ids below this number, which a table is looked up with; 0 for others.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    batch: int | None = None
    vocabulary: int = 0


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model.

    Attributes:
        inputs: In the order of the model.
        structure: Names of the inputs in the place that each has: one, a list or a dictionary.
        plain: Whether it reads one tensor and gives one.
    """

    inputs: tuple[Port, ...]
    structure: Any
    plain: bool = True

    def sized(self, examples: Arrays) -> Signature:
        """The same for the sizes of examples, where the model reads any."""
        ports = tuple(replace(port, shape=examples[port.name].shape[1:]) for port in self.inputs)
        return replace(self, inputs=ports)


@dataclass(frozen=True)
class Traced:
    """A model as a function of one example.

    Attributes:
        signature: Of the model; vocabularies are known now.
        function: From tensors by the names of inputs to tensors by the names of outputs.
        endings: Operation that each output ends with, such as ``"Softmax"``; empty where it is not known.
    """

    signature: Signature
    function: Any
    endings: dict[str, str]

    def outputs(self, examples: Arrays) -> dict[str, Array]:
        """Return the outputs of Keras, in float32 also where a GPU would round products to 10 bits.

        Args:
            examples: (n, *shape) by the names of inputs.

        Returns:
            (n, ...) by the names of outputs.
        """
        tf, rows = backend.tensorflow(), []
        with backend.whole_float32():
            for index in range(len(next(iter(examples.values())))):
                one = {name: tf.constant(values[index : index + 1]) for name, values in examples.items()}
                rows.append({name: value.numpy() for name, value in self.function(**one).items()})
        return {name: np.concatenate([np.atleast_1d(row[name]) for row in rows]) for name in rows[0]}


def signature_of(model: Any) -> Signature:
    """Read the inputs off a model that was built by its shape, or called once.

    Raises:
        ConfigError: where they are not known, or are no tensors.
    """
    tf = backend.tensorflow()
    structure = _structure(model)
    specs = tf.nest.flatten(structure)
    for spec in specs:
        is_tensor = isinstance(spec, tf.TensorSpec) and spec.shape.rank
        problem = f"it reads {spec}, and a TFLite file reads tensors of numbers"
        require(is_tensor, "model", model.name, problem, "Let it read tensors with a batch axis.")
    names = _names(structure, specs, getattr(model, "input_names", None))
    ports = tuple(_port(name, spec, model) for name, spec in zip(names, specs, strict=True))
    return Signature(ports, tf.nest.pack_sequence_as(structure, names))


def _structure(model: Any) -> Any:
    """Specifications of what the model is called with."""
    tf = backend.tensorflow()
    given = model.save_spec(dynamic_batch=False)
    if given is None:
        shape = getattr(model, "_build_input_shape", None)
        problem, remedy = "its inputs are not known", "Call it once on examples, such as model(x)."
        require(shape is not None, "model", model.name, problem, remedy)
        return tf.nest.map_structure(tf.TensorSpec, _shapes(shape))
    (first, *others), words = given
    more = [each for each in tf.nest.flatten([others, words]) if isinstance(each, tf.TypeSpec)]
    remedy = "Let it read one list or dictionary of tensors."
    require(not more, "model", model.name, "it is called with several arguments", remedy)
    return first


def _shapes(shape: Any) -> Any:
    """Shapes as one leaf each, of what ``model.build`` was given."""
    if isinstance(shape, Mapping):
        return {key: _shapes(each) for key, each in shape.items()}
    if isinstance(shape, (list, tuple)) and any(isinstance(each, (list, tuple, Mapping)) for each in shape):
        return [_shapes(each) for each in shape]
    return backend.tensorflow().TensorShape(shape)


def _names(structure: Any, leaves: Sequence[Any], known: Sequence[str] | None) -> list[str]:
    """Names of the leaves: keys of a dictionary, those that Keras gives, or numbers."""
    if isinstance(structure, Mapping) and len(structure) == len(leaves):
        names = [str(key) for key in sorted(structure)]  # the order of tf.nest
    elif known and len(known) == len(leaves):
        names = list(known)
    else:
        names = [getattr(leaf, "name", None) or f"input_{index + 1}" for index, leaf in enumerate(leaves)]
    return [name if names.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(names)]


def _port(name: str, spec: Any, model: Any) -> Port:
    batch, *shape = spec.shape.as_list()
    batch = batch if getattr(model, "inputs", None) else None  # that of the first call fixes nothing
    dtype = "bool" if spec.dtype.is_bool else "int32" if spec.dtype.is_integer else "float32"
    return Port(name, tuple(shape), dtype, batch)


def traced(model: Any, signature: Signature) -> Traced:
    """Trace a model for one example.

    Args:
        model: A built ``tf_keras.Model``.
        signature: Of the model, without open sizes.
    """
    tf = backend.tensorflow()
    found: dict[str, Any] = {}

    def call(**tensors: Any) -> dict[str, Any]:
        given = tf.nest.map_structure(lambda name: tensors[name], signature.structure)
        outputs = model(given, training=False)
        found.update(inputs=tensors, plain=tf.is_tensor(outputs))
        return {name: tf.identity(each) for name, each in _named(model, outputs)}

    specs = {
        port.name: tf.TensorSpec((1, *port.shape), port.dtype, name=port.name) for port in signature.inputs
    }
    function = tf.function(call).get_concrete_function(**specs)
    sizes = vocabularies(function.graph, found["inputs"])
    ports = tuple(replace(port, vocabulary=sizes.get(port.name, 0)) for port in signature.inputs)
    plain = bool(found["plain"]) and isinstance(signature.structure, str)
    endings = {name: ending(tensor) for name, tensor in function.structured_outputs.items()}
    return Traced(replace(signature, inputs=ports, plain=plain), function, endings)


def _named(model: Any, outputs: Any) -> list[tuple[str, Any]]:
    """Outputs with their names: keys of a dictionary, those of output layers, or numbers."""
    tensors = [each for each in backend.tensorflow().nest.flatten(outputs) if each is not None]
    known = getattr(model, "output_names", None)
    if isinstance(outputs, Mapping) and len(outputs) == len(tensors):
        known = [str(key) for key in sorted(outputs)]
    if not known or len(known) != len(tensors) or len(set(known)) != len(known):
        known = [f"output_{index + 1}" for index in range(len(tensors))]
    return list(zip(known, tensors, strict=True))


@contextmanager
def stateless(model: Any) -> Iterator[bool]:
    """Have recurrent layers begin anew inside the block.

    A state that Keras keeps in variables of its own cannot be converted (tensorflow 2.21). A fused LSTM of a
    file keeps its state by itself.

    Yields:
        Whether there is a layer that keeps its state.

    Raises:
        ConfigError: for a stateful model of a batch other than 1, which a file does not read.
    """
    layers = backend.keras().layers
    kinds = (layers.RNN, layers.Bidirectional)
    recurrent = [each for each in model._flatten_layers() if isinstance(each, kinds) and each.stateful]
    for layer in recurrent:
        batch = _fixed_batch(layer)
        problem = f"stateful=True fixes its batch to {batch}, and a TFLite file reads one example"
        remedy = "Build it with a batch of 1, and give that its weights: set_weights(model.get_weights())."
        require(batch in (None, 1), "model", model.name, problem, remedy)
    for layer in recurrent:
        layer.stateful = False
    try:
        yield bool(recurrent)
    finally:
        for layer in recurrent:
            layer.stateful = True


def _fixed_batch(layer: Any) -> int | None:
    specs = backend.tensorflow().nest.flatten(layer.input_spec)
    return next((each.shape[0] for each in specs if each is not None and each.shape), None)
