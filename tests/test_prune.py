import json
import subprocess
import sys

import numpy as np
import pytest

from pruneflow import backend
from pruneflow.errors import ConfigError
from pruneflow.sparsity import prune
from pruneflow.sparsity.schedules import Constant, Polynomial


def plan(total_steps, *, final=0.8, frequency=1, schedule=Constant, **changes):
    extra = {"power": 3} if schedule is Polynomial else {}
    values = {
        "name": "x",
        "initial_sparsity": 0.0,
        "final_sparsity": final,
        "begin_fraction": 0.0,
        "end_fraction": 1.0,
        "begin_step": None,
        "end_step": None,
        "frequency": frequency,
    }
    return schedule(**{**values, **extra, **changes}).plan(total_steps)


def small_model(kernel):
    keras = backend.keras()
    inputs = keras.Input((kernel.shape[0],), name="input")
    outputs = keras.layers.Dense(kernel.shape[1], name="dense", use_bias=False)(inputs)
    model = keras.Model(inputs, outputs)
    model.set_weights([kernel])
    return model


def fit(wrapped, steps, learning_rate=0.0):
    keras = backend.keras()
    wrapped.compile(keras.optimizers.SGD(learning_rate), loss="mse")
    x = np.ones((steps, wrapped.input_shape[1]), np.float32)
    y = np.zeros((steps, wrapped.output_shape[1]), np.float32)
    step = backend.tfmot().sparsity.keras.UpdatePruningStep()
    wrapped.fit(x, y, batch_size=1, epochs=1, verbose=0, callbacks=[step])


def mask_of(wrapped):
    return wrapped.layers[1].pruning_vars[0][1].numpy()


def test_the_smallest_magnitudes_are_masked():
    kernel = np.array([[0.1, -0.9], [-0.3, 0.7], [0.5, -0.2]], np.float32)
    wrapped = prune.wrap(small_model(kernel), plan(1, final=0.5), ["dense"])
    fit(wrapped, 1)
    np.testing.assert_array_equal(mask_of(wrapped), [[0, 1], [0, 1], [1, 0]])
    stripped = prune.strip(wrapped, into=small_model(np.ones_like(kernel)))
    np.testing.assert_array_equal(stripped.get_weights()[0], np.float32([[0, -0.9], [0, 0.7], [0.5, 0]]))


def test_ties_at_the_threshold_are_kept_as_tfmot_does():
    kernel = np.array([[0.5, 0.5], [0.5, 0.5]], np.float32)
    wrapped = prune.wrap(small_model(kernel), plan(1, final=0.5), ["dense"])
    fit(wrapped, 1)
    np.testing.assert_array_equal(mask_of(wrapped), np.ones((2, 2)))


def test_at_least_one_weight_is_kept():
    wrapped = prune.wrap(small_model(np.array([[0.1], [0.2]], np.float32)), plan(1, final=0.99), ["dense"])
    fit(wrapped, 1)
    np.testing.assert_array_equal(mask_of(wrapped), [[0], [1]])


def test_masks_change_only_at_the_updates_of_the_plan():
    kernel = (np.arange(1, 101, dtype=np.float32) / 100).reshape(10, 10)
    wanted = plan(7, frequency=3, schedule=Polynomial, begin_step=1)
    wrapped = prune.wrap(small_model(kernel), wanted, ["dense"])
    seen = []
    keras = backend.keras()
    wrapped.compile(keras.optimizers.SGD(0.0), loss="mse")
    spy = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(int((mask_of(wrapped) == 0).sum()))
    )
    step = backend.tfmot().sparsity.keras.UpdatePruningStep()
    wrapped.fit(np.ones((7, 10)), np.ones((7, 10)), batch_size=1, verbose=0, callbacks=[step, spy])
    # updates at steps 1, 4, 7; sparsity 0, 0.8 - 0.8/8 = 0.7, 0.8
    assert list(wanted.updates) == [1, 4, 7]
    assert seen == [0, 0, 0, 70, 70, 70, 80]


