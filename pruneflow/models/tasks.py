"""The meaning of a network's outputs: classes or numbers, and how good they are."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.spec import Spec, Targets
from pruneflow.runtime import backend

FloatArray = npt.NDArray[np.floating[Any]]


class Task(ABC):
    """The task of a network.

    Attributes:
        headline: Name of the one metric that sums up how good it is; the higher the better, at most 1.
        units: Outputs of the network.
    """

    headline: ClassVar[str]

    units: int

    @abstractmethod
    def outcome(self, outputs: FloatArray) -> FloatArray:
        """Return the meaning of outputs, (n, ...) float64.

        Args:
            outputs: (n, units) as the network gives them.
        """

    @abstractmethod
    def truth(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the right outcomes: class numbers (n,), or numbers in the units of the data.

        Args:
            y: Of a `Part`.
        """

    @abstractmethod
    def loss(self, outcome: FloatArray, truth: npt.NDArray[Any]) -> float:
        """Mean loss of all examples, whatever was trained with."""

    @abstractmethod
    def metrics(self, outcome: FloatArray, truth: npt.NDArray[Any]) -> dict[str, float]:
        """Metrics that go without saying, by name, the one named `headline` first."""

    @abstractmethod
    def costs(self, outcome: FloatArray, truth: npt.NDArray[Any]) -> FloatArray:
        """Return the cost of each example, (n,) float64; 1 minus their mean is the headline."""

    @abstractmethod
    def differ(self, a: FloatArray, b: FloatArray) -> npt.NDArray[np.bool_]:
        """Return the examples that two networks answer differently, (n,)."""


@dataclass(frozen=True)
class Classification(Task):
    """Classification into two classes (one output) or several (one output each).

    Attributes:
        units: Outputs of the network; 1 stands for two classes.
        from_logits: Whether the outputs are logits rather than probabilities.
    """

    headline = "accuracy"

    units: int
    from_logits: bool

    @property
    def classes(self) -> int:
        """Number of classes."""
        return max(2, self.units)

    def outcome(self, outputs: FloatArray) -> FloatArray:
        """Probability of every class.

        Args:
            outputs: (n, units) as the network gives them.

        Returns:
            (n, classes) float64.

        >>> Classification(units=1, from_logits=False).outcome(np.array([[0.25]]))
        array([[0.75, 0.25]])
        >>> Classification(units=2, from_logits=True).outcome(np.array([[0.0, 0.0]]))
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

    def truth(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The labels, (n,)."""
        return y

    def loss(self, outcome: FloatArray, truth: npt.NDArray[Any]) -> float:
        """Mean cross-entropy, nats."""
        of_label = np.clip(outcome[np.arange(len(truth)), truth], 1e-7, 1.0)
        return float(-np.log(of_label).mean())

    def metrics(self, outcome: FloatArray, truth: npt.NDArray[Any]) -> dict[str, float]:
        """Accuracy: share of examples whose most probable class is the label, [0, 1]."""
        return {"accuracy": float((outcome.argmax(axis=1) == truth).mean())}

    def costs(self, outcome: FloatArray, truth: npt.NDArray[Any]) -> FloatArray:
        """1 for each example whose most probable class is not the label, otherwise 0."""
        return np.asarray(outcome.argmax(axis=1) != truth, dtype=np.float64)

    def differ(self, a: FloatArray, b: FloatArray) -> npt.NDArray[np.bool_]:
        """Examples whose most probable class differs."""
        return np.asarray(a.argmax(axis=1) != b.argmax(axis=1))


