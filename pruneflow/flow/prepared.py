"""The facts that are known before training, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pruneflow.datasets.spec import Data
from pruneflow.exports.base import Export
from pruneflow.sparsity.masks import MaskPlan
from pruneflow.sparsity.schedules import Plan
from pruneflow.sparsity.selected_layers import Selection
from pruneflow.training.trainer import Trainer


@dataclass(frozen=True)
class Prepared:
    """The facts that are known before any training.

    Attributes:
        trainer: How both networks are trained, every length a number.
        notes: What has to be said of that, a sentence each.
        lengths: How long both phases are and why, a line each.
        warnings: What must not be overlooked, a sentence each.
        interpreters: TFLite interpreters that run side by side.
        load_seconds: How long loading the data took.
        left_out: Kinds of files that cannot be made, and why.
        difference: Largest difference of outputs to those of the network of Keras 3 that came; None where it
            came as Keras 2.
        then: The same of the second phase, on a network that is cut to about the size of later; None
            where there is none.
    """

    data: Data
    trainer: Trainer
    plan: Plan
    selection: Selection
    masks: MaskPlan
    notes: list[str]
    lengths: list[str]
    warnings: list[str]
    device: dict[str, Any]
    interpreters: int
    load_seconds: float
    exports: list[Export]
    left_out: dict[str, str]
    difference: float | None = None
    then: Prepared | None = None
