"""Arithmetic in one pass: the bits of TensorFlow's operations, and where it is left to them."""

from functools import cache

import numpy as np
import pytest

from pruneflow.runtime import backend, fused
from pruneflow.runtime.device import left_as_found


def weight(size, dtype="float32"):
    return backend.tensorflow().Variable(np.ones(size), dtype=dtype)


def in_graph(function):
    return backend.tensorflow().function(function, autograph=False)


@pytest.mark.parametrize("way", ["in a graph", "between two steps"])
def test_masking_keeps_the_bits_of_a_product(way):
    tf = backend.tensorflow()
    values = np.float32([1.5, -1.5, 0.0, -0.0, 1e-40, -1e-40, 3e38, np.inf, -np.inf, 2.0, -2.0])
    kept = np.array([1, 0, 0, 0, 1, 0, 0, 1, 1, 0, 1], bool)
    masked, multiplied = tf.Variable(values), tf.Variable(values)
    mask = in_graph(fused.mask) if way == "in a graph" else fused.mask
    mask(masked, tf.Variable(kept))
    multiplied.assign(multiplied * tf.cast(kept, tf.float32))
    assert masked.numpy().tobytes() == multiplied.numpy().tobytes()
    assert np.signbit(masked.numpy()[[1, 3, 5, 9]]).tolist() == [True, True, True, False]


def test_one_step_of_adam_by_hand():
    """m = 0.1 g, v = 0.001 g^2 with g = 2, -4; w - rate * m / (sqrt(v) + epsilon)."""
    tf = backend.tensorflow()
    w, m, v = (tf.Variable(np.float32(values)) for values in ([1, 1], [0, 0], [0, 0]))
    rates = tf.constant([0.1, 0.001, 0.5, 1.0, 0.0])
    in_graph(fused.adam)(w, m, v, tf.constant([2.0, -4.0]), rates)
    np.testing.assert_allclose(m.numpy(), [0.2, -0.4], rtol=1e-6)
    np.testing.assert_allclose(v.numpy(), [0.004, 0.016], rtol=1e-6)
    expected = [1 - 0.5 * 0.2 / (0.004**0.5 + 1), 1 + 0.5 * 0.4 / (0.016**0.5 + 1)]
    np.testing.assert_allclose(w.numpy(), expected, rtol=1e-6)


def test_what_is_large_and_single_precision_on_the_processor_is_taken():
    assert fused.suits(weight(1 << 18))
    assert not fused.suits(weight((1 << 18) - 1))
    assert not fused.suits(weight(1 << 18, "float64"))
    assert not fused.suits(weight(1 << 18).read_value())
    unknown = backend.tensorflow().Variable([1.0], shape=backend.tensorflow().TensorShape(None))
    assert not fused.suits(unknown)


def test_a_run_may_ask_for_the_operations_of_keras_alone(composed):
    try:
        composed("device.stock_keras=true").device.configure()
        assert not fused.suits(weight(1 << 18))
        composed().device.configure()
        assert fused.suits(weight(1 << 18))
        with left_as_found():
            composed("device.stock_keras=true").device.configure()
        assert fused.suits(weight(1 << 18))
    finally:
        fused.enable(True)


def test_functions_that_run_eagerly_keep_to_tensorflows_operations():
    tf = backend.tensorflow()
    tf.config.run_functions_eagerly(True)
    try:
        assert not fused.suits(weight(1 << 18))
    finally:
        tf.config.run_functions_eagerly(False)


def test_a_graph_of_tensorflow_1_keeps_to_its_operations():
    tf = backend.tensorflow()
    with tf.Graph().as_default():
        assert not fused.suits(tf.Variable(tf.ones(1 << 18)))


def test_a_distribution_strategy_keeps_to_tensorflows_operations():
    strategy = backend.tensorflow().distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        assert not fused.suits(weight(1 << 18))
        mirrored = weight(1 << 18)
    assert not fused.suits(mirrored)


