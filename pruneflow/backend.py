"""The one place that imports tensorflow, tf_keras and tfmot: late, quietly, in the right order."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from pruneflow.signals import undisturbed

__all__ = [
    "float32",
    "keras",
    "litert",
    "own_process",
    "prune_registry",
    "quiet",
    "set_seed",
    "tensorflow",
    "tfmot",
]


_process_is_ours = False


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what C++ code writes to standard error off the terminal; show it if the block fails.

    TensorFlow's start-up lines and the converter's ignore TF_CPP_MIN_LOG_LEVEL (seen with 2.21), so the file
    descriptor itself is turned away. Python code in the block must not print to standard error.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
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
        with quiet(), undisturbed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        if _process_is_ours and before_networks:
            gc.freeze()
    finally:
        if collects:
            gc.enable()


def own_process() -> None:
    """Say that nobody else's objects are in this process.

    What is there once TensorFlow is loaded is then left out for good when Python looks for garbage, which
    takes a third of a second otherwise. A library must not do so with what its user has.
    """
    global _process_is_ours
    _process_is_ours = True


@cache
def litert() -> Any:
    """Import LiteRT's interpreter module."""
    with _importing():
        from ai_edge_litert import interpreter

    return interpreter


@cache
def tensorflow() -> Any:
    """Import tensorflow with Keras 2 as ``tf.keras``, which tfmot 0.8 needs."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
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
    return tf_keras


@cache
def tfmot() -> Any:
    """Import tensorflow_model_optimization."""
    keras()
    with _importing():
        import tensorflow_model_optimization

    return tensorflow_model_optimization


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


def prune_registry() -> Any:
    """tfmot's table of layers and the weights it prunes in them; not part of its public names (0.8.1)."""
    tfmot()
    from tensorflow_model_optimization.python.core.sparsity.keras import prune_registry as module

    return module.PruneRegistry


def set_seed(*seed: int) -> None:
    """Seed Python, NumPy and TensorFlow from whole numbers, such as the run's seed and a phase's number."""
    keras().utils.set_random_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
