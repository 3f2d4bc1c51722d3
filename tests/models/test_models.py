"""The networks: what each option builds, for which data, what becomes of it in a file, what is refused."""

import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
from conftest import QUICK, QUICK_LSTM
from support import ROOT

from pruneflow.datasets.base import Dataset
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.exports.exporters import DynamicRange, Float, Int8
from pruneflow.exports.runner import Runner
from pruneflow.exports.tflite import parse
from pruneflow.exports.zeros import trace
from pruneflow.flow import pipeline
from pruneflow.models.options import Gru, Lstm, Mlp, Mobilenet, Resnet8
from pruneflow.models.tasks import Classification, task_of
from pruneflow.runtime import backend
from pruneflow.sparsity import kernels
from pruneflow.sparsity.selected_layers import Pruning

EXPORTS = {
    "float": Float(name="float"),
    "dynamic-range": DynamicRange(name="dynamic-range"),
    "int8": Int8(name="int8", calibration_samples=32),
}
IMAGES = Spec("image", (28, 28, 1), 10)
NUMBERS = Spec("numbers", (6,), 3)
TOKENS = Spec("tokens", (12,), 3, 70)


class Given(Dataset):
    """Examples that are there already: three classes that can be read off numbers, or off one token."""

    option_name, kind = "given", None

    def __init__(self, spec):
        super().__init__(name=str(spec))  # data are loaded once for each representation
        self.spec = spec

    def load(self):
        parts = [self._part(seed, count) for seed, count in ((0, 400), (1, 40), (2, 100))]
        return Data("given", self.spec, *parts, digest=f"given {self.spec}")

    def _part(self, seed, count):
        rng = np.random.default_rng(seed)
        y = np.arange(count, dtype=np.int64) % self.spec.classes
        if self.spec.kind == "tokens":
            x = rng.integers(10, self.spec.vocabulary_size, (count, *self.spec.shape)).astype(np.int32)
            x[:, -1] = 3 + y
        else:
            x = rng.normal(size=(count, *self.spec.shape)).astype(np.float32)
            x[np.arange(count), y] += 4
        return Part(x, y)


def run(composed, folder, *overrides, spec=None):
    folder.mkdir(exist_ok=True)
    config = composed(*QUICK, *overrides)
    if spec:
        config = replace(config, dataset=Given(spec))
    return pipeline.run(config, pipeline.prepare(config), folder, command="test")


def mlp(**changes):
    settings = {"hidden_units": [8], "activation": "relu", "batch_normalization": False, "dropout": 0.0}
    return Mlp(name="mlp", output_activation="linear", **{**settings, **changes})


def recurrent(kind=Gru, **changes):
    settings = {"embedding_dim": 8, "units": 32, "bidirectional": False, "embedding_dropout": 0.0}
    return kind(name="net", dropout=0.0, **{**settings, **changes})


def mobilenet(**changes):
    settings = {"alpha": 0.1, "weights": None, "batch_normalization_momentum": 0.9, "dropout": 0.0}
    return Mobilenet(name="mobilenet", output_activation="linear", **{**settings, **changes})


def seeded(model, spec, seed=3):
    backend.keras().utils.set_random_seed(seed)
    return model.build(spec)


def examples(spec, count=32):
    rng = np.random.default_rng(4)
    if spec.kind == "tokens":
        return rng.integers(0, spec.vocabulary_size, (count, *spec.shape)).astype(np.int32)
    if spec.kind == "image":
        return rng.integers(0, 256, (count, *spec.shape)).astype(np.uint8)
    return rng.normal(size=(count, *spec.shape)).astype(np.float32)


def masked(model, sparsity=0.8):
    """Mask the smallest of every weight that can be pruned; the masks."""
    found = Pruning(include=["*"], skip=[], engine="pruneflow").select(model)
    masks = {}
    for prunable in found.prunables:
        layer, _, weight = prunable.name.rpartition("/")
        for variable in model.get_layer(layer).weights:
            if variable.name.split("/")[-1] == f"{weight}:0":
                values = variable.numpy()
                masks[prunable.name] = np.abs(values) > np.quantile(np.abs(values), sparsity)
                variable.assign(values * masks[prunable.name])
    assert len(masks) == len(found.prunables)
    return masks


def file_of(model, spec, kind):
    return EXPORTS[kind].convert(model, spec, examples(spec))


def outputs_of(content, spec):
    return Runner(content).outputs(spec.model_input(examples(spec)))


def keras_outputs(model, spec):
    return np.asarray(model(spec.model_input(examples(spec)), training=False))


