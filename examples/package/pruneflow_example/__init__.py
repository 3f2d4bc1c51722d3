"""Four options of another package: each a dataclass with one verb, registered by ``option``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneflow import Criterion, Data, Dataset, Model, Part, Rising, Spec, option, require
from pruneflow.datasets.split import Halves, Plan


@option("model", "two_layers")
@dataclass(kw_only=True)
class TwoLayers(Model):
    """Two fully connected layers."""

    reads = "image"

    units: int

    def __post_init__(self) -> None:
        require(self.units >= 1, "model.units", self.units, "allowed are whole numbers from 1", "16 will do.")

    def build(self, spec: Spec) -> Any:
        import tf_keras as keras

        inputs = keras.Input(spec.shape, name="input")
        x = keras.layers.Flatten(name="flatten")(inputs)
        x = keras.layers.Dense(self.units, activation="relu", name="hidden")(x)
        return keras.Model(inputs, keras.layers.Dense(spec.classes, name="scores")(x), name="two_layers")


@option("dataset", "stripes")
@dataclass(kw_only=True)
class Stripes(Dataset):
    """Images of 8 x 8 pixels with stripes across (class 0) or along (class 1)."""

    kind = "image"

    examples: int

    def load(self) -> Data:
        rng = np.random.default_rng(0)
        halves = Halves(self._half(rng, self.examples), self._half(rng, self.examples // 4), note="")
        plan = Plan(validation_fraction=0.1, split_seed=0, limit=None)
        spec = Spec(kind="image", shape=(8, 8, 1), classes=2)
        return plan.apply(halves, name=self.name, spec=spec, source="drawn")

    def _half(self, rng: np.random.Generator, count: int) -> Part:
        y = np.arange(count, dtype=np.int64) % 2
        x = rng.integers(0, 100, (count, 8, 8, 1)).astype(np.uint8)
        for image, label in zip(x, y, strict=True):
            lines = image if label else image.transpose(1, 0, 2)
            lines[:, ::2] = 255
        return Part(x, y)


@option("schedule", "sine")
@dataclass(kw_only=True)
class Sine(Rising):
    """Slow at both ends."""

    def sparsity_along(self, progress: float) -> float:
        risen = (1 - math.cos(math.pi * progress)) / 2
        return self.initial_sparsity + (self.final_sparsity - self.initial_sparsity) * risen


@option("criterion", "smallest")
@dataclass(kw_only=True)
class Smallest(Criterion):
    """Keeps the smallest weights: what nobody should do, to see how much worse it is."""

    def scores(self, weight: Any, *, name: str, seed: int, accumulated: Any) -> Any:
        return np.where(weight == 0, 0.0, 1 / (1 + np.abs(weight)))  # or what was masked would come back
