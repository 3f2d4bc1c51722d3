"""Exported files: which encodings are tried and kept, what is sent, what is proved of them."""

import csv
import gzip
import json
import lzma

import brotli
import numpy as np
import pytest
import zstandard
from conftest import QUICK, QUICK_LSTM
from test_cli import exit_code

from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.errors import PruneflowError
from pruneflow.exports import encodings, tflite
from pruneflow.exports.encodings import Encoded, _chosen, _Tried
from pruneflow.exports.exporters import DynamicRange, Float, Int8
from pruneflow.exports.inspection import inspect
from pruneflow.exports.sizes import compressed
from pruneflow.flow import evaluate
from pruneflow.runtime import backend
from pruneflow.sparsity import kernels


def result_of(tmp_path):
    (file,) = (tmp_path / "outputs").glob("2*/*/result.json")
    return json.loads(file.read_text()), file.parent


def images(count):
    rng = np.random.default_rng(0)
    return Part(rng.integers(0, 256, (count, 28, 28, 1)).astype(np.uint8), np.arange(count) % 10)


def data_of(part):
    spec = Spec(kind="image", shape=(28, 28, 1), classes=10)
    return Data("images", spec, part, part, part, source="", note="", digest="")


def network(sparsity, *, filters=(8,), units=64):
    """A convolution and two dense layers, magnitude-pruned at once."""
    keras = backend.keras()
    backend.set_seed(1)
    x = inputs = keras.Input((28, 28, 1), name="input")
    for index, count in enumerate(filters):
        x = keras.layers.Conv2D(count, 5, padding="same", activation="relu", name=f"conv{index}")(x)
        x = keras.layers.MaxPooling2D(name=f"pool{index}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(units, activation="relu", name="dense")(x)
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="last")(x), name="m")
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            kernel[np.abs(kernel) < np.quantile(np.abs(kernel), sparsity)] = 0
            layer.set_weights([kernel, bias])
    return model


def float_export(encoding):
    return Float(name="float", encoding=encoding)


def test_dense_is_the_default_and_nothing_else_is_tried():
    found = encodings.encode(float_export("dense"), network(0.9), data_of(images(5)))
    (candidate,) = found.candidates
    assert (candidate.encoding, candidate.kept, candidate.max_difference) == ("dense", True, 0.0)
    assert all(weight.encoding == "dense" for weight in tflite.parse(found.content, "x").weights)


@pytest.mark.run
def test_auto_keeps_the_sparse_file_of_mnist_cnn_at_90_percent_a_sixth_as_large_with_equal_outputs():
    model = network(0.9, filters=(32, 64), units=1024)
    found = encodings.encode(float_export("auto"), model, data_of(images(20)))
    dense, sparse = found.candidates
    assert found.encoding == "sparse"
    assert sparse.kept and sparse.bytes == len(found.content) <= 0.16 * dense.bytes
    assert sparse.gzip_bytes < dense.gzip_bytes and dense.reason == "larger after gzip"
    assert sparse.max_difference == 0.0
    assert any(weight.encoding == "sparse" for weight in tflite.parse(found.content, "x").weights)


@pytest.mark.parametrize(
    "export", [DynamicRange(name="x", encoding="auto"), None], ids=["dynamic-range", "int8"]
)
def test_auto_never_ships_a_file_that_does_not_load_here(export):
    export = export or Int8(name="int8", encoding="auto", calibration_samples=5)
    found = encodings.encode(export, network(0.9), data_of(images(5)))
    dense, sparse = found.candidates
    assert (found.encoding, dense.kept, sparse.kept) == ("dense", True, False)
    assert sparse.reason.startswith("does not load here: ") and sparse.max_difference is None


def test_an_encoding_that_is_asked_for_and_does_not_load_is_refused_with_what_to_do():
    with pytest.raises(
        PruneflowError, match=r"export.encoding=sparse: the dynamic-range file does not load here"
    ):
        encodings.encode(DynamicRange(name="x", encoding="sparse"), network(0.9), data_of(images(5)))


def test_a_network_without_zeros_is_not_called_sparse():
    with pytest.raises(PruneflowError, match="has no weight with enough zeros to be encoded as sparse"):
        encodings.encode(float_export("sparse"), network(0.0), data_of(images(5)))
    assert encodings.encode(float_export("auto"), network(0.0), data_of(images(5))).encoding == "dense"


