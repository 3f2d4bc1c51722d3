"""Facts of a TFLite file: its inputs and outputs, operations, weights and how these are stored."""

import math
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.errors import PruneflowError
from pruneflow.exports import decode
from pruneflow.exports.sparse_tensors import (
    DTYPES,
    Level,
    SparseLayout,
    dequantize,
    positions,
    scatter,
    unpack,
)
from pruneflow.exports.tables import Array, File, array_of, names, operation, schema

__all__ = ["Graph", "Op", "Tensor", "Weight", "operation", "parse", "read"]

# flatbuffers' Python code checks nothing: what it stumbles over in a damaged file comes out as one of these.
DAMAGED = (struct.error, LookupError, ValueError, TypeError, AttributeError, ArithmeticError)
MOST_BYTES = 2**32  # of a file, which is read into memory
MOST_DIMENSIONS = 32

# Operands that may be weights, by operation; biases and peepholes have rank 1 and fall out by that.
LSTM = (*range(1, 9), 16)
WEIGHT_OPERANDS: dict[str, tuple[int, ...]] = {
    "CONV_2D": (1,),
    "CONV_3D": (1,),
    "CONV_3D_TRANSPOSE": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "TRANSPOSE_CONV": (1,),
    "FULLY_CONNECTED": (1,),
    "BATCH_MATMUL": (0, 1),
    "GATHER": (0,),
    "EMBEDDING_LOOKUP": (1,),
    "LSTM": LSTM,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": LSTM,
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*LSTM, *range(18, 26), 33, *range(40, 48)),
    "RNN": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 5, 6, 10, 11),
    "SVDF": (1, 2),
}
INTEGERS = ("int8", "uint8", "int16")  # of inputs and outputs with a scale
PASSED_THROUGH = ("DENSIFY", "DEQUANTIZE")


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes:
        index: Position among the tensors of the first subgraph.
        shape: As the file is converted; 1 where any size will do.
        shape_signature: The same with -1 where any size will do.
        dtype: Such as ``"float32"``.
        span: Lowest and highest number that its integers stand for; None where it has no scale, or several.
        scale: What one step of its integers stands for: they mean (integer - zero_point) * scale. None where
            it has no scale, or several.
        zero_point: The integer that stands for 0; None likewise.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    dtype: str
    span: tuple[float, float] | None = None
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Op:
    """An operation.

    Attributes:
        name: TFLite's name such as ``"FULLY_CONNECTED"``, or that of a custom operation.
        inputs: Indices of tensors; -1 where an optional one is left out.
        multiply_adds: Of one invocation, with weights; 0 for an operation without.
        nonzero_multiply_adds: Those with weights that are not zero.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    multiply_adds: int = 0
    nonzero_multiply_adds: int = 0


@dataclass(frozen=True, eq=False)
class Weight:
    """A constant of rank 2 or more that an operation multiplies by or looks up in (``WEIGHT_OPERANDS``).

    Constants that reach it through DENSIFY, DEQUANTIZE or TFLite Micro's DECODE count; biases and shapes do
    not.

    Attributes:
        subgraph: Position of its subgraph.
        tensor: Position among the tensors of it.
        dtype: As stored, such as ``"int8"``.
        encoding: ``"dense"``, or ``"sparse"`` where zeros are left out.
        block: Sizes of the blocks that are left out or stored as one; ``()`` for single elements.
        zeros: Elements that stand for exactly 0.
        stored_bytes: Of its buffer and its sparse indices; tensors may share a buffer.
        consumers: Names of the operations that read it, in order.
        densified: Whether it is made dense before it is used.
        values: What the elements stand for.
        stored: The elements, before they are dequantized.
        multiply_adds: Of one invocation, by this weight; 0 outside the first subgraph.
        nonzero_multiply_adds: Those by its elements that are not zero.
    """

    subgraph: int
    tensor: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    encoding: str
    block: tuple[int, ...]
    zeros: int
    stored_bytes: int
    consumers: tuple[str, ...]
    densified: bool
    values: npt.NDArray[np.float32]
    stored: Array
    multiply_adds: int = 0
    nonzero_multiply_adds: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.values.size


@dataclass(frozen=True, eq=False)
class Graph:
    """The tensors and operations of a file.

    Attributes:
        inputs: Of the first subgraph.
        outputs: Of the first subgraph.
        ops: Of the first subgraph, and so are the multiply-adds: how often the body of a WHILE runs is not
            in the file.
        inner_ops: Of the other subgraphs, such as the condition and the body of a WHILE.
        weights: Of all subgraphs, in the order in which they are read.
        stateful: Whether the file keeps variables from one invocation to the next, as a fused LSTM does.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    weights: tuple[Weight, ...]
    stateful: bool
    inner_ops: tuple[Op, ...] = ()

    @property
    def multiply_adds(self) -> int:
        """Multiplications by weights in one invocation."""
        return sum(op.multiply_adds for op in self.ops)

    @property
    def nonzero_multiply_adds(self) -> int:
        """The multiply-adds by weights that are not zero."""
        return sum(op.nonzero_multiply_adds for op in self.ops)

    @property
    def op_counts(self) -> dict[str, int]:
        """The count of each operation in all subgraphs."""
        return dict(Counter(op.name for op in (*self.ops, *self.inner_ops)))

    @property
    def sparse_kernel_ops(self) -> tuple[str, ...]:
        """Operations that read a sparse weight as it is."""
        sparse = (weight for weight in self.weights if weight.encoding == "sparse" and not weight.densified)
        return tuple(consumer for weight in sparse for consumer in weight.consumers)

    @property
    def densified(self) -> tuple[str, ...]:
        """Names of weights that are made dense before they are used."""
        return tuple(weight.name for weight in self.weights if weight.densified)