def test_a_gpu_keeps_to_tensorflows_operations(monkeypatch):
    tf = backend.tensorflow()
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [kind])
    assert not fused.suits(weight(1 << 18))


@pytest.mark.parametrize("trouble", ["other bits", "other bits in a graph", "no compiler", "no thread"])
def test_what_does_not_give_tensorflows_bits_is_not_used(trouble, monkeypatch):
    tf, own = backend.tensorflow(), fused._tried

    def tried(call):
        if call is fused._by_operations or (trouble.endswith("graph") and call is not fused._in_a_graph):
            return own(call)
        if trouble == "no thread":
            raise RuntimeError("can't start new thread")
        if trouble == "no compiler":
            raise tf.errors.InvalidArgumentError(None, None, "no XLA on this platform")
        return [b"other"]

    monkeypatch.setattr(fused, "_tried", tried)
    monkeypatch.setattr(fused, "_has_the_same_bits", fused._has_the_same_bits.__wrapped__)
    assert not fused.suits(weight(1 << 18))


WAYS = pytest.mark.parametrize("way", [fused._in_a_graph, fused._by_itself])


@WAYS
def test_the_trial_would_notice_a_product_that_is_not_rounded(way, monkeypatch):
    """XLA joins a product and a sum to one rounding, unless it is kept from it."""
    by_operations = fused._tried(fused._by_operations)
    assert fused._tried(way) == by_operations
    joined = fused._on_variables(3)(lambda w, m, v, g, rates: (w, m + (g - m) * rates[0], v))
    monkeypatch.setattr(fused, "adam", joined)
    assert fused._tried(way) != fused._tried(fused._by_operations)


@WAYS
def test_the_trial_would_notice_zeros_without_a_sign(way, monkeypatch):
    tf = backend.tensorflow()
    by_operations = fused._tried(fused._by_operations)
    known = fused._on_variables(1)(lambda weight, kept, _: (weight * tf.cast(kept, tf.float32),))
    monkeypatch.setattr(fused, "_scale", known)
    assert fused._tried(way) != by_operations


def test_a_graph_in_which_it_is_tried_first_is_traced_once(monkeypatch):
    monkeypatch.setattr(fused, "_has_the_same_bits", cache(fused._has_the_same_bits.__wrapped__))
    large, traced = weight(1 << 18), []
    assert in_graph(lambda: (traced.append(1), fused.suits(large))[1])()
    assert len(traced) == 1


def test_a_second_network_of_the_same_shape_is_trained_where_the_first_is_gone():
    tf = backend.tensorflow()
    for start in (1.0, 2.0):
        masked = tf.Variable([start, -start])
        step = in_graph(lambda masked=masked: fused.mask(masked, tf.constant([True, False])))
        step()
        assert masked.numpy().tolist() == [start, 0.0]
        del masked, step


def test_a_shape_is_compiled_once_in_a_process():
    tf = backend.tensorflow()
    compiled = []
    scale = fused._on_variables(1)(lambda weight, by: (compiled.append(weight.shape), (weight * by,))[1])
    for start in (1.0, 2.0, 3.0):
        scaled = tf.Variable([start, -start])
        in_graph(lambda scaled=scaled: scale(scaled, 2.0))()
        assert scaled.numpy().tolist() == [2 * start, -2 * start]
    assert len(compiled) == 1


@pytest.mark.parametrize("way", ["in a graph", "between two steps"])
def test_what_was_read_before_stays_as_it_was(way):
    from pruneflow.sparsity.masked import _values

    tf = backend.tensorflow()
    masked, kept = tf.Variable(np.ones((4, 3), np.float32)), tf.Variable(np.zeros((4, 3), bool))
    before, copied = _values(masked), tf.convert_to_tensor(masked)
    mask = in_graph(fused.mask) if way == "in a graph" else fused.mask
    mask(masked, kept)
    assert (before.sum(), copied.numpy().sum(), masked.numpy().sum()) == (12, 12, 0)
