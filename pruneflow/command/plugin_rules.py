"""Rules for settings of Hydra's plugins, which check little themselves, and late."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pruneflow.options import MOST_THREADS, MOST_WHOLE, require

RAY_LEAST_BYTES = 75 * 2**20
RAY_LONGEST_PATH = 43  # with the name of a session and a socket, a path may have 107 characters


@dataclass(frozen=True)
class Rule:
    """The values that a key may hold.

    Attributes:
        holds: Whether a value, which is not null, is allowed.
        null: Whether null is, or no such key.
    """

    allowed: str
    holds: Callable[[Any], bool]
    null: bool = False


def check_rules(node: DictConfig, name: str) -> None:
    """Hold a plugin's settings against its rules.

    Args:
        name: Where they stand in ``conf/hydra``, such as ``"launcher/joblib"``.
    """
    for key, rule in RULES.get(str(node._target_).rpartition(".")[2], {}).items():
        value = OmegaConf.select(node, key)
        holds = rule.null if value is None else rule.holds(value)
        allowed = f"allowed are {rule.allowed}" + (", or null" if rule.null else "")
        require(holds, f"hydra.{name.split('/')[0]}.{key}", value, allowed, f"See conf/hydra/{name}.yaml.")


def _whole(least: int, most: int = MOST_WHOLE, *, null: bool = False) -> Rule:
    allowed = f"whole numbers from {least} to {most}"
    return Rule(allowed, lambda value: _is_whole(value) and least <= value <= most, null)


def _share(*, null: bool = False) -> Rule:
    return Rule("numbers from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1, null)


def _number(least: float, *, null: bool = False) -> Rule:
    return Rule(f"numbers above {least:g}", lambda value: _is_number(value) and value > least, null)


def _words(*words: str | bool) -> Rule:
    return Rule(", ".join(str(word) for word in words).lower(), lambda value: value in words, null=True)


def _text(pattern: str, allowed: str, *, null: bool = True) -> Rule:
    return Rule(allowed, lambda value: re.fullmatch(pattern, str(value)) is not None, null)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_JOBLIB = {
    "n_jobs": Rule(
        f"whole numbers but 0, up to {MOST_THREADS}",
        lambda value: _is_whole(value) and 0 < abs(value) <= MOST_THREADS,
    ),
    "backend": _words("loky", "multiprocessing"),  # cells need processes of their own
    "prefer": _words("processes"),
    "require": Rule("none", lambda value: False, null=True),
    "verbose": _whole(0, null=True),
    "timeout": _number(0, null=True),
    "pre_dispatch": _text(r"all|[1-9]\d*|([1-9]\d* ?\* ?)?n_jobs", "all, 8, n_jobs, 2*n_jobs"),
    "batch_size": _text(r"auto|[1-9]\d{0,8}", "whole numbers from 1, auto"),
    "max_nbytes": _text(r"\d+[KMG]?", "bytes, such as 1M"),
    "mmap_mode": _words("r", "r+", "w+", "c"),
}
_SUBMITIT = {
    "submitit_folder": _text(r"(?s).+", "folders", null=False),
    "name": _text(r"(?s).+", "names", null=False),
    "timeout_min": _whole(1),
    "cpus_per_task": _whole(1, null=True),
    "gpus_per_node": _whole(0, null=True),
    "tasks_per_node": _whole(1, MOST_THREADS),
    "mem_gb": _whole(1, null=True),
    "nodes": _whole(1),
}
_SIZE = r"\d+(\.\d+)?[KMGT]?B?"
_SLURM = {
    "array_parallelism": _whole(1),
    "cpus_per_gpu": _whole(1, null=True),
    "gpus_per_task": _whole(0, null=True),
    "mem_per_gpu": _text(_SIZE, "sizes such as 16G"),
    "mem_per_cpu": _text(_SIZE, "sizes such as 2G"),
    "signal_delay_s": _whole(0),
    "max_num_timeout": _whole(0),
    "partition": _text(r"\S+", "names"),
    "qos": _text(r"\S+", "names"),
    "account": _text(r"\S+", "names"),
}
_RAY = {
    "ray.init": Rule("keys and values", lambda value: isinstance(value, DictConfig)),
    "ray.remote": Rule("keys and values", lambda value: isinstance(value, DictConfig)),
    "ray.init.include_dashboard": _words(True, False),
    "ray.init.log_to_driver": _words(True, False),
    "ray.init.address": _text(r"\S+", "auto, HOST:PORT"),
    "ray.init.logging_level": _whole(0, 50, null=True),
    "ray.init.object_store_memory": _whole(RAY_LEAST_BYTES, 2**63 - 1, null=True),
    "ray.init._temp_dir": _text(
        rf"/.{{1,{RAY_LONGEST_PATH - 1}}}", f"whole paths of at most {RAY_LONGEST_PATH} characters"
    ),
    "ray.remote.num_cpus": _number(0, null=True),
    "ray.remote.num_gpus": Rule("numbers from 0", lambda value: _is_number(value) and value >= 0, null=True),
    "ray.remote.max_retries": _whole(-1, null=True),
}
_OPTUNA = {
    "n_trials": _whole(1, 100_000),
    "n_jobs": _whole(1, MOST_THREADS),
    "max_failure_rate": _share(),
    "study_name": _text(r"(?s).+", "names"),
    "sampler.n_startup_trials": _whole(0, null=True),
    "sampler.n_ei_candidates": _whole(1, 100_000, null=True),
    "sampler.population_size": _whole(2, 100_000, null=True),
    "sampler.mutation_prob": _share(null=True),
    "sampler.crossover_prob": _share(null=True),
    "sampler.swapping_prob": _share(null=True),
    "sampler.sigma0": _number(0, null=True),
    "sampler.popsize": _whole(2, 100_000, null=True),
    "sampler.seed": _whole(0, 2**32 - 1, null=True),
}

RULES: dict[str, dict[str, Rule]] = {
    "JoblibLauncher": _JOBLIB,
    "LocalLauncher": _SUBMITIT,
    "SlurmLauncher": _SUBMITIT | _SLURM,
    "RayLauncher": _RAY,
    "BasicSweeper": {"max_batch_size": _whole(1, null=True)},
    "OptunaSweeper": _OPTUNA,
}
"""Keys of each class that ``conf/hydra`` names, and of Hydra's own sweeper."""
