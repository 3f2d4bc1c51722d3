"""Checkpoints: the whole state of a training phase in one file, from which it goes on bit for bit."""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.runtime import backend, replicas
from pruneflow.runtime.files import write_file
from pruneflow.runtime.replicas import Replicas
from pruneflow.runtime.terminal import warn
from pruneflow.training.events import pack, unpack

keras: Any = backend.keras()

_DIGEST_BYTES = 32
_FACTS = "facts.json"
_EVENTS = "events.zip"
_VARIABLES = "variables/"
_METRICS = "metrics/"


@dataclass(frozen=True)
class Checkpoint:
    """State of a phase after some of its steps.

    Attributes:
        epoch: Epoch of the next step, from 0.
        step: The next step within that epoch, from 0.
        seconds: Wall seconds that the phase took so far.
        kept: What callbacks know, by their name.
        arrays: Values of all variables and metrics, by name.
        events: The TensorBoard files so far, as ``events.pack`` made them.
    """

    epoch: int
    step: int
    seconds: float
    kept: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]
    events: bytes

    def write(self, file: Path) -> None:
        """Write the checkpoint whole, or leave the earlier one as it is.

        Raises:
            PruneflowError: if the disk is full.
        """
        facts = {"epoch": self.epoch, "step": self.step, "seconds": self.seconds, "kept": self.kept}
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr(_FACTS, json.dumps(facts))
            archive.writestr(_EVENTS, self.events)
            for name, array in self.arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
        archived = content.getvalue()
        write_file(file, hashlib.sha256(archived).digest() + archived)

    @classmethod
    def of(cls, content: bytes) -> Checkpoint:
        """Read the content of a checkpoint file; the SHA-256 before it tells a broken one.

        Raises:
            ValueError: if it is broken.
        """
        digest, archived = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(archived).digest() != digest:
            raise ValueError("its SHA-256 does not match")
        with zipfile.ZipFile(io.BytesIO(archived)) as archive:
            facts = json.loads(archive.read(_FACTS))
            events = archive.read(_EVENTS)
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            arrays = {name.removesuffix(".npy"): _array(archive.read(name)) for name in names}
        return cls(facts["epoch"], facts["step"], facts["seconds"], facts["kept"], arrays, events)


def latest(file: Path, together: Replicas | None = None) -> Checkpoint | None:
    """The checkpoint in ``file``; None where there is none that can be used, and a word if it is broken.

    Args:
        file: Where it lies; with several workers only that of the chief is read.
    """
    try:
        content = file.read_bytes() if file.is_file() else None  # a pipe would be waited for
        if together:
            content = together.told(content or b"") or None
        return None if content is None else Checkpoint.of(content)
    except (OSError, ValueError) as error:
        warn(f"Checkpoint {file} is broken ({error}): the phase starts anew.")
        return None


def _array(content: bytes) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return array


