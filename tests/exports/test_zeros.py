from dataclasses import replace

import numpy as np
import pytest

from pruneflow.datasets.spec import Spec
from pruneflow.errors import PruneflowError
from pruneflow.exports.exporters import DynamicRange, Float, Int8
from pruneflow.exports.tflite import Graph, Weight, parse
from pruneflow.exports.zeros import TracedWeight, require_masked, trace
from pruneflow.models.options import Cnn, Lstm
from pruneflow.runtime import backend

EXPORTS = {
    "float": Float(name="float"),
    "dynamic-range": DynamicRange(name="dynamic-range"),
    "int8": Int8(name="int8", calibration_samples=4),
}
IMAGES = Spec("image", (12, 12, 1), 3)
TOKENS = Spec("tokens", (5,), 2, 60)


def cnn(normalization="none"):
    return Cnn(
        name="cnn",
        filters=[8, 16],
        kernel_size=3,
        padding="same",
        pool_size=2,
        convolution_activation="relu",
        batch_normalization=normalization,
        dense_units=[32],
        dropout=0.0,
        output_activation="linear",
    ).build(IMAGES)


def lstm():
    # as many units as inputs, so that all eight matrices of the LSTM have one shape
    return Lstm(
        name="lstm", embedding_dim=32, units=32, bidirectional=False, embedding_dropout=0.0, dropout=0.0
    ).build(TOKENS)


def weights_of(model):
    return {
        f"{layer.name}/{variable.name.split('/')[-1].split(':')[0]}": variable.numpy()
        for layer in model.layers
        for variable in layer.weights
    }


def pruned(model, sparsity=0.75, only=None):
    """Zero weights of ``model`` at random, and return the masks."""
    rng = np.random.default_rng(3)
    masks = {}
    for layer in model.layers:
        for variable in layer.weights:
            name = f"{layer.name}/{variable.name.split('/')[-1].split(':')[0]}"
            if len(variable.shape) >= 2 and only in (None, name):
                masks[name] = (rng.random(variable.shape) >= sparsity).astype(np.float32)
                variable.assign(variable.numpy() * masks[name])
    return masks


def convert(model, spec, export="float", *, sparse=False):
    samples = np.random.default_rng(1).integers(0, 60, (4, *spec.shape))
    samples = samples.astype("uint8" if spec.kind == "image" else "int32")
    return EXPORTS[export].convert(model, spec, samples, sparse=sparse)


def dense_stack(units, **options):
    """Layers dense_0, dense_1, ... without activations, on as many inputs as the first has units."""
    layers = backend.keras().layers
    x = inputs = backend.keras().Input((units[0],), name="input")
    for index, count in enumerate(units[1:]):
        x = layers.Dense(count, name=f"dense_{index}", activation="relu", **options)(x)
    return backend.keras().Model(inputs, x, name="stack"), Spec("image", (units[0],), units[-1])


@pytest.fixture(autouse=True)
def seeded():
    backend.keras().utils.set_random_seed(5)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("export", EXPORTS)
def test_all_pruned_weights_of_a_cnn_are_found_and_masked(export, sparse):
    model = cnn()
    masks = pruned(model)
    graph = parse(convert(model, IMAGES, export, sparse=sparse), "cnn.tflite")
    traced = {weight.name: weight for weight in trace(graph, weights_of(model), masks)}
    assert list(traced) == ["conv2d/kernel", "conv2d_1/kernel", "dense/kernel", "dense_1/kernel"]
    for name, weight in traced.items():
        assert len(weight.tensors) == 1
        assert weight.violated == 0
        assert weight.size == masks[name].size
        assert weight.masked == int((masks[name] == 0).sum())
        assert weight.zeros == weight.masked + weight.added
        assert weight.added == 0 or export != "float"
        assert weight.added < 0.05 * weight.size
    assert traced["dense/kernel"].dtype == ("float32" if export == "float" else "int8")
    assert traced["dense/kernel"].encoding == ("sparse" if sparse else "dense")
    require_masked(traced.values(), "cnn.tflite")


