"""What a network's output means: its loss, its metric, its probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow import backend

__all__ = ["Task", "declared", "ending_of", "meaning_of", "task_of"]

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Task:
    """Classification into two classes (one output) or several (one output each).

    Attributes:
        units: Outputs of the network; 1 stands for two classes.
        from_logits: Whether the outputs are logits rather than probabilities.
    """

    units: int
    from_logits: bool

    def keras_loss(self) -> Any:
        """Loss to train with: cross-entropy, mean over the batch."""
        losses = backend.keras().losses
        if self.units == 1:
            return losses.BinaryCrossentropy(from_logits=self.from_logits)
        return losses.SparseCategoricalCrossentropy(from_logits=self.from_logits)

    def keras_metric(self) -> Any:
        """Metric to watch, named ``accuracy``."""
        metrics = backend.keras().metrics
        if self.units == 1:
            return metrics.BinaryAccuracy("accuracy", threshold=0.0 if self.from_logits else 0.5)
        return metrics.SparseCategoricalAccuracy("accuracy")

    def probabilities(self, outputs: FloatArray) -> FloatArray:
        """Probability of every class.

        Args:
            outputs: (n, units) as the network gives them.

        Returns:
            (n, classes) float64.

        >>> Task(units=1, from_logits=False).probabilities(np.array([[0.25]]))
        array([[0.75, 0.25]])
        >>> Task(units=2, from_logits=True).probabilities(np.array([[0.0, 0.0]]))
        array([[0.5, 0.5]])
        """
        values = outputs.astype(np.float64)
        if self.units == 1:
            positive = 1 / (1 + np.exp(-values)) if self.from_logits else values
            return np.concatenate([1 - positive, positive], axis=1)
        if not self.from_logits:
            return values
        exponentials = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def task_of(model: Any) -> Task:
    """Read the task off a network's last layer, wrapped by tfmot or not; what it does not say is logits."""
    return Task(units=int(model.output_shape[-1]), from_logits=meaning_of(model) != "probabilities")


def meaning_of(model: Any) -> str:
    """What the outputs of a network are, as far as its last layers say.

    Returns:
        ``"logits"``, ``"probabilities"``, or ``""`` where the layers do not say it.
    """
    return MEANINGS.get(ending_of(model), "")


def ending_of(model: Any) -> str:
    """Name of the function that a network ends with.

    Looks behind layers that change no values, such as ``Flatten``, and into models in the model.

    Args:
        model: A functional or sequential ``tf_keras.Model`` with one output.

    Returns:
        Such as ``"linear"`` or ``"softmax"``; what `declared` was told; ``""`` where no layer says it.
    """
    return _ending(model.outputs[0])


def declared(model: Any, meaning: str) -> Any:
    """The same network, whose last layers say what its outputs are: one that changes no values is added.

    Args:
        model: A functional or sequential ``tf_keras.Model`` with one output.
        meaning: ``"logits"`` or ``"probabilities"``.
    """
    keras = backend.keras()
    says = keras.layers.Activation("linear", name=DECLARED[meaning], dtype="float32")
    return keras.Model(model.inputs, says(model.outputs[0]), name=model.name)


DECLARED = {"logits": "outputs_are_logits", "probabilities": "outputs_are_probabilities"}
MEANINGS = {
    **dict.fromkeys(("softmax", "sigmoid", "probabilities"), "probabilities"),
    **dict.fromkeys(("linear", "logits"), "logits"),
}
PASSED_THROUGH = ("Flatten", "Reshape", "Permute", "Dropout")


def _ending(tensor: Any) -> str:
    layer = tensor._keras_history.layer
    node = layer._inbound_nodes[tensor._keras_history.node_index]
    for meaning, name in DECLARED.items():
        if layer.name == name:
            return meaning
    if isinstance(layer, backend.keras().Model):
        return _ending(layer.outputs[tensor._keras_history.tensor_index])
    layer = getattr(layer, "layer", layer)  # tfmot's wrapper
    kind, name = type(layer).__name__, _activation(layer)
    if kind in PASSED_THROUGH or (kind == "Activation" and name == "linear"):
        before = node.keras_inputs
        return _ending(before[0]) if before else ""
    return name


def _activation(layer: Any) -> str:
    """Name of the function that a layer ends with; empty where it has none."""
    kind = type(layer).__name__
    if kind == "Softmax":
        return "softmax"
    if kind == "TFOpLambda":  # tf.nn.softmax and tf.sigmoid, called on a tensor of Keras
        return str(layer.get_config()["function"]).rsplit(".", maxsplit=1)[-1]
    if not hasattr(layer, "activation"):
        return ""
    activation = layer.activation
    return "linear" if activation is None else getattr(activation, "__name__", "")
