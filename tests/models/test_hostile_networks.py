"""Files of networks that hold code: each would leave a mark on the disk if any of it ran. None does."""

import io
import json
import os
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from pruneflow.datasets.spec import Spec
from pruneflow.errors import PruneflowError
from pruneflow.models.descriptions import require_harmless
from pruneflow.models.keras_file import KerasFile
from pruneflow.models.keras_files import read_network
from pruneflow.runtime import backend

BOMB = 10**12


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """The file that hostile code makes, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "MARK"


def network(*layers):
    keras = backend.keras()
    inputs = keras.Input((4,), name="input")
    x = inputs
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="dense")(x))


def marking():
    return backend.keras().layers.Lambda(
        lambda x: (__import__("os").close(__import__("os").open("MARK", 65)), x)[1], name="evil"
    )


def in_a_network():
    return network(backend.keras().Sequential([backend.keras().Input((4,)), marking()], name="inner"))


def time_distributed():
    keras = backend.keras()
    wrapper = keras.layers.TimeDistributed(marking(), name="steps")
    return network(keras.layers.Reshape((2, 2)), wrapper, keras.layers.Flatten())


def plain():
    return network(backend.keras().layers.Dense(3, activation="relu", name="first"))


def saved(model, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras calls its own formats legacy
        model.save(name)
    Path("MARK").unlink(missing_ok=True)  # a Lambda runs when its network is built
    return Path(name)


def changed(file, change):
    """The same file with another description, as an attacker writes it."""
    if file.suffix == ".h5":
        with h5py.File(file, "a") as content:
            content.attrs["model_config"] = json.dumps(change(json.loads(content.attrs["model_config"])))
        return file
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["config.json"] = json.dumps(change(json.loads(entries["config.json"]))).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file


def refused(file):
    with pytest.raises(PruneflowError) as error:
        read_network(Path(file).absolute())
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["net.h5", "net", "net.keras"])
@pytest.mark.parametrize("build", [lambda: network(marking()), in_a_network, time_distributed])
def test_a_lambda_in_a_file_is_refused_by_the_name_of_its_layer_and_never_run(mark, name, build):
    said = refused(saved(build(), name))
    assert "layer evil (Lambda) runs code" in said
    assert "model=custom" in said
    assert not mark.exists()


def test_what_keras_itself_does_with_such_a_file_is_to_run_it(mark):
    file = saved(network(marking()), "net.h5")
    backend.keras().models.load_model(file, compile=False)
    assert mark.exists()


def first_layer(described):
    return next(each for each in described["config"]["layers"] if each["config"]["name"] == "first")


def code(text):
    import base64
    import marshal

    function = compile(text, "<evil>", "eval")
    return [base64.b64encode(marshal.dumps(function)).decode(), None, None]


EVIL = "__import__('os').close(__import__('os').open('MARK', 65))"
LAMBDA = {"class_name": "__lambda__", "config": {"value": code(EVIL)}}
FILE = {
    "module": "keras.utils",
    "class_name": "function",
    "config": "get_file",
    "registered_name": "get_file",
}
CALLED = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
PLACES = [
    *("activation", "kernel_initializer", "bias_initializer", "kernel_regularizer"),
    *("activity_regularizer", "kernel_constraint", "bias_constraint", "dtype"),
]


@pytest.mark.parametrize("held", [LAMBDA, FILE, CALLED], ids=["marshalled", "of Keras", "of Python"])
@pytest.mark.parametrize("place", PLACES)
def test_functions_in_any_place_of_a_layer_are_refused(mark, place, held):
    description = json.loads(plain().to_json())
    first_layer(description)["config"][place] = held
    with pytest.raises(PruneflowError, match=r"^net\.keras: layer first .+ Build it in a function"):
        require_harmless(description, Path("net.keras"))


@pytest.mark.parametrize("name", ["net.h5", "net.keras"])
@pytest.mark.parametrize(
    "layer",
    [
        {"class_name": "Popen", "module": "subprocess", "config": {"args": ["touch", "MARK"]}},
        {"class_name": "Evil", "module": "evil", "registered_name": "Evil", "config": {"name": "first"}},
        {"class_name": "Dense", "module": "evil", "registered_name": None, "config": {"name": "first"}},
        {
            "class_name": "Lambda",
            "registered_name": "Custom>SGD",
            "config": {"name": "first", "function": code(EVIL)},
        },
        {
            "class_name": "TFSMLayer",
            "module": "keras.layers",
            "config": {"name": "first", "filepath": "evil"},
        },
        {"class_name": "StringLookup", "module": "keras.layers", "config": {"vocabulary": "/etc/passwd"}},
        {"class_name": "TensorFlowOpLayer", "config": {"node_def": "op: 'WriteFile'", "name": "first"}},
        {"class_name": "ClassMethod", "config": {"cls_symbol": "io.gfile.GFile", "method_name": "write"}},
    ],
    ids=lambda layer: layer["class_name"],
)
def test_a_layer_that_is_not_one_of_keras_is_refused_before_its_module_is_imported(mark, name, layer):
    Path("evil.py").write_text("open('MARK', 'w')\nclass Dense: pass\n")
    file = saved(plain(), name)

    def change(described):
        first_layer(described).update(layer)
        return described

    assert "layer " in refused(changed(file, change))
    assert not mark.exists()


@pytest.mark.parametrize(
    "operation",
    [
        *("io.write_file", "io.read_file", "io.matching_files", "py_function", "numpy_function", "print"),
        *("raw_ops.WriteFile", "compat.v1.py_func", "saved_model.load", "load_library", "rpc_server"),
        *("keras.utils.get_file", "keras.backend.print_tensor", "nn.fixed_unigram_candidate_sampler"),
        *(
            "debugging.assert_equal",
            "summary.create_file_writer",
            "xla_custom_call",
            "math.x.y",
            "random.normal",
        ),
    ],
)
def test_operations_that_do_more_than_compute_are_refused(operation):
    for kind in ("TFOpLambda", "SlicingOpLambda"):
        layer = {"class_name": kind, "config": {"name": "evil", "function": operation}}
        with pytest.raises(PruneflowError, match=f"layer evil runs the operation {operation}"):
            require_harmless([{"class_name": "Functional", "config": {"layers": [layer]}}], Path("net.h5"))


def test_an_operation_that_writes_a_file_is_refused_in_a_saved_model_and_its_graph_is_never_run(mark):
    keras, tf = backend.keras(), backend.tensorflow()

    class Writes(keras.layers.Layer):
        def call(self, x):
            with tf.control_dependencies([tf.io.write_file("MARK", "ran")]):
                return tf.identity(x)

    file = saved(network(Writes(name="evil")), "graph")
    assert "evil" in refused(file)
    assert not mark.exists()
    loaded = tf.saved_model.load(str(file))  # the file is hostile indeed
    loaded.signatures["serving_default"](tf.ones((1, 4)))
    assert mark.exists()


def test_what_a_network_was_compiled_with_is_not_made(mark):
    def change(described):
        described["compile_config"] = {"optimizer": LAMBDA, "loss": CALLED, "metrics": [FILE]}
        inner = next(each for each in described["config"]["layers"] if each["class_name"] == "Sequential")
        inner["compile_config"] = {"optimizer": {"class_name": "Popen", "module": "subprocess", "config": {}}}
        return described

    inner = backend.keras().Sequential([backend.keras().Input((4,)), backend.keras().layers.Dense(3)])
    model = network(inner)
    file = changed(saved(model, "net.keras"), change)
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(read_network(file.absolute()).build()(x), model(x))


@pytest.mark.parametrize("kind", ["external link", "soft link", "raw file", "virtual", "huge"])
def test_weights_are_read_from_the_file_itself_and_no_more_than_it_can_hold(mark, kind):
    saved(plain(), "other.h5")
    Path("secret").write_bytes(os.urandom(48))
    file = saved(plain(), "net.h5")
    with h5py.File(file, "a") as content:
        group = content["model_weights/first/first"]
        del group["kernel:0"]
        if kind == "external link":
            group["kernel:0"] = h5py.ExternalLink("other.h5", "/model_weights/first/first/kernel:0")
        elif kind == "soft link":
            group["kernel:0"] = h5py.SoftLink("/model_weights/dense/dense/kernel:0")
        elif kind == "raw file":
            group.create_dataset("kernel:0", (4, 3), "f4", external=[("secret", 0, 48)])
        elif kind == "huge":
            group.create_dataset("kernel:0", (BOMB, 3), "f4", chunks=(1000, 3))
        else:
            layout = h5py.VirtualLayout((4, 3), "f4")
            layout[:] = h5py.VirtualSource("other.h5", "/model_weights/first/first/kernel:0", (4, 3))
            group.create_virtual_dataset("kernel:0", layout)
    said = refused(file)
    assert ("bytes of numbers" if kind == "huge" else "leads to another file or place") in said


@pytest.mark.parametrize("name", ["net.h5", "net.keras"])
def test_a_layer_that_is_larger_than_its_file_is_refused_before_memory_is_taken(mark, name):
    def change(described):
        first_layer(described)["config"]["units"] = BOMB
        return described

    assert "declares" in refused(changed(saved(plain(), name), change))


def test_an_archive_is_not_unpacked_beside_itself_and_no_bomb_is(mark):
    file = saved(plain(), "net.keras")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("../MARK", "ran")
        archive.writestr("assets/../../MARK", "ran")
    read_network(file.absolute())
    assert not mark.exists()
    assert not (mark.parent.parent / "MARK").exists()
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/bomb", bytes(10**8))
    assert "is broken: it has" in refused(file)


def test_weights_that_are_pickled_are_not_read(mark):
    class Evil:
        def __reduce__(self):
            return os.mkdir, ("MARK",)

    pickled = io.BytesIO()
    np.savez(pickled, first=np.array([Evil()], dtype=object))
    file = saved(plain(), "net.keras")
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    del entries["model.weights.h5"]
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {**entries, "model.weights.npz": pickled.getvalue()}.items():
            archive.writestr(name, content)
    assert "is no file of Keras" in refused(file)
    assert not mark.exists()


def test_layers_and_functions_that_the_user_has_registered_are_made(mark):
    keras = backend.keras()

    @keras.utils.register_keras_serializable("mine", "scale")
    class Scale(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    @keras.utils.register_keras_serializable("mine")
    def bent(x):
        return keras.activations.relu(x, alpha=0.5)

    model = network(Scale(name="scale"), keras.layers.Dense(3, activation=bent, name="bent"))
    x = np.float32([[1, -2, 3, -4]])
    for name in ("net.keras", "net.h5", "net"):
        np.testing.assert_array_equal(read_network(saved(model, name).absolute()).build()(x), model(x))


def test_code_that_the_user_has_registered_is_part_of_what_identifies_a_file(mark):
    keras = backend.keras()
    file = saved(network(keras.layers.Dense(3, name="hidden")), "net.keras").absolute()
    option = KerasFile(name="keras_file", path=str(file), output="auto", pixels=[0.0, 1.0], dense_epochs=0)

    def identity(**own):
        with keras.saving.custom_object_scope(own):
            return option.identity(Spec("numbers", (4,), 2))

    assert identity() == identity()

    def half(x):
        return x / 2

    def third(x):
        return x / 3

    assert identity(bent=half) == identity(bent=half) != identity(bent=third)


def test_operations_that_only_compute_are_made(mark):
    keras, tf = backend.keras(), backend.tensorflow()
    inputs = keras.Input((4,))
    x = tf.nn.relu(inputs) * 2 + inputs[:, :1]
    x = tf.concat([tf.reshape(x, (-1, 4)), tf.clip_by_value(x, 0.0, 1.0)], -1)
    x = keras.backend.l2_normalize(tf.square(x), -1)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    given = np.float32([[1, -2, 3, -4]])
    for name in ("net.keras", "net.h5", "net"):
        np.testing.assert_array_equal(
            read_network(saved(model, name).absolute()).build()(given), model(given)
        )
