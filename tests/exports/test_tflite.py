import copy
import functools

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pruneflow.datasets.spec import Spec
from pruneflow.errors import PruneflowError
from pruneflow.exports import tables
from pruneflow.exports.exporters import DynamicRange, Float, Int8
from pruneflow.exports.sparse_tensors import Level, SparseLayout, dequantize, positions, scatter, unpack
from pruneflow.exports.tflite import parse
from pruneflow.models.options import Cnn, Lstm
from pruneflow.runtime import backend

NONE = np.zeros(0, np.int32)
IMAGES = Spec("image", (8, 8, 1), 3)
TOKENS = Spec("tokens", (5,), 2, 20)
EXPORTS = {
    "float": Float(name="float"),
    "dynamic-range": DynamicRange(name="dynamic-range"),
    "int8": Int8(name="int8", calibration_samples=4),
}


def cnn():
    model = Cnn(
        name="cnn",
        filters=[4],
        kernel_size=3,
        padding="valid",
        pool_size=2,
        convolution_activation="relu",
        batch_normalization="none",
        dense_units=[32],
        dropout=0.0,
        output_activation="linear",
    ).build(IMAGES)
    # One in four inputs of an output is kept, another one for the next output, so that no block is zero
    inputs, outputs = np.indices((36, 32))
    kernel = np.random.default_rng(0).uniform(0.5, 1.0, (36, 32)) * (inputs % 4 == outputs % 4)
    model.get_layer("dense").set_weights([kernel, np.zeros(32)])
    return model


def lstm():
    return Lstm(
        name="lstm", embedding_dim=6, units=4, bidirectional=False, embedding_dropout=0.0, dropout=0.0
    ).build(TOKENS)


@functools.cache
def converted(network, export, *, sparse=False):
    backend.keras().utils.set_random_seed(1)
    model, spec = (cnn(), IMAGES) if network == "cnn" else (lstm(), TOKENS)
    samples = np.random.default_rng(1).integers(0, 20, (4, *spec.shape))
    samples = samples.astype("uint8" if spec.kind == "image" else "int32")
    return EXPORTS[export].convert(model, spec, samples, sparse=sparse)


def graph_of(network, export, *, sparse=False):
    return parse(converted(network, export, sparse=sparse), "file.tflite")


def tensor_of(shape, dtype="FLOAT32", **fields):
    made = schema.TensorT(shape=list(shape), type=getattr(schema.TensorType, dtype), name=b"w")
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def quantized(scale, zero_point=(), axis=0, details=0):
    made = schema.QuantizationParametersT(scale=list(scale), zeroPoint=list(zero_point))
    made.quantizedDimension, made.detailsType = axis, details
    if details == schema.QuantizationDetails.CustomQuantization:
        made.details = schema.CustomQuantizationT(custom=[1])
    return made


def file_of(tensors, ops, *, buffers=(), behind=None):
    """A file of one subgraph.

    Args:
        tensors: ``TensorT`` in order; buffer 0 is empty.
        ops: (name, inputs, outputs).
        buffers: Bytes of buffer 1, 2, ...
        behind: Bytes of one more buffer, kept behind the tables.
    """
    codes = [getattr(schema.BuiltinOperator, name) for name, _, _ in ops]
    subgraph = schema.SubGraphT(tensors=tensors, inputs=[0], outputs=[len(tensors) - 1])
    subgraph.operators = [
        schema.OperatorT(opcodeIndex=index, inputs=list(inputs), outputs=list(outputs))
        for index, (_, inputs, outputs) in enumerate(ops)
    ]
    model = schema.ModelT(version=3, subgraphs=[subgraph])
    model.operatorCodes = [
        schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=min(code, 127)) for code in codes
    ]
    model.buffers = [schema.BufferT(), *(schema.BufferT(data=list(data)) for data in buffers)]
    if behind is None:
        return packed(model)
    model.buffers.append(schema.BufferT(offset=2, size=len(behind)))
    length = len(packed(model))
    model.buffers[-1].offset = length
    return packed(model) + behind