def read(file: Path, size: int = -1) -> bytes:
    """Read a TFLite file, and nothing that has another beginning or no end.

    Args:
        size: Bytes to read; -1 for all.
    """
    try:
        if file.exists() and not file.is_file():
            what = "a folder" if file.is_dir() else "a pipe or a device"
            raise PruneflowError(f"{file} cannot be read: it is {what}. Give a .tflite file.")
        with file.open("rb") as opened:
            _require_tflite(opened.read(8), str(file))
            if (size_bytes := file.stat().st_size) > MOST_BYTES:
                raise PruneflowError(
                    f"{file} cannot be read: it has {size_bytes / 2**30:.1f} GB, and {MOST_BYTES >> 30} GB "
                    "are the most. Give a smaller .tflite file."
                )
            opened.seek(0)
            return opened.read(size)
    except OSError as error:
        raise PruneflowError(f"{file} cannot be read: {error.strerror}. Check the path.") from error


def parse(content: bytes, name: str) -> Graph:
    """Read the facts of a TFLite file.

    Raises:
        PruneflowError: if it is no TFLite file, is cut short or damaged, or keeps weights in other files.
    """
    _require_tflite(content[:8], name)
    try:
        with np.errstate(all="ignore"):
            return _graph(File(content, name))
    except DAMAGED as error:
        raise PruneflowError(
            f"{name} is cut short or damaged: {error}. Copy it again, or export again."
        ) from error


def _require_tflite(head: bytes, name: str) -> None:
    if head[4:] != b"TFL3":
        what = "bytes 5 to 8 are not TFL3" if head else "it is empty"
        raise PruneflowError(
            f"{name} is not a TFLite file: {what}. Give a .tflite file that an export wrote."
        )


@dataclass(frozen=True)
class _Subgraph:
    file: File
    number: int
    table: Any
    tensors: list[Any]
    ops: list[Op]

    @cached_property
    def decoded(self) -> dict[int, tuple[int, int]]:
        """The two tensors that hold each weight which DECODE makes."""
        ops = [op for op in self.ops if op.name == decode.OPERATION]
        return {
            output: (positions, values)
            for op in ops
            for output, positions, values in zip(op.outputs, op.inputs[::2], op.inputs[1::2], strict=True)
        }

    def shape(self, index: int) -> tuple[int, ...]:
        tensor = self.tensors[index]
        if tensor.ShapeLength() > MOST_DIMENSIONS:
            raise ValueError(f"a tensor of {tensor.ShapeLength()} dimensions")
        return self.file.numbers(tensor, "Shape")

    def described(self, index: int) -> Tensor:
        tensor, shape = self.tensors[index], self.shape(index)
        signature = self.file.numbers(tensor, "ShapeSignature") or shape
        name, dtype = self.file.text(tensor.Name()), _dtype(tensor)
        span, scale = _span(self.file, tensor, dtype), _scale(tensor)
        return Tensor(index, name, shape, signature, dtype, span, *scale)


@dataclass(frozen=True)
class _Reader:
    """An operation that reads a constant as a weight."""

    op: int
    position: int
    densified: bool


