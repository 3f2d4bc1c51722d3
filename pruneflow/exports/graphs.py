"""Facts of the graph of a traced model: inputs that are token ids, and the last operation of an output."""

from collections.abc import Iterator, Mapping
from typing import Any

from pruneflow.runtime import backend

# Operations that move values, or change their type alone.
MOVES = frozenset(
    {
        *("Identity", "Cast", "Reshape", "ExpandDims", "Squeeze", "StridedSlice", "Slice", "Split", "SplitV"),
        *("Unpack", "Pack", "ConcatV2", "Transpose", "Tile", "BroadcastTo", "StopGradient", "EnsureShape"),
    }
)


def vocabularies(graph: Any, inputs: Mapping[str, Any]) -> dict[str, int]:
    """Find the inputs with which tables are looked up.

    Returns:
        For each such input the rows of the smallest table.
    """
    found: dict[str, int] = {}
    for ids, rows in _lookups(graph):
        reached = {tensor.name for tensor in _sources(ids)}
        for name, tensor in inputs.items():
            if tensor.name in reached:
                found[name] = min(rows, found.get(name, rows))
    return found


def _lookups(graph: Any) -> Iterator[tuple[Any, int]]:
    """Ids, and how many there are, of each operation that looks something up by them."""
    sizes = {"ResourceGather": _rows_of_variable, "GatherV2": _rows_of_tensor, "OneHot": _depth}
    for operation in graph.get_operations():
        if operation.type in sizes and (rows := sizes[operation.type](graph, operation)):
            yield operation.inputs[0 if operation.type == "OneHot" else 1], int(rows)


def _rows_of_variable(graph: Any, operation: Any) -> Any:
    """Rows of the variable that a graph has captured; None of any other."""
    outside = {inside.name: outside for outside, inside in graph.captures}.get(operation.inputs[0].name)
    return next((each.shape[0] for each in graph.variables if each.handle is outside), None)


def _rows_of_tensor(_: Any, operation: Any) -> Any:
    table, axis = operation.inputs[0], backend.tensorflow().get_static_value(operation.inputs[2])
    return None if axis is None or table.shape.rank is None else table.shape[int(axis)]


def _depth(_: Any, operation: Any) -> Any:
    return backend.tensorflow().get_static_value(operation.inputs[1])


def _sources(tensor: Any) -> Iterator[Any]:
    """The tensor, and those that it is made of by moving values."""
    open_ends, seen = [tensor], set()
    while open_ends:
        tensor = open_ends.pop()
        if tensor.name not in seen:
            seen.add(tensor.name)
            yield tensor
            open_ends += tensor.op.inputs if tensor.op.type in MOVES else ()


def ending(tensor: Any) -> str:
    """Name of the operation that gives an output its values, such as ``"Softmax"``."""
    while tensor.op.type in MOVES and len(tensor.op.inputs):
        tensor = tensor.op.inputs[0]
    return str(tensor.op.type)
