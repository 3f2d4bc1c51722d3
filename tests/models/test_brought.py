"""Networks that the user brings, from a function or a file: what they must be, and what identifies them."""

import json
import warnings
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import QUICK
from test_models import IMAGES, assert_whole, learning, run

from pruneflow.datasets.spec import Part
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.flow import as_came, pipeline
from pruneflow.models.tasks import declared, meaning_of
from pruneflow.runtime import backend, child
from pruneflow.sparsity.masked import mask_in_place


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    """Int8 is tried here: each child costs the seconds in which TensorFlow loads."""
    monkeypatch.setattr(child, "values_of", lambda *_: child.Outcome([], child.RAISED))


# What outputs mean


def sequence(*layers):
    return backend.keras().Sequential([backend.keras().layers.InputLayer((4,)), *layers])


def test_the_meaning_of_outputs_is_read_off_the_last_layers():
    tf, layers = backend.tensorflow(), backend.keras().layers
    dense = layers.Dense
    inputs = backend.keras().Input((4,))
    functional = [backend.keras().Model(inputs, f(dense(3)(inputs))) for f in (tf.nn.softmax, tf.sigmoid)]
    nested = backend.keras().Model(inputs, sequence(dense(3, activation="softmax"))(inputs))
    probabilities = [
        sequence(dense(3, activation="softmax")),
        sequence(dense(1, activation="sigmoid")),
        sequence(dense(3), layers.Softmax()),
        sequence(dense(3), layers.Activation("softmax")),
        sequence(dense(3), layers.Activation("softmax"), layers.Flatten(), layers.Activation("linear")),
        *functional,
        nested,
    ]
    assert {meaning_of(model) for model in probabilities} == {"probabilities"}
    assert {meaning_of(model) for model in (sequence(dense(3)), sequence(dense(3), layers.Dropout(0.5)))} == {
        "logits"
    }
    silent = [
        sequence(dense(3, activation="relu")),
        sequence(dense(3), layers.BatchNormalization()),
        sequence(dense(3), layers.Lambda(lambda x: x)),
    ]
    assert {meaning_of(model) for model in silent} == {""}
    for model in silent:
        for meaning in ("logits", "probabilities"):
            said = declared(model, meaning)
            x = np.ones((2, 4), np.float32)
            np.testing.assert_array_equal(said(x), model(x))
            assert meaning_of(backend.keras().models.clone_model(said)) == meaning


# Networks of the user's own

