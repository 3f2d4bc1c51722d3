"""Networks of Keras 3: each becomes the same network of Keras 2, or is refused by the name of a layer."""

import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import QUICK
from test_hostile_networks import changed
from test_models import IMAGES, TOKENS, run

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.exports.exporters import Float
from pruneflow.models import keras3
from pruneflow.models.keras3 import ConversionError, converted, is_keras_3, written_back
from pruneflow.models.keras3.activations import SAME_ACTIVATIONS
from pruneflow.models.keras3.layers import SAME
from pruneflow.models.keras3.weights import finalize
from pruneflow.models.keras_files import SavedNetwork, digest_of_files, read_network
from pruneflow.runtime import backend, child

pytestmark = pytest.mark.filterwarnings("ignore:.*np.object.*")


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    """Int8 is tried here: each child costs the seconds in which TensorFlow loads."""
    monkeypatch.setattr(child, "values_of", lambda *_: child.Outcome([], child.RAISED))


@pytest.fixture(autouse=True)
def _names():
    backend.keras3()
    backend.reset_names()


def layers():
    return backend.keras3().layers


def shaken(model, seed=0, noise=0.1):
    """The same network, every weight moved by chance, so that nothing is equal because it is zero."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = np.asarray(weight)
        if weight.name in ("moving_variance", "variance"):
            weight.assign(rng.uniform(0.5, 1.5, value.shape))
        else:
            weight.assign(value * rng.uniform(0.5, 1.5, value.shape) + noise * rng.normal(size=value.shape))
    finalize(model)
    return model


def sequence(*given, shape=(8,), dtype="float32", name="network"):
    keras = backend.keras3()
    return shaken(keras.Sequential([keras.Input(shape, dtype=dtype), *given], name=name))


def functional(build, *shapes, dtype="float32"):
    keras = backend.keras3()
    inputs = [keras.Input(shape, dtype=dtype) for shape in shapes]
    return shaken(keras.Model(inputs if len(inputs) > 1 else inputs[0], build(*inputs)))


def saved_and_read(model, folder):
    """What pruneflow reads back, and what tf_keras reads from an .h5 file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras calls its own formats legacy
        model.save(folder / "network.h5")
        loaded = backend.keras().models.load_model(folder / "network.h5", compile=False)
    return SavedNetwork(model.to_json(), model.get_weights()).build(), loaded


def assert_same(model, folder, examples=None):
    """Outputs of Keras 3, of the conversion and, with a folder, of each way back from a file in it."""
    found = converted(model)
    keras = backend.keras3()
    if examples is None:
        rng = np.random.default_rng(5)
        examples = [rng.normal(size=(5, *(s or 6 for s in each.shape[1:]))) for each in model.inputs]
    examples = [np.asarray(each, one.dtype) for each, one in zip(examples, model.inputs, strict=True)]
    given = examples if len(examples) > 1 else examples[0]
    expected = [np.asarray(each) for each in keras.tree.flatten(model(given, training=False))]
    assert all(np.ptp(each) > 1e-3 for each in expected)  # else nothing is compared
    for network in (found.model, *(saved_and_read(found.model, folder) if folder else ())):
        outputs = backend.tensorflow().nest.flatten(network(given, training=False))
        for one, other in zip(expected, outputs, strict=True):
            largest = max(1.0, np.abs(one).max())
            np.testing.assert_allclose(other, one, atol=2e-5 * largest, rtol=0)
    return found


# Activations


def test_activations_that_are_taken_by_name_compute_the_same_under_both():
    keras2, keras = backend.keras(), backend.keras3()
    x = backend.tensorflow().constant(np.random.default_rng(0).normal(size=(7, 9)) * 5, "float32")
    for name, other in SAME_ACTIVATIONS.items():
        one, two = (np.asarray(each.activations.get(at)(x)) for each, at in ((keras, name), (keras2, other)))
        np.testing.assert_allclose(two, one, atol=1e-6, err_msg=name)
    x = backend.tensorflow().constant(np.linspace(-4, 4, 801), "float32")
    both = [np.asarray(each.activations.hard_sigmoid(x)) for each in (keras, keras2)]
    apart = np.abs(both[0] - both[1]).max()
    assert apart == pytest.approx(1 / 12, abs=1e-3)  # two functions of one name
    assert "hard_sigmoid" not in SAME_ACTIVATIONS


ACTIVATIONS = [
    *(
        "elu",
        "exponential",
        "gelu",
        "leaky_relu",
        "linear",
        "mish",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
    ),
    *("softmax", "softplus", "softsign", "swish", "tanh", "hard_sigmoid", "hard_silu", "hard_swish"),
    *("hard_tanh", "log_sigmoid", "log_softmax", "tanh_shrink"),
]


