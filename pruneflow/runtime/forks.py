"""A check for processes forked from one that had used TensorFlow: the threads of that one are not here."""

import os
import sys

from pruneflow.errors import ConfigError

_inherited = False


def require_own_tensorflow(what: str) -> None:
    """Refuse work in which TensorFlow would wait for threads that do not exist.

    Args:
        what: The work, such as ``"run"``.
    """
    if _inherited:
        raise ConfigError(
            f"{what}: this process was forked from one that had used TensorFlow, which cannot go on in both. "
            'Start it with multiprocessing.get_context("spawn"), or as a command of its own.'
        )


def _look() -> None:
    """Note in a new child what it inherits; TensorFlow that was imported and not used has no threads yet."""
    global _inherited
    context = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)  # tensorflow 2.21
    _inherited = bool(getattr(context, "_initialized", False))


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_look)
