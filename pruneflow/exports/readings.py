"""The range of pixels that a TFLite file of whatever origin is given, and whether it knows more by others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pruneflow.datasets.spec import Data, Spec
from pruneflow.exports.runner import foreign_outputs
from pruneflow.exports.tflite import Graph
from pruneflow.models.doubts import SAMPLED, better_reading, guessing
from pruneflow.models.pixels import USUAL, Span
from pruneflow.models.tasks import Task
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