def packed(model):
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def fully_connected(weight, buffer, batch=1):
    inner, outer = weight.shape[1], weight.shape[0]
    weight.buffer = 1
    tensors = [tensor_of((batch, inner)), weight, tensor_of((batch, outer))]
    return parse(file_of(tensors, [("FULLY_CONNECTED", [0, 1, -1], [2])], buffers=[buffer]), "made")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (b"TFL3", "not TFL3"),
        (b"\x89PNG\r\n\x1a\n", "not TFL3"),
        (b"0" * 99, "not TFL3"),
    ],
)
def test_what_is_no_tflite_file_is_refused(content, what):
    with pytest.raises(PruneflowError, match=rf"model\.bin is not a TFLite file: .*{what}"):
        parse(content, "model.bin")


@pytest.mark.parametrize("length", [8, 9, 20, 100, 1000])
def test_a_file_cut_short_is_refused(length):
    with pytest.raises(PruneflowError, match=r"short\.tflite is cut short or damaged: .* export again"):
        parse(converted("cnn", "float")[:length], "short.tflite")


def test_a_file_without_subgraphs_is_refused():
    with pytest.raises(PruneflowError, match="it has no subgraph"):
        parse(packed(schema.ModelT(version=3)), "file")


@pytest.mark.run
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("network", ["cnn", "lstm"])
def test_a_damaged_file_gives_a_message_or_a_graph(network, sparse):
    content = converted(network, "float", sparse=sparse)
    rng = np.random.default_rng(7)
    for _ in range(300):
        damaged = bytearray(content[: rng.integers(8, len(content) + 1)] if rng.random() < 0.3 else content)
        for place in rng.integers(8, len(damaged), rng.integers(1, 20)) if len(damaged) > 8 else ():
            damaged[place] = rng.integers(256)
        try:
            parse(bytes(damaged), "file")
        except PruneflowError as error:
            assert str(error).startswith("file ")


@pytest.mark.run
def test_damaged_lengths_are_refused_before_they_are_used():
    content = converted("cnn", "float", sparse=True)
    messages = ""
    for place in range(8, len(content) - 4, 4):  # every word in turn becomes 2**31 - 1
        damaged = content[:place] + b"\xff\xff\xff\x7f" + content[place + 4 :]
        try:
            graph = parse(damaged, "file")
        except PruneflowError as error:
            messages += str(error)
            continue
        assert sum(weight.size for weight in graph.weights) < 10_000
    for field in ("OperatorCodes", "Subgraphs", "Tensors", "Operators", "Buffers", "DimMetadata"):
        assert f"it claims 2147483647 {field}" in messages


def sharing(tensors):
    """A file in which weights of a megabyte each are one buffer."""
    made = [tensor_of((1, 1024)), *(tensor_of((1024, 1024), "INT8", buffer=1) for _ in range(tensors))]
    ops = [("FULLY_CONNECTED", [0, 1 + place, -1], [0]) for place in range(tensors)]
    return file_of(made, ops, buffers=[bytes(2**20)])


@pytest.mark.run
def test_weights_that_share_a_buffer_take_no_memory_without_end():
    assert len(parse(sharing(16), "file").weights) == 16
    with pytest.raises(PruneflowError, match="file is cut short or damaged: its weights would be far larger"):
        parse(sharing(18), "file")


@pytest.mark.parametrize("what", ["Shape", "Inputs", "Operators", "characters"])
def test_tables_that_share_a_vector_take_no_time_without_end(what, monkeypatch):
    """Each of ten thousand tables may hold the same list of a million numbers."""
    file = tables.File(converted("cnn", "float"), "file")
    file.entries_left = 2
    subgraph = file.model.Subgraphs(0)
    with pytest.raises(ValueError, match=f"it claims .* {what}"):
        if what == "characters":
            file.text(3 * 64 * b"x")
        elif what == "Operators":
            file.tables(subgraph, what)
        else:
            file.numbers(subgraph.Tensors(0) if what == "Shape" else subgraph.Operators(0), what)


def test_a_tensor_of_too_many_dimensions_is_refused():
    tensors = [tensor_of((1,) * 33), tensor_of((1, 1), "INT8", buffer=1), tensor_of((1, 1))]
    with pytest.raises(PruneflowError, match="a tensor of 33 dimensions"):
        parse(file_of(tensors, [("FULLY_CONNECTED", [0, 1, -1], [2])], buffers=[b"x"]), "made")


