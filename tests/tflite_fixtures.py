"""TFLite files made by hand: fully connected layers in a row, whose weights a test chooses."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def dense_layers(**weights):
    """The bytes of a file with a FULLY_CONNECTED for each ``name=(outputs, inputs) float32 array``."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    code = schema.OperatorCodeT()
    code.builtinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 1
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers, graph.tensors, graph.operators = [schema.BufferT()], [], []

    def tensor(name, shape, values=None):
        made, buffer = schema.TensorT(), 0
        if values is not None:
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
            buffer = len(model.buffers) - 1
        made.name, made.shape, made.type, made.buffer = name, list(shape), schema.TensorType.FLOAT32, buffer
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    at = tensor("input", (1, next(iter(weights.values())).shape[1]))
    graph.inputs = [at]
    for name, values in weights.items():
        made = schema.OperatorT()
        kernel = tensor(f"net/{name}/MatMul", values.shape, values)
        made.opcodeIndex, made.inputs = 0, [at, kernel, -1]
        at = tensor(f"net/{name}/out", (1, len(values)))
        made.outputs = [at]
        graph.operators.append(made)
    graph.outputs = [at]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
