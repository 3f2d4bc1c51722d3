"""Kinds of files beside float: what is stored how, by chosen layers too, and what is refused."""

import numpy as np
import pytest
from conftest import QUICK
from test_cli import exit_code
from test_export_stage import result_of

import pruneflow
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.errors import ConfigError
from pruneflow.exports import int4, rehearsal
from pruneflow.exports.exporters import DynamicRange, Float, Float16, Int8, Int16x8
from pruneflow.exports.int4 import Int4
from pruneflow.exports.runner import Runner
from pruneflow.exports.several import All, Every
from pruneflow.exports.tflite import parse
from pruneflow.exports.verdict import kind_of
from pruneflow.exports.zeros import held
from pruneflow.flow import pipeline
from pruneflow.runtime import backend
from pruneflow.sparsity.kernels import weights

IMAGES = Spec("image", (8, 8, 1), 4)
TOKENS = Spec("tokens", (5,), 2, 40)
ROWS = Spec("numbers", (64,), 4)


def images():
    layers = backend.keras().layers
    inputs = backend.keras().Input(IMAGES.shape)
    x = layers.Conv2D(16, 3, name="first")(inputs)
    x = layers.Conv2D(16, 3, name="second")(x)
    x = layers.Dense(32, name="wide")(layers.Flatten()(x))
    return backend.keras().Model(inputs, layers.Dense(4, name="last")(x))


def tokens(layer):
    layers = backend.keras().layers
    inputs = backend.keras().Input(TOKENS.shape, dtype="int32")
    x = layers.Embedding(40, 32, name="table")(inputs)
    return backend.keras().Model(inputs, layers.Dense(2, name="last")(layer(x)))


def lstm():
    return tokens(backend.keras().layers.LSTM(32, name="memory"))


def rows(kernel, bias=0.0):
    layer = backend.keras().layers.Dense(kernel.shape[1], name="only")
    model = backend.keras().Sequential([backend.keras().Input(kernel.shape[:1]), layer])
    layer.set_weights([kernel, np.full(kernel.shape[1], bias)])
    return model


def seeded(build):
    backend.keras().utils.set_random_seed(1)
    return build()


def examples(spec, count=6):
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 20, (count, *spec.shape))
    x = drawn.astype({"image": "uint8", "tokens": "int32"}.get(spec.kind, "float32"))
    part = Part(x, np.zeros(count, np.int64))
    return Data("made", spec, part, part, part)


def made(export, model, spec):
    """A file that was run, and the graph in it."""
    data = examples(spec)
    content = export.convert(model, spec, export.samples(data))
    outputs = Runner(content).outputs(spec.model_input(data.train.x))
    assert np.isfinite(outputs).all()
    return content, parse(content, "file.tflite")


def dtypes(graph, model):
    """How each weight is stored."""
    found = held(graph, weights(model))
    return {name: tensors[0].dtype for name, tensors in found.items() if tensors}


def needs_int4():
    pytest.importorskip("litert_quantizer")


def test_float16_has_half_the_bytes_and_the_same_zeros():
    kernel = np.where(np.eye(64, 4) > 0, 0.1, 0.0)
    _, graph = made(Float16(name="x"), rows(kernel), ROWS)
    (weight,) = graph.weights
    assert (weight.dtype, weight.stored_bytes, weight.zeros) == ("float16", 2 * 64 * 4, 64 * 4 - 4)
    assert kind_of(graph) == "float16"


def test_int16x8_has_int8_weights_and_reads_and_gives_int16():
    _, graph = made(Int16x8(name="x", calibration_samples=6), seeded(images), IMAGES)
    assert {weight.dtype for weight in graph.weights} == {"int8"}
    assert (graph.inputs[0].dtype, graph.outputs[0].dtype, kind_of(graph)) == ("int16", "int16", "int16x8")