@pytest.mark.run
@pytest.mark.parametrize("export", EXPORTS)
def test_the_gates_of_a_fused_lstm_are_found_apart(export):
    model = lstm()
    masks = pruned(model)
    graph = parse(convert(model, TOKENS, export), "lstm.tflite")
    traced = {weight.name: weight for weight in trace(graph, weights_of(model), masks)}
    assert {name: len(weight.tensors) for name, weight in traced.items()} == {
        "embedding/embeddings": 1,
        "lstm/kernel": 4,
        "lstm/recurrent_kernel": 4,
        "dense/kernel": 1,
    }
    assert len({tensor for weight in traced.values() for tensor in weight.tensors}) == 10
    assert [weight.violated for weight in traced.values()] == [0, 0, 0, 0]


@pytest.mark.parametrize("export", EXPORTS)
def test_batch_normalization_folded_into_a_convolution_is_seen_through(export):
    layers = backend.keras().layers
    x = inputs = backend.keras().Input((6, 6, 2), name="input")
    for index in range(2):  # both kernels are (3, 3, 2, 2); each of their channels gets a factor of its own
        x = layers.Conv2D(2, 3, name=f"conv_{index}", padding="same")(x)
        x = layers.BatchNormalization(
            name=f"normalization_{index}",
            gamma_initializer=backend.keras().initializers.RandomUniform(-3, 3, seed=index),
        )(x)
        x = layers.ReLU(name=f"relu_{index}")(x)
    model = backend.keras().Model(inputs, layers.Flatten(name="flatten")(x), name="folded")
    masks = pruned(model, sparsity=0.5)
    graph = parse(convert(model, Spec("image", (6, 6, 2), 72), export), "folded.tflite")
    assert not np.allclose(
        graph.weights[0].values, model.get_layer("conv_0").kernel.numpy().transpose(3, 0, 1, 2)
    )
    traced = trace(graph, weights_of(model), masks)
    assert [weight.tensors for weight in traced] == [(weight.name,) for weight in graph.weights]
    assert [weight.violated for weight in traced] == [0, 0]


@pytest.mark.parametrize("normalization", ["between", "all"])
def test_batch_normalization_between_layers_changes_nothing(normalization):
    model = cnn(normalization)
    masks = pruned(model)
    traced = trace(parse(convert(model, IMAGES, "int8"), "cnn"), weights_of(model), masks)
    assert [(len(weight.tensors), weight.violated) for weight in traced] == [(1, 0)] * 4


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("Conv1D", (8, 2)),
        ("SeparableConv1D", (8, 2)),
        ("Conv2DTranspose", (8, 8, 2)),
        ("DepthwiseConv2D", (8, 8, 2)),
        ("SeparableConv2D", (8, 8, 2)),
        ("Conv3D", (4, 8, 8, 2)),
        ("Conv3DTranspose", (4, 8, 8, 2)),
        ("GRU", (8, 2)),
        ("SimpleRNN", (8, 2)),
    ],
)
def test_kernels_of_other_layers_are_found(layer, shape):
    keras = backend.keras()
    options = {"depth_multiplier": 3} if layer.startswith(("Separable", "Depthwise")) else {}
    sizes = {"kernel_size": 3} if "Conv" in layer else {}
    sizes |= {} if layer.startswith("Depthwise") else {"units" if "Conv" not in layer else "filters": 5}
    inputs = keras.Input(shape, name="input")
    model = keras.Model(
        inputs, getattr(keras.layers, layer)(**sizes, **options, name="layer")(inputs), name="m"
    )
    masks = pruned(model)
    masks.pop("layer/bias", None)  # a GRU has one of rank 2
    traced = trace(parse(convert(model, Spec("image", shape, 5)), "file"), weights_of(model), masks)
    assert {weight.name: (len(weight.tensors), weight.violated) for weight in traced} == dict.fromkeys(
        masks, (1, 0)
    )


@pytest.mark.parametrize("export", EXPORTS)
def test_layers_of_one_shape_with_one_mask_are_told_apart(export):
    model, spec = dense_stack([32, 32, 32, 32])
    mask = pruned(model, only="dense_0/kernel")["dense_0/kernel"]
    for index in (1, 2):
        kernel = model.get_layer(f"dense_{index}").kernel
        kernel.assign(kernel * mask)
    graph = parse(convert(model, spec, export), "stack")
    traced = trace(graph, weights_of(model), {f"dense_{index}/kernel": mask for index in range(3)})
    assert [weight.tensors for weight in traced] == [(weight.name,) for weight in graph.weights]


