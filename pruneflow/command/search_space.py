"""The space of a search: each range and list that was typed, as a distribution of Optuna."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from math import ceil
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from pruneflow.errors import ConfigError


def space_of(overrides: Sequence[Override]) -> tuple[dict[str, Any], list[str]]:
    """Divide a command line into the keys that are searched and the words that all cells share.

    Args:
        overrides: All of it; of the same key the last one counts.

    Returns:
        Distribution of each key, and the other words.

    Raises:
        ConfigError: for a range that Optuna cannot use.
    """
    last = {override.key_or_group: override for override in overrides}.values()
    space = {each.get_key_element(): _distribution(each) for each in last if each.is_sweep_override()}
    return space, [each.input_line or "" for each in last if not each.is_sweep_override()]


def words_of(chosen: dict[str, Any]) -> list[str]:
    """Spell the values of a trial as overrides.

    >>> words_of({"export": "int8", "schedule.final_sparsity": 0.5})
    ['export=int8', 'schedule.final_sparsity=0.5']
    """
    return [f"{key}={value}" for key, value in chosen.items()]


def ends(sweep: RangeSweep) -> tuple[Any, Any]:
    """Return the lowest and the highest value of a range, which has the values that a grid takes.

    >>> ends(RangeSweep(start=1, stop=6, step=2)), ends(RangeSweep(start=0.5, stop=0.8, step=0.1))
    ((1, 5), (0.5, 0.7))
    """
    numbers = (sweep.start, sweep.stop, sweep.step)
    first, stop, step = (Decimal(str(number)) for number in numbers)
    last = first + step * (ceil((stop - first) / step) - 1)
    kind = int if all(isinstance(number, int) for number in numbers) else float
    return kind(min(first, last)), kind(max(first, last))


def grid_of(space: dict[str, Any]) -> dict[str, list[Any]]:
    """List the values of each key, for a search that takes them all.

    Raises:
        ConfigError: for a range of all numbers between two.
    """
    return {key: _values(key, distribution) for key, distribution in space.items()}


def _distribution(override: Override) -> Any:
    from optuna import distributions

    value = override.value()
    key, _, typed = (override.input_line or "").partition("=")
    with refusing(key, typed):
        if isinstance(value, IntervalSweep):
            return _numbers(value.start, value.end, log="log" in value.tags)
        if isinstance(value, RangeSweep):
            return _numbers(*ends(value), step=abs(value.step), log="log" in value.tags)
        return distributions.CategoricalDistribution(_choices(override))


def _numbers(low: Any, high: Any, *, log: bool, step: Any = None) -> Any:
    """The distribution of numbers; a range on a logarithmic scale has whole numbers in steps of 1."""
    from optuna import distributions

    if isinstance(low, int) and isinstance(high, int):
        return distributions.IntDistribution(low, high, log=log, step=step or 1)
    return distributions.FloatDistribution(low, high, log=log, step=step)


def _choices(override: Override) -> list[Any]:
    """List the values: numbers, and whatever else as it is typed; the search has its own order."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        override = replace(override, _value=replace(value, shuffle=False))
    pairs = zip(override.sweep_string_iterator(), override.sweep_iterator(), strict=True)
    return list({text: value if type(value) in (int, float) else text for text, value in pairs}.values())


def _values(key: str, distribution: Any) -> list[Any]:
    from optuna import distributions

    if isinstance(distribution, distributions.CategoricalDistribution):
        return list(distribution.choices)
    if distribution.step is None or distribution.log:
        problem = f"it takes lists and ranges, and {key} has an interval"
        raise ConfigError.of("hydra/sweeper/sampler", "grid", problem, "List values, or take tpe.")
    low, step = Decimal(str(distribution.low)), Decimal(str(distribution.step))
    count = int((Decimal(str(distribution.high)) - low) // step) + 1
    kind = type(distribution.low)
    return [kind(low + step * place) for place in range(count)]


@contextmanager
def refusing(key: str, value: object) -> Iterator[None]:
    """Turn whatever Optuna raises into a ConfigError."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ConfigError.of(key, value, f"Optuna cannot use it: {said}", "See docs/parallel.md.") from error