def test_names_cannot_write_to_the_terminal():
    weight = tensor_of((1, 1), "INT8", buffer=1)
    weight.name = b"\x1b[31mred\n"
    assert fully_connected(weight, b"x").weights[0].name == "\\x1b[31mred\\n"


def test_inputs_outputs_and_operations_are_those_of_the_network():
    graph = graph_of("cnn", "int8")
    (image,), (scores,) = graph.inputs, graph.outputs
    assert (image.shape, image.shape_signature, image.dtype) == ((1, 8, 8, 1), (1, 8, 8, 1), "int8")
    assert (scores.shape, scores.dtype) == ((1, 3), "int8")
    assert graph.op_counts == {"CONV_2D": 1, "MAX_POOL_2D": 1, "RESHAPE": 1, "FULLY_CONNECTED": 2}
    assert not graph.stateful


def test_operations_of_the_body_of_a_loop_are_counted():
    """Of a subgraph beside the first, as a WHILE runs it."""
    tensors = [tensor_of((1, 1)), tensor_of((1, 1), "INT8", buffer=1), tensor_of((1, 1))]
    content = file_of(tensors, [("FULLY_CONNECTED", [0, 1, -1], [2])], buffers=[b"x"])
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    body = copy.deepcopy(model.subgraphs[0])
    body.operators.append(copy.deepcopy(body.operators[0]))
    model.subgraphs.append(body)
    graph = parse(packed(model), "made")
    assert graph.op_counts == {"FULLY_CONNECTED": 3}
    assert (len(graph.ops), len(graph.inner_ops), graph.multiply_adds) == (1, 2, 1)


