"""Code that settings name: what a YAML file may name, and what has to be typed.

Hydra calls each ``_target_`` below its callbacks, launcher and sweeper, and each factory in its logging. A
YAML file may come from somebody else, with an experiment; so each of these is first looked up in a list.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from pruneflow.errors import ConfigError

ALLOWED = re.compile(
    r"hydra_plugins\.\w+\.\w+\.\w+(Launcher|Sweeper)|hydra\._internal\.core_plugins\.\w+\.\w+|"
    r"hydra\.experimental\.callbacks\.\w+|optuna\.samplers\.\w+|"
    r"pruneflow\.command\.\w+\.\w+Sweeper|"
    r"logging\.(StreamHandler|FileHandler|NullHandler|Formatter|handlers\.(Timed)?RotatingFileHandler)|"
    r"colorlog\.ColoredFormatter"
)
CALLED = ("_target_", "()", "class")  # keys whose value is imported and called
INTO_OBJECTS = re.compile(r"(ext|cfg)://(?!sys\.std(out|err)$)")  # what logging replaces by an object
BY_HYDRA = ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging")
TYPED = ("model.factory", "dataset.factory", "hydra.sweeper.custom_search_space")
# Environment variables that set numbers and switches; others name libraries and modules to load.
ENVIRONMENT = re.compile(
    r"TF_(NUM|CPP|FORCE|GPU|ENABLE|DETERMINISTIC|CUDNN)_\w+|(OMP|MKL|KMP|OPENBLAS|NUMEXPR)_\w*THREADS|"
    r"CUDA_(VISIBLE_DEVICES|DEVICE_ORDER)|PRUNEFLOW_DATA_DIR"
)


def check(config: DictConfig, typed: Collection[str]) -> None:
    """Refuse settings by which a file would run code; nothing that they name has been imported yet.

    Args:
        config: What Hydra composed, with its own settings where there are any.
        typed: Keys that stand on the command line, or in the words that the library was given.
    """
    for key in TYPED:
        value = OmegaConf.select(config, key)
        if value is not None and key not in typed:
            raise _not_typed(key, value, "a YAML file names code to run")
    for name in OmegaConf.select(config, "hydra.job.env_set") or {}:
        key = f"hydra.job.env_set.{name}"
        if not ENVIRONMENT.fullmatch(str(name)) and not {key, "hydra.job.env_set"} & {*typed}:
            value = OmegaConf.select(config, key)
            raise _not_typed(key, value, "a YAML file sets a variable that may name code to load")
    if "hydra" in config:
        _check_below(config.hydra, "hydra", BY_HYDRA)


def _check_below(node: Any, key: str, names: Iterable[Any]) -> None:
    """Look at everything below a node before any of it is used."""
    for name in names:
        held, inner = node._get_node(name), f"{key}.{name}"
        if held is None or held._is_none() or held._is_missing():
            continue
        if held._is_interpolation():
            _check_reference(inner, held._value(), _resolved(node, name))
        elif isinstance(held, DictConfig):
            _check_below(held, inner, held)
        elif isinstance(held, ListConfig):
            _check_below(held, inner, range(len(held)))
        elif (_is_called(inner) and not ALLOWED.fullmatch(str(held))) or INTO_OBJECTS.match(str(held)):
            raise _refused(inner, held)


def _check_reference(key: str, text: str, value: Any) -> None:
    """Refuse a reference that may stand for code: what it gives may have changed when Hydra asks again."""
    items = value if isinstance(value, ListConfig) else [value]
    nested = any(isinstance(each, (DictConfig, ListConfig)) for each in items)
    unknown = value is None and text.startswith("${") and text.endswith("}")
    in_logging = "_logging." in key and not key.endswith(".filename")
    if nested or unknown or in_logging or _is_called(key):
        raise _refused(key, text)


def _resolved(node: Any, name: Any) -> Any:
    try:
        return node[name]
    except Exception:  # of any kind, as resolvers raise them; some are known while a run goes on only
        return None


def _is_called(key: str) -> bool:
    return key.rpartition(".")[2] in CALLED


def _refused(key: str, value: object) -> ConfigError:
    problem = "a config may name only Hydra's own code and that of its plugins"
    remedy = "Leave it out; with the library, a function of yours can call pruneflow.run."
    return ConfigError.of(key, value, problem, remedy)


def _not_typed(key: str, value: object, problem: str) -> ConfigError:
    return ConfigError.of(key, value, problem, f"If you trust it, type {key}={value} too.")
