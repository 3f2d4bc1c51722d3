"""A data set as the rest of the program sees it: arrays, and the facts a model is built from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.rows import Examples

WHITE = 255.0  # value of a white pixel as it is stored


@dataclass(frozen=True)
class Targets:
    """The numbers that a regression predicts.

    Attributes:
        mean: (targets,) what was taken off each before training; 0 where they are learned as they are.
        scale: (targets,) what the rest was divided by; 1 where they are learned as they are.
        span: Lowest and highest of all of them in the training part, in the units of the data; empty where
            that is not known.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    span: tuple[float, ...] = field(default=(), compare=False)

    @classmethod
    def plain(cls, count: int) -> Targets:
        """``count`` numbers that are learned as they are."""
        return cls((0.0,) * count, (1.0,) * count)

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def are_plain(self) -> bool:
        """Return whether they are learned as they are."""
        return self == Targets.plain(len(self))

    def restored(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Put learned or predicted values back into the units of the data.

        Args:
            values: (n, targets).

        >>> Targets((100.0,), (10.0,)).restored(np.array([[0.5]]))
        array([[105.]])
        """
        restored: npt.NDArray[np.float64] = values.astype(np.float64) * np.array(self.scale) + np.array(
            self.mean
        )
        return restored


@dataclass(frozen=True)
class Spec:
    """The facts about data that a model needs.

    Attributes:
        kind: ``"image"``, ``"tokens"``, ``"numbers"`` (rows of them) or ``"signal"``.
        shape: Shape of one example: (height, width, channels), (length,) or (features,); of a signal
            (steps, channels) or more dimensions, the last of which is that of the channels.
        classes: Number of classes, whose labels are 0 .. classes - 1; 0 for a regression.
        vocabulary_size: Number of token ids for ``"tokens"``, 0 for others.
        targets: What a regression predicts; None for classes.
        pixels: Lowest and highest value that pixels are given in; None is 0 and 1, as for every network that
            pruneflow trains.
    """

    kind: str
    shape: tuple[int, ...]
    classes: int
    vocabulary_size: int = 0
    targets: Targets | None = None
    pixels: tuple[float, float] | None = None

    @property
    def outputs(self) -> int:
        """Numbers that a network gives for an example: one for each class, or for each target."""
        return len(self.targets) if self.targets else self.classes

    @property
    def is_measured(self) -> bool:
        """Return whether examples are measurements, which are standardised: rows of numbers, or signals."""
        return self.kind in ("numbers", "signal")

    @property
    def input_dtype(self) -> str:
        """dtype of the model's input: int32 for token ids, else float32, for images in [0, 1]."""
        return "int32" if self.kind == "tokens" else "float32"

    def model_input(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn stored examples into what the model reads.

        Args:
            x: (n, *shape); uint8 or float32 in [0, 255] for images, int32 token ids for tokens, float32 for
                numbers and signals.

        Returns:
            (n, *shape); float32 in [0, 1], or in `pixels`, for images, the same int32 ids for tokens, the
            same numbers.
        """
        if self.kind != "image":
            return x.astype(self.input_dtype, copy=False)
        scaled: npt.NDArray[np.float32] = self.scaled(x.astype(np.float32))
        return scaled

    def scaled(self, pixels: Any) -> Any:
        """Bring float32 pixels from 0 to 255, an array or a tensor, to what the model reads."""
        scaled = pixels / WHITE
        if self.pixels is None:
            return scaled
        low, high = self.pixels
        return scaled * (high - low) + low


@dataclass(frozen=True)
class Part:
    """Examples and labels of one part (training, validation or test).

    Attributes:
        x: (n, *shape), uint8 for images, or float32 in [0, 255] where they were resized without rounding,
            int32 for tokens, float32 for numbers and signals; in memory or in files.
        y: (n,) int64 labels, or (n, targets) float32 numbers for a regression.
        weights: (n,) float32, how much each example counts in the training loss; None counts each once. Those
            of validation and test are not read.
    """

    x: Examples
    y: npt.NDArray[Any]
    weights: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def sampled(self, most: int) -> Part:
        """At most ``most`` examples, evenly spread, in memory."""
        at = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64))
        return Part(self.x[at], self.y[at])


@dataclass(frozen=True)
class Data:
    """A loaded data set.

    Attributes:
        name: Name of the data set, such as ``"mnist"``.
        spec: The facts that a model needs.
        train: Training part, without validation.
        validation: Stratified part of the training half; choices are made on it.
        test: Test half, used once, at the end.
        source: Origin of the arrays.
        note: Findings that a reader of the figures must know; may be empty.
        digest: SHA-256 over the arrays of the three parts. See `pruneflow.datasets.split.digest_of`.
        vocabulary: For tokens: word to token id, of the words with an id of their own; None where the words
            are not known.
        class_names: Names of class 0, 1, ...; empty where classes are numbers only.
        standardisation: What was standardised, as lists: ``mean`` and ``scale`` of each feature, where a
            model reads ``(x - mean) / scale``; ``target_mean`` and ``target_scale`` of each number to
            predict, which is ``output * target_scale + target_mean``. None where all is as it is.
        left_out: What of the source is not in the parts since it cannot be used: names of files, or lines.
        white: Value of a white pixel in the arrays that images were made of, which became 255; None where
            bytes were taken as they are.
        channels_first: Whether these arrays had their channels before height and width.
    """

    name: str
    spec: Spec
    train: Part
    validation: Part
    test: Part
    source: str = ""
    note: str = ""
    digest: str = ""
    vocabulary: dict[str, int] | None = None
    class_names: tuple[str, ...] = ()
    standardisation: dict[str, list[float]] | None = None
    left_out: tuple[str, ...] = ()
    white: float | None = None
    channels_first: bool = False
