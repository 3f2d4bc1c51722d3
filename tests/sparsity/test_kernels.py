"""Which weights of which layers are pruned, under which names; layers that tfmot refuses."""

import numpy as np
import pytest
from test_masked import callbacks_of, masks_of, plan

from pruneflow.errors import ConfigError
from pruneflow.runtime import backend
from pruneflow.sparsity.kernels import weights
from pruneflow.sparsity.masked import mask_in_place
from pruneflow.sparsity.selected_layers import Pruning
from pruneflow.sparsity.structures import Layout


def select(model, **changes):
    return Pruning(**{"include": ["*"], "skip": [], "engine": "pruneflow", **changes}).select(model)


def sequence_model(keras, *layers):
    inputs = keras.Input((6,), dtype="int32", name="input")
    x = inputs
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x, name="model")


def bidirectional(keras):
    layers = keras.layers
    return sequence_model(
        keras,
        layers.Embedding(9, 4, name="embedding"),
        layers.Bidirectional(layers.LSTM(3), name="both"),
        layers.Dense(2, name="dense"),
    )


def masked(keras):
    """Steps of token 0 are passed over."""
    layers = keras.layers
    return sequence_model(
        keras,
        layers.Embedding(9, 4, mask_zero=True, name="embedding"),
        layers.LSTM(3, return_sequences=True, name="lstm"),
        layers.TimeDistributed(layers.Dense(5, activation="relu"), name="each"),
        layers.GRU(3, name="gru"),
        layers.Dense(2, name="dense"),
    )


def nested(keras):
    layers = keras.layers
    inner = keras.Sequential(
        [layers.Dense(5, activation="relu", input_shape=(4,), name="dense"), layers.Dense(3, name="out")],
        name="inner",
    )
    middle_input = keras.Input((4,))
    middle = keras.Model(middle_input, inner(middle_input), name="middle")
    inputs = keras.Input((4,), name="input")
    return keras.Model(inputs, layers.Dense(2, name="dense")(middle(inputs)), name="outer")


def siamese(keras):
    """One layer that is called twice in a step."""
    shared = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,), name="input")
    outputs = keras.layers.Dense(2, name="dense")(shared(keras.layers.ReLU(name="relu")(shared(inputs))))
    return keras.Model(inputs, outputs, name="siamese")


def attention(keras):
    layers = keras.layers
    inputs = keras.Input((6,), dtype="int32", name="input")
    x = layers.Embedding(9, 4, name="embedding")(inputs)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = layers.GlobalAveragePooling1D(name="average")(x)
    return keras.Model(inputs, layers.Dense(2, name="dense")(x), name="attention_model")


def stacked(keras):
    layers = keras.layers
    return sequence_model(
        keras,
        layers.Embedding(9, 4, name="embedding"),
        layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], name="stack"),
        layers.Dense(2, name="dense"),
    )


BOTH = [
    f"both/{direction}/{kernel}"
    for direction in ("forward", "backward")
    for kernel in ("kernel", "recurrent_kernel")
]
NETWORKS = {
    bidirectional: ["embedding/embeddings", *BOTH, "dense/kernel"],
    masked: [
        "embedding/embeddings",
        *("lstm/kernel", "lstm/recurrent_kernel", "each/kernel", "gru/kernel", "gru/recurrent_kernel"),
        "dense/kernel",
    ],
    nested: ["middle/inner/dense/kernel", "middle/inner/out/kernel", "dense/kernel"],
    siamese: ["shared/kernel", "dense/kernel"],
    attention: [
        "embedding/embeddings",
        *("attention/query/kernel", "attention/key/kernel", "attention/value/kernel"),
        *("attention/attention_output/kernel", "dense/kernel"),
    ],
    stacked: [
        "embedding/embeddings",
        *("stack/cell_0/kernel", "stack/cell_0/recurrent_kernel"),
        *("stack/cell_1/kernel", "stack/cell_1/recurrent_kernel", "dense/kernel"),
    ],
}


def examples(model):
    rng = np.random.default_rng(1)
    if model.input_shape[1:] == (6,):
        return rng.integers(0, 9, (24, 6)).astype(np.int32), rng.normal(size=(24, 2)).astype(np.float32)
    return (rng.normal(size=(24, 4)).astype(np.float32), rng.normal(size=(24, 2)).astype(np.float32))


@pytest.mark.run
@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_kernels_are_found_by_names_that_no_second_build_changes(build):
    keras = backend.keras()
    for _ in range(2):
        model = build(keras)
        assert [each.name for each in select(model).prunables] == NETWORKS[build]
        assert set(NETWORKS[build]) <= set(weights(model))
        assert sum(array.size for array in weights(model).values()) == model.count_params()


