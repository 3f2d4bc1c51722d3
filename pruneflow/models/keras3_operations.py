"""Operations and activations of Keras 3 as operator layers of Keras 2, which are saved with a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pruneflow.models.keras3_layers import ConversionError, activation_of, made
from pruneflow.runtime import backend

__all__ = ["OPERATIONS", "SAME_ACTIVATIONS", "Operators"]

# Activations that compute the same under both, and their name in Keras 2; compared by a test.
SAME_ACTIVATIONS = {
    each: each
    for each in (
        *("elu", "exponential", "gelu", "leaky_relu", "linear", "mish", "relu", "relu6", "selu", "sigmoid"),
        *("softmax", "softplus", "softsign", "swish", "tanh"),
    )
} | {"silu": "swish"}
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
            x: The tensor.
            activation: As in a config of Keras 3.
            owner: Name of the layer that had it.

        """
        name, config = activation_of(activation)
        if config:
            return made(name, {**config, "name": self.unique(f"{owner}_{config['name']}")})(x)
        return _ACTIVATIONS[name](self.named(f"{owner}_{name}"), x)

    @staticmethod
    def require(activation: Any, owner: str) -> None:
        """Refuse an activation that `activated` cannot apply.

        Raises:
            ConversionError: naming the layer that has it.
        """
        name, config = activation_of(activation)
        if config:
            made(name, config)
        elif name not in _ACTIVATIONS:
            raise ConversionError(f"layer {owner} has the activation {name}, which Keras 2 has no equal of")

    def applied(self, operation: Any, args: Any, kwargs: Mapping[str, Any], dtype: str) -> Any:
        """Apply an operation of Keras 3.

        Args:
            operation: The operation, such as ``keras.ops.Add``.
            args: Its arguments, with tensors of Keras 2.
            kwargs: The same by keyword.
            dtype: Of what it gives.

        Raises:
            ConversionError: naming it, if it is not known here.
        """
        kind = type(operation).__name__
        if kind not in OPERATIONS or not type(operation).__module__.startswith("keras."):
            raise ConversionError(f"operation {operation.name} ({kind}) is not known")
        self._names.discard(operation.name)  # it takes that name itself
        apply = self.named(operation.name)
        given = [_plain(each) for each in args]
        if kind in ARITHMETIC:
            given = [_cast(self.named(f"{operation.name}_cast"), each, dtype) for each in given]
        return OPERATIONS[kind](
            apply, operation, *given, **{key: _plain(each) for key, each in kwargs.items()}
        )


def _lambda_layer(function: Any, name: str) -> Any:
    from tf_keras.src.layers.core import tf_op_layer  # not among public names (2.21)

    slicing = function is backend.tensorflow().__operators__.getitem
    return (tf_op_layer.SlicingOpLambda if slicing else tf_op_layer.TFOpLambda)(function, name=name)


def _plain(value: Any) -> Any:
    """Constants as numbers or arrays, which are saved with the network."""
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(each) for each in value)
    constant = hasattr(value, "numpy") and not backend.keras().backend.is_keras_tensor(value)
    return np.asarray(value) if constant else value


def _cast(apply: Callable[..., Any], value: Any, dtype: str) -> Any:
    """Numbers of one kind, as Keras 3 has them before it computes."""
    if isinstance(value, int) and dtype.startswith("float"):
        return float(value)
    if not hasattr(value, "dtype") or value.dtype == dtype:
        return value
    if isinstance(value, np.ndarray):
        return value.astype(dtype)
    return apply(backend.tensorflow().cast, value, dtype)


def _hard_sigmoid(apply: Any, x: Any) -> Any:
    tf = backend.tensorflow()
    return apply(tf.math.multiply, apply(tf.nn.relu6, apply(tf.math.add, x, 3.0)), 1 / 6)


def _hard_silu(apply: Any, x: Any) -> Any:
    return apply(backend.tensorflow().math.multiply, x, _hard_sigmoid(apply, x))


def _log_softmax(apply: Any, x: Any, axis: int = -1) -> Any:
    return apply(backend.tensorflow().nn.log_softmax, x, axis=axis)


def _hard_tanh(apply: Any, x: Any) -> Any:
    return apply(backend.tensorflow().clip_by_value, x, -1.0, 1.0)


def _log_sigmoid(apply: Any, x: Any) -> Any:
    return apply(backend.tensorflow().math.log_sigmoid, x)


def _tanh_shrink(apply: Any, x: Any) -> Any:
    tf = backend.tensorflow()
    return apply(tf.math.subtract, x, apply(tf.math.tanh, x))


def _mish(apply: Any, x: Any) -> Any:
    tf = backend.tensorflow()
    return apply(tf.math.multiply, x, apply(tf.math.tanh, apply(tf.math.softplus, x)))


_ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": _hard_silu,
    "hard_swish": _hard_silu,
    "hard_tanh": _hard_tanh,
    "log_sigmoid": _log_sigmoid,
    "log_softmax": _log_softmax,
    "tanh_shrink": _tanh_shrink,
}


def _function(*path: str, **fixed: Any) -> Callable[..., Any]:
    """An operation that is one function of TensorFlow with the same arguments."""

    def apply(layer: Any, operation: Any, *args: Any, **kwargs: Any) -> Any:
        function = backend.tensorflow()
        for name in path:
            function = getattr(function, name)
        return layer(function, *args, **fixed, **kwargs)

    return apply


