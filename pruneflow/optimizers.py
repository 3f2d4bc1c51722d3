"""Optimizers by name with their parameters, and learning rates over the steps of a phase."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from pruneflow import backend
from pruneflow.options import require

__all__ = ["OPTIMIZERS", "OptimizerParameters"]

_CLIPPING = frozenset({"clipnorm", "clipvalue", "global_clipnorm", "weight_decay"})

# Name on the command line: class in tf_keras.optimizers, parameters it takes.
OPTIMIZERS: dict[str, tuple[str, frozenset[str]]] = {
    "adam": ("Adam", _CLIPPING | {"beta_1", "beta_2", "epsilon", "amsgrad"}),
    "adamw": ("AdamW", _CLIPPING | {"beta_1", "beta_2", "epsilon", "amsgrad"}),
    "adamax": ("Adamax", _CLIPPING | {"beta_1", "beta_2", "epsilon"}),
    "nadam": ("Nadam", _CLIPPING | {"beta_1", "beta_2", "epsilon"}),
    "sgd": ("SGD", _CLIPPING | {"momentum", "nesterov"}),
    "rmsprop": ("RMSprop", _CLIPPING | {"rho", "momentum", "epsilon", "centered"}),
    "adagrad": ("Adagrad", _CLIPPING | {"initial_accumulator_value", "epsilon"}),
    "adadelta": ("Adadelta", _CLIPPING | {"rho", "epsilon"}),
}


@dataclass(kw_only=True)
class OptimizerParameters:
    """Parameters of the optimizer; null keeps the default of ``tf_keras``.

    Attributes:
        momentum: sgd, rmsprop, [0, 1].
        nesterov: sgd.
        rho: Decay of the squared gradient, rmsprop and adadelta, [0, 1).
        centered: rmsprop.
        beta_1: Decay of the first moment, the adam family, [0, 1).
        beta_2: Decay of the second moment, the adam family, [0, 1).
        epsilon: Added for numerical stability, above 0.
        amsgrad: adam and adamw.
        initial_accumulator_value: adagrad, 0 or more.
        weight_decay: Decoupled weight decay, 0 or more.
        clipnorm: Largest norm of the gradient of one weight.
        clipvalue: Largest absolute value of a gradient's element.
        global_clipnorm: Largest norm of all gradients together.
    """

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
        """Refuse parameters that ``optimizer`` does not take, and values outside their range.

        Raises:
            ConfigError: naming the parameter, and what is allowed.
        """
        allowed = OPTIMIZERS[optimizer][1]
        for key, value in self.given().items():
            full_key = f"trainer.optimizer_parameters.{key}"
            require(
                key in allowed,
                full_key,
                value,
                f"trainer.optimizer={optimizer} takes {', '.join(sorted(allowed))}",
                "Set it to null, or take another optimizer.",
            )
            below_one = key in {"rho", "beta_1", "beta_2"}
            require(
                value >= 0 and not (below_one and value >= 1) and not (key == "momentum" and value > 1),
                full_key,
                value,
                "allowed are numbers from 0 up to, not including, 1"
                if below_one
                else "allowed are numbers from 0" + (" to 1" if key == "momentum" else ""),
                "null keeps the optimizer's default.",
            )

    def build(self, optimizer: str, learning_rate: Any) -> Any:
        """Build the ``tf_keras`` optimizer; ``learning_rate`` is a number or a learning-rate schedule."""
        name, _ = OPTIMIZERS[optimizer]
        return getattr(backend.keras().optimizers, name)(learning_rate=learning_rate, **self.given())
