"""What a command line asks for: every cell composed and checked before anything is written."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pruneflow.config import Config, config_folder, from_hydra
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.options import require
from pruneflow.sweep import FAILURE_FILE, cell_name, outcomes, write_csv

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """One run, or the cells of a sweep.

    Attributes:
        cells: Overrides of each cell; one entry where it is no sweep.
        constant_keys: Keys with one value in all cells.
        sweep: Whether it is a sweep.
        folder: Folder of the run or the sweep.
        configs: Each cell's settings, typed and checked as far as that goes without data.
    """

    cells: list[list[str]]
    constant_keys: list[str]
    sweep: bool
    folder: Path
    configs: list[Config]

    @classmethod
    def of(cls, parsed: Any) -> Job:
        """Compose every cell.

        Args:
            parsed: What Hydra's parser made of the command line.

        Raises:
            HydraException: for what Hydra refuses.
            ConfigError: for settings that cannot be used, and a folder that holds a run already.
        """
        with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            typed = OverridesParser.create(config_loader=loader).parse_overrides(parsed.overrides)
            fixed = [override.input_line or "" for override in typed if not override.is_sweep_override()]
            compose = partial(_compose, parsed.config_name or "config", search_path=_search_path(parsed))
            settings = compose(fixed if parsed.multirun else parsed.overrides)
            sweep = bool(parsed.multirun or settings.hydra.mode == RunMode.MULTIRUN)
            swept = [*_swept_in_yaml(settings), *typed]
            cells = _cells(swept) if sweep else [list(parsed.overrides)]
            configs = [from_hydra(_bare(compose(cell))) for cell in cells]
            folder = _folder(settings, "hydra.sweep.dir" if sweep else "hydra.run.dir", typed)
        constant = [override.key_or_group for override in swept if not override.is_sweep_override()]
        return cls(cells, constant, sweep, folder, configs)

    @property
    def pinned(self) -> list[str]:
        """Overrides that make Hydra use the folder and the cell names that were checked here."""
        key = "hydra.sweep.dir" if self.sweep else "hydra.run.dir"
        pinned = [f"{key}={_quoted(str(self.folder))}"]
        if self.sweep and self.constant_keys:
            keys = ",".join(_quoted(key) for key in self.constant_keys)
            pinned.append(f"hydra.job.config.override_dirname.exclude_keys=[{keys}]")
        return pinned

    @property
    def names(self) -> list[str]:
        """Folder name of each cell."""
        return [cell_name(cell, self.constant_keys) for cell in self.cells]

    def check(self) -> None:
        """Refuse, before anything is written, what any cell could not do.

        Raises:
            PruneflowError: for the first cell that cannot run.
        """
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise ConfigError(
                f"The sweep has the same cell twice: {', '.join(sorted(twice))}. Give each value once."
            )
        _require_writable(self.folder)
        from pruneflow import pipeline

        for config in self.configs:
            pipeline.prepare(config)

    def report(self) -> bool:
        """Say how it went; for a sweep in one table and in ``sweep.csv``.

        Returns:
            Whether every cell is done.
        """
        if not self.sweep:
            return (self.folder / "result.json").exists()
        from pruneflow import tables

        own = [[word for word in cell if not _is_of_hydra(word)] for cell in self.cells]
        cells = outcomes(self.folder, dict(zip(self.names, own, strict=True)))
        write_csv(self.folder / "sweep.csv", cells)
        tables.show_sweep(cells, self.folder)
        return not any(cell.failure for cell in cells)


def _compose(name: str, overrides: Sequence[str], *, search_path: list[str]) -> DictConfig:
    try:
        composed = hydra.compose(name, [*overrides, *search_path], return_hydra_config=True)
    except (ValueError, AttributeError) as error:  # how Hydra refuses group=null and some malformed overrides
        reason = str(error) if isinstance(error, ValueError) else "Hydra cannot merge this into its settings"
        raise ConfigError(f"{' '.join(overrides)}: {reason}. Write group=choice or key=value.") from error
    HydraConfig.instance().set_config(composed)  # for ${hydra:...} in what is read from it
    return composed


def _swept_in_yaml(settings: DictConfig) -> list[Override]:
    """What ``hydra.sweeper.params`` adds to a sweep."""
    params = OmegaConf.select(settings, "hydra.sweeper.params") or {}
    return OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])


def _bare(config: DictConfig) -> DictConfig:
    bare = config.copy()
    OmegaConf.set_struct(bare, False)
    del bare["hydra"]
    return bare


def _cells(overrides: list[Override]) -> list[list[str]]:
    """Overrides of each cell of a grid, as Hydra's own sweeper makes them."""
    batches = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return [list(cell) for cell in batches[0]]


def _is_of_hydra(override: str) -> bool:
    """Whether an override is for Hydra, which keeps such apart from those of the job."""
    return override.lstrip("+~").startswith(("hydra.", "hydra/"))


def _search_path(parsed: Any) -> list[str]:
    if not parsed.config_dir:
        return []
    folder = Path(parsed.config_dir).absolute()
    require(folder.is_dir(), "--config-dir", parsed.config_dir, "there is no such folder", "Name one.")
    return [f"hydra.searchpath=[{_quoted(f'file://{folder}')}]"]


def _folder(settings: DictConfig, key: str, typed: Sequence[Override]) -> Path:
    """Where the run or the sweep goes: a folder that holds none yet."""
    wanted = Path(OmegaConf.select(settings, key))
    chosen = any(override.key_or_group == key for override in typed)
    return _without_a_run(wanted, key) if chosen else _unused(wanted)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unused(folder: Path) -> Path:
    """``folder``, or the first of ``folder-2``, ``folder-3`` ... that is not there: a clock may jump back."""
    names = itertools.chain([folder.name], (f"{folder.name}-{count}" for count in itertools.count(2)))
    return next(folder.with_name(name) for name in names if not folder.with_name(name).exists())


def _without_a_run(folder: Path, key: str) -> Path:
    """Refuse a folder that a run would write over, finished or not."""
    names = ("result.json", FAILURE_FILE, "dense", "pruned")
    taken = any((place / name).exists() for place in [folder, *folder.glob("*/")] for name in names)
    problem = "there is a run in this folder already, and none is written over"
    require(not taken, key, folder, problem, "Name another, or delete it.")
    return folder


def _require_writable(folder: Path) -> None:
    """Refuse an outputs folder that cannot be made or written, leaving nothing behind."""
    parent = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    try:
        Path(tempfile.mkdtemp(dir=parent)).rmdir()
    except OSError as error:
        raise PruneflowError(
            f"{folder} cannot be made: {parent} cannot be written to ({error.strerror}). "
            "Work in another folder, or set hydra.run.dir (for a sweep: hydra.sweep.dir)."
        ) from error