def assert_zeros_found(content, model, masks):
    traced = trace(parse(content, "the file"), kernels.weights(model), masks)
    assert {each.name for each in traced if each.tensors} == set(masks)
    assert [(each.violated, each.masked) for each in traced] == [
        (0, int((masks[each.name] == 0).sum())) for each in traced
    ]


# mlp


@pytest.mark.parametrize(
    ("model", "spec", "parameters"),
    [
        (mlp(), NUMBERS, 6 * 8 + 8 + 8 * 3 + 3),
        (mlp(hidden_units=[]), NUMBERS, 6 * 3 + 3),
        (mlp(hidden_units=[8, 5]), IMAGES, 784 * 8 + 8 + 8 * 5 + 5 + 5 * 10 + 10),
        (mlp(batch_normalization=True, dropout=0.5), NUMBERS, 6 * 8 + 8 + 4 * 8 + 8 * 3 + 3),
        (recurrent(), TOKENS, 70 * 8 + 3 * 32 * (8 + 32 + 2) + 32 * 3 + 3),
        (recurrent(bidirectional=True), TOKENS, 70 * 8 + 2 * 3 * 32 * (8 + 32 + 2) + 64 * 3 + 3),
        (recurrent(Lstm), TOKENS, 70 * 8 + 4 * 32 * (8 + 32 + 1) + 32 * 3 + 3),
        (recurrent(Lstm), replace(TOKENS, classes=2), 70 * 8 + 4 * 32 * (8 + 32 + 1) + 32 + 1),
    ],
)
def test_a_network_has_the_parameters_that_its_settings_say(model, spec, parameters):
    assert model.build(spec).count_params() == parameters


@pytest.mark.parametrize("kind", EXPORTS)
def test_batch_normalization_of_an_mlp_is_folded_and_its_zeros_are_found(kind):
    model = seeded(mlp(hidden_units=[32, 16], batch_normalization=True), NUMBERS)
    normalize(model)
    masks = masked(model)
    content = file_of(model, NUMBERS, kind)
    assert set(parse(content, "file").op_counts) <= {"FULLY_CONNECTED", "QUANTIZE", "DEQUANTIZE"}
    assert_zeros_found(content, model, masks)
    np.testing.assert_allclose(
        outputs_of(content, NUMBERS), keras_outputs(model, NUMBERS), atol={"float": 1e-5}.get(kind, 0.2)
    )


ALL = ["float", "dynamic-range", "int8"]


def normalize(model):
    """Give batch normalization averages and factors that are not 0 and 1."""
    rng = np.random.default_rng(7)
    for layer in model.layers:
        if isinstance(layer, backend.keras().layers.BatchNormalization):
            size = layer.gamma.shape
            layer.set_weights([rng.uniform(0.5, 2, size), *rng.normal(0, 0.3, (2, *size)), np.ones(size)])


@pytest.mark.run
@pytest.mark.parametrize(
    ("overrides", "spec", "kinds"),
    [
        (["model=mlp", "model.hidden_units=[16]", "model.batch_normalization=true"], NUMBERS, ALL),
        (["model=mlp", "model.hidden_units=[16]", "model.output_activation=softmax"], None, ALL),
        (["model=lstm", "dataset=imdb", "model.units=8", "model.embedding_dim=8"], TOKENS, ALL),
        (["model=lstm", "dataset=imdb", "model.units=8", "model.output=logits"], TOKENS, ["int8"]),
    ],
    ids=["numbers", "images", "three classes", "logits"],
)
def test_a_network_goes_through_to_its_files(composed, tmp_path, overrides, spec, kinds):
    export = "all" if kinds == ALL else kinds[0]
    result = run(composed, tmp_path, *overrides, *learning(0.03), f"export={export}", spec=spec)
    assert_whole(result, kinds)


def learning(rate):
    return [
        "trainer.dense_epochs=4",
        f"trainer.learning_rate={rate}",
        f"trainer.dense_learning_rate={rate}",
    ]


def assert_whole(result, kinds):
    """That a run learned, reached its sparsity, and proved every zero in every file."""
    assert result.dense.accuracy >= 0.9
    assert result.pruned.accuracy >= 0.8
    assert all(layer.masked == layer.expected for layer in result.pruned.layers)
    assert [file.kind for file in result.tflite] == kinds
    for file in result.tflite:
        assert file.agreement >= 0.95
        assert file.inside.not_found == []
        assert file.inside.masked == sum(layer.masked for layer in result.pruned.layers)


