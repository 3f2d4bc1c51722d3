"""Plugins of Hydra: which are installed, which extra brings them, and that conf/hydra/ counts for them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import reduce
from itertools import chain

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pruneflow.command.goal import GoalSweeper
from pruneflow.command.plugin_rules import check_rules
from pruneflow.command.yaml_answers import allowed_by
from pruneflow.errors import ConfigError
from pruneflow.options import require
from pruneflow.runtime import extensions

__all__ = ["check", "package_of", "prefer_own_yaml"]


@dataclass(frozen=True)
class Plugin:
    """A plugin that conf/hydra/ has settings for.

    Attributes:
        extra: Extra of pruneflow that installs it.
        settings: What conf/hydra/ has for it.
    """

    extra: str
    settings: tuple[str, ...]


_PLUGINS = {
    "hydra_plugins.hydra_joblib_launcher": Plugin("parallel", ("launcher/joblib",)),
    "hydra_plugins.hydra_ray_launcher": Plugin("ray", ("launcher/ray",)),
    "hydra_plugins.hydra_submitit_launcher": Plugin(
        "slurm", ("launcher/submitit_local", "launcher/submitit_slurm")
    ),
    "hydra_plugins.hydra_optuna_sweeper": Plugin("optuna", ("sweeper/optuna", "sweeper/sampler/tpe")),
}


def package_of(node: DictConfig) -> str:
    """The package that a launcher or a sweeper comes from, ``hydra_plugins.<name>``."""
    return ".".join(str(node._target_).split(".")[:2])


def check(settings: DictConfig) -> None:
    """Refuse a launcher or a sweeper whose plugin is not there, and what the plugin's settings cannot hold.

    Args:
        settings: Hydra's settings.

    Raises:
        ConfigError: naming the extra that brings it, or the key.
    """
    for kind in ("launcher", "sweeper"):
        choice = settings.runtime.choices[f"hydra/{kind}"]
        require(bool(settings[kind]), f"hydra.{kind}", settings[kind], "none is chosen", "Leave it out.")
        package = package_of(settings[kind])
        if package in _PLUGINS and not _is_installed(package):
            extra = _PLUGINS[package].extra
            remedy = f'pip install "pruneflow[{extra}]" (pip install -e ".[{extra}]" in a checkout)'
            problem = f"{package.rpartition('.')[2]} is not installed"
            raise ConfigError.of(f"hydra/{kind}", choice, problem, f"Install it with {remedy}.")
        _check_class(kind, settings[kind]._target_)
        _check_types(settings[kind], f"{kind}/{choice}")
        check_rules(settings[kind], f"{kind}/{choice}")


def _check_class(kind: str, target: str) -> None:
    """Refuse what is no class that can be imported."""
    try:
        get_class(target)
    except Exception as error:  # of any kind, as of the module
        problem = "there is no such class"
        raise ConfigError.of(f"hydra.{kind}._target_", target, problem, "Leave it out.") from error


def _check_types(node: DictConfig, name: str) -> None:
    """Hold single values against the types that the plugin registered."""
    schema = _registered.get(name, OmegaConf.create())
    for key, value in OmegaConf.to_container(node, resolve=False).items():  # type: ignore[union-attr]
        if schema and key not in (known := list(map(str, schema))):
            problem = f"there is no such key; it has {', '.join(known)}"
            raise ConfigError.of(f"hydra.{name.split('/')[0]}.{key!s}", value, problem, "Leave it out.")
        try:
            if not isinstance(value, dict):
                OmegaConf.update(schema.copy(), str(key), value)
        except OmegaConfBaseException as error:
            typed, remedy = f"hydra.{name.split('/')[0]}.{key!s}", f"See conf/hydra/{name}.yaml."
            raise ConfigError.of(typed, value, allowed_by(str(error)), remedy) from error


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # no plugin at all
        return False


def _is_plugin(name: str) -> bool:
    """Return whether Hydra may make a class; version 1.3 would take none of ours."""
    return name.startswith(("hydra_plugins.", "hydra._internal.core_plugins.", "pruneflow.command."))


def prefer_own_yaml() -> None:
    """Take back the settings that plugins register under names that conf/hydra/ has too.

    Hydra 1.3 would hold the files against them, with a warning, and refuse those of Optuna.
    """
    extensions.load()
    Plugins.instance().register(GoalSweeper)
    Plugins.is_in_toplevel_plugins_module = staticmethod(_is_plugin)  # type: ignore[method-assign,assignment]
    store = ConfigStore.instance().repo["hydra"]
    for name in chain.from_iterable(plugin.settings for plugin in _PLUGINS.values()):
        *groups, choice = name.split("/")
        place = reduce(lambda place, group: place.get(group, {}), groups, store)
        if entry := place.pop(f"{choice}.yaml", None):
            _registered[name] = entry.node


_registered: dict[str, DictConfig] = {}
