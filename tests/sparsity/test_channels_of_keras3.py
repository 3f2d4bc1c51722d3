"""Channels of networks of Keras 3: masked in a ``fit`` of one's own, and cut."""

import warnings

import numpy as np
import pytest

import pruneflow
from pruneflow.errors import ConfigError
from pruneflow.models.keras3 import converted
from pruneflow.runtime import backend

pytestmark = pytest.mark.filterwarnings("ignore:.*np.object.*")  # Keras 3.15 asks NumPy 2 for it

keras = backend.keras3()
layers = keras.layers


def images():
    """A depthwise kernel has another name in Keras 3; a Normalization has copies of its weights."""
    normalization = layers.Normalization(name="n")
    normalization.adapt(np.random.default_rng(0).normal(5, 3, (20, 8, 8, 1)))
    i = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, activation="relu", name="a")(normalization(i))
    x = layers.DepthwiseConv2D(3, name="depthwise")(layers.BatchNormalization()(x))
    x = layers.Dense(10, activation="relu", name="c")(layers.Flatten()(x))
    return keras.Model(i, layers.Dense(3, activation="softmax", name="d")(x))


def sequences():
    """A sequential network inside, attention, an operator and two directions."""
    i = keras.Input((4, 6))
    e = layers.Dense(8, name="a")(i)
    x = e + layers.MultiHeadAttention(4, 5, value_dim=6, name="b")(e, e)
    x = keras.Sequential([keras.Input((4, 8)), layers.Dense(6, name="c")], name="inner")(x)
    x = layers.Bidirectional(layers.LSTM(6), name="both")(x)
    return keras.Model(i, layers.Dense(3, activation="softmax", name="d")(x))


@pytest.mark.parametrize("build", [images, sequences])
def test_a_network_of_keras_3_is_trained_under_masks_and_becomes_smaller(build, tmp_path):
    keras.utils.set_random_seed(0)
    model, rng = build(), np.random.default_rng(0)
    x, y = rng.normal(size=(20, *model.input.shape[1:])).astype("float32"), rng.integers(0, 3, 20)
    pruned = pruneflow.prune(
        model,
        steps=4,
        structure={"name": "channel", "multiple": 1},
        schedule={"final_sparsity": 0.5, "frequency": 2},
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=10, epochs=2, callbacks=pruned.callbacks, verbose=0)
    small = pruned.strip()
    assert isinstance(small, keras.Model)
    assert small.get_layer("a").get_config() != model.get_layer("a").get_config()
    assert small.count_params() < 0.7 * model.count_params()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 3.15 with NumPy 2: __array__ without copy
        small.save(tmp_path / "small.keras")
    read = keras.models.load_model(tmp_path / "small.keras")
    assert np.abs(read.predict(x, verbose=0) - model.predict(x, verbose=0)).max() <= 1e-5


def test_every_weight_is_known_by_its_name_in_keras_2():
    names = converted(images()).names
    assert names["depthwise/kernel"] == "depthwise/depthwise_kernel"
    assert names["a/kernel"] == "a/kernel"


def test_a_network_without_an_equal_in_keras_2_is_refused():
    i = keras.Input((4,))
    x = layers.RMSNormalization(name="rms")(layers.Dense(8)(i))
    model = keras.Model(i, layers.Dense(2)(x))
    said = (
        "^structure=channel: channels are those of a network of Keras 2, which this one cannot become: layer"
    )
    with pytest.raises(ConfigError, match=said):
        pruneflow.prune(model, steps=4, structure="channel")