def test_every_activation_is_the_same_as_an_argument_and_as_a_layer(tmp_path):
    layer, keras = layers(), backend.keras3()

    def build(x):
        many = []
        for name in ACTIVATIONS:
            x1 = layer.Dense(4, activation=name, name=f"of_{name}")(x)
            many += [x1, layer.Activation(name, name=f"layer_{name}")(layer.Dense(3)(x))]
        return layer.Concatenate()(many)

    found = assert_same(functional(build, (8,)), tmp_path, [3 * np.random.default_rng(1).normal(size=(4, 8))])
    names = {each.name for each in found.model.layers}
    assert {f"of_{name}" for name in ACTIVATIONS} <= names
    assert keras.activations.hard_silu


@pytest.mark.run
def test_a_hard_sigmoid_in_gates_is_the_one_of_keras_3(tmp_path):
    layer = layers()
    both = [
        layer.LSTM(4, recurrent_activation="hard_sigmoid", return_sequences=True),
        layer.Bidirectional(layer.GRU(3, recurrent_activation="hard_sigmoid", return_sequences=True)),
        layer.GRU(3, recurrent_activation="hard_sigmoid", reset_after=False, use_bias=False),
    ]
    model = sequence(*both, shape=(5, 3))
    for weight in model.weights:
        weight.assign(3 * np.asarray(weight))  # into the bends of the function
    assert_same(model, tmp_path)


def test_an_activation_that_has_no_equal_is_refused_by_the_name_of_its_layer():
    layer = layers()
    with pytest.raises(
        ConversionError, match=r"layer odd has the activation sparsemax, which Keras 2 has no"
    ):
        converted(sequence(layer.Dense(3, activation="sparsemax", name="odd")))
    with pytest.raises(
        ConversionError, match=r"layer odd \(LSTM\) has activation=hard_sigmoid, which Keras 2"
    ):
        converted(sequence(layer.LSTM(3, activation="hard_sigmoid", name="odd"), shape=(4, 3)))


# Layers

SLOW = ("lstm", "bidirectional", "gru", "cells", "convolutional lstm")
SEQUENCES = {
    "lstm": lambda k: [k.LSTM(4, return_sequences=True), k.LSTM(3, go_backwards=True)],
    "bidirectional": lambda k: [
        k.Bidirectional(k.LSTM(4, return_sequences=True)),
        k.Bidirectional(k.GRU(3), merge_mode="sum"),
    ],
    "gru": lambda k: [k.GRU(4, return_sequences=True), k.GRU(3, reset_after=False)],
    "cells": lambda k: [k.RNN([k.LSTMCell(3), k.GRUCell(2)])],
    "conv1d": lambda k: [k.Conv1D(4, 3, padding="causal", activation="relu"), k.GlobalMaxPooling1D()],
    "separable1d": lambda k: [k.SeparableConv1D(4, 3), k.DepthwiseConv1D(2), k.GlobalAveragePooling1D()],
    "time distributed": lambda k: [k.TimeDistributed(k.Dense(3, activation="hard_silu")), k.Flatten()],
    "convolutional lstm": lambda k: [k.Reshape((6, 4, 1)), k.ConvLSTM1D(2, 2), k.Flatten()],
    "transposed": lambda k: [k.Conv1DTranspose(3, 2, strides=2), k.UpSampling1D(2), k.Flatten()],
    "normalized": lambda k: [k.LayerNormalization(), k.GroupNormalization(2), k.UnitNormalization()],
    "einsum": lambda k: [k.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d", activation="hard_sigmoid")],
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.run] if name in SLOW else []) for name in SEQUENCES],
)
def test_layers_of_sequences_are_the_same(tmp_path, name):
    found = assert_same(sequence(*SEQUENCES[name](layers()), shape=(6, 4)), tmp_path)
    assert found.difference < 1e-5


IMAGE_LAYERS = {
    "convolutions": lambda k: [
        k.Conv2D(4, 3, strides=2, padding="same", kernel_regularizer="l2", kernel_constraint="max_norm"),
        k.DepthwiseConv2D(3, depth_multiplier=2, activation="relu6"),
        k.SeparableConv2D(4, 1),
        k.Conv2DTranspose(4, 2, strides=2),
        k.Conv2D(4, 1, groups=2, activation=k.LeakyReLU(negative_slope=0.1, name="leaky")),
    ],
    "pooling": lambda k: [k.ZeroPadding2D(1), k.MaxPooling2D(), k.AveragePooling2D(2, 1), k.Cropping2D(1)],
    "rectified": lambda k: [
        k.LeakyReLU(negative_slope=0.2),
        k.PReLU(shared_axes=(1, 2)),
        k.ReLU(4.0, negative_slope=0.1, threshold=0.1),
        k.ELU(0.5),
        k.Softmax(),
    ],
    "preprocessing": lambda k: [
        k.Rescaling(2.0, -1.0),
        k.RandomFlip(),
        k.RandomRotation(0.1),
        k.Resizing(6, 6),
        k.UpSampling2D(2, interpolation="bilinear"),
    ],
    "noise": lambda k: [
        k.Dropout(0.5, seed=3),
        k.GaussianNoise(0.1),
        k.SpatialDropout2D(0.2),
        k.Conv2D(2, 1),
    ],
    "batch normalization": lambda k: [
        k.BatchNormalization(),
        k.Conv2D(3, 1),
        k.BatchNormalization(scale=False),
    ],
}


