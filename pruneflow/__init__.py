"""pruneflow: train, prune and export TensorFlow models, and say with numbers what was gained.

As a library: `run` does what the command line does; `prune` and `export` serve a ``fit`` of one's own.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pruneflow.runtime import forks as forks  # looks at what a forked process inherits, from now on

if TYPE_CHECKING:
    from pruneflow.api import Pruned, compose, export, prune, run
    from pruneflow.datasets.augmentation import Augmentation
    from pruneflow.datasets.base import Dataset
    from pruneflow.datasets.spec import Data, Part, Spec, Targets
    from pruneflow.errors import ConfigError, DataError, PruneflowError
    from pruneflow.exports.base import Export
    from pruneflow.exports.judging import Exported
    from pruneflow.models.base import Model
    from pruneflow.options import option, require
    from pruneflow.sparsity.criteria import Criterion
    from pruneflow.sparsity.distributions import Distribution
    from pruneflow.sparsity.schedules import Rising, Schedule
    from pruneflow.sparsity.structures import Structure

__version__ = "0.1.0"

__all__ = [
    "Augmentation",
    "ConfigError",
    "Criterion",
    "Data",
    "DataError",
    "Dataset",
    "Distribution",
    "Export",
    "Exported",
    "Model",
    "Part",
    "Pruned",
    "PruneflowError",
    "Rising",
    "Schedule",
    "Spec",
    "Structure",
    "Targets",
    "__version__",
    "compose",
    "export",
    "option",
    "prune",
    "require",
    "run",
]

_HOMES = {
    "api": ("Pruned", "compose", "export", "prune", "run"),
    "datasets.augmentation": ("Augmentation",),
    "datasets.base": ("Dataset",),
    "datasets.spec": ("Data", "Part", "Spec", "Targets"),
    "errors": ("ConfigError", "DataError", "PruneflowError"),
    "exports.exporters": ("Export",),
    "exports.judging": ("Exported",),
    "models.base": ("Model",),
    "options": ("option", "require"),
    "sparsity.criteria": ("Criterion",),
    "sparsity.distributions": ("Distribution",),
    "sparsity.schedules": ("Rising", "Schedule"),
    "sparsity.structures": ("Structure",),
}


def __getattr__(name: str) -> Any:
    """Load what is asked for: importing pruneflow alone stays light."""
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'pruneflow' has no attribute {name!r}")
    return getattr(import_module(f"pruneflow.{home}"), name)
