"""Operator layers of Keras 2 for operations and activations of Keras 3; they are saved with a network."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pruneflow.models.keras3.activations import AS_OPERATIONS
from pruneflow.models.keras3.layers import ConversionError, activation_of, made
from pruneflow.models.keras3.operations import OPERATIONS, constant
from pruneflow.runtime import backend

ARITHMETIC = (
    *("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "FloorDivide", "Mod", "Power"),
    *("Maximum", "Minimum"),
)


class Operators:
    """Makes operator layers (``TFOpLambda``), each under a name that the network has not had.

    Args:
        names: Names of the other layers of the network.
    """

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def unique(self, name: str) -> str:
        """Return a name that no other layer has, and take it."""
        found, index = name, 0
        while found in self._names:
            index += 1
            found = f"{name}_{index}"
        self._names.add(found)
        return found

    def named(self, name: str) -> Callable[..., Any]:
        """Return what applies a function of TensorFlow as a layer: ``f(function, *args, **kwargs)``."""

        def apply(function: Any, *args: Any, **kwargs: Any) -> Any:
            return _lambda_layer(function, self.unique(name))(*args, **kwargs)

        return apply

    def activated(self, x: Any, activation: Any, owner: str) -> Any:
        """Apply an activation that Keras 2 has no name for.

        Args:
            activation: As in a config of Keras 3.
        """
        name, config = activation_of(activation)
        if config:
            return made(name, {**config, "name": self.unique(f"{owner}_{config['name']}")})(x)
        return AS_OPERATIONS[name](self.named(f"{owner}_{name}"), x)

    def applied(self, operation: Any, args: Any, kwargs: Mapping[str, Any], dtype: str) -> Any:
        """Apply an operation of Keras 3.

        Args:
            operation: The operation, such as ``keras.ops.Add``.
            args: Its arguments, with tensors of Keras 2.
            kwargs: The same by keyword.
            dtype: Of what it gives.
        """
        kind = type(operation).__name__
        self._names.discard(operation.name)  # it takes that name itself
        apply = self.named(operation.name)
        given = [constant(each) for each in args]
        if kind in ARITHMETIC:
            given = [_cast(self.named(f"{operation.name}_cast"), each, dtype) for each in given]
        return OPERATIONS[kind](
            apply, operation, *given, **{key: constant(each) for key, each in kwargs.items()}
        )


def require_activation(activation: Any, owner: str) -> None:
    """Refuse an activation that cannot be written as operations.

    Args:
        activation: As in a config of Keras 3.
    """
    name, config = activation_of(activation)
    if config:
        made(name, config)
    elif name not in AS_OPERATIONS:
        raise ConversionError(f"layer {owner} has the activation {name}, which Keras 2 has no equal of")


def require_operation(operation: Any) -> None:
    """Refuse an operation of Keras 3 that is not known."""
    kind = type(operation).__name__
    if kind not in OPERATIONS or not type(operation).__module__.startswith("keras."):
        raise ConversionError(f"operation {operation.name} ({kind}) is not known")


def _lambda_layer(function: Any, name: str) -> Any:
    module = backend.operator_layers()
    slicing = function is backend.tensorflow().__operators__.getitem
    return (module.SlicingOpLambda if slicing else module.TFOpLambda)(function, name=name)


def _cast(apply: Callable[..., Any], value: Any, dtype: str) -> Any:
    """Numbers of one kind, as Keras 3 has them before it computes."""
    if isinstance(value, int) and dtype.startswith("float"):
        return float(value)
    if not hasattr(value, "dtype") or value.dtype == dtype:
        return value
    if isinstance(value, np.ndarray):
        return value.astype(dtype)
    return apply(backend.tensorflow().cast, value, dtype)