def test_a_sparse_file_from_which_the_converter_drops_inputs_is_found_out():
    """TensorFlow 2.21 leaves out the rest of the inputs where blocks of 4 do not divide them."""
    keras = backend.keras()
    inputs = keras.Input((1, 38, 1), name="input")
    x = keras.layers.Flatten(name="flatten")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(8, name="dense")(x), name="m")
    kernel = np.ones((38, 8), np.float32)
    kernel[:32] *= np.arange(32)[:, None] // 4 % 8 == 3  # whole blocks of 4 inputs are zero
    model.layers[-1].set_weights([kernel, np.zeros(8, np.float32)])
    spec = Spec(kind="image", shape=(1, 38, 1), classes=8)
    part = Part(np.full((5, 1, 38, 1), 255, np.uint8), np.arange(5))
    data = Data("rows", spec, part, part, part, source="", note="", digest="")
    _, sparse = encodings.encode(float_export("auto"), model, data).candidates
    assert sparse.reason == "gives other outputs than the dense-encoded one, by up to 2"
    assert not sparse.kept


@pytest.fixture
def sparse_everywhere(monkeypatch):
    """Every file that is looked at has a sparse weight."""
    graph = type("Graph", (), {"weights": [type("Weight", (), {"encoding": "sparse"})]})
    monkeypatch.setattr(tflite, "parse", lambda content, name: graph)


@pytest.mark.usefixtures("sparse_everywhere")
def test_a_sparse_file_with_other_outputs_is_never_shipped():
    dense = _Tried(b"0123456789" * 10, np.array([[0.25, 0.75]]), "")
    other = _Tried(b"0", np.array([[0.25, 0.7502]]), "")
    found = _chosen(float_export("auto"), dense, other)
    assert isinstance(found, Encoded) and found.content == dense.content
    assert found.candidates[1].reason == "gives other outputs than the dense-encoded one, by up to 0.0002"
    with pytest.raises(PruneflowError, match="gives other outputs"):
        _chosen(float_export("sparse"), dense, other)
    assert _chosen(float_export("auto"), dense, _Tried(b"0", dense.outputs + 5e-6, "")).content == b"0"


@pytest.mark.usefixtures("sparse_everywhere")
def test_a_sparse_file_that_is_larger_after_gzip_is_left():
    outputs = np.array([[0.25, 0.75]])
    dense, sparse = _Tried(bytes(1000), outputs, ""), _Tried(np.random.default_rng(0).bytes(500), outputs, "")
    found = _chosen(float_export("auto"), dense, sparse)
    assert found.content == dense.content
    assert found.candidates[1].reason.startswith("is not smaller after gzip: ")
    assert _chosen(float_export("sparse"), dense, sparse).content == sparse.content  # asked for


@pytest.mark.run
@pytest.mark.usefixtures("timed_here")
def test_all_makes_three_files_in_one_run_each_with_what_is_sent(tmp_path, capsys):
    blocks = ["structure=block_4x1", "model.dense_units=[64]"]
    line = [*QUICK, *blocks, "export=all", "export.encoding=auto", "latency.seconds=0.05"]
    assert exit_code(line) == 0
    result, folder = result_of(tmp_path)
    assert [file["kind"] for file in result["tflite"]] == ["float", "dynamic-range", "int8"]
    assert [file["encoding"] for file in result["tflite"]] == ["sparse", "dense", "dense"]
    shown = capsys.readouterr().out
    for file in result["tflite"]:
        content = (folder / file["file"]).read_bytes()
        assert file["sent"] == f"{file['file']}.gz"
        sent = (folder / file["sent"]).read_bytes()
        assert gzip.decompress(sent) == content
        assert (file["size"]["bytes"], file["size"]["gzip_bytes"]) == (len(content), len(sent))
        assert (folder / file["dense_file"]).stat().st_size == file["dense_size"]["bytes"]
        assert file["size_ratios"]["raw"] == file["dense_size"]["bytes"] / file["size"]["bytes"]
        assert set(file["stages"]) == {"export", "evaluate"}
        assert f"TFLite {file['kind']}" in shown
        inside = file["inside"]
        assert inside["not_found"] == [] and inside["masked"] == sum(w["masked"] for w in inside["weights"])
        assert [weight["violated"] for weight in inside["weights"]] == [0, 0, 0]
        masked = sum(layer["masked"] for layer in result["pruned"]["layers"])
        assert inside["masked"] == masked > 10_000
        assert file["theoretical_speedup"] > 2
        latency = file["latency"]
        assert latency["pruned"]["n"] > 10 and latency["pruned"]["median_ms"] > 0
        assert latency["verdict"] in shown
    assert result["pruned"]["wrapped"]["disagreements"] == 0
    # A latency is a figure of this machine and moment: no stage keeps it.
    kept = [file.read_text() for file in (tmp_path / "outputs" / ".stages").rglob("*.json")]
    assert kept and not any("median_ms" in text for text in kept)


@pytest.mark.parametrize(
    ("compression", "unpacked"), [("xz", lzma.decompress), ("brotli", brotli.decompress)]
)
def test_what_is_sent_unpacks_to_the_file(compression, unpacked):
    content = np.random.default_rng(0).integers(0, 9, 5000).astype(np.float32).tobytes()
    sent = compressed(content, compression)
    assert unpacked(sent) == content and sent == compressed(content, compression)
    assert len(sent) < len(compressed(content, "gzip"))


