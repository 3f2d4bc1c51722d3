"""Files of a training phase for TensorBoard: curves, and on request weights and masks."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from pruneflow.errors import PruneflowError
from pruneflow.runtime import backend
from pruneflow.sparsity.masked import Masked
from pruneflow.sparsity.measure import total_sparsity
from pruneflow.sparsity.pictures import picture
from pruneflow.training.callbacks import Throughput
from pruneflow.training.dashboard import TensorBoard, description, write_layout
from pruneflow.training.metrics import HEADLINES

keras: Any = backend.keras()
tf: Any = backend.tensorflow()


class ScalarLog(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes loss, metrics, learning rate and throughput at the end of each epoch.

    The step axis is the optimizer step within the phase.
    """

    def __init__(self, folder: Path, throughput: Throughput, *, headline: str) -> None:
        super().__init__()
        self.folder, self.throughput, self.headline = folder, throughput, headline
        self.step = 0
        self.writer: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the event file, and say which curves share a chart."""
        write_layout(self.folder, self.headline)
        self.writer = tf.summary.create_file_writer(str(self.folder))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the figures of this epoch; stop where there are none."""
        logs = logs or {}
        _require_finite(logs, epoch)
        names = sorted(key for key in logs if not key.startswith("val_"))
        figures = {f"{name}/train": logs[name] for name in names}
        figures |= {f"{name}/validation": logs[f"val_{name}"] for name in names if f"val_{name}" in logs}
        figures["learning_rate"] = _learning_rate(self.model.optimizer)
        figures["examples_per_second"] = self.throughput.latest
        self.write(figures)
        self.writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        """Close the event file."""
        self.writer.close()

    def write(self, figures: dict[str, float]) -> None:
        """Write ``figures`` at the optimizer's present step."""
        with self.at_this_step():
            tf.summary.experimental.write_raw_pb(_scalars(figures))  # one operation, not one for each

    def at_this_step(self) -> Any:
        """A context in which summaries go to the event file, at the optimizer's present step."""
        return self.writer.as_default(step=int(self.model.optimizer.iterations.numpy()))


class SparsityLog(ScalarLog):
    """Adds the sparsity of every pruned weight: at each mask update and at the end of each epoch.

    Must come after the callbacks of pruning, which apply the masks at the end of an epoch.
    """

    _supports_tf_logs = True

    def __init__(self, folder: Path, throughput: Throughput, masked: Masked, *, headline: str) -> None:
        super().__init__(folder, throughput, headline=headline)
        self.masked, self.plan = masked, masked.plan

    @property
    def has_updated(self) -> bool:
        """Return whether masks changed at the last step."""
        return self.step in self.plan.plan.updates

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Write sparsity where masks have just changed."""
        self.step += 1
        if self.has_updated:
            self.write(self._figures())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write sparsity, and accuracy or R2 at it, with the figures of this epoch."""
        if not self.has_updated:
            self.write(self._figures())
        self.write(
            {f"{name}/pruned": logs[f"val_{name}"] for name in HEADLINES if f"val_{name}" in (logs or {})}
        )
        super().on_epoch_end(epoch, logs)

    def _figures(self) -> dict[str, float]:
        weights = self.masked.measure(self.step)
        figures = {f"sparsity/{w.name}/{w.weight}": w.measured_sparsity for w in weights}
        figures["sparsity/total"] = total_sparsity(weights)
        figures["sparsity/planned"] = self.plan.requested_sparsity(self.step)
        for name, value in self.masked.thresholds().items():
            figures[f"threshold/{name}"] = value
        if cut := self.masked.described():
            figures["sparsity/total"] = cut["removed"]
            figures |= {
                "/".join(filter(None, ["units", layer["name"], units["name"]])): units["kept"]
                for layer in cut["layers"]
                for units in layer["units"]
            }
        return figures


class WeightLog(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds histograms of the weights that are kept, and pictures of the masks, as the settings ask for.

    Must come after the `SparsityLog` whose event file it writes to.
    """

    _supports_tf_logs = True

    def __init__(self, log: SparsityLog, settings: TensorBoard) -> None:
        super().__init__()
        self.log, self.settings = log, settings

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Draw the masks before the first step."""
        if self.settings.masks and not self.log.step:
            self._draw()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Draw masks that have just changed."""
        if self.settings.masks and self.log.has_updated:
            self._draw()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the histograms."""
        if self.settings.histograms:
            with self.log.at_this_step():
                for name, values in self.log.masked.kept():
                    tag = f"weights/{name}"
                    tf.summary.histogram(tag, values, description=description(tag))

    def _draw(self) -> None:
        masks = self.log.masked.masks()
        with self.log.at_this_step():
            for prunable in self.log.plan.prunables:
                tag, drawn = f"masks/{prunable.name}", picture(prunable.layout.matrix(masks[prunable.name]))
                tf.summary.image(tag, drawn[None], max_outputs=1, description=description(tag))


def _scalars(figures: dict[str, float]) -> bytes:
    """Return as one summary the bytes that ``tf.summary.scalar`` would write for each figure."""
    summary = Summary()
    for tag, value in figures.items():
        of_tag = summary.value.add()
        of_tag.CopyFrom(_scalar(tag))
        of_tag.tensor.float_val[0] = value
    return bytes(summary.SerializeToString())


@cache
def _scalar(tag: str) -> Any:
    """The summary of a number, 0, under ``tag``: all but the number is the same each time."""
    return scalar_pb(tag, np.float32(0), description=description(tag)).value[0]


class DivergedError(PruneflowError):
    """The loss is no longer a number."""


def _require_finite(logs: dict[str, float], epoch: int) -> None:
    broken = [key for key in ("loss", "val_loss") if not math.isfinite(logs.get(key, 0.0))]
    if broken:
        raise DivergedError(
            f"Training diverged: {broken[0]} is {logs[broken[0]]} in epoch {epoch + 1}. Lower "
            "trainer.learning_rate (and trainer.dense_learning_rate), or set "
            "trainer.optimizer_parameters.clipnorm=1."
        )


def _learning_rate(optimizer: Any) -> float:
    rate = optimizer.learning_rate
    return float(tf.convert_to_tensor(rate(optimizer.iterations) if callable(rate) else rate))