@dataclass(frozen=True)
class Kept:
    """Attributes of a callback that a checkpoint keeps: numbers, or lists of arrays."""

    name: str
    callback: Any
    attributes: tuple[str, ...]

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Numbers and arrays."""
        numbers, arrays = {}, {}
        for attribute in self.attributes:
            value = getattr(self.callback, attribute)
            if isinstance(value, list):
                arrays.update({f"{self.name}/{attribute}/{i}": array for i, array in enumerate(value)})
            else:
                numbers[attribute] = value if value is None else float(value)
        return numbers, arrays

    def restore(self, checkpoint: Checkpoint) -> None:
        """Set the attributes to what the checkpoint holds."""
        for attribute in self.attributes:
            prefix = f"{self.name}/{attribute}/"
            arrays = [array for name, array in checkpoint.arrays.items() if name.startswith(prefix)]
            value = arrays or checkpoint.kept[self.name].get(attribute)
            setattr(self.callback, attribute, _whole(value) if isinstance(value, float) else value)


def _whole(value: float) -> float | int:
    return int(value) if value.is_integer() else value


class Checkpoints(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes a checkpoint now and then, and takes a phase up from one.

    Must come last: other callbacks' state of a step is whole only after they have run.
    """

    _supports_tf_logs = True  # reading the loss would wait for the step to finish

    def __init__(
        self,
        file: Path,
        events: Path,
        *,
        every_seconds: float | None,
        kept: Sequence[Kept],
        writers: Any,
    ) -> None:
        """Set up, without reading or writing.

        Args:
            events: Folder of the phase's TensorBoard files.
            every_seconds: Least seconds between two checkpoints; None writes none.
            kept: What to keep of other callbacks.
            writers: Gives the open summary writers, to be flushed before their files are read.
        """
        super().__init__()
        self.file, self.events = file, events
        self.every_seconds, self.kept, self.writers = every_seconds, kept, writers
        self._resumed: Checkpoint | None = None
        self._epoch = 0
        self._start = self._last = 0.0

    def resume(self, model: Any, example: Callable[[], Any]) -> Checkpoint | None:
        """Put ``model``, compiled, into the state of the checkpoint, and the event files with it.

        Args:
            model: What will be fitted.
            example: Gives a batch (x, y), from which Keras makes its metrics.

        Returns:
            The checkpoint; None where the phase starts at its beginning.
        """
        found = latest(self.file, replicas.training(model))
        if found is None:
            return None
        model.test_on_batch(*example())
        variables = _variables(model)
        kinds = {n: (v.shape, v.dtype) for n, v in found.arrays.items() if n.startswith(_VARIABLES)}
        if kinds != {n: (v.shape, v.dtype) for n, v in _values(variables).items()}:
            warn(f"Checkpoint {self.file} is of another network or version: the phase starts anew.")
            return None
        for name, variable in variables.items():
            _assign(name, variable, found.arrays[name])
        unpack(found.events, self.events)
        model._training_state = self  # where Keras' fit asks at which epoch and step it starts
        self._resumed = found
        return found

    def maybe_load_initial_counters_from_ckpt(self, *_: Any, **__: Any) -> tuple[int, int]:
        """Epoch and step at which Keras' ``fit`` begins."""
        assert self._resumed is not None
        return self._resumed.epoch, self._resumed.step

    def on_train_begin(self, logs: Any = None) -> None:
        """Give other callbacks back what they knew."""
        self._start = self._last = time.monotonic()
        if self._resumed:
            for kept in self.kept:
                kept.restore(self._resumed)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Give the metrics of an epoch that was begun their sums back."""
        self._epoch = epoch
        if self._resumed and (epoch, True) == (self._resumed.epoch, self._resumed.step > 0):
            for name, variable in _metrics(self.model).items():
                _assign(name, variable, self._resumed.arrays[name])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Write a checkpoint where one is due; the end of an epoch has its own."""
        if batch + 1 < self.params["steps"]:
            self._write_if_due(self._epoch, batch + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write a checkpoint where one is due and training goes on."""
        if epoch + 1 < self.params["epochs"] and not self.model.stop_training:
            self._write_if_due(epoch + 1, 0)

    def on_train_end(self, logs: Any = None) -> None:
        """Let go of the model."""
        self.model._training_state = None

    def _write_if_due(self, epoch: int, step: int) -> None:
        due = self.every_seconds is not None and time.monotonic() - self._last >= self.every_seconds
        together = replicas.training(self.model)
        if together.agreed(due) if together else due:
            self.write(epoch, step)
            self._last = time.monotonic()

    def write(self, epoch: int, step: int) -> None:
        """Write the state of training before ``step`` of ``epoch``, which all workers collect."""
        arrays, numbers = _values({**_variables(self.model), **_metrics(self.model)}), {}
        for kept in self.kept:
            numbers[kept.name], more = kept.state()
            arrays.update(more)
        together = replicas.training(self.model)
        if together and not together.is_chief:
            return
        for writer in self.writers():
            writer.flush()
        before = self._resumed.seconds if self._resumed else 0.0
        seconds = before + time.monotonic() - self._start
        Checkpoint(epoch, step, seconds, numbers, arrays, pack(self.events)).write(self.file)


def _variables(model: Any) -> dict[str, Any]:
    """Weights, masks, pruning step, optimizer and the states of random generators, in a fixed order."""
    generators = [generator.state for generator in _generators(model)]
    groups = {"model": model.variables, "optimizer": model.optimizer.variables, "random": generators}
    return {
        f"{_VARIABLES}{group}/{index}": variable
        for group, variables in groups.items()
        for index, variable in enumerate(list(variables))
    }


def _metrics(model: Any) -> dict[str, Any]:
    variables = [variable for metric in model.metrics for variable in metric.variables]
    return {f"{_METRICS}{index}": variable for index, variable in enumerate(variables)}


def _values(variables: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    return {
        name: each.numpy() if _is_equal(name, each) else replicas.values_of(each)
        for name, each in variables.items()
    }


def _assign(name: str, variable: Any, values: npt.NDArray[Any]) -> None:
    if _is_equal(name, variable):
        variable.assign(values)
    else:
        replicas.assign(variable, values)


def _is_equal(name: str, variable: Any) -> bool:
    """Return whether a variable is equal on all replicas: what the optimizer moves, and its moments."""
    return name.startswith(f"{_VARIABLES}optimizer/") or (
        name.startswith(f"{_VARIABLES}model/") and variable.trainable
    )


def _generators(model: Any) -> list[Any]:
    """Return the generators of dropout, which Keras leaves out of its own checkpoints."""
    found = []
    for layer in model._flatten_layers():
        random = getattr(layer, "_random_generator", None)
        if random is not None and getattr(random, "_generator", None) is not None:
            found.append(random._generator)
    return found
