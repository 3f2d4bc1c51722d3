"""Outputs of a TFLite file that has its inputs and outputs by name."""

from typing import Any

import numpy as np

from pruneflow.exports.runner import FloatArray, dequantized, quantized
from pruneflow.exports.signatures import Array, Arrays
from pruneflow.runtime import backend
from pruneflow.runtime.signals import undisturbed

Tensors = dict[str, dict[str, Any]]


def named_outputs(content: bytes, examples: Arrays, names: list[str]) -> dict[str, FloatArray]:
    """Outputs of a file, dequantized, one example at a time; state is reset before each.

    Args:
        content: The bytes of a ``.tflite`` file that pruneflow made.
        examples: (n, *shape) by the names of inputs.
        names: Of the outputs. A file with one input and one output has names of its own for them.

    Returns:
        (n, ...) float32 by the names of outputs.

    Raises:
        RuntimeError: if LiteRT cannot run the file.
        ValueError: if LiteRT cannot load it.
    """
    with undisturbed():
        interpreter = backend.litert().Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        inputs, outputs = _tensors(interpreter, list(examples), names)
        given = {name: quantized(examples[name], tensor) for name, tensor in inputs.items()}
        rows: dict[str, list[Array]] = {name: [] for name in names}
        for index in range(len(next(iter(examples.values())))):
            interpreter.reset_all_variables()
            for name, tensor in inputs.items():
                one = given[name][index : index + 1]
                interpreter.set_tensor(tensor["index"], one.reshape(tensor["shape"]))
            interpreter.invoke()
            for name in names:
                rows[name].append(np.atleast_1d(interpreter.get_tensor(outputs[name]["index"])))
        return {name: dequantized(np.concatenate(rows[name]), outputs[name]) for name in names}


def _tensors(interpreter: Any, inputs: list[str], outputs: list[str]) -> tuple[Tensors, Tensors]:
    """Details of inputs and outputs by name.

    The runner of the signature ends here: an interpreter does not run while it holds on to it.
    """
    runner = interpreter.get_signature_runner()
    into, out = runner.get_input_details(), runner.get_output_details()
    if len(inputs) == len(outputs) == 1:
        return dict(zip(inputs, into.values(), strict=True)), dict(zip(outputs, out.values(), strict=True))
    return into, out
