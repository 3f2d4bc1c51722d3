"""One training phase: everything that decides its result in one value, and the loop that follows it."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pruneflow.datasets.augmentation import Augmentation
from pruneflow.datasets.spec import Data, Spec
from pruneflow.models.tasks import task_of
from pruneflow.runtime import backend
from pruneflow.runtime.replicas import Replicas, current, training
from pruneflow.runtime.terminal import say
from pruneflow.sparsity.masked import Masked, mask_in_place
from pruneflow.sparsity.tfmot_engine import Wrapped
from pruneflow.training.dashboard import TensorBoard
from pruneflow.training.metrics import headline_of, metric
from pruneflow.training.optimizers import Decay, OptimizerParameters

if TYPE_CHECKING:
    from pruneflow.datasets.batches import Order


@dataclass(kw_only=True)
class EarlyStopping:
    """Stop a phase when validation no longer improves."""

    patience: int | None
    monitor: str
    min_delta: float
    restore_best: bool

    def callback(self, *, first_epoch: int) -> Any:
        """The callback of ``tf_keras``, which looks at no epoch before ``first_epoch``; None never stops."""
        if self.patience is None:
            return None
        return backend.keras().callbacks.EarlyStopping(
            monitor=f"val_{self.monitor}",
            mode="max" if self.monitor != "loss" and metric(self.monitor).higher_is_better else "min",
            patience=self.patience,
            min_delta=self.min_delta,
            restore_best_weights=self.restore_best,
            start_from_epoch=first_epoch,
        )


@dataclass(frozen=True)
class Phase:
    """The cost of one training phase.

    Attributes:
        seconds: Wall time of the phase, validation included.
        examples_per_second: Training examples per second, validation not included; None without training.
    """

    seconds: float
    examples_per_second: float | None
    epochs: int


@dataclass(frozen=True)
class Journal:
    """The files that a phase writes while it runs.

    Attributes:
        events: Folder of its TensorBoard files.
        checkpoint: File of its latest checkpoint.
        checkpoint_seconds: Least seconds between two checkpoints; None writes none.
        shown: What a pruning phase writes for TensorBoard beside its curves; None for nothing.
    """

    events: Path
    checkpoint: Path
    checkpoint_seconds: float | None
    shown: TensorBoard | None = None


@dataclass(frozen=True)
class Fit:
    """The settings of one training phase; with network, data and plan they decide the result.

    Attributes:
        name: ``"dense"``, ``"cut"`` or ``"pruned"``.
        seed: Fixes batch order, augmentation and dropout.
        augmentation: How examples of the training part are changed at random; None leaves them as they are.
    """

    name: str
    epochs: int
    batch_size: int
    learning_rate: float
    decay: Decay
    optimizer: str
    optimizer_parameters: OptimizerParameters
    early_stopping: EarlyStopping
    seed: tuple[int, int]
    loss: str = "auto"
    metrics: tuple[str, ...] = ()
    augmentation: Augmentation | None = None

    @property
    def inputs(self) -> dict[str, Any]:
        """Return all settings that decide the result, and no others, as JSON takes them."""
        if not self.epochs:
            return {"epochs": 0}
        augmentation = self.augmentation.inputs if self.augmentation else {}
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "decay": self.decay.inputs,
            "optimizer": self.optimizer,
            "optimizer_parameters": self.optimizer_parameters.given(),
            "early_stopping": asdict(self.early_stopping) if self.early_stopping.patience else None,
            "seed": list(self.seed),
            # Left out where nothing is chosen, so that stages of before keep their digest.
            **({"loss": self.loss} if self.loss != "auto" else {}),
            **({"metrics": list(self.metrics)} if self.metrics else {}),
            **({"augmentation": augmentation} if augmentation else {}),
        }

    def run(
        self,
        model: Any,
        data: Data,
        journal: Journal,
        masked: Masked | None = None,
        *,
        again: Callable[[], Any] | None = None,
    ) -> Phase:
        """Train ``model`` in place, from its latest checkpoint if there is one.

        Args:
            model: A built ``tf_keras.Model``; in a pruning phase that of ``masked``.
            data: Trained on ``data.train``, watched on ``data.validation``.
            masked: The model under its masks; early stopping waits for the end of its plan. None trains
                without pruning.
            again: Builds the model anew, on replicas where there are any; None trains on one device.
        """
        if again is not None and current() is not None:
            return self._on_replicas(model, data, journal, masked, again)
        from pruneflow.datasets.batches import evaluation_batches, steps_per_epoch, training_batches

        steps, together = steps_per_epoch(len(data.train), self.batch_size), training(model)
        backend.set_seed(*self.seed)
        gc.collect()  # networks of before, of this size: the optimizer's moments can lie where they lay
        self._compile(model, data.spec, total_steps=steps * self.epochs)
        validation = evaluation_batches(data.validation, data.spec)
        callbacks = _Callbacks(self, journal, data, steps=steps, masked=masked)
        begun = callbacks.resume(model, lambda: next(iter(validation)))
        batches = training_batches(data.train, data.spec, self._order(begun, together), self.augmentation)
        writes, start = together is None or together.is_chief, time.perf_counter()
        try:
            model.fit(
                together.feed(batches.repeat()) if together else batches,
                epochs=self.epochs,
                steps_per_epoch=steps,
                validation_data=validation,
                callbacks=callbacks.made() if writes else callbacks.following(),
                verbose=0,
            )
        finally:
            callbacks.close()
        seconds = begun.seconds + time.perf_counter() - start
        return callbacks.phase(seconds)

    def _on_replicas(
        self, model: Any, data: Data, journal: Journal, masked: Masked | None, again: Callable[[], Any]
    ) -> Phase:
        """Train a twin of ``model`` on all replicas, and copy what it learned back."""
        together = current()
        assert together is not None
        backend.set_seed(*self.seed)
        with together.training():
            twin = again()
            twin.distribute_reduction_method = "first"  # of metrics, which Keras would add up over replicas
            twin.set_weights(model.get_weights())
            under = mask_in_place(twin, masked.plan) if masked else None
            phase = self.run(twin, data, journal, under)
            model.set_weights(twin.get_weights())
            if masked and under:
                masked.take(under)
        return phase

    def _order(self, begun: _Begun, together: Replicas | None) -> Order:
        from pruneflow.datasets.batches import Order

        count, own = (together.count, together.own) if together else (1, range(1))
        epochs = range(begun.epoch, self.epochs)
        return Order(epochs, self.batch_size, self.seed, skip=begun.step, replicas=count, own=own)

    def _compile(self, model: Any, spec: Spec, *, total_steps: int) -> None:
        from pruneflow.training import keras_metrics

        rate = self.decay.learning_rate(self.learning_rate, total_steps=total_steps)
        optimizer = self.optimizer_parameters.build(self.optimizer, rate)
        task = task_of(model, spec)
        metrics = keras_metrics.metrics(task, self.metrics)
        model.compile(optimizer, loss=keras_metrics.loss(task, self.loss), metrics=metrics)
        model.optimizer.build(model.trainable_variables)  # its slots are part of a checkpoint


@dataclass(frozen=True)
class _Begun:
    """The state that a phase starts from."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0


