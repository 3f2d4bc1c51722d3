"""Networks of Keras 3 at the door: converted to Keras 2 (tf_keras), and given back as Keras 3."""

import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.errors import PruneflowError
from pruneflow.models.descriptions import in_float32
from pruneflow.models.keras3.graph import converted_graph, graph_of
from pruneflow.models.keras3.layers import ConversionError
from pruneflow.models.keras3.weights import Weight, finalize
from pruneflow.runtime import backend
from pruneflow.runtime.files import write_file
from pruneflow.sparsity.kernels import leaves, named_weights, plain

__all__ = ["ConversionError", "Converted", "converted", "is_keras_3", "said", "written_back"]

EXAMPLES = 3
TOLERANCE = 1e-4  # of the largest output, at least 1, by which the two may differ
ANY_PIXELS, ANY_STEPS = 96, 8  # of an input that takes any number of them


@dataclass(frozen=True)
class Converted:
    """A network of Keras 3 as one of Keras 2.

    Attributes:
        model: The ``tf_keras.Model``, with the same names of layers.
        original: The network of Keras 3, in float32.
        difference: Largest difference between the outputs of the two, on random examples.
        weights: Each weight of the one beside that of the other.
    """

    model: Any
    original: Any
    difference: float
    weights: Sequence[Weight]

    @property
    def names(self) -> dict[str, str]:
        """The name of each weight in Keras 2, ``layer/weight``, by that in Keras 3."""
        one, other = (_names(each) for each in (self.original, self.model))
        return {one[id(plain(each.original))]: other[id(plain(each.copy))] for each in self.weights}


def _names(model: Any) -> dict[int, str]:
    return {
        id(variable): f"{layer}/{name}"
        for layer, found in leaves(model)
        for name, variable in named_weights(found).items()
    }


