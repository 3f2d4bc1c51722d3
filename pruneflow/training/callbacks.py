"""Keras callbacks of our own: progress on the terminal, masks that change, tfmot's summaries."""

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pruneflow.options import require
from pruneflow.runtime import backend
from pruneflow.runtime.signals import let_through
from pruneflow.runtime.terminal import Advance, bar
from pruneflow.sparsity.masked import Masked
from pruneflow.sparsity.tfmot_engine import Wrapped
from pruneflow.training.metrics import HEADLINES, label_of

keras: Any = backend.keras()
tfmot: Any = backend.tfmot()

NOTE_EVERY_STEPS = 20  # reading the loss waits for the step to finish; not worth it at each


class TrainingProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """One progress bar per epoch, with the time left, the loss and the accuracy."""

    _supports_tf_logs = True  # leaves the logs on the device until they are shown, as Keras' own bar does

    def __init__(self, phase: str, *, epochs: int, steps: int) -> None:
        super().__init__()
        self.phase, self.epochs, self.steps = phase, epochs, steps
        self.begun = (0, 0)  # epoch and step at which training was taken up
        self._open = ExitStack()
        self._advance: Advance | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Open the bar of this epoch."""
        description = f"Training, {self.phase}, epoch {epoch + 1}/{self.epochs}"
        before = self.begun[1] if epoch == self.begun[0] else 0
        self._advance = self._open.enter_context(bar(description, total=self.steps, before=before))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Move the bar on."""
        assert self._advance is not None
        self._advance(1, _note(logs) if batch % NOTE_EVERY_STEPS == 0 else "")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Answer a signal that was held back."""
        let_through()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Show the epoch's figures and close the bar."""
        assert self._advance is not None
        self._advance(0, _note(logs))
        self._open.close()

    def close(self) -> None:
        """Close a bar that an exception left open, without the line of an epoch that is done."""
        self._open.__exit__(*sys.exc_info())


class Throughput(keras.callbacks.Callback):  # type: ignore[misc]
    """Counts training examples and the seconds that training, without validation, took.

    Attributes:
        examples: Examples of the epochs that have ended.
        seconds: Seconds spent in their training steps.
        epoch_seconds: Seconds spent in training steps of the present epoch.
        latest: Examples per second in the epoch that ended last.
    """

    _supports_tf_logs = True

    def __init__(self, examples_per_epoch: int) -> None:
        super().__init__()
        self.examples_per_epoch = examples_per_epoch
        self.examples, self.seconds, self.epoch_seconds, self.latest = 0, 0.0, 0.0, 0.0
        self._last = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._last = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Read the clock: the last reading is the end of training in this epoch."""
        now = time.perf_counter()
        self.epoch_seconds += now - self._last
        self._last = now

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add this epoch."""
        self.examples += self.examples_per_epoch
        self.seconds += self.epoch_seconds
        self.latest = self.examples_per_epoch / self.epoch_seconds if self.epoch_seconds else 0.0
        self.epoch_seconds = 0.0

    @property
    def examples_per_second(self) -> float:
        """Mean over all epochs."""
        return self.examples / self.seconds if self.seconds else 0.0


class _MaskUpdates:
    """The hooks that the callbacks of both Keras share."""

    _supports_tf_logs = True

    def __init__(self, masked: Masked) -> None:
        super().__init__()
        self.masked = masked

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin to look at gradients, where the criterion wants them."""
        _require_single_steps(self.masked.model)
        on, what = self.masked.is_attached or isinstance(self.masked, Wrapped), "MaskUpdates"
        problem = "their masks were taken off the model, by strip or by another call of prune"
        require(on, "callbacks", what, problem, "Call prune again.")
        if self.masked.plan.criterion.uses_gradients:
            self.masked.observe_gradients()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Change the masks where it is time."""
        self.masked.begin_step()

    def on_test_begin(self, logs: Any = None) -> None:
        """Mask what the last training step moved, so that validation sees the pruned network."""
        self.masked.apply()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Mask it too for what other callbacks save."""
        self.masked.apply()


class MaskUpdates(_MaskUpdates, keras.callbacks.Callback):  # type: ignore[misc]
    """Decides masks before the steps at which the plan changes them."""


def pruning_callbacks(masked: Masked) -> list[Any]:
    """Return what a ``fit`` of the network needs, in its Keras: first of all callbacks."""
    if isinstance(masked, Wrapped):
        return [tfmot.sparsity.keras.UpdatePruningStep(), MaskUpdates(masked)]
    if masked.keras is keras:
        return [MaskUpdates(masked)]
    bases = (_MaskUpdates, masked.keras.callbacks.Callback)
    return [type("MaskUpdates", bases, {"__doc__": MaskUpdates.__doc__})(masked)]


def _require_single_steps(model: Any) -> None:
    """Refuse a graph of several steps, between which masks could not change."""
    name = "_steps_per_execution" if hasattr(model, "_steps_per_execution") else "steps_per_execution"
    steps = int(backend.tensorflow().convert_to_tensor(getattr(model, name)))  # a variable in Keras 2
    problem = "masks change between two steps, and Keras makes so many at once"
    require(steps == 1, "steps_per_execution", steps, problem, "Leave it out of compile(...).")


class TfmotSummaries(tfmot.sparsity.keras.PruningSummaries):  # type: ignore[misc]
    """tfmot's summaries of masks, without those of Keras that they bring: we write those ourselves."""

    begun = (0, 0)  # an epoch that is taken up in its middle does not log its beginning twice

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), write_graph=False)

    @property
    def writer(self) -> Any:
        """Its event file; tfmot neither closes it nor gives it a name (0.8.1)."""
        return self._file_writer

    def on_train_begin(self, logs: Any = None) -> None:
        """Open no file for loss and accuracy in training."""

    def on_train_end(self, logs: Any = None) -> None:
        """Close the event file."""
        self.writer.close()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Leave loss and accuracy of a step alone: Keras makes summaries of them that nobody writes."""

    def on_test_begin(self, logs: Any = None) -> None:
        """Open no file for loss and accuracy in validation."""

    def on_test_end(self, logs: Any = None) -> None:
        """Leave them to our log."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Leave loss and accuracy to our log."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Log the masks' sparsity at the beginning of an epoch."""
        begun_before = epoch == self.begun[0] and self.begun[1] > 0
        if not begun_before:
            super().on_epoch_begin(epoch, logs)


def _note(logs: Any) -> str:
    logs = logs or {}
    shown = [("loss", "loss")]
    for name in HEADLINES:
        shown += [(name, label_of(name)), (f"val_{name}", f"validation {label_of(name)}")]
    return "  ".join(f"{label} {float(logs[key]):.4f}" for key, label in shown if key in logs)
