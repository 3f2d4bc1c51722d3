"""One mechanism for options: a dataclass, registered under a config group and a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hydra.core.config_store import ConfigStore

from pruneflow.errors import ConfigError

__all__ = ["option", "require"]

T = TypeVar("T")


def option(group: str, name: str) -> Callable[[type[T]], type[T]]:
    """Register a dataclass as the typed schema ``schema/<group>/<name>``.

    A file ``conf/<group>/<name>.yaml`` whose defaults list starts with
    ``/schema/<group>/<name>@_here_`` then composes into an instance of the class.

    Args:
        group: Config group, such as ``"model"``.
        name: Spelling on the command line, such as ``"cnn"``.
    """

    def register(cls: type[T]) -> type[T]:
        cls.option_name = name  # type: ignore[attr-defined]
        ConfigStore.instance().store(group=f"schema/{group}", name=name, node=cls)
        return cls

    return register


def require(condition: bool, key: str, value: object, problem: str, remedy: str) -> None:
    """Refuse a setting unless ``condition`` holds.

    Raises:
        ConfigError: with key, value, what is allowed and what to do.
    """
    if not condition:
        raise ConfigError.of(key, value, problem, remedy)
