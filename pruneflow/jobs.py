"""What a command line asks for: every cell composed and checked before anything is written."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from pruneflow.config import config_folder, from_hydra
from pruneflow.errors import ConfigError, PruneflowError
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
        configs: Composed config of each cell, without ``hydra``.
    """

    cells: list[list[str]]
    constant_keys: list[str]
    sweep: bool
    folder: Path
    configs: list[DictConfig]

    @classmethod
    def of(cls, parsed: Any) -> Job:
        """Compose every cell.

        Args:
            parsed: What Hydra's parser made of the command line.

        Raises:
            HydraException: for what Hydra refuses.
            ConfigError: for a group without a choice, and a folder that holds results already.
        """
        overrides = OverridesParser.create().parse_overrides(parsed.overrides)
        search_path = _search_path(parsed)
        cells = _cells(overrides) if parsed.multirun else [list(parsed.overrides)]
        composed = [_compose(parsed.config_name or "config", [*cell, *search_path]) for cell in cells]
        key = "hydra.sweep.dir" if parsed.multirun else "hydra.run.dir"
        wanted = Path(OmegaConf.select(composed[0], key))
        chosen = any(override.key_or_group == key for override in overrides)
        folder = _without_results(wanted, key) if chosen else _unused(wanted)
        constant = [o.key_or_group for o in overrides if not o.is_sweep_override()]
        return cls(cells, constant, parsed.multirun, folder, [_bare(config) for config in composed])

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
        configs = [from_hydra(config) for config in self.configs]
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise ConfigError(
                f"The sweep has the same cell twice: {', '.join(sorted(twice))}. Give each value once."
            )
        _require_writable(self.folder)
        from pruneflow import pipeline

        for config in configs:
            pipeline.prepare(config)

    def report(self) -> bool:
        """Say how it went; for a sweep in one table and in ``sweep.csv``.

        Returns:
            Whether every cell is done.
        """
        if not self.sweep:
            return not (self.folder / FAILURE_FILE).exists() and (self.folder / "result.json").exists()
        from pruneflow import tables

        cells = outcomes(self.folder, self.names)
        write_csv(self.folder / "sweep.csv", cells)
        tables.show_sweep(cells, self.folder)
        return not any(cell.failure for cell in cells)


def _compose(name: str, overrides: list[str]) -> DictConfig:
    try:
        with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            return hydra.compose(name, overrides, return_hydra_config=True)
    except ValueError as error:  # how Hydra refuses group=null
        raise ConfigError(f"{' '.join(overrides)}: {error}. Name an option of the group.") from error


def _bare(config: DictConfig) -> DictConfig:
    bare = config.copy()
    OmegaConf.set_struct(bare, False)
    del bare["hydra"]
    return bare


def _cells(overrides: list[Override]) -> list[list[str]]:
    """Overrides of each cell of a grid, as Hydra's own sweeper makes them."""
    batches = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return [list(cell) for cell in batches[0]]


def _search_path(parsed: Any) -> list[str]:
    if not parsed.config_dir:
        return []
    return [f"hydra.searchpath=[{_quoted('file://' + str(Path(parsed.config_dir).absolute()))}]"]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unused(folder: Path) -> Path:
    """``folder``, or the first of ``folder-2``, ``folder-3`` ... that is not there: a clock may jump back."""
    names = itertools.chain([folder.name], (f"{folder.name}-{count}" for count in itertools.count(2)))
    return next(folder.with_name(name) for name in names if not folder.with_name(name).exists())


def _without_results(folder: Path, key: str) -> Path:
    """Refuse a folder whose results a run would overwrite."""
    if any(folder.glob("result.json")) or any(folder.glob("*/result.json")):
        raise ConfigError.of(
            key, folder, "there are results in this folder already, and none is overwritten", "Name another."
        )
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
