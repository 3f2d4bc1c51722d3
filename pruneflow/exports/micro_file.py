"""A TFLite file whose int8 weights lie as TFLite Micro's operation DECODE reads them."""

from typing import Any

import numpy as np

from pruneflow.exports import decode, tflite
from pruneflow.exports.flatbuffer import packed, unpacked

OVERHEAD_BYTES = 150  # of two tensors, their buffers and the operation that decodes them; measured: 136


def with_decode(content: bytes, *, largest_bytes: int | None = None, always: bool = False) -> bytes:
    """Store each weight in fewer bytes where there is a way, and have DECODE make it before it is read.

    What DECODE makes lies in the arena while the next operation reads it. A weight stays as it is where

    - it is no int8 with a zero point of 0,
    - several operations read it, or it shares its bytes with another tensor,
    - its scales lie along a dimension that DECODE does not know.

    Args:
        content: A file with one subgraph.
        largest_bytes: The largest weight that is decoded; None for any.
        always: Whether weights are stored so where that takes more bytes too.
    """
    model, stored = unpacked(content), {}
    for weight in tflite.parse(content, "the file").weights:
        fits = largest_bytes is None or weight.size <= largest_bytes
        if fits and _can_be_decoded(model, weight):
            found = decode.smallest(weight.stored, _axis(model.subgraphs[0].tensors[weight.tensor]))
            if always or found.size + OVERHEAD_BYTES < weight.size:
                stored[weight.tensor] = found
    return packed(_rewritten(model, stored), len(content)) if stored else content


def _can_be_decoded(model: Any, weight: tflite.Weight) -> bool:
    tensor = model.subgraphs[weight.subgraph].tensors[weight.tensor]
    users = sum(each.buffer == tensor.buffer for subgraph in model.subgraphs for each in subgraph.tensors)
    return weight.subgraph == 0 and len(weight.consumers) == users == 1 and _is_plain(tensor)


def _is_plain(tensor: Any) -> bool:
    """Return whether DECODE can make a tensor: it gives 0 for what is not stored."""
    from ai_edge_litert import schema_py_generated as schema

    how = tensor.quantization
    if (
        tensor.type != schema.TensorType.INT8
        or how is None
        or how.scale is None
        or tensor.sparsity is not None
    ):
        return False
    known = how.quantizedDimension == 0 or (
        how.quantizedDimension == len(tensor.shape) - 1 and len(how.scale) > 1
    )
    return known and not np.any(how.zeroPoint if how.zeroPoint is not None else 0)


def _axis(tensor: Any) -> int | None:
    how = tensor.quantization
    return int(how.quantizedDimension) if len(how.scale) > 1 else None


def _rewritten(model: Any, stored: dict[int, decode.Stored]) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = decode.OPERATION.encode(), 1
    model.operatorCodes.append(code)
    subgraph, operators = model.subgraphs[0], []
    for reader in subgraph.operators:
        outputs = [int(index) for index in reader.inputs if index in stored]
        if outputs:
            operator = schema.OperatorT()
            operator.opcodeIndex = len(model.operatorCodes) - 1
            operator.outputs = outputs
            operator.inputs = [index for each in outputs for index in _added(model, each, stored[each])]
            operators.append(operator)
        operators.append(reader)
    subgraph.operators = operators
    return model


def _added(model: Any, index: int, stored: decode.Stored) -> list[int]:
    """Add the two tensors of a weight, which is no constant any more; its buffer holds the first of them."""
    from ai_edge_litert import schema_py_generated as schema

    tensors, weight = model.subgraphs[0].tensors, model.subgraphs[0].tensors[index]
    model.buffers.append(schema.BufferT())
    for content, buffer in ((stored.positions, weight.buffer), (stored.values, len(model.buffers) - 1)):
        model.buffers[buffer].data = np.frombuffer(content, np.uint8)
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = [len(content)], schema.TensorType.UINT8, buffer
        tensors.append(tensor)
    weight.buffer = 0  # the empty one, by the rules of schema.fbs
    return [len(tensors) - 2, len(tensors) - 1]
