"""One mechanism for options: a dataclass, registered under a config group and a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from math import inf
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from pruneflow.errors import ConfigError, PruneflowError

T = TypeVar("T")

MOST_WHOLE = 2**31 - 1  # what int32 holds
MOST_FLOAT = 3e38  # what float32 holds
MOST_THREADS = 1024


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


def at_most(most: float) -> Any:
    """A field for numbers up to ``most``, which `check_values` holds them against."""
    return field(metadata={"most": most})


def check_values(settings: Any, prefix: str = "") -> None:
    """Refuse what no option can use: numbers out of all proportion, and texts with a null character.

    Without `at_most`, whole numbers must fit into int32, others into float32.

    Args:
        settings: A dataclass of settings, which may hold others.
        prefix: What its keys begin with on the command line, such as ``"latency."``.
    """
    for each in fields(settings):
        key, value = f"{prefix}{each.name}", getattr(settings, each.name)
        if is_dataclass(value):
            check_values(value, f"{key}.")
        for item in value if isinstance(value, (list, tuple)) else [value]:
            problem = _problem(item, each.metadata.get("most"))
            require(not problem, key, value, problem, "Take another one.")


def _problem(value: object, most: float | None) -> str:
    if isinstance(value, str) and "\0" in value:
        return "a null character is in it"
    if isinstance(value, (int, float)):
        most = most or (MOST_WHOLE if isinstance(value, int) else MOST_FLOAT)
        return "" if abs(value) <= most else f"allowed are numbers up to {most}"
    return ""


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
    """Refuse a word that is not among ``allowed``."""
    known = isinstance(value, str) and value in allowed
    require(known, key, value, f"allowed are {', '.join(allowed)}", "Pick one of these.")


@dataclass(frozen=True)
class Numbers:
    """Numbers that a setting may be.

    Attributes:
        words: What messages say of them; null is allowed where they name it.
        hold: Whether a number is among them.
    """

    words: str
    hold: Callable[[float], bool]

    def said(self, words: str) -> Numbers:
        """Return the same numbers in other words, with ``{}`` in place of these."""
        return Numbers(words.format(self.words), self.hold)


ABOVE_0 = Numbers("allowed are numbers above 0", lambda value: value > 0)
FINITE_ABOVE_0 = Numbers(ABOVE_0.words, lambda value: 0 < value < inf)
FROM_0_TO_1 = Numbers("allowed are numbers from 0 to 1", lambda value: 0 <= value <= 1)
BETWEEN_0_AND_1 = Numbers("allowed are numbers between 0 and 1", lambda value: 0 < value < 1)
BELOW_1 = Numbers("allowed are numbers from 0 up to, not including, 1", lambda value: 0 <= value < 1)
SPARSITY = BELOW_1.said("sparsity is the fraction of zeros; {}")


def whole_from(least: int, most: int | None = None) -> Numbers:
    """Whole numbers from ``least`` on, up to ``most``."""
    words = f"allowed are whole numbers from {least}" + ("" if most is None else f" to {most}")
    return Numbers(words, lambda value: least <= value <= (inf if most is None else most))


def require_number(key: str, value: float | None, allowed: Numbers, remedy: str) -> None:
    """Refuse a number that is not among ``allowed``."""
    holds = "null" in allowed.words if value is None else allowed.hold(value)
    require(holds, key, value, allowed.words, remedy)