def _graph(file: File) -> Graph:
    if getattr(file.model, "ExternalBuffersLength", lambda: 0)():  # LiteRT knows them since 2.1
        raise PruneflowError(f"{file.name} keeps weights in other files, which pruneflow does not read.")
    subgraphs = [_subgraph(file, *each) for each in enumerate(file.tables(file.model, "Subgraphs"))]
    if not subgraphs:
        raise ValueError("it has no subgraph")
    first, weights = subgraphs[0], []
    counts: Counter[int] = Counter()
    nonzero_counts: Counter[int] = Counter()
    for subgraph in subgraphs:
        for tensor, readers in _readers(file, subgraph).items():
            weight, all_uses = _weight(file, subgraph, tensor, readers), 0
            for reader in readers if subgraph is first else ():
                uses = _uses(first, first.ops[reader.op], reader.position, weight.shape)
                counts[reader.op] += uses * weight.size
                nonzero_counts[reader.op] += uses * (weight.size - weight.zeros)
                all_uses += uses
            of_weight = all_uses * weight.size, all_uses * (weight.size - weight.zeros)
            weights.append(replace(weight, multiply_adds=of_weight[0], nonzero_multiply_adds=of_weight[1]))
    return Graph(
        inputs=tuple(map(first.described, file.numbers(first.table, "Inputs"))),
        outputs=tuple(map(first.described, file.numbers(first.table, "Outputs"))),
        ops=tuple(
            replace(op, multiply_adds=counts[index], nonzero_multiply_adds=nonzero_counts[index])
            for index, op in enumerate(first.ops)
        ),
        weights=tuple(weights),
        stateful=any(tensor.IsVariable() for subgraph in subgraphs for tensor in subgraph.tensors),
        inner_ops=tuple(op for subgraph in subgraphs[1:] for op in subgraph.ops),
    )


def _subgraph(file: File, number: int, table: Any) -> _Subgraph:
    ops = [
        Op(file.operations[op.OpcodeIndex()], file.numbers(op, "Inputs"), file.numbers(op, "Outputs"))
        for op in file.tables(table, "Operators")
    ]
    return _Subgraph(file, number, table, file.tables(table, "Tensors"), ops)


def _readers(file: File, subgraph: _Subgraph) -> dict[int, list[_Reader]]:
    """Operations that read each weight, by tensor, in the order in which they run."""
    origins: dict[int, tuple[int, bool]] = {}
    found: dict[int, list[_Reader]] = {}
    for index, op in enumerate(subgraph.ops):
        if op.name in PASSED_THROUGH:
            origin, densified = origins.get(op.inputs[0], (op.inputs[0], False))
            origins[op.outputs[0]] = (origin, densified or op.name == "DENSIFY")
        if op.name == decode.OPERATION:
            origins |= {output: (output, True) for output in op.outputs}
        for position in WEIGHT_OPERANDS.get(op.name, ()):
            operand = op.inputs[position] if position < len(op.inputs) else -1
            origin, densified = origins.get(operand, (operand, False))
            if origin >= 0 and _is_weight(file, subgraph, origin):
                found.setdefault(origin, []).append(_Reader(index, position, densified))
    return found


def _is_weight(file: File, subgraph: _Subgraph, index: int) -> bool:
    tensor = subgraph.tensors[index]
    stored = index in subgraph.decoded or file.bytes_of(tensor).size > 0
    constant = stored or tensor.Sparsity() is not None
    return constant and tensor.ShapeLength() >= 2 and _dtype(tensor) in DTYPES


def _weight(file: File, subgraph: _Subgraph, index: int, readers: Sequence[_Reader]) -> Weight:
    tensor, shape = subgraph.tensors[index], subgraph.shape(index)
    pair = [file.bytes_of(subgraph.tensors[each]) for each in subgraph.decoded.get(index, ())]
    layout, content = _layout(file, tensor), np.concatenate(pair) if pair else file.bytes_of(tensor)
    encoding, index_bytes = (
        ("sparse", layout.index_bytes if layout else 0) if layout or pair else ("dense", 0)
    )
    file.spend_elements(encoding, max(math.prod(shape), content.size, index_bytes))
    if pair:
        stored: Array = decode.unpack(pair[0], pair[1], shape)
    elif layout:
        if min(shape) < 0 or math.prod(shape) > file.most_elements:
            raise ValueError(f"a sparse tensor of shape {shape}")
        places = positions(shape, layout, file.most_elements)
        stored = scatter(unpack(content, _dtype(tensor), len(places)), places, shape)
    else:
        stored = unpack(content, _dtype(tensor), math.prod(shape)).reshape(shape)
    values = _dequantized(file, tensor, stored, subgraph)
    return Weight(
        subgraph=subgraph.number,
        tensor=index,
        name=file.text(tensor.Name()),
        shape=shape,
        dtype=_dtype(tensor),
        encoding=encoding,
        block=layout.block if layout else (),
        zeros=values.size - int(np.count_nonzero(values)),
        stored_bytes=content.size + index_bytes,
        consumers=tuple(subgraph.ops[reader.op].name for reader in readers),
        densified=any(reader.densified for reader in readers),
        values=values,
        stored=stored,
    )