@pytest.mark.parametrize("name", IMAGE_LAYERS)
def test_layers_of_images_are_the_same(tmp_path, name):
    assert_same(sequence(*IMAGE_LAYERS[name](layers()), shape=(8, 8, 4)), tmp_path)


@pytest.mark.run
def test_attention_is_the_same_with_its_masks(tmp_path):
    layer = layers()

    def build(ids):
        x = layer.Embedding(12, 6, mask_zero=True)(ids)
        x = x + layer.MultiHeadAttention(2, 3, value_dim=4)(x, x, use_causal_mask=True)
        x = layer.LayerNormalization()(x)
        x = layer.Concatenate()(
            [x, layer.Attention(use_scale=True)([x, x]), layer.AdditiveAttention()([x, x])]
        )
        return layer.GlobalAveragePooling1D()(x)

    ids = np.random.default_rng(0).integers(0, 12, (6, 7))
    ids[:, 5:] = 0
    found = assert_same(functional(build, (7,), dtype="int32"), tmp_path, [ids])
    assert [each.name for each in found.model.layers if "not_equal" in each.name] == []


@pytest.mark.run
def test_padding_is_masked_as_before_also_in_a_file_that_was_read(tmp_path):
    layer = layers()
    given = [
        layer.Embedding(12, 4, mask_zero=True),
        layer.Bidirectional(layer.LSTM(3, return_sequences=True)),
    ]
    model = sequence(*given, layer.Dropout(0.5), layer.LSTM(2), shape=(None,), dtype="int32")
    ids = np.array([[3, 4, 0, 0, 0, 0], [5, 6, 7, 8, 9, 10], [2, 0, 0, 0, 0, 0]])
    assert_same(model, tmp_path, [ids])
    network = read_network(saved(model, tmp_path / "model.keras")).build()
    assert [each.name for each in network.layers if "equal" in each.name] == []
    np.testing.assert_allclose(network(ids), model(ids), atol=1e-6)
    assert np.ptp(network(ids, training=True)[0] - network(ids)[0]) > 0  # dropout is at work


def test_token_ids_are_drawn_from_the_vocabulary():
    layer = layers()
    inner = sequence(layer.Embedding(3, 2, name="narrow"), layer.Flatten(), shape=(2,), name="inner")
    assert converted(functional(inner, (2,))).difference == 0
    given = list(keras3._examples(keras3.graph_of(functional(inner, (2,)))))
    assert set(np.unique(given)) == {0.0, 1.0, 2.0}


def test_operations_are_the_same(tmp_path):
    ops, layer, activations = backend.keras3().ops, layers(), backend.keras3().activations
    constant = np.linspace(-1, 1, 4).astype(np.float32)

    def build(x, y):
        many = [x + y, x * 0.5, 1 - x, -x, x / 2, 2 / (ops.square(y) + 1), ops.maximum(x, y), ops.abs(x)]
        many += [x**2, x + constant, x + ops.convert_to_tensor(constant), ops.clip(x, -0.5, 0.5), ops.tanh(x)]
        many += [ops.relu(x), ops.gelu(x), ops.gelu(x, approximate=False), ops.hard_sigmoid(x), ops.silu(x)]
        many += [activations.relu(x, negative_slope=0.1, max_value=1), activations.leaky_relu(x), ops.elu(x)]
        many += [
            ops.softmax(x, axis=1),
            ops.log_softmax(x),
            ops.where(x > 0, x, y),
            ops.cast(x > y, "float32"),
        ]
        many += [x[:, ::-1], x[..., ::-1], ops.transpose(x, (0, 2, 1))[:, :3, :3] @ ops.ones((3, 4))]
        whole = ops.concatenate([each[:, :3] for each in many], axis=-1)
        few = [
            ops.mean(whole, axis=-1),
            ops.sum(whole, axis=[2]),
            ops.max(whole, axis=-1),
            ops.std(whole, axis=-1),
        ]
        few += [ops.squeeze(ops.expand_dims(few[0], -1), -1), ops.split(whole, 2, axis=-1)[1][:, :, 0]]
        few += [ops.reshape(whole, (-1, 3, 4 * len(many)))[:, :, 5]]
        return layer.Dense(2)(ops.stack(few, axis=-1)), ops.repeat(x, 2, axis=1)

    found = assert_same(functional(build, (3, 4), (3, 4)), tmp_path)
    names = [each.name for each in found.model.layers]
    assert {"add", "multiply", "subtract", "concatenate", "stack"} <= set(names)  # as Keras 3 calls them