@pytest.mark.parametrize("export", EXPORTS)
def test_layers_with_nearly_equal_values_and_other_masks_are_told_apart(export):
    model, spec = dense_stack([32, 32, 32, 32])
    rng = np.random.default_rng(2)
    kernel, mask = rng.normal(size=(32, 32)).astype(np.float32), rng.random((32, 32)) >= 0.5
    wider = mask.copy()
    wider[0] = True
    masks = {"dense_0/kernel": mask, "dense_1/kernel": wider, "dense_2/kernel": np.ones((32, 32))}
    for index, each in enumerate(masks.values()):
        layer = model.get_layer(f"dense_{index}")
        layer.kernel.assign(kernel * each * np.float32(1 + index * 1e-4))
    graph = parse(convert(model, spec, export), "stack")
    expected = [((weight.name,), 0) for weight in graph.weights]
    assert [
        (weight.tensors, weight.violated) for weight in trace(graph, weights_of(model), masks)
    ] == expected
    nameless = replace(
        graph, weights=tuple(replace(w, name=f"w{i}") for i, w in enumerate(graph.weights[::-1]))
    )
    by_values = trace(nameless, weights_of(model), masks)
    assert [(each.tensors, each.violated) for each in by_values] == [(("w2",), 0), (("w1",), 0), (("w0",), 0)]


@pytest.mark.parametrize("export", EXPORTS)
def test_layers_of_models_in_the_model_are_found_by_their_path(export):
    keras = backend.keras()

    def wrapped(name, *layers):
        inputs = x = keras.Input((6,), name="input")
        for layer in layers:
            x = layer(x)
        return keras.Model(inputs, x, name=name)

    def dense():
        return keras.layers.Dense(6, activation="relu", name="dense")

    model = wrapped("net", wrapped("outer", wrapped("inner", dense())), wrapped("other", dense()), dense())
    paths = ["outer/inner/dense", "other/dense", "dense"]
    weights = dict(zip((f"{path}/kernel" for path in paths), model.get_weights()[::2], strict=True))
    graph = parse(convert(model, Spec("image", (6,), 6), export), "net")
    traced = trace(graph, weights, {}, pruned_only=False)
    assert [weight.name for weight in traced] == list(weights)
    assert [weight.tensors for weight in traced] == [(f"net/{path}/MatMul",) for path in paths]


@pytest.mark.parametrize(
    ("layer", "tensor"),
    [
        ("inner/dense", "net/outer/inner/dense/MatMul"),
        ("other/dense", "net/first/dense/MatMul;net/other/dense/MatMul"),
        ("both/forward", "net/both/forward_rnn/while/MatMul"),
        ("both/forward", "net/both/forward/MatMul"),
        ("dense", "dense"),
    ],
)
def test_a_tensor_is_named_after_a_layer_and_no_other(layer, tensor):
    # a weight of zeros only has nothing but its name
    traced = trace(named(tensor), {f"{layer}/kernel": np.zeros((2, 1))}, {}, pruned_only=False)
    assert [weight.tensors for weight in traced] == [(tensor,)]


@pytest.mark.parametrize(
    ("layer", "tensor"),
    [
        ("outer/dense", "net/outer/inner/dense/MatMul"),
        ("inner/dense", "net/inner/dense_1/MatMul"),
        ("inner/dense", "net/inner;net/dense/MatMul"),
        ("both/forward", "net/both/backward_rnn/while/MatMul"),
        ("dense", "net/dense_1/MatMul"),
        ("d.nse", "net/dense/MatMul"),
    ],
)
def test_a_tensor_is_not_named_after_a_layer_that_is_called_nearly_so(layer, tensor):
    traced = trace(named(tensor), {f"{layer}/kernel": np.zeros((2, 1))}, {}, pruned_only=False)
    assert [weight.tensors for weight in traced] == [()]


def named(tensor):
    graph = graph_of(np.array([[1.0, 0.0]]))
    return replace(graph, weights=(replace(graph.weights[0], name=tensor),))


def test_weights_that_differ_by_factors_only_are_told_apart_by_their_values():
    # an output with one input has no direction
    traced = trace(
        graph_of(np.array([[9.0], [1.0]]), np.array([[1.0], [2.0]])),
        {"a/kernel": np.array([[1.0, 2.0]]), "b/kernel": np.array([[9.0, 1.0]])},
        {},
        pruned_only=False,
    )
    assert [weight.tensors for weight in traced] == [("w1",), ("w0",)]