# lstm and gru


@pytest.mark.long
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_gru_goes_through_to_a_loop(sharing, tmp_path, bidirectional):
    overrides = ["model=gru", "dataset=imdb", *QUICK_LSTM, f"model.bidirectional={bidirectional}"]
    for kind in ("float", "dynamic-range"):
        result = run(sharing, tmp_path / kind, *overrides, f"export={kind}")
        assert_whole(result, [kind])
        assert result.tflite[0].max_difference <= {"float": 1e-6}.get(kind, 0.1)
        ops = result.tflite[0].inside.ops
        assert (ops["WHILE"], result.tflite[0].inside.stateful) == (1 + bidirectional, False)


@pytest.mark.run
def test_large_matrices_of_the_loop_are_int8_in_a_dynamic_range_file_and_small_ones_are_not():
    weights = parse(file_of(seeded(recurrent(units=32), TOKENS), TOKENS, "dynamic-range"), "f").weights
    found = {weight.shape: weight.dtype for weight in weights if weight.subgraph > 0}
    assert found == {(96, 32): "int8", (96, 8): "float32"}


@pytest.mark.parametrize(("classes", "output"), [(2, "logits"), (3, "logits"), (3, "probabilities")])
def test_a_recurrent_network_says_what_it_gives(classes, output):
    spec = replace(TOKENS, classes=classes)
    model = recurrent(output=output).build(spec)
    task = Classification(units=1 if classes == 2 else 3, from_logits=output == "logits")
    assert task_of(model, spec) == task


def test_int8_of_a_gru_is_refused_before_tensorflow_crashes(composed):
    for export in ("int8", "all"):
        with pytest.raises(ConfigError, match=rf"export={export}: TFLite has a GRU as a loop, and the conv"):
            composed("model=gru", "dataset=imdb", f"export={export}")


def test_an_lstm_for_two_classes_is_identified_as_before_there_was_a_choice():
    settings = {"embedding_dim": 8, "units": 32, "bidirectional": False, "embedding_dropout": 0.0}
    assert recurrent(Lstm).identity(TOKENS) == {"option": "lstm", **settings, "dropout": 0.0}
    assert recurrent(Lstm, output="logits").identity(TOKENS)["output"] == "logits"


# mobilenet


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "shape", "padded"),
    [
        ("dynamic-range", (28, 28, 1), 32),
        ("int8", (40, 33, 3), 40),
        ("float", (20, 48, 3), 32),
    ],
)
def test_batch_normalization_of_a_mobilenet_is_folded_and_its_zeros_are_found(kind, shape, padded):
    spec = replace(IMAGES, shape=shape)
    model = seeded(mobilenet(), spec)
    normalize(model)
    assert model.get_layer("rescaling").input_shape == (None, padded, max(32, shape[1]), 3)
    masks = masked(model)
    assert len(masks) == 36  # 35 convolutions of 3 x 3 and 1 x 1, and the classifier
    content = file_of(model, spec, kind)
    assert parse(content, "file").op_counts["DEPTHWISE_CONV_2D"] == 17
    assert parse(content, "file").op_counts["MUL"] == 1  # rescaling
    assert_zeros_found(content, model, masks)
    expected = keras_outputs(model, spec)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(outputs_of(content, spec), expected, atol={"float": 1e-5}.get(kind, 0.1))


@pytest.mark.run
def test_a_mobilenet_reads_black_as_minus_one_and_white_as_one_in_the_margin_too():
    model = mobilenet().build(replace(IMAGES, shape=(4, 4, 1)))
    looked = backend.keras().Model(model.input, model.get_layer("rescaling").output)
    seen = looked(np.ones((1, 4, 4, 1), np.float32)).numpy()[0]
    assert seen.shape == (32, 32, 3)
    assert (seen[14:18, 14:18] == 1).all()
    assert (seen == 1).sum() == 4 * 4 * 3
    assert set(np.unique(seen)) == {-1, 1}


@pytest.mark.long
def test_a_mobilenet_goes_through(composed, tmp_path):
    settings = ["model.alpha=0.1", "model.batch_normalization_momentum=0.5", "structure=block_4x1"]
    settings += ["trainer.dense_epochs=0", "trainer.epochs=1"]  # it is large
    result = run(composed, tmp_path, "model=mobilenet", *settings)
    (file,) = result.tflite
    assert (file.agreement, file.inside.not_found) == (1.0, [])
    assert file.inside.masked == sum(layer.masked for layer in result.pruned.layers) > 10_000
    left = result.pruned.not_pruned
    assert left["block_1_depthwise"] == "no weight of DepthwiseConv2D is pruned"
    assert left["bn_Conv1"] == "no weight of BatchNormalization is pruned"
    momenta = {
        layer.momentum
        for layer in backend.keras().models.load_model(tmp_path / "pruned.h5", compile=False).layers
        if isinstance(layer, backend.keras().layers.BatchNormalization)
    }
    assert momenta == {0.5}


