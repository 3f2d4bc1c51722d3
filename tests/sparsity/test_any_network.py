"""Networks of every kind, of Keras 2 and 3, are pruned where they stand, as a loop in NumPy would do it."""

import sys

import forked
import numpy as np
import pytest
from support import ROOT

import pruneflow
from pruneflow.runtime import backend
from pruneflow.sparsity.kernels import kernels, leaves

RNG = np.random.default_rng(7)
ROWS = RNG.normal(size=(24, 4)).astype(np.float32)
PICTURES = RNG.normal(size=(24, 6, 6, 1)).astype(np.float32)
FILMS = RNG.normal(size=(24, 3, 6, 6, 1)).astype(np.float32)
TOKENS = RNG.integers(0, 9, (24, 5)).astype(np.int32)
SERIES = RNG.normal(size=(24, 5, 3)).astype(np.float32)
TWO = RNG.normal(size=(24, 2)).astype(np.float32)
BATCH, EPOCHS = 6, 2
STEPS = EPOCHS * 24 // BATCH


def closure(keras):
    """The output uses the embedding's weights by a Python closure, which no copy knows of."""
    embedding = keras.layers.Embedding(9, 4, name="embedding")
    inputs = keras.Input((5,), dtype="int32")
    hidden = keras.layers.Dense(4, name="mix")(keras.layers.Flatten()(embedding(inputs)))
    tied = keras.layers.Lambda(
        lambda x: backend.tensorflow().matmul(x, embedding.embeddings[:2], transpose_b=True),
        output_shape=(2,),
    )
    return keras.Model(inputs, tied(hidden)), TOKENS, TWO


def attribute(keras):
    """The decoder uses the kernel of the encoder, which it is given as an argument."""

    class Tied(keras.layers.Layer):
        def __init__(self, encoder, **kwargs):
            super().__init__(**kwargs)
            self.encoder = encoder

        def build(self, shape):
            self.shift = self.add_weight(name="shift", shape=(4,), initializer="zeros")

        def call(self, x):
            return backend.tensorflow().matmul(x, self.encoder.kernel, transpose_b=True) + self.shift

    inputs, encoder = keras.Input((4,)), keras.layers.Dense(3, name="encoder")
    return keras.Model(inputs, Tied(encoder, name="decoder")(encoder(inputs))), ROWS, ROWS


def shared(keras):
    dense = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(dense(dense(inputs)))), ROWS, TWO


def inference(keras):
    """A network in the network is always called as in use: its normalization must not learn."""
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, name="a"), layers.BatchNormalization()], name="base"
    )
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2, name="head")(inner(inputs, training=False))), ROWS, TWO


def heads(keras):
    """Two outputs, told apart by name."""
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(6, activation="relu", name="hidden")(inputs)
    outputs = {
        "kind": keras.layers.Dense(3, name="kind")(hidden),
        "size": keras.layers.Dense(2, name="size")(hidden),
    }
    return keras.Model(inputs, outputs), ROWS, {"kind": np.arange(24) % 3, "size": TWO}


def inputs(keras):
    """Two inputs, one encoder for both."""
    encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")], name="encoder")
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    both = keras.layers.Concatenate()([encoder(left), encoder(right)])
    model = keras.Model([left, right], keras.layers.Dense(2, name="head")(both))
    return model, [ROWS, ROWS[::-1].copy()], TWO


def subclassed(keras):
    class Whole(keras.Model):
        def __init__(self):
            super().__init__(name="whole")
            self.first, self.second = (
                keras.layers.Dense(5, name="first"),
                keras.layers.Dense(2, name="second"),
            )

        def call(self, x):
            return self.second(backend.tensorflow().nn.relu(self.first(x)))

    model = Whole()
    model(ROWS[:1])
    return model, ROWS, TWO


def own_step(keras):
    """A training step of the user's own."""
    tf = backend.tensorflow()

    class Stepping(keras.Model):
        def train_step(self, data):
            x, y = data[:2]
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"loss": loss}

    entry = keras.Input((4,))
    hidden = keras.layers.Dense(5, activation="relu", name="hidden")(entry)
    return Stepping(entry, keras.layers.Dense(2, name="head")(hidden)), ROWS, TWO


def films(keras):
    """A whole network at each time step."""
    layers = keras.layers
    cnn = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(3, 3, name="conv"), layers.Flatten()], name="cnn"
    )
    outer = [keras.Input((3, 6, 6, 1)), layers.TimeDistributed(cnn, name="each"), layers.LSTM(3, name="lstm")]
    return keras.Sequential([*outer, layers.Dense(2, name="head")]), FILMS, TWO


