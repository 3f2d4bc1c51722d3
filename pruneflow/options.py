"""One mechanism for options: a dataclass, registered under a config group and a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from pruneflow.errors import ConfigError, PruneflowError

__all__ = ["choices", "open_mapping", "option", "require", "require_one_of"]

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
        taken = _registered.get(group, {}).get(name)
        if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise PruneflowError(
                f"{group}={name} is registered twice: by {taken.__module__} and by {cls.__module__}. "
                "Give one of them another name."
            )
        cls.option_name = name  # type: ignore[attr-defined]
        _registered.setdefault(group, {})[name] = cls
        ConfigStore.instance().store(group=f"schema/{group}", name=name, node=cls)
        return cls

    return register


def open_mapping(element_type: Any) -> Any:
    """An empty mapping for a field, which takes ``key={new:value}``, where Hydra wants a ``+`` for new keys.

    Args:
        element_type: Type of its values.
    """
    return DictConfig({}, key_type=str, element_type=element_type, flags={"struct": False})


def choices(group: str) -> dict[str, Any]:
    """The registered options of a group, by name."""
    return _registered.get(group, {})


_registered: dict[str, dict[str, Any]] = {}


def require(condition: bool, key: str, value: object, problem: str, remedy: str) -> None:
    """Refuse a setting unless ``condition`` holds.

    Raises:
        ConfigError: with key, value, what is allowed and what to do.
    """
    if not condition:
        raise ConfigError.of(key, value, problem, remedy)


def require_one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a word that is not among ``allowed``.

    Raises:
        ConfigError: listing them.
    """
    require(
        isinstance(value, str) and value in allowed,
        key,
        value,
        f"allowed are {', '.join(allowed)}",
        "Pick one of these.",
    )
