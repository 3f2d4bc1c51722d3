"""Shared values in a network: trained by hand, and held against tfmot's clustering."""

import numpy as np
import pytest

from pruneflow.runtime import backend
from pruneflow.sparsity.shared_weights import SharedWeight, counted, keep_shared, share, variables

KERNEL = ["dense/kernel"]


def dense(weights, activation="linear"):
    """A network of one matrix, (inputs, outputs)."""
    layers, shape = backend.keras().layers, np.shape(weights)
    layer = layers.Dense(shape[1], activation=activation, use_bias=False, name="dense")
    model = backend.keras().Sequential([layers.InputLayer((shape[0],)), layer])
    model.set_weights([np.array(weights, np.float32)])
    return model


def kernel(model):
    return model.get_layer("dense").kernel.numpy()


def test_each_weight_gets_its_own_values_and_they_are_counted():
    model = dense([[0, 1], [2, 8], [9, -4]])
    share(model, KERNEL, 3)
    np.testing.assert_array_equal(kernel(model), [[0, 1.5], [1.5, 8.5], [8.5, -4]])
    assert counted(model, KERNEL) == [SharedWeight("dense/kernel", 5, 3)]


@pytest.mark.run
def test_a_step_moves_a_value_by_the_mean_of_its_gradients_and_no_zero():
    """The output is 0.5 + 1 + 0 + 4 = 5.5, the gradient 2 * 5.5 * x; a hundredth of it moves each weight."""
    model = dense([[0.5], [0.5], [0], [1]])
    keep_shared(model, variables(model, KERNEL).values())
    model.compile(backend.keras().optimizers.SGD(0.01), loss="mse")
    model.fit(np.array([[1, 2, 3, 4.0]]), np.zeros((1, 1)), verbose=0)
    expected = [0.5 - (0.11 + 0.22) / 2, 0.5 - (0.11 + 0.22) / 2, 0, 1 - 0.44]
    np.testing.assert_allclose(kernel(model).ravel(), expected, rtol=1e-6)
    assert kernel(model)[0] == kernel(model)[1] and kernel(model)[2] == 0


@pytest.mark.run
def test_many_equal_weights_do_not_drift_by_rounding():
    """The float32 sum of 300,000 times 0.1, one after the other, is off by a hundredth."""
    model = dense(np.full((3000, 100), 0.1))
    keep_shared(model, variables(model, KERNEL).values())
    model.compile(backend.keras().optimizers.SGD(0.0), loss="mse")
    model.fit(np.ones((40, 3000)), np.zeros((40, 100)), batch_size=1, verbose=0)
    assert np.all(kernel(model) == np.float32(0.1))


@pytest.mark.run
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_values_stay_shared_while_they_are_trained(optimizer):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(20, 3)) * (rng.random((20, 3)) < 0.4)
    model, x = dense(weights, "softmax"), rng.normal(size=(60, 20))
    share(model, KERNEL, 4)
    before = kernel(model)
    keep_shared(model, variables(model, KERNEL).values())
    model.compile(optimizer, loss="sparse_categorical_crossentropy")
    model.fit(x, x[:, :3].argmax(axis=1), epochs=5, verbose=0)
    after = kernel(model)
    assert [each.values for each in counted(model, KERNEL)] == [4]
    for value in np.unique(before):
        assert np.unique(after[before == value]).size == 1
    np.testing.assert_array_equal(after == 0, before == 0)
    assert not np.array_equal(after, before)


@pytest.mark.run
def test_tfmots_clustering_keeps_as_many_values_with_a_larger_error():
    """tfmot counts zero among its clusters, so that 9 of them are 8 values."""
    import tensorflow_model_optimization as tfmot
    from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(40, 10)) * (rng.random((40, 10)) < 0.3)).astype(np.float32)
    ours, theirs = dense(weights), dense(weights)
    share(ours, KERNEL, 8)
    backend.set_seed(0)  # its centroids start at random
    start = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
    wrapped = cluster.cluster_weights(
        theirs, number_of_clusters=9, cluster_centroids_init=start, preserve_sparsity=True
    )
    wrapped(np.zeros((1, 40), np.float32), training=True)
    stripped = tfmot.clustering.keras.strip_clustering(wrapped)
    control = stripped.get_weights()[0]
    errors = [((each - weights) ** 2).sum() for each in (kernel(ours), control)]
    for each in (kernel(ours), control):
        assert np.unique(each[each != 0]).size <= 8
        assert np.all(each[weights == 0] == 0)
    assert errors[0] <= errors[1] < 3 * errors[0]
