"""Versions of what may change a result."""

import importlib.metadata
import platform

from pruneflow import __version__

PACKAGES = (
    "tensorflow",
    "tf_keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "hydra-core",
    "omegaconf",
    "numpy",
    "zstandard",
)


def versions() -> dict[str, str]:
    """Versions of what may change a result."""
    return {"pruneflow": __version__, "python": platform.python_version(), **library_versions(*PACKAGES)}


def library_versions(*names: str) -> dict[str, str]:
    """Installed version of each distribution."""
    return {name: importlib.metadata.version(name) for name in names}
