"""The match of a TFLite file, of whatever origin, with a data set: outputs, examples, range of pixels."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from pruneflow.datasets.spec import Data, Spec
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.exports.runner import foreign_outputs
from pruneflow.exports.tflite import Graph
from pruneflow.models.doubts import SAMPLED, better_reading, guessing
from pruneflow.models.pixels import USUAL, Span
from pruneflow.models.tasks import Classification, Regression, Task
from pruneflow.options import require
from pruneflow.training.scoring import score

CALIBRATED = 0.1  # of a range, by which examples that a scale was made of may have missed its ends


def pixels_of_file(graph: Graph) -> Span | None:
    """The range of pixels that the input takes, by its scale; None where it has none that says it.

    int8 without a scale takes pixels from -128 to 127, other integers from 0 to 255. Scales of int16 are
    symmetric about 0, so that only the upper end says something.
    """
    read = graph.inputs[0]
    if read.span is None:
        return {"int8": (-128.0, 127.0)}.get(read.dtype, USUAL[-1]) if "int" in read.dtype else None
    if read.dtype == "int16":
        return USUAL[-1] if _is_about(read.span, (-USUAL[-1][1], USUAL[-1][1])) else None
    return next((span for span in USUAL if _is_about(read.span, span)), None)


def _is_about(found: Span, span: Span) -> bool:
    allowed = CALIBRATED * (span[1] - span[0])
    return all(abs(a - b) <= allowed for a, b in zip(found, span, strict=True))


def given_pixels(graph: Graph, spec: Spec, asked: Span | None) -> Spec:
    """Return what the examples are with the range of pixels that a file is given.

    Args:
        asked: The setting ``model.pixels``; None takes what the scale of the input says, or 0 and 1.

    Raises:
        ConfigError: if pixels are asked for that the data have not.
    """
    if spec.kind != "image":
        require(not asked, "model.pixels", asked, "the data have no pixels", "Leave it out.")
        return spec
    return replace(spec, pixels=asked or pixels_of_file(graph))


@dataclass(frozen=True)
class Scored:
    """A file that was scored.

    Attributes:
        data: Its test part, as it was given.
        task: What its outputs mean.
        rescales: What it makes of pixels from 0 to 1 before its network reads them.
    """

    file: Path
    name: str
    data: Data
    task: Task
    rescales: Span
    threads: int

    @property
    def pixels(self) -> Span | None:
        """The range in which its network read pixels; None where the data have none."""
        return (self.data.spec.pixels or self.rescales) if self.data.spec.kind == "image" else None

    def accuracy_of(self, span: Span) -> float:
        """Accuracy on some examples whose pixels its network reads in another range."""
        sample, (low, high) = self.data.test.sampled(SAMPLED), self.rescales
        darkest, brightest = ((end - low) / (high - low) for end in span)
        data = replace(self.data, test=sample, spec=replace(self.data.spec, pixels=(darkest, brightest)))
        outputs = foreign_outputs(self.file, data, units=self.task.units, threads=self.threads)
        return score(self.task, self.task.outcome(outputs), sample.y).headline


def doubt_of(scored: Scored, accuracy: float) -> str:
    """A sentence where a file knows the classes no better than chance.

    Returns:
        The range of pixels by which it knows them, if there is one, or likely causes; empty where it is
        better than chance.
    """
    spec, examples = scored.data.spec, len(scored.data.test)
    doubt = guessing(accuracy, spec, examples, scored.name)
    if not doubt or not scored.pixels:
        return doubt
    found = better_reading(scored.accuracy_of, scored.pixels, spec, min(examples, SAMPLED))
    if found:
        return f"{doubt} It knows {found}: set {found.setting}."
    return f"{doubt} No other usual range of pixels is better."


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
