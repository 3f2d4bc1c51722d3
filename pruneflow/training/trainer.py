"""The option ``trainer``: how the dense network and the pruned one are trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from pruneflow.datasets.augmentation import Augmentation
from pruneflow.datasets.spec import Data
from pruneflow.options import (
    BETWEEN_0_AND_1,
    FINITE_ABOVE_0,
    at_most,
    option,
    require,
    require_number,
    require_one_of,
)
from pruneflow.runtime.memory import require_memory
from pruneflow.training import metrics
from pruneflow.training.fit import EarlyStopping, Fit
from pruneflow.training.lengths import DENSE, PRUNED
from pruneflow.training.optimizers import DECAYS, OPTIMIZERS, Decay, OptimizerParameters


@option("trainer", "default")
@dataclass(kw_only=True)
class Trainer:
    """Trains a dense baseline, then the pruned copy of it."""

    dense_epochs: int | None = at_most(1_000_000)
    epochs: int | None = at_most(1_000_000)
    min_steps: int = at_most(1_000_000)
    dense_batch_size: int | None
    batch_size: int | None
    dense_learning_rate: float | None
    learning_rate: float
    dense_learning_rate_decay: str | None
    learning_rate_decay: str
    decay_at: list[float]
    decay_factor: float
    optimizer: str
    optimizer_parameters: OptimizerParameters
    early_stopping: EarlyStopping
    loss: str
    metrics: list[str]

    def __post_init__(self) -> None:
        for key in ("dense_epochs", "epochs"):
            _require_at_least(key, 0, getattr(self, key))
        for key in ("min_steps", "dense_batch_size", "batch_size"):
            _require_at_least(key, 1, getattr(self, key))
        for key in ("learning_rate", "dense_learning_rate"):
            if (rate := getattr(self, key)) is not None:
                require_number(f"trainer.{key}", rate, FINITE_ABOVE_0, "The default of Adam is 0.001.")
        for key in ("learning_rate_decay", "dense_learning_rate_decay"):
            value = getattr(self, key)
            if value is not None:
                require_one_of(f"trainer.{key}", value, DECAYS)
        _require_decay(self.decay_at, self.decay_factor)
        require_one_of("trainer.optimizer", self.optimizer, tuple(OPTIMIZERS))
        self.optimizer_parameters.check(self.optimizer)
        _require_at_least("early_stopping.patience", 1, self.early_stopping.patience)
        _require_at_least("early_stopping.min_delta", 0, self.early_stopping.min_delta)
        metrics.check_names(self.loss, self.metrics, self.early_stopping.monitor)

    def for_examples(self, count: int) -> Trainer:
        """Return the same settings with every length a number."""
        found: dict[str, int] = {}
        for prefix, usual in (("dense_", DENSE), ("", PRUNED)):
            epochs, size = getattr(self, f"{prefix}epochs"), getattr(self, f"{prefix}batch_size")
            size = usual.batch_size_for(count) if size is None else size
            if epochs is None:
                epochs = usual.epochs_for(count, batch_size=size, least_steps=self.min_steps)
            found |= {f"{prefix}epochs": epochs, f"{prefix}batch_size": size}
        return replace(self, **found)  # type: ignore[arg-type]

    def check(self, data: Data) -> None:
        """Refuse batches that are larger than the training part, and names that are of another task.

        Args:
            data: The data, for which `for_examples` has set every length.
        """
        examples = len(data.train)
        keys = ("dense_batch_size", "batch_size") if self.dense_epochs else ("batch_size",)
        for key in keys:
            value = getattr(self, key)
            problem = f"the training part has {examples} examples"
            remedy = f"Lower it to {examples} or less, or raise dataset.limit where it is set."
            require(value <= examples, f"trainer.{key}", value, problem, remedy)
            needed = 4 * value * prod(data.spec.shape)
            require_memory(
                f"trainer.{key}", value, needed, "the examples of a batch, as float32,", "Lower it."
            )
        stopping = self.early_stopping
        monitor = stopping.monitor if stopping.patience else None
        metrics.check_task(data.spec, self.loss, self.metrics, monitor)

    def dense_fit(self, seed: int, augmentation: Augmentation | None = None) -> Fit:
        """Return the settings of the dense phase."""
        return replace(
            self.pruned_fit(seed, augmentation, phase=0),
            name="dense",
            epochs=_known("dense_epochs", self.dense_epochs),
            batch_size=_known("dense_batch_size", self.dense_batch_size),
            learning_rate=self.dense_learning_rate or self.learning_rate,
            decay=self._decay(self.dense_learning_rate_decay or self.learning_rate_decay),
        )

    def pruned_fit(self, seed: int, augmentation: Augmentation | None = None, *, phase: int = 1) -> Fit:
        """Return the settings of the first pruning phase, or of the second."""
        return Fit(
            name="pruned",
            epochs=_known("epochs", self.epochs),
            batch_size=_known("batch_size", self.batch_size),
            learning_rate=self.learning_rate,
            decay=self._decay(self.learning_rate_decay),
            optimizer=self.optimizer,
            optimizer_parameters=self.optimizer_parameters,
            early_stopping=self.early_stopping,
            seed=(seed, phase),
            loss=self.loss,
            metrics=tuple(self.metrics),
            augmentation=augmentation,
        )

    def _decay(self, name: str) -> Decay:
        return Decay(name, at=self.decay_at, factor=self.decay_factor)


def _known(key: str, value: int | None) -> int:
    assert value is not None, f"trainer.{key}: for_examples() makes it a number"
    return value


def _require_at_least(key: str, least: int, value: float | None) -> None:
    fits = value is None or value >= least
    require(fits, f"trainer.{key}", value, f"allowed are numbers from {least}", "Raise it.")


def _require_decay(at: list[float], factor: float) -> None:
    require(
        all(0 < fraction < 1 for fraction in at) and sorted(set(at)) == list(at),
        "trainer.decay_at",
        at,
        "allowed is a rising list of fractions of a phase, each between 0 and 1",
        "Write for instance trainer.decay_at=[0.5,0.75].",
    )
    require_number("trainer.decay_factor", factor, BETWEEN_0_AND_1, "0.1 is usual.")
