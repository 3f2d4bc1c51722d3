"""Adam with the bits of Keras' own, in one pass over large weights; and one whose embeddings rest."""

from typing import Any

from pruneflow.runtime import backend, fused

optimizers: Any = backend.keras().optimizers
tf: Any = backend.tensorflow()


class _InOnePass:
    """Base of `Adam` and `AdamW`, which differ in weight decay alone; Keras applies that before.

    Keras 2.21 takes some thirty passes over a weight and its moments, and copies those of an embedding each
    time it reads them.
    """

    def update_step(self: Any, gradient: Any, variable: Any) -> None:
        """Apply one gradient; one of an embedding has the rows of the batch, each once."""
        weight = getattr(variable, "_variable", variable)  # what mixed precision casts when it is read
        if self.amsgrad or getattr(self, "adaptive_epsilon", False) or not fused.suits(weight):
            super().update_step(gradient, variable)  # type: ignore[misc]
            return
        index = self._index_dict[self._var_key(variable)]
        first, second = self._momentums[index], self._velocities[index]
        rates = tf.stack([1 - self.beta_1, 1 - self.beta_2, _rate(self, tf.float32), self.epsilon, 0.0])
        if isinstance(gradient, tf.IndexedSlices):
            values, rows = gradient.values, gradient.indices
            fused.decay(first, second, rates)
            first.scatter_add(tf.IndexedSlices(values * (1 - self.beta_1), rows))
            second.scatter_add(tf.IndexedSlices(tf.square(values) * (1 - self.beta_2), rows))
            fused.move(weight, first, second, rates)
        else:
            fused.adam(weight, first, second, gradient, rates)


class Adam(_InOnePass, optimizers.Adam):  # type: ignore[misc]
    """Adam: Kingma and Ba 2015, arXiv 1412.6980."""


class AdamW(_InOnePass, optimizers.AdamW):  # type: ignore[misc]
    """Adam with decoupled weight decay: Loshchilov and Hutter 2019, arXiv 1711.05101."""


class LazyAdam(Adam):
    """Adam whose moments and weights change only where there is a gradient.

    Keras' own walks all rows of an embedding at each step, also those of words that the batch does not have:
    their moments decay, and their weights go on moving by what is left of them. Here they rest. That is
    another algorithm, not only a faster one; for weights that have a dense gradient the two are the same.
    """

    def update_step(self, gradient: Any, variable: Any) -> None:
        """Apply one gradient; a sparse one to its rows only, each of which Keras gives once."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        rows, values = gradient.indices, gradient.values
        index = self._index_dict[self._var_key(variable)]
        first = self._moved(self._momentums[index], rows, values, self.beta_1)
        second = self._moved(self._velocities[index], rows, tf.square(values), self.beta_2)
        change = _rate(self, variable.dtype) * first / (tf.sqrt(second) + self.epsilon)
        variable.scatter_sub(tf.IndexedSlices(change, rows))

    def _moved(self, moment: Any, rows: Any, towards: Any, decay: float) -> Any:
        """Move some rows of a moving average towards new values; the rows as they are then."""
        before = tf.gather(moment, rows)
        after = before + (towards - before) * (1 - decay)
        moment.scatter_update(tf.IndexedSlices(after, rows))
        return after


def _rate(optimizer: Any, dtype: Any) -> Any:
    """Learning rate with Adam's correction for moments that began at zero."""
    step = tf.cast(optimizer.iterations + 1, dtype)
    correction = tf.sqrt(1 - tf.pow(tf.cast(optimizer.beta_2, dtype), step))
    return (
        tf.cast(optimizer.learning_rate, dtype)
        * correction
        / (1 - tf.pow(tf.cast(optimizer.beta_1, dtype), step))
    )
