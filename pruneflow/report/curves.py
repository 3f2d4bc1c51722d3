"""The curves of a run, read back from its TensorBoard files without TensorFlow."""

import importlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pruneflow.errors import PruneflowError

FIRST_BYTES = 100  # the first record, which names the format, has some 40


@dataclass(frozen=True)
class Curve:
    """One scalar over the steps of a phase, both as TensorBoard shows them.

    Attributes:
        steps: Optimizer steps, rising.
        values: As many figures.
    """

    steps: list[int]
    values: list[float]


def read_curves(folder: Path) -> dict[str, Curve]:
    """All scalars of the event files that lie in ``folder`` itself, by tag.

    A file that breaks off, as of a run that is under way, is read as far as it goes.
    """
    found: dict[str, dict[int, float]] = {}
    for file in sorted(folder.glob("*tfevents*")):
        for step, tag, value in _read(file):
            found.setdefault(tag, {})[step] = value
    return {
        tag: Curve(sorted(points), [points[step] for step in sorted(points)]) for tag, points in found.items()
    }


def load_reader() -> None:
    """Import what `read_curves` needs of TensorBoard, which takes a quarter of a second."""
    importlib.import_module("tensorboard.compat.proto.event_pb2")
    importlib.import_module("tensorboard.compat.tensorflow_stub.pywrap_tensorflow")


def _read(file: Path) -> list[tuple[int, str, float]]:
    try:
        if not file.is_file():
            raise ValueError("it is no regular file")
        return list(_scalars(file))
    except Exception as error:  # of any kind: TensorBoard checks nothing of what a record holds
        raise PruneflowError(
            f"{file} cannot be read as a file of TensorBoard: {error}. Delete it, or run again."
        ) from error


def _scalars(file: Path) -> Iterator[tuple[int, str, float]]:
    from tensorboard.compat.proto import event_pb2  # TensorFlow's own is not needed

    for record in _records(file):
        event = event_pb2.Event.FromString(record)
        for value in event.summary.value:
            figure = _figure(value)
            if figure is not None and math.isfinite(figure):
                yield event.step, value.tag, figure


def _records(file: Path) -> Iterator[bytes]:
    from tensorboard.compat.tensorflow_stub import errors
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

    reader, begun = PyRecordReader_New(str(file)), False
    while True:
        try:
            reader.GetNext()
        except errors.OutOfRangeError:
            return
        except errors.DataLossError as error:
            if not begun and file.stat().st_size > FIRST_BYTES:
                raise ValueError("it does not begin with a record") from error
            return
        begun = True
        yield reader.record()


def _figure(value: Any) -> float | None:
    """The number of a scalar summary; None for a histogram, an image or a text."""
    if value.metadata.plugin_data.plugin_name != "scalars":
        return None
    tensor = value.tensor
    if tensor.tensor_content:
        return float(np.frombuffer(tensor.tensor_content, np.float32)[0])
    return float(tensor.float_val[0]) if tensor.float_val else 0.0
