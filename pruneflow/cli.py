"""The command line: compose, check everything, hand over to Hydra, say how it went."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pruneflow import __version__, refusals
from pruneflow.config import config_folder, from_hydra
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.sweep import cell_name
from pruneflow.terminal import error_console

__all__ = ["main"]

OmegaConf.register_new_resolver("pruneflow.cell", cell_name, replace=True)


class Terminated(BaseException):
    """SIGTERM, raised where the program stands, so that it unwinds as for Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 refused, 130 Ctrl-C, 143 SIGTERM."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us, not a traceback the terminal
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = _run(arguments)
    except PruneflowError as error:
        code = _say(str(error), error.exit_code)
    except (HydraException, OmegaConfBaseException) as error:
        code = _say(refusals.in_words(error), ConfigError.exit_code)
    except KeyboardInterrupt:
        code = _say("Interrupted. What was finished before is kept; nothing half-written stays.", 130)
    except Terminated:
        code = _say("Terminated. What was finished before is kept; nothing half-written stays.", 143)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    if "--version" in arguments:
        print(f"pruneflow {__version__}")
        return 0
    parsed = get_args_parser().parse_args(arguments)
    if parsed.help or parsed.hydra_help or parsed.info or parsed.cfg or parsed.shell_completion:
        return _hydra(arguments)
    job = _Job.of(parsed)
    job.check()
    _hydra([*arguments, *job.pinned])
    return job.report()


@dataclass(frozen=True)
class _Job:
    """What the command line asks for, before anything is started.

    Attributes:
        cells: Overrides of each cell; one entry where it is no sweep.
        constant_keys: Keys with one value in all cells.
        sweep: Whether it is a sweep.
        folder: Folder of the run or the sweep.
        configs: Composed config of each cell.
    """

    cells: list[list[str]]
    constant_keys: list[str]
    sweep: bool
    folder: Path
    configs: list[DictConfig]

    @classmethod
    def of(cls, parsed: Any) -> _Job:
        """Compose every cell.

        Raises:
            HydraException: for what Hydra refuses.
        """
        overrides = OverridesParser.create().parse_overrides(parsed.overrides)
        search_path = _search_path(parsed)
        cells = _cells(overrides) if parsed.multirun else [list(parsed.overrides)]
        configs = [_compose(parsed.config_name or "config", [*cell, *search_path]) for cell in cells]
        constant = [o.key_or_group for o in overrides if not o.is_sweep_override()]
        settings = configs[0].hydra
        folder = Path(settings.sweep.dir if parsed.multirun else settings.run.dir)
        return cls(cells, constant, parsed.multirun, folder, configs)

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
        configs = [from_hydra(_without_hydra(config)) for config in self.configs]
        self._require_distinct_cells()
        _require_writable(self.folder)
        from pruneflow import pipeline

        for config in configs:
            pipeline.prepare(config)

    def _require_distinct_cells(self) -> None:
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise ConfigError(
                f"The sweep has the same cell twice: {', '.join(sorted(twice))}. Give each value once."
            )

    def report(self) -> int:
        """Say how it went; for a sweep also in ``sweep.csv``.

        Returns:
            Exit code: 0 where every cell is done.
        """
        from pruneflow import sweep

        if not self.sweep:
            return 1 if (self.folder / sweep.FAILURE_FILE).exists() else 0
        from pruneflow import tables

        cells = sweep.outcomes(self.folder, self.names)
        sweep.write_csv(self.folder / "sweep.csv", cells)
        tables.show_sweep(cells, self.folder)
        return 1 if any(cell.failure for cell in cells) else 0


def _hydra(arguments: list[str]) -> int:
    """Let Hydra parse the command line and start the job or jobs."""
    sys.argv = ["pruneflow", *arguments]
    hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(task)()
    return 0


def task(composed: DictConfig) -> float | None:
    """Run one cell in the folder Hydra made for it.

    Returns:
        Validation accuracy of the pruned network, which a sweeper may maximise; None where the cell failed.
    """
    from pruneflow import pipeline, sweep, tables

    run_dir = Path(HydraConfig.get().runtime.output_dir)
    command = " ".join(["python -m pruneflow", *HydraConfig.get().overrides.task])
    try:
        config = from_hydra(composed)
        tables.show_config(OmegaConf.to_container(composed), command)
        tables.show_prepared(pipeline.prepare(config))
        result = pipeline.run(config, run_dir, command=command)
    except Exception as error:
        _say(str(error), 1) if isinstance(error, PruneflowError) else traceback.print_exc()
        sweep.record_failure(run_dir, error)
        return None
    tables.show_result(result, run_dir)
    return result.pruned.validation_accuracy


def _compose(name: str, overrides: list[str]) -> DictConfig:
    try:
        with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            return hydra.compose(name, overrides, return_hydra_config=True)
    except ValueError as error:  # how Hydra refuses group=null
        raise ConfigError(f"{' '.join(overrides)}: {error}. Name an option of the group.") from error


def _cells(overrides: list[Override]) -> list[list[str]]:
    """Overrides of each cell of a grid, as Hydra's own sweeper makes them."""
    batches = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return [list(cell) for cell in batches[0]]


def _search_path(parsed: Any) -> list[str]:
    if not parsed.config_dir:
        return []
    return [f"hydra.searchpath=[{_quoted('file://' + str(Path(parsed.config_dir).absolute()))}]"]


def _without_hydra(config: DictConfig) -> DictConfig:
    GlobalHydra.instance().clear()
    bare = config.copy()
    OmegaConf.set_struct(bare, False)
    del bare["hydra"]
    return bare


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


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


def _say(message: str, code: int) -> int:
    error_console.print(message, style="bold red", markup=False, soft_wrap=True)
    return code


def _terminate(*_: object) -> NoReturn:
    raise Terminated
