"""The option ``resnet8``: a small residual network."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError
from pruneflow.models.base import MOST_UNITS, Model, check_output_activation, require_sizes
from pruneflow.options import at_most, option, require_one_of
from pruneflow.runtime import backend

KERNEL = 3  # height and width of the kernels of a block, pixels


@option("model", "resnet8")
@dataclass(kw_only=True)
class Resnet8(Model):
    """ResNet (He et al. 2015, arXiv 1512.03385) with one block per stack.

    With three stacks it is the image network of MLPerf Tiny (Banbury et al. 2021, arXiv 2106.07597). The
    first stack keeps height and width, each further stack halves them.
    """

    reads = "image"
    widths = ("filters",)

    filters: list[int] = at_most(MOST_UNITS)
    output_activation: str

    def __post_init__(self) -> None:
        require_sizes("filters", self.filters, least=1)
        require_one_of("model.output_activation", self.output_activation, ("linear", "softmax"))

    def check(self, spec: Spec) -> None:
        """Refuse images that have fewer pixels than the strides take."""
        super().check(spec)
        check_output_activation(self.output_activation, spec)
        height, width, _ = spec.shape
        least = 2 ** (len(self.filters) - 1)
        if min(height, width) < least:
            raise ConfigError.of(
                "model.filters",
                self.filters,
                f"{len(self.filters)} stacks need images of {least}x{least} pixels or more, and those of the "
                f"data set have {height}x{width}",
                "Leave out a stack, or take larger images.",
            )

    def parameters(self, spec: Spec) -> int:
        """Kernels and biases, and four numbers of normalization for each filter of a 3x3 convolution."""
        first, last = self.filters[0], self.filters[-1]
        count = _weights(KERNEL, spec.shape[-1], first) + 4 * first
        for before, filters in pairwise([first, *self.filters]):
            count += _weights(KERNEL, before, filters) + _weights(KERNEL, filters, filters) + 8 * filters
        count += sum(_weights(1, before, filters) for before, filters in pairwise(self.filters))
        return count + (last + 1) * spec.outputs

    def build(self, spec: Spec) -> Any:
        """Build the network, (batch, height, width, channels) to (batch, spec.outputs)."""
        keras = backend.keras()
        layers = keras.layers
        x = inputs = keras.Input(spec.shape, name="input")
        x = layers.ReLU(name="stem_relu")(_normalized(x, self.filters[0], "stem"))
        for index, filters in enumerate(self.filters):
            x = _block(x, filters, f"block{index + 1}", strides=2 if index else 1)
        x = layers.GlobalAveragePooling2D(name="average")(x)
        x = layers.Dense(
            spec.outputs,
            activation=self.output_activation,
            kernel_initializer="he_normal",
            name="dense",
            dtype="float32",
        )(x)
        return keras.Model(inputs, x, name="resnet8")


def _weights(size: int, channels: int, filters: int) -> int:
    return (size**2 * channels + 1) * filters


def _block(x: Any, filters: int, name: str, *, strides: int) -> Any:
    """Two convolutions, and a shortcut around them: a convolution of 1x1 where the size changes."""
    layers = backend.keras().layers
    y = layers.ReLU(name=f"{name}_relu1")(_normalized(x, filters, f"{name}_1", strides=strides))
    y = _normalized(y, filters, f"{name}_2")
    if strides > 1:
        x = _convolution(filters, f"{name}_shortcut", size=1, strides=strides)(x)
    return layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([x, y]))


def _normalized(x: Any, filters: int, name: str, *, strides: int = 1) -> Any:
    x = _convolution(filters, f"{name}_conv", size=KERNEL, strides=strides)(x)
    return backend.keras().layers.BatchNormalization(name=f"{name}_bn")(x)


def _convolution(filters: int, name: str, *, size: int, strides: int) -> Any:
    return backend.keras().layers.Conv2D(
        filters, size, strides, padding="same", kernel_initializer="he_normal", name=name
    )
