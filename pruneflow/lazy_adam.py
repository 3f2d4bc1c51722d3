"""Adam that leaves rows of an embedding alone which a batch does not use."""

from __future__ import annotations

from typing import Any

from pruneflow import backend

__all__ = ["LazyAdam"]

keras: Any = backend.keras()
tf: Any = backend.tensorflow()


class LazyAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam whose moments and weights change only where there is a gradient.

    Adam: Kingma and Ba 2015, arXiv 1412.6980. Keras' own walks all rows of an embedding at each step, also
    those of words that the batch does not have: their moments decay, and their weights go on moving by what
    is left of them. Here they rest. That is another algorithm, not only a faster one; for weights that have a
    dense gradient the two are the same.
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
        change = self._rate(variable.dtype) * first / (tf.sqrt(second) + self.epsilon)
        variable.scatter_sub(tf.IndexedSlices(change, rows))

    def _moved(self, moment: Any, rows: Any, towards: Any, decay: float) -> Any:
        """Move some rows of a moving average towards new values; the rows as they are then."""
        before = tf.gather(moment, rows)
        after = before + (towards - before) * (1 - decay)
        moment.scatter_update(tf.IndexedSlices(after, rows))
        return after

    def _rate(self, dtype: Any) -> Any:
        """Learning rate with Adam's correction for moments that began at zero."""
        step = tf.cast(self.iterations + 1, dtype)
        correction = tf.sqrt(1 - tf.pow(tf.cast(self.beta_2, dtype), step))
        return (
            tf.cast(self.learning_rate, dtype) * correction / (1 - tf.pow(tf.cast(self.beta_1, dtype), step))
        )
