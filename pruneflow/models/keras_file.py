"""The option ``keras_file``: a trained network from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError
from pruneflow.models.base import Model
from pruneflow.models.brought import OUTPUTS, Origin
from pruneflow.models.doubts import shrinks_pixels
from pruneflow.models.fingerprints import digest_of_code, is_of_keras
from pruneflow.models.keras_files import (
    FORMATS,
    check_file,
    digest_of_files,
    original_in,
    read_network,
    registered,
)
from pruneflow.options import option, require, require_one_of
from pruneflow.runtime import backend
from pruneflow.runtime.surroundings import expanded

__all__ = ["KerasFile"]

KEY = "model.path"
UNIT = [0.0, 1.0]  # what the data give pixels in


@option("model", "keras_file")
@dataclass(kw_only=True)
class KerasFile(Model):
    """A network that Keras 2 or 3 saved, with its weights; its loss and its optimizer are not read.

    Attributes:
        path: A .keras or .h5 file, or a SavedModel folder. ``~`` is expanded.
        output: What its outputs are: ``"auto"`` (as its last layers say), ``"logits"`` or
            ``"probabilities"``.
        pixels: Lowest and highest value that it was trained to read a pixel as.
        dense_epochs: What ``trainer.dense_epochs`` is where nothing else is asked for.
    """

    brought = True

    path: str | None
    output: str
    pixels: list[float]
    dense_epochs: int

    def __post_init__(self) -> None:
        """Refuse what no file could make right."""
        shown = "null" if self.path is None else self.path
        require(bool(self.path), KEY, shown, f"it takes {FORMATS}", "Name yours.")
        require_one_of("model.output", self.output, OUTPUTS)
        require(
            len(self.pixels) == 2 and self.pixels[0] < self.pixels[1],
            "model.pixels",
            self.pixels,
            "allowed are two numbers, the lowest and the highest value of a pixel",
            "Usual are [0,1], [0,255] and [-1,1].",
        )

    @property
    def starts_trained(self) -> bool:
        """It does."""
        return True

    def identity(self, spec: Spec) -> dict[str, Any]:
        """Content of the file, wherever it lies, how it is read, and the code that the user registered."""
        read: dict[str, Any] = {"output": self.output, "pixels": [float(value) for value in self.pixels]}
        if own := [code for code in registered().values() if not is_of_keras(code)]:
            read["code"] = digest_of_code(own)
        return {"option": self.option_name, "file": digest_of_files(self._path), **read}

    def check(self, spec: Spec) -> None:
        """Refuse what is certainly no network of Keras.

        Raises:
            PruneflowError: if the file is missing or broken.
        """
        super().check(spec)
        check_file(self._path)

    def build(self, spec: Spec) -> Any:
        """Load the network.

        Raises:
            ConfigError: if it does not fit the data.
            PruneflowError: if it cannot be loaded.
        """
        policy = backend.keras().mixed_precision.global_policy().name
        if policy != "float32":
            raise ConfigError.of(
                "device.precision", policy, "a network from a file is trained in float32", "Leave it out."
            )
        origin = Origin(KEY, str(self.path))
        saved = read_network(self._path)
        self.difference = saved.difference
        model = origin.fitted(saved.build(), spec, output=self.output)
        return self._as_given(model, spec) if list(self.pixels) == UNIT else self._rescaled(model, spec)

    def original(self, spec: Spec) -> Any:
        """The network as Keras 3 reads it; None where Keras 2 wrote the file."""
        return original_in(self._path)

    def _as_given(self, model: Any, spec: Spec) -> Any:
        if spec.kind == "image" and shrinks_pixels(model):
            raise ConfigError.of(
                "model.pixels",
                self.pixels,
                "the network begins by dividing pixels by a large number, or taking one off, so that it was "
                "trained on others",
                "Set it to [0,255].",
            )
        return model

    def _rescaled(self, model: Any, spec: Spec) -> Any:
        """Put what turns [0, 1] into the values that the network reads in front of it."""
        if spec.kind != "image":
            raise ConfigError.of("model.pixels", self.pixels, "the data have no pixels", "Leave it out.")
        keras = backend.keras()
        low, high = self.pixels
        inputs = keras.Input(spec.shape, name="input")
        rescaled = keras.layers.Rescaling(high - low, low, name="rescaling")(inputs)
        return keras.Model(inputs, model(rescaled), name=f"{model.name}_rescaled")

    @property
    def _path(self) -> Path:
        return expanded(KEY, str(self.path))
