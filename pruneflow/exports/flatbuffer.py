"""A TFLite file as objects that can be changed, and back."""

from typing import Any

import numpy as np
import numpy.typing as npt

ALIGNMENT = 16  # of a buffer in a .tflite file, bytes: schema.fbs demands it


def unpacked(content: bytes) -> Any:
    """The tables of a file as the ``ModelT`` of TFLite's schema; buffers behind the tables are taken in."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # that far into a file is never data, says schema.fbs
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def leftovers(model: Any) -> list[Any]:
    """The buffers with data that nothing in the file refers to."""
    used = {tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors}
    used |= {metadata.buffer for metadata in model.metadata or ()}
    buffers = enumerate(model.buffers)
    return [buffer for index, buffer in buffers if index not in used and buffer.data is not None]


def packed(model: Any, size: int) -> bytes:
    """Write a file."""
    import flatbuffers

    class Builder(flatbuffers.Builder):  # type: ignore[misc]
        """Aligns buffers, which the generated code does not."""

        def CreateNumpyVector(self, numbers: npt.NDArray[Any]) -> Any:  # noqa: N802
            if numbers.dtype == np.uint8:
                self.Prep(ALIGNMENT, numbers.nbytes)
            return super().CreateNumpyVector(numbers)

    builder = Builder(size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
