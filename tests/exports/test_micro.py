"""Files for TFLite Micro: how weights are stored, that outputs are equal bit for bit, what a chip needs."""

import importlib.metadata
import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated
from conftest import QUICK
from test_cli import exit_code

from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.exports import (
    decode,
    encodings,
    micro_file,
    micro_interpreter,
    micro_operations,
    tables,
    tflite,
)
from pruneflow.exports.decode import smallest, unpack
from pruneflow.exports.encodings import encode
from pruneflow.exports.micro import Micro, MicroFacts
from pruneflow.exports.micro_file import with_decode
from pruneflow.exports.runner import Runner
from pruneflow.flow import prepare
from pruneflow.models.recurrent import Lstm
from pruneflow.runtime import backend

interpreted = pytest.mark.skipif(bool(micro_interpreter.lacking()), reason=micro_interpreter.lacking())

SPEC = Spec("image", (12, 12, 2), 3)


def micro(encoding="auto", limit=None):
    return Micro(name="micro", encoding=encoding, calibration_samples=8, largest_decoded_bytes=limit)


def read_back(stored, shape):
    return unpack(np.frombuffer(stored.positions, np.uint8), np.frombuffer(stored.values, np.uint8), shape)


def test_a_pruned_weight_has_a_bit_for_each_element_and_then_its_values():
    stored = decode._pruned(np.array([[0, -3, 0, 0], [5, 0, 0, 0], [0, 0, 7, 0]] * 3, np.int8))
    assert stored.positions == bytes([0b01001000, 0b00100100, 0b10000010, 0b01001000, 0b00100000])
    assert stored.values[:5] == bytes([2, 1, 0, 0, 1]) and len(stored.values) == 16 + 9
    assert np.frombuffer(stored.values[16:], np.int8).tolist() == [-3, 5, 7] * 3


def test_a_weight_of_few_values_has_their_numbers_and_a_table_for_each_scale():
    weight = np.array([[3, 3, 4, 5] * 10, [-1, -1, -2, -3] * 10], np.int8)
    stored = smallest(weight, 0)
    assert stored.positions[:2] == bytes([0b00000110, 0b00000110])  # 0 0 1 2 in 2 bits each
    assert stored.positions[10:12] == bytes([0b10100100, 0b10100100])  # 2 2 1 0
    assert stored.values[:7] == bytes([0, 1, 0, 0, 1, 0 << 4 | 2, 3])
    assert np.frombuffer(stored.values[16:], np.int8).tolist() == [3, 4, 5, -3, -2, -1]
    assert smallest(weight, None).values[5] == 15 << 4 | 3  # one table for all


@pytest.mark.parametrize("values", [1, 2, 3, 4, 16, 17, 128, 200])
@pytest.mark.parametrize(
    ("shape", "axis"), [((5, 7), 0), ((5, 7), None), ((1, 3, 3, 6), 3), ((4, 3, 3, 2), 0)]
)
def test_a_weight_is_read_back_as_it_was(values, shape, axis):
    rng = np.random.default_rng(values)
    weight = rng.choice(np.arange(-100, 100)[:values], shape).astype(np.int8)
    for way in filter(None, (decode._pruned(weight), decode._looked_up(weight, axis))):
        np.testing.assert_array_equal(read_back(way, shape), weight)


def test_the_way_that_takes_fewer_bytes_is_chosen():
    rng = np.random.default_rng(0)
    pruned = np.where(rng.random((40, 40)) < 0.8, 0, rng.integers(-127, 128, (40, 40))).astype(np.int8)
    shared = rng.choice([-9, 3, 8, 100], (40, 40)).astype(np.int8)
    assert [smallest(weight, 0).values[0] for weight in (pruned, shared)] == [2, 0]


@pytest.mark.parametrize(
    "change",
    [
        lambda p, v: (p[:-1], v),  # positions are missing
        lambda p, v: (p, v[:-1]),  # a value is missing
        lambda p, v: (p, v[:9]),  # no whole header
        lambda p, v: (p, np.append(np.uint8(1), v[1:])),  # Huffman's
        lambda p, v: (p, np.append(v[:4], [np.uint8(2), *v[5:]]).astype(np.uint8)),  # another version
        lambda p, v: (p[:0], np.append(np.uint8(0), v[1:])),  # no bits for an index
    ],
)
def test_what_is_no_weight_is_refused(change):
    stored = smallest(np.array([[0, -3, 0, 0, 5] * 20], np.int8), None)
    given = (np.frombuffer(stored.positions, np.uint8), np.frombuffer(stored.values, np.uint8))
    with pytest.raises((ValueError, LookupError)):
        unpack(*change(*given), (1, 100))


def network(sparsity=0.8, few_values=False):
    """Two convolutions, one of them depthwise, and a dense layer."""
    keras = backend.keras()
    backend.set_seed(1)
    x = inputs = keras.Input(SPEC.shape, name="input")
    x = keras.layers.Conv2D(16, 3, activation="relu", name="conv")(x)
    x = keras.layers.DepthwiseConv2D(5, activation="relu", name="depthwise")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    model = keras.Model(inputs, keras.layers.Dense(SPEC.classes, name="last")(x), name="m")
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            kernel[np.abs(kernel) < np.quantile(np.abs(kernel), sparsity)] = 0
            kernel = np.where(kernel < 0, -0.1, 0.1) if few_values else kernel
            layer.set_weights([kernel, bias])
    return model


