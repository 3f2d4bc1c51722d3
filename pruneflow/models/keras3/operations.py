"""Operations of Keras 3, each as one or a few functions of TensorFlow."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pruneflow.models.keras3.activations import AS_OPERATIONS
from pruneflow.models.keras3.layers import ConversionError
from pruneflow.runtime import backend


def constant(value: Any) -> Any:
    """Return constants of any kind as numbers or arrays, which are saved with the network."""
    if isinstance(value, (list, tuple)):
        return type(value)(constant(each) for each in value)
    is_constant = hasattr(value, "numpy") and not backend.keras().backend.is_keras_tensor(value)
    return np.asarray(value) if is_constant else value


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
    return layer(backend.tensorflow().clip_by_value, x, constant(operation.x_min), constant(operation.x_max))


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
    "HardSigmoid": _by(AS_OPERATIONS["hard_sigmoid"]),
    "HardSilu": _by(AS_OPERATIONS["hard_silu"]),
    "HardTanh": _by(AS_OPERATIONS["hard_tanh"]),
    "LeakyRelu": _with(("nn", "leaky_relu"), alpha="negative_slope"),
    "LogSigmoid": _by(AS_OPERATIONS["log_sigmoid"]),
    "LogSoftmax": _with(("nn", "log_softmax"), axis="axis"),
    "Matmul": _function("linalg", "matmul"),
    "Mish": _by(AS_OPERATIONS["mish"]),
    "ReLU": _relu,
    "Repeat": _with(("repeat",), repeats="repeats", axis="axis"),
    "Reshape": _with(("reshape",), shape="newshape"),
    "Softmax": _with(("nn", "softmax"), axis="axis"),
    "Split": _split,
    "Squeeze": _with(("squeeze",), axis="axis"),
    "Stack": _with(("stack",), axis="axis"),
    "StopGradient": _function("stop_gradient"),
    "TanhShrink": _by(AS_OPERATIONS["tanh_shrink"]),
    "Transpose": _with(("transpose",), perm="axes"),
    "Where": _function("where"),
}