def conv_lstm(keras):
    layers = keras.layers
    network = [
        keras.Input((3, 6, 6, 1)),
        layers.ConvLSTM2D(3, 3, name="films"),
        layers.GlobalAveragePooling2D(),
    ]
    return keras.Sequential([*network, layers.Dense(2, name="head")]), FILMS, TWO


def stateful(keras):
    layers = keras.layers
    entry = keras.Input(batch_shape=(BATCH, 5, 3))
    outputs = layers.Dense(2, name="head")(layers.LSTM(4, stateful=True, name="lstm")(entry))
    return keras.Model(entry, outputs), SERIES, TWO


def added_loss(keras):
    class Sparse(keras.layers.Layer):
        def call(self, x):
            self.add_loss(0.1 * backend.tensorflow().reduce_mean(backend.tensorflow().abs(x)))
            return x

    layers = keras.layers
    return (
        keras.Sequential([keras.Input((4,)), layers.Dense(5, name="a"), Sparse(), layers.Dense(2, name="b")]),
        ROWS,
        TWO,
    )


def spectral(keras):
    layers = keras.layers
    normalized = layers.SpectralNormalization(layers.Dense(5, name="a"), name="spectral")
    return keras.Sequential([keras.Input((4,)), normalized, layers.Dense(2, name="dense")]), ROWS, TWO


def without_config(keras):
    """A layer that Keras cannot copy, made of layers."""

    class Block(keras.layers.Layer):
        def __init__(self, parts):
            super().__init__(name="block")
            self.parts = parts

        def call(self, x):
            for part in self.parts:
                x = part(x)
            return x

    parts = [keras.layers.Dense(5, name="a"), keras.layers.Dense(3, name="b")]
    return keras.Sequential([keras.Input((4,)), Block(parts), keras.layers.Dense(2, name="head")]), ROWS, TWO


def frozen(keras):
    layers = keras.layers
    base = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, name="a"), layers.Dense(4, name="b")], name="base"
    )
    base.layers[0].trainable = False
    return keras.Sequential([keras.Input((4,)), base, layers.Dense(2, name="head")]), ROWS, TWO


def pictures(keras):
    layers = keras.layers
    network = [
        keras.Input((6, 6, 1)),
        layers.Conv2D(4, 3, activation="relu", name="conv"),
        layers.DepthwiseConv2D(2, name="depthwise"),
        layers.SeparableConv2D(3, 2, name="separable"),
        layers.Conv2DTranspose(2, 2, name="up"),
        layers.Flatten(),
        layers.Dense(2, name="head"),
    ]
    return keras.Sequential(network), PICTURES, TWO


def texts(keras):
    layers = keras.layers
    entry = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True, name="embedding")(entry)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")(x)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    return keras.Model(entry, layers.Dense(2, name="head")(layers.GRU(3, name="gru")(x))), TOKENS, TWO


PRUNED = {
    closure: ["embedding/embeddings", "mix/kernel"],
    attribute: ["encoder/kernel"],
    shared: ["shared/kernel", "head/kernel"],
    inference: ["base/a/kernel", "head/kernel"],
    heads: ["hidden/kernel", "kind/kernel", "size/kernel"],
    inputs: ["encoder/dense/kernel", "head/kernel"],
    subclassed: ["first/kernel", "second/kernel"],
    own_step: ["hidden/kernel", "head/kernel"],
    films: ["each/cnn/conv/kernel", "lstm/kernel", "lstm/recurrent_kernel", "head/kernel"],
    conv_lstm: ["films/kernel", "films/recurrent_kernel", "head/kernel"],
    stateful: ["lstm/kernel", "lstm/recurrent_kernel", "head/kernel"],
    added_loss: ["a/kernel", "b/kernel"],
    spectral: ["spectral/kernel", "dense/kernel"],
    without_config: ["block/a/kernel", "block/b/kernel", "head/kernel"],
    frozen: ["base/b/kernel", "head/kernel"],
    pictures: ["conv/kernel", "separable/pointwise_kernel", "up/kernel", "head/kernel"],
    texts: [
        "embedding/embeddings",
        *(
            f"both/{way}/{kernel}"
            for way in ("forward", "backward")
            for kernel in ("kernel", "recurrent_kernel")
        ),
        *(f"attention/{part}/kernel" for part in ("query", "key", "value", "attention_output")),
        *("gru/kernel", "gru/recurrent_kernel", "head/kernel"),
    ],
}


