"""Graphs that know the size of their batches give the bits of those that do not."""

import numpy as np
import pytest

from pruneflow import backend, steps

MAKERS = {
    "LSTM": lambda layers: layers.LSTM(5, name="recurrent"),
    "GRU": lambda layers: layers.GRU(5, name="recurrent"),
    "bidirectional LSTM": lambda layers: layers.Bidirectional(layers.LSTM(5), name="recurrent"),
}


def trained(make, *, known):
    """All variables after two epochs of two batches of 32 and one of 7, losses, and the counter of steps."""
    keras, rng = backend.keras(), np.random.default_rng(4)
    backend.set_seed(7)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Embedding(30, 6, input_length=9, name="embedding"),
            make(layers),
            layers.Dropout(0.5, name="dropout"),
            layers.Dense(1, "sigmoid", name="dense"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    if known:
        steps.know_their_size(model)
        assert model.train_function is not None
    x, y = rng.integers(0, 30, (71, 9)), rng.integers(0, 2, 71)
    history = model.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
    variables = [v.numpy().tobytes() for v in [*model.variables, *model.optimizer.variables]]
    return variables, history.history, int(model._train_counter.numpy())


@pytest.mark.parametrize("kind", MAKERS)
def test_weights_and_losses_have_the_same_bits(kind):
    ours, theirs = (trained(MAKERS[kind], known=known) for known in (True, False))
    assert ours == theirs


def test_the_size_is_known_in_the_graph():
    keras, seen = backend.keras(), []

    class Sized(keras.Model):
        def train_step(self, data):
            seen.append(data[0].shape[0])
            return super().train_step(data)

    x = inputs = keras.Input((9, 2), name="input")
    x = keras.layers.GRU(3, name="gru")(x)
    model = Sized(inputs, x)
    model.compile("sgd", "mse")
    steps.know_their_size(model)
    model.fit(np.ones((71, 9, 2)), np.ones((71, 3)), batch_size=32, epochs=2, verbose=0)
    assert set(seen) == {32, 7}


def test_networks_without_a_loop_keep_one_graph():
    keras = backend.keras()
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(3,), name="dense")])
    model.compile("sgd", "mse")
    steps.know_their_size(model)
    assert model.train_function is None


def test_a_run_trains_recurrent_networks_so(composed):
    from pruneflow.preparation import prepare
    from pruneflow.sparsity import prune

    settings = composed("model=lstm", "dataset=imdb")
    ready = prepare(settings)
    model = prune.wrap(settings.model.build(ready.data.spec), ready.masks)
    settings.trainer.pruned_fit(0)._compile(model, ready.data.spec, total_steps=10)
    assert model.train_function is not None
