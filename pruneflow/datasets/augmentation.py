"""The group ``augmentation``: random changes to the examples that a network is trained on."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from pruneflow.options import BETWEEN_0_AND_1, option, require, require_number, require_one_of
from pruneflow.runtime import backend

FLIPS = ("horizontal", "vertical", "horizontal_and_vertical")


@dataclass(kw_only=True)
class Augmentation:
    """Base class of augmentations: it names them, and accepts every kind of data.

    Attributes:
        name: Label in tables.
    """

    option_name: ClassVar[str]  # as chosen on the command line; set by @option

    name: str

    def check_kind(self, kind: str | None) -> None:
        """Refuse data that the option cannot change.

        Args:
            kind: Of `Spec`; None where only the data tell.

        Raises:
            ConfigError: if they are of another kind.
        """

    def layers(self) -> list[Any]:
        """Return the layers of ``tf_keras`` that change a batch of the training part, in order.

        They get examples as the model reads them, (batch, *shape), images in [0, 1], and keep their shape.
        """
        raise NotImplementedError

    @property
    def inputs(self) -> dict[str, Any]:
        """Return what decides the changes, beside the seed, as JSON takes it; empty where there are none."""
        settings = {key: value for key, value in asdict(self).items() if value is not None and key != "name"}
        return {"option": self.option_name, **settings}


@option("augmentation", "none")
@dataclass(kw_only=True)
class Unchanged(Augmentation):
    """Leaves examples as they are."""

    def layers(self) -> list[Any]:
        """Return no layer."""
        return []

    @property
    def inputs(self) -> dict[str, Any]:
        """Return nothing, so that stages trained without augmentation keep their digest."""
        return {}


@option("augmentation", "images")
@dataclass(kw_only=True)
class Images(Augmentation):
    """Changes each image at random, with layers of Keras; null leaves a change out."""

    flip: str | None
    shift: float | None
    crop: float | None
    rotation: float | None
    brightness: float | None

    def __post_init__(self) -> None:
        if self.flip is not None:
            require_one_of("augmentation.flip", self.flip, FLIPS)
        for key, most in (("shift", 1), ("rotation", 180), ("brightness", 1)):
            value, allowed = getattr(self, key), f"allowed are numbers above 0, up to {most}, or null"
            fits = value is None or 0 < value <= most
            require(fits, f"augmentation.{key}", value, allowed, "null leaves this change out.")
        shares = BETWEEN_0_AND_1.said("{}, or null")
        require_number("augmentation.crop", self.crop, shares, "null leaves this change out.")
        remedy = f"Set one of {', '.join(self._makers)}, or take augmentation=none."
        require(bool(self._chosen), "augmentation", "images", "each change of it is null", remedy)

    def check_kind(self, kind: str | None) -> None:
        """Refuse data without pixels."""
        problem, remedy = "it changes images, and the data set has none", "Take augmentation=none."
        require(kind in ("image", None), "augmentation", self.option_name, problem, remedy)

    def layers(self) -> list[Any]:
        """Return a layer for each change, in the order of the settings."""
        return [self._makers[key](value) for key, value in self._chosen.items()]

    @property
    def _chosen(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self._makers if getattr(self, key) is not None}

    @property
    def _makers(self) -> dict[str, Callable[[Any], Any]]:
        plain = {"dtype": "float32"}  # whatever the precision of training is
        return {
            "flip": lambda mode: _layers().RandomFlip(mode, **plain),
            "shift": lambda most: _layers().RandomTranslation(most, most, interpolation="nearest", **plain),
            # Keras' RandomCrop cuts a whole batch at one place, and to one size, which evaluation never sees.
            "crop": lambda most: _layers().RandomZoom((-most, 0.0), **plain),
            "rotation": lambda most: _layers().RandomRotation(most / 360, **plain),
            "brightness": lambda most: _layers().RandomBrightness(most, value_range=(0, 1), **plain),
        }


def _layers() -> Any:
    return backend.keras().layers


def augment(layers: Sequence[Any], seed: tuple[int, ...]) -> Callable[[Any, Any], Any]:
    """Return a function of a batch and the number of its step, which calls ``layers`` one after the other.

    The random numbers depend on ``seed`` and the step alone: a phase that is resumed goes on with the same
    bits, and a checkpoint has nothing to keep.

    Args:
        layers: As `Augmentation.layers` returns them.
    """
    tf = backend.tensorflow()
    key = tf.constant(np.random.SeedSequence(seed).generate_state(2).view(np.int32))

    def changed(examples: Any, step: Any) -> Any:
        for number, layer in enumerate(layers):
            draws = _Draws(tf.random.fold_in(tf.random.fold_in(key, step), number))
            layer._random_generator = draws  # tf_keras 2.21 has no public way to give a layer its numbers
            examples = layer(examples, training=True)
        return examples

    return changed


class _Draws:
    """Stands in for the random generator of a layer: without a state, and another seed for each draw."""

    def __init__(self, seed: Any) -> None:
        """Take a seed, (2,) int32."""
        self._seed, self._count = seed, 0

    def _maybe_init(self) -> None:
        """Do nothing; a layer calls it when it is built."""

    def make_seed_for_stateless_op(self) -> Any:
        """Return the seed of the next draw, (2,) int32."""
        self._count += 1
        return backend.tensorflow().random.fold_in(self._seed, self._count)

    def random_uniform(self, shape: Any, minval: float, maxval: float, dtype: Any = None) -> Any:
        """Return numbers in [minval, maxval), of ``shape``."""
        tf, seed = backend.tensorflow(), self.make_seed_for_stateless_op()
        return tf.random.stateless_uniform(shape, seed, minval, maxval, dtype or tf.float32)