def test_int4_has_seven_steps_on_each_side_of_zero_and_a_scale_for_each_output():
    needs_int4()
    kernel = np.zeros((64, 4))
    kernel[:5, 0] = [7, -3, 0.4, 0.6, 0]  # scale 1
    kernel[:2, 1] = [0.5, -1.4]  # scale 0.2
    _, graph = made(Int4(name="x"), rows(kernel), ROWS)
    (weight,) = graph.weights
    assert (weight.dtype, weight.stored_bytes) == ("int4", 64 * 4 // 2)
    assert weight.stored[0, :5].tolist() == [7, -3, 0, 1, 0]
    np.testing.assert_allclose(weight.values[1, :3], [0.4, -1.4, 0], rtol=1e-6)
    assert not weight.stored[2:].any() and not weight.stored[:, 5:].any()  # zeros stay zero
    assert kind_of(graph) == "int4"


def test_blocks_have_scales_of_their_own_and_blocks_of_zeros_stay_zero():
    needs_int4()
    kernel = np.zeros((64, 4))
    kernel[:32, 0], kernel[32:, 0] = 7.0, 0.5
    kernel[40:, 1] = 14.0
    _, graph = made(Int4(name="x", block_size=32), rows(kernel), ROWS)
    (weight,) = graph.weights
    np.testing.assert_allclose(weight.values, kernel.T, rtol=0.01)  # scales are float16, 7 bits of it
    assert weight.zeros == 4 * 64 - 64 - 24


def test_blocks_that_no_layer_can_have_are_refused_with_the_number_of_inputs():
    needs_int4()
    with pytest.raises(ConfigError, match=r"^export.block_size=128: .* they have 64 inputs\. Take null"):
        Int4(name="x", block_size=128).trial(rows(np.ones((64, 4))), ROWS, np.zeros((0, 64)))


def test_blocks_that_no_layer_has_once_it_is_cut_are_left_out(capsys):
    """A run is not lost by that: it was trained before."""
    needs_int4()
    _, graph = made(Int4(name="x", block_size=128), rows(np.ones((64, 4))), ROWS)
    assert graph.weights[0].dtype == "int4"
    said = " ".join(capsys.readouterr().out.split())
    assert "export.block_size=128 divides the inputs of no fully connected layer; they have 64" in said


@pytest.mark.parametrize(
    ("size", "layers", "said"),
    [(None, ["*"], ""), (64, ["*"], ""), (64, ["o*"], ""), (128, ["*"], "they have about 64 inputs")],
)
def test_blocks_that_a_cut_network_cannot_have_are_told_before(size, layers, said):
    found = Int4(name="x", block_size=size, layers=layers).said_of_cut(rows(np.ones((64, 4))))
    assert (said in found) if said else not found


def test_a_run_that_cuts_says_before_training_that_blocks_will_not_fit(composed):
    """A quarter of 128 and of 64 units leaves 96 and 48, which 64 does not divide; 784 pixels neither."""
    needs_int4()
    words = ["model=mlp", "structure=channel", "structure.of=channels", "schedule=constant"]
    words += ["schedule.final_sparsity=0.25", "export=int4", "export.block_size=64"]
    for multiple, told in ((1, 1), (64, 0)):
        ready = pipeline.prepare(composed(*QUICK, *words, f"structure.multiple={multiple}"))
        assert sum("export.block_size=64" in note for note in ready.notes) == told


def test_weights_alone_are_dequantized_before_they_are_used():
    needs_int4()
    _, graph = made(Int4(name="x", weights_only=True), rows(np.ones((64, 4))), ROWS)
    assert graph.op_counts == {"DEQUANTIZE": 1, "FULLY_CONNECTED": 1}
    assert graph.weights[0].dtype == "int4"


def test_what_has_no_int4_kernel_becomes_int8():
    needs_int4()
    model = seeded(lstm)
    _, graph = made(Int4(name="x"), model, TOKENS)
    assert dtypes(graph, model) == {
        "table/embeddings": "int8",
        "memory/kernel": "int8",
        "memory/recurrent_kernel": "int8",
        "last/kernel": "int4",
    }


def test_int4_of_chosen_layers_leaves_the_others_int8_or_float():
    needs_int4()
    model = seeded(images)
    _, graph = made(Int4(name="x", layers=["wide"]), model, IMAGES)
    assert dtypes(graph, model) == {
        "first/kernel": "float32",  # of fewer than 1,024 elements
        "second/kernel": "int8",
        "wide/kernel": "int4",
        "last/kernel": "float32",
    }


@pytest.mark.parametrize("layers", [["memory"], ["tab*", "mem*"]])
def test_int4_of_layers_without_a_kernel_is_refused(layers):
    needs_int4()
    with pytest.raises(ConfigError, match=r"UNIDIRECTIONAL_SEQUENCE_LSTM\. Take export=dynamic-range"):
        made(Int4(name="x", layers=layers), seeded(lstm), TOKENS)


@pytest.mark.parametrize(
    "export",
    [DynamicRange(name="x", layers=["sec*"]), Int8(name="x", layers=["sec*"], calibration_samples=6)],
    ids=["dynamic-range", "int8"],
)
def test_only_chosen_layers_are_quantized(export):
    model = seeded(images)
    _, graph = made(export, model, IMAGES)
    others = {f"{name}/kernel": "float32" for name in ("first", "wide", "last")}
    assert dtypes(graph, model) == {"second/kernel": "int8", **others}
    of_keras = model.get_layer("wide").kernel.numpy()
    stored = held(graph, weights(model))["wide/kernel"][0].values
    np.testing.assert_array_equal(stored, of_keras.T)  # the same bits


def test_an_embedding_that_is_not_chosen_is_looked_up_as_float():
    model = seeded(lstm)
    _, graph = made(DynamicRange(name="x", layers=["memory"]), model, TOKENS)
    found = dtypes(graph, model)
    assert (found["table/embeddings"], found["memory/kernel"]) == ("float32", "int8")
    assert "DEQUANTIZE" not in graph.op_counts
    _, graph = made(DynamicRange(name="x", layers=["table"]), model, TOKENS)
    assert dtypes(graph, model)["memory/kernel"] == "float32"


def test_layers_of_a_loop_are_found():
    needs_int4()
    model = seeded(lambda: tokens(backend.keras().layers.GRU(32, name="memory")))
    _, graph = made(Int4(name="x", layers=["memory"]), model, TOKENS)
    found = dtypes(graph, model)
    assert (found["memory/kernel"], found["table/embeddings"]) == ("int4", "int8")
    assert found["last/kernel"] == "float32"


def attention():
    layers = backend.keras().layers
    inputs = backend.keras().Input((6, 32))
    x = layers.Flatten()(layers.MultiHeadAttention(2, 16, name="attend")(inputs, inputs))
    return backend.keras().Model(inputs, layers.Dense(32, name="last")(x))


def stacked():
    layers = backend.keras().layers
    cells = layers.StackedRNNCells([layers.LSTMCell(32), layers.LSTMCell(32)])
    inputs = backend.keras().Input((6, 32))
    x = layers.RNN(cells, name="memory")(inputs)
    return backend.keras().Model(inputs, layers.Dense(32, name="last")(x))


@pytest.mark.parametrize(("build", "layer"), [(attention, "attend"), (stacked, "memory")])
def test_a_layer_with_parts_is_chosen_by_its_name(build, layer):
    """Names of its weights have parts too: attend/query/kernel, memory/cell_0/kernel."""
    export, model, spec = DynamicRange(name="x", layers=[layer]), seeded(build), Spec("numbers", (6, 32), 32)
    export.check_layers(model)
    graph = parse(export.convert(model, spec, export.samples(examples(spec))), "file.tflite")
    assert dtypes(graph, model)["last/kernel"] == "float32"
    assert [weight.dtype for weight in graph.weights].count("int8") == 4


def test_all_layers_are_the_file_of_before():
    model = seeded(images)
    settings = {"option": "dynamic-range", "encoding": "dense"}
    assert DynamicRange(name="x").identity() == settings
    assert DynamicRange(name="x", layers=["wide"]).identity() == {**settings, "layers": ["wide"]}
    DynamicRange(name="x", layers=["wid?", "last"]).check_layers(model)


def test_a_pattern_that_matches_no_layer_names_those_there_are():
    with pytest.raises(ConfigError, match=r"^export.layers=dense\*: .* first, second, wide, last\. "):
        DynamicRange(name="x", layers=["wide", "dense*"]).check_layers(images())


def test_int8_of_some_layers_is_refused_for_an_lstm():
    with pytest.raises(ConfigError, match=r"gets the LSTM of TFLite wrong\. Take export=dynamic-range"):
        Int8(name="x", layers=["last"], calibration_samples=1).check_layers(lstm())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Int4(name="x", block_size=33), "export.block_size=33: allowed are 32, 64, 128, 256, null."),
        (lambda: Int4(name="x", block_size=32, weights_only=True), "export.block_size=32: weights that are"),
        (
            lambda: All(name="all", encoding="sparse", calibration_samples=1),
            "export.encoding=sparse: export=all makes files of several kinds",
        ),
        (
            lambda: Every(name="every", encoding="sparse", calibration_samples=1, kinds=["float", "int8"]),
            "export.encoding=sparse: export=every makes files of several kinds",
        ),
        (lambda: Int4(name="x", encoding="auto"), "export.encoding=auto: a file of the kind int4 has no"),
        (lambda: DynamicRange(name="x", layers=[]), "export.layers=[]: no layer would be quantized"),
        (lambda: DynamicRange(name="x", layers=["a"], encoding="auto"), "export.encoding=auto: a file in"),
        (lambda: Int16x8(name="x", calibration_samples=0), "export.calibration_samples=0: allowed are"),
    ],
)
def test_settings_that_no_file_can_have_are_refused(make, said):
    with pytest.raises(ConfigError) as answer:
        make()
    assert str(answer.value).startswith(said)