def test_equal_weights_that_the_converter_keeps_once_are_both_found():
    model, spec = dense_stack([8, 8, 8])
    masks = pruned(model, only="dense_0/kernel")
    model.get_layer("dense_1").kernel.assign(model.get_layer("dense_0").kernel)
    masks["dense_1/kernel"] = masks["dense_0/kernel"]
    graph = parse(convert(model, spec), "stack")
    assert len(graph.weights) == 1
    traced = trace(graph, weights_of(model), masks)
    assert [(len(weight.tensors), weight.violated) for weight in traced] == [(1, 0), (1, 0)]


@pytest.mark.parametrize("export", EXPORTS)
def test_a_weight_of_zeros_only_is_found(export):
    model, spec = dense_stack([8, 8, 8])
    masks = {"dense_0/kernel": np.zeros((8, 8)), "dense_1/kernel": np.ones((8, 8))}
    model.get_layer("dense_0").kernel.assign(np.zeros((8, 8)))
    first, second = trace(parse(convert(model, spec, export), "stack"), weights_of(model), masks)
    assert (len(first.tensors), first.masked, first.zeros, first.added, first.violated) == (1, 64, 64, 0, 0)
    assert (len(second.tensors), second.masked, second.violated) == (1, 0, 0)


@pytest.mark.parametrize(("value", "kept", "zeros"), [(0.5, 1, 0), (0.0, 0, 1)])
def test_a_weight_of_one_element_is_found(value, kept, zeros):
    model, spec = dense_stack([1, 1])
    model.get_layer("dense_0").kernel.assign([[value]])
    masks = {"dense_0/kernel": np.full((1, 1), kept)}
    (weight,) = trace(parse(convert(model, spec), "stack"), weights_of(model), masks)
    assert (len(weight.tensors), weight.size, weight.zeros, weight.masked) == (1, 1, zeros, 1 - kept)
    assert (weight.added, weight.violated) == (0, 0)


def test_a_weight_without_a_mask_is_kept_everywhere():
    model, spec = dense_stack([8, 8, 8])
    masks = pruned(model, only="dense_0/kernel")
    graph, weights = parse(convert(model, spec), "stack"), weights_of(model)
    assert [weight.name for weight in trace(graph, weights, masks)] == ["dense_0/kernel"]
    _, dense = trace(graph, weights, masks, pruned_only=False)
    assert (dense.name, dense.masked, dense.zeros, dense.violated) == ("dense_1/kernel", 0, 0, 0)


def test_small_weights_that_quantization_makes_zero_are_added_zeros():
    # scale 1 / 127: what is below half of it becomes zero
    graph = graph_of(np.array([[1.0, 0.0, 0.0, -0.5]]), dtype="int8")
    keras = np.array([[1.0], [0.003], [0.0], [-0.5]])
    mask = np.array([[1], [1], [0], [1]])
    (weight,) = trace(graph, {"dense/kernel": keras}, {"dense/kernel": mask})
    assert (weight.masked, weight.zeros, weight.added, weight.violated) == (1, 2, 1, 0)


def test_inputs_that_the_converter_cuts_off_are_added_zeros():
    # blocks of 4 inputs do not divide 38: TensorFlow 2.21 drops the last two
    model, spec = dense_stack([38, 32])
    mask = np.ones((38, 32), np.float32)
    mask[:36] = np.arange(32) % 4 == 0
    kernel = np.random.default_rng(0).uniform(0.5, 1.0, (38, 32)) * mask
    model.get_layer("dense_0").kernel.assign(kernel)
    graph = parse(convert(model, spec, sparse=True), "stack")
    assert (graph.weights[0].block, graph.sparse_kernel_ops) == ((4,), ("FULLY_CONNECTED",))
    (weight,) = trace(graph, weights_of(model), {"dense_0/kernel": mask})
    assert (weight.added, weight.violated) == (64, 0)


