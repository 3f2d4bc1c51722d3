"""The option ``custom``: a network that a function of the user's own builds."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError
from pruneflow.models.base import Model
from pruneflow.models.brought import OUTPUTS, Origin
from pruneflow.models.fingerprints import fingerprint
from pruneflow.models.keras3 import ConversionError, converted, is_keras_3
from pruneflow.models.pixels import UNIT, pixels_said
from pruneflow.options import open_mapping, option, require_one_of
from pruneflow.runtime import backend
from pruneflow.runtime.factories import called, check_name, checked_arguments
from pruneflow.runtime.surroundings import is_own

KEY = "model.factory"


@option("model", "custom")
@dataclass(kw_only=True)
class Custom(Model):
    """The network that a function returns which is called with the `Spec` of the data."""

    brought = True

    factory: str | None
    output: str
    trained: bool
    arguments: dict[str, Any] = field(default_factory=partial(open_mapping, Any))

    def __post_init__(self) -> None:
        check_name(KEY, self.factory)
        self.arguments = checked_arguments("model.arguments", self.arguments)
        require_one_of("model.output", self.output, OUTPUTS)

    @property
    def starts_trained(self) -> bool:
        """The setting ``trained``."""
        return self.trained

    def identity(self, spec: Spec) -> dict[str, Any]:
        """The network itself, whatever the function that builds it is called, see `fingerprint`."""
        found = fingerprint(lambda: self.build(spec), spec, self._origin)
        return {"option": self.option_name, **found, "output": self.output, "trained": self.trained}

    def build(self, spec: Spec) -> Any:
        """Call the function."""
        network = self._origin.connected(self._as_keras_2(self._called(spec)), spec)
        fitted = self._origin.fitted(network, spec, output=self.output)
        said = pixels_said(fitted) if spec.kind == "image" else None
        if said and said.span != UNIT:
            raise self._origin.refused(
                f"it begins with the layer {said.layer}, which reads pixels that lie in another range, and "
                "the data set gives them in [0, 1]",
                "Leave that layer out, or multiply by 255 before it where it reads 0 to 255.",
            )
        return fitted

    def original(self, spec: Spec) -> Any:
        """Return the network of the function where it is of Keras 3; None where it is not."""
        return None if self.difference is None else self._called(spec)

    def _called(self, spec: Spec) -> Any:
        backend.keras()  # before the module is imported, which must find Keras 2 in TensorFlow
        if is_own():
            backend.keras3()  # nor must it find Keras 3 with the user's settings; tfmot imports it anyway
        backend.reset_names()  # layers without a name are called alike at each call
        return called(KEY, str(self.factory), self.arguments, spec)

    def _as_keras_2(self, model: Any) -> Any:
        """The same, converted where it is a network of Keras 3."""
        self.difference = None
        if not is_keras_3(model):
            return model
        policy = backend.keras().mixed_precision.global_policy().name
        if policy != "float32":
            problem = "a network of Keras 3 is trained in float32"
            raise ConfigError.of("device.precision", policy, problem, "Leave it out.")
        try:
            found = converted(model)
        except ConversionError as error:
            raise self._origin.refused(error.problem, error.remedy) from error
        self.difference = found.difference
        return found.model

    @property
    def _origin(self) -> Origin:
        return Origin(KEY, str(self.factory))
