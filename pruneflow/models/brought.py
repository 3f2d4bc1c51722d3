"""Networks that the user brings: what they must be, and whether they fit the data."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError
from pruneflow.models.tasks import declared, ending_of, meaning_of, span_of_ending
from pruneflow.runtime import backend

OUTPUTS = ("auto", "logits", "probabilities")
AS_IDS = ", or, if they are token ids, set dataset.examples=tokens"
_UNQUANTIZED = "Take the network as it was before tfmot quantized it."
TFMOT = {
    "PruneLowMagnitude": "Take them off first: tfmot.sparsity.keras.strip_pruning(model).",
    "ClusterWeights": "Take them off first: tfmot.clustering.keras.strip_clustering(model).",
    "QuantizeWrapper": _UNQUANTIZED,
    "QuantizeLayer": _UNQUANTIZED,
}


@dataclass(frozen=True)
class Origin:
    """The origin of a network, for messages.

    Attributes:
        key: The setting, such as ``"model.path"``.
    """

    key: str
    value: str

    def fitted(self, model: Any, spec: Spec, *, output: str) -> Any:
        """Refuse what is no network for the data.

        Args:
            output: ``"auto"``, or what the outputs are: ``"logits"`` or ``"probabilities"``.

        Returns:
            The network; where ``output`` says what its layers do not, with a last layer that says it.
        """
        self._check_network(model)
        self._check_input(model, spec)
        self._check_output(model, spec)
        if spec.targets:
            self._check_numbers(model, output)
            self._check_span(ending_of(model), spec)
            return model
        self._check_meaning(model, output)
        return model if output == "auto" or meaning_of(model) else declared(model, output)

    def connected(self, model: Any, spec: Spec) -> Any:
        """Make a subclassed network the one layer of a functional network, whose input and output are known.

        Args:
            model: What the user brought; anything else than a subclassed network is returned as it is.

        Raises:
            ConfigError: if it cannot be called on an example of the data.
        """
        keras = backend.keras()
        has_graph = isinstance(model, keras.Sequential) or getattr(model, "_is_graph_network", False)
        if has_graph or not isinstance(model, keras.Model):
            return model
        inputs = keras.Input(spec.shape, dtype=spec.input_dtype, name="input")
        try:
            return keras.Model(inputs, model(inputs))
        except Exception as error:  # of any kind, as of the network's own layers
            problem = f"it cannot be called on examples of shape {_shape(spec.shape)}: {_first_line(error)}"
            raise self.refused(problem, "Change the network's input, or the data.") from error

    def refused(self, problem: str, remedy: str) -> ConfigError:
        """The message ``key=value: problem. remedy``."""
        return ConfigError.of(self.key, self.value, problem, remedy)

    def _check_network(self, model: Any) -> None:
        keras, kind = backend.keras(), type(model).__name__
        if not isinstance(model, keras.Model):
            raise self.refused(f"it is no network, but {kind}", "It must be a built tf_keras.Model.")
        if not model.inputs:
            raise self.refused(
                "it is not built: its input is not known", "Let it begin with keras.Input(spec.shape)."
            )
        wrapped = wrapper_of_tfmot(kinds_of_layers(model))
        if wrapped:
            raise self.refused(*wrapped)

    def _check_input(self, model: Any, spec: Spec) -> None:
        if len(model.inputs) != 1:
            raise self.refused(
                f"it has {len(model.inputs)} inputs", "Let it have one, which takes an example."
            )
        self._check_structure("input", model.input)
        batch, *shape = model.inputs[0].shape
        if batch is not None:
            raise self.refused(f"it is made for batches of {batch}", "Build it without a batch size.")
        fits = len(shape) == len(spec.shape) and all(
            a in (None, b) for a, b in zip(shape, spec.shape, strict=True)
        )
        if not fits:
            raise self.refused(
                f"it reads examples of shape {_shape(shape)}, and those of the data set have "
                f"{_shape(spec.shape)}",
                "Change the network's input, or the data.",
            )
        self._check_values(model, spec)

    def _check_structure(self, what: str, given: Any) -> None:
        if isinstance(given, (dict, list, tuple)):
            raise self.refused(
                f"its {what} lies in a {type(given).__name__}",
                "Connect it by the tensors themselves: keras.Model(inputs, outputs).",
            )

    def _check_values(self, model: Any, spec: Spec) -> None:
        dtype = model.inputs[0].dtype
        if not (dtype.is_floating or (dtype.is_integer and spec.kind == "tokens")):
            what = {"image": "pixels in [0, 1]", "tokens": "token ids"}.get(spec.kind, "numbers")
            raise self.refused(
                f"it reads {dtype.name}, and the data set gives {what} as {spec.input_dtype}",
                f"Let its input be {spec.input_dtype}{AS_IDS if spec.kind == 'numbers' else ''}.",
            )
        for layer in model.layers:
            if isinstance(layer, backend.keras().layers.Embedding) and _reads_first(layer, model):
                self._check_vocabulary(layer, spec)

    def _check_vocabulary(self, embedding: Any, spec: Spec) -> None:
        if spec.is_measured:
            raise self.refused(
                f"{embedding.name} looks token ids up, and the data set gives numbers, standardised or not",
                f"Let it read numbers{AS_IDS}.",
            )
        if spec.kind == "tokens" and embedding.input_dim < spec.vocabulary_size:
            raise self.refused(
                f"{embedding.name} has {embedding.input_dim} rows, and the data set {spec.vocabulary_size} "
                "token ids",
                f"Set dataset.vocabulary_size={embedding.input_dim} (csv_text, imdb), or widen it.",
            )

    def _check_output(self, model: Any, spec: Spec) -> None:
        if len(model.outputs) != 1:
            raise self.refused(f"it has {len(model.outputs)} outputs", "Let it have one.")
        self._check_structure("output", model.output)
        shape = list(model.outputs[0].shape)[1:]
        allowed = [[1], [2]] if spec.classes == 2 else [[spec.outputs]]
        if shape not in allowed:
            numbers = " or ".join(str(each[0]) for each in allowed)
            has = f"{len(spec.targets)} numbers to predict" if spec.targets else f"{spec.classes} classes"
            raise self.refused(
                f"it gives {_shape(shape)} for an example, and the data set has {has}",
                f"Let its last layer have {numbers} units.",
            )

    def _check_numbers(self, model: Any, output: str) -> None:
        if output != "auto":
            raise ConfigError.of(
                "model.output",
                output,
                "the data set has numbers to predict, and no classes",
                "Set it to auto.",
            )
        if ending_of(model) == "softmax":
            raise self.refused(
                "it ends with a softmax, which gives probabilities, and the data set has numbers to predict",
                "Let its last layer be linear.",
            )

    def _check_span(self, ending: str, spec: Spec) -> None:
        """Refuse a last layer that cannot give the numbers that are to be learned."""
        assert spec.targets
        low, high = span_of_ending(ending)
        if (low, high) == (-np.inf, np.inf):
            return
        gives = f"it ends with {ending}, which gives numbers {_span(low, high)}"
        learned = spec.targets.span
        fits = not learned or (low <= learned[0] and learned[1] <= high)
        if not spec.targets.are_plain:
            plain = " or set dataset.standardise_targets=false, which learns them as they are" if fits else ""
            raise self.refused(
                f"{gives}, and the numbers to predict are learned with mean 0 and standard deviation 1",
                f"Let its last layer be linear{',' if fits else ''}{plain}.",
            )
        if not fits:
            raise self.refused(
                f"{gives}, and the numbers to predict go from {learned[0]:g} to {learned[1]:g}",
                "Let its last layer be linear, or bring the numbers into that range.",
            )

    def _check_meaning(self, model: Any, output: str) -> None:
        ending, units = ending_of(model), int(model.outputs[0].shape[-1])
        if (ending, units == 1) in (("softmax", True), ("sigmoid", False)):
            raise self.refused(
                f"it ends with a {ending} over {units} outputs, which are no probabilities of classes",
                "A sigmoid goes with one output, a softmax with one for each class.",
            )
        read = meaning_of(model)
        if output == "auto" and not read:
            raise ConfigError.of(
                "model.output",
                output,
                f"the last layer of the network, {model.layers[-1].name}, does not say what its outputs are",
                "Set model.output=logits or model.output=probabilities.",
            )
        if output != "auto" and read not in ("", output):
            raise ConfigError.of(
                "model.output",
                output,
                f"the network ends with {ending}, which gives {read}",
                "Set it to auto.",
            )


def wrapper_of_tfmot(names: Iterable[str]) -> tuple[str, str] | None:
    """A wrapper of tfmot among names of classes, or in what Keras says of a file.

    Returns:
        What is wrong and what to do, or None.
    """
    given = "\n".join(names)
    for kind, remedy in TFMOT.items():
        if re.search(rf"\b{kind}", given):
            return f"its layers are wrapped by tfmot ({kind})", remedy
    return None


def kinds_of_layers(model: Any) -> set[str]:
    """Names of the classes of all layers, in models and wrappers too, and of what they are derived from."""
    return {base.__name__ for layer in model._flatten_layers() for base in type(layer).__mro__}


def _span(low: float, high: float) -> str:
    return f"from {low:g} on" if high == np.inf else f"from {low:g} to {high:g}"


def _reads_first(layer: Any, model: Any) -> bool:
    return any(node.keras_inputs and node.keras_inputs[0] is model.inputs[0] for node in layer._inbound_nodes)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _shape(shape: Any) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
