"""Arithmetic on whole weights in one pass over memory, with the bits of the operations that it replaces.

TensorFlow runs each operation of a formula by itself, and each reads and writes the whole weight. XLA makes
one loop of a formula. It also joins a product and the sum it goes into to one rounding (FMA), which changes
bits, and is kept from that here. What is small, lies on a GPU or in a distribution strategy is left to
TensorFlow's operations, and so is everything with ``device.stock_keras=true``.

Delete this module, that key, `Adam` and `AdamW` when ``epochs.py`` in benchmarks shows no gain over that key.
With tf_keras 2.21 a step of imdb_lstm takes 0.86 of the processor time, and one of mnist_cnn 0.94.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from typing import Any

import numpy as np

from pruneflow.runtime import backend

tf: Any = backend.tensorflow()

LEAST = 1 << 18  # elements; below, calling and compiling cost more than the passes that are saved
TRIED = 1 << 10  # elements on which XLA has to give TensorFlow's bits before it is used
FACTORS = (0.0, 1.0)  # of what is masked, and of what is kept

Values = tuple[Any, ...]

_enabled = True


def enable(wanted: bool) -> None:
    """Have `suits` take weights, or none."""
    global _enabled
    _enabled = wanted


def suits(variable: Any) -> bool:
    """Return whether the functions of this module take ``variable``, a weight, and are worth it.

    Args:
        variable: A ``tf.Variable`` or what stands for one.
    """
    return bool(
        _enabled
        and isinstance(variable, tf.Variable)
        and variable.dtype == tf.float32
        and (variable.shape.num_elements() or 0) >= LEAST
        and not tf.config.get_visible_devices("GPU")
        and tf.compat.v1.executing_eagerly_outside_functions()  # not in a graph of TensorFlow 1
        and not tf.config.functions_run_eagerly()
        and not tf.distribute.has_strategy()
        and not isinstance(variable, tf.distribute.DistributedValues)  # such a variable seen from outside
        and _has_the_same_bits()
    )


def _on_variables(count: int) -> Callable[[Callable[..., Values]], Callable[..., None]]:
    """Make of a function of values one whose first ``count`` arguments are variables.

    They are set to what it returns, in order; those for which it returns nothing are read only. XLA compiles
    it, once for each shape in a process, and writes in place. It gets handles: a function of variables would
    hold on to those it saw first, and TensorFlow copies those of an embedding to read them.
    """

    def decorate(function: Callable[..., Values]) -> Callable[..., None]:
        def on_handles(handles: Any, given: Any) -> None:
            values = [tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32) for handle in handles]
            for handle, value in zip(handles, function(*values, *given), strict=False):
                tf.raw_ops.AssignVariableOp(resource=handle, value=value)

        compiled = tf.function(on_handles, jit_compile=True, autograph=False)

        @wraps(function)
        def call(*arguments: Any) -> None:
            given = [tf.convert_to_tensor(argument) for argument in arguments[count:]]
            compiled([variable.handle for variable in arguments[:count]], given)

        return call

    return decorate


def mask(weight: Any, kept: Any) -> None:
    """Multiply ``weight`` by ``kept``, a boolean variable of its shape; zeros keep the weight's sign."""
    _scale(weight, kept, FACTORS)


@_on_variables(1)
def _scale(weight: Any, kept: Any, factors: Any) -> Values:
    """Multiply by one of two numbers; if the compiler knew that they are 0 and 1 it would drop signs."""
    return (weight * tf.where(kept, factors[1], factors[0]),)


@_on_variables(3)
def adam(weight: Any, first: Any, second: Any, gradient: Any, rates: Any) -> Values:
    """Move ``weight`` as Adam does (Kingma and Ba 2015, arXiv 1412.6980), in the order of Keras' arithmetic.

    Args:
        first: First moment, a variable of its shape, moved too.
        second: Second moment, likewise.
        gradient: Of its shape.
        rates: (5,) float32: 1 - beta_1, 1 - beta_2, the learning rate with its correction, epsilon, and 0,
            which the compiler must not know.
    """
    first = first + _rounded((gradient - first) * rates[0], rates)
    square = _rounded(gradient * gradient, rates)
    second = second + _rounded((square - second) * rates[1], rates)
    return _moved(weight, first, second, rates), first, second


@_on_variables(2)
def decay(first: Any, second: Any, rates: Any) -> Values:
    """Move the moments of an embedding where there is no gradient, as `adam` does; arguments as there."""
    return first + _rounded(-first * rates[0], rates), second + _rounded(-second * rates[1], rates)


@_on_variables(3)
def move(weight: Any, first: Any, second: Any, rates: Any) -> Values:
    """Move the weight after its moments, as `adam` does; arguments as there."""
    return (_moved(weight, first, second, rates),)


def _moved(weight: Any, first: Any, second: Any, rates: Any) -> Any:
    return weight - (first * rates[2]) / (tf.sqrt(second) + rates[3])


def _rounded(product: Any, rates: Any) -> Any:
    """The same numbers; the compiler cannot see that, and so cannot join the product and a sum to an FMA."""
    zero = tf.bitcast(rates[4], tf.int32)
    return tf.bitcast(tf.bitwise.bitwise_xor(tf.bitcast(product, tf.int32), zero), tf.float32)


@cache
def _has_the_same_bits() -> bool:
    """Return whether XLA runs on this processor, and gives the bits of TensorFlow's operations.

    It is tried as steps use it, in a graph, and as what is between them does. That is in a thread of its own:
    a graph that is being traced would take the variables for its own, and be traced twice.
    """
    with backend.quiet():
        try:
            with ThreadPoolExecutor(1) as thread:
                expected, *found = thread.map(_tried, (_by_operations, _in_a_graph, _by_itself))
        except (tf.errors.OpError, RuntimeError):  # the latter where a thread is refused
            return False
        return all(bits == expected for bits in found)


def _in_a_graph(function: Callable[..., None], *arguments: Any) -> None:
    tf.function(lambda: function(*arguments), autograph=False)()


def _by_itself(function: Callable[..., None], *arguments: Any) -> None:
    function(*arguments)


def _by_operations(function: Any, *arguments: Any) -> None:
    """The same by TensorFlow's operations, one after the other."""
    values = function.__wrapped__(*map(tf.convert_to_tensor, arguments))
    for variable, value in zip(arguments, values, strict=False):
        variable.assign(value)


def _tried(call: Callable[..., None]) -> list[bytes]:
    """Bits of a weight, many magnitudes in it, and of its moments, after all that is done here to them."""
    rng = np.random.default_rng(0)
    numbers = (rng.normal(size=(4, TRIED)) * 10.0 ** rng.uniform(-24, 2, (4, TRIED))).astype(np.float32)
    weight, first, second = map(tf.Variable, (numbers[0], numbers[1], numbers[2] ** 2))
    rates = np.array([1 - 0.9, 1 - 0.999, 0.001, 1e-7, 0], np.float32)
    call(adam, weight, first, second, numbers[3], rates)
    call(decay, first, second, rates)
    call(move, weight, first, second, rates)
    call(_scale, weight, rng.random(TRIED) < 0.5, FACTORS)
    return [variable.numpy().tobytes() for variable in (weight, first, second)]
