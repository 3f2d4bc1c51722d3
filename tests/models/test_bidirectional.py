"""An LSTM that reads texts in both directions, from its layers to its files."""

from functools import cache

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pruneflow.datasets.spec import Spec
from pruneflow.errors import PruneflowError
from pruneflow.exports.exporters import DynamicRange, Float, Int8
from pruneflow.exports.tflite import parse
from pruneflow.exports.zeros import require_masked, trace
from pruneflow.models.options import Lstm
from pruneflow.runtime import backend
from pruneflow.sparsity import kernels

LENGTH, WORDS = 12, 200
TOKENS = Spec("tokens", (LENGTH,), 2, WORDS)
EXPORTS = {
    "float": Float(name="float"),
    "dynamic-range": DynamicRange(name="dynamic-range"),
    "int8": Int8(name="int8", calibration_samples=32),
}
MOST_DIFFERENCE = {"float": 1e-6, "dynamic-range": 0.01, "int8": 0.015}  # in probability
DIRECTIONS = ("forward", "backward")
MATRICES = [f"bidirectional/{half}/{kind}kernel" for half in DIRECTIONS for kind in ("", "recurrent_")]


def network(*, bidirectional=True, units=32, embedding_dim=32, scale=20.0, seed=5):
    """Random weights; with as many units as inputs, all sixteen matrices of the gates have one shape.

    Args:
        bidirectional: The option's setting.
        units: The same.
        embedding_dim: The same.
        scale: Factor on word vectors: Keras' own, of 0.05 at most, leave the outputs near 0.
        seed: Of the weights.
    """
    backend.keras().utils.set_random_seed(seed)
    model = Lstm(
        name="lstm",
        embedding_dim=embedding_dim,
        units=units,
        bidirectional=bidirectional,
        embedding_dropout=0.5,
        dropout=0.5,
    ).build(TOKENS)
    variables = {"embedding": scale, "dense": 3.0}
    for name, factor in variables.items():
        layer = model.get_layer(name)
        layer.set_weights([weight * np.float32(factor) for weight in layer.get_weights()])
    return model


def tokens(count=32):
    return np.random.default_rng(1).integers(0, WORDS, (count, LENGTH)).astype("int32")


def convert(model, export, *, sparse=False):
    return EXPORTS[export].convert(model, TOKENS, tokens(), sparse=sparse)


@cache
def file_of(export, sparse=False):
    """The file of ``network()``: conversions take seconds, so that tests share them."""
    return convert(network(), export, sparse=sparse)


@cache
def pruned_network():
    """``network()`` as ``pruned`` leaves it, and the masks; no test changes them."""
    model = network()
    return model, pruned(model)


@cache
def pruned_file_of(export, sparse=False):
    """The file of the same."""
    return convert(pruned_network()[0], export, sparse=sparse)


