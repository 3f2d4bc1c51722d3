"""Scores of a network, the distance between two, and answers of Keras to examples."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.spec import Part, Spec
from pruneflow.models.tasks import Task, task_of
from pruneflow.runtime import backend
from pruneflow.runtime.terminal import bar

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Scores:
    """The scores of a network on the examples of a part.

    Attributes:
        loss: Mean cross-entropy in nats, or mean squared error, whatever was trained with.
        metrics: By name, those of the task, its headline first, then those that were asked for.
    """

    loss: float
    metrics: dict[str, float]

    @property
    def headline(self) -> float:
        """The metric that sums up how good it is; the higher the better, at most 1."""
        return next(iter(self.metrics.values()))


def score(task: Task, outcome: FloatArray, y: npt.NDArray[Any], names: Sequence[str] = ()) -> Scores:
    """Loss and metrics.

    Args:
        outcome: What it says, as `Task.outcome` gives it.
        names: Metrics beside the headline, of `pruneflow.training.metrics.METRICS`.

    >>> from pruneflow.models.tasks import Classification
    >>> task = Classification(units=2, from_logits=False)
    >>> score(task, np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([1, 1]))
    Scores(loss=0.34657359027997264, metrics={'accuracy': 0.5})
    """
    truth = task.truth(y)
    metrics = task.metrics(outcome, truth)
    if names:
        from pruneflow.training.keras_metrics import measured

        metrics |= {name: measured(task, name, outcome, truth) for name in names}
    return Scores(task.loss(outcome, truth), metrics)


@dataclass(frozen=True)
class Parity:
    """The distance between two networks on the same examples.

    Attributes:
        disagreements: Examples that they answer differently: another most probable class, or a number that
            is further off than `pruneflow.models.tasks.APART` of a standard deviation.
        agreement: Share of the others, [0, 1].
        max_difference: Largest difference in probability, or between two predicted numbers.
    """

    disagreements: int
    agreement: float
    max_difference: float


def parity(task: Task, a: FloatArray, b: FloatArray) -> Parity:
    """Compare two networks.

    Args:
        a: What one says, as `Task.outcome` gives it.
        b: What the other says of the same examples.
    """
    other = task.differ(a, b)
    return Parity(int(other.sum()), float(1 - other.mean()), float(np.abs(a - b).max()))


@dataclass(frozen=True)
class PairedDrop:
    """The loss of one network against another on the same examples.

    Attributes:
        drop: What the headline loses: accuracy or R2.
        standard_error: Of the drop: how far chance in the choice of examples moves it.
    """

    drop: float
    standard_error: float
    examples: int

    def at_most(self, confidence: float) -> float:
        """Return the upper end of a one-sided interval of the drop.

        Args:
            confidence: Share of all choices of examples in which the true drop is below it, [0.5, 1).

        >>> PairedDrop(0.002, 0.001, 1000).at_most(0.5)
        0.002
        """
        return self.drop + NormalDist().inv_cdf(confidence) * self.standard_error


def paired_drop(before: FloatArray, after: FloatArray, *, counted: bool) -> PairedDrop:
    """Compare two networks example by example, as McNemar's test does.

    Args:
        before: Cost of each example, (n,), as `Task.costs` gives it.
        after: The same of the other network.
        counted: Whether the costs are 0 or 1. Half a change for the better and half a one for the worse are
            added then (Agresti and Min 2005), so that no change in few examples is no proof of none.

    >>> found = paired_drop(np.zeros(100), np.eye(100)[0] + np.eye(100)[1], counted=True)
    >>> found.drop, round(found.standard_error, 4)
    (0.02, 0.0169)
    """
    differences = after - before
    n = len(differences)
    drop = float(differences.mean())
    if counted:
        squares, size = float(np.square(differences).sum()) + 1.0, n + 2
        moved = float(differences.sum()) / size
        error = math.sqrt(max(0.0, squares / size - moved**2) / size)
    else:
        error = float(differences.std()) / math.sqrt(n)
    return PairedDrop(drop, error, n)


class Asked:
    """A network that is asked the same examples several times, while its weights change.

    Attributes:
        task: What it is asked for.
    """

    def __init__(self, model: Any, part: Part, spec: Spec) -> None:
        from pruneflow.datasets.batches import evaluation_batches

        predict = backend.tensorflow().function(lambda x: model(x, training=False), reduce_retracing=True)
        self._predict, self._batches = predict, evaluation_batches(part, spec)
        self.task = task_of(model, spec)

    def outputs(self) -> Iterator[FloatArray]:
        """Yield the outputs of each batch, (examples, units)."""
        for x, _ in self._batches:
            yield self._predict(x).numpy()

    def outcome(self) -> FloatArray:
        """Return what it says now: probabilities (n, classes), or predicted numbers (n, targets)."""
        return self.task.outcome(np.concatenate(list(self.outputs())))


def keras_outcome(model: Any, part: Part, spec: Spec, *, description: str) -> FloatArray:
    """Return the outputs of a Keras network: probabilities, or predicted numbers.

    Returns:
        (n, classes) or (n, targets).
    """
    asked, outputs = Asked(model, part, spec), []
    with bar(description, total=len(part)) as advance:
        for each in asked.outputs():
            outputs.append(each)
            advance(len(each))
    return asked.task.outcome(np.concatenate(outputs))