def data(spec=SPEC, count=100):
    rng = np.random.default_rng(0)
    if spec.kind == "image":
        x = rng.integers(0, 256, (count, *spec.shape)).astype(np.uint8)
    else:
        x = rng.integers(1, spec.vocabulary_size, (count, *spec.shape)).astype(np.int32)
    part = Part(x, np.arange(count) % spec.classes)
    return Data("some", spec, part, part, part, source="", note="", digest="")


def int8(model, spec=SPEC):
    return micro("dense").convert(model, spec, data(spec).train.x[:8])


def test_the_file_holds_the_weights_of_the_int8_file_in_fewer_bytes():
    before = int8(network())
    after = with_decode(before)
    weights, stored = (tflite.parse(content, "file").weights for content in (before, after))
    assert len(after) < 0.85 * len(before)
    assert {weight.encoding for weight in stored} == {"sparse"}
    for weight, same in zip(weights, stored, strict=True):
        assert (weight.name, weight.shape, weight.zeros) == (same.name, same.shape, same.zeros)
        np.testing.assert_array_equal(weight.values, same.values)
    (last,) = (weight for weight in stored if weight.encoding == "sparse" and "last" in weight.name)
    assert last.size == 1728 and last.densified
    assert last.stored_bytes == 1728 // 8 + 16 + (1728 - last.zeros)


def test_a_weight_above_the_limit_stays_as_it_is():
    before = int8(network())
    assert with_decode(before, largest_bytes=100) == before
    sizes = [weight.size for weight in tflite.parse(before, "file").weights]
    limited = tflite.parse(with_decode(before, largest_bytes=min(sizes), always=True), "file")
    assert [weight.size for weight in limited.weights if weight.encoding == "sparse"] == [min(sizes)]


def test_a_file_without_zeros_or_few_values_is_left_alone():
    before = int8(network(0.0))
    assert with_decode(before) is before


@interpreted
@pytest.mark.parametrize("few_values", [False, True])
def test_the_file_says_what_the_int8_file_says_bit_for_bit(few_values):
    before = int8(network(few_values=few_values))
    after = with_decode(before, always=True)
    headers = {bytes(each)[0] for each in ancillaries(after)}
    assert headers == ({0} if few_values else {2})
    x = SPEC.model_input(data().test.x)
    outputs = [Runner(content, micro=True).outputs(x) for content in (before, after)]
    assert np.ptp(outputs[0]) > 0
    np.testing.assert_array_equal(*outputs)


def ancillaries(content):
    """The second tensor of each weight that is decoded."""
    file = tables.File(content, "file")
    subgraph = tflite._subgraph(file, 0, file.tables(file.model, "Subgraphs")[0])
    return [file.bytes_of(subgraph.tensors[values]) for _, values in subgraph.decoded.values()]


@interpreted
def test_an_lstm_says_the_same_and_forgets_what_it_read_before():
    spec = Spec("tokens", (5,), 2, 60)
    sizes = {"embedding_dim": 16, "units": 32, "bidirectional": False}
    model = Lstm(name="lstm", embedding_dropout=0.0, dropout=0.0, **sizes).build(spec)
    model.set_weights([3 * weight for weight in model.get_weights()])
    before = int8(model, spec)
    after = with_decode(before, always=True)
    assert tflite.parse(after, "file").op_counts["TFLM_DECODE"] == 3
    x = data(spec).test.x
    runners = [Runner(content, micro=True) for content in (before, after)]
    outputs = [runner.outputs(x) for runner in runners]
    assert np.ptp(outputs[0]) > 0
    np.testing.assert_array_equal(*outputs)
    np.testing.assert_array_equal(runners[1].outputs(x[::-1])[::-1], outputs[1])


@interpreted
def test_the_smaller_file_is_kept_and_equal_outputs_are_proved():
    encoded = encode(micro(), network(), data())
    assert encoded.encoding == "sparse" and b"TFLM_DECODE" in encoded.content
    assert [candidate.max_difference for candidate in encoded.candidates] == [0.0, 0.0]
    assert encoded.candidates[0].reason == "larger before compression"
    assert encode(micro(), network(0.0), data()).encoding == "dense"


@interpreted
def test_a_file_that_says_anything_else_is_never_kept(monkeypatch):
    def off_by_one(weight, axis):
        stored = smallest(weight, axis)
        return replace(stored, values=stored.values[:-1] + bytes([stored.values[-1] ^ 1]))

    monkeypatch.setattr(micro_file.decode, "smallest", off_by_one)
    encoded = encode(micro(), network(), data())
    assert encoded.encoding == "dense" and b"TFLM_DECODE" not in encoded.content
    assert "gives other outputs than the dense-encoded one" in encoded.candidates[1].reason
    assert encoded.candidates[1].max_difference > 0
    with pytest.raises(PruneflowError, match=r"export.encoding=sparse: the micro file gives other outputs"):
        encode(micro("sparse"), network(), data())