def scores(content, samples):
    """What a file gives for each sample, (n,) float."""
    interpreter = backend.litert().Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (read,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    values = []
    for sample in samples:
        interpreter.reset_all_variables()
        interpreter.set_tensor(read["index"], sample[np.newaxis])
        interpreter.invoke()
        values.append(interpreter.get_tensor(made["index"]).item())
    if made["dtype"] == np.float32:
        return np.asarray(values)
    scale, zero_point = made["quantization"]
    return (np.asarray(values, np.float64) - zero_point) * scale


def predicted(model, samples):
    return model(samples, training=False).numpy()[:, 0]


def pruned(model, sparsity=0.75, names=None):
    """Zero weights at random, another pattern for each, and return the masks."""
    rng = np.random.default_rng(3)
    masks = {}
    for layer in model.layers:
        for name, variable in variables_of(layer).items():
            if variable.shape.rank >= 2 and (names is None or name in names):
                masks[name] = (rng.random(variable.shape) >= sparsity).astype(np.float32)
                variable.assign(variable.numpy() * masks[name])
    return masks


def variables_of(layer):
    """Weights by name; those of a bidirectional layer come half by half."""
    names = [variable.name.split("/")[-1].split(":")[0] for variable in layer.weights]
    if layer.name == "bidirectional":
        names = [
            f"{half}/{name}" for half, name in zip(["forward"] * 3 + ["backward"] * 3, names, strict=True)
        ]
    return {f"{layer.name}/{name}": each for name, each in zip(names, layer.weights, strict=True)}


def test_the_setting_is_off_unless_it_is_asked_for(composed):
    assert composed("model=lstm", "dataset=imdb").model.bidirectional is False
    model = composed("model=lstm", "dataset=imdb", "model.bidirectional=true").model
    assert model.bidirectional is True


@pytest.mark.parametrize("bidirectional", [False, True])
def test_both_halves_have_the_weights_of_one_and_the_classifier_reads_both(bidirectional):
    model = network(bidirectional=bidirectional, units=7, embedding_dim=5)
    one = 4 * 7 * (5 + 7 + 1)
    halves = 2 if bidirectional else 1
    assert model.count_params() == WORDS * 5 + halves * (one + 7) + 1
    assert model.output_shape == (None, 1)


@pytest.mark.run
def test_layers_and_weights_have_the_same_names_in_every_build():
    first, second = network(), network()
    assert [layer.name for layer in first.layers] == [
        *("input", "embedding", "embedding_dropout", "bidirectional", "dropout", "dense")
    ]
    assert [variable.name for variable in first.weights] == [variable.name for variable in second.weights]
    assert [name for name in kernels.weights(first) if name.endswith("kernel")] == [*MATRICES, "dense/kernel"]


@pytest.mark.run
@pytest.mark.parametrize(("export", "sparse"), [("float", True), ("int8", False)])
def test_equal_weights_give_equal_bytes_in_every_build(export, sparse):
    assert file_of(export, sparse) == convert(network(), export, sparse=sparse)


@pytest.mark.run
def test_a_sparse_lstm_of_one_direction_gives_equal_bytes_too():
    made = [convert(network(bidirectional=False), "float", sparse=True) for _ in range(2)]
    assert made[0] == made[1]


def test_the_second_half_reads_the_text_backwards():
    both, forward = network(), network(bidirectional=False)
    weights = kernels.weights(both)
    for half, samples in (("forward", tokens()), ("backward", tokens()[:, ::-1])):
        kernel = weights["dense/kernel"].copy()
        kernel[slice(32, None) if half == "forward" else slice(32)] = 0  # the other half
        both.get_layer("dense").set_weights([kernel, weights["dense/bias"]])
        of_half = [weights[f"bidirectional/{half}/{name}"] for name in ("kernel", "recurrent_kernel", "bias")]
        forward.get_layer("embedding").set_weights([weights["embedding/embeddings"]])
        forward.get_layer("lstm").set_weights(of_half)
        forward.get_layer("dense").set_weights([kernel[kernel.any(axis=1)], weights["dense/bias"]])
        np.testing.assert_allclose(predicted(both, tokens()), predicted(forward, samples), atol=1e-6)


# Keras' own word vectors are small, trained ones are not: int8 must hold both.
@pytest.mark.run
@pytest.mark.parametrize(
    ("export", "bidirectional", "scale"),
    [
        ("float", True, 20.0),
        ("dynamic-range", True, 20.0),
        ("int8", True, 20.0),
        ("int8", True, 5.0),
        ("int8", False, 5.0),
        ("int8", True, 40.0),
    ],
)
def test_the_file_agrees_with_keras(export, bidirectional, scale):
    model = network(bidirectional=bidirectional, scale=scale)
    keras = predicted(model, tokens())
    shared = bidirectional and scale == 20.0
    file = scores(file_of(export) if shared else convert(model, export), tokens())
    assert np.ptp(keras) > 0.01
    np.testing.assert_allclose(file, keras, atol=MOST_DIFFERENCE[export])
    assert np.abs(np.mean(file - keras)) < MOST_DIFFERENCE[export] / 4  # no shift


@pytest.mark.run
def test_a_sparse_encoded_file_runs_and_gives_the_same():
    dense, sparse = (scores(pruned_file_of("float", sparse), tokens()) for sparse in (False, True))
    np.testing.assert_allclose(sparse, dense, atol=1e-6)


@pytest.mark.parametrize("export", ["float", "int8"])
def test_the_file_has_two_fused_operations_and_keeps_their_states(export):
    graph = parse(file_of(export), "both.tflite")
    counts = graph.op_counts
    assert (counts["UNIDIRECTIONAL_SEQUENCE_LSTM"], counts["REVERSE_V2"]) == (2, 1)
    assert "WHILE" not in counts
    assert graph.stateful
    gates = [weight for weight in graph.weights if weight.shape == (32, 32)]
    assert len(gates) == 16
    assert {weight.dtype for weight in gates} == {"float32" if export == "float" else "int8"}


@pytest.mark.run
def test_both_directions_multiply():
    graph = parse(convert(network(units=4, embedding_dim=6), "float"), "both.tflite")
    # 12 steps x (4 gates x (6 x 4 + 4 x 4)) for each direction, then 8 x 1
    assert [op.multiply_adds for op in graph.ops if op.multiply_adds] == [1920, 1920, 8]
    assert graph.multiply_adds == 3848


@pytest.mark.run
def test_what_is_pruned_is_not_counted_among_the_multiply_adds_that_are_left():
    model = network(units=4, embedding_dim=6)
    masks = pruned(model, 0.5, names=MATRICES)
    graph = parse(convert(model, "float"), "both.tflite")
    kept = {half: sum(masks[name].sum() for name in MATRICES if half in name) for half in DIRECTIONS}
    left = [op.nonzero_multiply_adds for op in graph.ops if op.name == "UNIDIRECTIONAL_SEQUENCE_LSTM"]
    assert left == [12 * kept["backward"], 12 * kept["forward"]]  # the one that is reversed comes first


@pytest.mark.run
@pytest.mark.parametrize(
    ("export", "sparse"), [("float", False), ("float", True), ("dynamic-range", False), ("int8", False)]
)
def test_the_zeros_of_both_directions_are_found_and_masked(export, sparse):
    model, masks = pruned_network()
    graph = parse(pruned_file_of(export, sparse), "both.tflite")
    traced = {weight.name: weight for weight in trace(graph, kernels.weights(model), masks)}
    assert list(traced) == ["embedding/embeddings", *MATRICES, "dense/kernel"]
    for name, weight in traced.items():
        assert len(weight.tensors) == (4 if name in MATRICES else 1)
        assert (weight.violated, weight.masked) == (0, int((masks[name] == 0).sum()))
        assert weight.zeros == weight.masked + weight.added
        assert weight.added <= (0 if export == "float" else 0.02 * weight.size)
        if name in MATRICES:
            assert weight.dtype == ("float32" if export == "float" else "int8")
    assert len({tensor for weight in traced.values() for tensor in weight.tensors}) == 18
    require_masked(traced.values(), "both.tflite")


@pytest.mark.parametrize("export", ["float", "int8"])
def test_each_tensor_is_given_to_the_direction_that_reads_it(export):
    model = network()
    graph = parse(file_of(export), "both.tflite")
    tensors = {weight.tensor: weight.name for weight in graph.weights}
    traced = {each.name: each for each in trace(graph, kernels.weights(model), {}, pruned_only=False)}
    lstms = [op for op in graph.ops if op.name == "UNIDIRECTIONAL_SEQUENCE_LSTM"]
    for half, op in zip(("backward", "forward"), lstms, strict=True):
        read = [tensors[index] for index in op.inputs[1:9]]
        found = traced[f"bidirectional/{half}/kernel"], traced[f"bidirectional/{half}/recurrent_kernel"]
        assert list(found[0].tensors + found[1].tensors) == read


@pytest.mark.run
@pytest.mark.parametrize("export", ["float", "int8"])
@pytest.mark.parametrize("kind", ["kernel", "recurrent_kernel"])
def test_masks_of_the_wrong_direction_are_found_out(kind, export):
    model, masks = pruned_network()
    graph = parse(pruned_file_of(export), "both.tflite")
    forward, backward = (f"bidirectional/{half}/{kind}" for half in DIRECTIONS)
    masks = {**masks, forward: masks[backward], backward: masks[forward]}
    traced = trace(graph, kernels.weights(model), masks)
    assert {weight.name for weight in traced if weight.violated} == {forward, backward}


@pytest.mark.parametrize("export", ["float", "int8"])
def test_one_byte_that_was_changed_in_one_direction_is_detected(export):
    model, masks = pruned_network()
    content, name = pruned_file_of(export), "bidirectional/backward/recurrent_kernel"
    tensors = trace(parse(content, "both"), kernels.weights(model), {name: masks[name]})[0].tensors
    gate = next(weight for weight in parse(content, "both").weights if weight.name == tensors[2])
    row, column = np.argwhere(masks[name].T[64:96] == 0)[9]
    place = content.index(gate.stored.tobytes()) + (row * 32 + column) * gate.stored.itemsize
    step = np.array([1], gate.stored.dtype).tobytes()
    tampered = content[:place] + step + content[place + len(step) :]
    traced = trace(parse(tampered, "both"), kernels.weights(model), masks)
    assert {weight.name: weight.violated for weight in traced if weight.violated} == {name: 1}
    with pytest.raises(PruneflowError, match=rf"{name} in 1 of {int((masks[name] == 0).sum())} positions"):
        require_masked(traced, "both")


@pytest.mark.run
def test_directions_with_equal_weights_are_both_found():
    model = network()
    masks = pruned(model)
    kernel, recurrent, bias, *_ = model.get_layer("bidirectional").get_weights()
    model.get_layer("bidirectional").set_weights([kernel, recurrent, bias] * 2)
    for kind in ("kernel", "recurrent_kernel"):
        masks[f"bidirectional/backward/{kind}"] = masks[f"bidirectional/forward/{kind}"]
    traced = trace(parse(convert(model, "int8"), "both"), kernels.weights(model), masks)
    found = {weight.name: (len(weight.tensors), weight.violated) for weight in traced}
    assert [found[name] for name in MATRICES] == [(4, 0)] * 4


@pytest.mark.run
def test_a_direction_that_is_all_zeros_is_found():
    model = network()
    masks = pruned(model)
    *forward, kernel, recurrent, bias = model.get_layer("bidirectional").get_weights()
    model.get_layer("bidirectional").set_weights([*forward, 0 * kernel, 0 * recurrent, bias])
    masks |= {name: 0 * masks[name] for name in MATRICES if "backward" in name}
    traced = {w.name: w for w in trace(parse(convert(model, "int8"), "x"), kernels.weights(model), masks)}
    for name in MATRICES:
        assert (len(traced[name].tensors), traced[name].violated) == (4, 0)
        assert traced[name].zeros == traced[name].masked + traced[name].added


@pytest.mark.parametrize(("export", "sparse"), [("float", True), ("int8", False)])
def test_nothing_is_left_in_a_file_that_depends_on_what_was_converted_before(export, sparse):
    content = file_of(export, sparse)
    file = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    used = {tensor.buffer for subgraph in file.subgraphs for tensor in subgraph.tensors}
    used |= {metadata.buffer for metadata in file.metadata}
    left = [buffer.data for index, buffer in enumerate(file.buffers) if index not in used]
    assert not any(np.any(data) for data in left if data is not None)
    if sparse:  # such a file is put together anew: its buffers lie where the format wants them
        start = np.frombuffer(content, np.uint8).ctypes.data
        places = [each.data.ctypes.data - start for each in file.buffers if each.data is not None]
        assert len(places) > 10 and not any(place % 16 for place in places)
        assert flatbuffers.util.BufferHasIdentifier(content, 0, b"TFL3")


@pytest.mark.parametrize(("kind", "recurrent_dropout"), [("int8", 0.0), ("float", 0.2)])
def test_an_lstm_that_drops_its_inputs_in_training_is_converted_too(kind, recurrent_dropout):
    layers = backend.keras().layers
    inputs = backend.keras().Input(TOKENS.shape, dtype="int32", name="input")
    x = layers.Embedding(WORDS, 4, name="embedding")(inputs)
    x = layers.LSTM(4, dropout=0.2, recurrent_dropout=recurrent_dropout, name="lstm")(x)
    model = backend.keras().Model(inputs, layers.Dense(2, name="dense")(x), name="dropped")
    model(tokens(), training=True)  # draws a mask, which the layer keeps
    found = parse(EXPORTS[kind].convert(model, TOKENS, tokens()), "dropped.tflite").op_counts
    assert ("WHILE" if recurrent_dropout else "UNIDIRECTIONAL_SEQUENCE_LSTM") in found