def test_xz_takes_numbers_of_four_bytes_and_single_bytes_as_they_are():
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.int8):
        content = (rng.normal(size=20_000) * 40).astype(dtype).tobytes()
        assert len(compressed(content, "xz")) < len(lzma.compress(content, preset=9))


@pytest.mark.run
def test_zstd_is_sent_where_it_is_asked_for(tmp_path, shared_stages):
    assert exit_code([*QUICK, "export.compression=zstd", shared_stages]) == 0
    result, folder = result_of(tmp_path)
    (file,) = result["tflite"]
    assert file["sent"] == "pruned-float.tflite.zst"
    sent = (folder / file["sent"]).read_bytes()
    assert len(sent) == file["size"]["zstd_bytes"]
    assert zstandard.ZstdDecompressor().decompress(sent) == (folder / file["file"]).read_bytes()
    assert not (folder / "pruned-float.tflite.gz").exists()
    assert file["latency"] is None  # latency.seconds=0


@pytest.mark.long
def test_every_weight_of_an_lstm_is_found_in_its_file(tmp_path, shared_stages):
    lstm = ["model=lstm", "dataset=imdb", *QUICK, *QUICK_LSTM, shared_stages]
    assert exit_code([*lstm, "export=dynamic-range"]) == 0
    result, _ = result_of(tmp_path)
    inside = result["tflite"][0]["inside"]
    assert inside["stateful"] and inside["not_found"] == []
    masked = {weight["name"]: weight["masked"] for weight in inside["weights"]}
    layers = {f"{layer['name']}/{layer['weight']}": layer["masked"] for layer in result["pruned"]["layers"]}
    assert masked == layers


@pytest.mark.long
def test_a_sweep_has_a_row_per_file(tmp_path, shared_stages):
    assert exit_code([*QUICK, shared_stages, "-m", "export=all", "seed=0,1"]) == 0
    (file,) = (tmp_path / "outputs").rglob("sweep.csv")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["export"] for row in rows] == ["float", "dynamic-range", "int8"] * 2
    assert all(row["encoding"] == "dense" and row["latency_ms"] == "" for row in rows)


@pytest.mark.run
def test_a_drop_beyond_the_tolerance_fails_the_run_and_says_what_to_do(
    tmp_path, monkeypatch, capsys, trained_before
):
    trained_before("dense", "pruned")
    scored = evaluate.tflite_outcome

    def worse(file, part, spec, **settings):
        return scored(file, part, spec, **settings)[:, ::-1]

    monkeypatch.setattr(evaluate, "tflite_outcome", worse)
    assert exit_code([*QUICK, "export=int8"]) == 1
    (failure,) = (tmp_path / "outputs").glob("2*/*/failure.json")
    message = json.loads(failure.read_text())["message"]
    assert message.startswith("export.max_accuracy_drop=0.02: pruned-int8.tflite loses ")
    assert "on the validation part" in message and "export.calibration_samples" in message
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list((tmp_path / "outputs").glob("2*/*/result.json"))
    assert exit_code([*QUICK, "export=int8", "export.max_accuracy_drop=1"]) == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("export.encoding=zip", "export.encoding=zip: allowed are dense, sparse, auto"),
        ("export.compression=lzma", "export.compression=lzma: allowed are gzip, zstd, xz, brotli"),
        ("export.max_accuracy_drop=2", "export.max_accuracy_drop=2.0: allowed are numbers from 0 to 1"),
        ("latency.seconds=-1", "latency.seconds=-1.0: allowed are numbers"),
        ("latency.threads=0", "latency.threads=0: allowed are whole numbers"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_done(setting, message, capsys, tmp_path):
    assert exit_code([setting]) == 2
    assert " ".join(capsys.readouterr().err.split()).startswith(message)
    assert not (tmp_path / "outputs").exists()


def test_a_masked_weight_that_is_not_zero_in_the_file_is_an_error_that_names_it():
    model = network(0.5)
    weights = kernels.weights(model)
    masks = {"dense/kernel": (weights["dense/kernel"] != 0).astype(np.uint8)}
    content = float_export("dense").convert(model, data_of(images(1)).spec, np.empty(0))
    inside = inspect(content, "pruned-float.tflite", weights, masks)
    assert inside.masked == weights["dense/kernel"].size // 2
    kept = np.argwhere(masks["dense/kernel"])[0]
    masks["dense/kernel"][tuple(kept)] = 0
    with pytest.raises(PruneflowError, match=r"pruned-float.tflite: .*dense/kernel in 1 of \d+ positions"):
        inspect(content, "pruned-float.tflite", weights, masks)
