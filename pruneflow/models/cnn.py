"""The option ``cnn``: convolutions and pooling."""

from dataclasses import dataclass
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
    require_size,
    require_sizes,
)
from pruneflow.options import at_most, option, require, require_one_of
from pruneflow.runtime import backend


@option("model", "cnn")
@dataclass(kw_only=True)
class Cnn(Model):
    """Convolutions, each with max-pooling, then fully connected layers.

    Batch normalization: Ioffe and Szegedy 2015, arXiv 1502.03167.
    """

    reads = "image"
    widths = ("filters", "dense_units")

    filters: list[int] = at_most(MOST_UNITS)
    kernel_size: int = at_most(MOST_UNITS)
    padding: str
    pool_size: int = at_most(MOST_UNITS)
    convolution_activation: str
    batch_normalization: str
    dense_units: list[int] = at_most(MOST_UNITS)
    dropout: float
    output_activation: str

    def __post_init__(self) -> None:
        require_sizes("filters", self.filters, least=1)
        require_sizes("dense_units", self.dense_units, least=0)
        require_size("kernel_size", self.kernel_size)
        require_size("pool_size", self.pool_size)
        require_one_of("model.padding", self.padding, ("valid", "same"))
        require_one_of("model.convolution_activation", self.convolution_activation, ACTIVATIONS)
        require_one_of("model.batch_normalization", self.batch_normalization, ("none", "between", "all"))
        require_one_of("model.output_activation", self.output_activation, ("linear", "softmax"))
        require_dropout(self.dropout)

    def check(self, spec: Spec) -> None:
        """Refuse images that convolution and pooling shrink to nothing."""
        super().check(spec)
        check_output_activation(self.output_activation, spec)
        side = min(spec.shape[:2])
        for index in range(len(self.filters)):
            side = self._side_after_block(side)
            require(
                side >= 1,
                "model.filters",
                self.filters,
                f"images of {spec.shape[0]}x{spec.shape[1]} pixels are used up after convolution {index + 1}",
                "Use fewer convolutions, a smaller model.kernel_size, or model.padding=same.",
            )

    def parameters(self, spec: Spec) -> int:
        """Kernels and biases, and four numbers of normalization for each filter that has it."""
        (height, width, channels), count = spec.shape, 0
        for index, filters in enumerate(self.filters):
            count += (self.kernel_size**2 * channels + 1) * filters
            count += 4 * filters if self._is_normalized(index) else 0
            height, width, channels = *map(self._side_after_block, (height, width)), filters
        return count + dense_parameters([height * width * channels, *self.dense_units, spec.outputs])

    def build(self, spec: Spec) -> Any:
        """Build the network, (batch, height, width, channels) to (batch, spec.outputs)."""
        keras = backend.keras()
        layers = keras.layers
        x = inputs = keras.Input(spec.shape, name="input")
        for index, filters in enumerate(self.filters):
            x = self._block(layers, x, index, filters)
        x = layers.Flatten(name="flatten")(x)
        for index, units in enumerate(self.dense_units):
            x = layers.Dense(units, activation="relu", name=numbered("dense", index))(x)
        if self.dropout:
            x = layers.Dropout(self.dropout, name="dropout")(x)
        x = layers.Dense(
            spec.outputs,
            activation=self.output_activation,
            name=numbered("dense", len(self.dense_units)),
            dtype="float32",
        )(x)
        return keras.Model(inputs, x, name="cnn")

    def _block(self, layers: Any, x: Any, index: int, filters: int) -> Any:
        x = layers.Conv2D(
            filters,
            self.kernel_size,
            padding=self.padding,
            activation=self.convolution_activation,
            name=numbered("conv2d", index),
        )(x)
        x = layers.MaxPooling2D(self.pool_size, padding=self.padding, name=numbered("max_pooling2d", index))(
            x
        )
        if self._is_normalized(index):
            x = layers.BatchNormalization(name=numbered("batch_normalization", index))(x)
        return x

    def _is_normalized(self, index: int) -> bool:
        last = index == len(self.filters) - 1
        return self.batch_normalization == "all" or (self.batch_normalization == "between" and not last)

    def _side_after_block(self, side: int) -> int:
        if self.padding == "same":
            return -(-side // self.pool_size)
        return max(0, side - self.kernel_size + 1) // self.pool_size
