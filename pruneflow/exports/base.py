"""The base of the options of the group ``export``: a stripped Keras network becomes a TFLite file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.spec import Data, Spec
from pruneflow.exports.flatbuffer import leftovers, packed, unpacked
from pruneflow.exports.mixed import EVERY, is_chosen
from pruneflow.exports.runner import Runner
from pruneflow.exports.sizes import COMPRESSIONS
from pruneflow.options import FROM_0_TO_1, require, require_number, require_one_of
from pruneflow.runtime import backend
from pruneflow.sparsity.kernels import leaves, named_weights

ENCODINGS = ("dense", "sparse", "auto")

Samples = npt.NDArray[Any]


@dataclass(kw_only=True)
class Export:
    """The settings of every export.

    Attributes:
        name: Label in tables and in the file name.
        encoding: How weights lie in the file: ``"dense"`` (loads everywhere), ``"sparse"`` (zeros left out,
            as TFLite's sparse tensors) or ``"auto"`` (the smallest after gzip of those that load, run and
            give equal outputs).
        compression: What the file is sent as, one of `COMPRESSIONS`.
        max_accuracy_drop: Most accuracy on the validation part that a file may lose against Keras, [0, 1].
    """

    kind: ClassVar[str]
    option_name: ClassVar[str]  # as chosen on the command line; set by @option
    encodings: ClassVar[Sequence[str]] = ENCODINGS
    libraries: ClassVar[Sequence[str]] = ("tensorflow", "ai-edge-litert")  # that decide the bytes of a file
    interpreter: ClassVar[str] = "LiteRT"
    library: ClassVar[str] = "ai-edge-litert"  # that brings the interpreter
    smallest: ClassVar[str] = "gzip"  # the form, or "raw", of which encoding=auto takes the smallest
    same_bits: ClassVar[bool] = False  # whether encodings must give the same bits
    timed: ClassVar[bool] = True  # whether latency on this machine says anything
    leaves_out: ClassVar[bool] = False  # whether kinds that cannot be made are left out, not refused

    name: str
    encoding: str = "dense"
    compression: str = "gzip"
    max_accuracy_drop: float = 1.0

    def __post_init__(self) -> None:
        require_one_of("export.encoding", self.encoding, ENCODINGS)
        problem = f"a file of the kind {self.option_name} has no sparse encoding"
        remedy = "Take export.encoding=dense."
        require(self.encoding in self.encodings, "export.encoding", self.encoding, problem, remedy)
        require_one_of("export.compression", self.compression, tuple(COMPRESSIONS))
        drop, shares = self.max_accuracy_drop, FROM_0_TO_1.said("{}, as a share of the validation part")
        require_number("export.max_accuracy_drop", drop, shares, "0.02 is two points; 1 allows everything.")

    def exports(self) -> Sequence[Export]:
        """The files to make, in the order of tables."""
        return [self]

    @property
    def must_be_tried(self) -> bool:
        """Return whether only a trial conversion shows if a network can be exported."""
        return False

    def identity(self) -> dict[str, Any]:
        """The settings that decide the bytes of a file: all but those about the run."""
        settings = {each.name: getattr(self, each.name) for each in fields(self)}
        for key in ("name", "compression", "max_accuracy_drop"):
            del settings[key]
        return {"option": self.option_name, **settings}

    def check_installed(self) -> None:
        """Refuse what needs a package that is not there.

        Raises:
            ConfigError: with the line that installs it.
        """

    def runner(self, content: bytes) -> Runner:
        """Make the interpreter that runs a file of this export."""
        return Runner(content)

    def trial(self, model: Any, spec: Spec, samples: Samples) -> bytes:
        """Convert an untrained network to a file with every operation that a trained one may need."""
        return self.convert(model, spec, samples)

    def needs(self, content: bytes, dense: bytes) -> Any:
        """Return what a microcontroller needs to run a file; None where it is not made for one."""
        return None

    @property
    def depends_on_sizes(self) -> bool:
        """Return whether sizes of layers, which a cut changes, decide if a setting can be kept."""
        return False

    def said_of_cut(self, model: Any) -> str:
        """Return the setting that a network of such sizes cannot keep, a sentence; empty where it can.

        Args:
            model: A network that is cut to about the size of later.
        """
        return ""

    def check_layers(self, model: Any) -> None:
        """Refuse settings about layers that a network does not have.

        Args:
            model: A built ``tf_keras.Model``.

        Raises:
            ConfigError: naming the setting.
        """

    def samples(self, data: Data) -> Samples:
        """Training examples that the conversion looks at: (n, *shape) as they are stored, n may be 0."""
        return data.train.x[:0]

    def convert(self, model: Any, spec: Spec, samples: Samples, *, sparse: bool = False) -> bytes:
        """Convert ``model`` to TFLite with a fixed batch of 1.

        Args:
            model: A plain ``tf_keras.Model``.
            spec: What the model reads.
            samples: What ``samples`` returned.
            sparse: Whether tensors with many zeros are encoded as sparse ones.

        Returns:
            The bytes of a ``.tflite`` file.
        """
        tf = backend.tensorflow()
        signature = tf.TensorSpec((1, *spec.shape), spec.input_dtype, name="input")
        function = tf.function(lambda x: model(x, training=False)).get_concrete_function(signature)
        return self._converted(model, function, spec, samples, sparse=sparse)

    def convert_named(
        self, model: Any, function: Any, samples: Mapping[str, Samples], *, sparse: bool = False
    ) -> bytes:
        """Convert a model of several inputs or outputs, which the file has by name.

        Args:
            model: A plain ``tf_keras.Model``.
            function: What it does with one example: a concrete function of tensors by name.
            samples: Of each input, (n, *shape).
            sparse: Whether tensors with many zeros are encoded as sparse ones.

        Returns:
            The bytes of a ``.tflite`` file.
        """
        numbers = any(np.issubdtype(each.dtype, np.floating) for each in samples.values())
        spec = Spec(kind="numbers" if numbers else "tokens", shape=(), classes=0)
        return self._converted(model, function, spec, samples, sparse=sparse)

    def _converted(
        self,
        model: Any,
        function: Any,
        spec: Spec,
        samples: Samples | Mapping[str, Samples],
        *,
        sparse: bool,
    ) -> bytes:
        converter, untouched = (_converter(model, function) for _ in range(2))
        self._configure(converter, spec, samples)
        if sparse:
            sparsity = backend.tensorflow().lite.Optimize.EXPERIMENTAL_SPARSITY
            converter.optimizations = [*converter.optimizations, sparsity]
        with backend.quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _without_leftovers(self._made(converter, untouched, model))

    def _made(self, converter: Any, untouched: Any, model: Any) -> bytes:
        """Convert.

        Args:
            converter: A converter that is configured; it converts once.
            untouched: Another one, which gives the float file.
            model: What both convert.
        """
        return bytes(converter.convert())

    def _configure(self, converter: Any, spec: Spec, samples: Samples | Mapping[str, Samples]) -> None:
        raise NotImplementedError


@dataclass(kw_only=True)
class Chosen(Export):
    """The settings of an export that quantizes chosen layers.

    Attributes:
        layers: Patterns on names of layers (``*``, ``?``, ``[...]``); others are left as they are.
    """

    layers: list[str] = field(default_factory=lambda: list(EVERY))

    def __post_init__(self) -> None:
        super().__post_init__()
        problem = "no layer would be quantized; allowed is a list of one or more layer-name patterns"
        remedy = 'Write export.layers=["*"] for all layers.'
        require(bool(self.layers), "export.layers", self.layers, problem, remedy)
        problem = "a file in which some layers are quantized is dense-encoded"
        remedy = "Take export.encoding=dense, or all layers."
        fits = self.takes_all or self.encoding == "dense"
        require(fits, "export.encoding", self.encoding, problem, remedy)

    @property
    def takes_all(self) -> bool:
        """Return whether every layer is chosen."""
        return tuple(self.layers) == EVERY

    @property
    def must_be_tried(self) -> bool:
        """Return whether chosen layers may be missing from the file."""
        return not self.takes_all

    def identity(self) -> dict[str, Any]:
        """The settings that decide the bytes; files of all layers are those of before there was a choice."""
        settings = super().identity()
        if self.takes_all:
            del settings["layers"]
        return settings

    def check_layers(self, model: Any) -> None:
        """Refuse a pattern that matches no layer with weights."""
        names = [name for name, layer in leaves(model) if _has_matrix(layer)]
        for pattern in self.layers:
            problem = f"it matches no layer with weights; these are {', '.join(names)}"
            fits = any(is_chosen(name, [pattern]) for name in names)
            remedy = "Patterns are file-name patterns, such as dense*."
            require(fits, "export.layers", pattern, problem, remedy)


def _has_matrix(layer: Any) -> bool:
    return any(len(variable.shape) >= 2 for variable in named_weights(layer).values())


def _converter(model: Any, function: Any) -> Any:
    """A converter for ``model`` with a batch of 1: an LSTM becomes one fused op only with a fixed batch.

    It is given the variables without the model, which it would save layer by layer first: the same file in up
    to ten times the time.
    """
    tf = backend.tensorflow()
    variables = tf.Module()
    variables.kept = list(model.variables)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], variables)
    converter.experimental_new_quantizer = not has_lstm(model)
    return converter


def has_lstm(model: Any) -> bool:
    """Return whether int8 needs the converter's older quantizer.

    The newer one of TensorFlow 2.21 gets a fused LSTM wrong. Where the outputs of two are joined, it declares
    another scale for one of them than the operation writes; where outputs are small, they come out as noise.
    Probabilities were off by up to 0.3, with the older one by less than 0.01.
    """
    return any(isinstance(layer, backend.keras().layers.LSTM) for layer in model._flatten_layers())


def _without_leftovers(content: bytes) -> bytes:
    """Empty the buffers that nothing in the file refers to, unless all they hold is zeros.

    The converter of TensorFlow 2.21 leaves one for each state of a fused LSTM that it encodes as sparse,
    filled with a number that counts on through all conversions of a process: equal networks would give
    unequal files.
    """
    model = unpacked(content)
    left = leftovers(model)
    if not any(np.any(buffer.data) for buffer in left):
        return content
    for buffer in left:
        buffer.data = None
    return packed(model, len(content))
