"""Files in which some weights are quantized: those of the other layers are taken from the float file."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from pruneflow.errors import ConfigError
from pruneflow.exports import tflite
from pruneflow.exports.flatbuffer import leftovers, packed, unpacked
from pruneflow.exports.tflite import PASSED_THROUGH, WEIGHT_OPERANDS, Weight
from pruneflow.exports.zeros import held
from pruneflow.sparsity.kernels import leaves, named_weights, weights

EVERY = ("*",)  # patterns that choose all layers
LOOKUPS = ("GATHER", "EMBEDDING_LOOKUP")  # give rows of a weight, quantized as they are stored

Place = tuple[int, int]  # subgraph and tensor of a weight in the float file


def is_chosen(layer: str, patterns: Sequence[str]) -> bool:
    """Return whether one of the patterns matches the name of a layer."""
    return any(fnmatchcase(layer, pattern) for pattern in patterns)


def left_out(original: bytes, model: Any, patterns: Sequence[str]) -> set[Place]:
    """Find the weights of the layers that no pattern chooses.

    Args:
        original: The float file of the model.
        model: A plain ``tf_keras.Model``.
        patterns: On names of layers.

    Raises:
        ConfigError: if weights of such a layer are not found in the file, so that they cannot be left alone.
    """
    found = held(tflite.parse(original, "the float file"), weights(model))
    layers = _layers(model)
    others = {name: tensors for name, tensors in found.items() if not is_chosen(layers[name], patterns)}
    lost = [name for name, tensors in others.items() if not tensors and not name.endswith("bias")]
    if lost:
        problem = f"weights of other layers are not found in the file: {', '.join(lost)}"
        raise ConfigError.of("export.layers", list(patterns), problem, "Choose these layers too.")
    return {_place(tensor) for tensors in others.values() for tensor in tensors}


def _layers(model: Any) -> dict[str, str]:
    """The layer of each weight; names of weights may have parts too, such as ``forward/kernel``."""
    return {f"{name}/{weight}": name for name, layer in leaves(model) for weight in named_weights(layer)}


def _place(weight: Weight) -> Place:
    return weight.subgraph, weight.tensor


def restored(content: bytes, original: bytes, places: set[Place]) -> bytes:
    """Put float weights back into a quantized file, and take out what dequantized them.

    Args:
        content: The quantized file, dense-encoded.
        original: The float file of the same network.
        places: Of the weights in ``original`` that are put back.
    """
    file, source = unpacked(content), unpacked(original)
    for number, (into, out) in enumerate(zip(file.subgraphs, source.subgraphs, strict=True)):
        for op, other in _pairs((file, into), (source, out)):
            for operand in WEIGHT_OPERANDS.get(_name(source, other), ()):
                if operand < len(other.inputs) and (number, other.inputs[operand]) in places:
                    weight = out.tensors[other.inputs[operand]]
                    tensor = _constant(file, into, op.inputs[operand])
                    if tensor.type != weight.type:
                        tensor.buffer = len(file.buffers)
                        file.buffers.append(source.buffers[weight.buffer])
                    tensor.type, tensor.quantization = weight.type, None
                    if _name(file, op) in LOOKUPS:
                        rows = into.tensors[op.outputs[0]]
                        rows.type, rows.quantization = weight.type, None
                    op.builtinOptions = other.builtinOptions
        _without_dequantize(file, into)
    for buffer in leftovers(file):
        buffer.data = None
    return packed(file, len(content) + len(original))


def outputs_of(content: bytes, original: bytes, places: set[Place]) -> dict[str, tuple[str, int]]:
    """Name the operations of a file that read some weights.

    Args:
        original: The float file of the same network.
        places: Of the weights in ``original``.

    Returns:
        By the names of their outputs, joined by ``;``: the operation, and how many inputs each output has.
    """
    file, source = unpacked(content), unpacked(original)
    found = {}
    for number, (into, out) in enumerate(zip(file.subgraphs, source.subgraphs, strict=True)):
        for op, other in _pairs((file, into), (source, out)):
            name = _name(source, other)
            for operand in WEIGHT_OPERANDS.get(name, ()):
                if operand < len(other.inputs) and (number, other.inputs[operand]) in places:
                    outputs = ";".join(into.tensors[index].name.decode() for index in op.outputs)
                    found[outputs] = (name, int(out.tensors[other.inputs[operand]].shape[-1]))
    return found


def _pairs(a: tuple[Any, Any], b: tuple[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """The same operation of both files, in the order of both; what dequantizes stands aside."""
    ours, theirs = (
        [op for op in subgraph.operators if _name(file, op) not in PASSED_THROUGH]
        for file, subgraph in (a, b)
    )
    if [_name(a[0], op) for op in ours] != [_name(b[0], op) for op in theirs]:
        raise ValueError("the converter made other operations of the quantized network than of the float one")
    yield from zip(ours, theirs, strict=True)


def _name(file: Any, op: Any) -> str:
    code = file.operatorCodes[op.opcodeIndex]
    return tflite.operation(max(code.builtinCode, code.deprecatedBuiltinCode))


def _constant(file: Any, subgraph: Any, index: int) -> Any:
    """The constant that reaches an operation as this tensor, at first hand or dequantized."""
    produced = {op.outputs[0]: op.inputs[0] for op in subgraph.operators if _name(file, op) in PASSED_THROUGH}
    while index in produced:
        index = produced[index]
    return subgraph.tensors[index]


def _without_dequantize(file: Any, subgraph: Any) -> None:
    """Take out each DEQUANTIZE whose input is float by now: its readers read that."""
    idle = [
        op
        for op in subgraph.operators
        if _name(file, op) == "DEQUANTIZE"
        and subgraph.tensors[op.inputs[0]].type == subgraph.tensors[op.outputs[0]].type
    ]
    instead = {op.outputs[0]: op.inputs[0] for op in idle}
    subgraph.operators = [op for op in subgraph.operators if not any(op is each for each in idle)]
    for op in subgraph.operators:
        op.inputs = [instead.get(index, index) for index in op.inputs]
    subgraph.outputs = [instead.get(index, index) for index in subgraph.outputs]