@pytest.mark.long
@pytest.mark.parametrize("build", [nested, siamese, stacked], ids=lambda build: build.__name__)
def test_every_kernel_is_pruned_whatever_layer_it_is_in(build):
    """tfmot itself refuses these networks; test_any_network.py trains the layers of the others."""
    keras = backend.keras()
    keras.utils.set_random_seed(3)
    model = build(keras)
    masks = masks_of(model, plan(8, final=0.5, frequency=3))
    x, y = examples(model)
    before = model.predict(x, verbose=0)
    masked = mask_in_place(model, masks)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(x, y, batch_size=6, epochs=2, verbose=0, callbacks=callbacks_of(masked))
    measured = masked.measure(8)
    assert [f"{each.name}/{each.weight}" for each in measured] == NETWORKS[build]
    assert all(each.masked == each.expected == each.zeros for each in measured)
    outputs = model.predict(x, verbose=0)
    stripped = masked.strip()
    np.testing.assert_array_equal(stripped.predict(x, verbose=0), outputs)
    held = masked.masks()
    for name, values in weights(stripped).items():
        assert not values[held.get(name, np.ones_like(values)) == 0].any()


def test_a_transposed_convolution_has_its_inputs_last_in_keras_and_first_in_the_matrix():
    keras = backend.keras()
    layer = keras.layers.Conv2DTranspose(5, 2, name="up", input_shape=(3, 3, 4))
    (found,) = select(keras.Sequential([layer])).prunables
    assert (found.shape, found.layout) == ((2, 2, 5, 4), Layout((0, 1, 3, 2), 3))
    assert found.matrix_shape == (16, 5)


def test_attention_kernels_are_matrices_of_inputs_and_outputs():
    found = {each.name: each.matrix_shape for each in select(attention(backend.keras())).prunables}
    assert found["attention/query/kernel"] == (4, 6)  # 4 inputs; 2 heads with keys of 3
    assert found["attention/attention_output/kernel"] == (6, 4)


def test_layers_that_cannot_be_pruned_are_listed_with_the_reason():
    keras = backend.keras()

    class Scale(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight("kernel", shape=(int(shape[-1]), 3))

        def call(self, x):
            return x @ self.kernel

    inputs = keras.Input((4,), name="input")
    x = Scale(name="scale")(inputs)
    x = keras.layers.BatchNormalization(name="normalization")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(x))
    selection = select(model)
    assert selection.pruned == ("dense",)
    assert selection.left == {
        "input": "has no weights",
        "scale": "pruning knows no weights of Scale; a method get_prunable_weights of the layer names them",
        "normalization": "no weight of BatchNormalization is pruned",
    }
    masked = mask_in_place(model, masks_of(model, plan(1)))
    masked.update(1)
    assert [each.masked for each in masked.measure(1)] == [5]


def test_a_layer_of_ones_own_names_its_weights():
    keras = backend.keras()

    class Scale(keras.layers.Layer):
        def build(self, shape):
            self.matrix = self.add_weight("matrix", shape=(int(shape[-1]), 3))
            self.shift = self.add_weight("shift", shape=(3,))

        def call(self, x):
            return x @ self.matrix + self.shift

        def get_prunable_weights(self):
            return [self.matrix]

    inputs = keras.Input((4,), name="input")
    model = keras.Model(inputs, Scale(name="scale")(inputs))
    selection = select(model)
    assert [each.name for each in selection.prunables] == ["scale/matrix"]
    masked = mask_in_place(model, masks_of(model, plan(1, final=0.5)))
    masked.update(1)
    assert masked.masks()["scale/matrix"].sum() == 6


def test_layers_of_nested_models_are_chosen_by_their_full_names():
    model = nested(backend.keras())
    assert select(model, include=["middle/inner/*"]).pruned == ("middle/inner/dense", "middle/inner/out")
    assert select(model, skip=["*/out"]).left["middle/inner/out"] == "pruning.skip=*/out"
    with pytest.raises(
        ConfigError, match=r"pruning\.include=inner: it matches no layer; the layers are input"
    ):
        select(model, include=["inner"])
    with pytest.raises(ConfigError, match=r"[.] Write middle/inner/out, since it is in a nested model[.]$"):
        select(model, skip=["out"])


def test_weights_stay_in_full_precision_in_mixed_training():
    keras = backend.keras()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = keras.Sequential([keras.layers.Dense(8, input_shape=(9,), name="dense")])
        kernel = np.random.default_rng(2).normal(size=(9, 8)).astype(np.float32)
        model.set_weights([kernel, np.zeros(8, np.float32)])
        masked = mask_in_place(model, masks_of(model, plan(1, final=0.5)))
        model.compile(keras.optimizers.SGD(0.0), "mse")
        callbacks = callbacks_of(masked)
        model.fit(np.ones((4, 9)), np.ones((4, 8)), batch_size=4, verbose=0, callbacks=callbacks)
        kept = masked.masks()["dense/kernel"]
        np.testing.assert_array_equal(model.layers[0].get_weights()[0], kernel * kept)
        assert kept.sum() == 36
    finally:
        keras.mixed_precision.set_global_policy("float32")


