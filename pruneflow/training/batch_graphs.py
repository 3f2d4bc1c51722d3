"""Training steps whose graph knows how many examples it gets."""

from __future__ import annotations

from typing import Any

from pruneflow.runtime import backend

__all__ = ["know_their_size"]

FEWEST = 500  # steps; tracing a second graph takes as long as is saved in some 300

# Layers whose arithmetic does not look at the number of examples. Others divide by it, as batch normalization
# does, and TensorFlow turns a division by what it knows into a product, which rounds differently.
_INDIFFERENT = (
    *("InputLayer", "Embedding", "SpatialDropout1D", "Dropout", "Dense", "Bidirectional"),
    *("LSTM", "LSTMCell", "GRU", "GRUCell", "SimpleRNN", "SimpleRNNCell"),
)


def know_their_size(model: Any, *, total: int) -> None:
    """Give a recurrent network a graph for each size of batch: the same bits, in less time.

    Keras' own graph takes batches of any size, since the last of an epoch is smaller, and so works out the
    shapes of all that a loop holds again at each time step. In a network without a loop that costs nothing,
    and a second graph would; so it is left alone, as is one whose bits might change.

    Args:
        model: What will be fitted, compiled with what Keras does by default about graphs; its fit asks it for
            its training function.
        total: Steps that will be trained; for few it is not worth it.
    """
    if total < FEWEST:
        return
    tf, recurrent = backend.tensorflow(), backend.keras().layers.RNN
    layers = list(model._flatten_layers(include_self=False))
    loops = any(isinstance(layer, recurrent) for layer in layers)
    if (
        not loops
        or model.run_eagerly
        or tf.distribute.has_strategy()
        or not all(map(_is_indifferent, layers))
    ):
        return

    def step(batch: Any) -> Any:
        logs = model.train_step(batch)
        model._train_counter.assign_add(1)
        return logs

    graphs = tf.function(step)
    model.train_function = lambda batches: graphs(next(batches))


def _is_indifferent(layer: Any) -> bool:
    """Return whether a layer, or the layer in tfmot's wrapper, is one of `_INDIFFERENT`."""
    if hasattr(layer, "pruned_names"):
        return True
    kind, activation = type(layer), getattr(layer, "activation", None)
    return (
        kind is getattr(backend.keras().layers, kind.__name__, None)
        and kind.__name__ in _INDIFFERENT
        and not getattr(layer, "activity_regularizer", None)
        and (activation is None or activation.__module__.startswith("tf_keras."))
    )