def test_kinds_that_run_sparse_may_be_sparse():
    found = Every(name="every", encoding="sparse", calibration_samples=1, kinds=["float"]).exports()
    assert [(each.kind, each.encoding) for each in found] == [("float", "sparse")]


def test_the_line_that_installs_int4_is_named_before_anything_else(composed, monkeypatch):
    monkeypatch.setattr(int4.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'^export=int4: .* pip install "pruneflow\[int4\]"'):
        composed("export=int4")
    with pytest.raises(ConfigError, match=r'pip install "pruneflow\[int4\]"'):
        pruneflow.export(rows(np.ones((64, 4))), kind="int4")
    with pytest.raises(ConfigError, match=r"^kind=int4: litert-quantizer is not installed"):
        pruneflow.export(rows(np.ones((64, 4))), kind="int4")


def test_the_library_names_its_own_arguments(capsys):
    needs_int4()
    with pytest.raises(ConfigError, match=r"^kind=int4: there are .* Take kind=dynamic-range"):
        pruneflow.export(seeded(lstm_alone), kind="int4")


def lstm_alone():
    layers = backend.keras().layers
    inputs = backend.keras().Input((5, 32))
    return backend.keras().Model(inputs, layers.LSTM(32, name="memory")(inputs))


def test_every_kind_beside_the_three_of_all():
    common = {"encoding": "auto", "compression": "zstd", "calibration_samples": 3}
    kinds = ["float", "float16", "dynamic-range", "int8", "int16x8", "int4"]
    three = All(name="all", **common).exports()
    every = Every(name="every", kinds=kinds, **common).exports()
    assert [each.kind for each in three] == ["float", "dynamic-range", "int8"]
    assert [each.kind for each in every] == kinds
    assert [each.encoding for each in every] == ["auto"] * 4 + ["dense"] * 2
    assert {each.compression for each in every} == {"zstd"}


