"""The match of a TFLite file, of whatever origin, with a data set, and the meaning of its outputs."""

from __future__ import annotations

import math

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.exports.tflite import Graph
from pruneflow.models.tasks import Classification, Regression, Task

# What may stand between the last activation and the output.
PASSES = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE")


def task_of_file(graph: Graph, spec: Spec) -> Task:
    """Return the meaning of the outputs: numbers, probabilities (softmax or sigmoid), or logits."""
    if spec.targets:
        return Regression(spec.targets)
    names = [op.name for op in graph.ops if op.name not in PASSES]
    from_logits = not names or names[-1] not in ("SOFTMAX", "LOGISTIC")
    return Classification(units=_units(graph), from_logits=from_logits)


def require_match(graph: Graph, name: str, spec: Spec, dataset: str) -> None:
    """Refuse a file that cannot read the examples or tells other classes apart."""
    for what, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        if len(tensors) != 1:
            raise PruneflowError(
                f"{name} has {len(tensors)} {what}s, and evaluation needs one. Export the part that answers."
            )
    _require_shape(graph, name, spec, dataset)
    _require_vocabulary(graph, name, spec, dataset)
    units = _units(graph)
    if units != spec.outputs and not (units == 1 and spec.classes == 2):
        has = f"{len(spec.targets)} numbers to predict" if spec.targets else f"{spec.classes} classes"
        raise ConfigError(
            f"dataset={dataset}: it has {has}, and {name} has {units} outputs. "
            "Choose the data set that the file was made for."
        )


def _units(graph: Graph) -> int:
    return math.prod(graph.outputs[0].shape[1:])


def _require_shape(graph: Graph, name: str, spec: Spec, dataset: str) -> None:
    shape = graph.inputs[0].shape
    if math.prod(shape[1:]) != math.prod(spec.shape):
        length = shape[-1] if spec.kind == "tokens" and len(shape) == 2 else 0
        remedy = (
            f"Set dataset.length={length}" if length else "Choose the data set that the file was made for"
        )
        raise ConfigError(
            f"dataset={dataset}: an example has shape {_words(spec.shape)}, and {name} reads "
            f"{_words(shape[1:])}. {remedy}."
        )


def _require_vocabulary(graph: Graph, name: str, spec: Spec, dataset: str) -> None:
    """A token id beyond the table of an embedding would read memory that is none of the file's."""
    tables = [weight for weight in graph.weights if {"GATHER", "EMBEDDING_LOOKUP"} & set(weight.consumers)]
    rows = min((table.shape[0] for table in tables), default=spec.vocabulary_size)
    if spec.vocabulary_size > rows:
        raise ConfigError(
            f"dataset={dataset}: token ids go up to {spec.vocabulary_size - 1}, and {name} knows {rows}. "
            f"Set dataset.vocabulary_size={rows}."
        )


def _words(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"