def test_an_operation_that_is_not_known_is_refused_by_its_name():
    ops = backend.keras3().ops
    with pytest.raises(ConversionError, match=r"operation cumsum \(Cumsum\) is not known.+pruneflow\.prune"):
        converted(functional(lambda x: ops.cumsum(x, axis=1), (4,)))


def test_a_nested_network_stays_nested_shared_and_frozen(tmp_path):
    layer = layers()
    shared = layer.Dense(4, name="shared")
    inner = sequence(layer.Dense(4), layer.BatchNormalization(), shape=(4,), name="inner")
    inner.trainable = False
    inner.layers[0].trainable = True
    frozen = layer.Dense(4, trainable=False, name="frozen")
    model = functional(lambda x, y: [inner(shared(x)) + inner(shared(y)), frozen(shared(y))], (4,), (4,))
    found = assert_same(model, tmp_path)
    assert found.model.count_params() == model.count_params()
    outer = {each.name: each for each in found.model.layers}
    assert len(outer["shared"]._inbound_nodes) == 3
    assert isinstance(outer["inner"], backend.keras().Model)
    flags = {name: each.trainable for name, each in outer.items() if each.weights}
    assert flags == {"shared": True, "inner": True, "frozen": False}
    assert [each.trainable for each in outer["inner"].layers if each.weights] == [True, False]
    assert len(found.model.trainable_weights) == len(model.trainable_variables)
    model.trainable = False
    assert converted(model).model.trainable_weights == []
    whole = sequence(layer.Dense(4), layer.BatchNormalization(), shape=(4,), name="whole")
    whole.trainable = False
    assert not converted(functional(lambda x: layer.Dense(2)(whole(x)), (4,))).model.layers[1].trainable


def test_what_is_frozen_inside_of_a_wrapper_stays_frozen():
    layer = layers()
    backbone = sequence(layer.Dense(5, name="a"), layer.Dense(4, name="b"), shape=(4,), name="backbone")
    backbone.trainable = False
    both = layer.Bidirectional(layer.LSTM(3), name="both")
    both.forward_layer.trainable = False
    dense = layer.TimeDistributed(layer.Dense(4, trainable=False), name="each")
    model = sequence(layer.TimeDistributed(backbone, name="films"), dense, both, layer.Dense(2), shape=(3, 4))
    found = converted(model).model
    assert [tuple(w.shape) for w in found.trainable_weights] == [
        tuple(w.shape) for w in model.trainable_variables
    ]
    assert (
        len(found.trainable_weights) == 5
    )  # kernel, recurrent kernel and bias of one half, and the last layer


def test_normalization_keeps_what_it_was_adapted_to(tmp_path):
    layer = layers()
    adapted = layer.Normalization()
    adapted.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)))
    given = layer.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 2.0, 3.0, 4.0])
    keras = backend.keras3()
    model = keras.Sequential([keras.Input((4,)), adapted, given, layer.Normalization(mean=0.5, variance=0.5)])
    found = assert_same(model, tmp_path)
    assert written_back(found.model.get_weights(), model, tmp_path / "back.keras") < 1e-6
    for name in ("net.keras", "net.h5"):
        network = read_network(saved(model, tmp_path / name)).build()
        np.testing.assert_allclose(network(np.ones((2, 4))), model(np.ones((2, 4))), rtol=1e-5)


def test_several_inputs_and_outputs_keep_their_order_and_their_names(tmp_path):
    layer, keras = layers(), backend.keras3()
    inputs = {name: keras.Input((3,), name=name) for name in ("zebra", "ant")}
    outputs = {"late": layer.Dense(2)(inputs["ant"]), "early": layer.Dense(1)(inputs["zebra"])}
    model = shaken(keras.Model(inputs, outputs))
    network = converted(model).model
    given = {"zebra": np.ones((2, 3), np.float32), "ant": np.full((2, 3), 2.0, np.float32)}
    expected, found = model(given), network(given)
    assert set(found) == {"late", "early"}
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    assert_same(functional(lambda x, y: [layer.Dense(1)(y), layer.Dense(2)(x)], (2,), (3,)), tmp_path)


def test_half_precision_is_converted_in_float32():
    model = sequence(layers().Dense(4, dtype="mixed_bfloat16"), layers().Dense(2, dtype="mixed_bfloat16"))
    found = converted(model)
    assert {each.compute_dtype for each in found.model.layers} == {"float32"}
    assert model.layers[0].compute_dtype == "bfloat16"
    with pytest.raises(
        ConversionError, match=r"layer half \(Dense\) computes in float16\. Build it in float32"
    ):
        converted(sequence(layers().Dense(2, dtype="float16", name="half")))


APPLICATIONS = dict.fromkeys(
    (
        *("MobileNet", "MobileNetV2", "ResNet50", "ResNet50V2", "EfficientNetB0", "EfficientNetV2B0"),
        *("DenseNet121", "VGG16", "NASNetMobile"),
    ),
    32,
) | {"InceptionV3": 75, "Xception": 71}


