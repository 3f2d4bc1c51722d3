"""Plugins of Hydra: which are installed, which extra brings them, and that conf/hydra/ counts for them."""

import importlib.util
from dataclasses import dataclass
from functools import reduce
from importlib.metadata import version
from itertools import chain

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pruneflow.command import optuna_sweeper
from pruneflow.command.goal import GoalSweeper
from pruneflow.command.plugin_rules import check_rules
from pruneflow.command.yaml_answers import allowed_by
from pruneflow.errors import ConfigError
from pruneflow.options import require
from pruneflow.runtime import extensions


@dataclass(frozen=True)
class Plugin:
    """A plugin that conf/hydra/ has settings for.

    Attributes:
        extra: Extra of pruneflow that installs it.
        module: What must be there to import.
        settings: What conf/hydra/ has for it.
    """

    extra: str
    module: str
    settings: tuple[str, ...]


_SAMPLERS = ("cmaes", "grid", "nsgaii", "random", "tpe")
_PLUGINS = {
    "hydra_plugins.hydra_joblib_launcher": Plugin(
        "parallel", "hydra_plugins.hydra_joblib_launcher", ("launcher/joblib",)
    ),
    "hydra_plugins.hydra_ray_launcher": Plugin("ray", "hydra_plugins.hydra_ray_launcher", ("launcher/ray",)),
    "hydra_plugins.hydra_submitit_launcher": Plugin(
        "slurm",
        "hydra_plugins.hydra_submitit_launcher",
        ("launcher/submitit_local", "launcher/submitit_slurm"),
    ),
    "pruneflow.command.optuna_sweeper": Plugin(
        "optuna",
        "optuna",
        ("sweeper/optuna", *(f"sweeper/sampler/{name}" for name in _SAMPLERS)),
    ),
}
REPLACED = "hydra_plugins.hydra_optuna_sweeper"  # a sweeper of others, for Optuna 2
OPTUNA = 5  # what the sweeper needs: trials with constraints


def package_of(node: DictConfig) -> str:
    """The package that a launcher or a sweeper comes from, ``hydra_plugins.<name>``."""
    return ".".join(str(node._target_).split(".")[:2])


def check(settings: DictConfig) -> None:
    """Refuse a launcher or a sweeper without its plugin, and what the plugin's settings cannot hold."""
    for kind in ("launcher", "sweeper"):
        choice = settings.runtime.choices[f"hydra/{kind}"]
        require(bool(settings[kind]), f"hydra.{kind}", settings[kind], "none is chosen", "Leave it out.")
        _require_installed(str(settings[kind]._target_), f"hydra/{kind}", choice)
        _check_class(kind, settings[kind]._target_)
        _check_types(settings[kind], f"{kind}/{choice}")
        check_rules(settings[kind], f"{kind}/{choice}")


def _require_installed(target: str, key: str, choice: str) -> None:
    """Refuse a plugin that is not there, an Optuna that is too old, and the sweeper that was used before."""
    problem, remedy = "pruneflow has a sweeper of its own", "Write hydra/sweeper=optuna."
    replaced = target.startswith(f"{REPLACED}.")
    require(not replaced, f"{key.replace('/', '.')}._target_", target, problem, remedy)
    plugin = _PLUGINS.get(target.rpartition(".")[0]) or _PLUGINS.get(".".join(target.split(".")[:2]))
    if plugin is None:
        return
    remedy = f'pip install "pruneflow[{plugin.extra}]" (pip install -e ".[{plugin.extra}]" in a checkout)'
    name, there = plugin.module.rpartition(".")[2], _is_installed(plugin.module)
    require(there, key, choice, f"{name} is not installed", f"Install it with {remedy}.")
    if name == "optuna":
        found = version(name)
        problem = f"Optuna {found} is installed, and {OPTUNA} is needed"
        require(int(found.split(".")[0]) >= OPTUNA, key, choice, problem, f"Install it with {remedy}.")


def _check_class(kind: str, target: str) -> None:
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

    Hydra 1.3 would hold the files against them, with a warning.
    """
    extensions.load()
    for sweeper in (GoalSweeper, optuna_sweeper.OptunaSweeper):
        Plugins.instance().register(sweeper)
    Plugins.is_in_toplevel_plugins_module = staticmethod(_is_plugin)  # type: ignore[method-assign,assignment]
    store = ConfigStore.instance().repo["hydra"]
    for name in chain.from_iterable(plugin.settings for plugin in _PLUGINS.values()):
        *groups, choice = name.split("/")
        place = reduce(lambda place, group: place.get(group, {}), groups, store)
        if entry := place.pop(f"{choice}.yaml", None):
            _registered.setdefault(name, entry.node)


_registered: dict[str, DictConfig] = {"sweeper/optuna": OmegaConf.structured(optuna_sweeper.OptunaSettings)}
