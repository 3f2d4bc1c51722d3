"""Activations of Keras 3: those that Keras 2 has under a name, and those that are written as operations."""

from collections.abc import Callable
from typing import Any

from pruneflow.runtime import backend

# Activations that compute the same under both, and their name in Keras 2; compared by a test.
SAME_ACTIVATIONS = {
    each: each
    for each in (
        *("elu", "exponential", "gelu", "leaky_relu", "linear", "mish", "relu", "relu6", "selu", "sigmoid"),
        *("softmax", "softplus", "softsign", "swish", "tanh"),
    )
} | {"silu": "swish"}


def _hard_sigmoid(apply: Any, x: Any) -> Any:
    """Apply relu6(x + 3) / 6; the function of that name in Keras 2 is clip(0.2 x + 0.5, 0, 1)."""
    tf = backend.tensorflow()
    return apply(tf.math.multiply, apply(tf.nn.relu6, apply(tf.math.add, x, 3.0)), 1 / 6)


def _hard_silu(apply: Any, x: Any) -> Any:
    return apply(backend.tensorflow().math.multiply, x, _hard_sigmoid(apply, x))


def _log_softmax(apply: Any, x: Any) -> Any:
    return apply(backend.tensorflow().nn.log_softmax, x, axis=-1)


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


# By name, what applies an activation to a tensor: `apply(function, *args)` makes a layer of a function.
AS_OPERATIONS: dict[str, Callable[..., Any]] = {
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": _hard_silu,
    "hard_swish": _hard_silu,
    "hard_tanh": _hard_tanh,
    "log_sigmoid": _log_sigmoid,
    "log_softmax": _log_softmax,
    "mish": _mish,
    "tanh_shrink": _tanh_shrink,
}