def application(name, size):
    build = getattr(backend.keras3().applications, name)
    made = build(weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3))
    return shaken(made, noise=0.01)  # more makes deep networks explode, and rounding with them


@pytest.mark.long
def test_mobilenet_v3_is_the_same(tmp_path):
    model = application("MobileNetV3Small", 32)
    assert_same(model, tmp_path, [np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3))])


@pytest.mark.long
@pytest.mark.parametrize("name", APPLICATIONS)
def test_networks_of_keras_applications_are_the_same(name):
    size = APPLICATIONS[name]
    model = application(name, size)
    found = converted(model)  # which compares the outputs
    outputs = found.model(np.random.default_rng(1).uniform(0, 1, (2, size, size, 3)), training=False)
    assert np.ptp(outputs) > 1e-3  # else nothing was compared
    assert found.model.count_params() == model.count_params()


# What is refused


def test_what_has_no_equal_is_refused_by_the_name_of_its_layer():
    layer, keras = layers(), backend.keras3()

    class Own(layer.Dense):
        pass

    class Whole(keras.Model):
        def call(self, x):
            return x

    cases = [
        (sequence(layer.RMSNormalization(name="odd")), r"layer odd \(RMSNormalization\) is not in Keras 2\."),
        (sequence(Own(2, name="own")), r"layer own \(Own\) is not a layer of Keras\."),
        (sequence(layer.Lambda(lambda x: x, name="odd")), r"layer odd \(Lambda\) is not in Keras 2\."),
        (
            sequence(
                layer.LSTM(2, return_sequences=True), layer.Dense(2, lora_rank=1, name="lora"), shape=(3, 2)
            ),
            r"layer lora \(Dense\) has lora_rank=1, which Keras 2 does not know",
        ),
        (
            keras.Sequential([layer.Dense(2)], name="empty"),
            r"empty is not built: .+ begin with keras\.Input\.",
        ),
        (Whole(), "Whole is a subclassed model, whose layers are not known"),
    ]
    for model, said in cases:
        with pytest.raises(ConversionError, match=said) as refused:
            converted(model)
        assert "\n" not in str(refused.value)


def test_outputs_that_differ_are_an_error(monkeypatch):
    model = sequence(layers().Dense(3))
    monkeypatch.setattr(keras3.Weight, "forward", lambda self: self.copy.assign(self.original * 1.01))
    with pytest.raises(ConversionError, match=r"output dense of the network .+ differs by 0\.0"):
        converted(model)


def test_every_layer_that_is_taken_is_in_both():
    for name in SAME:
        assert isinstance(getattr(backend.keras().layers, name), type)
        assert isinstance(getattr(layers(), name), type)


def test_a_network_of_keras_2_is_none_of_keras_3():
    keras2 = backend.keras()
    assert is_keras_3(sequence(layers().Dense(2)))
    assert not is_keras_3(keras2.Sequential([keras2.layers.Dense(2)]))
    assert not is_keras_3(None)


