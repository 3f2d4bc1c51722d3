"""The option ``mobilenet``: MobileNetV2."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.models.base import Model, check_output_activation, require_dropout
from pruneflow.models.keras_files import digest_of_files
from pruneflow.models.stored_weights import require_plain_hdf5
from pruneflow.options import (
    BETWEEN_0_AND_1,
    FINITE_ABOVE_0,
    at_most,
    option,
    require,
    require_number,
    require_one_of,
)
from pruneflow.runtime import backend
from pruneflow.runtime.surroundings import expanded

KEY = "model.weights"
LEAST_SIDE = 32  # pixels; Keras builds it for no smaller image
COLOURS = 3
AT_FULL_WIDTH = 2_257_984  # weights without a classifier at alpha=1


@option("model", "mobilenet")
@dataclass(kw_only=True)
class Mobilenet(Model):
    """MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) as Keras has it, with a classifier of its own.

    Grey images are repeated as three colours; images below 32 pixels get a black margin.
    """

    reads = "image"

    alpha: float = at_most(10)
    weights: str | None
    batch_normalization_momentum: float
    dropout: float
    output_activation: str

    def __post_init__(self) -> None:
        require_number(
            "model.alpha", self.alpha, FINITE_ABOVE_0, "0.35, 0.5, 0.75, 1, 1.3 and 1.4 are usual."
        )
        key, momentum = "model.batch_normalization_momentum", self.batch_normalization_momentum
        require_number(key, momentum, BETWEEN_0_AND_1, "0.99 is usual.")
        require(self.weights != "", KEY, "", "it is empty", "Name a file, or null.")
        require_dropout(self.dropout)
        require_one_of("model.output_activation", self.output_activation, ("linear", "softmax"))

    def identity(self, spec: Spec) -> dict[str, Any]:
        """The settings, with the content of the file in place of its name."""
        settings = super().identity(spec)
        return {**settings, "weights": digest_of_files(self._file) if self._file else None}

    def check(self, spec: Spec) -> None:
        """Refuse images that are neither grey nor coloured, and a file that is none."""
        super().check(spec)
        check_output_activation(self.output_activation, spec)
        channels = spec.shape[-1]
        if channels not in (1, COLOURS):
            raise ConfigError.of(
                "model",
                self.option_name,
                f"it reads images with 1 or 3 channels, and those of the data set have {channels}",
                "Take model=cnn.",
            )
        if self._file and not self._file.is_file():
            raise PruneflowError(f"{self._file}: no such file. model.weights takes an HDF5 file, or null.")

    def parameters(self, spec: Spec) -> int:
        """About as many as there are: they grow with the square of the width."""
        return round(AT_FULL_WIDTH * self.alpha**2)

    def build(self, spec: Spec) -> Any:
        """Build the network, (batch, height, width, channels) to (batch, spec.outputs)."""
        keras = backend.keras()
        layers = keras.layers
        inputs = keras.Input(spec.shape, name="input")
        features = self._features(keras, _prepared(layers, inputs))
        x = layers.GlobalAveragePooling2D(name="average")(features.output)
        if self.dropout:
            x = layers.Dropout(self.dropout, name="dropout")(x)
        x = layers.Dense(spec.outputs, activation=self.output_activation, name="dense", dtype="float32")(x)
        return keras.Model(inputs, x, name="mobilenet")

    def _features(self, keras: Any, x: Any) -> Any:
        """The network without its classifier, over images (batch, height, width, 3) in [-1, 1]."""
        model = keras.applications.MobileNetV2(
            input_tensor=x, alpha=self.alpha, include_top=False, weights=None
        )
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = self.batch_normalization_momentum
        if self._file:
            self._load(model, self._file)
        return model

    def _load(self, model: Any, file: Path) -> None:
        try:
            require_plain_hdf5(file, file)
            model.load_weights(file)
        except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            said = " ".join(str(error).split()).rstrip(".")
            raise ConfigError.of(
                KEY,
                self.weights,
                f"it does not fit MobileNetV2 without its classifier at model.alpha={self.alpha:g}: {said}",
                "Take the file whose name ends with _no_top.h5, of the same alpha.",
            ) from error

    @property
    def _file(self) -> Path | None:
        return expanded(KEY, self.weights) if self.weights else None


def _prepared(layers: Any, images: Any) -> Any:
    """Turn images in [0, 1] into what MobileNetV2 reads: at least 32 x 32, three colours, in [-1, 1]."""
    margins = [max(0, LEAST_SIDE - side) for side in images.shape[1:3]]
    if any(margins):
        around = tuple((margin // 2, margin - margin // 2) for margin in margins)
        images = layers.ZeroPadding2D(around, name="padding")(images)
    if images.shape[-1] == 1:
        images = layers.Concatenate(name="colours")([images] * COLOURS)
    return layers.Rescaling(2.0, -1.0, name="rescaling")(images)
