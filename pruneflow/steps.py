"""Training steps whose graph knows how many examples it gets."""

from __future__ import annotations

from typing import Any

from pruneflow import backend

__all__ = ["know_their_size"]


def know_their_size(model: Any) -> None:
    """Give a compiled model with a recurrent layer a graph for each size of batch: same bits, less time.

    Keras' own graph takes batches of any size, since the last of an epoch is smaller, and so works out the
    shapes of all that a loop holds again at each time step and at each training step. In a network without
    a loop that costs nothing, and a second graph would.

    Args:
        model: What will be fitted; Keras' fit asks it for its training function.
    """
    tf, recurrent = backend.tensorflow(), backend.keras().layers.RNN
    if tf.distribute.has_strategy() or not any(isinstance(e, recurrent) for e in model._flatten_layers()):
        return

    def step(batch: Any) -> Any:
        logs = model.train_step(batch)
        model._train_counter.assign_add(1)
        return logs

    graphs = tf.function(step)
    model.train_function = lambda batches: graphs(next(batches))
