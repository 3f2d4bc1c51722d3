"""Graphs that know the size of their batches give the bits of those that do not."""

import numpy as np
import pytest

from pruneflow.runtime import backend
from pruneflow.training import batch_graphs

MAKERS = {
    "LSTM": lambda layers: layers.LSTM(5, name="recurrent"),
    "GRU": lambda layers: layers.GRU(5, name="recurrent"),
    "bidirectional LSTM": lambda layers: layers.Bidirectional(layers.LSTM(5), name="recurrent"),
}


def trained(make, *, known, batch_size=32):
    """All variables after two epochs of 71 examples, losses, and the counter of steps."""
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
        batch_graphs.know_their_size(model, total=500)
        assert model.train_function is not None
    x, y = rng.integers(0, 30, (71, 9)), rng.integers(0, 2, 71)
    history = model.fit(x, y, batch_size=batch_size, epochs=2, shuffle=False, verbose=0)
    variables = [v.numpy().tobytes() for v in [*model.variables, *model.optimizer.variables]]
    return variables, history.history, int(model._train_counter.numpy())


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "batch_size"),  # a division by 32 is a product in any case, one by 25 is not
    [("LSTM", 25), ("GRU", 25), ("bidirectional LSTM", 32)],
)
def test_weights_and_losses_have_the_same_bits(kind, batch_size):
    ours, theirs = (trained(MAKERS[kind], known=known, batch_size=batch_size) for known in (True, False))
    assert ours == theirs


@pytest.mark.parametrize(
    "last",
    [
        lambda layers: layers.BatchNormalization(),
        lambda layers: layers.Dense(3, activity_regularizer="l2"),
        lambda layers: layers.Dense(3, activation=lambda x: x - backend.tensorflow().reduce_mean(x)),
    ],
)
def test_what_divides_by_the_number_of_examples_keeps_one_graph(last):
    keras = backend.keras()
    model = keras.Sequential([keras.layers.LSTM(3, input_shape=(4, 2)), last(keras.layers)])
    model.compile("sgd", "mse")
    batch_graphs.know_their_size(model, total=500)
    assert model.train_function is None


@pytest.mark.run
def test_the_size_is_known_in_the_graph():
    keras, seen = backend.keras(), []

    x = inputs = keras.Input((9, 2), name="input")
    x = keras.layers.GRU(3, name="gru")(x)
    model = keras.Model(inputs, x)
    model.compile("sgd", lambda y, outputs: seen.append(y.shape[0]) or keras.losses.mse(y, outputs))
    batch_graphs.know_their_size(model, total=500)
    model.fit(np.ones((71, 9, 2)), np.ones((71, 3)), batch_size=32, epochs=2, verbose=0)
    assert set(seen) == {32, 7}


def test_networks_without_a_loop_keep_one_graph():
    keras = backend.keras()
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(3,), name="dense")])
    model.compile("sgd", "mse")
    batch_graphs.know_their_size(model, total=500)
    assert model.train_function is None


@pytest.mark.run
@pytest.mark.parametrize(("total", "known"), [(500, True), (499, False)])
def test_a_run_of_many_steps_trains_recurrent_networks_so(composed, total, known):
    from pruneflow.flow.prepare import prepare
    from pruneflow.sparsity.masked import mask_in_place

    settings = composed("model=lstm", "dataset=imdb")
    ready = prepare(settings)
    model = mask_in_place(settings.model.build(ready.data.spec), ready.masks).model
    settings.trainer.pruned_fit(0)._compile(model, ready.data.spec, total_steps=total)
    assert (model.train_function is not None) == known