def test_neither_help_nor_a_refused_setting_imports_keras_3(tmp_path):
    code = (
        "import sys\n"
        "from pruneflow.__main__ import main\n"
        "sys.argv = ['pruneflow', *sys.argv[1:]]\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'keras', 'tf_keras'} & set(sys.modules)))"
    )
    for given in (["--help"], ["schedule.final_sparsity=2"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *given], capture_output=True, text=True, cwd=tmp_path, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"


# In a TFLite file


def test_an_lstm_of_keras_3_becomes_one_fused_operation():
    model = sequence(layers().LSTM(4), layers().Dense(2), shape=(5, 3))
    spec = Spec("numbers", (5, 3), 2)
    with backend.quiet():
        content = Float(name="float").convert(converted(model).model, spec, None)
    interpreter = backend.litert().Interpreter(model_content=content)
    names = [each["op_name"] for each in interpreter._get_ops_details()]
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in names
    assert "WHILE" not in names


# Files


def text_network(name="text"):
    layer = layers()
    given = [layer.Embedding(70, 4, mask_zero=True), layer.LSTM(3), layer.Dense(3, activation="softmax")]
    return sequence(*given, shape=(12,), dtype="int32", name=name)


def image_network():
    layer, keras = layers(), backend.keras3()
    inputs = keras.Input((28, 28, 1), name="pixels")
    x = layer.Conv2D(4, 3, strides=2, activation="hard_silu", name="conv")(inputs)
    x = layer.BatchNormalization(name="norm")(x) * 0.5
    x = layer.GlobalAveragePooling2D(name="pool")(x)
    return shaken(keras.Model(inputs, layer.Dense(10, name="classes")(x), name="images"))


def saved(model, file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 3 calls .h5 legacy
        model.save(file)
    return file


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
@pytest.mark.parametrize("build", [pytest.param(text_network, marks=pytest.mark.run), image_network])
def test_a_file_of_keras_3_is_read_as_a_network_of_keras_2(composed, tmp_path, name, build):
    model = build()
    file = saved(model, tmp_path / name)
    spec = IMAGES if build is image_network else TOKENS
    option = composed("model=keras_file", f"model.path={file}").model
    option.check(spec)
    network = option.build(spec)
    assert isinstance(network, backend.keras().Model)
    assert option.difference == pytest.approx(0, abs=1e-5)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 70, (4, 12)) if spec is TOKENS else rng.random((4, 28, 28, 1)).astype(np.float32)
    np.testing.assert_allclose(network(x), model(x), atol=1e-5)
    assert option.identity(spec)["file"] == digest_of_files(file)
    assert is_keras_3(option.original(spec))


def with_arguments(**arguments):
    """A change of a description: arguments that the first layer and its initializer have in a newer Keras."""

    def change(described):
        config = first_layer(described)["config"]
        for each in (config, config["kernel_initializer"]["config"]):
            each.update(arguments)
        return described

    return change


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_arguments_of_a_newer_keras_are_left_out_where_they_are_not_set(tmp_path, name):
    """Keras 3.15 writes input_axes and more. Keras 3.12, the last one for Python 3.10, lacks them."""
    model, x = image_network(), np.random.default_rng(0).random((4, 28, 28, 1)).astype(np.float32)
    file = changed(saved(model, tmp_path / name), with_arguments(later_axes=None))
    np.testing.assert_allclose(read_network(file).build()(x), model(x), atol=1e-5)
    said, version = refused(changed(file, with_arguments(later_axes=[0]))), backend.keras3().__version__
    assert f" Keras {version} has saved it, and {version} reads it. " in said


def refused(file):
    with pytest.raises(PruneflowError) as error:
        read_network(Path(file).absolute())
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(file))
    return str(error.value)


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """The file that hostile code makes, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text("open('MARK', 'w')\nclass Dense: pass\n")
    return tmp_path / "MARK"


def first_layer(described):
    return next(each for each in described["config"]["layers"] if each["config"]["name"] == "conv")


HOSTILE = [
    (
        {
            "class_name": "Popen",
            "module": "subprocess",
            "config": {"args": ["touch", "MARK"], "name": "conv"},
        },
        "",
    ),
    ({"class_name": "Dense", "module": "evil", "registered_name": "evil>Dense"}, ""),
    ({"class_name": "Dense", "module": "evil", "registered_name": None}, ""),
    ({"class_name": "get_file", "module": "keras.utils", "registered_name": None}, ""),
    (
        {"class_name": "TFSMLayer", "module": "keras.layers", "config": {"filepath": "evil", "name": "conv"}},
        "runs",
    ),
    (
        {"class_name": "StringLookup", "module": "keras.layers", "config": {"vocabulary": "/etc/passwd"}},
        "runs",
    ),
    (
        {"class_name": "TorchModuleWrapper", "module": "keras.layers", "config": {"name": "conv"}},
        "not in Keras 2",
    ),
    (
        {"class_name": "RMSNormalization", "module": "keras.layers", "config": {"name": "conv"}},
        "not in Keras 2",
    ),
    ({"class_name": "__typespec__", "module": "evil", "spec_name": "Dense", "config": []}, ""),
]


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
@pytest.mark.parametrize("layer", HOSTILE, ids=lambda case: case[0]["class_name"])
def test_a_layer_that_is_not_one_of_keras_is_refused_before_anything_is_imported(mark, name, layer):
    def change(described):
        first_layer(described).update(layer[0])
        return described

    said = refused(changed(saved(image_network(), mark.parent / name), change))
    assert ": layer " in said
    assert layer[1] in said
    assert not mark.exists()


CODE = {"class_name": "__lambda__", "config": {"value": ["gASV", None, None]}}
CALLED = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
FETCHED = {
    "module": "keras.utils",
    "class_name": "function",
    "config": "get_file",
    "registered_name": "get_file",
}


@pytest.mark.parametrize(
    "place", ["activation", "kernel_initializer", "bias_regularizer", "kernel_constraint", "dtype"]
)
def test_functions_in_any_place_of_a_layer_are_refused(mark, place):
    for held in (CODE, CALLED, FETCHED):

        def change(described, held=held):
            first_layer(described)["config"][place] = held
            return described

        assert "layer conv " in refused(changed(saved(image_network(), mark.parent / "net.keras"), change))


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_a_lambda_in_a_file_is_refused_and_never_run(mark, name):
    evil = layers().Lambda(lambda x: (Path("MARK").touch(), x)[1], name="evil")
    model = sequence(layers().Dense(2), evil)
    file = saved(model, mark.parent / name)
    mark.unlink(missing_ok=True)  # it ran when the network was built
    assert "layer evil (Lambda) runs code or reads files" in refused(file)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_a_layer_that_is_larger_than_its_file_is_refused_before_memory_is_taken(mark, name):
    def change(described):
        described["config"]["layers"][-1]["config"]["units"] = 10**12
        return described

    assert "declares" in refused(changed(saved(image_network(), mark.parent / name), change))
    with backend.keras3().StatelessScope():
        pass
    assert read_network(saved(image_network(), mark.parent / f"whole{name}")).difference < 1e-5


@pytest.mark.parametrize("kind", ["external link", "huge"])
def test_weights_are_read_from_the_file_itself_and_no_more_than_it_can_hold(mark, kind):
    file = saved(image_network(), mark.parent / "net.h5")
    other = saved(image_network(), mark.parent / "other.h5")
    with h5py.File(file, "a") as content:
        name = next(each for each in _datasets(content) if each.endswith("kernel"))
        del content[name]
        if kind == "huge":
            content.create_dataset(name, (10**12, 3), "f4", chunks=(1000, 3))
        else:
            content[name] = h5py.ExternalLink(other.name, name)
    assert ("bytes of numbers" if kind == "huge" else "leads to another file or place") in refused(file)


def _datasets(content):
    found = []
    content.visititems(lambda name, held: found.append(name) if isinstance(held, h5py.Dataset) else None)
    return found


def test_what_a_network_was_compiled_with_is_not_made(mark):
    def change(described):
        described["compile_config"] = {"optimizer": CODE, "loss": CALLED, "metrics": [FETCHED]}
        return described

    model = image_network()
    file = changed(saved(model, mark.parent / "net.keras"), change)
    x = np.ones((2, 28, 28, 1), np.float32)
    np.testing.assert_allclose(read_network(file).build()(x), model(x), atol=1e-6)


def test_a_folder_that_keras_3_exported_is_refused_in_words(tmp_path):
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "saved_model.pb").write_bytes(b"")
    assert "holds operations without the layers of Keras, as Keras 3" in refused(tmp_path / "exported")


# Functions

MINE = """
import keras
from keras import layers
import numpy as np