class _Callbacks:
    """The callbacks of one phase, in the order in which they must run."""

    def __init__(self, fit: Fit, journal: Journal, data: Data, *, steps: int, masked: Masked | None) -> None:
        from pruneflow.training.callbacks import Throughput, TrainingProgress
        from pruneflow.training.checkpoints import Checkpoints, Kept
        from pruneflow.training.logs import ScalarLog, SparsityLog

        self.fit, self.journal, self.masked = fit, journal, masked
        headline = headline_of(data.spec)
        self.throughput = Throughput(len(data.train))
        self.log = (
            SparsityLog(journal.events, self.throughput, masked, headline=headline)
            if masked
            else ScalarLog(journal.events, self.throughput, headline=headline)
        )
        # In the pruning phase only epochs that end at the final sparsity are compared.
        first_epoch = -(-masked.plan.plan.end_step // steps) - 1 if masked else 0
        self.stopping = fit.early_stopping.callback(first_epoch=first_epoch)
        self.progress = TrainingProgress(fit.name, epochs=fit.epochs, steps=steps)
        self.summaries: Any = None
        kept = [
            Kept("throughput", self.throughput, ("examples", "seconds", "epoch_seconds")),
            Kept("log", self.log, ("step",)),
        ]
        if masked:
            kept.append(Kept("updates", masked, ("step", "state")))
        if self.stopping:
            attributes = ("wait", "stopped_epoch", "best", "best_epoch", "best_weights")
            kept.append(Kept("early_stopping", self.stopping, attributes))
        self.checkpoints = Checkpoints(
            journal.checkpoint,
            journal.events,
            every_seconds=journal.checkpoint_seconds,
            kept=kept,
            writers=self._writers,
        )

    def resume(self, model: Any, example: Callable[[], Any]) -> _Begun:
        """Take the phase up where its latest checkpoint is; the files of TensorBoard too."""
        found = self.checkpoints.resume(model, example)
        if not found:
            return _Begun()
        self.progress.begun = (found.epoch, found.step)
        at = f"epoch {found.epoch + 1}/{self.fit.epochs}, step {found.step + 1}"
        say(f"Resumes    {self.fit.name} training at {at}")
        return _Begun(found.epoch, found.step, found.seconds)

    def made(self) -> list[Any]:
        """The callbacks; the summaries open their file when they are made."""
        first = self._of_pruning(self.masked) if self.masked else []
        drawn = self._of_weights() if self.masked else []
        stopping = [self.stopping] if self.stopping else []
        return [*first, self.throughput, self.log, *drawn, *stopping, self.progress, self.checkpoints]

    def following(self) -> list[Any]:
        """The callbacks of a worker that follows: those that decide, and none that writes or shows."""
        from pruneflow.training.callbacks import pruning_callbacks

        first = pruning_callbacks(self.masked) if self.masked else []
        return [*first, self.throughput, *([self.stopping] if self.stopping else []), self.checkpoints]

    def _of_pruning(self, masked: Masked) -> list[Any]:
        from pruneflow.training.callbacks import TfmotSummaries, pruning_callbacks

        if not isinstance(masked, Wrapped):
            return pruning_callbacks(masked)
        self.summaries = TfmotSummaries(self.journal.events / "tfmot")
        self.summaries.begun = self.progress.begun
        return [*pruning_callbacks(masked), self.summaries]

    def _of_weights(self) -> list[Any]:
        from pruneflow.training.logs import WeightLog

        shown = self.journal.shown
        return [WeightLog(self.log, shown)] if shown and shown.inputs else []

    def _writers(self) -> list[Any]:
        found = [self.log.writer, self.summaries.writer if self.summaries else None]
        return [writer for writer in found if writer]

    def phase(self, seconds: float) -> Phase:
        """Return the cost of the phase."""
        throughput = self.throughput
        epochs = throughput.examples // throughput.examples_per_epoch
        return Phase(seconds, throughput.examples_per_second, epochs)

    def close(self) -> None:
        """Close what an exception left open; the exception is told, not what closing says."""
        self.progress.close()
        for writer in self._writers():
            with suppress(backend.tensorflow().errors.OpError):
                writer.close()