def test_a_fused_lstm_is_stateful_and_reads_tokens():
    graph = graph_of("lstm", "float")
    assert graph.stateful
    assert graph.inputs[0].dtype == "int32"
    assert graph.op_counts["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 1


def test_multiply_adds_of_a_cnn_count_positions_and_rows():
    graph = graph_of("cnn", "float")
    counts = {
        op.outputs: (op.multiply_adds, op.nonzero_multiply_adds) for op in graph.ops if op.multiply_adds
    }
    # 6 x 6 positions x (3 x 3 x 1 x 4); 36 x 32, a quarter of it not zero; 32 x 3
    assert list(counts.values()) == [(1296, 1296), (1152, 288), (96, 96)]
    assert (graph.multiply_adds, graph.nonzero_multiply_adds) == (2544, 1680)


def test_multiply_adds_of_an_lstm_count_its_time_steps():
    graph = graph_of("lstm", "float")
    # 5 steps x (4 gates x (6 x 4 + 4 x 4)), then 4 x 1; looking up a word multiplies nothing
    assert [op.multiply_adds for op in graph.ops if op.multiply_adds] == [800, 4]


@pytest.mark.run
@pytest.mark.parametrize("export", EXPORTS)
def test_weights_of_an_lstm_are_its_matrices_only(export):
    shapes = sorted(weight.shape for weight in graph_of("lstm", export).weights)
    assert shapes == [(1, 4), *[(4, 4)] * 4, *[(4, 6)] * 4, (20, 6)]


@pytest.mark.parametrize("export", EXPORTS)
def test_sparse_and_dense_files_of_a_network_hold_the_same_weights(export):
    dense, sparse = graph_of("cnn", export), graph_of("cnn", export, sparse=True)
    assert [weight.encoding for weight in dense.weights] == ["dense"] * 3
    assert [weight.encoding for weight in sparse.weights] == ["dense", "sparse", "dense"]
    for one, other in zip(dense.weights, sparse.weights, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.stored, other.stored)
        assert one.zeros == other.zeros
    assert sparse.weights[1].stored_bytes < dense.weights[1].stored_bytes
    assert (dense.multiply_adds, dense.nonzero_multiply_adds) == (
        sparse.multiply_adds,
        sparse.nonzero_multiply_adds,
    )


def test_what_goes_through_densify_is_no_sparse_kernel():
    graph = graph_of("cnn", "float", sparse=True)
    assert graph.op_counts["DENSIFY"] == 1
    assert graph.densified == (graph.weights[1].name,)
    assert graph.sparse_kernel_ops == ()
    assert graph.weights[1].consumers == ("FULLY_CONNECTED",)


def sparse_weight(shape, order, block_map, levels, **fields):
    weight = tensor_of(shape, **fields)
    weight.sparsity = schema.SparsityParametersT(traversalOrder=order, blockMap=block_map, dimMetadata=levels)
    return weight


def dense_level(size):
    return schema.DimensionMetadataT(format=schema.DimensionType.DENSE, denseSize=size)


def sparse_level(segments, indices, kind):
    vector = getattr(schema, f"{kind}VectorT")
    number = getattr(schema.SparseIndexVector, f"{kind}Vector")
    return schema.DimensionMetadataT(
        format=schema.DimensionType.SPARSE_CSR,
        arraySegmentsType=number,
        arraySegments=vector(values=segments),
        arrayIndicesType=number,
        arrayIndices=vector(values=indices),
    )


@pytest.mark.parametrize(("kind", "index_bytes"), [("Uint8", 5), ("Uint16", 10), ("Int32", 20)])
def test_blocks_read_without_densify_are_a_sparse_kernel(kind, index_bytes):
    # rows 0 and 1 of 4 elements; blocks of 2 along them: row 0 has its second, row 1 its first
    levels = [dense_level(2), sparse_level([0, 1, 2], [1, 0], kind), dense_level(2)]
    weight = sparse_weight((2, 4), [0, 1, 2], [1], levels)
    graph = fully_connected(weight, np.array([1, 2, 3, 0], "<f4").tobytes())
    (read,) = graph.weights
    np.testing.assert_array_equal(read.values, [[0, 0, 1, 2], [3, 0, 0, 0]])
    assert (read.encoding, read.block, read.zeros, read.size) == ("sparse", (2,), 5, 8)
    assert read.stored_bytes == 16 + index_bytes
    assert graph.sparse_kernel_ops == ("FULLY_CONNECTED",)
    assert graph.densified == ()
    assert (graph.multiply_adds, graph.nonzero_multiply_adds) == (8, 3)


def test_a_sparse_weight_of_zeros_only_has_no_values():
    levels = [dense_level(2), sparse_level([0, 0, 0], [], "Uint8")]
    (read,) = fully_connected(sparse_weight((2, 3), [0, 1], [], levels), b"").weights
    np.testing.assert_array_equal(read.values, np.zeros((2, 3)))
    assert (read.zeros, read.stored_bytes) == (6, 3)


@pytest.mark.parametrize(
    ("shape", "segments", "indices", "values"),
    [
        ((2, 3), [0, 1], [0], 1),  # a row without a segment
        ((2, 3), [0, 1, 3], [0, 1], 2),  # beyond the indices
        ((2, 3), [0, 2, 1], [0, 1], 2),  # backwards
        ((2, 3), [0, 1, 2], [3, 0], 2),  # beyond the row, within the tensor
        ((2, 3), [0, 1, 2], [0, 2], 3),  # a value too many
        ((2**20, 2**20), [0, 1, 2], [0, 2], 2),  # terabytes
    ],
)
def test_sparse_indices_that_fit_nothing_are_refused(shape, segments, indices, values):
    levels = [dense_level(shape[0]), sparse_level(segments, indices, "Uint8")]
    with pytest.raises(PruneflowError, match="made is cut short or damaged"):
        fully_connected(sparse_weight(shape, [0, 1], [], levels), bytes(4 * values))


def test_rows_columns_and_blocks_unfold_in_the_order_of_traversal():
    columns_first = SparseLayout(
        (1, 0), (), (Level(2, NONE, NONE), Level(None, np.array([0, 1, 3]), np.array([1, 0, 2])))
    )
    # column 0 has row 1; column 1 has rows 0 and 2
    np.testing.assert_array_equal(positions((3, 2), columns_first, 10), [2, 1, 5])

    blocks = SparseLayout(
        (0, 1, 3, 2),
        (0, 1),
        (
            Level(2, NONE, NONE),
            Level(None, np.array([0, 1, 2]), np.array([1, 0])),
            Level(2, NONE, NONE),
            Level(2, NONE, NONE),
        ),
    )
    # 2 x 2 blocks, each stored column by column: one above right, one below left
    places = positions((4, 4), blocks, 16)
    expected = [[0, 0, 1, 3], [0, 0, 2, 4], [5, 7, 0, 0], [6, 8, 0, 0]]
    np.testing.assert_array_equal(scatter(np.arange(1, 9), places, (4, 4)), expected)
    assert blocks.block == (2, 2)


def test_what_a_block_does_not_divide_is_zero():
    levels = (Level(1, NONE, NONE), Level(None, np.array([0, 1]), np.array([0])), Level(2, NONE, NONE))
    places = positions((1, 3), SparseLayout((0, 1, 2), (1,), levels), 10)
    assert scatter(np.array([5, 6]), places, (1, 3)).tolist() == [[5, 6, 0]]


@pytest.mark.parametrize(
    ("content", "dtype", "numbers"),
    [
        ([0x21, 0xF8], "int4", [1, 2, -8, -1]),
        ([0x21, 0x0F], "int4", [1, 2, -1]),
        ([0x21, 0xF8], "uint4", [1, 2, 8, 15]),
        ([0b11_10_01_00], "int2", [0, 1, -2, -1]),
        ([0xFF, 0x01], "int8", [-1, 1]),
        ([0xFF, 0x01], "uint8", [255, 1]),
        ([0xFE, 0xFF], "int16", [-2]),
        ([0x00, 0x3C], "float16", [1.0]),
        ([0x80, 0x3F], "bfloat16", [1.0]),
        ([], "int8", []),
    ],
)
def test_bytes_become_numbers(content, dtype, numbers):
    read = unpack(np.array(content, np.uint8), dtype, len(numbers))
    assert read.tolist() == numbers


@pytest.mark.parametrize(("size", "dtype"), [(3, "int8"), (5, "int8"), (4, "float32"), (1, "int4")])
def test_bytes_of_another_number_of_elements_are_refused(size, dtype):
    with pytest.raises(ValueError, match=f"{size} bytes are not 4 numbers of {dtype}"):
        unpack(np.zeros(size, np.uint8), dtype, 4)


def test_scales_along_an_axis_multiply_its_positions():
    stored = np.array([[1, -2], [3, 0]], np.int8)
    scales, none = np.array([0.5, 2.0], np.float32), np.zeros(0, np.int64)
    assert dequantize(stored, scales, none, 0).tolist() == [[0.5, -1.0], [6.0, 0.0]]
    assert dequantize(stored, scales, none, 1).tolist() == [[0.5, -4.0], [1.5, 0.0]]
    assert dequantize(stored, scales[:1], np.array([1]), 0).tolist() == [[0.0, -1.5], [1.0, -0.5]]
    assert dequantize(stored, np.zeros(0), none, 0).tolist() == [[1.0, -2.0], [3.0, 0.0]]
    with pytest.raises(ValueError, match="2 scales"):
        dequantize(np.zeros((2, 3), np.int8), scales, none, 1)


def test_a_zero_point_is_what_counts_as_zero():
    weight = tensor_of((2, 2), "UINT8", quantization=quantized([0.5], [128]))
    (read,) = fully_connected(weight, bytes([128, 130, 0, 128])).weights
    np.testing.assert_array_equal(read.values, [[0, 1], [-64, 0]])
    np.testing.assert_array_equal(read.stored, [[128, 130], [0, 128]])
    assert read.zeros == 2


def test_unknown_quantization_is_refused_by_its_name():
    details = schema.QuantizationDetails.CustomQuantization
    weight = tensor_of((1, 1), "INT8", quantization=quantized([1.0], details=details))
    with pytest.raises(PruneflowError, match=r"made: w is quantized .* \(CustomQuantization\)"):
        fully_connected(weight, b"\x01")


def test_half_precision_weights_are_found_behind_dequantize():
    tensors = [
        tensor_of((1, 2)),
        tensor_of((1, 2), "FLOAT16", buffer=1),
        tensor_of((1, 2)),
        tensor_of((1, 1)),
    ]
    ops = [("DEQUANTIZE", [1], [2]), ("FULLY_CONNECTED", [0, 2, -1], [3])]
    graph = parse(file_of(tensors, ops, buffers=[np.array([0, 2], "<f2").tobytes()]), "made")
    (read,) = graph.weights
    assert (read.dtype, read.values.tolist(), read.consumers) == (
        "float16",
        [[0.0, 2.0]],
        ("FULLY_CONNECTED",),
    )
    assert not read.densified
    assert (graph.multiply_adds, graph.nonzero_multiply_adds) == (2, 1)


def test_weights_behind_the_tables_are_read_and_must_be_there():
    tensors = [tensor_of((1, 2)), tensor_of((1, 2), "INT8", buffer=1), tensor_of((1, 1))]
    content = file_of(tensors, [("FULLY_CONNECTED", [0, 1, -1], [2])], behind=b"\x03\x00")
    assert parse(content, "made").weights[0].values.tolist() == [[3.0, 0.0]]
    with pytest.raises(PruneflowError, match="a buffer ends at byte"):
        parse(content[:-1], "made")


@pytest.mark.parametrize(
    ("op", "operands", "output", "weight", "multiply_adds"),
    [
        ("DEPTHWISE_CONV_2D", [0, 1], (1, 4, 4, 6), (1, 3, 3, 6), 16 * 54),
        ("TRANSPOSE_CONV", [-1, 1, 0], (1, 9, 9, 6), (6, 3, 3, 2), 15 * 108),
        ("CONV_3D", [0, 1], (1, 2, 4, 4, 6), (1, 3, 3, 2, 6), 32 * 108),
        ("BATCH_MATMUL", [0, 1], (1, 3, 5, 6), (2, 6), 15 * 12),
        ("GATHER", [1, 0], (1, 3, 5, 2, 6), (9, 6), 0),
        ("FULLY_CONNECTED", [0, 1], (15, 6), (6, 2), 15 * 12),
        ("ADD", [0, 1], (1, 3, 5, 2), (1, 2), 0),
    ],
)
def test_each_operation_has_its_multiply_adds(op, operands, output, weight, multiply_adds):
    tensors = [tensor_of((1, 3, 5, 2)), tensor_of(weight, "INT8", buffer=1), tensor_of(output)]
    ones = bytes([1]) * int(np.prod(weight))
    graph = parse(file_of(tensors, [(op, operands, [2])], buffers=[ones]), "made")
    assert graph.multiply_adds == graph.nonzero_multiply_adds == multiply_adds
    assert len(graph.weights) == (op != "ADD")


@pytest.mark.parametrize(
    ("op", "weights"),
    [
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", [*range(1, 9), 16]),
        ("BIDIRECTIONAL_SEQUENCE_LSTM", [*range(1, 9), 16, *range(18, 26), 33, *range(40, 48)]),
        ("BIDIRECTIONAL_SEQUENCE_RNN", [1, 2, 5, 6, 10, 11]),
    ],
)
def test_recurrent_operations_multiply_by_each_matrix_at_each_step(op, weights):
    # 3 steps of 2 numbers; one matrix of 2 x 2, a quarter of it not zero, stands for all
    tensors = [tensor_of((1, 3, 2)), tensor_of((2, 2), "INT8", buffer=1), tensor_of((1, 3, 2))]
    operands = [0, *(1 if place in weights else -1 for place in range(1, 48))]
    graph = parse(file_of(tensors, [(op, operands, [2])], buffers=[b"\x00\x00\x01\x00"]), "made")
    assert graph.multiply_adds == len(weights) * 4 * 3
    assert graph.nonzero_multiply_adds == len(weights) * 3
    assert graph.weights[0].consumers == (op,) * len(weights)


def test_a_fed_tensor_and_a_bias_are_no_weights():
    tensors = [tensor_of((1, 1)), tensor_of((1, 1)), tensor_of((1,), buffer=1), tensor_of((1, 1))]
    graph = parse(file_of(tensors, [("FULLY_CONNECTED", [0, 1, 2], [3])], buffers=[bytes(4)]), "made")
    assert (graph.weights, graph.multiply_adds) == ((), 0)
