"""What a network's output means: its loss, its metric, its probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow import backend

__all__ = ["Task", "task_of"]

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Task:
    """Classification into two classes (one output) or several (one output each).

    Attributes:
        units: Outputs of the network; 1 stands for two classes.
        from_logits: Whether the outputs are logits rather than probabilities.
    """

    units: int
    from_logits: bool

    def keras_loss(self) -> Any:
        """Loss to train with: cross-entropy, mean over the batch."""
        losses = backend.keras().losses
        if self.units == 1:
            return losses.BinaryCrossentropy(from_logits=self.from_logits)
        return losses.SparseCategoricalCrossentropy(from_logits=self.from_logits)

    def keras_metric(self) -> Any:
        """Metric to watch, named ``accuracy``."""
        metrics = backend.keras().metrics
        if self.units == 1:
            return metrics.BinaryAccuracy("accuracy", threshold=0.0 if self.from_logits else 0.5)
        return metrics.SparseCategoricalAccuracy("accuracy")

    def probabilities(self, outputs: FloatArray) -> FloatArray:
        """Probability of every class.

        Args:
            outputs: (n, units) as the network gives them.

        Returns:
            (n, classes) float64.

        >>> Task(units=1, from_logits=False).probabilities(np.array([[0.25]]))
        array([[0.75, 0.25]])
        >>> Task(units=2, from_logits=True).probabilities(np.array([[0.0, 0.0]]))
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


def task_of(model: Any) -> Task:
    """Read the task off a network's last layer, wrapped by tfmot or not: linear outputs are logits."""
    last = model.layers[-1]
    activation = getattr(getattr(last, "layer", last), "activation", None)
    linear = activation is None or activation.__name__ == "linear"
    return Task(units=int(model.output_shape[-1]), from_logits=linear)
