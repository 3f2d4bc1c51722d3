"""Options of the group ``model``: networks built from what the data are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pruneflow import backend
from pruneflow.data import Spec
from pruneflow.errors import ConfigError
from pruneflow.options import choices, option, require, require_one_of

__all__ = ["Cnn", "Lstm", "Model"]

ACTIVATIONS = ("relu", "linear", "tanh", "sigmoid", "elu", "gelu", "swish")


@dataclass(kw_only=True)
class Model:
    """What every network has.

    Attributes:
        name: Label in tables.
    """

    option_name: ClassVar[str]  # as chosen on the command line; set by @option
    reads: ClassVar[str]  # the kind of data: "image" or "tokens"

    name: str

    def build(self, spec: Spec) -> Any:
        """Build the network for data of ``spec``.

        Every layer gets a name of its own, so that equal weights give equal TFLite bytes.

        Returns:
            An untrained ``tf_keras.Model``, (batch, *spec.shape) to (batch, units).
        """
        raise NotImplementedError

    def check(self, spec: Spec) -> None:
        """Refuse data that the network cannot read.

        Raises:
            ConfigError: naming what does not fit.
        """
        self.check_kind(spec.kind)

    def check_kind(self, kind: str) -> None:
        """Refuse another kind of data than the network reads, before any is loaded.

        Raises:
            ConfigError: naming both kinds.
        """
        if kind != self.reads:
            models = [name for name, option in choices("model").items() if option.reads == kind]
            datasets = [name for name, option in choices("dataset").items() if option.kind == self.reads]
            raise ConfigError.of(
                "model",
                self.option_name,
                f"it reads {_WORDS[self.reads]}, and the data set has {_WORDS[kind]}",
                f"Take model={' or '.join(models)}, or dataset={' or '.join(datasets)}.",
            )


_WORDS = {"image": "images", "tokens": "sequences of tokens"}


@option("model", "cnn")
@dataclass(kw_only=True)
class Cnn(Model):
    """Convolutions, each with max-pooling, then fully connected layers.

    Attributes:
        filters: Filters of each convolution; one entry per convolution.
        kernel_size: Height and width of the kernels, pixels.
        padding: ``"valid"`` or ``"same"``, of convolutions and pooling.
        pool_size: Window and stride of the pooling, pixels.
        convolution_activation: Activation after each convolution.
        batch_normalization: ``"none"``, ``"between"`` (after each pooling that another convolution follows)
            or ``"all"`` (after each pooling).
        dense_units: Units of each hidden fully connected layer (ReLU); may be empty.
        dropout: Share of activations dropped before the classifier in training, [0, 1).
        output_activation: ``"linear"`` (logits) or ``"softmax"`` (probabilities).
    """

    reads = "image"

    filters: list[int]
    kernel_size: int
    padding: str
    pool_size: int
    convolution_activation: str
    batch_normalization: str
    dense_units: list[int]
    dropout: float
    output_activation: str

    def __post_init__(self) -> None:
        """Refuse a network that cannot be built."""
        _require_sizes("filters", self.filters, least=1)
        _require_sizes("dense_units", self.dense_units, least=0)
        _require_size("kernel_size", self.kernel_size)
        _require_size("pool_size", self.pool_size)
        require_one_of("model.padding", self.padding, ("valid", "same"))
        require_one_of("model.convolution_activation", self.convolution_activation, ACTIVATIONS)
        require_one_of("model.batch_normalization", self.batch_normalization, ("none", "between", "all"))
        require_one_of("model.output_activation", self.output_activation, ("linear", "softmax"))
        _require_dropout(self.dropout)

    def check(self, spec: Spec) -> None:
        """Refuse images that convolution and pooling shrink to nothing."""
        super().check(spec)
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

    def build(self, spec: Spec) -> Any:
        """Build the network, (batch, height, width, channels) to (batch, classes)."""
        keras = backend.keras()
        layers = keras.layers
        x = inputs = keras.Input(spec.shape, name="input")
        for index, filters in enumerate(self.filters):
            x = self._block(layers, x, index, filters)
        x = layers.Flatten(name="flatten")(x)
        for index, units in enumerate(self.dense_units):
            x = layers.Dense(units, activation="relu", name=_numbered("dense", index))(x)
        if self.dropout:
            x = layers.Dropout(self.dropout, name="dropout")(x)
        x = layers.Dense(
            spec.classes,
            activation=self.output_activation,
            name=_numbered("dense", len(self.dense_units)),
            dtype="float32",
        )(x)
        return keras.Model(inputs, x, name="cnn")

    def _block(self, layers: Any, x: Any, index: int, filters: int) -> Any:
        x = layers.Conv2D(
            filters,
            self.kernel_size,
            padding=self.padding,
            activation=self.convolution_activation,
            name=_numbered("conv2d", index),
        )(x)
        x = layers.MaxPooling2D(self.pool_size, padding=self.padding, name=_numbered("max_pooling2d", index))(
            x
        )
        last = index == len(self.filters) - 1
        if self.batch_normalization == "all" or (self.batch_normalization == "between" and not last):
            x = layers.BatchNormalization(name=_numbered("batch_normalization", index))(x)
        return x

    def _side_after_block(self, side: int) -> int:
        if self.padding == "same":
            return -(-side // self.pool_size)
        return max(0, side - self.kernel_size + 1) // self.pool_size


@option("model", "lstm")
@dataclass(kw_only=True)
class Lstm(Model):
    """An embedding, an LSTM and a sigmoid: the probability that a text is of class 1.

    Attributes:
        embedding_dim: Length of a word vector.
        units: Units of the LSTM; of each of both where it is bidirectional.
        bidirectional: Whether a second LSTM reads the text from its end to its beginning; the last outputs of
            both are joined (Schuster and Paliwal 1997, "Bidirectional Recurrent Neural Networks").
        embedding_dropout: Share of word-vector channels dropped for a whole text in training, [0, 1).
        dropout: Share of the LSTM's last output dropped in training, [0, 1).
    """

    reads = "tokens"

    embedding_dim: int
    units: int
    bidirectional: bool
    embedding_dropout: float
    dropout: float

    def __post_init__(self) -> None:
        """Refuse a network that cannot be built."""
        _require_size("embedding_dim", self.embedding_dim)
        _require_size("units", self.units)
        _require_dropout(self.dropout)
        _require_dropout(self.embedding_dropout, "embedding_dropout")

    def check(self, spec: Spec) -> None:
        """Refuse anything but two classes."""
        super().check(spec)
        require(
            spec.classes == 2,
            "model",
            self.option_name,
            f"it tells two classes apart, and the data set has {spec.classes}",
            "Take a data set with two classes.",
        )

    def build(self, spec: Spec) -> Any:
        """Build the network, (batch, length) int32 to (batch, 1) probabilities."""
        keras = backend.keras()
        layers = keras.layers
        x = inputs = keras.Input(spec.shape, dtype="int32", name="input")
        x = layers.Embedding(spec.vocabulary_size, self.embedding_dim, name="embedding")(x)
        if self.embedding_dropout:
            x = layers.SpatialDropout1D(self.embedding_dropout, name="embedding_dropout")(x)
        x = self._recurrent(layers)(x)
        if self.dropout:
            x = layers.Dropout(self.dropout, name="dropout")(x)
        x = layers.Dense(1, activation="sigmoid", name="dense", dtype="float32")(x)
        return keras.Model(inputs, x, name="lstm")

    def _recurrent(self, layers: Any) -> Any:
        lstm = layers.LSTM(self.units, name="lstm")
        return layers.Bidirectional(lstm, name="bidirectional") if self.bidirectional else lstm


def _numbered(name: str, index: int) -> str:
    """Keras' own spelling: ``conv2d``, ``conv2d_1``, ``conv2d_2``."""
    return f"{name}_{index}" if index else name


def _require_size(key: str, value: int) -> None:
    require(value >= 1, f"model.{key}", value, "allowed are whole numbers from 1", "Raise it.")


def _require_sizes(key: str, values: list[int], *, least: int) -> None:
    require(
        len(values) >= least and all(value >= 1 for value in values),
        f"model.{key}",
        values,
        f"allowed is a list of {'one' if least else 'zero'} or more whole numbers from 1",
        f"Write for instance model.{key}=[32,64].",
    )


def _require_dropout(value: float, key: str = "dropout") -> None:
    require(
        0 <= value < 1,
        f"model.{key}",
        value,
        "allowed are numbers from 0 up to, not including, 1",
        "0 leaves dropout out.",
    )