MINE = """
import tensorflow as tf

keras = tf.keras
layers = keras.layers
SHARED = []


def flat(spec, units=8, last="linear"):
    return keras.Sequential([
        layers.Flatten(input_shape=spec.shape),
        layers.Dense(units, activation="relu"),
        layers.Dense(spec.classes, activation=last),
    ])


def renamed(spec):
    return flat(spec)


class Doubled(layers.Layer):
    def call(self, x):
        return 2 * x


def doubled(spec):
    inputs = keras.Input(spec.shape)
    x = Doubled()(layers.Flatten()(inputs))
    return keras.Model(inputs, layers.Dense(spec.classes)(x))


def loaded(spec, value=1.0):
    model = flat(spec)
    model.layers[-1].bias.assign(value * tf.ones(spec.classes))
    return model


def softmaxed(spec):
    return keras.Sequential([flat(spec, 16), layers.Lambda(tf.nn.softmax)])


def nothing(spec):
    return None


def raising(spec):
    return spec.size


class Whole(keras.Model):
    def __init__(self, classes, width):
        super().__init__()
        self.flat, self.hidden = layers.Flatten(), layers.Dense(width, "relu", name="hidden")
        self.head = layers.Dense(classes, name="head")

    def call(self, x):
        return self.head(self.hidden(self.flat(x)))


def subclassed(spec, width=8):
    return Whole(spec.classes, width)


def fails_when_called(spec):
    return Whole(spec.classes, -1)


def unbuilt(spec):
    return keras.Sequential([layers.Flatten(), layers.Dense(spec.classes)])


def two_inputs(spec):
    inputs = [keras.Input(spec.shape), keras.Input(spec.shape)]
    return keras.Model(inputs, layers.Dense(spec.classes)(layers.Flatten()(layers.Add()(inputs))))


def two_outputs(spec):
    inputs = keras.Input(spec.shape)
    x = layers.Flatten()(inputs)
    return keras.Model(inputs, [layers.Dense(spec.classes)(x), layers.Dense(spec.classes)(x)])


def batches(spec):
    inputs = keras.Input(spec.shape, batch_size=4)
    return keras.Model(inputs, layers.Dense(spec.classes)(layers.Flatten()(inputs)))


def colours(spec):
    return flat(type(spec)(kind="image", shape=(28, 28, 3), classes=10))


def seven(spec):
    return flat(type(spec)(kind="image", shape=(28, 28, 1), classes=7))


def map_of_classes(spec):
    return keras.Sequential([keras.Input(spec.shape), layers.Conv2D(10, 3)])


def sigmoids(spec):
    return flat(spec, last="sigmoid")


def relu(spec):
    return flat(spec, last="relu")


def of_bytes(spec):
    inputs = keras.Input(spec.shape, dtype="uint8")
    return keras.Model(inputs, flat(spec)(tf.cast(inputs, "float32")))


def divided(spec):
    return keras.Sequential([keras.Input(spec.shape), layers.Rescaling(1 / 255), flat(spec)])


def shared(spec):
    if not SHARED:
        SHARED.append(flat(spec))
    return SHARED[0]


def changing(spec):
    SHARED.append(0)
    return flat(spec, units=len(SHARED))


class Unsaved(layers.Layer):
    def __init__(self, size):
        super().__init__()
        self.size = size


def unsaved(spec):
    inputs = keras.Input(spec.shape)
    return keras.Model(inputs, layers.Dense(10)(layers.Flatten()(Unsaved(object())(inputs))))


def betainc(spec):
    inputs = keras.Input(spec.shape)
    x = layers.Flatten()(inputs)
    x = layers.Lambda(lambda v: tf.math.betainc(v + 1, v + 1, 0.5 * v), name="odd")(x)
    return keras.Model(inputs, layers.Dense(spec.classes)(x))


def noisy(spec):
    inputs = keras.Input(spec.shape)
    x = layers.Lambda(lambda v: v + tf.random.normal((784,)))(layers.Flatten()(inputs))
    return keras.Model(inputs, layers.Dense(spec.classes)(x))


def rows(spec):
    inputs = keras.Input(spec.shape)
    x = layers.GRU(4)(layers.Reshape((28, 28))(inputs))
    return keras.Model(inputs, layers.Dense(spec.classes)(x))


class Mine(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None, **kwargs):
        return tf.random.normal(shape, stddev=0.05, dtype=dtype)


def elu(x):
    return tf.maximum(x, 0.3 * x)


def own_functions(spec):
    hidden = layers.Dense(8, activation=elu, kernel_initializer=Mine())
    return keras.Sequential([layers.Flatten(input_shape=spec.shape), hidden, layers.Dense(spec.classes)])


class Forgetful(layers.Dense):
    def __init__(self, units, width=None, **kwargs):
        super().__init__(units, **kwargs)
        self.width = width

    def build(self, shape):
        super().build(shape)
        self.more = self.add_weight("more", shape=(2 * self.width,))

    def get_prunable_weights(self):
        return [self.kernel]


def forgetful(spec):
    flat = layers.Flatten(input_shape=spec.shape)
    return keras.Sequential([flat, Forgetful(8, width=4), layers.Dense(spec.classes)])


def in_a_dict(spec):
    inputs = keras.Input(spec.shape)
    return keras.Model(inputs, {"o": layers.Dense(spec.classes)(layers.Flatten()(inputs))})


def from_a_dict(spec):
    inputs = keras.Input(spec.shape)
    return keras.Model({"i": inputs}, layers.Dense(spec.classes)(layers.Flatten()(inputs)))


def wrapped(spec):
    from tensorflow_model_optimization.sparsity import keras as sparsity

    return sparsity.prune_low_magnitude(flat(spec))


def quantized(spec):
    from tensorflow_model_optimization.quantization.keras import quantize_model

    return quantize_model(flat(spec))


def words(spec):
    inputs = keras.Input((None,))
    x = layers.Embedding(60, 8)(inputs)
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(layers.LSTM(8)(x)))
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module in the current folder, imported anew in each test."""
    import sys

    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    yield lambda name: ["model=custom", f"model.factory=mine:{name}"]
    sys.modules.pop("mine", None)