SLOW = (films, conv_lstm, texts)  # Keras traces each loop of theirs for seconds


def keras_of(number):
    return backend.keras() if number == 2 else backend.keras3()


def compiled(model, keras):
    if "kind" in (getattr(model, "output_names", None) or ()):
        losses = {"kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "size": "mse"}
        metrics = {"kind": ["accuracy"]}
        model.compile(
            keras.optimizers.SGD(0.05), loss=losses, loss_weights={"kind": 1.0, "size": 0.5}, metrics=metrics
        )
    else:
        model.compile(keras.optimizers.SGD(0.05), loss="mse")


def at(arrays, places):
    if isinstance(arrays, dict):
        return {name: array[places] for name, array in arrays.items()}
    return [array[places] for array in arrays] if isinstance(arrays, list) else arrays[places]


def by_numpy(build, keras, plan):
    """Train as the definition says: before each step weights are multiplied by masks that NumPy decided."""
    model, x, y = build(keras)
    compiled(model, keras)
    variables = {
        f"{name}/{kernel.name}": kernel.variable for name, layer in leaves(model) for kernel in kernels(layer)
    }
    masks = {}
    for step in range(1, STEPS + 1):
        if step in plan.plan.updates:
            values = {name: variables[name].numpy() for name in [p.name for p in plan.prunables]}
            masks = {name: found.kept for name, found in plan.update(step, values).items()}
        for name, kept in masks.items():
            variables[name].assign(variables[name].numpy() * kept)
        first = (step - 1) * BATCH % 24
        places = slice(first, first + BATCH)
        model.train_on_batch(at(x, places), at(y, places))
    for name, kept in masks.items():
        variables[name].assign(variables[name].numpy() * kept)
    return model


@pytest.mark.run
@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize(
    "build",
    [pytest.param(build, marks=pytest.mark.long if build in SLOW else ()) for build in PRUNED],
    ids=lambda build: build.__name__,
)
def test_a_network_is_pruned_as_a_loop_in_numpy_would_do_it(build, number):
    keras = keras_of(number)
    keras.utils.set_random_seed(3)
    model, x, y = build(keras)
    layers = [id(layer) for layer in model.layers]
    pruned = pruneflow.prune(model, steps=STEPS, schedule={"final_sparsity": 0.5, "frequency": 3})
    names = [each.name for each in pruned.plan.prunables]
    assert names == PRUNED[build]
    assert pruned.model is model
    compiled(model, keras)
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, callbacks=pruned.callbacks, verbose=0)
    assert pruned.strip() is model
    assert [id(layer) for layer in model.layers] == layers
    keras.utils.set_random_seed(3)
    control = by_numpy(build, keras, pruned.plan)
    for mine, its in zip(model.get_weights(), control.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)
    zeros = {f"{each.name}/{each.weight}": each.zeros / each.size for each in pruned._masked.measure(STEPS)}
    assert all(abs(share - 0.5) <= 0.5 / 2 for share in zeros.values())


