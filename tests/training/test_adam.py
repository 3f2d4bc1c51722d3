"""Adam: in one pass with the bits of Keras, and for embeddings one that rests where a batch has no words."""

import numpy as np
import pytest

from pruneflow.runtime import backend

ROWS = np.array([[1.0, -1.0], [0.5, 2.0], [3.0, 0.25]], np.float32)


def trained(name, steps, rows=ROWS, **parameters):
    """An embedding after ``steps``, each a list of rows whose sum is minimised."""
    from pruneflow.training.optimizers import _class_of

    tf = backend.tensorflow()
    variable = tf.Variable(rows)
    optimizer = _class_of(name)(learning_rate=0.1, **parameters)
    optimizer.build([variable])

    @tf.function(reduce_retracing=True)
    def step(used):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.gather(variable, used) ** 2)
        optimizer.apply_gradients([(tape.gradient(loss, variable), variable)])

    for used in steps:
        step(tf.constant(used, tf.int64))
    return variable.numpy()


def test_rows_that_a_batch_does_not_use_rest():
    lazy, adam = (trained(name, [[0, 1], [1], [1]]) for name in ("lazy_adam", "adam"))
    once = trained("lazy_adam", [[0, 1]])
    np.testing.assert_array_equal(lazy[0], once[0])
    assert (adam[0] != once[0]).all()  # what is left of its momentum goes on moving it
    np.testing.assert_array_equal(lazy[2], ROWS[2])


def test_the_first_step_is_the_learning_rate_in_the_direction_of_the_gradient():
    """m = 0.1 g, v = 0.001 g^2, corrected by 1 - 0.9 and 1 - 0.999: a step of 0.1 g / |g|."""
    np.testing.assert_allclose(
        trained("lazy_adam", [[0, 1]]), ROWS - [[0.1, -0.1], [0.1, 0.1], [0, 0]], rtol=1e-5
    )


def test_the_second_step_by_hand():
    """w = 1, then 0.9; g = 2, then 1.8.

    m = 0.9 * 0.2 + 0.1 * 1.8 = 0.36; v = 0.999 * 0.004 + 0.001 * 3.24 = 0.007236;
    step = 0.1 * sqrt(1 - 0.999^2) / (1 - 0.9^2) * 0.36 / sqrt(0.007236).
    """
    found = trained("lazy_adam", [[0], [0]], rows=np.float32([[1.0], [5.0]]))
    step = 0.1 * np.sqrt(1 - 0.999**2) / (1 - 0.9**2) * 0.36 / np.sqrt(0.007236)
    np.testing.assert_allclose(found, [[0.9 - step], [5.0]], rtol=1e-5)


@pytest.mark.parametrize("parameters", [{}, {"beta_1": 0.5, "beta_2": 0.7, "epsilon": 0.01}])
def test_where_every_batch_uses_every_row_it_is_adam(parameters):
    steps = [[0, 1, 2, 1]] * 7  # a row may be used twice
    lazy, adam = (trained(name, steps, **parameters) for name in ("lazy_adam", "adam"))
    np.testing.assert_allclose(lazy, adam, rtol=1e-5)


def test_a_run_takes_it_and_what_it_does_not_have_is_refused(composed):
    from pruneflow.errors import ConfigError

    config = composed("trainer.optimizer=lazy_adam")
    built = config.trainer.optimizer_parameters.build("lazy_adam", 0.1)
    assert type(built).__name__ == "LazyAdam"
    with pytest.raises(ConfigError, match=r"amsgrad=true: trainer\.optimizer=lazy_adam takes beta_1, beta_2"):
        composed("trainer.optimizer=lazy_adam", "trainer.optimizer_parameters.amsgrad=true")