@pytest.mark.run
@pytest.mark.parametrize(
    "overrides",
    [
        ["flat", "model.arguments={units:16}", "export=all"],
        ["softmaxed", "model.output=probabilities", "export=int8"],
        ["subclassed", "model.output=logits", "model.arguments={width:32}", "export=all"],
        ["unsaved", "export=int8"],
        ["forgetful", "export=int8"],
    ],
    ids=lambda words: words[0],
)
def test_a_network_of_ones_own_goes_through_to_its_files(composed, tmp_path, mine, overrides):
    name, *more, export = overrides
    result = run(composed, tmp_path / "run", *mine(name), *more, *learning(0.01), export)
    assert_whole(result, ["float", "dynamic-range", "int8"] if export == "export=all" else ["int8"])
    names = [layer.name for layer in result.pruned.layers]
    assert (
        names
        == {
            "flat": ["dense", "dense_1"],
            "softmaxed": ["sequential/dense", "sequential/dense_1"],
            "subclassed": ["whole/hidden", "whole/head"],
            "unsaved": ["dense"],
            "forgetful": ["forgetful", "dense"],
        }[name]
    )


def test_initializers_and_activations_of_ones_own_need_not_be_known_to_keras(composed, mine):
    config, ready = prepared(composed, *QUICK, *mine("own_functions"))
    assert ready.selection.pruned == ("dense", "dense_1")
    model = config.model.build(IMAGES)
    x = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    before = model(x).numpy()
    np.testing.assert_array_equal(mask_in_place(model, ready.masks).model(x), before)


