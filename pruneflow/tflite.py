"""Facts of a TFLite file: `read` one, or `parse` its bytes."""

from pruneflow.exports.tflite import Graph, Op, Tensor, Weight, parse, read

__all__ = ["Graph", "Op", "Tensor", "Weight", "parse", "read"]