def gradients(rng, shape, *, rows=None):
    """Six gradients of many magnitudes, among them zeros, and numbers whose squares are denormal."""
    tf = backend.tensorflow()
    for _ in range(6):
        size = shape if rows is None else (rows, *shape[1:])
        values = (rng.normal(size=size) * 10.0 ** rng.uniform(-24, 2, size)).astype(np.float32)
        values[rng.random(size) < 0.1] = 0
        if rows is None:
            yield tf.constant(values)
        else:
            yield tf.IndexedSlices(tf.constant(values), tf.constant(rng.integers(0, shape[0], rows)), shape)


def moved(optimizer, shape, *, rows=None, in_graph=True):
    """A weight, and all that ``optimizer`` knows, after six steps, as bytes."""
    tf, rng = backend.tensorflow(), np.random.default_rng(3)
    weight = tf.Variable(rng.normal(size=shape).astype(np.float32))
    optimizer.build([weight])

    def step(*gradient):
        given = gradient[0] if rows is None else tf.IndexedSlices(*gradient, shape)
        optimizer.apply_gradients([(given, weight)])

    step = tf.function(step) if in_graph else step
    for gradient in gradients(rng, shape, rows=rows):
        step(*([gradient] if rows is None else [gradient.values, gradient.indices]))
    return [variable.numpy().tobytes() for variable in [weight, *optimizer.variables]]


@pytest.mark.parametrize("rows", [None, 50])
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"beta_1": 0.5, "beta_2": 0.7, "epsilon": 0.01},
        {"weight_decay": 0.03},
        {"clipnorm": 1.0},
        {"amsgrad": True},
    ],
)
def test_one_pass_gives_the_bits_of_keras(name, parameters, rows, monkeypatch):
    from pruneflow.runtime import fused
    from pruneflow.training import adam

    monkeypatch.setattr(fused, "LEAST", 1)
    shape, keras = (67, 19), backend.keras()
    ours = moved(getattr(adam, name)(0.01, **parameters), shape, rows=rows)
    assert ours == moved(getattr(keras.optimizers, name)(0.01, **parameters), shape, rows=rows)


@pytest.mark.parametrize("rows", [None, 50])
def test_one_pass_gives_the_bits_of_keras_in_a_model_that_runs_eagerly(rows, monkeypatch):
    from pruneflow.runtime import fused
    from pruneflow.training import adam

    monkeypatch.setattr(fused, "LEAST", 1)
    ours = moved(adam.Adam(0.01), (67, 19), rows=rows, in_graph=False)
    assert ours == moved(backend.keras().optimizers.Adam(0.01), (67, 19), rows=rows, in_graph=False)


def test_an_epsilon_that_adapts_is_left_to_keras(monkeypatch):
    from pruneflow.runtime import fused
    from pruneflow.training import adam

    monkeypatch.setattr(fused, "LEAST", 1)
    parameters = {"adaptive_epsilon": True, "epsilon": 0.01}
    ours = moved(adam.Adam(0.01, **parameters), (67, 19))
    assert ours == moved(backend.keras().optimizers.Adam(0.01, **parameters), (67, 19))


@pytest.mark.parametrize(("rows", "expected"), [(None, ["adam"]), (50, ["decay", "move"])])
def test_large_weights_are_moved_in_one_pass_and_small_ones_as_keras_does(rows, expected, monkeypatch):
    from pruneflow.runtime import fused
    from pruneflow.training import adam

    called = []
    for name in ("adam", "decay", "move"):
        own = getattr(fused, name)
        monkeypatch.setattr(fused, name, lambda *a, own=own, name=name: (called.append(name), own(*a)))
    moved(adam.Adam(0.01), (511, 513), rows=rows)
    assert called == []
    moved(adam.Adam(0.01), (512, 512), rows=rows)
    assert called == expected  # once, when the step is traced


def test_lazy_adam_moves_weights_with_a_dense_gradient_as_adam_does():
    from pruneflow.training import adam

    assert moved(adam.LazyAdam(0.01), (512, 512)) == moved(adam.Adam(0.01), (512, 512))
