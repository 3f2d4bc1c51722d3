"""The cells of a grid: every combination of the values that are swept, counted before they are listed."""

from collections.abc import Iterable, Sequence
from math import ceil, isfinite, prod
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf

from pruneflow.command.keys import is_group
from pruneflow.errors import ConfigError

MOST_CELLS = 1_000  # each is composed and checked before the first one starts


def swept_in_yaml(settings: DictConfig) -> list[Override]:
    """Return the overrides that ``hydra.sweeper.params`` adds to a sweep."""
    params = OmegaConf.select(settings, "hydra.sweeper.params") or {}
    return OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])


def check_swept(overrides: Iterable[Override]) -> None:
    """Refuse ranges without a value or an end, and a glob where there is no group of options."""
    for override in overrides:
        value, key = override.value(), override.key_or_group
        if isinstance(value, Glob) and not is_group(key):
            problem = f"glob lists the options of a group, and {key} is a key"
            raise ConfigError(f"{override.input_line}: {problem}. Write its values, such as {key}=a,b.")
        if isinstance(value, RangeSweep) and not _ends(value):
            raise ConfigError(f"{override.input_line}: it never ends. Take finite numbers, and a step but 0.")
        if override.is_sweep_override() and not _count(override):
            raise ConfigError(f"{override.input_line}: there is no value in it. Give one or more.")


def cells(overrides: Sequence[Override]) -> list[list[str]]:
    """Overrides of each cell of a grid, as Hydra's own sweeper makes them.

    Args:
        overrides: All of the command line; of the same key the last one counts.

    Raises:
        ConfigError: if there are too many, or a range of all numbers between two.
    """
    last = {override.get_key_element(): override for override in overrides}.values()
    for override in last:
        if isinstance(override.value(), IntervalSweep):
            remedy = "Take hydra/sweeper=optuna, or list values."
            raise ConfigError(f"{override.input_line}: a grid takes no interval. {remedy}")
    count = prod(_count(override) for override in last if override.is_sweep_override())
    if count > MOST_CELLS:
        problem = f"The sweep has {count:,} cells; allowed are {MOST_CELLS:,}"
        raise ConfigError(f"{problem}. Give fewer values, or split it into several sweeps.")
    return [list(cell) for cell in BasicSweeper.split_arguments(list(overrides), max_batch_size=None)[0]]


def _ends(sweep: RangeSweep) -> bool:
    return bool(sweep.step) and all(isfinite(each or 0) for each in (sweep.start, sweep.stop, sweep.step))


def _count(override: Override) -> int:
    """Return the number of values of an override; 1 for an interval."""
    value = override.value()
    if isinstance(value, RangeSweep):
        steps: Any = value.range()  # of whole numbers, or of decimals
        return int(max(0, ceil((steps.stop - steps.start) / steps.step)))
    return 1 if isinstance(value, IntervalSweep) else sum(1 for _ in override.sweep_string_iterator())