def trained_and_stripped(build, steps=4):
    """Zeros of the masks of a network of ``build``, after it was trained and stripped."""
    keras = backend.keras()
    keras.utils.set_random_seed(4)
    model = build(keras)
    masked = mask_in_place(model, masks_of(model, plan(steps, final=0.5)))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    x, y = examples(model)
    model.fit(x, y, batch_size=6, verbose=0, callbacks=callbacks_of(masked))
    outputs = model.predict(x, verbose=0)
    np.testing.assert_array_equal(masked.strip().predict(x, verbose=0), outputs)
    return [(f"{each.name}/{each.weight}", each.masked) for each in masked.measure(steps)]


@pytest.mark.run
def test_a_layer_that_two_models_share_stays_one_layer():
    def build(keras):
        shared = keras.layers.Dense(4, name="shared")
        inner_inputs = keras.Input((4,))
        inner = keras.Model(inner_inputs, shared(inner_inputs), name="inner")
        inputs = keras.Input((4,), name="input")
        return keras.Model(inputs, keras.layers.Dense(2, name="dense")(shared(inner(inputs))), name="outer")

    found = dict(trained_and_stripped(build))
    assert sorted(found.values()) == [4, 8]
    assert "dense/kernel" in found


def test_a_weight_that_a_wrapper_holds_too_is_counted_once():
    def build(keras):
        inputs = keras.Input((4,), name="input")
        spectral = keras.layers.SpectralNormalization(keras.layers.Dense(4, name="inside"), name="spectral")
        return keras.Model(inputs, keras.layers.Dense(2, name="dense")(spectral(inputs)), name="normalized")

    model = build(backend.keras())
    assert [each.name for each in select(model).prunables] == ["spectral/kernel", "dense/kernel"]


def test_a_layer_made_of_layers_is_opened_and_keeps_weights_of_its_own():
    keras = backend.keras()

    class Block(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.a, self.b = (keras.layers.Dense(4, name="same") for _ in range(2))

        def build(self, shape):
            self.scale = self.add_weight("scale", shape=(4,))

        def call(self, x):
            return self.b(self.a(x)) * self.scale

    inputs = keras.Input((4,), name="input")
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(Block(name="block")(inputs)))
    selection = select(model)
    assert selection.pruned == ("block/same", "block/same_2", "dense")
    assert (
        selection.left["block"]
        == "pruning knows no weights of Block; a method get_prunable_weights of the layer names them"
    )
    assert set(weights(model)) >= {"block/same/kernel", "block/same_2/bias", "block/scale"}


def test_weights_of_one_name_are_left_with_the_reason():
    keras = backend.keras()

    class Twice(keras.layers.Layer):
        def build(self, shape):
            self.one, self.other = (self.add_weight("w", shape=(4, n)) for n in (3, 2))

        def call(self, x):
            return x @ self.one

        def get_prunable_weights(self):
            return [self.one, self.other]

    inputs = keras.Input((4,), name="input")
    left = select(keras.Model(inputs, keras.layers.Dense(2, name="dense")(Twice(name="twice")(inputs)))).left
    assert left["twice"] == "weights of Twice have one name: w, w"


@pytest.mark.run
def test_the_control_refuses_what_tfmot_would_turn_into_another_network():
    model = masked(backend.keras())
    with pytest.raises(ConfigError, match=r"pruning\.engine=tfmot: its wrapper loses the mask"):
        select(model, engine="tfmot")
    assert "embedding" not in select(model, engine="tfmot", skip=["embedding"]).pruned


# Layers that are frozen


def frozen_base(keras):
    layers = keras.layers
    base = keras.Sequential(
        [layers.Dense(5, input_shape=(4,), name="a"), layers.Dense(4, name="b", trainable=False)], name="base"
    )
    return keras.Sequential([keras.Input((4,)), base, layers.Dense(2, name="head")])


FROZEN = "is frozen (trainable=False)"


def test_frozen_layers_stay_dense_with_the_reason():
    keras = backend.keras()
    selection = select(frozen_base(keras))
    assert [each.name for each in selection.prunables] == ["base/a/kernel", "head/kernel"]
    assert selection.left == {"base/b": FROZEN}
    model = frozen_base(keras)
    model.get_layer("base").trainable = False
    again = keras.models.model_from_json(model.to_json())
    for each in (model, again):
        assert select(each).left == {"base/a": FROZEN, "base/b": FROZEN}
    model.trainable = False
    with pytest.raises(ConfigError, match=r"no layer is left to prune \(base/a: is frozen"):
        select(model)


def test_of_a_layer_that_is_frozen_in_part_the_rest_is_pruned():
    keras = backend.keras()
    model = bidirectional(keras)
    model.get_layer("both").forward_layer.trainable = False
    expected = [name for name in NETWORKS[bidirectional] if "forward" not in name]
    assert [each.name for each in select(model).prunables] == expected
    model.get_layer("both").backward_layer.trainable = False
    assert select(model).left["both"] == FROZEN
    each = keras.layers.TimeDistributed(keras.layers.Dense(2, trainable=False), name="each")
    model = keras.Sequential([keras.Input((3, 4)), each, keras.layers.Dense(2, name="dense")])
    assert select(model).left == {"each": FROZEN}