@pytest.mark.run
def test_weights_of_a_mobilenet_come_from_a_file_that_fits(tmp_path):
    keras, file = backend.keras(), tmp_path / "no_top.h5"
    published = keras.applications.MobileNetV2(
        input_shape=(96, 96, 3), alpha=0.1, include_top=False, weights=None
    )
    published.save_weights(file)
    model = mobilenet(weights=str(file)).build(IMAGES)
    np.testing.assert_array_equal(
        model.get_layer("block_3_expand").kernel, published.get_layer("block_3_expand").kernel
    )
    drawn, loaded = mobilenet().identity(IMAGES), mobilenet(weights=str(file)).identity(IMAGES)
    assert (drawn["weights"], len(loaded["weights"])) == (None, 64)
    file.rename(tmp_path / "moved.h5")
    assert mobilenet(weights=str(tmp_path / "moved.h5")).identity(IMAGES) == loaded


@pytest.mark.run
def test_weights_that_do_not_fit_a_mobilenet_are_refused(tmp_path):
    file = tmp_path / "weights.h5"
    answer = (
        r"model\.weights=\S+: it does not fit MobileNetV2 without its classifier at model\.alpha=0\.5: .+"
    )
    seeded(mobilenet(), IMAGES).save_weights(file)  # with a classifier, and of another width
    with pytest.raises(ConfigError, match=answer):
        mobilenet(alpha=0.5, weights=str(file)).build(IMAGES)
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match=answer):
        mobilenet(alpha=0.5, weights=str(file)).build(IMAGES)
    with pytest.raises(PruneflowError, match=r"nowhere\.h5: no such file\. model\.weights takes an HDF5"):
        mobilenet(weights=str(tmp_path / "nowhere.h5")).check(IMAGES)
    with pytest.raises(ConfigError, match="1 or 3 channels, and those of the data set have 4"):
        mobilenet().check(replace(IMAGES, shape=(32, 32, 4)))


# resnet8

CIFAR10 = Spec("image", (32, 32, 3), 10)


def resnet8(filters=(16, 32, 64)):
    return Resnet8(name="resnet8", filters=list(filters), output_activation="linear")


@pytest.mark.run
def test_resnet8_has_the_shape_and_the_weights_of_mlperf_tiny():
    model = resnet8().build(CIFAR10)
    assert model.count_params() == 78_666
    sides = {name: model.get_layer(name).output_shape[1:] for name in ("stem_relu", "block1_add")}
    assert sides == {"stem_relu": (32, 32, 16), "block1_add": (32, 32, 16)}
    assert model.get_layer("block2_add").output_shape[1:] == (16, 16, 32)
    assert model.get_layer("block3_add").output_shape[1:] == (8, 8, 64)
    kernels = {layer.name: layer.kernel_size for layer in model.layers if hasattr(layer, "kernel_size")}
    assert [name for name, size in kernels.items() if size == (1, 1)] == [
        "block2_shortcut",
        "block3_shortcut",
    ]
    assert len(kernels) == 9 and model.output_shape == (None, 10)


@pytest.mark.run
def test_without_its_convolutions_a_block_is_its_shortcut():
    """Where nothing changes in size that is what came in; else a convolution of each second pixel."""
    keras, model = backend.keras(), seeded(resnet8((2, 3)), replace(CIFAR10, shape=(6, 6, 1)))
    for name in ("block1_2_conv", "block2_2_conv"):
        layer = model.get_layer(name)
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    wanted = ["stem_relu", "block1_relu2", "block2_relu2"]
    x = np.random.default_rng(0).random((2, 6, 6, 1)).astype(np.float32)
    stem, first, second = keras.Model(model.input, [model.get_layer(name).output for name in wanted])(x)
    assert np.ptp(stem) > 0
    np.testing.assert_array_equal(stem, first)
    kernel = model.get_layer("block2_shortcut").kernel.numpy()[0, 0]
    np.testing.assert_allclose(second, np.maximum(first.numpy()[:, ::2, ::2] @ kernel, 0), atol=1e-6)