@pytest.mark.parametrize("final", [0.5, 0.8, 0.9, 0.99])
def test_the_planned_schedule_masks_bit_for_bit_as_stock_tfmot(final):
    sparsity = backend.tfmot().sparsity.keras
    kernel = np.random.default_rng(3).normal(size=(50, 40)).astype(np.float32)
    wanted = plan(21, final=final, frequency=5, schedule=Polynomial, begin_step=1, initial_sparsity=0.3)
    stock = sparsity.prune_low_magnitude(
        small_model(kernel), pruning_schedule=sparsity.PolynomialDecay(0.3, final, 1, 21, frequency=5)
    )
    ours = prune.wrap(small_model(kernel), wanted, ["dense"])
    for model in (stock, ours):
        fit(model, 21, learning_rate=0.01)
    np.testing.assert_array_equal(mask_of(ours), mask_of(stock))
    for mine, theirs in zip(ours.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_wrapping_and_training_leave_the_dense_model_alone():
    kernel = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    dense = small_model(kernel)
    fit(prune.wrap(dense, plan(4), ["dense"]), 4, learning_rate=0.1)
    np.testing.assert_array_equal(dense.get_weights()[0], kernel)


def test_measuring_counts_masked_weights_as_zero_without_changing_them():
    kernel = np.random.default_rng(0).normal(size=(10, 10)).astype(np.float32)
    wrapped = prune.wrap(small_model(kernel), plan(1), ["dense"])
    fit(wrapped, 1)
    layer = wrapped.layers[1].layer
    layer.kernel.assign(layer.kernel + 1.0)  # an optimizer step moves masked weights too
    before = layer.kernel.numpy()
    (measured,) = prune.measure(wrapped, 0.8)
    assert (measured.name, measured.weight, measured.shape) == ("dense", "kernel", (10, 10))
    assert (measured.zeros, measured.masked, measured.measured_sparsity) == (80, 80, 0.8)
    np.testing.assert_array_equal(layer.kernel.numpy(), before)


def test_stripping_applies_the_masks_first():
    wrapped = prune.wrap(small_model(np.eye(10, dtype=np.float32) + 0.1), plan(1, final=0.9), ["dense"])
    fit(wrapped, 1)
    wrapped.layers[1].layer.kernel.assign_add(np.ones((10, 10), np.float32))
    stripped = prune.strip(wrapped, into=small_model(np.ones((10, 10), np.float32)))
    assert (stripped.get_weights()[0] == 0).sum() == 90


def test_layers_without_prunable_weights_are_listed_with_the_reason(composed):
    config = composed("experiment=mnist_cnn", "pruning.skip=[dense_1]")
    model = config.model.build(tiny_spec())
    selection = config.pruning.select(model)
    assert selection.pruned == ("conv2d", "conv2d_1", "dense")
    assert selection.left["dense_1"] == "pruning.skip=dense_1"
    assert selection.left["max_pooling2d"] == "has no weights"
    assert selection.left["batch_normalization"] == "tfmot prunes no weight of BatchNormalization"


def test_include_leaves_the_rest_dense(composed):
    config = composed("pruning.include=[conv*]")
    selection = config.pruning.select(config.model.build(tiny_spec()))
    assert selection.pruned == ("conv2d",)
    assert selection.left["dense"] == "not in pruning.include"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pruning.skip=[foo*]", r"pruning\.skip=foo\*: it matches no layer; the layers are input, conv2d"),
        ("pruning.include=[foo]", r"pruning\.include=foo: it matches no layer"),
        ("pruning.skip=['*']", "no layer is left to prune"),
        ("pruning.include=[flatten]", "no layer is left to prune"),
    ],
)
def test_patterns_that_match_nothing_are_refused(composed, override, message):
    config = composed(override)
    with pytest.raises(ConfigError, match=message):
        config.pruning.select(config.model.build(tiny_spec()))


def test_an_empty_include_is_refused(composed):
    with pytest.raises(ConfigError, match=r"pruning\.include=\[\]"):
        composed("pruning.include=[]")


def tiny_spec():
    from pruneflow.data import Spec

    return Spec(kind="image", shape=(28, 28, 1), classes=10)


def test_a_stripped_model_loads_without_tfmot(tmp_path, composed):
    config = composed()
    model = config.model.build(tiny_spec())
    wrapped = prune.wrap(model, plan(1), ["conv2d", "dense"])
    stripped = prune.strip(wrapped, into=config.model.build(tiny_spec()))
    from pruneflow.networks import _h5

    (tmp_path / "pruned.h5").write_bytes(_h5(stripped))
    code = (
        "import sys, json, tf_keras; m = tf_keras.models.load_model('pruned.h5', compile=False); "
        "print(json.dumps(['tensorflow_model_optimization' in sys.modules, [l.name for l in m.layers]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded_tfmot, names = json.loads(done.stdout.splitlines()[-1])
    assert not loaded_tfmot
    assert names == ["input", "conv2d", "max_pooling2d", "flatten", "dense"]