def _reduction(name: str) -> Callable[..., Any]:
    def apply(layer: Any, operation: Any, x: Any) -> Any:
        function = getattr(backend.tensorflow().math, f"reduce_{name}")
        return layer(function, x, axis=_axis(operation.axis), keepdims=operation.keepdims)

    return apply


def _axis(axis: Any) -> Any:
    return list(axis) if isinstance(axis, tuple) else axis


def _with(path: tuple[str, ...], **attributes: str) -> Callable[..., Any]:
    """A function whose arguments are attributes of the operation: ``axis="axis"``."""

    def apply(layer: Any, operation: Any, *args: Any) -> Any:
        given = {name: _axis(getattr(operation, held)) for name, held in attributes.items()}
        return _function(*path)(layer, operation, *args, **given)

    return apply


def _item(layer: Any, operation: Any, x: Any, key: Any) -> Any:
    keys = list(key) if isinstance(key, (list, tuple)) else [key]  # a list where it was read from a file
    if Ellipsis in keys:  # which is not saved
        place, taken = keys.index(Ellipsis), len([each for each in keys if each is not None]) - 1
        keys[place : place + 1] = [slice(None)] * (len(x.shape) - taken)
    parts = [
        {"start": each.start, "stop": each.stop, "step": each.step} if isinstance(each, slice) else each
        for each in keys
    ]
    return layer(backend.tensorflow().__operators__.getitem, x, tuple(parts))


def _clip(layer: Any, operation: Any, x: Any) -> Any:
    return layer(backend.tensorflow().clip_by_value, x, _plain(operation.x_min), _plain(operation.x_max))


def _relu(layer: Any, operation: Any, x: Any) -> Any:
    settings = {"max_value": operation.max_value, "threshold": operation.threshold}
    return layer(backend.keras().activations.relu, x, alpha=operation.negative_slope, **settings)


def _cast_to(layer: Any, operation: Any, x: Any) -> Any:
    return layer(backend.tensorflow().cast, x, str(operation.dtype))


def _split(layer: Any, operation: Any, x: Any) -> Any:
    parts = operation.indices_or_sections
    if not isinstance(parts, int):
        raise ConversionError(
            f"operation {operation.name} (Split) splits at places", "Split into equal parts."
        )
    return layer(backend.tensorflow().split, x, parts, axis=operation.axis)


def _by(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda layer, operation, x: function(layer, x)


_MATH = {
    "Absolute": "abs",
    "Add": "add",
    "Ceil": "ceil",
    "Cos": "cos",
    "Divide": "divide",
    "Equal": "equal",
    "Exp": "exp",
    "Expm1": "expm1",
    "Floor": "floor",
    "FloorDivide": "floordiv",
    "Greater": "greater",
    "GreaterEqual": "greater_equal",
    "Less": "less",
    "LessEqual": "less_equal",
    "Log": "log",
    "Log1p": "log1p",
    "LogicalAnd": "logical_and",
    "LogicalNot": "logical_not",
    "LogicalOr": "logical_or",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Mod": "floormod",
    "Multiply": "multiply",
    "Negative": "negative",
    "NotEqual": "not_equal",
    "Power": "pow",
    "Reciprocal": "reciprocal",
    "Round": "round",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Sin": "sin",
    "Softplus": "softplus",
    "Sqrt": "sqrt",
    "Square": "square",
    "Subtract": "subtract",
    "Tanh": "tanh",
    "TrueDivide": "divide",
}
_NN = {"Relu": "relu", "Relu6": "relu6", "Selu": "selu", "Silu": "silu", "Softsign": "softsign"}
_REDUCTIONS = {
    "Max": "max",
    "Mean": "mean",
    "Min": "min",
    "Prod": "prod",
    "Std": "std",
    "Sum": "sum",
    "Var": "variance",
}

OPERATIONS: dict[str, Callable[..., Any]] = {
    **{kind: _function("math", name) for kind, name in _MATH.items()},
    **{kind: _function("nn", name) for kind, name in _NN.items()},
    **{kind: _reduction(name) for kind, name in _REDUCTIONS.items()},
    "Argmax": _with(("math", "argmax"), axis="axis"),
    "Cast": _cast_to,
    "Clip": _clip,
    "Concatenate": _with(("concat",), axis="axis"),
    "Copy": _function("identity"),
    "Elu": _with(("keras", "activations", "elu"), alpha="alpha"),
    "ExpandDims": _with(("expand_dims",), axis="axis"),
    "Gelu": _with(("nn", "gelu"), approximate="approximate"),
    "GetItem": _item,
    "HardSigmoid": _by(_hard_sigmoid),
    "HardSilu": _by(_hard_silu),
    "HardTanh": _by(_hard_tanh),
    "LeakyRelu": _with(("nn", "leaky_relu"), alpha="negative_slope"),
    "LogSigmoid": _by(_log_sigmoid),
    "LogSoftmax": _with(("nn", "log_softmax"), axis="axis"),
    "Matmul": _function("linalg", "matmul"),
    "Mish": _by(_mish),
    "ReLU": _relu,
    "Repeat": _with(("repeat",), repeats="repeats", axis="axis"),
    "Reshape": _with(("reshape",), shape="newshape"),
    "Softmax": _with(("nn", "softmax"), axis="axis"),
    "Split": _split,
    "Squeeze": _with(("squeeze",), axis="axis"),
    "Stack": _with(("stack",), axis="axis"),
    "StopGradient": _function("stop_gradient"),
    "TanhShrink": _by(_tanh_shrink),
    "Transpose": _with(("transpose",), perm="axes"),
    "Where": _function("where"),
}
