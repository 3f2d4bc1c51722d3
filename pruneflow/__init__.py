"""pruneflow: train, prune and export TensorFlow models, and say with numbers what was gained.

As a library: `run` does what the command line does; `prune` and `export` serve a ``fit`` of one's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pruneflow.runtime import forks as forks  # looks at what a forked process inherits, from now on

if TYPE_CHECKING:
    from pruneflow.api import Pruned, compose, export, prune, run
    from pruneflow.errors import ConfigError, DataError, PruneflowError

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "DataError",
    "Pruned",
    "PruneflowError",
    "__version__",
    "compose",
    "export",
    "prune",
    "run",
]

_ERRORS = ("ConfigError", "DataError", "PruneflowError")


def __getattr__(name: str) -> Any:
    """Load what is asked for: importing pruneflow alone stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'pruneflow' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"pruneflow.{'errors' if name in _ERRORS else 'api'}"), name)
