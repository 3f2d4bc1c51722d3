"""``python -m pruneflow.evaluate``: any TFLite file, scored and inspected."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from conftest import QUICK, QUICK_LSTM
from test_cli import DOCUMENTED, exit_code
from test_tflite import packed

import pruneflow
from pruneflow import evaluate, latency
from pruneflow.datasets.spec import Spec
from pruneflow.exports import runner
from pruneflow.exports.exporters import Float
from pruneflow.runtime import backend

FAST = "latency.seconds=0"


def said(capsys, arguments):
    """Exit code, what was printed, and the error in one line."""
    code = evaluate.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, " ".join(captured.err.split())


def convert(model, shape, dtype="float32"):
    tf = backend.tensorflow()
    signature = tf.TensorSpec(shape, dtype, name="input")
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(signature)
    with backend.quiet():
        return bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], model).convert())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def foreign(folder):
    """A network that pruneflow did not make: 28x28 without channels, any batch, logits."""
    keras = backend.keras()
    backend.set_seed(3)
    inputs = keras.Input((28, 28))
    outputs = keras.layers.Dense(10)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs)
    kernel, bias = model.layers[-1].get_weights()
    kernel[:392] = 0  # half of the inputs
    model.layers[-1].set_weights([kernel, bias])
    (folder / "foreign.tflite").write_bytes(convert(model, (None, 28, 28)))
    (folder / "batch.tflite").write_bytes(convert(model, (8, 28, 28)))
    return folder / "foreign.tflite", model


@pytest.mark.run
def test_the_file_of_a_run_scores_as_the_run_said(tmp_path, capsys, shared_stages):
    assert exit_code([*QUICK, "export=int8", shared_stages]) == 0
    (written,) = (tmp_path / "outputs").glob("2*/*/result.json")
    (file,) = json.loads(written.read_text())["tflite"]
    capsys.readouterr()
    code, out, _ = said(capsys, [written.parent / file["file"], FAST, "--json"])
    (found,) = json.loads(out)["files"]
    assert code == 0
    for key in ("accuracy", "theoretical_speedup"):
        assert found[key] == file[key]
    assert {key: found[key] for key in file["size"]} == file["size"]
    assert sum(weight["zeros"] for weight in found["weights"]) >= file["inside"]["masked"]
    assert found["ops"] == file["inside"]["ops"]
    assert "latency" not in found


@pytest.mark.run
def test_the_file_of_an_lstm_scores_as_the_run_said(tmp_path, capsys, shared_stages):
    assert exit_code(["model=lstm", "dataset=imdb", *QUICK, *QUICK_LSTM, shared_stages]) == 0
    (written,) = (tmp_path / "outputs").glob("2*/*/result.json")
    (file,) = json.loads(written.read_text())["tflite"]
    capsys.readouterr()
    data = ["dataset=imdb", "dataset.length=12", "dataset.vocabulary_size=70", FAST]
    code, out, _ = said(capsys, [written.parent / file["file"], *data])
    assert code == 0
    assert f"{file['accuracy']:.4f}" in out
    assert "reset_all_variables()" in out


@pytest.mark.run
@pytest.mark.parametrize(("name", "batch"), [("foreign.tflite", 1), ("batch.tflite", 8)])
def test_a_file_of_another_origin_is_scored_and_inspected(foreign, capsys, name, batch):
    file, model = foreign
    code, out, _ = said(capsys, [file.parent / name, FAST, "--json"])
    assert code == 0
    (found,) = json.loads(out)["files"]
    test = evaluate._settings([]).dataset.load().test
    logits = model(test.x[..., 0].astype(np.float32) / 255).numpy()
    assert found["accuracy"] == float((logits.argmax(axis=1) == test.y).mean())
    (weight,) = found["weights"]
    assert (weight["shape"], weight["zeros"], weight["sparsity"]) == ([10, 784], 3920, 0.5)
    assert (found["multiply_adds"], found["nonzero_multiply_adds"]) == (batch * 7840, batch * 3920)
    assert found["data"]["examples"] == 100


@pytest.mark.run
@pytest.mark.parametrize(("number", "name"), [(2, "network.h5"), (3, "network.keras")])
def test_a_file_of_keras_is_scored_as_keras_scores_it(tmp_path, capsys, number, name):
    keras = backend.keras() if number == 2 else backend.keras3()
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10, activation="softmax")]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 2 calls its own .h5 format legacy
        model.save(tmp_path / name)
    data = pruneflow.compose(QUICK).dataset.load()
    outputs = model.predict(data.spec.model_input(data.test.x[:]), verbose=0)
    code, out, err = said(capsys, [tmp_path / name, FAST, "--json"])
    assert code == 0, err
    (row,) = json.loads(out)["files"]
    assert row["file"] == str(tmp_path / name)
    assert row["accuracy"] == float((outputs.argmax(axis=1) == data.test.y).mean())


@pytest.mark.run
def test_files_of_keras_with_one_name_and_with_pixels_of_their_own_are_kept_apart(tmp_path, capsys):
    layers, keras = backend.keras3().layers, backend.keras3()
    for folder, scale in (("a", 1 / 255), ("b", 1), ("c", 1)):
        (tmp_path / folder).mkdir()
        network = [keras.Input((28, 28, 1)), layers.Rescaling(scale), layers.Flatten(), layers.Dense(10)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras 3 reads its variables in a way that NumPy 2 warns of
            keras.Sequential(network).save(tmp_path / folder / "network.keras")
    files = [tmp_path / folder / "network.keras" for folder in "abc"]
    code, _, err = said(capsys, [files[0], FAST, "model.pixels=[0,1]"])
    assert (code, "the network begins with the layer rescaling" in err) == (2, True)
    code, out, err = said(capsys, [files[0], FAST, "--json"])
    assert (code, json.loads(out)["files"][0]["pixels"]) == (0, [0, 255]), err
    code, out, err = said(capsys, [*files[1:], FAST, "--json"])
    assert code == 0, err
    rows = json.loads(out)["files"]
    assert [row["file"] for row in rows] == [str(file) for file in files[1:]]
    assert rows[0]["loss"] != rows[1]["loss"]


@pytest.mark.run
@pytest.mark.usefixtures("timed_here")
def test_several_files_are_timed_in_turn_against_the_first(foreign, capsys):
    file, _ = foreign
    code, out, _ = said(capsys, [file, file.parent / "batch.tflite", "latency.seconds=0.1", "--json"])
    first, second = json.loads(out)["files"]
    assert code == 0
    assert "speedup" not in first["latency"] and second["latency"]["speedup"]["rounds"] >= 3
    assert second["latency"]["verdict"]
    code, out, _ = said(capsys, [file, "latency.seconds=0.05"])
    assert code == 0 and "median ms" in out and "FULLY_CONNECTED" in out


@pytest.mark.run
def test_pixels_of_an_integer_input_without_a_scale_are_given_as_they_are(folder, capsys):
    tf, keras = backend.tensorflow(), backend.keras()
    inputs = keras.Input((28, 28), dtype="uint8")
    rows = tf.reduce_mean(tf.cast(inputs, tf.float32), axis=2)[:, 2:22]  # two rows for each class
    model = keras.Model(inputs, tf.reduce_sum(tf.reshape(rows, (-1, 10, 2)), axis=2))
    (folder / "pixels.tflite").write_bytes(convert(model, (1, 28, 28), "uint8"))
    code, out, _ = said(capsys, [folder / "pixels.tflite", FAST, "--json"])
    assert code == 0
    assert json.loads(out)["files"][0]["accuracy"] > 0.3  # nothing is learned, but a lit row is seen


def altered(file, **codes):
    """A file in which one operation is another one."""
    model = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    for code in model.operatorCodes:
        for old, new in codes.items():
            if code.builtinCode == getattr(schema.BuiltinOperator, old):
                code.builtinCode = code.deprecatedBuiltinCode = new
    return packed(model)


def with_nan(file):
    """A file with a weight that is not a number."""
    model = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    for buffer in model.buffers:
        if buffer.data is not None and len(buffer.data) == 4 * 7840:
            buffer.data = np.append(buffer.data[:-4], np.array([0, 0, 192, 127], np.uint8))
    return packed(model)


@pytest.fixture
def files(foreign):
    """Those that docs/bad_input.md speaks of, in the current folder."""
    content = foreign[0].read_bytes()
    made = {
        "good": content,
        "empty": b"",
        "cut": content[: len(content) // 2],
        "wrong": altered(foreign[0], FULLY_CONNECTED=45),  # reads memory that may or may not be there
        "nan": with_nan(foreign[0]),
        "zeros": bytes(8),
        "large": b"    TFL3",
    }
    for name, written in made.items():
        Path(f"{name}.tflite").write_bytes(written)
    for name in ("zeros", "large"):
        os.truncate(f"{name}.tflite", 5 * 2**30)  # a hole, which takes no room
    os.mkfifo("pipe.tflite")
    Path("folder.tflite").mkdir()


ROWS = re.findall(
    r"^\| `(.+?)` \| (.+) \| (\d) \|$", DOCUMENTED.split("## TFLite files")[1].split("\n## ")[0], flags=re.M
)


@pytest.mark.parametrize(("typed", "answer", "expected"), ROWS)
def test_bad_input_gets_one_message(files, capsys, typed, answer, expected):
    code, _, error = said(capsys, [*typed.split(), FAST])
    assert code == int(expected)
    assert re.fullmatch(".*".join(re.escape(piece.strip()) for piece in answer.split("...")), error), error
    if code == 1 and typed != "nan.tflite":
        assert latency.main([typed, "--seconds=0.1"]) == 1
        shown = " ".join(capsys.readouterr().err.split())
        assert shown == error or f"{typed} cannot be timed: " in shown


def test_the_rows_of_bad_input_are_found():
    assert len(ROWS) >= 15


@pytest.mark.run
def test_a_file_that_does_not_run_is_refused_before_the_first_one_is_scored(files, capsys):
    code, out, error = said(capsys, ["good.tflite", "wrong.tflite", FAST])
    assert (code, out) == (1, "")
    assert "wrong.tflite does not run in LiteRT" in error


def crashing(*arguments):
    yield np.zeros((1, 10), np.float32)
    os.abort()


def endlessly(*arguments):
    yield np.zeros((1, 10), np.float32)
    time.sleep(600)


@pytest.mark.run
@pytest.mark.parametrize(
    ("ends", "problem"),
    [
        ((crashing, 60), "its process crashed with signal 6, SIGABRT"),
        ((endlessly, 1), "its process was ended, since it gave no answer in 1 seconds"),
    ],
)
def test_a_file_that_crashes_or_hangs_while_it_is_scored_is_one_message(
    foreign, capsys, monkeypatch, ends, problem
):
    for name, value in zip(("_foreign", "SILENT_S"), ends, strict=True):
        monkeypatch.setattr(runner, name, value)
    code, _, error = said(capsys, [foreign[0], FAST])
    assert code == 1
    assert f"does not run in LiteRT 2.3.0: {problem}. Copy it again if it is damaged," in error


def test_a_full_disk_for_examples_is_one_message(foreign, capsys, monkeypatch):
    monkeypatch.setattr(runner, "EXAMPLES", "nowhere/examples")
    code, _, error = said(capsys, [foreign[0], FAST])
    assert code == 1
    assert "cannot be written: No such file or directory. Make room there, or set TMPDIR" in error


@pytest.mark.run
def test_foreign_files_leave_nothing_and_need_no_tensorflow(foreign, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = evaluate._settings([]).dataset.load()
    runner.foreign_outputs(foreign[0], data, units=10, threads=2)
    assert list(tmp_path.iterdir()) == []
    code = (
        "import sys, pruneflow.runtime.child, pruneflow.exports.runner as r; r.backend.litert(); "
        "print(*sys.modules)"
    )
    line = [sys.executable, "-c", code]
    loaded = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert not {"tensorflow", "tf_keras", "hydra"} & set(loaded.split())


@pytest.mark.parametrize("seconds", [0.0, 0.3, 5.0])
def test_any_size_of_chunks_gives_the_same_outputs(foreign, monkeypatch, seconds):
    clock = iter([0.0, seconds])
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(runner.memory, "hold", lambda: None)
    data = evaluate._settings([]).dataset.load()
    (folder := foreign[0].parent / "examples").mkdir(exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    runner._save(data.test, folder)
    asked = (str(foreign[0]), str(data.test.x.dtype), data.test.x.shape, data.spec, 3)
    chunks = list(runner._foreign(*asked))
    assert max(map(len, chunks)) == {0.0: 100, 0.3: 4, 5.0: 1}[seconds]
    expected = runner.tflite_outputs(foreign[0].read_bytes(), data.test, data.spec)
    np.testing.assert_array_equal(np.concatenate(chunks), expected)


@pytest.mark.run
def test_a_file_with_an_operation_that_is_missing_here_is_named(folder, capsys):
    tf, keras = backend.tensorflow(), backend.keras()
    inputs = keras.Input((28, 28))
    outputs = keras.layers.Dense(10)(keras.layers.Flatten()(tf.linalg.cholesky(inputs)))
    model = keras.Model(inputs, outputs)
    function = tf.function(model).get_concrete_function(tf.TensorSpec((1, 28, 28), "float32"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS, tf.lite.OpsSet.TFLITE_BUILTINS]
    with backend.quiet():
        (folder / "flex.tflite").write_bytes(converter.convert())
    code, out, error = said(capsys, [folder / "flex.tflite", FAST])
    assert (code, out) == (1, "")
    assert "flex.tflite does not run in LiteRT" in error and "FlexCholesky" in error


@pytest.mark.run
def test_a_data_set_that_does_not_fit_is_refused_with_what_to_set(folder, foreign, capsys):
    keras = backend.keras()
    spec = Spec(kind="tokens", shape=(12,), classes=2, vocabulary_size=50)
    inputs = keras.Input((12,), dtype="int32")
    x = keras.layers.Embedding(50, 4)(inputs)
    x = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Flatten()(x))
    content = Float(name="float").convert(keras.Model(inputs, x), spec, np.empty(0))
    (folder / "tokens.tflite").write_bytes(content)
    (folder / "three.tflite").write_bytes(
        convert(
            keras.Sequential([keras.layers.Flatten(input_shape=(28, 28)), keras.layers.Dense(3)]), (1, 28, 28)
        )
    )
    tokens, imdb = folder / "tokens.tflite", "dataset=imdb"
    cases = [
        ([tokens, imdb], "an example has shape 250, and", "Set dataset.length=12."),
        (
            [tokens, imdb, "dataset.length=12"],
            "token ids go up to 9999, and",
            "Set dataset.vocabulary_size=50.",
        ),
        ([tokens], "dataset=mnist: an example has shape 28x28x1, and", "Choose the data set"),
        ([folder / "three.tflite"], "dataset=mnist: it has 10 classes, and", "has 3 outputs"),
    ]
    for arguments, problem, remedy in cases:
        code, out, error = said(capsys, [*arguments, FAST])
        assert (code, out) == (2, ""), arguments
        assert problem in error and remedy in error
    fits = [tokens, imdb, "dataset.length=12", "dataset.vocabulary_size=50", FAST]
    assert said(capsys, fits)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dataset=mnist"], "No file is named."),
        (["a.tflite", "dataset=svhn"], "dataset=svhn: there is no such option; allowed are arrays, "),
        (["a.tflite", "dataset.limit=1"], "dataset.limit=1: must be 2 or more"),
        (["a.tflite", "latency=null"], "latency"),
        (["a.tflite", "device.evaluation_threads=1.5"], "device.evaluation_threads=1.5: it must be a whole"),
    ],
)
def test_a_wrong_command_line_gets_one_message(arguments, message, capsys):
    code, out, error = said(capsys, arguments)
    assert code == 2
    assert out == "" and error.startswith(message)


def test_help_is_printed_without_tensorflow(capsys):
    code, out, _ = said(capsys, ["--help"])
    assert code == 0 and out.startswith("Score and inspect TFLite files")
