"""Arithmetic on whole weights in one pass over memory, with the bits of the operations that it replaces.

TensorFlow runs each operation of a formula by itself, and each reads and writes the whole weight. XLA makes
one loop of a formula. It also joins a product and the sum it goes into to one rounding (FMA), which changes
bits, and is kept from that here. What is small, lies on a GPU or in a distribution strategy is left to
TensorFlow's operations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import numpy as np

from pruneflow import backend

__all__ = ["adam", "decay", "mask", "move", "suits"]

tf: Any = backend.tensorflow()

LEAST = 1 << 18  # elements; below, calling and compiling cost more than the passes that are saved
TRIED = 1 << 10  # elements on which XLA has to give TensorFlow's bits before it is used


def suits(variable: Any) -> bool:
    """Whether the functions of this module take ``variable``, a weight, and are worth it.

    Args:
        variable: A ``tf.Variable`` or what stands for one.
    """
    return bool(
        isinstance(variable, tf.Variable)
        and variable.dtype == tf.float32
        and variable.shape.num_elements() >= LEAST
        and not tf.config.get_visible_devices("GPU")
        and not tf.distribute.has_strategy()
        and _has_the_same_bits()
    )


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile ``function`` where it becomes part of a graph; called eagerly it is what it says."""

    @wraps(function)
    def call(*arguments: Any) -> None:
        if tf.executing_eagerly():
            function(*arguments)
        else:
            # One for each graph: a function that is used again asks for the variables it saw first.
            tf.function(function, jit_compile=True, autograph=False)(*arguments)

    return call


def mask(weight: Any, kept: Any) -> None:
    """Multiply ``weight`` by ``kept``, a boolean variable of its shape; zeros keep the weight's sign."""
    _scale(weight, kept, tf.constant([0.0, 1.0]))


@_compiled
def _scale(weight: Any, kept: Any, factors: Any) -> None:
    """Multiply by one of two numbers; if the compiler knew that they are 0 and 1 it would drop signs."""
    weight.assign(weight * tf.where(kept, factors[1], factors[0]))


@_compiled
def adam(weight: Any, moments: Any, gradient: Any, rates: Any, zero: Any) -> None:
    """Move ``weight`` as Adam does (Kingma and Ba 2015, arXiv 1412.6980), in the order of Keras' arithmetic.

    Args:
        weight: A variable.
        moments: The first and the second, variables of its shape, which are moved too.
        gradient: Of its shape.
        rates: (4,) float32: 1 - beta_1, 1 - beta_2, the learning rate with its correction, epsilon.
        zero: 0, int32, which the compiler must not know.
    """
    first, second = moments
    first.assign(first + _rounded((gradient - first) * rates[0], zero))
    square = _rounded(gradient * gradient, zero)
    second.assign(second + _rounded((square - second) * rates[1], zero))
    _move(weight, moments, rates)


@_compiled
def decay(moments: Any, rates: Any, zero: Any) -> None:
    """What `adam` does with the moments of an embedding where there is no gradient; arguments as there."""
    for moment, rate in zip(moments, (rates[0], rates[1]), strict=True):
        moment.assign(moment + _rounded(-moment * rate, zero))


def _move(weight: Any, moments: Any, rates: Any) -> None:
    first, second = moments
    weight.assign(weight - (first * rates[2]) / (tf.sqrt(second) + rates[3]))


move = _compiled(_move)
"""What `adam` does with the weight once its moments are moved; arguments as there."""


def _rounded(product: Any, zero: Any) -> Any:
    """The same numbers; the compiler cannot see that, and so cannot join the product and a sum to an FMA."""
    return tf.bitcast(tf.bitwise.bitwise_xor(tf.bitcast(product, tf.int32), zero), tf.float32)


@cache
def _has_the_same_bits() -> bool:
    """Whether XLA is there for this processor, and gives what TensorFlow's operations give."""
    with tf.init_scope(), backend.quiet():
        try:
            return _tried(tf.function(_all_steps, autograph=False)) == _tried(_all_steps)
        except tf.errors.OpError:
            return False


def _all_steps(weight: Any, first: Any, second: Any, gradient: Any, kept: Any) -> None:
    rates = tf.constant([1 - 0.9, 1 - 0.999, 0.001, 1e-7])
    adam(weight, (first, second), gradient, rates, tf.constant(0))
    mask(weight, kept)


def _tried(steps: Callable[..., None]) -> list[bytes]:
    """Bits of a weight, many magnitudes in it, and of its moments, after `_all_steps`."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(4, TRIED)) * 10.0 ** rng.uniform(-12, 2, (4, TRIED))
    weight, first, second = (
        tf.Variable(values, dtype=tf.float32) for values in [*numbers[:2], numbers[2] ** 2]
    )
    steps(weight, first, second, tf.constant(numbers[3], tf.float32), tf.constant(rng.random(TRIED) < 0.5))
    return [variable.numpy().tobytes() for variable in (weight, first, second)]