def test_a_weight_that_is_not_in_the_file_is_not_found_and_no_error():
    graph = graph_of(np.array([[1.0, 2.0]]))
    weights = {"dense/kernel": np.array([[1.0], [-2.0]]), "other/kernel": np.ones((3, 3))}
    weights["other/bias"] = np.ones(3)
    traced = trace(graph, weights, {name: np.ones_like(values) for name, values in weights.items()})
    assert traced == [
        TracedWeight("dense/kernel", (), "", "", size=2, masked=0, zeros=0, added=0, violated=0),
        TracedWeight("other/kernel", (), "", "", size=9, masked=0, zeros=0, added=0, violated=0),
    ]
    require_masked(traced, "file")


def graph_of(*tensors, dtype="float32"):
    """A graph with a fully connected layer for each array (out, in)."""
    weights = [
        Weight(
            0,
            index,
            f"w{index}",
            values.shape,
            dtype,
            "dense",
            (),
            int((values == 0).sum()),
            0,
            ("FULLY_CONNECTED",),
            False,
            values.astype(np.float32),
            values,
        )
        for index, values in enumerate(tensors)
    ]
    return Graph((), (), (), tuple(weights), False)


def test_a_weight_whose_mask_was_lost_altogether_is_found_and_refused():
    rng = np.random.default_rng(4)
    dense, other = rng.normal(size=(20, 30)), rng.normal(size=(20, 30))
    mask = np.abs(dense) > np.quantile(np.abs(dense), 0.8)
    weights = {"a/kernel": (dense * mask).T, "b/kernel": other.T}
    traced = trace(graph_of(other, dense), weights, {"a/kernel": mask.T})
    assert [(weight.tensors, weight.masked, weight.violated) for weight in traced] == [(("w1",), 480, 480)]
    with pytest.raises(
        PruneflowError, match=r"^x\.tflite: .* a/kernel in 480 of 480 positions\. .* report it"
    ):
        require_masked(traced, "x.tflite")


@pytest.mark.parametrize("export", EXPORTS)
def test_one_byte_that_was_changed_in_a_file_is_detected(export):
    model = cnn()
    masks = pruned(model)
    content = convert(model, IMAGES, export)
    dense = next(weight for weight in parse(content, "cnn").weights if weight.shape == (32, 144))
    start = content.index(dense.stored.tobytes())
    row, column = np.argwhere(masks["dense/kernel"].T == 0)[7]
    place = start + (row * 144 + column) * dense.stored.itemsize
    step = np.array([1], dense.stored.dtype).tobytes()
    tampered = content[:place] + step + content[place + len(step) :]
    traced = trace(parse(tampered, "cnn"), weights_of(model), masks)
    assert {weight.name: weight.violated for weight in traced if weight.violated} == {"dense/kernel": 1}
    with pytest.raises(
        PruneflowError, match=rf"dense/kernel in 1 of {int((masks['dense/kernel'] == 0).sum())} "
    ):
        require_masked(traced, "cnn.tflite")


def test_a_weight_of_zeros_only_is_known_by_its_name_where_the_file_has_others():
    graph = graph_of(np.array([[1.0, 0.0]]))
    traced = trace(graph, {"w0/kernel": np.zeros((2, 1))}, {"w0/kernel": np.zeros((2, 1))})
    assert [(weight.tensors, weight.violated) for weight in traced] == [(("w0",), 1)]
    traced = trace(graph, {"other/kernel": np.zeros((2, 1))}, {"other/kernel": np.zeros((2, 1))})
    assert [(weight.tensors, weight.violated) for weight in traced] == [((), 0)]


def test_a_tensor_that_is_read_once_is_found_for_one_weight_only():
    kernel = np.array([[1.0], [2.0], [4.0]])
    weights = {"near/kernel": kernel * 1.01, "same/kernel": kernel}
    near, same = trace(graph_of(kernel.T), weights, {}, pruned_only=False)
    assert (near.tensors, same.tensors) == ((), ("w0",))


def test_all_violations_are_named():
    good = TracedWeight("a/kernel", ("a",), "int8", "dense", 9, masked=4, zeros=4, added=0, violated=0)
    traced = [good, replace(good, name="b/kernel", violated=1), replace(good, name="c/kernel", violated=2)]
    with pytest.raises(
        PruneflowError, match=r"file: .*: b/kernel in 1 of 4 positions; c/kernel in 2 of 4 pos"
    ):
        require_masked(traced, "file")
