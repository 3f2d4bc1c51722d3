"""The option ``keras_file``: a trained network from a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError
from pruneflow.models.base import Model
from pruneflow.models.brought import OUTPUTS, Origin
from pruneflow.models.fingerprints import digest_of_code, is_of_keras
from pruneflow.models.keras_files import (
    FORMATS,
    check_file,
    digest_of_files,
    original_in,
    read_network,
)
from pruneflow.models.pixels import UNIT, Span, in_words, pixels_said
from pruneflow.options import option, require, require_one_of
from pruneflow.runtime import backend
from pruneflow.runtime.surroundings import expanded

KEY = "model.path"


@option("model", "keras_file")
@dataclass(kw_only=True)
class KerasFile(Model):
    """A network that Keras 2 or 3 saved, with its weights; its loss and its optimizer are not read."""

    brought = True

    path: str | None
    output: str
    pixels: list[float] | None
    dense_epochs: int

    # Of the network that `build` returned last; no annotations, which would make them settings.
    unsaid = False  # whether neither its file nor a setting says what it reads pixels as
    span = None  # type: Span | None

    def __post_init__(self) -> None:
        require(bool(self.path), KEY, self.path, f"it takes {FORMATS}", "Name yours.")
        require_one_of("model.output", self.output, OUTPUTS)
        check_pixels(self.pixels)

    @property
    def starts_trained(self) -> bool:
        """It does."""
        return True

    def identity(self, spec: Spec) -> dict[str, Any]:
        """Content of the file, wherever it lies, how it is read, and the code that the user registered."""
        if self.pixels is None and self.span is None:
            self.build(spec)
        pixels = list(map(float, self.pixels or self.span or UNIT))
        read: dict[str, Any] = {"output": self.output, "pixels": pixels}
        if own := [code for code in backend.registered().values() if not is_of_keras(code)]:
            read["code"] = digest_of_code(own)
        return {"option": self.option_name, "file": digest_of_files(self._path), **read}

    def check(self, spec: Spec) -> None:
        """Refuse what is certainly no network of Keras."""
        super().check(spec)
        check_file(self._path)

    def build(self, spec: Spec) -> Any:
        """Load the network."""
        policy = backend.keras().mixed_precision.global_policy().name
        if policy != "float32":
            raise ConfigError.of(
                "device.precision", policy, "a network from a file is trained in float32", "Leave it out."
            )
        origin = Origin(KEY, str(self.path))
        saved = read_network(self._path)
        self.difference = saved.difference
        model = origin.fitted(saved.build(), spec, output=self.output)
        if spec.kind != "image":
            return self._without_pixels(model)
        self.span, self.note = self._pixels(model)
        return model if self.span == UNIT else self._rescaled(model, spec, self.span)

    def original(self, spec: Spec) -> Any:
        """The network as Keras 3 reads it; None where Keras 2 wrote the file."""
        return original_in(self._path)

    def _without_pixels(self, model: Any) -> Any:
        given = self.pixels and tuple(self.pixels) != UNIT
        require(not given, "model.pixels", self.pixels, "the data have no pixels", "Leave it out.")
        self.span = UNIT
        return model

    def _pixels(self, model: Any) -> tuple[Span, str]:
        """Return the range of pixels that the network reads, and a note where that was not typed."""
        said, name = pixels_said(model), self._path.name
        self.unsaid = not (said or self.pixels)
        if self.pixels and (tuple(self.pixels) != UNIT or not said or said.span == UNIT):
            return (self.pixels[0], self.pixels[1]), ""
        if said is None:
            return UNIT, f"{name} does not say which values its pixels have: they are given {in_words(UNIT)}."
        if said.span and not self.pixels:
            given = f"Pixels are given {in_words(said.span)}"
            return said.span, f"{given}, as the layer {said.layer} at the beginning of {name} reads them."
        raise ConfigError.of(
            "model.pixels",
            self.pixels,
            f"the network begins with the layer {said.layer}, by which it was trained on others",
            "Leave it out." if said.span else "Set it to the lowest and the highest value, such as [0,4095].",
        )

    def _rescaled(self, model: Any, spec: Spec, span: Span) -> Any:
        """Put what turns [0, 1] into the values that the network reads in front of it."""
        keras, (low, high) = backend.keras(), span
        inputs = keras.Input(spec.shape, name="input")
        rescaled = keras.layers.Rescaling(high - low, low, name="rescaling")(inputs)
        return keras.Model(inputs, model(rescaled), name=f"{model.name}_rescaled")

    @property
    def _path(self) -> Path:
        return expanded(KEY, str(self.path))


def check_pixels(pixels: list[float] | None) -> None:
    """Refuse a range of pixels that is none."""
    require(
        pixels is None or (len(pixels) == 2 and pixels[0] < pixels[1]),
        "model.pixels",
        pixels,
        "allowed are two numbers, the lowest and the highest value of a pixel, or null",
        "Usual are [0,1], [0,255] and [-1,1].",
    )