def is_keras_3(model: Any) -> bool:
    """Return whether something is a model of Keras 3; that is never imported for it."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(model, getattr(keras, "Model", ())) and not _is_keras_2(model)


def converted(model: Any) -> Converted:
    """Convert a network of Keras 3 to Keras 2, with its weights, and compare what the two say.

    Args:
        model: A built functional or sequential ``keras.Model`` of Keras 3 on TensorFlow; it is not changed.

    Returns:
        The network of Keras 2, which shares nothing with ``model``.
    """
    _require_tensorflow()
    graph_of(model)  # refuses one whose layers are not known
    start = _in_float32(model)
    with backend.float32(), backend.default_settings():
        network, weights = converted_graph(start)
    for each in weights:
        each.forward()
    for layer in network._flatten_layers():
        layer.finalize_state()
    return Converted(network, start, _compared(start, network), weights)


def said(difference: float) -> str:
    """Return the line that a run prints."""
    return f"Converted  Keras 3 network to Keras 2, outputs differ by at most {difference:.0e}"


def written_back(pruned: Sequence[npt.NDArray[Any]], original: Any, file: Path) -> float:
    """Write the network that came as Keras 3 with other weights, as a ``.keras`` file of Keras 3.

    Args:
        pruned: Weights of the network that `converted` made from ``original``, in the order of Keras 2.
        original: The network of Keras 3 as it came; it is not changed.

    Returns:
        Largest difference between the outputs of the file, read again, and of the network of Keras 2.

    Raises:
        PruneflowError: if the file gives other outputs, or has lost a zero.
    """
    copy = backend.keras3().models.clone_model(original)
    _set_weights(copy, original.get_weights())
    both = converted(copy)
    both.model.set_weights(pruned)
    for each in both.weights:
        each.back()
    _set_weights(copy, both.original.get_weights())
    read, content = _saved_and_read(copy)
    for one, other in zip(read.get_weights(), copy.get_weights(), strict=True):
        if not np.array_equal(one, other):
            raise PruneflowError(f"{file}: weights are others after they were read again.")
    difference = _compared(_in_float32(read), both.model)
    write_file(file, content)
    return difference


def _saved_and_read(model: Any) -> tuple[Any, bytes]:
    """A network as Keras 3 reads it from a ``.keras`` file, and the bytes of that file."""
    with tempfile.TemporaryDirectory(prefix="pruneflow-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 3.15 with NumPy 2: __array__ without copy
        made = Path(folder) / "pruned.keras"
        model.save(made)
        read = backend.keras3().saving.load_model(made, compile=False, safe_mode=True)
        return read, made.read_bytes()


def _is_keras_2(model: Any) -> bool:
    return "tf_keras" in sys.modules and isinstance(model, backend.keras().Model)


def _require_tensorflow() -> None:
    used = backend.keras3().backend.backend()
    if used != "tensorflow":
        raise ConversionError(f"its Keras 3 runs on {used}", "Set KERAS_BACKEND=tensorflow.")


def _in_float32(model: Any) -> Any:
    """The same network, its layers of mixed precision in float32."""
    policies = {layer.dtype_policy.name for layer in model._flatten_layers()}
    if not any(name.startswith("mixed_") for name in policies):
        return model
    described = json.dumps(in_float32(json.loads(model.to_json())))
    copy = backend.keras3().models.model_from_json(described)
    _set_weights(copy, model.get_weights())
    return copy


def _set_weights(model: Any, weights: Sequence[npt.NDArray[Any]]) -> None:
    model.set_weights(weights)
    finalize(model)


def _compared(original: Any, network: Any) -> float:
    """Largest difference between outputs on random examples; an error where it is more than rounding."""
    keras = backend.keras3()
    graph = graph_of(original)
    given = keras.tree.pack_sequence_as(graph._inputs_struct, list(_examples(graph)))
    flat = keras.tree.flatten(given)
    tf = backend.tensorflow()
    compiled = tf.function(lambda x: original(x, training=False))  # loops of Keras 3 are slow without
    outputs = [np.asarray(each) for each in keras.tree.flatten(compiled(given))]
    same = tf.nest.pack_sequence_as(network.input, flat)
    others = [np.asarray(each) for each in tf.nest.flatten(network(same, training=False))]
    difference = 0.0
    for name, one, other in zip(network.output_names, outputs, others, strict=True):
        found = _difference(one, other)
        largest = max(1.0, float(np.abs(one.astype(np.float64)).max(initial=0.0)))
        if not found <= TOLERANCE * largest:  # also where it is no number
            raise ConversionError(
                f"output {name} of the network that it was converted to differs by {found:.2g}"
            )
        difference = max(difference, found)
    return difference


def _difference(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0))


def _examples(graph: Any) -> Iterator[npt.NDArray[Any]]:
    """Random examples for each input: token ids inside the vocabulary, numbers around zero elsewhere."""
    rng = np.random.default_rng(0)
    for tensor in graph.inputs:
        batch, *sizes = tensor.shape
        free = ANY_PIXELS if len(sizes) == 3 else ANY_STEPS
        shape = [batch or EXAMPLES, *(free if size is None else size for size in sizes)]
        rows = list(_rows(graph, tensor))
        if rows or not str(tensor.dtype).startswith("float"):
            yield rng.integers(0, min(rows, default=2), shape).astype(tensor.dtype)
        else:
            yield rng.normal(size=shape).astype(tensor.dtype)


def _rows(graph: Any, tensor: Any) -> Iterator[int]:
    """Rows of each embedding that reads an input, also inside of models in the model."""
    keras = backend.keras3()
    for nodes in graph._nodes_by_depth.values():
        for node in nodes:
            if not any(each is tensor for each in node.input_tensors):
                continue
            if isinstance(node.operation, keras.layers.Embedding):
                yield int(node.operation.input_dim)
            elif isinstance(node.operation, keras.Model):
                inner = graph_of(node.operation)
                for each in inner.inputs:
                    yield from _rows(inner, each)
