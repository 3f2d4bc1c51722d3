"""The option ``ds_cnn``: depthwise separable convolutions, as for spotting spoken words."""

from dataclasses import dataclass
from typing import Any

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError
from pruneflow.models.base import (
    MOST_UNITS,
    Model,
    check_output_activation,
    numbered,
    require_dropout,
    require_size,
    require_sizes,
)
from pruneflow.options import at_most, option, require, require_one_of
from pruneflow.runtime import backend

SIDE = 3  # of the depthwise kernels


@option("model", "ds_cnn")
@dataclass(kw_only=True)
class DsCnn(Model):
    """Depthwise separable convolutions over images and signals (DS-CNN, Zhang et al. 2017, arXiv 1711.07128).

    A convolution with stride, then blocks of a depthwise 3 x 3 and a pointwise convolution, each with batch
    normalization and ReLU, then the average over time and bands. With the values of its YAML file it has the
    layers of the keyword spotting network of MLPerf Tiny (Banbury et al. 2021, arXiv 2106.07597).
    """

    reads = ("image", "signal")
    widths = ("filters",)

    filters: int = at_most(MOST_UNITS)
    blocks: int = at_most(100)
    kernel_size: list[int] = at_most(MOST_UNITS)
    strides: list[int] = at_most(MOST_UNITS)
    dropout: float
    output_activation: str

    def __post_init__(self) -> None:
        require_size("filters", self.filters)
        require_size("blocks", self.blocks)
        for key in ("kernel_size", "strides"):
            sizes, problem = getattr(self, key), "allowed are two whole numbers from 1: height and width"
            require_sizes(key, sizes, least=1)
            require(len(sizes) == 2, f"model.{key}", sizes, problem, f"Write for instance model.{key}=[4,2].")
        require_dropout(self.dropout)
        require_one_of("model.output_activation", self.output_activation, ("linear", "softmax"))

    def check(self, spec: Spec) -> None:
        """Refuse signals of more dimensions than a picture has, and probabilities of numbers."""
        super().check(spec)
        check_output_activation(self.output_activation, spec)
        if len(spec.shape) > 3:
            raise ConfigError.of(
                "model",
                self.option_name,
                "it reads images, and signals (n, steps, channels) or (n, steps, bands, channels), and those "
                f"of the data set are (n, {', '.join(map(str, spec.shape))})",
                "Take model=mlp, or join some of their dimensions.",
            )

    def parameters(self, spec: Spec) -> int:
        """Kernels, biases, and four numbers of normalization for each filter."""
        (height, width), filters = self.kernel_size, self.filters
        channels = spec.shape[2] if len(spec.shape) == 3 else 1
        first = (height * width * channels + 1 + 4) * filters
        block = (SIDE**2 + 1 + 4 + filters + 1 + 4) * filters
        return first + self.blocks * block + (filters + 1) * spec.outputs

    def build(self, spec: Spec) -> Any:
        """Build the network, (batch, *spec.shape) to (batch, spec.outputs).

        A signal (steps, channels) is read as a picture of one channel.
        """
        keras = backend.keras()
        layers = keras.layers
        x = inputs = keras.Input(spec.shape, name="input")
        if len(spec.shape) == 2:
            x = layers.Reshape((*spec.shape, 1), name="picture")(x)
        first = layers.Conv2D(
            self.filters, self.kernel_size, strides=self.strides, padding="same", name="conv2d"
        )
        x = _normalized(layers, first(x), 0)
        for block in range(self.blocks):
            x = self._block(layers, x, block)
        x = layers.GlobalAveragePooling2D(name="average")(x)
        if self.dropout:
            x = layers.Dropout(self.dropout, name="dropout")(x)
        x = layers.Dense(spec.outputs, activation=self.output_activation, name="dense", dtype="float32")(x)
        return keras.Model(inputs, x, name="ds_cnn")

    def _block(self, layers: Any, x: Any, block: int) -> Any:
        depthwise = layers.DepthwiseConv2D(SIDE, padding="same", name=numbered("depthwise_conv2d", block))
        x = _normalized(layers, depthwise(x), 2 * block + 1)
        pointwise = layers.Conv2D(self.filters, 1, name=numbered("conv2d", block + 1))
        return _normalized(layers, pointwise(x), 2 * block + 2)


def _normalized(layers: Any, x: Any, index: int) -> Any:
    x = layers.BatchNormalization(name=numbered("batch_normalization", index))(x)
    return layers.ReLU(name=numbered("re_lu", index))(x)
