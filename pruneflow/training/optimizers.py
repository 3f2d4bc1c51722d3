"""Optimizers by name with their parameters, and learning rates over the steps of a phase."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from pruneflow.options import BELOW_1, FINITE_ABOVE_0, FROM_0_TO_1, Numbers, require, require_number
from pruneflow.runtime import backend

_ONE_CLIP = ("clipnorm", "clipvalue", "global_clipnorm")
_CLIPPING = frozenset({*_ONE_CLIP, "weight_decay"})

# Name on the command line: class in tf_keras.optimizers (or the one it is derived from), parameters it takes.
OPTIMIZERS: dict[str, tuple[str, frozenset[str]]] = {
    "adam": ("Adam", _CLIPPING | {"beta_1", "beta_2", "epsilon", "amsgrad"}),
    "adamw": ("AdamW", _CLIPPING | {"beta_1", "beta_2", "epsilon", "amsgrad"}),
    "adamax": ("Adamax", _CLIPPING | {"beta_1", "beta_2", "epsilon"}),
    "nadam": ("Nadam", _CLIPPING | {"beta_1", "beta_2", "epsilon"}),
    "sgd": ("SGD", _CLIPPING | {"momentum", "nesterov"}),
    "rmsprop": ("RMSprop", _CLIPPING | {"rho", "momentum", "epsilon", "centered"}),
    "adagrad": ("Adagrad", _CLIPPING | {"initial_accumulator_value", "epsilon"}),
    "adadelta": ("Adadelta", _CLIPPING | {"rho", "epsilon"}),
    "lazy_adam": ("Adam", frozenset({*_ONE_CLIP, "beta_1", "beta_2", "epsilon"})),
}


DECAYS = ("constant", "cosine", "stepwise")


@dataclass(frozen=True)
class Decay:
    """The decay of a learning rate over the steps of a phase.

    Attributes:
        name: ``"constant"``, ``"cosine"`` (to 0) or ``"stepwise"``.
        at: Fractions of the phase at which a stepwise rate drops, rising.
        factor: What it is multiplied by at each drop.
    """

    name: str
    at: Sequence[float]
    factor: float

    @property
    def inputs(self) -> dict[str, Any]:
        """Return the settings that decide the rate, as JSON takes them."""
        if self.name != "stepwise":
            return {"name": self.name}
        return {"name": self.name, "at": list(self.at), "factor": self.factor}

    def learning_rate(self, initial: float, *, total_steps: int) -> Any:
        """The rate as ``tf_keras`` optimizers take it: a number, or a schedule over ``total_steps`` steps."""
        schedules = backend.keras().optimizers.schedules
        if self.name == "cosine":
            return schedules.CosineDecay(initial, total_steps)
        if self.name == "stepwise":
            boundaries = [round(fraction * total_steps) for fraction in self.at]
            values = [initial * self.factor**drops for drops in range(len(boundaries) + 1)]
            return schedules.PiecewiseConstantDecay(boundaries, values)
        return initial


@dataclass(kw_only=True)
class OptimizerParameters:
    """Parameters of the optimizer; null keeps the default of ``tf_keras``."""

    momentum: float | None
    nesterov: bool | None
    rho: float | None
    centered: bool | None
    beta_1: float | None
    beta_2: float | None
    epsilon: float | None
    amsgrad: bool | None
    initial_accumulator_value: float | None
    weight_decay: float | None
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None

    def given(self) -> dict[str, float | bool]:
        """The parameters that are not null."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {key: value for key, value in values.items() if value is not None}

    def check(self, optimizer: str) -> None:
        """Refuse parameters that ``optimizer`` does not take, and values outside their range."""
        allowed = OPTIMIZERS[optimizer][1]
        for key, value in self.given().items():
            full_key = f"trainer.optimizer_parameters.{key}"
            problem = f"trainer.optimizer={optimizer} takes {', '.join(sorted(allowed))}"
            require(key in allowed, full_key, value, problem, "Set it to null, or take another optimizer.")
            require_number(full_key, value, _range_of(key), "null keeps the optimizer's default.")
        clips = [key for key in self.given() if key in _ONE_CLIP]
        problem = f"only one of {', '.join(_ONE_CLIP)} may be set, and {', '.join(clips)} are"
        remedy = "Set the others to null."
        require(len(clips) <= 1, "trainer.optimizer_parameters.clipnorm", self.clipnorm, problem, remedy)

    def build(self, optimizer: str, learning_rate: Any) -> Any:
        """Build the ``tf_keras`` optimizer; ``learning_rate`` is a number or a learning-rate schedule."""
        return _class_of(optimizer)(learning_rate=learning_rate, **self.given())


def _class_of(optimizer: str) -> Any:
    from pruneflow.training import adam

    ours = {"adam": adam.Adam, "adamw": adam.AdamW, "lazy_adam": adam.LazyAdam}
    return ours.get(optimizer) or getattr(backend.keras().optimizers, OPTIMIZERS[optimizer][0])


def _range_of(key: str) -> Numbers:
    if key in {"rho", "beta_1", "beta_2"}:
        return BELOW_1
    if key == "momentum":
        return FROM_0_TO_1
    if key in {"epsilon", *_ONE_CLIP}:
        return FINITE_ABOVE_0
    return Numbers("allowed are numbers from 0", lambda value: 0 <= value < float("inf"))