def test_resnet8_takes_images_that_each_stack_can_halve():
    for shape in ((4, 4, 1), (5, 7, 13), (96, 40, 3)):
        resnet8().check(replace(CIFAR10, shape=shape))
        assert resnet8((2, 2, 2)).build(replace(CIFAR10, shape=shape)).output_shape == (None, 10)
    with pytest.raises(ConfigError, match=r"3 stacks need images of 4x4 pixels or more, .* have 3x9"):
        resnet8().check(replace(CIFAR10, shape=(3, 9, 1)))


@pytest.mark.long
@pytest.mark.parametrize("kind", EXPORTS)
def test_batch_normalization_of_a_resnet8_is_folded_and_its_zeros_are_found(kind):
    model = seeded(resnet8(), CIFAR10)
    normalize(model)
    masks = masked(model)
    assert len(masks) == 10
    content = file_of(model, CIFAR10, kind)
    counts = parse(content, "file").op_counts
    assert (counts["CONV_2D"], counts["ADD"], counts["FULLY_CONNECTED"]) == (9, 3, 1)
    assert "MUL" not in counts
    assert_zeros_found(content, model, masks)
    expected = keras_outputs(model, CIFAR10)
    assert np.ptp(expected) > 0.1
    bound = {"float": 1e-5}.get(kind, 0.1 * np.ptp(expected))
    np.testing.assert_allclose(outputs_of(content, CIFAR10), expected, atol=bound)


# All of them

OTHER = {
    "mlp": {
        "model.hidden_units": "[7]",
        "model.activation": "tanh",
        "model.batch_normalization": "true",
        "model.dropout": "0.5",
        "model.output_activation": "softmax",
    },
    "gru": {
        "model.embedding_dim": "7",
        "model.units": "7",
        "model.bidirectional": "true",
        "model.embedding_dropout": "0.1",
        "model.dropout": "0.1",
        "model.output": "logits",
    },
    "mobilenet": {
        "model.alpha": "0.5",
        "model.weights": "mine.h5",
        "model.batch_normalization_momentum": "0.5",
        "model.dropout": "0.5",
        "model.output_activation": "softmax",
    },
    "resnet8": {"model.filters": "[8,8]", "model.output_activation": "softmax"},
}
OTHER["lstm"] = OTHER["gru"]


@pytest.mark.run
@pytest.mark.parametrize("option", OTHER)
def test_every_setting_but_the_label_is_part_of_what_identifies_a_network(composed, tmp_path, option):
    (tmp_path / "mine.h5").write_bytes(b"weights")
    data = {"gru": ["dataset=imdb"], "lstm": ["dataset=imdb"]}.get(option, [])

    def identity(*more):
        return composed(f"model={option}", *data, *more).model.identity(IMAGES)

    before = identity()
    assert identity("model.name=other") == before
    settings = {key for key in vars(composed(f"model={option}", *data).model) if key != "name"}
    assert {f"model.{key}" for key in settings} == set(OTHER[option])
    for key, value in OTHER[option].items():
        after = identity(f"{key}={value}")
        assert [name for name in before | after if before.get(name) != after.get(name)] == [key[6:]]


@pytest.mark.run
@pytest.mark.parametrize("option", ["cnn", "mlp", "lstm", "gru", "mobilenet", "resnet8"])
def test_a_network_is_built_with_equal_names_each_time(composed, option):
    kinds = {"lstm": TOKENS, "gru": TOKENS}
    data = ["dataset=imdb"] if option in kinds else []
    model = composed(f"model={option}", *data).model
    names = [[layer.name for layer in model.build(kinds.get(option, IMAGES)).layers] for _ in range(2)]
    assert names[0] == names[1]


DOCUMENTED = (ROOT / "docs" / "models.md").read_text()
COMMANDS = re.findall(r"^python -m pruneflow (.+)$", DOCUMENTED, flags=re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_on_networks_composes(composed, command):
    words = shlex.split(command)
    model = composed(*words).model
    assert f"model={model.option_name}" in words or words[0] == "experiment=cifar10_resnet8"


@pytest.mark.run
def test_the_function_on_the_page_on_networks_is_one(composed, tmp_path):
    (tmp_path / "documented.py").write_text(
        re.findall(r"```python\n# mine.py\n(.*?)```", DOCUMENTED, re.S)[0]
    )
    own = ["model=custom", "model.factory=documented:network", "model.arguments={units:64}"]
    ready = pipeline.prepare(composed(*QUICK, *own))
    assert [weight.shape for weight in ready.masks.prunables] == [(784, 64), (64, 10)]