@pytest.mark.run
@pytest.mark.parametrize(
    ("overrides", "answer"),
    [
        (["none_such"], "the module mine has no none_such"),
        (["raising"], r"raising\(Spec\(.+\)\) raised AttributeError: .+ line \d+\)"),
        (["flat", "model.arguments={size:3}"], r"flat\(Spec\(.+\), size=3\) raised TypeError"),
        (["nothing"], r"model\.factory=mine:nothing: it is no network, but NoneType\. It must be a built"),
        (["fails_when_called"], "it cannot be called on examples of shape|raised ValueError"),
        (["unbuilt"], "it is not built: its input is not known"),
        (["two_inputs"], "it has 2 inputs"),
        (["two_outputs"], "it has 2 outputs"),
        (["batches"], "it is made for batches of 4"),
        (
            ["colours"],
            r"it reads examples of shape \(28, 28, 3\), and those of the data set have \(28, 28, 1\)",
        ),
        (["in_a_dict"], "its output lies in a dict. Connect it by the tensors themselves"),
        (["from_a_dict"], "its input lies in a dict. Connect it by the tensors themselves"),
        (
            ["wrapped"],
            r"wrapped by tfmot \(PruneLowMagnitude\)\. Take them off first: tfmot\.sparsity\.keras\.s",
        ),
        (["quantized"], r"wrapped by tfmot \(QuantizeWrapper\)\. Take the network as it was before"),
        (["seven"], r"it gives \(7\) for an example, and the data set has 10 classes\. .+ have 10 units"),
        (["map_of_classes"], r"it gives \(26, 26, 10\) for an example"),
        (["sigmoids"], "it ends with a sigmoid over 10 outputs, which are no probabilities of classes"),
        (["relu"], r"model\.output=auto: the last layer of the network, dense_1, does not say"),
        (["flat", "model.output=probabilities"], "the network ends with linear, which gives logits"),
        (["of_bytes"], r"it reads uint8, and the data set gives pixels in \[0, 1\] as float32"),
        (["divided"], "it begins with the layer rescaling, which reads pixels that lie in another range"),
        (["shared"], "it gives one and the same network at each call"),
        (["changing"], "it gives another network at each call"),
        (
            ["betainc"],
            "export=float: the network cannot be exported: TFLite has no operation for Betainc, in odd",
        ),
        (["noisy"], "the file that it is converted to gives other outputs than Keras, by up to"),
        (["rows", "export=int8"], "export=int8: .+ the file has a loop, as of a GRU"),
        (
            ["words", "dataset=imdb", "dataset.vocabulary_size=70"],
            r"embedding has 60 rows, and the data set 70 token ids\. Set dataset\.vocabulary_size=60",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_network_that_cannot_be_used_is_refused_before_it_is_trained(
    composed, mine, overrides, answer, capfd
):
    name, *more = overrides
    with pytest.raises(PruneflowError, match=answer):
        pipeline.prepare(composed(*QUICK, *mine(name), *more))
    assert capfd.readouterr().err == ""


@pytest.mark.run
def test_tokens_of_any_length_fit_a_network_that_reads_any_length(composed, tmp_path, mine):
    overrides = ["dataset=imdb", "dataset.vocabulary_size=60", "dataset.length=12", *learning(0.05)]
    result = run(composed, tmp_path / "run", *mine("words"), *overrides)
    assert_whole(result, ["float"])


@pytest.mark.run
def test_what_identifies_a_network_is_the_network(composed, tmp_path, mine, monkeypatch):
    import sys

    def identity(*overrides):
        return composed(*mine(overrides[0]), *overrides[1:]).model.identity(IMAGES)

    flat = identity("flat")
    assert identity("renamed") == flat
    assert identity("flat", "model.name=other") == flat
    assert identity("flat", "model.arguments={units:8}") == flat  # which is what it is already
    assert json.loads(json.dumps(flat)) == flat
    others = [
        identity("flat", "model.arguments={units:9}"),
        identity("flat", "model.trained=true"),
        identity("loaded"),
        identity("loaded", "model.arguments={value:2.0}"),
        identity("doubled"),
    ]
    monkeypatch.delitem(sys.modules, "mine")
    (tmp_path / "mine.py").write_text(MINE.replace("return 2 * x", "return 3 * x"))
    others.append(identity("doubled"))
    assert len({json.dumps(each) for each in [flat, *others]}) == 7


# Networks from files


def trained():
    """A network that tells the rows apart which are lit in the tiny images, but for the last class."""
    keras = backend.keras()
    keras.utils.set_random_seed(1)
    layers = [
        keras.layers.Flatten(input_shape=(28, 28, 1), name="flatten"),
        keras.layers.Dense(10, activation="softmax", name="dense"),
    ]
    model = keras.Sequential(layers, name="network")
    kernel = np.zeros((28, 28, 10), np.float32)
    for label in range(9):
        kernel[2 * label + 2 : 2 * label + 6, 4:24, label] = 1
    model.get_layer("dense").set_weights([kernel.reshape(784, 10), np.zeros(10, np.float32)])
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The network as a file of each kind."""
    folder, model = tmp_path_factory.mktemp("saved"), trained()
    model.compile("adam", "mse")  # which is not read
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("network.keras", "network.h5", "network"):
            model.save(folder / name)
        model.save_weights(folder / "weights.h5")
        shrinking = backend.keras().Sequential(
            [backend.keras().layers.Rescaling(1 / 255, input_shape=(28, 28, 1)), model], name="shrinking"
        )
        shrinking.save(folder / "shrinking.h5")
    return folder


def from_file(path, *more):
    words = [word for word in QUICK if "dense_epochs" not in word]
    return [*words, "model=keras_file", f"model.path={path}", *more]


def prepared(composed, *overrides):
    config = composed(*overrides)
    return config, pipeline.prepare(config)


@pytest.mark.run
@pytest.mark.parametrize("name", ["network.keras", "network.h5", "network"])
def test_a_trained_network_from_a_file_skips_the_dense_phase(composed, saved, tmp_path, name):
    export = "all" if name == "network.keras" else "float"
    config, ready = prepared(composed, *from_file(saved / name, f"export={export}"))
    (tmp_path / "run").mkdir()
    result = pipeline.run(config, ready, tmp_path / "run", command="test")
    assert config.trainer.dense_epochs == 0
    assert result.dense.accuracy == 0.9  # nine classes of ten
    assert not (tmp_path / "run" / "dense").exists()
    assert result.phases["dense"].seconds == 0
    dense = backend.keras().models.load_model(tmp_path / "run" / "dense.h5", compile=False)
    np.testing.assert_array_equal(dense.get_layer("dense").kernel, trained().get_layer("dense").kernel)
    assert result.pruned.layers[0].masked == 6272  # 0.8 of 7,840
    assert [file.inside.not_found for file in result.tflite] == [[]] * (3 if export == "all" else 1)


def test_a_trained_network_that_only_guesses_is_doubted_before_it_is_pruned(composed, saved, capsys):
    config, ready = prepared(composed, *from_file(saved / "network.h5"))
    part, network = ready.data.validation, SimpleNamespace(model=config.model.build(ready.data.spec))
    as_came.show(config, ready, network)
    said = capsys.readouterr().out
    assert "As it came accuracy 0.9000 on 40 validation examples" in said and "guessing" not in said
    others = replace(ready.data, validation=Part(part.x, (part.y + 1) % 10))
    as_came.show(config, replace(ready, data=others), network)
    said = " ".join(capsys.readouterr().out.split())
    assert "gives the right one of 10 classes for" in said
    assert "Likely causes: classes in another order" in said


@pytest.mark.run
def test_a_dense_phase_of_a_network_from_a_file_must_be_asked_for(composed, saved):
    for overrides, epochs in (
        (["dataset=mnist"], 0),
        (["dataset=imdb"], 0),
        (["trainer.dense_epochs=3"], 3),
        (["model.dense_epochs=2"], 2),
    ):
        config = composed("model=keras_file", f"model.path={saved / 'network.h5'}", *overrides)
        assert config.trainer.dense_epochs == epochs
    assert composed("dataset=mnist").trainer.dense_epochs == 4
    assert composed("dataset=imdb", "model=lstm").trainer.dense_epochs == 3


@pytest.mark.run
def test_pixels_are_given_as_the_network_was_trained_to_read_them(composed, saved, tmp_path):
    with pytest.raises(
        ConfigError, match=r"model\.pixels=\[0\.0,1\.0\]: the network begins with the layer resc"
    ):
        prepared(composed, *from_file(saved / "shrinking.h5", "model.pixels=[0,1]"))
    config, ready = prepared(composed, *from_file(saved / "shrinking.h5"))
    assert ready.notes[0] == (
        "Pixels are given from 0 to 255, as the layer rescaling at the beginning of shrinking.h5 reads them."
    )
    typed = composed(*from_file(saved / "shrinking.h5", "model.pixels=[0,255]")).model
    assert typed.identity(IMAGES) == config.model.identity(IMAGES)
    (tmp_path / "run").mkdir()
    result = pipeline.run(config, ready, tmp_path / "run", command="test")
    assert result.dense.accuracy == 0.9
    assert [layer.name for layer in result.pruned.layers] == ["shrinking/network/dense"]
    assert result.tflite[0].inside.not_found == []
    model = composed(*from_file(saved / "network.h5", "model.pixels=[-1,1]")).model.build(IMAGES)
    looked = backend.keras().Model(model.input, model.get_layer("rescaling").output)
    assert set(np.unique(looked(np.eye(28, dtype=np.float32).reshape(1, 28, 28, 1)))) == {-1.0, 1.0}


@pytest.mark.run
def test_a_file_is_identified_by_its_content(composed, saved, tmp_path):
    def identity(path, *more):
        return composed(*from_file(path, *more)).model.identity(IMAGES)

    first = identity(saved / "network.h5")
    (tmp_path / "copy.h5").write_bytes((saved / "network.h5").read_bytes())
    assert identity(tmp_path / "copy.h5", "model.name=other", "model.dense_epochs=1") == first
    (tmp_path / "copy.h5").write_bytes((saved / "network.h5").read_bytes() + b"x")
    others = [
        identity(tmp_path / "copy.h5"),
        identity(saved / "network"),
        identity(saved / "network.h5", "model.pixels=[0,255]"),
        identity(saved / "network.h5", "model.output=probabilities"),
    ]
    assert len({json.dumps(each) for each in [first, *others]}) == 5


def test_half_precision_is_read_as_float32(composed, tmp_path):
    keras = backend.keras()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        trained().save(tmp_path / "half.keras")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    model = composed(*from_file(tmp_path / "half.keras")).model.build(IMAGES)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def write_zip(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "nothing of Keras")


def write_own_layer(file):
    class Scale(backend.keras().layers.Layer):
        def call(self, x):
            return 2 * x

    layers = backend.keras().layers
    model = sequence(Scale(name="scale"), layers.Dense(3, name="dense"))
    model.save(file)


def write_lambda(file):
    layers = backend.keras().layers
    sequence(layers.Lambda(lambda x: 2 * x, name="lambda"), layers.Dense(3)).save(file)


def write_subclassed(file):
    class Whole(backend.keras().Model):
        def __init__(self):
            super().__init__()
            self.dense = backend.keras().layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    model = Whole()
    model(np.ones((1, 4), np.float32))
    model.save(file)


def write_wrapped(file):
    model = sequence(backend.keras().layers.Dense(3))
    backend.tfmot().sparsity.keras.prune_low_magnitude(model).save(file)


@pytest.mark.parametrize(
    "case",
    [
        (
            "lambda.h5",
            write_lambda,
            "layer lambda (Lambda) runs code or reads files, as the file says; nothing in a file is run.",
        ),
        ("own", write_own_layer, "layer scale has Scale, which is neither of Keras nor registered with it."),
        (
            "subclassed",
            write_subclassed,
            "holds a subclassed model (Whole), whose layers are not known. Build it",
        ),
        ("wrapped.h5", write_wrapped, "wrapped by tfmot (PruneLowMagnitude). Take them off first: tfmot."),
        ("wrapped.keras", write_wrapped, "wrapped by tfmot (PruneLowMagnitude). Take them off first: tfmot."),
        ("nowhere.h5", lambda file: None, "no such file. model.path takes a .keras or .h5 file"),
        ("empty.h5", lambda file: file.write_bytes(b""), "is no file of Keras, or is broken"),
        ("text.keras", lambda file: file.write_text("hello"), "is no file of Keras, or is broken"),
        ("archive.keras", write_zip, "is no file of Keras, or is broken. Save the network again."),
        ("cut.keras", lambda file: file.write_bytes(b"PK\x03\x04cut"), "is no file of Keras, or is broken"),
        ("cut.h5", lambda file: file.write_bytes(b"\x89HDF\r\n\x1a\ncut"), "is broken: "),
        ("folder", lambda file: file.mkdir(), "there is no saved_model.pb in it"),
        ("own.keras", write_own_layer, "layer scale has Scale, which is neither of Keras nor registered"),
    ],
    ids=lambda case: case[0],
)
def test_a_file_that_holds_no_network_is_refused(composed, tmp_path, capfd, case):
    name, write, answer = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras calls some of its own files legacy
        write(tmp_path / name)
    capfd.readouterr()
    with pytest.raises(PruneflowError) as refused:
        prepared(composed, *from_file(tmp_path / name))
    assert answer in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path / name))
    assert capfd.readouterr().err == ""


def test_a_saved_model_without_layers_and_weights_without_a_network_are_refused(composed, saved, tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(PruneflowError, match="holds operations without the layers of Keras"):
        prepared(composed, *from_file(tmp_path / "plain"))
    with pytest.raises(PruneflowError, match="holds weights without layers"):
        prepared(composed, *from_file(saved / "weights.h5"))


def test_a_file_whose_network_does_not_fit_is_refused(composed, saved):
    cases = [
        (
            ["dataset=imdb"],
            r"it reads examples of shape \(28, 28, 1\), and those of the data set have \(250\)",
        ),
        (["model.output=logits"], "the network ends with softmax, which gives probabilities"),
        (["device.precision=mixed_bfloat16"], "a network from a file is trained in float32"),
    ]
    for overrides, answer in cases:
        try:
            with pytest.raises(ConfigError, match=answer):
                prepared(composed, *from_file(saved / "network.h5", *overrides))
        finally:
            backend.keras().mixed_precision.set_global_policy("float32")
    with pytest.raises(ConfigError, match=r"model\.pixels=\[0\.0,255\.0\]: the data have no pixels"):
        model = composed(*from_file(saved / "network.h5", "model.pixels=[0,255]")).model
        model._without_pixels(trained())