SHARED = []


def images(spec, units=8, **settings):
    inputs = keras.Input(spec.shape)
    x = layers.Conv2D(4, 3, strides=2, activation="hard_silu")(inputs)
    x = layers.BatchNormalization()(x) * 0.5
    x = layers.Flatten()(x)
    x = layers.Dropout(0.1)(layers.Dense(units, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(spec.classes, **settings)(x))


def renamed(spec):
    return images(spec)


def doubled(spec):
    inputs = keras.Input(spec.shape)
    return keras.Model(inputs, images(spec)(inputs) * 2.0)


def odd(spec):
    return keras.Sequential([keras.Input(spec.shape), layers.Flatten(), layers.RMSNormalization(name="odd")])


def wrong(spec):
    return images(spec, units=4, activation="sigmoid")


def shared(spec):
    if not SHARED:
        SHARED.append(images(spec))
    return SHARED[0]
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Make overrides for functions of ``mine.py``, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(MINE)
    yield lambda name: ["model=custom", f"model.factory=mine:{name}"]
    sys.modules.pop("mine", None)


def test_a_function_may_return_a_network_of_keras_3(composed, mine):
    option = composed(*mine("images")).model
    network = option.build(IMAGES)
    assert isinstance(network, backend.keras().Model)
    assert [each.name for each in network.layers if each.weights] == [
        *("conv2d", "batch_normalization", "dense", "dense_1")
    ]
    assert option.difference < 1e-5
    assert [each.name for each in option.build(IMAGES).layers] == [each.name for each in network.layers]
    assert [each.name for each in option.original(IMAGES).layers if each.weights] == [
        *("conv2d", "batch_normalization", "dense", "dense_1")
    ]


def test_a_function_whose_network_cannot_be_used_is_refused_with_the_key(composed, mine):
    cases = [
        ("odd", r"^model\.factory=mine:odd: layer odd \(RMSNormalization\) is not in Keras 2\. Leave it out"),
        ("wrong", r"^model\.factory=mine:wrong: it ends with a sigmoid over 10 outputs"),
    ]
    for name, said in cases:
        with pytest.raises(ConfigError, match=said):
            composed(*mine(name)).model.build(IMAGES)
    backend.keras().mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        with pytest.raises(
            ConfigError, match=r"^device\.precision=mixed_bfloat16: a network of Keras 3 is train"
        ):
            composed(*mine("images")).model.build(IMAGES)
    finally:
        backend.keras().mixed_precision.set_global_policy("float32")


@pytest.mark.run
def test_what_identifies_a_network_of_keras_3_is_the_network(composed, mine):
    def identity(*overrides):
        return composed(*mine(overrides[0]), *overrides[1:]).model.identity(IMAGES)

    flat = identity("images")
    assert identity("images") == flat
    assert identity("renamed") == flat
    assert json.loads(json.dumps(flat)) == flat
    others = [identity("images", "model.arguments={units:9}"), identity("doubled", "model.output=logits")]
    assert len({json.dumps(each) for each in [flat, *others]}) == 3


def test_equal_seeds_give_equal_networks(composed, mine):
    option = composed(*mine("images")).model
    built = []
    for seed in (1, 1, 2):
        backend.set_seed(seed)
        built.append(option.build(IMAGES).get_weights())
    assert all(np.array_equal(one, other) for one, other in zip(built[0], built[1], strict=True))
    assert not np.array_equal(built[0][0], built[2][0])


# What is given back


def pruned(weights):
    """Half of each kernel at zero, the rest moved."""
    return [np.where(np.arange(each.size).reshape(each.shape) % 2, each * 1.5, 0) for each in weights]


@pytest.mark.parametrize("build", [pytest.param(text_network, marks=pytest.mark.run), image_network])
def test_pruned_weights_are_given_back_as_a_file_of_keras_3(tmp_path, build):
    model = build()
    before = [np.asarray(each).copy() for each in model.weights]
    both = converted(model)
    weights = pruned(both.model.get_weights())
    difference = written_back(weights, model, tmp_path / "pruned.keras")
    assert difference < 1e-5
    read = backend.keras3().saving.load_model(tmp_path / "pruned.keras")
    assert sum(np.count_nonzero(each) for each in read.get_weights()) == sum(map(np.count_nonzero, weights))
    both.model.set_weights(weights)
    shape = (4, 12) if build is text_network else (4, 28, 28, 1)
    x = np.random.default_rng(0).integers(0, 9, shape)
    np.testing.assert_allclose(read(x), both.model(x), atol=1e-5)
    for one, other in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.run
def test_gates_that_were_scaled_are_scaled_back_and_zeros_are_kept(tmp_path):
    model = sequence(layers().LSTM(3, recurrent_activation="hard_sigmoid"), layers().Dense(2), shape=(5, 3))
    weights = pruned(converted(model).model.get_weights())
    assert written_back(weights, model, tmp_path / "pruned.keras") < 1e-5
    read = backend.keras3().saving.load_model(tmp_path / "pruned.keras")
    kernel = np.asarray(read.weights[0])
    assert np.array_equal(kernel == 0, weights[0] == 0)
    np.testing.assert_allclose(kernel[:, 6:9], weights[0][:, 6:9])  # the candidate
    np.testing.assert_allclose(kernel[:, :6], weights[0][:, :6] * 1.2, rtol=1e-6)


@pytest.mark.run
def test_a_run_gives_back_what_came_also_where_its_stages_are_reused(composed, tmp_path, mine):
    overrides = [*QUICK, *mine("images"), "schedule.final_sparsity=0.7"]
    run(composed, tmp_path / "run", *overrides)
    again = run(composed, tmp_path / "again", *overrides, "sharing.values=3")
    assert again.stages["pruned"].reused
    read = backend.keras3().saving.load_model(tmp_path / "again" / "shared.keras")
    kernels = [np.asarray(each) for each in read.weights if each.name == "kernel"]
    assert [np.unique(each[each != 0]).size for each in kernels] == [3, 3, 3]
    for file in [tmp_path / folder / "pruned.keras" for folder in ("run", "again")]:
        with zipfile.ZipFile(file) as held:
            assert b"pruneflow" not in held.read("config.json")  # it is read without pruneflow
        read = backend.keras3().saving.load_model(file)
        kernels = [np.asarray(each) for each in read.weights if each.name == "kernel"]
        assert [(each == 0).mean() for each in kernels] == pytest.approx([0.7] * 3, abs=0.05)


@pytest.mark.run
def test_a_file_of_keras_3_is_pruned_from_its_weights_and_given_back(composed, tmp_path):
    file = saved(image_network(), tmp_path / "came.keras")
    overrides = [*QUICK, "model=keras_file", f"model.path={file}", "trainer.dense_epochs=0"]
    result = run(composed, tmp_path / "run", *overrides)
    assert result.dense.accuracy is not None  # it came trained
    read = backend.keras3().saving.load_model(tmp_path / "run" / "pruned.keras")
    kernel = np.asarray(read.get_layer("conv").kernel)
    assert (kernel == 0).mean() == pytest.approx(0.8, abs=0.05)


@pytest.mark.run
@pytest.mark.parametrize("pixels", ["[0,1]", "[0,255]"])
def test_a_network_of_keras_3_is_given_back_as_small_as_it_was_cut(composed, tmp_path, pixels):
    file = saved(image_network(), tmp_path / "came.keras")
    overrides = [*QUICK, "model=keras_file", f"model.path={file}", f"model.pixels={pixels}"]
    cut = ["structure=channel", "schedule.final_sparsity=0.5", "trainer.dense_epochs=0"]
    result = run(composed, tmp_path / "run", *overrides, *cut)
    kept = {each.name.split("/")[-1]: each.kept for each in result.pruned.channels.groups}
    read = backend.keras3().saving.load_model(tmp_path / "run" / "pruned.keras")
    assert read.get_layer("conv").filters == kept["conv"]
    assert read.count_params() == result.pruned.channels.parameters[1]
