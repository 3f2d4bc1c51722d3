"""Options of other packages: modules that the entry-point group ``pruneflow.options`` names are imported."""

from functools import cache
from importlib.metadata import entry_points

from pruneflow.errors import PruneflowError

GROUP = "pruneflow.options"


@cache
def load() -> tuple[str, ...]:
    """Import every module that an installed package names, once.

    A module registers its options with ``pruneflow.options.option``; the YAML that chooses them comes with
    ``--config-dir`` or a search-path plugin of Hydra.

    Returns:
        Names of the entry points.
    """
    found = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    for entry in found:
        try:
            entry.load()
        except Exception as error:
            package = entry.dist.name if entry.dist else entry.value
            raise PruneflowError(
                f"The options of the installed package {package} cannot be loaded: {entry.value}: "
                f"{type(error).__name__}: {error}. Mend it, or uninstall it with pip uninstall {package}."
            ) from error
    return tuple(entry.name for entry in found)
