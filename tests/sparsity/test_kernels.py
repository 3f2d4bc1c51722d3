"""Which weights of which layers are pruned, under which names; layers that tfmot refuses."""

import numpy as np
import pytest
from test_prune import masks_of, plan

from pruneflow.errors import ConfigError
from pruneflow.runtime import backend
from pruneflow.sparsity import prune
from pruneflow.sparsity.kernels import copy_of
from pruneflow.sparsity.structures import Layout


def select(model, **changes):
    return prune.Pruning(**{"include": ["*"], "skip": [], "engine": "pruneflow", **changes}).select(model)


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
        assert set(NETWORKS[build]) <= set(prune.weights(model))
        assert sum(array.size for array in prune.weights(model).values()) == model.count_params()


@pytest.mark.long
@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_every_kernel_is_pruned_whatever_layer_it_is_in(build):
    """tfmot itself refuses these networks, or trains another one."""
    from pruneflow.training.callbacks import MaskUpdates

    keras = backend.keras()
    keras.utils.set_random_seed(3)
    model = build(keras)
    masks = masks_of(model, plan(8, final=0.5, frequency=3))
    x, y = examples(model)
    before = model.predict(x, verbose=0)
    wrapped = prune.wrap(model, masks)
    np.testing.assert_array_equal(wrapped.predict(x, verbose=0), before)
    wrapped.compile(keras.optimizers.Adam(0.01), "mse")
    callbacks = [backend.tfmot().sparsity.keras.UpdatePruningStep(), MaskUpdates(masks)]
    wrapped.fit(x, y, batch_size=6, epochs=2, verbose=0, callbacks=callbacks)
    measured = prune.measure(wrapped, masks, 8)
    assert [f"{each.name}/{each.weight}" for each in measured] == NETWORKS[build]
    assert all(each.masked == each.expected == each.zeros for each in measured)
    outputs = wrapped.predict(x, verbose=0)
    stripped = prune.strip(wrapped, into=build(keras))
    np.testing.assert_array_equal(stripped.predict(x, verbose=0), outputs)
    held = prune.masks(wrapped)
    for name, values in prune.weights(stripped).items():
        assert not values[held.get(name, np.ones_like(values)) == 0].any()
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


@pytest.mark.run
def test_padded_steps_stay_masked_out_under_the_wrapper():
    """tfmot's wrapper loses Keras' mask: what it trains with mask_zero=True is another network."""
    keras = backend.keras()
    model = masked(keras)
    x, _ = examples(model)
    padded = x.copy()
    padded[:, 4:] = 0
    wrapped = prune.wrap(model, masks_of(model, plan(1)))
    np.testing.assert_array_equal(wrapped.predict(padded, verbose=0), model.predict(padded, verbose=0))
    assert np.abs(wrapped.predict(x, verbose=0) - wrapped.predict(padded, verbose=0)).max() > 0


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

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__(name="subclassed")
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    class Uncopyable(keras.layers.Dense):
        def __init__(self, units, *, wanted):
            super().__init__(units, name="uncopyable")
            self.get_prunable_weights = lambda: [self.kernel]

    inputs = keras.Input((4,), name="input")
    x = Scale(name="scale")(inputs)
    x = Subclassed()(x)
    x = Uncopyable(3, wanted=True)(x)
    x = keras.layers.BatchNormalization(name="normalization")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(x))
    selection = select(model)
    assert selection.pruned == ("dense",)
    assert selection.left == {
        "input": "has no weights",
        "scale": "pruning knows no weights of Scale; a method get_prunable_weights of the layer names them",
        "subclassed": "Subclassed is a subclassed model, whose layers are not known",
        "uncopyable": "Uncopyable cannot be copied: it has no usable get_config and from_config",
        "normalization": "no weight of BatchNormalization is pruned",
    }
    masks = masks_of(model, plan(1))
    wrapped = prune.wrap(model, masks)
    prune.update(wrapped, masks, 1)
    assert [each.masked for each in prune.measure(wrapped, masks, 1)] == [5]


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
    masks = masks_of(model, plan(1, final=0.5))
    wrapped = prune.wrap(model, masks)
    prune.update(wrapped, masks, 1)
    assert prune.masks(wrapped)["scale/matrix"].sum() == 6


def test_layers_of_nested_models_are_chosen_by_their_full_names():
    model = nested(backend.keras())
    assert select(model, include=["middle/inner/*"]).pruned == ("middle/inner/dense", "middle/inner/out")
    assert select(model, skip=["*/out"]).left["middle/inner/out"] == "pruning.skip=*/out"
    with pytest.raises(
        ConfigError, match=r"pruning\.include=inner: it matches no layer; the layers are input"
    ):
        select(model, include=["inner"])


def test_a_subclassed_network_is_refused_in_words():
    keras = backend.keras()

    class Whole(keras.Model):
        def __init__(self):
            super().__init__(name="whole")
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    model = Whole()
    model(np.ones((1, 2), np.float32))
    with pytest.raises(ConfigError, match="whole: Whole is a subclassed model, whose layers are not known"):
        select(model)


