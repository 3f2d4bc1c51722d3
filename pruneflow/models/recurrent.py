"""The options ``lstm`` and ``gru``: an embedding, a recurrent layer and a classifier, for texts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError
from pruneflow.models.base import MOST_UNITS, Model, dense_parameters, require_dropout, require_size
from pruneflow.options import at_most, option, require, require_one_of
from pruneflow.runtime import backend

OUTPUTS = ("probabilities", "logits")


@dataclass(kw_only=True)
class Recurrent(Model):
    """An embedding, a recurrent layer and outputs: one for two classes, else one for each class or target.

    Read from both ends: Schuster and Paliwal 1997, "Bidirectional Recurrent Neural Networks".
    """

    reads = "tokens"
    widths = ("embedding_dim", "units")
    gates: ClassVar[int]
    biases: ClassVar[int] = 1  # of each unit, in each gate

    embedding_dim: int = at_most(MOST_UNITS)
    units: int = at_most(MOST_UNITS)
    bidirectional: bool
    embedding_dropout: float
    dropout: float
    output: str = "probabilities"

    def __post_init__(self) -> None:
        require_size("embedding_dim", self.embedding_dim)
        require_size("units", self.units)
        require_dropout(self.dropout)
        require_dropout(self.embedding_dropout, "embedding_dropout")
        require_one_of("model.output", self.output, OUTPUTS)

    def identity(self, spec: Spec) -> dict[str, Any]:
        """The settings; probabilities go without saying, as they did when there was no other output."""
        settings = super().identity(spec)
        if self.output == "probabilities":
            del settings["output"]
        return settings

    def parameters(self, spec: Spec) -> int:
        """Of the embedding, of each gate's kernels and biases, and of the outputs."""
        layers = 2 if self.bidirectional else 1
        gate = (self.embedding_dim + self.units + self.biases) * self.units
        outputs = 1 if spec.classes == 2 else spec.outputs
        embedding = int(spec.vocabulary_size or 0) * self.embedding_dim
        return embedding + layers * self.gates * gate + dense_parameters([layers * self.units, outputs])

    def build(self, spec: Spec) -> Any:
        """Build the network, (batch, length) int32 to (batch, spec.outputs); (batch, 1) for two classes."""
        keras = backend.keras()
        layers = keras.layers
        x = inputs = keras.Input(spec.shape, dtype="int32", name="input")
        x = layers.Embedding(spec.vocabulary_size, self.embedding_dim, name="embedding")(x)
        if self.embedding_dropout:
            x = layers.SpatialDropout1D(self.embedding_dropout, name="embedding_dropout")(x)
        x = self._recurrent(layers)(x)
        if self.dropout:
            x = layers.Dropout(self.dropout, name="dropout")(x)
        x = self._outputs(layers, spec)(x)
        return keras.Model(inputs, x, name=self.option_name)

    def _recurrent(self, layers: Any) -> Any:
        layer = self._layer(layers)
        return layers.Bidirectional(layer, name="bidirectional") if self.bidirectional else layer

    def _layer(self, layers: Any) -> Any:
        raise NotImplementedError

    def _outputs(self, layers: Any, spec: Spec) -> Any:
        units, activation = (1, "sigmoid") if spec.classes == 2 else (spec.outputs, "softmax")
        activation = "linear" if self.output == "logits" or spec.targets else activation
        return layers.Dense(units, activation=activation, name="dense", dtype="float32")


@option("model", "lstm")
@dataclass(kw_only=True)
class Lstm(Recurrent):
    """A long short-term memory (Hochreiter and Schmidhuber 1997); TFLite has it as one operation."""

    gates = 4

    def _layer(self, layers: Any) -> Any:
        return layers.LSTM(self.units, name="lstm")

    def check_exports(self, option: str, kinds: Iterable[str]) -> None:
        """Refuse int16x8: the converter of TensorFlow 2.21 has no such LSTM."""
        if "int16x8" in kinds:
            raise ConfigError.of(
                "export",
                option,
                "the converter cannot make the LSTM of TFLite int16x8",
                "Take export=dynamic-range or export=int8, which have int8 weights.",
            )


@option("model", "gru")
@dataclass(kw_only=True)
class Gru(Recurrent):
    """Gated recurrent units (Cho et al. 2014, arXiv 1406.1078); TFLite has them as a loop."""

    gates, biases = 3, 2

    def _layer(self, layers: Any) -> Any:
        return layers.GRU(self.units, name="gru")

    def check_exports(self, option: str, kinds: Iterable[str]) -> None:
        """Refuse integers: the converter of TensorFlow 2.21 crashes when it quantizes a loop."""
        problem = "TFLite has a GRU as a loop, and the converter crashes when it quantizes one"
        remedy = "Take export=dynamic-range, which has int8 weights, or model=lstm."
        require(not {"int8", "int16x8", "micro"} & set(kinds), "export", option, problem, remedy)