def _dequantized(
    file: File, tensor: Any, stored: Array, subgraph: _Subgraph | None = None
) -> npt.NDArray[np.float32]:
    how = tensor.Quantization()
    if how is None:
        return stored.astype(np.float32, copy=False)
    if subgraph and how.DetailsType() == schema().QuantizationDetails.BlockwiseQuantization:
        return _of_blocks(file, how.Details(), stored, subgraph)
    if how.DetailsType():
        kind = names("QuantizationDetails").get(how.DetailsType(), "unknown")
        raise PruneflowError(
            f"{file.name}: {file.text(tensor.Name())} is quantized in a way that is not read here ({kind}). "
            "Use one of pruneflow's exports."
        )
    scale, zero_point = array_of(how.ScaleAsNumpy()), array_of(how.ZeroPointAsNumpy())
    return dequantize(stored, scale, zero_point, how.QuantizedDimension())


def _of_blocks(file: File, table: Any, stored: Array, subgraph: _Subgraph) -> npt.NDArray[np.float32]:
    """Dequantize a weight with a scale for each block of inputs of each output, in a tensor of its own."""
    how = schema().BlockwiseQuantization()
    how.Init(table.Bytes, table.Pos)
    size = how.BlockSize()
    if size < 1 or stored.shape[-1] % size:
        raise ValueError(f"blocks of {size} in a tensor of shape {stored.shape}")
    tensor = subgraph.tensors[how.Scales()]
    scales = unpack(file.bytes_of(tensor), _dtype(tensor), stored.size // size).astype(np.float32)
    values: npt.NDArray[np.float32] = stored.astype(np.float32) * np.repeat(scales, size).reshape(
        stored.shape
    )
    return values


def _scale(tensor: Any) -> tuple[float | None, int | None]:
    """Return scale and zero point of a tensor that has one of each."""
    how = tensor.Quantization()
    if how is None or how.ScaleLength() != 1 or how.ZeroPointLength() != 1:
        return None, None
    return float(how.Scale(0)), int(how.ZeroPoint(0))


def _span(file: File, tensor: Any, dtype: str) -> tuple[float, float] | None:
    """Return what the smallest and the largest integer of a tensor stand for."""
    how = tensor.Quantization()
    if how is None or how.ScaleLength() != 1 or dtype not in INTEGERS:
        return None
    limits = np.iinfo(dtype)
    low, high = _dequantized(file, tensor, np.array([limits.min, limits.max], dtype)).tolist()
    return low, high


def _layout(file: File, tensor: Any) -> SparseLayout | None:
    sparsity = tensor.Sparsity()
    if sparsity is None:
        return None
    levels = tuple(_level(dimension) for dimension in file.tables(sparsity, "DimMetadata"))
    return SparseLayout(file.numbers(sparsity, "TraversalOrder"), file.numbers(sparsity, "BlockMap"), levels)


def _level(dimension: Any) -> Level:
    if dimension.Format() == schema().DimensionType.DENSE:
        return Level(dimension.DenseSize(), np.zeros(0, np.int32), np.zeros(0, np.int32))
    segments = _indices(dimension.ArraySegmentsType(), dimension.ArraySegments())
    return Level(None, segments, _indices(dimension.ArrayIndicesType(), dimension.ArrayIndices()))


def _indices(kind: int, table: Any) -> Array:
    vector = getattr(schema(), names("SparseIndexVector")[kind])()
    vector.Init(table.Bytes, table.Pos)
    return array_of(vector.ValuesAsNumpy())


def _uses(subgraph: _Subgraph, op: Op, position: int, weight: tuple[int, ...]) -> int:
    """Multiplications by each element of a weight in one invocation."""
    output = subgraph.shape(op.outputs[0])
    if op.name in ("GATHER", "EMBEDDING_LOOKUP"):
        return 0
    if op.name in ("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D"):
        return math.prod(output[:-1])
    if op.name in ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"):
        return math.prod(subgraph.shape(op.inputs[2])[:-1])
    if op.name == "FULLY_CONNECTED":
        return math.prod(subgraph.shape(op.inputs[0])) // weight[-1]
    if op.name == "BATCH_MATMUL":
        shared = output[-1] if position == 1 else output[-2]
        return math.prod(output) // (shared * math.prod(weight[:-2]))
    return math.prod(subgraph.shape(op.inputs[0])[:-1])  # recurrent: every step of every sequence


def _dtype(tensor: Any) -> str:
    return names("TensorType")[tensor.Type()].lower()
