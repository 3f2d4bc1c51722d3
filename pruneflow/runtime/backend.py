"""The one place that imports tensorflow, tf_keras and tfmot: late, quietly, in the right order."""

import gc
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import IO, Any

import numpy as np

from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.runtime import memory
from pruneflow.runtime.process import own_temporary_folder
from pruneflow.runtime.signals import undisturbed
from pruneflow.runtime.surroundings import is_own, open_streams

# What Keras has where ~/.keras/keras.json says nothing else; networks of ours are built with it.
KERAS_SETTINGS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}


@contextmanager
def quiet() -> Iterator[IO[bytes]]:
    """Keep what C++ code writes to standard error off the terminal; show it if the block fails.

    Yields:
        What was written, to be read from its start.

    TensorFlow's start-up lines and the converter's ignore TF_CPP_MIN_LOG_LEVEL (seen with 2.21), so the file
    descriptor itself is turned away. Python code in the block must not print to standard error.
    """
    open_streams()
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield log
        except PruneflowError:
            raise
        except Exception:
            os.dup2(kept, 2)
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def _importing(*, before_networks: bool = False) -> Iterator[None]:
    """Import what is large: quietly, whole or not at all, and without looking for garbage meanwhile.

    Python would walk through some 600,000 new objects again and again, and find nothing: a fifth of the time
    that TensorFlow takes to load. In a process of our own what is there then is left out for good; so that
    must not be a network.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        with quiet(), undisturbed(), warnings.catch_warnings(), _without_user_settings():
            warnings.simplefilter("ignore")
            try:
                yield
            except Exception as error:
                if memory.ran_out(error):
                    raise PruneflowError(memory.RAN_OUT) from error
                raise
        if is_own() and before_networks:
            gc.freeze()
    finally:
        if collects:
            gc.enable()


@contextmanager
def _without_user_settings() -> Iterator[None]:
    """In a process of our own, hide ``keras.json`` and the environment variables of Keras from an import.

    Keras would fail on values that it does not know, and would write the file where there is none.
    """
    kept = {name: os.environ.pop(name) for name in list(os.environ) if is_own() and name.startswith("KERAS_")}
    if is_own():
        os.environ["KERAS_HOME"] = os.devnull
    try:
        yield
    finally:
        if is_own():
            del os.environ["KERAS_HOME"]
        os.environ.update(kept)


@cache
def litert() -> Any:
    """Import LiteRT's interpreter module."""
    with _importing():
        from ai_edge_litert import interpreter

    return interpreter


@cache
def tensorflow() -> Any:
    """Import tensorflow; in a process of our own with Keras 2 as ``tf.keras``.

    What ``tf.keras`` means in the user's process is the user's matter: tfmot finds ``tf_keras`` by itself.

    Raises:
        ConfigError: if Python leaves docstrings out, which tf_keras 2.21 changes while it is imported, or if
            the process may have too little memory.
    """
    problem = "TensorFlow cannot be imported without docstrings"
    optimize = sys.flags.optimize
    if optimize >= 2:
        raise ConfigError.of("PYTHONOPTIMIZE", optimize, problem, "Unset it, and leave out python -OO.")
    memory.require_address_space()
    if is_own():
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if is_own():
        own_temporary_folder()
    with _importing(before_networks=True):
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        import absl.logging

        absl.logging.set_verbosity(absl.logging.ERROR)
    return tf


@cache
def keras() -> Any:
    """Import tf_keras; dropout draws from generators that a checkpoint can hold."""
    tensorflow()
    with _importing(before_networks=True):
        import tf_keras

    tf_keras.backend.experimental.enable_tf_random_generator()
    if is_own():  # where a module of the user's has imported it before
        _set(tf_keras, KERAS_SETTINGS)
    return tf_keras


@cache
def keras3() -> Any:
    """Import Keras 3, which has its own layers beside those of tf_keras; tfmot imports it too."""
    keras()
    with _importing():
        import keras as module

    if is_own():
        _set(module, KERAS_SETTINGS)
    return module