@dataclass(frozen=True)
class Regression(Task):
    """Prediction of numbers, one output each."""

    headline = "r2"

    targets: Targets

    @property
    def units(self) -> int:  # type: ignore[override]
        """Outputs of the network."""
        return len(self.targets)

    def outcome(self, outputs: FloatArray) -> FloatArray:
        """The predicted numbers in the units of the data, (n, targets) float64."""
        return self.targets.restored(outputs)

    def truth(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The true numbers in the units of the data, (n, targets) float64."""
        return self.targets.restored(y)

    def loss(self, outcome: FloatArray, truth: npt.NDArray[Any]) -> float:
        """Mean squared error, in the squared units of the data."""
        return float(np.square(outcome - truth).mean())

    def metrics(self, outcome: FloatArray, truth: npt.NDArray[Any]) -> dict[str, float]:
        """Coefficient of determination R2, and the mean absolute error in the units of the data.

        R2 is the mean over the targets: 1 is perfect, 0 as good as their mean. A target that has one value
        only counts 0, or 1 where it is met.

        >>> task = Regression(Targets.plain(1))
        >>> task.metrics(np.array([[1.0], [2.0], [1.5]]), np.array([[1.0], [2.0], [3.0]]))
        {'r2': -0.125, 'mean_absolute_error': 0.5}
        """
        error = np.abs(outcome - truth).mean()
        return {
            "r2": float(1 - self.costs(outcome, truth).mean()),
            "mean_absolute_error": float(error),
        }

    def costs(self, outcome: FloatArray, truth: npt.NDArray[Any]) -> FloatArray:
        """Squared error over the variance of the target, the mean of all targets."""
        rest = np.square(outcome - truth)
        whole = np.square(truth - truth.mean(axis=0)).mean(axis=0)
        unmet = np.where(rest.sum(axis=0) > 0, 1.0, 0.0)
        return np.asarray(np.where(whole > 0, rest / np.where(whole > 0, whole, 1.0), unmet).mean(axis=1))

    def differ(self, a: FloatArray, b: FloatArray) -> npt.NDArray[np.bool_]:
        """Examples of which a prediction differs by more than `APART` of the spread of the first ones."""
        return np.asarray((np.abs(a - b) > APART * a.std(axis=0)).any(axis=1))


APART = 0.1  # share of a standard deviation by which two predictions may differ and still agree


def task_of(model: Any, spec: Spec) -> Task:
    """Read the task off the data and a network's last layer, wrapped by tfmot or not.

    What the layer of a classifier does not say is logits.
    """
    if spec.targets:
        return Regression(spec.targets)
    units = int(model.output_shape[-1])
    return Classification(units=units, from_logits=meaning_of(model) != "probabilities")


def meaning_of(model: Any) -> str:
    """Return the meaning of the outputs of a network, as far as its last layers say.

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


def span_of_ending(ending: str) -> tuple[float, float]:
    """Lowest and highest value that the function of a last layer gives.

    Args:
        ending: Its name, as `ending_of` returns it.

    >>> span_of_ending("tanh"), span_of_ending("linear")
    ((-1.0, 1.0), (-inf, inf))
    """
    return SPANS.get(ending, (-np.inf, np.inf))


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
SPANS = {
    **dict.fromkeys(("sigmoid", "hard_sigmoid"), (0.0, 1.0)),
    **dict.fromkeys(("tanh", "softsign"), (-1.0, 1.0)),
    **dict.fromkeys(("relu", "softplus", "exponential", "exp"), (0.0, np.inf)),
    **dict.fromkeys(("relu6",), (0.0, 6.0)),
    **dict.fromkeys(("elu",), (-1.0, np.inf)),
    **dict.fromkeys(("selu",), (-1.7581, np.inf)),
    **dict.fromkeys(("gelu",), (-0.17, np.inf)),
    **dict.fromkeys(("swish", "silu"), (-0.2785, np.inf)),
}
PASSED_THROUGH = ("Flatten", "Reshape", "Permute", "Dropout")


def _ending(tensor: Any) -> str:
    layer = tensor._keras_history.layer
    node = layer._inbound_nodes[tensor._keras_history.node_index]
    for meaning, name in DECLARED.items():
        if layer.name == name:
            return meaning
    if isinstance(layer, backend.keras().Model) and layer.outputs:  # a subclassed one has none
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
    if kind == "ReLU":
        return _rectifier(layer.get_config())
    if kind == "TFOpLambda":  # tf.nn.softmax and tf.sigmoid, called on a tensor of Keras
        return str(layer.get_config()["function"]).rsplit(".", maxsplit=1)[-1]
    if not hasattr(layer, "activation"):
        return ""
    activation = getattr(layer.activation, "activation", layer.activation)  # tfmot wraps this too
    return "linear" if activation is None else getattr(activation, "__name__", "")


def _rectifier(config: dict[str, Any]) -> str:
    """Name of the function of a layer ``ReLU``; empty where it is neither relu nor relu6."""
    most, slope, threshold = (config[key] for key in ("max_value", "negative_slope", "threshold"))
    if slope or threshold:
        return ""
    return "relu" if most is None else "relu6" if float(most) == 6 else ""
