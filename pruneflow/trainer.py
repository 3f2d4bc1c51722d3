"""The option ``trainer``: how the dense network and the pruned one are trained."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneflow import backend
from pruneflow.data import Data
from pruneflow.optimizers import DECAYS, OPTIMIZERS, Decay, OptimizerParameters
from pruneflow.options import option, require, require_one_of
from pruneflow.sparsity.schedules import Plan
from pruneflow.tasks import task_of

__all__ = ["EarlyStopping", "Phase", "Trainer"]


@dataclass(kw_only=True)
class EarlyStopping:
    """Stop a phase when validation no longer improves.

    Attributes:
        patience: Epochs without improvement before stopping; null never stops early.
        monitor: ``"loss"`` or ``"accuracy"``, on the validation part.
        min_delta: Smallest change that counts as an improvement.
        restore_best: Whether the weights of the best epoch are taken, not the last ones.
    """

    patience: int | None
    monitor: str
    min_delta: float
    restore_best: bool

    def __post_init__(self) -> None:
        """Refuse a patience of nothing and an unknown figure."""
        _require_at_least("early_stopping.patience", 1, self.patience)
        require_one_of("trainer.early_stopping.monitor", self.monitor, ("loss", "accuracy"))
        _require_at_least("early_stopping.min_delta", 0, self.min_delta)


@dataclass(frozen=True)
class Phase:
    """What one training phase cost.

    Attributes:
        seconds: Wall time of the phase, validation included.
        examples_per_second: Training examples per second, validation not included.
        epochs: Epochs that were trained.
    """

    seconds: float
    examples_per_second: float
    epochs: int


@option("trainer", "default")
@dataclass(kw_only=True)
class Trainer:
    """Trains a dense baseline, then the pruned copy of it.

    Attributes:
        dense_epochs: Epochs of the dense phase; 0 prunes from scratch.
        epochs: Epochs of the pruning phase.
        dense_batch_size: Examples per step of the dense phase.
        batch_size: Examples per step of the pruning phase.
        dense_learning_rate: Learning rate of the dense phase; null takes ``learning_rate``.
        learning_rate: Learning rate at the start of the pruning phase.
        dense_learning_rate_decay: Decay in the dense phase; null takes ``learning_rate_decay``.
        learning_rate_decay: ``"constant"``, ``"cosine"`` (down to 0 over the phase) or ``"stepwise"``.
        decay_at: Fractions of a phase at which a stepwise learning rate drops, (0, 1), rising.
        decay_factor: What a stepwise learning rate is multiplied by at each drop, (0, 1).
        optimizer: Name of the optimizer.
        optimizer_parameters: Its parameters.
        early_stopping: When to stop before the last epoch.
    """

    dense_epochs: int
    epochs: int
    dense_batch_size: int
    batch_size: int
    dense_learning_rate: float | None
    learning_rate: float
    dense_learning_rate_decay: str | None
    learning_rate_decay: str
    decay_at: list[float]
    decay_factor: float
    optimizer: str
    optimizer_parameters: OptimizerParameters
    early_stopping: EarlyStopping

    def __post_init__(self) -> None:
        """Refuse values that no data could make right."""
        _require_at_least("dense_epochs", 0, self.dense_epochs)
        for key in ("epochs", "dense_batch_size", "batch_size"):
            _require_at_least(key, 1, getattr(self, key))
        for key in ("learning_rate", "dense_learning_rate"):
            value = getattr(self, key)
            require(
                value is None or 0 < value < float("inf"),
                f"trainer.{key}",
                value,
                "allowed are numbers above 0",
                "The default of Adam is 0.001.",
            )
        for key in ("learning_rate_decay", "dense_learning_rate_decay"):
            value = getattr(self, key)
            if value is not None:
                require_one_of(f"trainer.{key}", value, DECAYS)
        _require_decay(self.decay_at, self.decay_factor)
        require_one_of("trainer.optimizer", self.optimizer, tuple(OPTIMIZERS))
        self.optimizer_parameters.check(self.optimizer)

    def check(self, examples: int) -> None:
        """Refuse batches that are larger than the training part.

        Args:
            examples: Examples in the training part.

        Raises:
            ConfigError: naming the batch size.
        """
        keys = ("dense_batch_size", "batch_size") if self.dense_epochs else ("batch_size",)
        for key in keys:
            value = getattr(self, key)
            require(
                value <= examples,
                f"trainer.{key}",
                value,
                f"the training part has {examples} examples",
                f"Lower it to {examples} or less.",
            )

    def fit_dense(self, model: Any, data: Data, *, folder: Path, seed: int) -> Phase:
        """Train the dense network in place.

        Args:
            model: A freshly built ``tf_keras.Model``.
            data: Trained on ``data.train``, watched on ``data.validation``.
            folder: Where TensorBoard events go.
            seed: Fixes batch order and dropout.
        """
        fit = _Fit(
            "dense",
            epochs=self.dense_epochs,
            batch_size=self.dense_batch_size,
            learning_rate=self.dense_learning_rate or self.learning_rate,
            decay=self.dense_learning_rate_decay or self.learning_rate_decay,
            folder=folder,
            seed=(seed, 0),
        )
        board = backend.keras().callbacks.TensorBoard(str(folder), write_graph=False)
        return self._fit(fit, model, data, board)

    def fit_pruned(self, wrapped: Any, data: Data, plan: Plan, *, folder: Path, seed: int) -> Phase:
        """Train a wrapped network in place, with tfmot's callbacks attached.

        Args:
            wrapped: What ``sparsity.prune.wrap`` returned.
            data: Trained on ``data.train``, watched on ``data.validation``.
            plan: When masks change; early stopping waits for its end.
            folder: Where TensorBoard events go.
            seed: Fixes batch order and dropout.
        """
        sparsity_keras = backend.tfmot().sparsity.keras
        fit = _Fit(
            "pruned",
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            decay=self.learning_rate_decay,
            folder=folder,
            seed=(seed, 1),
        )
        return self._fit(
            fit,
            wrapped,
            data,
            sparsity_keras.UpdatePruningStep(),
            sparsity_keras.PruningSummaries(str(folder), write_graph=False),
            plan=plan,
        )

    def _fit(self, fit: _Fit, model: Any, data: Data, *callbacks: Any, plan: Plan | None = None) -> Phase:
        from pruneflow.batches import evaluation_batches, steps_per_epoch, training_batches
        from pruneflow.callbacks import ScalarLog, SparsityLog, Throughput, TrainingProgress

        examples = len(data.train)
        steps = steps_per_epoch(examples, fit.batch_size)
        backend.set_seed(*fit.seed)
        self._compile(model, fit, total_steps=steps * fit.epochs)
        throughput = Throughput(examples)
        log = SparsityLog(fit.folder, throughput, plan) if plan else ScalarLog(fit.folder, throughput)
        progress = TrainingProgress(fit.name, epochs=fit.epochs, steps=steps)
        start = time.perf_counter()
        try:
            model.fit(
                training_batches(
                    data.train, data.spec, batch_size=fit.batch_size, epochs=fit.epochs, seed=fit.seed
                ),
                epochs=fit.epochs,
                steps_per_epoch=steps,
                validation_data=evaluation_batches(data.validation, data.spec),
                callbacks=[*callbacks, throughput, log, *self._stopping(plan, steps), progress],
                verbose=0,
            )
        finally:
            progress.close()
        seconds = time.perf_counter() - start
        return Phase(seconds, throughput.examples_per_second, throughput.examples // examples)

    def _compile(self, model: Any, fit: _Fit, *, total_steps: int) -> None:
        decay = Decay(fit.decay, at=self.decay_at, factor=self.decay_factor)
        rate = decay.learning_rate(fit.learning_rate, total_steps=total_steps)
        optimizer = self.optimizer_parameters.build(self.optimizer, rate)
        task = task_of(model)
        model.compile(optimizer, loss=task.keras_loss(), metrics=[task.keras_metric()])

    def _stopping(self, plan: Plan | None, steps: int) -> list[Any]:
        """Early stopping; in the pruning phase it looks only at epochs that end at the final sparsity."""
        early = self.early_stopping
        if early.patience is None:
            return []
        first = -(-plan.end_step // steps) - 1 if plan else 0
        return [
            backend.keras().callbacks.EarlyStopping(
                monitor=f"val_{early.monitor}",
                mode="min" if early.monitor == "loss" else "max",
                patience=early.patience,
                min_delta=early.min_delta,
                restore_best_weights=early.restore_best,
                start_from_epoch=first,
            )
        ]


@dataclass(frozen=True)
class _Fit:
    """What differs between the two phases."""

    name: str
    epochs: int
    batch_size: int
    learning_rate: float
    decay: str
    folder: Path
    seed: tuple[int, int]


def _require_at_least(key: str, least: int, value: float | None) -> None:
    require(
        value is None or value >= least,
        f"trainer.{key}",
        value,
        f"allowed are numbers from {least}",
        "Raise it.",
    )


def _require_decay(at: list[float], factor: float) -> None:
    require(
        all(0 < fraction < 1 for fraction in at) and sorted(set(at)) == list(at),
        "trainer.decay_at",
        at,
        "allowed is a rising list of fractions of a phase, each between 0 and 1",
        "Write for instance trainer.decay_at=[0.5,0.75].",
    )
    require(
        0 < factor < 1, "trainer.decay_factor", factor, "allowed are numbers between 0 and 1", "0.1 is usual."
    )
