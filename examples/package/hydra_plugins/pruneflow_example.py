"""Tells Hydra where the YAML of this package lies."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class PruneflowExample(SearchPathPlugin):
    """Adds ``pruneflow_example/conf``."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder behind pruneflow's own."""
        search_path.append(provider="pruneflow-example", path="pkg://pruneflow_example.conf")
