"""The weights of a network that share values, and how these are trained."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneflow.runtime import backend
from pruneflow.sparsity.kernels import kernels, leaves
from pruneflow.sparsity.sharing import shared


@dataclass(frozen=True)
class SharedWeight:
    """A pruned weight, counted.

    Attributes:
        name: ``layer/weight``.
        kept: Elements that are not zero.
        values: Different values among them.
    """

    name: str
    kept: int
    values: int


def share(model: Any, names: Collection[str], values: int) -> None:
    """Replace what is not zero in some weights of a network by few values, each weight by its own.

    Args:
        model: A built model of Keras 2; it is changed.
        names: The weights, ``layer/weight``.
        values: Most different values of each.
    """
    for variable in variables(model, names).values():
        variable.assign(shared(variable.numpy(), values))


def counted(model: Any, names: Collection[str]) -> list[SharedWeight]:
    """Count the values in some weights of a network.

    Args:
        model: A built model of Keras 2.
        names: The weights, ``layer/weight``.
    """
    found = {name: variable.numpy() for name, variable in variables(model, names).items()}
    kept = {name: values[values != 0] for name, values in found.items()}
    return [SharedWeight(name, values.size, np.unique(values).size) for name, values in kept.items()]


def keep_shared(model: Any, shared: Collection[Any]) -> None:
    """Have each training step end with equal values where the weights have equal values now.

    A shared value becomes the mean of its members after the optimizer has moved each of them; zeros stay.
    With gradient descent that is a step along the gradient of the shared value, the sum of its members'
    gradients, divided by their number. So a value moves as far as a weight would, and learning rates stay
    right. The mean suits every optimizer, and gradients of embeddings, which have some rows only.

    Args:
        model: A built model of Keras 2, which is not compiled yet.
        shared: Its weights that share values.
    """
    weights = [_Clusters(each) for each in shared]
    own = model.train_step

    def train_step(batch: Any) -> Any:
        before = [each.values() for each in weights]
        logs = own(batch)
        for each, values in zip(weights, before, strict=True):
            each.join(values)
        return logs

    model.train_step = train_step


class _Clusters:
    """The elements of a variable that are equal now."""

    def __init__(self, variable: Any) -> None:
        tf, values = backend.tensorflow(), variable.numpy().ravel()
        found, first, index = np.unique(values, return_index=True, return_inverse=True)
        self.variable, self.count = variable, len(found)
        self.first, self.index = tf.constant(first), tf.constant(index, tf.int32)
        self.moves = tf.constant(found != 0, variable.dtype)

    def values(self) -> Any:
        """The value of each cluster, while its members are equal."""
        tf = backend.tensorflow()
        return tf.gather(tf.reshape(self.variable, [-1]), self.first)

    def join(self, before: Any) -> None:
        """Give members that moved apart their mean; of the moves, since a mean of many numbers rounds."""
        tf = backend.tensorflow()
        moved = tf.reshape(self.variable, [-1]) - tf.gather(before, self.index)
        means = before + self.moves * tf.math.unsorted_segment_mean(moved, self.index, self.count)
        self.variable.assign(tf.reshape(tf.gather(means, self.index), self.variable.shape))


def variables(model: Any, names: Collection[str]) -> dict[str, Any]:
    """Return some weights of a network that can be pruned, by name.

    Args:
        model: A built model of Keras 2.
        names: The weights, ``layer/weight``.
    """
    found = {f"{name}/{each.name}": each.variable for name, layer in leaves(model) for each in kernels(layer)}
    return {name: found[name] for name in names}