def forget_unmade_weights() -> None:
    """Let Keras 3 forget weights that were declared in a stateless scope; it would make them later (3.15)."""
    keras3()
    from keras.src.backend.common import global_state  # not among public names

    global_state.set_global_attribute("uninitialized_variables", [])


def operations_of_keras_3() -> tuple[Any, ...]:
    """Modules with the classes of Keras 3's operations, which have no public names (3.15)."""
    keras3()
    from keras.src.activations import activations
    from keras.src.ops import core, nn, numpy

    return numpy, nn, core, activations


def operator_layers() -> Any:
    """Module of the layers that tf_keras wraps TensorFlow's functions in; not among public names (2.21)."""
    keras()
    from tf_keras.src.layers.core import tf_op_layer

    return tf_op_layer


def own_functions(of: Any) -> Any:
    """Return a context in which Keras rebuilds layers with functions of a network that is in memory.

    Args:
        of: Keras 2 or 3, as `keras` and `keras3` return them.
    """
    package = str(of.__name__).partition(".")[0]
    return import_module(f"{package}.src.saving.serialization_lib").SafeModeScope(False)


def registered() -> dict[str, Any]:
    """Return the classes and functions that Keras finds by name when it reads a file."""
    objects = keras().saving.get_custom_objects()
    from tf_keras.src.saving import object_registration  # whose objects of a scope have no public name (2.21)

    return {**objects, **vars(object_registration._THREAD_LOCAL_CUSTOM_OBJECTS)}


@cache
def tfmot() -> Any:
    """Import tensorflow_model_optimization."""
    keras()
    with _importing():
        import tensorflow_model_optimization

    return tensorflow_model_optimization


@contextmanager
def default_settings() -> Iterator[None]:
    """Have Keras' defaults inside the block, whatever ``keras.json`` or the user's process has set."""
    before = {name: getattr(keras().backend, name)() for name in KERAS_SETTINGS}
    _set(keras(), KERAS_SETTINGS)
    try:
        yield
    finally:
        _set(keras(), before)


def _set(module: Any, settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        getattr(module.backend, f"set_{name}")(value)


@contextmanager
def float32() -> Iterator[None]:
    """Build layers in float32 inside the block, whatever precision training has."""
    mixed = keras().mixed_precision
    policy = mixed.global_policy()
    mixed.set_global_policy("float32")
    try:
        yield
    finally:
        mixed.set_global_policy(policy)


@contextmanager
def whole_float32() -> Iterator[None]:
    """Multiply all 24 bits of float32 inside the block; TensorFlow lets a GPU take 11 of them, as TF32."""
    settings = tensorflow().config.experimental
    before = settings.tensor_float_32_execution_enabled()
    settings.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        settings.enable_tensor_float_32_execution(before)


@cache
def prunable_weights() -> dict[str, tuple[str, ...]]:
    """Return tfmot's table of layers, by class, and the weights it prunes in them; not public in 0.8.1."""
    tfmot()
    from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry

    tables = PruneRegistry._LAYERS_WEIGHTS_MAP, PruneRegistry._RNN_CELLS_WEIGHTS_MAP
    return {kind.__name__: tuple(names) for table in tables for kind, names in table.items()}


def reset_names() -> None:
    """Let layers without a name be called alike again, those of Keras 3 too where it is loaded."""
    keras().backend.reset_uids()
    if "keras" in sys.modules:
        from keras.src.utils import naming  # not among public names (3.15)

        naming.reset_uids()


def set_seed(*seed: int) -> None:
    """Seed Python, NumPy and TensorFlow from whole numbers, such as the run's seed and a phase's number."""
    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    if "keras" in sys.modules:  # first, so that what both seed is as tf_keras leaves it
        keras3().utils.set_random_seed(number)
    keras().utils.set_random_seed(number)