def test_a_difference_that_rounding_explains_elsewhere_is_too_much_here():
    tried = [encodings._Tried(b"", np.array([[value]]), "") for value in (1.0, 1.0 + 1e-9)]
    content = with_decode(int8(network()))
    sparse = replace(tried[1], content=content)
    assert "gives other outputs" in encodings._objection(micro(), tried[0], sparse)


@interpreted
def test_the_arena_and_the_operations_are_named():
    before = int8(network())
    after = with_decode(before)
    facts = MicroFacts.of(after, before)
    decoded = max(each.size for each in tflite.parse(after, "f").weights if each.encoding == "sparse")
    assert facts.dense_arena_bytes < facts.arena_bytes <= facts.dense_arena_bytes + decoded + 1000
    names = ["AddConv2D", "AddDecode", "AddDepthwiseConv2D", "AddFullyConnected", "AddReshape"]
    assert sorted(facts.adds) == names
    header = facts.header("small.tflite", len(after))
    assert "MicroMutableOpResolver<5>" in header and header.count("resolver.Add") == 5
    assert f"// small.tflite: {len(after):,} bytes." in header


@interpreted
def test_why_a_file_does_not_load_is_said_in_the_words_of_tflite_micro():
    keras = backend.keras()
    inputs = keras.Input((4,), name="input")
    model = keras.Model(inputs, keras.layers.Dense(3, activation="gelu")(inputs))
    spec = Spec("numbers", (4,), 3)
    content = micro("dense").convert(model, spec, np.zeros((2, 4), np.float32))
    with pytest.raises(RuntimeError, match="GELU"):
        Runner(content, micro=True)


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as refused:
        micro().check_installed()
    assert str(refused.value).startswith(
        "export=micro: tflite-micro, which runs files for TFLite Micro here, is not"
    )
    assert 'pip install "pruneflow[micro]"' in str(refused.value)


def test_a_tflite_micro_of_before_decode_is_refused(monkeypatch):
    def found(name):
        if "decode" in name:
            raise ModuleNotFoundError(name)
        return "found"

    monkeypatch.setattr(importlib.util, "find_spec", found)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.dev2024")
    with pytest.raises(ConfigError, match=r"export=micro: tflite-micro 0\.dev2024 has no operation DECODE"):
        micro().check_installed()


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(
        ConfigError, match=f"export.largest_decoded_bytes={limit}: allowed are whole numbers from 1"
    ):
        micro(limit=limit)


@interpreted
@pytest.mark.run
def test_a_run_ships_a_file_for_microcontrollers(tmp_path, capsys):
    words = [*QUICK, "export=micro", "latency.seconds=1", f"hydra.run.dir={tmp_path / 'run'}"]
    assert exit_code(words) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    (file,) = result["tflite"]
    assert (file["kind"], file["encoding"], file["latency"]) == ("micro", "sparse", None)
    assert file["size"]["bytes"] < file["dense_size"]["bytes"] and file["inside"]["masked"] > 0
    assert file["micro"]["arena_bytes"] > file["micro"]["dense_arena_bytes"]
    header = (tmp_path / "run" / "pruned-micro-ops.h").read_text()
    assert "resolver.AddDecode()" in header
    said = capsys.readouterr().out
    assert f"arena {file['micro']['arena_bytes']:,} bytes" in said

    from pruneflow import evaluate

    path = tmp_path / "run" / "pruned-micro.tflite"
    assert evaluate.main([str(path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["files"]
    assert row["accuracy"] == pytest.approx(file["accuracy"]) and "latency" not in row


@interpreted
@pytest.mark.run
def test_an_operation_that_tflite_micro_lacks_is_refused_before_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(prepare, "_tried", {})
    words = [*QUICK, "export=micro", "model.convolution_activation=gelu"]
    assert exit_code(words) == 2
    said = capsys.readouterr().err
    assert (
        "export=micro: the network cannot be exported: the micro file that it is converted to does not run"
        in said
    )
    assert "GELU" in said and "Replace what TFLite Micro cannot run" in said


@interpreted
def test_the_operations_of_tflite_micro_are_those_that_its_wheel_has():
    """Each kernel that is linked has a function Register_NAME, whose symbol begins with its length."""
    version = importlib.metadata.version("tflite-micro")
    if version != micro_operations.RELEASE:
        pytest.skip(f"another release is installed: {version}")
    (folder,) = importlib.util.find_spec("tflite_micro").submodule_search_locations
    module = (Path(folder) / "python" / "tflite_micro" / "_runtime.so").read_bytes()
    symbols = re.findall(rb"(\d+)(Register_\w+)", module)
    linked = {symbol[: int(length)].decode().removeprefix("Register_") for length, symbol in symbols}
    builtin = {name for name in vars(schema_py_generated.BuiltinOperator) if not name.startswith("_")}
    assert linked & builtin | {"TFLM_DECODE"} == micro_operations.KNOWN
    assert "DECODE" in linked