def simple_cnn(keras):
    """The network of the guide "Pruning in Keras", with the same weights in both Keras."""
    layers = keras.layers
    network = [
        keras.Input((28, 28, 1)),
        layers.Conv2D(12, 3, activation="relu", name="conv"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(10, name="dense"),
    ]
    return with_drawn_weights(keras.Sequential(network))


def lstm(keras):
    layers = keras.layers
    network = [
        keras.Input((5,), dtype="int32"),
        layers.Embedding(9, 4, name="embedding"),
        layers.LSTM(6, name="lstm"),
    ]
    return with_drawn_weights(keras.Sequential([*network, layers.Dense(10, name="dense")]))


def with_drawn_weights(model):
    draw = np.random.default_rng(1)
    model.set_weights([0.1 * draw.normal(size=each.shape).astype(np.float32) for each in model.weights])
    return model


def trained_in(keras, build, x, y):
    model = build(keras)
    pruned = pruneflow.prune(model, steps=100, schedule={"final_sparsity": 0.8, "frequency": 10})
    model.compile(keras.optimizers.Adam(0.003), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=16, epochs=10, shuffle=False, callbacks=pruned.callbacks, verbose=0)
    masks = pruned._masked.masks()
    return pruned.strip().get_weights(), masks


@pytest.mark.run
def test_both_keras_give_the_guides_cnn_the_same_weights_and_masks_bit_for_bit():
    draw = np.random.default_rng(2)
    x, y = draw.random((160, 28, 28, 1), np.float32), np.arange(160) % 10
    (old, old_masks), (new, new_masks) = (trained_in(keras_of(n), simple_cnn, x, y) for n in (2, 3))
    assert [each.tobytes() for each in new] == [each.tobytes() for each in old]
    assert {n: m.tobytes() for n, m in new_masks.items()} == {n: m.tobytes() for n, m in old_masks.items()}
    assert round(float(np.mean(new[2] == 0)), 4) == 0.8


@pytest.mark.long
def test_an_lstm_of_keras_3_has_exact_sparsity_and_is_near_that_of_keras_2():
    draw = np.random.default_rng(2)
    x, y = draw.integers(0, 9, (160, 5)).astype(np.int32), np.arange(160) % 10
    (old, _), (new, masks) = (trained_in(keras_of(n), lstm, x, y) for n in (2, 3))
    assert {name: int((~mask).sum()) for name, mask in masks.items()} == {
        "embedding/embeddings": 36 - 7,  # round(36 * 0.2)
        "lstm/kernel": 96 - 19,
        "lstm/recurrent_kernel": 144 - 29,
        "dense/kernel": 60 - 12,
    }
    distance = np.sqrt(np.mean(np.concatenate([(a - b).ravel() ** 2 for a, b in zip(new, old, strict=True)])))
    print(f"rms distance of the weights: {distance:.2g}")
    assert distance < 0.1


@pytest.mark.run
@pytest.mark.parametrize("number", [2, 3])
def test_a_loop_of_ones_own_calls_step_once_per_step(number):
    keras, tf = keras_of(number), backend.tensorflow()
    fitted, looped = (added_loss(keras)[0] for _ in range(2))
    looped.set_weights(fitted.get_weights())
    schedule = {"final_sparsity": 0.5, "frequency": 3}
    of_fit, of_loop = (pruneflow.prune(model, steps=STEPS, schedule=schedule) for model in (fitted, looped))
    fitted.compile(keras.optimizers.SGD(0.05), "mse")
    fitted.fit(
        ROWS, TWO, batch_size=BATCH, epochs=EPOCHS, shuffle=False, callbacks=of_fit.callbacks, verbose=0
    )
    optimizer = keras.optimizers.SGD(0.05)
    for step in range(STEPS):
        of_loop.step()
        places = slice(step * BATCH % 24, step * BATCH % 24 + BATCH)
        with tf.GradientTape() as tape:
            error = tf.reduce_mean(tf.square(looped(ROWS[places], training=True) - TWO[places]))
            loss = error + sum(looped.losses)
        gradients = tape.gradient(loss, looped.trainable_variables)
        optimizer.apply_gradients(zip(gradients, looped.trainable_variables, strict=True))
    for mine, its in zip(of_loop.strip().get_weights(), of_fit.strip().get_weights(), strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-6)
        np.testing.assert_array_equal(mine == 0, its == 0)


@pytest.mark.run
@pytest.mark.parametrize("number", [2, 3])
def test_taylor_sees_the_gradients_in_both_keras(number):
    keras = keras_of(number)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False, name="dense")])
    model.set_weights([np.float32([[0.9], [0.5]])])  # by magnitude the first would be kept
    schedule = {"name": "constant", "final_sparsity": 0.5, "frequency": 1, "begin_step": 2, "end_step": 3}
    pruned = pruneflow.prune(model, steps=4, criterion="taylor", schedule=schedule)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = np.float32([[1, 2]] * 4)
    model.fit(x, np.zeros((4, 1)), batch_size=1, shuffle=False, callbacks=pruned.callbacks, verbose=0)
    np.testing.assert_array_equal(pruned.strip().get_weights()[0], np.float32([[0], [0.5]]))


@pytest.mark.run
@pytest.mark.parametrize("number", [2, 3])
def test_a_second_pruning_sees_gradients_too_and_the_optimizer_gets_its_own_method_back(number):
    keras = keras_of(number)
    model, x, y = shared(keras)
    model.compile(keras.optimizers.SGD(0.01), "mse")
    name = "apply_gradients" if number == 2 else "apply"
    for final in (0.25, 0.5):
        schedule = {"initial_sparsity": 0.1, "final_sparsity": final, "frequency": 2, "begin_step": 2}
        pruned = pruneflow.prune(model, steps=STEPS, criterion="taylor", schedule=schedule)
        model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, callbacks=pruned.callbacks, verbose=0)
        assert all(each.saliency.numpy().any() for each in pruned._masked.weights)
        pruned.strip()
        assert name not in vars(model.optimizer)


