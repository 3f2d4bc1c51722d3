"""One cell chosen in memory as Optuna will choose it: what it cannot use is refused before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig

from pruneflow.errors import ConfigError
from pruneflow.options import require

__all__ = ["check"]


def check(sweeper: DictConfig, directions: Sequence[str], ranges: Sequence[Override]) -> None:
    """Refuse ranges, a sampler, a storage and a function that Optuna 2.10 could not use.

    Args:
        sweeper: Settings of the plugin.
        directions: ``"maximize"`` or ``"minimize"``, for each objective.
        ranges: What is searched, as it was typed.

    Raises:
        ConfigError: naming the first.
    """
    if sweeper.storage:
        _check_storage(sweeper.storage)
    if sweeper.custom_search_space:
        _check_function(sweeper.custom_search_space)
    searched = _searched(sweeper, ranges)
    import optuna

    with _refusing("hydra/sweeper/sampler", str(sweeper.sampler._target_).rpartition(".")[2]):
        sampler = instantiate(sweeper.sampler)
        if isinstance(sampler, partial):  # the grid, which wants to know all values at once
            sampler = sampler({name: _values(each) for name, each in searched.items()})
        trial = optuna.create_study(sampler=sampler, directions=list(directions)).ask()
        for name, distribution in searched.items():
            trial._suggest(name, distribution)


def _searched(sweeper: DictConfig, ranges: Sequence[Override]) -> dict[str, Any]:
    """Optuna's distribution of each key."""
    from hydra_plugins.hydra_optuna_sweeper import _impl

    found = {}
    for key, value in (sweeper.search_space or {}).items():
        with _refusing("hydra.sweeper.search_space", f"{{{key}:{value}}}"):
            found[str(key)] = _impl.create_optuna_distribution_from_config(value)
    for override in ranges:
        key, _, typed = (override.input_line or "").partition("=")
        with _refusing(key, typed):
            found[override.get_key_element()] = _impl.create_optuna_distribution_from_override(override)
    return found


def _values(distribution: Any) -> Any:
    from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl

    return OptunaSweeperImpl._to_grid_sampler_choices(None, distribution)  # type: ignore[arg-type]


def _check_storage(storage: Any) -> None:
    """Refuse what is no address of a database, and a file in no folder; nothing is opened."""
    key, remedy = "hydra.sweeper.storage", "Write for instance sqlite:///search.db."
    require(isinstance(storage, str), key, storage, "it must be the address of a database", remedy)
    if storage.startswith("redis"):
        return
    from sqlalchemy.engine.url import make_url  # type: ignore[import-untyped]

    with _refusing(key, storage):
        address = make_url(storage)
        address.get_dialect().dbapi()
    folder = Path(address.database or ".").parent
    there = address.get_backend_name() != "sqlite" or folder.is_dir()
    require(there, key, storage, f"there is no folder {folder}", "Make it.")


def _check_function(name: str) -> None:
    try:
        get_method(name)
    except Exception as error:  # of any kind, as of the module
        problem, remedy = "there is no such function", "Write package.module.function."
        raise ConfigError.of("hydra.sweeper.custom_search_space", name, problem, remedy) from error


@contextmanager
def _refusing(key: str, value: object) -> Iterator[None]:
    """Turn whatever Optuna raises into one message."""
    try:
        yield
    except Exception as error:
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ConfigError.of(key, value, f"Optuna cannot use it: {said}", "See docs/parallel.md.") from error