def test_only_kinds_that_are_wanted_are_made_and_others_are_refused(composed):
    wanted = composed("export=every", "export.kinds=[int8,float]").export
    assert [each.kind for each in wanted.exports()] == ["float", "int8"]
    with pytest.raises(ConfigError, match=r"export.kinds=int2: allowed are float, float16"):
        composed("export=every", "export.kinds=[int2]")
    with pytest.raises(ConfigError, match=r"export.kinds=\[\]: no kind is wanted"):
        composed("export=every", "export.kinds=[]")


def test_kinds_that_a_network_cannot_have_are_left_out_with_the_reason(composed, monkeypatch):
    monkeypatch.setattr(int4.importlib.util, "find_spec", lambda name: None)
    config = composed("model=gru", "dataset=imdb", "export=every")
    left = rehearsal.try_exports(config.export, config.model, examples(TOKENS))
    assert left == {
        "int8": "TFLite has a GRU as a loop, and the converter crashes when it quantizes one",
        "int16x8": "TFLite has a GRU as a loop, and the converter crashes when it quantizes one",
        "int4": "litert-quantizer is not installed",
    }


def test_an_lstm_is_not_exported_as_int16x8(composed):
    with pytest.raises(ConfigError, match=r"^export=int16x8: the converter cannot make the LSTM"):
        composed("model=lstm", "dataset=imdb", "export=int16x8")


def test_an_activation_that_int16x8_lacks_is_refused_before_training(composed):
    config = composed(*QUICK, "model.convolution_activation=elu", "export=int16x8")
    with pytest.raises(ConfigError, match=r"export=int16x8"):
        pipeline.prepare(config)


@pytest.mark.run
def test_a_run_makes_every_kind_in_one_table_and_says_what_is_int4(tmp_path, capsys):
    needs_int4()
    assert exit_code([*QUICK, "export=every", "latency.seconds=0.1"]) == 0
    printed = capsys.readouterr().out
    result, _ = result_of(tmp_path)
    kinds = ["float", "float16", "dynamic-range", "int8", "int16x8", "int4"]
    assert [file["kind"] for file in result["tflite"]] == kinds
    assert all(f"TFLite {kind}" in printed for kind in kinds)
    assert "Weights  int4: conv2d/kernel, dense/kernel" in printed
    last = result["tflite"][-1]
    assert last["inside"]["masked"] > 0 and not last["inside"]["not_found"]
    assert "Beside dense-float.tflite: " in last["latency"]["verdict"]
    assert last["latency"]["against_float"]["rounds"] == last["latency"]["speedup"]["rounds"]
    assert result["tflite"][0]["latency"]["against_float"] is None


@pytest.mark.parametrize("kind", ["float16", "int16x8", "int4"])
def test_the_library_exports_all_kinds(kind):
    if kind == "int4":
        needs_int4()
    inputs = np.random.default_rng(0).normal(size=(50, 64)).astype("float32")
    kernel = np.random.default_rng(1).normal(size=(64, 4))
    exported = pruneflow.export(rows(kernel), kind=kind, examples=inputs, tolerance=0.1)
    assert kind_of(parse(exported, "file")) == kind and exported.agreement > 0.8
    plain = Float(name="x").convert(rows(kernel), ROWS, np.zeros(0))
    assert len(exported) < len(plain)