@pytest.mark.parametrize("number", [2, 3])
def test_callbacks_of_masks_that_were_taken_off_are_refused(number):
    keras = keras_of(number)
    model, x, y = shared(keras)
    first = pruneflow.prune(model, steps=STEPS)
    second = pruneflow.prune(model, steps=STEPS)
    model.compile("sgd", "mse")
    for pruned in (first, second):
        pruned.strip(check=False)
        with pytest.raises(pruneflow.ConfigError, match="callbacks=MaskUpdates: their masks were taken off"):
            model.fit(x, y, callbacks=pruned.callbacks, verbose=0)
    model.fit(x, y, verbose=0)


@pytest.mark.run
def test_what_training_that_stopped_early_left_can_be_taken():
    model, x, y = shared(backend.keras3())
    pruned = pruneflow.prune(model, steps=1000)
    model.compile("sgd", "mse")
    model.fit(x, y, callbacks=pruned.callbacks, verbose=0)
    with pytest.raises(pruneflow.PruneflowError, match="zeros"):
        pruned.strip()
    assert pruned.strip(check=False) is model
    assert "train_step" not in vars(model)


@pytest.mark.parametrize("number", [2, 3])
def test_weights_in_bfloat16_are_pruned(number):
    keras = keras_of(number)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, dtype="bfloat16", name="half")])
    pruned = pruneflow.prune(model, steps=1, schedule={"name": "constant", "final_sparsity": 0.5})
    pruned.step()
    assert pruned._masked.measure(1)[0].zeros == 8
    pruned.strip()


@pytest.mark.run
def test_losses_metrics_and_sample_weights_go_by_the_names_of_the_outputs():
    for number in (2, 3):
        keras = keras_of(number)
        model, x, y = heads(keras)
        pruned = pruneflow.prune(model, steps=STEPS, schedule={"final_sparsity": 0.5})
        compiled(model, keras)
        share = {"kind": np.linspace(0, 1, 24), "size": np.ones(24)}
        model.fit(x, y, sample_weight=share, batch_size=6, epochs=2, callbacks=pruned.callbacks, verbose=0)
        assert list(model.output_names) == ["kind", "size"]
        pruned.strip()


def test_several_steps_in_one_graph_are_refused():
    for number in (2, 3):
        keras = keras_of(number)
        model, x, y = shared(keras)
        pruned = pruneflow.prune(model, steps=STEPS)
        model.compile("sgd", "mse", steps_per_execution=2)
        with pytest.raises(
            pruneflow.ConfigError, match="steps_per_execution=2: masks change between two steps"
        ):
            model.fit(x, y, batch_size=6, callbacks=pruned.callbacks, verbose=0)


def test_a_layer_that_stays_dense_is_told_with_the_reason():
    model, _, _ = frozen(backend.keras3())
    pruned = pruneflow.prune(model, steps=8, skip="head")
    assert pruned.not_pruned == {"base/a": "is frozen (trainable=False)", "head": "pruning.skip=head"}


MIRRORED = """
import numpy as np, pruneflow, tensorflow as tf, tf_keras, keras
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
x, y = np.random.default_rng(0).random((16, 8), np.float32), np.zeros((16, 4), np.float32)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = tf_keras.Sequential([tf_keras.Input((8,)), tf_keras.layers.Dense(4, use_bias=False)])
    pruned = pruneflow.prune(model, steps=8, schedule={"final_sparsity": 0.75, "frequency": 2})
    model.compile(tf_keras.optimizers.SGD(0.1), "mse")
model.fit(x, y, batch_size=4, epochs=2, callbacks=pruned.callbacks, verbose=0)
weight = pruned._masked.weights[0]
for each in (weight.mask, weight.weight):
    first, second = (copy.numpy() for copy in each.values)
    assert (first == second).all()
print("ZEROS", int((pruned.strip().get_weights()[0] == 0).sum()))
"""


@pytest.mark.long
def test_replicas_of_a_mirrored_strategy_have_the_same_masks(tmp_path):
    run = forked.run([sys.executable, "-c", MIRRORED], cwd=ROOT)
    assert "ZEROS 24" in run.stdout, run.stderr[-2000:]