def test_weights_stay_in_full_precision_in_mixed_training():
    from pruneflow.training.callbacks import MaskUpdates

    keras = backend.keras()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = keras.Sequential([keras.layers.Dense(8, input_shape=(9,), name="dense")])
        kernel = np.random.default_rng(2).normal(size=(9, 8)).astype(np.float32)
        model.set_weights([kernel, np.zeros(8, np.float32)])
        masks = masks_of(model, plan(1, final=0.5))
        wrapped = prune.wrap(model, masks)
        wrapped.compile(keras.optimizers.SGD(0.0), "mse")
        callbacks = [backend.tfmot().sparsity.keras.UpdatePruningStep(), MaskUpdates(masks)]
        wrapped.fit(np.ones((4, 9)), np.ones((4, 8)), batch_size=4, verbose=0, callbacks=callbacks)
        kept = prune.masks(wrapped)["dense/kernel"]
        np.testing.assert_array_equal(wrapped.layers[0].layer.get_weights()[0], kernel * kept)
        assert kept.sum() == 36
    finally:
        keras.mixed_precision.set_global_policy("float32")


def trained_and_stripped(build, steps=4):
    """A network of ``build`` wrapped, trained and stripped, and whether it stayed one and the same."""
    from pruneflow.training.callbacks import MaskUpdates

    keras = backend.keras()
    keras.utils.set_random_seed(4)
    model = build(keras)
    masks = masks_of(model, plan(steps, final=0.5))
    wrapped = prune.wrap(model, masks)
    assert sum(int(np.prod(w.shape)) for w in wrapped.trainable_weights) == sum(
        int(np.prod(w.shape)) for w in model.trainable_weights
    )
    wrapped.compile(keras.optimizers.SGD(0.01), "mse")
    x, y = examples(model)
    callbacks = [backend.tfmot().sparsity.keras.UpdatePruningStep(), MaskUpdates(masks)]
    wrapped.fit(x, y, batch_size=6, verbose=0, callbacks=callbacks)
    outputs = wrapped.predict(x, verbose=0)
    np.testing.assert_array_equal(prune.strip(wrapped, into=build(keras)).predict(x, verbose=0), outputs)
    return [(f"{each.name}/{each.weight}", each.masked) for each in prune.measure(wrapped, masks, steps)]


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


def test_layers_made_of_layers_and_weights_of_one_name_are_left_with_the_reason():
    keras = backend.keras()

    class Two(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.a = keras.layers.Dense(4, name="a")

        def call(self, x):
            return self.a(x)

        def get_prunable_weights(self):
            return [self.a.kernel]

    class Twice(keras.layers.Layer):
        def build(self, shape):
            self.one, self.other = (self.add_weight("w", shape=(4, n)) for n in (3, 2))

        def call(self, x):
            return x @ self.one

        def get_prunable_weights(self):
            return [self.one, self.other]

    inputs = keras.Input((4,), name="input")
    x = Twice(name="twice")(Two(name="two")(inputs))
    left = select(keras.Model(inputs, keras.layers.Dense(2, name="dense")(x))).left
    assert left["two"].startswith("Two is made of layers that are not known before it is called")
    assert left["twice"] == "weights of Twice have one name: w, w"


@pytest.mark.run
def test_the_control_refuses_what_tfmot_would_turn_into_another_network():
    model = masked(backend.keras())
    with pytest.raises(ConfigError, match=r"pruning\.engine=tfmot: its wrapper loses the mask"):
        select(model, engine="tfmot")
    assert "embedding" not in select(model, engine="tfmot", skip=["embedding"]).pruned


# Functions and layers of the user's own


def relu(x):
    """Called as one of Keras."""
    return -3 * x


def own_parts(keras):
    """Arguments that Keras cannot look up: neither registered nor importable."""

    class Ones(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None, **kwargs):
            return keras.backend.ones(shape, dtype)

    class Same(keras.constraints.Constraint):
        def __call__(self, weight):
            return weight

    return Ones(), Same()


def functions_of_ones_own(keras):
    layers, (ones, same) = keras.layers, own_parts(keras)
    inside = layers.Dense(4, name="inside", activation=relu, kernel_initializer=ones)
    return keras.Sequential(
        [
            keras.Input((4,), name="input"),
            layers.Dense(4, name="named", activation=relu, kernel_constraint=same),
            layers.Dense(4, name="nameless", activation=lambda x: 2 * x, bias_initializer=ones),
            layers.Reshape((2, 2)),
            layers.TimeDistributed(layers.Dense(2, activation=relu), name="each"),
            layers.Flatten(),
            layers.SpectralNormalization(inside, name="spectral"),
            layers.BatchNormalization(gamma_initializer=ones, name="normalization"),
            layers.Dense(2, name="dense"),
        ]
    )


@pytest.mark.run
def test_initializers_and_activations_of_ones_own_are_copied_though_keras_does_not_know_them():
    assert len(trained_and_stripped(functions_of_ones_own)) == 5
    model = functions_of_ones_own(backend.keras())
    copy = prune.copied(model)
    copy.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_array_equal(copy(x), model(x))
    assert copy.get_layer("named").activation is relu
    assert {id(weight) for weight in copy.weights}.isdisjoint(id(weight) for weight in model.weights)


def test_a_layer_whose_copy_has_another_function_is_left_dense():
    keras = backend.keras()

    class Looking(keras.layers.Dense):
        def __init__(self, units, activation=None, **kwargs):
            super().__init__(units, activation=keras.activations.relu, **kwargs)

        def get_prunable_weights(self):
            return [self.kernel]

    layer = Looking(3, name="looking")
    layer.activation = relu
    model = keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(2, name="dense")])
    assert "cannot be copied" in select(model).left["looking"]


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


def test_an_lstm_that_has_dropped_inputs_is_copied():
    layer = backend.keras().layers.LSTM(3, dropout=0.2, recurrent_dropout=0.2, name="lstm")
    layer(
        np.zeros((2, 4, 5), np.float32), training=True
    )  # keeps a mask that tf.Module.submodules stumbles over
    assert copy_of(layer).get_config() == layer.get_config()
