"""The option ``mlp``: fully connected layers."""

from dataclasses import dataclass
from math import prod
from typing import Any

from pruneflow.datasets.spec import Spec
from pruneflow.models.base import (
    ACTIVATIONS,
    MOST_UNITS,
    Model,
    check_output_activation,
    dense_parameters,
    numbered,
    require_dropout,
    require_sizes,
)
from pruneflow.options import at_most, option, require_one_of
from pruneflow.runtime import backend


@option("model", "mlp")
@dataclass(kw_only=True)
class Mlp(Model):
    """Fully connected layers over rows of numbers, or over an image or a signal as a row."""

    reads = ("image", "numbers", "signal")
    widths = ("hidden_units",)

    hidden_units: list[int] = at_most(MOST_UNITS)
    activation: str
    batch_normalization: bool
    dropout: float
    output_activation: str

    def __post_init__(self) -> None:
        require_sizes("hidden_units", self.hidden_units, least=0)
        require_one_of("model.activation", self.activation, ACTIVATIONS)
        require_dropout(self.dropout)
        require_one_of("model.output_activation", self.output_activation, ("linear", "softmax"))

    def check(self, spec: Spec) -> None:
        """Refuse token ids, and probabilities of numbers."""
        super().check(spec)
        check_output_activation(self.output_activation, spec)

    def parameters(self, spec: Spec) -> int:
        """A matrix and a bias for each layer; four numbers of normalization for each hidden unit."""
        widths = [prod(spec.shape), *self.hidden_units, spec.outputs]
        normalized = 4 * sum(self.hidden_units) if self.batch_normalization else 0
        return dense_parameters(widths) + normalized

    def build(self, spec: Spec) -> Any:
        """Build the network, (batch, *spec.shape) to (batch, spec.outputs)."""
        keras = backend.keras()
        layers = keras.layers
        x = inputs = keras.Input(spec.shape, name="input")
        if len(spec.shape) > 1:
            x = layers.Flatten(name="flatten")(x)
        for index, units in enumerate(self.hidden_units):
            x = self._hidden(layers, x, index, units)
        name = numbered("dense", len(self.hidden_units))
        x = layers.Dense(spec.outputs, activation=self.output_activation, name=name, dtype="float32")(x)
        return keras.Model(inputs, x, name="mlp")

    def _hidden(self, layers: Any, x: Any, index: int, units: int) -> Any:
        """One hidden layer.

        Normalized before the activation, so that the converter folds the normalization into the weights.
        """
        inside = "linear" if self.batch_normalization else self.activation
        x = layers.Dense(units, activation=inside, name=numbered("dense", index))(x)
        if self.batch_normalization:
            x = layers.BatchNormalization(name=numbered("batch_normalization", index))(x)
            x = layers.Activation(self.activation, name=numbered("activation", index))(x)
        if self.dropout:
            x = layers.Dropout(self.dropout, name=numbered("dropout", index))(x)
        return x
